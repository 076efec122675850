"""What the report formats cost: keeping a collection, folding it, compiling a period, and a session over gRPC.

    make bench
    python -m benchmarks.reports [--rounds 5] [--json]

Milliseconds, best of the rounds: these are one thread's own work. Compiling is measured at two sizes, because what
matters is that it grows with a period's series and not with what was recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from usagewire.signals import Origin

SERIES = 2_000
END = 900 * 10**9
"""Of the period, in nanoseconds."""
ORIGIN = Origin(installation="i", session="s", started=0, service="bench")


def best(rounds: int, work: Callable[[], object]) -> float:
    """Milliseconds of CPU on this thread."""
    taken: list[int] = []
    for _ in range(rounds):
        began = time.thread_time_ns()
        work()
        taken.append(time.thread_time_ns() - began)
    return min(taken) / 1e6


def folding(rounds: int) -> dict[str, float]:
    """2,000 points of one collection: their lines, folded into an empty period and into one that has them."""
    from usagewire.signals import Point
    from usagewire.state import lines
    from usagewire.state.fold import Gathered, fold

    points = [Point("usage.transfers", "sum", 1_700_000_000 * 10**9, {"kind": f"k{n}"}, n) for n in range(SERIES)]
    payloads = [lines.point(point) for point in points]
    known = Gathered()
    fold(known, payloads, "a")
    return {
        "encoding 2,000 points": best(rounds, lambda: [lines.point(point) for point in points]),
        "folding 2,000 points into an empty period": best(rounds, lambda: fold(Gathered(), payloads, "a")),
        "folding 2,000 points into a period that has them": best(rounds, lambda: fold(known.copy(), payloads, "b")),
    }


def gathered(sizes: int) -> Any:
    """A period in which so many file sizes were observed, through the real SDK's aggregation."""
    os.environ["USAGEWIRE_STATE_DIR"] = tempfile.mkdtemp()
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from usagewire.formats import load
    from usagewire.sdk import JetstreamMetricExporter, from_metrics
    from usagewire.signals import Period
    from usagewire_instrumentation import FileSizes

    exporter: Any = JetstreamMetricExporter(endpoint="http://127.0.0.1:9", delivery="manual")
    reader = InMemoryMetricReader(exporter._preferred_temporality, exporter._preferred_aggregation)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    recorder = FileSizes(meter_provider=provider)
    for number in range(sizes):
        recorder.observe(number)
    data: Any = reader.get_metrics_data()
    admit, settings = load("jetstream").admit, {"data_sets": None}
    points = [admit(point, settings) for _, group in from_metrics.points(data) for point in group]
    return Period(1, 0, END, tuple(point for point in points if point is not None), (), "5e" * 16)


def compiling(rounds: int, sizes: int) -> float:
    """A JetStream session of that period."""
    period, compile, settings = gathered(sizes), *compiler("http://127.0.0.1:9")
    return best(rounds, lambda: compile(period, ORIGIN, settings, END))


def compiler(endpoint: str) -> tuple[Any, Any]:
    """JetStream's ``compile``, and its settings."""
    from usagewire.config import resolve
    from usagewire.formats import load

    fmt = load("jetstream")
    return fmt.compile, resolve(fmt, {"endpoint": endpoint, "protocol": "grpc"}, {})


def over_grpc(rounds: int) -> float:
    """One session, over loopback, connection open."""
    from usagewire.delivery import open_transport
    from usagewire.formats import load
    from usagewire.inspector.grpc_receiver import GrpcReceiver

    with GrpcReceiver() as receiver:
        compile, settings = compiler(receiver.url)
        (item,) = compile(gathered(1_000), ORIGIN, settings, END)
        request, _ = load("jetstream").pack([item.data], settings, END, 1)
        transport = open_transport(settings)
        taken: list[float] = []
        for _ in range(rounds * 20):
            began = time.perf_counter()
            answer = transport.send(request)
            taken.append((time.perf_counter() - began) * 1000)
            assert answer.status == 200, answer
        transport.close()
    return min(taken)


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    said = parser.parse_args()
    found = folding(said.rounds)
    for sizes in (1_000, 1_000_000):
        print(f"recording {sizes:,} file sizes …", file=sys.stderr, flush=True)
        found[f"compiling a period of {sizes:,} file sizes"] = compiling(said.rounds, sizes)
    found["a JetStream session over gRPC, there and back"] = over_grpc(said.rounds)
    if said.json:
        print(json.dumps(found))
        return
    print("milliseconds")
    for name, value in found.items():
        print(f"    {name:52}{value:9.2f}")


if __name__ == "__main__":
    main()
