"""What each field of a payload says: from the tracking plan where it speaks of it, else from the format's document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from usagewire.formats.stone.schema import Each, Fields, Many, Names, Shape, Value, sections
from usagewire.inspector.received import mapping
from usagewire.policy.gate import Entry, Plan

Path = tuple[str, ...]
"""Keys and list indices from the top of a body to a field: ``("batch", "0", "event")``."""

OWN = "the program's own; its tracking plan says what for (--plan)"
UNKNOWN = "not in the format's document"
STATISTICS = {
    "value": "the measured value",
    "count": "how many were measured",
    "sum": "their sum",
    "min": "the smallest",
    "max": "the largest",
    "mean": "their mean",
    "variance": "their variance, the population's",
    "start": "when the measuring began, microseconds after the timestamp",
    "end": "when it ended, microseconds after the timestamp",
    "files": "how many files were transferred",
}
SEGMENT = {
    "batch": "the events of this request",
    "sentAt": "when this try was made, UTC",
    "type": "always track: something happened",
    "event": "name of what happened",
    "anonymousId": "random, new for every process; says nothing of who runs it",
    "userId": "the user id that the operator configured",
    "properties": "what the event says of itself",
    "timestamp": "when it happened, UTC",
    "messageId": "random; lets the receiver drop a repeat",
    "context": "what sent it",
    "context.library": "the sending library",
    "context.library.name": "its name",
    "context.library.version": "its version",
    "properties.buckets": "how many values lie in which range",
    "properties.buckets.bounds": "upper edges of the ranges, each included",
    "properties.buckets.counts": "values in each range; the last is above all edges",
    "properties.oversize": "attributes were left out: they did not fit",
}
JINA = {
    "architecture": "of the machine",
    "ci-vendor": "the CI service the program runs under, or (unset)",
    "docarray": "version of that package",
    "event": "name of what happened",
    "grpcio": "version of that package",
    "jina": "version of that package",
    "jina-proto": "version of Jina's protocol",
    "platform": "the operating system",
    "platform-release": "the kernel's release",
    "platform-version": "the kernel's build, as uname -v says",
    "processor": "kind of processor",
    "proto-backend": "how protobuf is implemented",
    "protobuf": "version of that package",
    "python": "version of Python",
    "pyyaml": "version of that package",
    "session-id": "random, new for every process",
    "uid": "a random number, the same for this service and user; never the network card's address",
    "uptime": "when the program started, UTC",
}
TTS = {
    "message": "the message, wrapped",
    "uid": "who reports: a random UUID, or a hash of the addresses that the operator configured for this",
    "os": "where it runs",
    "os.operating_system": "the operating system",
    "os.arch": "architecture of the machine",
    "os.binary_version": "version of the product",
    "os.golang_version": "version of the language it runs on",
    "cli": "null from a server; from a command line, which commands ran",
    "cli.commands": "how often each command ran",
    "entities_count": "how many of what there are; null from a command line",
    "entities_count.gateways": "gateways",
    "entities_count.gateways.total": "how many gateways",
    "entities_count.gateways.gateways_by_frequency_plan_id": "gateways by frequency plan",
    "entities_count.end_devices": "end devices",
    "entities_count.end_devices.total": "how many end devices",
    "entities_count.end_devices.activate_end_devices": "end devices that were active",
    "entities_count.end_devices.activate_end_devices.total": "active at any time",
    "entities_count.end_devices.activate_end_devices.last_day": "active in the last day",
    "entities_count.end_devices.activate_end_devices.last_week": "active in the last week",
    "entities_count.end_devices.activate_end_devices.last_month": "active in the last month",
    "entities_count.applications": "applications",
    "entities_count.applications.total": "how many applications",
    "entities_count.accounts": "accounts",
    "entities_count.accounts.users": "users",
    "entities_count.accounts.users.standard": "how many ordinary users",
    "entities_count.accounts.users.admin": "how many administrators",
    "entities_count.accounts.organizations": "organizations",
    "entities_count.accounts.organizations.total": "how many organizations",
}
JETSTREAM = {
    "license": "the licence key that the operator configured",
    "platform": "the operating system",
    "revision": "the revision that the operator configured",
    "serverId": "random, drawn once; or the id that the operator configured",
    "startTime": "when the program was started, microseconds since 1970",
    "key": "which data set this is: a number made of its name",
    "timestamp": "when the period began, microseconds since 1970",
    "values": "counts, ranges or statistics, in the document's order",
}
STONE = {
    "leaderboard": "whether the cluster may appear in a public ranking",
    "report_version": "version of the report's form",
    "report_timestamp": "end of the period reported, UTC",
    "report_id": "random, drawn once for this installation",
    "channels": "channels that are on",
    "channels_available": "channels there are",
    "license": "the licence under which the report is shared",
    "description": "channel ident: what the operator wrote",
    "contact": "channel ident: what the operator wrote",
    "organization": "channel ident: what the operator wrote",
    "crashes": "channel crash: where in the code a daemon crashed",
}
SECTIONS = {
    "created": "when the cluster was made",
    "mon": "monitors: how many, their features and kinds of address",
    "config": "names of options that were changed, never their values",
    "rbd": "block images: how many",
    "pools": "pools: kind, size and placement, never names",
    "osd": "storage daemons: how many, and which release they need",
    "crush": "how data is placed: numbers and kinds, never names",
    "fs": "file systems and metadata servers: how many, how large",
    "metadata": "versions and systems that daemons run on",
    "hosts": "hosts: how many, by what runs there",
    "usage": "capacity: total, used and available",
    "services": "daemons: how many of each type",
    "rgw": "object gateways: how many, and their kind",
    "balancer": "whether data is rebalanced, and how",
}
CHANNELS = {
    "basic": "what the cluster is made of: counts, capacity, versions, names of changed options",
    "crash": "where in the code a daemon crashed",
    "device": "how healthy disks say they are, without what identifies them",
    "ident": "what you wrote yourself: description, contact, organization",
}
PRODUCTS = ("stone", "ceph")
CRASH = {
    "crash_id": "when, and a random UUID",
    "timestamp": "when, UTC",
    "process_name": "the program",
    "entity_name": "kind of daemon, and a salted hash in place of its name",
    "utsname_sysname": "the operating system",
    "utsname_release": "the kernel's release",
    "utsname_version": "the kernel's build",
    "utsname_machine": "architecture of the machine",
    "os_name": "the distribution",
    "os_id": "the distribution",
    "os_version_id": "version of the distribution",
    "os_version": "version of the distribution",
    "stack_sig": "a hash over modules and functions: equal crashes have the same",
    "backtrace": "module, function and line of each frame; no paths, no values",
    "stone_version": "version of the product",
    "ceph_version": "version of the product",
}
DEVICE = (
    "a disk: vendor and model, and a random UUID in place of its serial number",
    "when the sample was taken, UTC",
    "what smartctl says of the disk, without what identifies it",
)


def documented(format: str) -> dict[str, str]:
    """Every field that the format's document has, and what it says; for a look at it before anything was collected."""
    crash = {f"crashes.{name}": says for name, says in CRASH.items() if name != "ceph_version"}
    device = dict(zip(("<disk>", "<disk>.<time>", "<disk>.<time>.…"), DEVICE, strict=True))
    basic = {
        name: f"channel basic: {', '.join(shape.of) if isinstance(shape, Fields) else _holds(shape)}"
        for name, shape in sections("stone").items()
    }
    known = {"segment": SEGMENT, "jina": JINA, "tts": TTS, "jetstream": JETSTREAM}
    return known.get(format) or ({**STONE, **crash, **basic, **device} if format == "stone" else {})


