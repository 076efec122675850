"""What one event costs, beside segment-analytics-python and the bare SDK, in one run on one machine.

    python benchmarks/cost.py [--events 20000] [--rounds 3]

Each contender is a process of its own that emits events with five properties as fast as it can to a server on this
machine, and is done when the server has them all (the bare SDK: when its exporter, which does nothing, has). Printed:
events per second from first to last, CPU time of the whole process per event, and how long the emitting thread was
kept. Only the ratios mean anything: machines differ, and this one may be busy.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from typing import Any

CONTENDERS = ("no-op exporter", "usagewire", "usagewire, lean processor", "segment-analytics-python 2.4.0")


class Counting(BaseHTTPRequestHandler):
    """Counts events without parsing them, so that the server costs every contender the same."""

    protocol_version = "HTTP/1.1"
    seen = 0
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with Counting.lock:
            Counting.seen += body.count(b'"messageId"')
        self._answer(b"{}")

    def do_GET(self) -> None:
        self._answer(str(Counting.seen).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


def properties(number: int) -> dict[str, Any]:
    return {"db_backend": "mysql", "server_version": "1.30.0", "commit_id": "9f3b6c1e", "number": number, "ok": True}


def emit_sdk(count: int, processor: Any) -> tuple[float, Any]:
    from opentelemetry.sdk._logs import LoggerProvider

    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    logger = provider.get_logger("bench")
    began = time.perf_counter()
    for number in range(count):
        logger.emit(event_name="deployment_started", attributes=properties(number))
    kept = time.perf_counter() - began
    return kept, provider


def no_op_exporter(count: int, url: str) -> float:
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult

    class Nothing(LogRecordExporter):
        def export(self, batch: Any) -> LogRecordExportResult:
            return LogRecordExportResult.SUCCESS

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return True

        def shutdown(self) -> None:
            return

    kept, provider = emit_sdk(count, BatchLogRecordProcessor(Nothing(), max_queue_size=count + 512))
    provider.shutdown()
    return kept


def usagewire(count: int, url: str) -> float:
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    return through(BatchLogRecordProcessor, count, url)


def usagewire_lean(count: int, url: str) -> float:
    from usagewire.sdk import LeanLogRecordProcessor

    return through(LeanLogRecordProcessor, count, url)


def through(processor: Any, count: int, url: str) -> float:
    from usagewire import pipeline
    from usagewire.sdk import SegmentLogExporter

    exporter = SegmentLogExporter(endpoint=url, write_key="bench", delivery="thread")
    kept, provider = emit_sdk(count, processor(exporter, max_queue_size=count + 512))
    provider.force_flush()
    assert pipeline.flush(60_000)
    provider.shutdown()
    return kept


def segment(count: int, url: str) -> float:
    from segment.analytics.client import Client

    client = Client("bench", host=url, max_queue_size=count + 1)
    began = time.perf_counter()
    for number in range(count):
        client.track(anonymous_id="9f3b6c1e-0000-4000-8000-000000000000", event="deployment_started",
                     properties=properties(number))  # fmt: skip
    kept = time.perf_counter() - began
    client.flush()
    client.join()
    return kept


def contend(name: str, count: int, url: str) -> None:
    run = dict(zip(CONTENDERS, (no_op_exporter, usagewire, usagewire_lean, segment), strict=True))[name]
    run(50, url)  # imports and the first connection are paid before the clock starts
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    kept = run(count, url)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"rate": count / took, "cpu": cpu / count * 1e6, "host": kept / count * 1e6}))


def measure(name: str, count: int, url: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as state:
        environ = {**os.environ, "USAGEWIRE_STATE_DIR": state, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, __file__, "--contend", name, "--events", str(count), "--url", url]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    parser.add_argument("--contend", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.contend:
        contend(said.contend, said.events, said.url)
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for number in range(said.rounds):
        for name in CONTENDERS:
            before = Counting.seen
            print(f"round {number + 1} of {said.rounds}: {name} …", file=sys.stderr, flush=True)
            rounds[name].append(measure(name, said.events, url))
            arrived, wanted = Counting.seen - before, 0 if name == CONTENDERS[0] else said.events + 50
            if arrived != wanted:
                raise SystemExit(f"{name}: {arrived} of {wanted} events arrived")
    server.shutdown()
    server.server_close()
    medians = {
        name: {key: median(one[key] for one in found) for key in ("rate", "cpu", "host")}
        for name, found in rounds.items()
    }
    if said.json:
        print(json.dumps(medians))
        return
    floor, *ours, peer = CONTENDERS
    print(f"{'':32}{'events/s':>12}{'CPU µs/event':>16}{'held µs/event':>16}")
    for name, found in medians.items():
        print(f"{name:32}{found['rate']:12,.0f}{found['cpu']:16.1f}{found['host']:16.1f}")
    for name in ours:
        rate, cpu, host = (medians[name][key] / medians[peer][key] for key in ("rate", "cpu", "host"))
        bare = medians[name]["cpu"] / medians[floor]["cpu"]
        print(f"\n{name}, beside segment-analytics-python: {rate:.1f} × its throughput, {cpu:.2f} × its CPU, "
              f"{host:.2f} × its hold\n{name}, beside the SDK with a no-op exporter: {bare:.2f} × its CPU")  # fmt: skip


if __name__ == "__main__":
    main()
