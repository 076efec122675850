"""Crashes as the receiver lists them: anonymised, bounded, and grouped by where they happened."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha1, sha256
from typing import Any, cast
from uuid import UUID

from usagewire.formats.plain import text
from usagewire.formats.stone.times import iso
from usagewire.signals import Event, Origin

CRASH = "usage.crash"
MOST_CRASHES = 500
LONGEST = 365 * 86_400 * 1_000_000_000
"""How long a crash is listed, in nanoseconds."""
MOST_FRAMES, WIDTH = 100, 256
"""Frames of a backtrace, the innermost, and characters of a frame or any other text."""
_ID = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z)_[0-9a-f-]{36}")
_TYPE = re.compile(r"[a-z_]{2,16}(-[a-z_]{2,16})?")
"""``osd``, ``rbd-mirror``; a machine's name, given without a type, seldom looks like that."""
ASSERTION = ("assert_condition", "assert_func", "assert_file", "assert_line", "assert_thread_name")


def newest(events: Iterable[Event]) -> tuple[list[Event], int]:
    """The newest of the crashes, oldest first, each once; and how many others there were."""
    distinct = {_id(event): event for event in events}
    ordered = sorted(distinct.values(), key=lambda event: event.time)
    return ordered[-MOST_CRASHES:], max(0, len(ordered) - MOST_CRASHES)


def listed(events: Iterable[Event], end: int) -> list[Event]:
    """Of some crashes those that are not too old at ``end``."""
    return [event for event in events if end - event.time <= LONGEST]


def record(event: Event, origin: Origin, product: str) -> dict[str, Any] | None:
    """One ``usage.crash`` event as the receiver knows crashes; ``None`` where it does not say where it happened.

    What else is missing is filled in: the id and time from the event, the program and its version from ``origin``.
    """
    said = event.attributes
    frames = _frames(said.get("usage.crash.frames"))
    if not frames:
        return None
    crash_id = _id(event)
    system, _, release = origin.os_version.partition(" ")
    resource = origin.resource
    return {
        "crash_id": crash_id,
        "timestamp": crash_id.partition("_")[0],
        "process_name": _base(_text(said, "process.executable.name", "usage.component.name") or origin.service),
        "entity_name": entity(_text(said, "usage.crash.entity", "usage.component.name"), origin.salt),
        f"{product}_version": _text(said, "usage.component.version") or origin.service_version,
        "utsname_sysname": origin.platform,
        "utsname_release": origin.os_release,
        "utsname_version": origin.platform_version,
        "utsname_machine": origin.architecture,
        "os_name": _text(resource, "os.name") or system,
        "os_id": system,
        "os_version_id": release,
        "os_version": _text(resource, "os.version") or release,
        "backtrace": frames,
        "stack_sig": signature(frames),
        **_assertion(said, frames),
    }


def fields(product: str) -> tuple[str, ...]:
    """The names of a record's fields."""
    return (
        "crash_id", "timestamp", "process_name", "entity_name", f"{product}_version", "utsname_sysname",
        "utsname_release", "utsname_version", "utsname_machine", "os_name", "os_id", "os_version_id", "os_version",
        "backtrace", "stack_sig", *ASSERTION,
    )  # fmt: skip


def entity(name: str, salt: str) -> str:
    """``mon.host-a`` → ``mon.`` and a digest: its type is told, its name is not."""
    kind, _, name = name.partition(".")
    digest = sha1(f"{salt}{name}{salt}".encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
    return f"{kind if _TYPE.fullmatch(kind) else 'unknown'}.{digest}"


def signature(frames: Sequence[str]) -> str:
    """The same for equal crashes: over the functions without their lines."""
    functions = (":".join(frame.split(":")[:2]) for frame in frames)
    return sha256("\n".join(functions).encode()).hexdigest()


def _id(event: Event) -> str:
    said = event.attributes.get("usage.crash.id")
    if isinstance(said, str) and _ID.fullmatch(said):
        return said
    return f"{iso(event.time)}Z_{UUID(event.id, version=4)}"


def _frames(said: Any) -> list[str]:
    """The frames without folders, innermost last."""
    if not isinstance(said, (list, tuple)):
        return []
    frames = cast("Sequence[Any]", said)
    return [_base(text(frame))[:WIDTH] for frame in frames if isinstance(frame, str) and frame][-MOST_FRAMES:]


def _assertion(said: Mapping[str, Any], frames: Sequence[str]) -> dict[str, Any]:
    """What is known of a failed assertion; of Python's, the function and the line."""
    found: dict[str, Any] = {}
    if said.get("exception.type") == "AssertionError":
        _, function, line = (*frames[-1].split(":"), "", "")[:3]
        found = {"assert_func": function, **({"assert_line": int(line)} if line.isdecimal() else {})}
    for name in ASSERTION:
        value = said.get(f"usage.crash.{name}")
        if isinstance(value, str):
            found[name] = _base(text(value))[:WIDTH] if name == "assert_file" else text(value)[:WIDTH]
        elif name == "assert_line" and isinstance(value, int):
            found[name] = value
    return {name: found[name] for name in ASSERTION if name in found}


def _text(said: Mapping[str, Any], *names: str) -> str:
    """The first of these attributes that is a text with something in it."""
    values = (said.get(name) for name in names)
    return next((text(value)[:WIDTH] for value in values if isinstance(value, str) and value), "")


def _base(name: str) -> str:
    """Without the folders before it."""
    return re.split(r"[/\\]", name)[-1]
