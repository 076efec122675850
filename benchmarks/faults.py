"""What becomes of 1,000 events under the same faults, in one run: usagewire, Segment's client, OTLP over HTTP.

    python -m benchmarks.faults

Each contender is a process of its own; after the fault the endpoint works, and the same program is started once more.
Printed: how many of the 1,000 have arrived in the end, and where the program ends by itself, how long that took.
"""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

COUNT = 1_000
PATIENCE = 40.0
"""Seconds after which a process that does not end is killed."""
SET_UP = {
    "usagewire": """
from usagewire.sdk import SegmentLogExporter as Exporter
exporter = Exporter(endpoint=URL, write_key="w")
""",
    "OTLP/HTTP": """
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
exporter = OTLPLogExporter(endpoint=URL + "/v1/logs")
""",
    "segment": """
from segment.analytics.client import Client
client = Client("w", host=URL, max_queue_size=COUNT + 1)
def emit(number):
    client.track(anonymous_id="a", event="work", properties={"number": f"n-{number}-n"})
""",
}
SDK = """
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
provider = LoggerProvider()
provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_queue_size=COUNT + 512))
logger = provider.get_logger("bench")
def emit(number):
    logger.emit(event_name="work", attributes={"number": f"n-{number}-n"})
"""
PROGRAM = """
import os, sys, time
URL, COUNT, FAULT = sys.argv[1], int(sys.argv[2]), sys.argv[3]
{set_up}
if FAULT == "forked":
    if os.fork():
        os.wait()
        sys.exit(0)
if FAULT != "started again":
    for number in range(COUNT):
        emit(number)
time.sleep(4)
print("ready", flush=True)
if FAULT == "killed":
    time.sleep(60)
"""
FAULTS = {
    "killed": "endpoint down, kill -9",
    "ended": "endpoint down, ordinary end",
    "refused once": "one 429, then all is well",
    "forked": "set up, fork, the child emits",
}


class Endpoint(BaseHTTPRequestHandler):
    """Knows the numbers that it has taken; ``status`` is what it answers, while ``left`` lasts, else 200."""

    disable_nagle_algorithm = True
    taken: ClassVar[set[bytes]] = set()
    status, left = 503, 0.0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        fails = Endpoint.left > 0
        Endpoint.left -= fails
        if not fails:
            Endpoint.taken |= set(re.findall(rb"n-(\d+)-n", body))
        self.send_response(Endpoint.status if fails else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        return


def start(who: str, url: str, fault: str, state: str) -> subprocess.Popen[str]:
    source = PROGRAM.format(set_up=SET_UP[who] + (SDK if who != "segment" else ""))
    environ = {**os.environ, "USAGEWIRE_STATE_DIR": state, "OTEL_SERVICE_NAME": "bench"}
    command = [sys.executable, "-c", source, url, str(COUNT), fault]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=quiet, text=True)


def suffer(who: str, url: str, fault: str) -> tuple[int, float | None]:
    """Events that arrived in the end, and the seconds that the end took."""
    down = fault in ("killed", "ended")
    Endpoint.taken, Endpoint.status = set(), 503 if down else 429
    Endpoint.left = float("inf") if down else float(fault == "refused once")
    took = None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as state:
        with start(who, url, fault, state) as process:
            assert process.stdout is not None
            process.stdout.readline()
            began = time.monotonic()
            if fault == "killed":
                process.send_signal(signal.SIGKILL)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            took = None if fault == "killed" else time.monotonic() - began
        Endpoint.left = 0
        with start(who, url, "started again", state) as process:
            process.wait(PATIENCE)
        until = time.monotonic() + 10
        while len(Endpoint.taken) < COUNT and time.monotonic() < until:
            time.sleep(0.1)
        return len(Endpoint.taken), took


def main() -> None:
    """Print a table."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    print(f"{'of 1,000 events arrived':<34}" + "".join(f"{who:>22}" for who in SET_UP))
    for fault, title in FAULTS.items():
        cells = []
        for who in SET_UP:
            arrived, took = suffer(who, url, fault)
            cells.append(f"{arrived:,}" + (f" (end {took:.1f} s)" if took is not None else ""))
        print(f"{title:<34}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
