"""A session as JSON, which is how it waits, and as the message of ``telemetry.proto``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

SEND = "usagewire.wire.jetstream.v1.TelemetryService/Send"


def to_protobuf(session: bytes) -> bytes:
    """``[information, data, …]`` as the bytes of a ``Session``."""
    from usagewire.wire.jetstream.v1.telemetry_pb2 import Session  # protobuf is slow to load, and not always chosen

    information, *data = orjson.loads(session)
    message = Session()
    said = message.information
    said.license, said.platform, said.server_id = (
        information["license"],
        information["platform"],
        information["serverId"],
    )
    if "revision" in information:
        said.revision = information["revision"]
    if information["startTime"] is not None:
        said.start_time = information["startTime"]
    for one in data:
        made = message.data.add(key=one["key"], timestamp=one["timestamp"])
        for value in one["values"]:
            if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
                made.values.add(integer=value)
            else:
                made.values.add(number=value)
    return message.SerializeToString()


def from_protobuf(body: bytes) -> Sequence[Any]:
    """The reverse, for receivers. Raises `ValueError` when it is no session."""
    from google.protobuf.message import DecodeError

    from usagewire.wire.jetstream.v1.telemetry_pb2 import Session

    try:
        message = Session.FromString(body)
    except DecodeError as fault:
        raise ValueError(f"not a Session: {fault}") from fault
    said = message.information
    information: dict[str, Any] = {"license": said.license, "platform": said.platform}
    if said.HasField("revision"):
        information["revision"] = said.revision
    information |= {"serverId": said.server_id, "startTime": said.start_time if said.HasField("start_time") else None}
    return [
        information,
        *(
            {
                "key": one.key,
                "timestamp": one.timestamp if one.HasField("timestamp") else None,
                "values": [v.integer if v.HasField("integer") else v.number for v in one.values],
            }
            for one in message.data
        ),
    ]
