"""What one event costs, beside the peers and the bare SDK, in one run on one machine.

    make bench
    python -m benchmarks.cost [--events 100000] [--rounds 3] [--latency-millis 50] [--json]

Each contender (`contenders.py`) is a process of its own that emits to a server on this machine; the rounds are
interleaved, each in an order of its own. Only the ratios mean anything: machines differ, and this one may be busy. Of
the throughput at a latency: the server takes that long for every answer.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, version
from statistics import median, quantiles
from typing import Any, ClassVar

from benchmarks.contenders import CONTENDERS, EVENT, FLOOR, OVER_GRPC, PACKAGES, PEER

WARM_UP = 50
MEASURES = {
    "rate": "events/s",
    "cpu": "CPU µs/event",
    "held": "held µs (median)",
    "held99": "held µs (p99)",
    "bytes": "wire bytes/event",
}


class Counting(BaseHTTPRequestHandler):
    """Counts events without parsing them, so that the server costs every contender the same."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes; the second would wait 40 ms
    lock = threading.Lock()
    events = 0
    received = 0
    latency: ClassVar[float] = 0.0

    def do_POST(self) -> None:
        self.count(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(b"{}")

    @staticmethod
    def count(raw: bytes) -> None:
        body = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
        with Counting.lock:
            Counting.events += body.count(EVENT.encode())
            Counting.received += len(raw)
        time.sleep(Counting.latency)

    def do_GET(self) -> None:
        self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def counting_grpc() -> Iterator[str]:
    """URL of a server that counts the same of what comes over gRPC, as it came: still compressed."""
    import grpc  # not on top: a contender's process would have it, too

    def answer(raw: bytes, _: Any) -> bytes:
        Counting.count(raw)
        return b""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc] # grpcio has no types
        def service(self, handler_call_details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(8), handlers=[Handler()], options=[("grpc.per_message_decompression", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@contextmanager
def counting() -> Iterator[str]:
    """URL of a server that counts what comes over HTTP."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def contend(name: str, count: int, url: str) -> None:
    """In a process of its own: run a contender, print what it took."""
    run = CONTENDERS[name]
    run(WARM_UP, url)  # imports and the first connection are paid before the clock starts
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    calls = run(count, url)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    shares = quantiles(calls, n=100)
    found = {"rate": count / took, "cpu": cpu / count * 1e6, "held": shares[49] / 1e3, "held99": shares[98] / 1e3}
    print(json.dumps(found))


def measure(name: str, count: int, url: str) -> dict[str, float]:
    """One round of one contender."""
    before_events, before_bytes = Counting.events, Counting.received
    with tempfile.TemporaryDirectory() as state:
        environ = {**os.environ, "USAGEWIRE_STATE_DIR": state, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-m", "benchmarks.cost", "--contend", name, "--events", str(count), "--url", url]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    arrived, wanted = Counting.events - before_events, 0 if name == FLOOR else count + WARM_UP
    if arrived != wanted:
        raise SystemExit(f"{name}: {arrived:,} of {wanted:,} events arrived")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "bytes": (Counting.received - before_bytes) / max(arrived, 1)}


def table(medians: dict[str, dict[str, float]]) -> None:
    """Print the medians and what they are of the peer's and of the floor's."""
    print(f"{'':18}" + "".join(f"{title:>18}" for title in MEASURES.values()))
    for name, found in medians.items():
        print(f"{name:18}" + "".join(f"{found[key]:18,.1f}" for key in MEASURES))
    for name in (one for one in medians if one.startswith("usagewire")):
        ours, peer, floor = medians[name], medians.get(PEER), medians.get(FLOOR)
        if peer:
            rate, cpu, held = (ours[key] / peer[key] for key in ("rate", "cpu", "held"))
            print(f"\n{name}: {rate:.1f} × {PEER}'s throughput, {cpu:.2f} × its CPU, {held:.2f} × its hold")
        if floor:
            print(f"{name}: {ours['cpu'] / floor['cpu']:.2f} × the CPU of the SDK with a no-op exporter")


def installed(name: str) -> bool:
    """Whether a contender's package is there: the peers come with the dependency group ``bench`` only."""
    try:
        version(PACKAGES.get(name.partition(",")[0], "usagewire"))
    except PackageNotFoundError:
        return False
    return True


def main() -> None:
    """Run all rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-millis", type=float, default=0.0)
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    parser.add_argument("--contend", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.contend:
        contend(said.contend, said.events, said.url)
        return
    Counting.latency = said.latency_millis / 1000
    names = [name for name in CONTENDERS if installed(name)]
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with counting() as http, counting_grpc() as grpc:
        for number in range(said.rounds):
            for name in random.sample(names, len(names)):  # who comes after whom matters on a busy machine
                print(f"round {number + 1} of {said.rounds}: {name} …", file=sys.stderr, flush=True)
                rounds[name].append(measure(name, said.events, grpc if name in OVER_GRPC else http))
    medians = {name: {key: median(one[key] for one in found) for key in MEASURES} for name, found in rounds.items()}
    if said.json:
        print(json.dumps(medians))
    else:
        table(medians)


if __name__ == "__main__":
    main()