def explain(format: str, root: Any, path: Path, plan: Plan | None = None) -> str:
    """A sentence about the field at ``path`` of the body ``root``; empty for what holds nothing by itself, such as
    the entries of a list."""
    explainer = _EXPLAINERS.get(format)
    if explainer is None or not path:
        return ""
    entry = path[-1].isdecimal() and isinstance(_at(root, path[:-1]), list)
    return "" if entry and format != "jetstream" else explainer(root, path, plan)


def _segment(root: Any, path: Path, plan: Plan | None) -> str:
    event: Any = root
    if path[0] == "batch" and len(path) > 1:
        event, path = _at(root, path[:2]), path[2:]
    if path[:1] == ("properties",) and len(path) > 1:
        name = str((mapping(event) or {}).get("event"))
        return _planned(plan, name, path[1]) or SEGMENT.get(_named(path)) or STATISTICS.get(path[1], OWN)
    if path == ("event",):
        return _purpose(plan, str((mapping(event) or {}).get("event"))) or SEGMENT["event"]
    return SEGMENT.get(_named(path), UNKNOWN if path else "")


def _jina(root: Any, path: Path, plan: Plan | None) -> str:
    name = str((mapping(root) or {}).get("event"))
    if path == ("event",):
        return _purpose(plan, name) or JINA["event"]
    return JINA.get(path[0]) or _planned(plan, name, path[0]) or OWN


