"""Disks: what smartctl says of them, without anything that tells one from its like, under ids that lead nowhere."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import orjson

from usagewire.errors import Unsendable
from usagewire.formats.plain import TooLarge, dumps
from usagewire.formats.stone.times import moment
from usagewire.signals import Event, Origin

DEVICE = "usage.device"
MOST_SAMPLES, MOST_BYTES = 500, 8 << 20
"""Of one request."""
SAMPLE_BYTES = 512 << 10
"""Longest sample; smartctl's longest are a tenth of it."""
DELETED = "deleted"
SERIALS = frozenset({"serial_number", "scsi_serial_number", "unit_serial_number"})
"""Told that they are gone; and wherever else such a value stands, it goes too."""
IDENTIFIERS = frozenset(
    {
        "wwn", "logical_unit_id", "scsi_logical_unit_id", "eui64", "nguid", "uuid", "sas_address",
        "attached_sas_address",
    }
)  # fmt: skip
"""Gone without a trace, with all that is inside."""
_START = b'{"device":'
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,95}")


def sample(event: Event, origin: Origin) -> bytes:
    """One ``usage.device`` event as an item's data. Raises `Unsendable`.

    ``{"device": anonymous id, "time": …, "host": id, "data": smartctl's JSON}``; nothing in it leads to the cluster.
    """
    device, host = event.attributes.get("usage.device.id"), event.attributes.get("usage.device.host")
    if not isinstance(event.body, Mapping) or not isinstance(device, str) or not device:
        raise Unsendable("rejected", "usage.device: needs usage.device.id, and smartctl's JSON as its body")
    try:
        raw = dumps(cast("Mapping[str, Any]", event.body), SAMPLE_BYTES)
    except TooLarge:
        raw = b""
    if not 0 < len(raw) <= SAMPLE_BYTES:
        raise Unsendable("oversize", f"usage.device: more than {SAMPLE_BYTES} bytes")
    body: Mapping[str, Any] = orjson.loads(raw)
    host_id = drawn("host", str(host or ""), origin.salt)
    content = {
        "device": anonymous(device, origin.salt),
        "time": moment(event.time).strftime("%Y%m%d-%H%M%S"),
        "host": host_id,
        "data": {**scrub(body), "host_id": host_id},
    }
    return orjson.dumps(content)


def anonymous(device: str, salt: str) -> str:
    """``SEAGATE_ST8000NM0055_ZA1ABCDE`` → ``SEAGATE_ST8000NM0055_`` and an id that stays; a device without vendor and
    model is that id."""
    model, _, _ = device.rpartition("_")
    name = drawn("device", device, salt)
    return f"{model}_{name}" if _MODEL.fullmatch(model) else name


def drawn(kind: str, name: str, salt: str) -> str:
    """A UUID like a random one, always the same for ``name``; without the salt nobody finds one from the other."""
    digest = hmac.digest(salt.encode(), f"{kind}\n{name}".encode("utf-8", "replace"), "sha256")
    return str(UUID(bytes=digest[:16], version=4))


def scrub(body: Mapping[str, Any]) -> dict[str, Any]:
    """smartctl's JSON without serial numbers, world-wide names and the like, wherever they stand."""
    serials = frozenset(_serials(body))
    cleaned: dict[str, Any] = _without(body, serials)
    return cleaned


def _serials(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        for name, inner in cast("Mapping[str, Any]", value).items():
            if name in SERIALS and isinstance(inner, str):
                yield inner.strip()
            else:
                yield from _serials(inner)
    elif isinstance(value, (list, tuple)):
        for inner in cast("Sequence[Any]", value):
            yield from _serials(inner)


def _without(value: Any, serials: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {
            name: DELETED if name in SERIALS else _without(inner, serials)
            for name, inner in cast("Mapping[str, Any]", value).items()
            if name not in IDENTIFIERS and not _tells(name, serials)
        }
    if isinstance(value, (list, tuple)):
        return [_without(inner, serials) for inner in cast("Sequence[Any]", value)]
    return DELETED if isinstance(value, str) and _tells(value, serials) else value


def _tells(word: str, serials: frozenset[str]) -> bool:
    """Whether a serial number stands in ``word``, as in ``/dev/disk/by-id/ata-…``; a very short one has to be it."""
    return any(word.strip() == serial or (len(serial) > 4 and serial in word) for serial in serials if serial)


# -- requests -----------------------------------------------------------------------------------------------------


def is_sample(item: bytes) -> bool:
    """Whether `sample` made it."""
    return item.startswith(_START)


def together(items: Sequence[bytes]) -> tuple[bytes, int]:
    """The body that holds the first samples, all of one host, and how many those are."""
    body: dict[str, dict[str, Any]] = {}
    host, size, taken = "", 0, 0
    for item in items[:MOST_SAMPLES]:
        if not is_sample(item):
            break
        content = orjson.loads(item)
        size += len(item)
        if taken and (content["host"] != host or size > MOST_BYTES):
            break
        host, taken = content["host"], taken + 1
        body.setdefault(content["device"], {})[content["time"]] = content["data"]
    return orjson.dumps(body), taken
