"""What programs emit, for the goldens of the segment format."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from uuid import UUID

from tests.support.golden import NOON, SECOND, Case
from usagewire.signals import Event, Histogram, Point

MILLI = 1_000_000
KEY = {"write_key": "write_key"}


class Backend(Enum):
    """An enum, as programs like to use for attributes."""

    MYSQL = "mysql"


SERVER_START = Event(
    name="usage.component.start",
    time=NOON - 60 * SECOND + 123 * MILLI,
    id="c0ffee00" * 4,
    attributes={
        "usage.component.name": "server",
        "usage.component.version": "1.30.0",
        "db_backend": "mysql",
        "commit_id": "4f2a9c1",
    },
    scope="readyset",
)
SERVER_STOP = Event(
    name="usage.component.stop",
    time=NOON - MILLI,
    id="deadbeef" * 4,
    attributes={
        "usage.component.name": "server",
        "usage.component.version": "1.30.0",
        "usage.component.duration": 59.876,
        "error.type": "KeyboardInterrupt",
    },
    scope="readyset",
)

CASES = {
    # an event that says nothing but its name
    "empty": Case([Event("installer_run", NOON, "00" * 16)], settings=KEY),
    "one": Case([SERVER_START], settings=KEY),
    # with a user id, at the third try
    "two": Case([SERVER_START, SERVER_STOP], settings={**KEY, "user_id": "api-key"}, attempt=3),
    # a body that is a mapping joins the attributes, which win
    "nested": Case(
        [
            Event(
                "deployment_finished",
                NOON,
                "ab" * 16,
                attributes={"docker_version": "24.0.7", "nodes": [{"kind": "adapter"}, {"kind": "server"}]},
                body={"docker_version": "from the body", "took": {"pull": 12.5, "start": [1, 2, [3]]}},
            )
        ],
        settings=KEY,
    ),
    # every value that has no JSON form of its own
    "odd": Case(
        [
            Event(
                'quote " back\\slash \u2028 \ud83d\ude00 \ud800',
                time=-1,
                id="0dd0" * 8,
                attributes={
                    "nan": float("nan"),
                    "infinity": float("-inf"),
                    "int64": -(2**63),
                    "int65": 2**64,
                    "decimal": Decimal("1.10"),
                    "bytes": b"\x00\xff",
                    "enum": Backend.MYSQL,
                    "set": {10, 9, 1},
                    "mixed set": {"b", 1, None},
                    "time": datetime(2026, 9, 30, 14, 0, tzinfo=timezone(timedelta(hours=2))),
                    "uuid": UUID(int=7),
                    "lone surrogate": "a\ud800b",
                    "class": object,
                    "": {1: "int key", None: "null key", (1, 2): "tuple key"},
                    "line\nfeed": "\r\n\x00\x7f",
                },
                body="a text body is never sent",
            )
        ],
        settings=KEY,
    ),
    "metrics": Case(
        points=[
            Point("usage.transfer.count", "sum", NOON, {"usage.transfer.state": "completed"}, value=1_204),
            Point("usage.transfer.rate", "gauge", NOON, value=1_048_576.5, unit="By/s"),
            Point(
                "usage.file.size",
                "histogram",
                NOON,
                histogram=Histogram(3, 12_294.0, 6.0, 8_192.0, 4_098.0, 33_521_672.0, (0, 1023, 8191), (0, 1, 1, 1)),
                unit="By",
            ),
            # from a view of the program's own: no moments, no extremes
            Point("http.duration", "histogram", NOON, histogram=Histogram(4, 2.0, bounds=(1.0,), buckets=(3, 1))),
            Point("nothing.yet", "histogram", NOON, histogram=Histogram(0, 0.0)),
        ],
        settings=KEY,
    ),
    # ReadySet's own client, byte for byte
    "upstream": Case(
        [
            Event(
                "usage.component.start",
                NOON,
                "c0ffee00" * 4,
                attributes={
                    "usage.component.name": "adapter",
                    "db_backend": "mysql",
                    "usage.component.version": "1.30.0",
                    "commit_id": "dev",
                    "deployment_id": "readyset.db",
                },
            ),
            Event("installer_finished", NOON, "deadbeef" * 4),
        ],
        settings={**KEY, "user_id": "api-key", "dialect": "upstream"},
        attempt=2,
    ),
}
