"""What programs emit, for the goldens of the jina format."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal

from tests.support.golden import NOON, ORIGIN, SECOND, Case
from usagewire.signals import Event, Origin

ENDPOINT = {"endpoint": "https://telemetry.example/jina"}

FLOW_START = Event(
    name="usage.component.start",
    time=NOON - 60 * SECOND,
    id="c0ffee00" * 4,
    attributes={"usage.component.name": "Flow"},
    scope="jina",
)
FLOW_STOP = Event(
    name="usage.component.stop",
    time=NOON,
    id="deadbeef" * 4,
    attributes={
        "usage.component.name": "Flow",
        "usage.component.version": "3.7.13",
        "usage.component.duration": 59.876,
        "entity_id": "0b6f5a1e",
    },
    scope="jina",
)

SAMPLE_ORIGIN = Origin(
    installation="0b6f5a1e-6f0e-4a53-9e64-0f6a2f6f3d11",
    session="da9d4ade-2171-11ed-8713-56286d1a91c2",
    started=int(datetime(2022, 8, 21, 18, 53, 59, 681_842, timezone.utc).timestamp() * 1e6) * 1_000,
    service="jina",
    number=94_731_629_138_370,
    os_type="darwin",
    os_release="21.6.0",
    platform="Darwin",
    platform_version="Darwin Kernel Version 21.6.0: Sat Jun 18 17:07:28 PDT 2022; "
    "root:xnu-8020.140.41~1/RELEASE_ARM64_T8110",
    architecture="x86_64",
    processor="i386",
    python_version="3.7.9",
    packages={"jina": "3.7.13", "docarray": "0.15.2", "protobuf": "3.20.1", "grpcio": "1.46.3", "pyyaml": "6.0"},
    proto_backend="cpp",
)
"""The machine of the document's sample payloads."""
SAMPLES = {
    "WorkerRuntime.start": SAMPLE_ORIGIN,
    "GRPCGatewayRuntime.start": replace(SAMPLE_ORIGIN, session="da9fc390-2171-11ed-8713-56286d1a91c2"),
    "BaseExecutor.start": replace(SAMPLE_ORIGIN, session="daa02f1a-2171-11ed-8713-56286d1a91c2"),
    "Flow.start": replace(SAMPLE_ORIGIN, session="db4c0092-2171-11ed-8713-56286d1a91c2"),
}
"""The document's four samples: event → origin."""


def sample(event: str) -> Event:
    """What the program emitted for one of the samples. Its protocol's version is no package's, so it says it itself."""
    component = event.partition(".")[0]
    attributes = {"usage.component.name": component, "jina-proto": "0.1.13"}
    return Event("usage.component.start", NOON, "ab" * 16, attributes, scope="jina")


CASES = {
    # nothing known of packages, system and CI; an event that says nothing but its name
    "empty": Case(
        [Event("Client.start", NOON, "00" * 16)],
        settings=ENDPOINT,
        origin=Origin(ORIGIN.installation, ORIGIN.session, ORIGIN.started, "shop"),
    ),
    "one": Case([FLOW_START], settings=ENDPOINT),
    # the stop of a later release, under CI, with two packages that the tracking plan names
    "two": Case(
        [FLOW_START, FLOW_STOP],
        settings=ENDPOINT,
        origin=replace(
            ORIGIN,
            ci_vendor="GITHUB_ACTIONS",
            packages={**ORIGIN.packages, "jina": "3.27.1", "docarray": "0.40.0", "torch": "2.4.1", "faiss": ""},
        ),
    ),
    # a body that is a mapping joins the attributes, which win
    "nested": Case(
        [
            Event(
                "executors_loaded",
                NOON,
                "ab" * 16,
                attributes={"replicas": 3, "executors": [{"kind": "encoder"}, {"kind": "indexer"}]},
                body={"replicas": "from the body", "shards": {"first": [1, 2, [3]]}},
            )
        ],
        settings=ENDPOINT,
    ),
    # values without a JSON form of their own; documented keys cannot be forged, versions can be said
    "odd": Case(
        [
            Event(
                'quote " back\\slash \u2028 \ud83d\ude00 \ud800',
                time=-1,
                id="0dd0" * 8,
                attributes={
                    "uid": 7,
                    "session-id": "forged",
                    "event": "forged",
                    "jina": 3,
                    "jina-proto": "0.1.27",
                    "nan": float("nan"),
                    "int65": 2**64,
                    "decimal": Decimal("1.10"),
                    "bytes": b"\x00\xff",
                    "set": {10, 9, 1},
                    "lone surrogate": "a\ud800b",
                    "": {1: "int key", None: "null key"},
                    "line\nfeed": "\r\n\x00\x7f",
                },
                body="a text body is never sent",
            )
        ],
        settings=ENDPOINT,
    ),
    # the document's first sample payload
    "sample": Case([sample("WorkerRuntime.start")], settings=ENDPOINT, origin=SAMPLE_ORIGIN),
    # the same as the released client sends it, and an event of today
    "upstream": Case(
        [sample("WorkerRuntime.start"), FLOW_STOP],
        settings={**ENDPOINT, "dialect": "upstream"},
        attempt=2,
        origin=SAMPLE_ORIGIN,
    ),
}