def _tts(root: Any, path: Path, plan: Plan | None) -> str:
    if path[0] == "message" and len(path) > 1:
        path = path[1:]
    parent = _named(path[:-1])
    if parent.endswith("gateways_by_frequency_plan_id") or parent == "cli.commands":
        return "how many" if parent != "cli.commands" else "how often this command ran"
    return TTS.get(_named(path), UNKNOWN)


def _jetstream(root: Any, path: Path, plan: Plan | None) -> str:
    from usagewire.inspector.checks.jetstream import labels

    if len(path) < 2:
        return "who reports" if path == ("0",) else "a data set"
    data = mapping(_at(root, path[:1])) or {}
    name, values = labels(data.get("key"))
    if path[1] == "key":
        return f"{name or 'a data set of the vendor’s own'}: a number made of its name"
    if path[1] == "values" and len(path) == 3 and path[2].isdecimal():
        label = values[int(path[2])] if int(path[2]) < len(values) else ""
        return f"{label}{_meaning(name, label)}" if label else OWN
    return JETSTREAM.get(path[1], UNKNOWN)


def _meaning(name: str, label: str) -> str:
    if label[:1].isdigit():
        return ": how many of so many bytes"
    if name in ("transfer rates", "transmission rates") and label in ("min", "max", "mean"):
        return f": {STATISTICS[label]}, bytes per second"
    return f": {STATISTICS[label]}" if label in STATISTICS else ": how many"


def _stone(root: Any, path: Path, plan: Plan | None) -> str:
    top, section = mapping(root) or {}, path[0]
    if "report_version" not in top and "report_id" not in top:
        if len(path) > 2:
            return "a random UUID for the host, the same for all its disks" if path[2] == "host_id" else DEVICE[2]
        return DEVICE[0] if path[1:] == () else DEVICE[1]
    if section == "crashes" and len(path) > 2:
        return CRASH.get(path[2], UNKNOWN if not path[2].startswith("assert_") else "of the assertion that failed")
    if section in STONE:
        return STONE[section]
    if len(path) == 1 and section in SECTIONS:
        return f"channel basic: {SECTIONS[section]}"
    shapes = (_shape(sections(product).get(section), path[1:]) for product in PRODUCTS)
    shape = next((found for found in shapes if found is not None), None)
    return f"channel basic: {_holds(shape)}" if shape is not None else UNKNOWN


def _shape(shape: Shape | None, path: Path) -> Shape | None:
    """The shape at ``path`` below ``shape``."""
    if not path or shape is None:
        return shape
    if isinstance(shape, Fields):
        return _shape(shape.of.get(path[0]), path[1:])
    if isinstance(shape, (Many, Each)):
        return _shape(shape.of, path[1:])
    return Value("text", bool) if isinstance(shape, Names) else None


def _holds(shape: Shape) -> str:
    if isinstance(shape, Value):
        return shape.name
    if isinstance(shape, Names):
        return "names of options or features, never values"
    return f"by {shape.key}" if isinstance(shape, Each) else "a list" if isinstance(shape, Many) else "a section"


def _entry(plan: Plan | None, name: str) -> Entry | None:
    return (plan.events.get(name) or plan.metrics.get(name)) if plan is not None else None


def _purpose(plan: Plan | None, name: str) -> str:
    entry = _entry(plan, name)
    return entry.purpose if entry is not None else ""


def _planned(plan: Plan | None, name: str, attribute: str) -> str:
    entry = _entry(plan, name)
    found = entry.attributes.get(attribute) if entry is not None else None
    return found.purpose if found is not None else ""


def _named(path: Path) -> str:
    """The path in words, without list indices."""
    return ".".join(word for word in path if not word.isdecimal())


def _at(root: Any, path: Sequence[str]) -> Any:
    found: Any = root
    for word in path:
        try:
            found = cast("list[Any]", found)[int(word)] if isinstance(found, (list, tuple)) else found[word]
        except (IndexError, KeyError, TypeError, ValueError):
            return None
    return found


_EXPLAINERS: Mapping[str, Callable[[Any, Path, Plan | None], str]] = {
    "segment": _segment,
    "jetstream": _jetstream,
    "jina": _jina,
    "tts": _tts,
    "stone": _stone,
}
