"""JetStream: keyed values, reported about every 15 minutes.

Document: JETStream Server, "Telemetry" (structures, data sets, keys). How they are encoded on the wire is not public;
``proto/usagewire/wire/jetstream/v1/telemetry.proto`` is ours. The reader's page is ``docs/formats/jetstream.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from usagewire.formats import Format, answers
from usagewire.formats.jetstream.codec import SEND, to_protobuf
from usagewire.formats.jetstream.data_sets import admit as admit_point
from usagewire.formats.jetstream.data_sets import data_sets, fault, key
from usagewire.signals import (
    Delivered,
    Item,
    Origin,
    Period,
    Point,
    Rejected,
    Request,
    Response,
    Retry,
    Setting,
    Settings,
    Switch,
    Verdict,
)

SETTINGS = (
    Setting(
        "endpoint",
        "Base URL that receives the data, whatever the protocol: `https://host:port`.",
        kind="url",
        choices=("https", "http"),
        required=True,
    ),
    Setting(
        "protocol",
        "What is spoken: `grpc` (one unary call per report), `http/protobuf` (the same message in a POST) or "
        "`http/json`.",
        kind="choice",
        choices=("grpc", "http/protobuf", "http/json"),
        default="grpc",
    ),
    Setting("license", "License key of the server, sent as `license`; unset: empty.", secret=True),
    Setting("server_id", "Unique and persistent id of the server; unset: a random one, drawn once and kept."),
    Setting("revision", "Revision of the server, a whole number; unset: not sent.", kind="integer"),
    Setting(
        "data_sets",
        "Further data sets: a table of names with their sources, or `name=source,source;name=source`.",
        kind="table",
        fault=fault,
    ),
)


def admit(point: Point, settings: Settings) -> Point | None:
    """See `usagewire.formats.jetstream.data_sets.admit`."""
    return admit_point(point, settings["data_sets"] or {})


# -- reports ------------------------------------------------------------------------------------------------------

_PLATFORMS = {"darwin": "macOS"}
_OPENING = b'[{"platform":'


def compile(period: Period, origin: Origin, settings: Settings, now: int) -> tuple[Item, ...]:
    """One session: the information structure and the data sets that have something new; none: no session.

    Times in microseconds. The license is a secret, so it joins the session only when a request is made of it.
    """
    data: list[dict[str, Any]] = [
        {"key": key(name), "timestamp": period.start // 1_000, "values": values}
        for name, values in data_sets(period, settings["data_sets"] or {})
    ]
    if not data:
        return ()
    information: dict[str, Any] = {"platform": _PLATFORMS.get(origin.os_type, origin.os_type)}
    if settings["revision"] is not None:
        information["revision"] = settings["revision"]
    information |= {
        "serverId": settings["server_id"] or origin.installation,
        "startTime": origin.started // 1_000 or None,
    }
    return (Item(orjson.dumps([information, *data])),)


# -- the wire -----------------------------------------------------------------------------------------------------


def pack(items: Sequence[bytes], settings: Settings, now: int, attempt: int) -> tuple[Request, int]:
    """One session per request."""
    license_key = orjson.dumps(settings["license"] or "")
    session = b'[{"license":%b,"platform":%b' % (license_key, items[0].removeprefix(_OPENING))
    endpoint, protocol = settings["endpoint"], settings["protocol"]
    if protocol == "http/json":
        return Request(f"{endpoint}/v1/telemetry", session, {"Content-Type": "application/json"}), 1
    body = to_protobuf(session)
    if protocol == "http/protobuf":
        headers = {"Content-Type": "application/x-protobuf"}
        return Request(f"{endpoint}/v1/telemetry", body, headers, readable=session), 1
    return Request(f"{endpoint}/{SEND}", body, readable=session), 1


GRPC = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""Names of gRPC's status codes, by number."""
_ARRIVED = frozenset({"OK", "ALREADY_EXISTS"})
_TRY_AGAIN = frozenset(
    {
        "CANCELLED",
        "UNKNOWN",
        "DEADLINE_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "ABORTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
    }
)
_REMEDIES = {
    "UNAUTHENTICATED": "check the license, the headers and the client certificate",
    "PERMISSION_DENIED": "check the license, the headers and the client certificate",
    "UNIMPLEMENTED": "check the endpoint and the protocol",
    "NOT_FOUND": "check the endpoint and the protocol",
    "INVALID_ARGUMENT": "the server does not take what this version sends",
}


def judge(request: Request, response: Response, uncertain: bool) -> Verdict:
    """HTTP answers by the common table, gRPC's by their status. A repeat is harmless: server and timestamp tell a data
    set apart from every other."""
    code = response.headers.get("grpc-status", "")
    if not code.isdigit():
        return answers.judge(request, response, uncertain)
    name = GRPC[int(code)] if len(code) < 3 and int(code) < len(GRPC) else "UNKNOWN"
    if name in _ARRIVED:
        return Delivered()
    if name in _TRY_AGAIN:
        return Retry(response.error or f"gRPC {name}", answers.retry_after(response))
    remedy = _REMEDIES.get(name)
    return Rejected(f"gRPC {name}: {remedy}" if remedy else f"gRPC {name}")


FORMAT = Format(
    name="jetstream",
    title="JETStream Server telemetry: data sets by key",
    settings=SETTINGS,
    admit=admit,
    compile=compile,
    pack=pack,
    judge=judge,
    interval=900_000,
    reports_events=False,
    switches=(Switch("--disable-telemetry", "flag"),),
    known_by=lambda origin, settings: {"serverId": settings["server_id"] or origin.installation},
)
