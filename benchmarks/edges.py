"""What usagewire costs at the edges, beside the peers: to import, to end, and in memory while the endpoint is down.

    make bench
    python -m benchmarks.edges [--rounds 5] [--waiting 100000] [--json]
    python -m benchmarks.edges --exits 100

Each figure is the median of interleaved rounds, less what the bare SDK takes for the same. The endpoint accepts
connections and never answers, as one behind a firewall does, so that ending costs whatever a client waits for.

``--exits`` measures the end alone, so often, in turn with an exporter that does nothing: median and 99th percentile of
``provider.shutdown()``, and of all that comes after the last event.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from statistics import median, quantiles

IMPORTS = {
    "usagewire": "from usagewire.sdk import SegmentLogExporter, SegmentMetricExporter",
    "segment": "import segment.analytics",
    "posthog": "import posthog",
    "rudderstack": "import rudderstack.analytics",
    "OTLP/HTTP": "import opentelemetry.exporter.otlp.proto.http._log_exporter",
    "OTLP/gRPC": "import opentelemetry.exporter.otlp.proto.grpc._log_exporter",
}
SDK = "import opentelemetry.sdk._logs.export, opentelemetry.sdk.metrics.export"
PATIENCE = 30.0
"""Seconds after which a process that does not end is killed; some clients would take many minutes."""
MAKE = {
    "no-op exporter": """
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter as Exporter
class Nothing(Exporter):
    def export(self, batch):
        return None
processor = BatchLogRecordProcessor(Nothing(), max_queue_size=COUNT + 512)
""",
    "usagewire": """
from usagewire.sdk import SegmentLogExporter
processor = BatchLogRecordProcessor(SegmentLogExporter(endpoint=URL, write_key="w"), max_queue_size=COUNT + 512)
""",
    "usagewire, lean": """
from usagewire.sdk import LeanLogRecordProcessor, SegmentLogExporter
processor = LeanLogRecordProcessor(SegmentLogExporter(endpoint=URL, write_key="w"), max_queue_size=COUNT + 512)
""",
    "OTLP/HTTP": """
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
processor = BatchLogRecordProcessor(OTLPLogExporter(endpoint=URL + "/v1/logs"), max_queue_size=COUNT + 512)
""",
    "OTLP/gRPC": """
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
processor = BatchLogRecordProcessor(OTLPLogExporter(endpoint=URL), max_queue_size=COUNT + 512)
""",
}
EMIT = """
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
{make}
provider = LoggerProvider()
provider.add_log_record_processor(processor)
logger = provider.get_logger("bench")
def emit(number):
    logger.emit(event_name="deployment_started", attributes={{"number": number, "db_backend": "mysql", "ok": True}})
finish = provider.force_flush
"""
CLIENT = """
from {module} import Client
client = Client("w", host=URL, max_queue_size=COUNT + 1)
def emit(number):
    client.track(anonymous_id="a", event="deployment_started", properties={{"number": number, "db_backend": "mysql"}})
finish = lambda timeout_millis=0: None
import atexit
atexit.register(client.join)
"""
EMITTERS = {
    **{name: EMIT.format(make=make) for name, make in MAKE.items()},
    "segment": CLIENT.format(module="segment.analytics.client"),
    "rudderstack": CLIENT.format(module="rudderstack.analytics.client"),
}
MEMORY = """
import time
def resident():
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))
for number in range(100):
    emit(number)
finish(timeout_millis=1)
time.sleep(1)
before = resident()
for number in range(COUNT):
    emit(number)
    if number % 400 == 0:
        time.sleep(0.005)
if LOCAL:
    finish(timeout_millis=60_000)
print(resident() - before)
import os
os._exit(0)
"""
END = """
import time
emit(0)
time.sleep(1.5)
emit(1)
print(time.time(), flush=True)
"""
SHUTDOWN = """
import time
emit(0)
time.sleep(1.5)
emit(1)
began = time.time()
provider.shutdown()
print(began, time.time() - began, flush=True)
"""


def python(code: str, state: str, patience: float = 300) -> tuple[str, float]:
    """Run it; what it printed, and when it had ended, or when patience was at an end."""
    environ = {**os.environ, "USAGEWIRE_STATE_DIR": state, "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.DEVNULL) as process:  # fmt: skip
        try:
            printed, _ = process.communicate(timeout=patience)  # `wait` looks every 50 ms only
        except subprocess.TimeoutExpired:
            process.kill()
            printed, _ = process.communicate()
        return printed, time.time()


def importing(name: str) -> float:
    """Milliseconds over the SDK's own import."""
    lines = f"import time\n{SDK}\nbegan = time.perf_counter()\n{IMPORTS[name]}\nprint(time.perf_counter() - began)"
    with tempfile.TemporaryDirectory() as state:
        printed, _ = python(lines, state)
    return float(printed) * 1000 if printed else float("nan")


def remembering(name: str, count: int, url: str) -> float:
    """MiB that a process grows by while so many events wait."""
    local = name in ("usagewire", "usagewire, lean")
    head = f"COUNT, URL, LOCAL = {count}, {url!r}, {local}\n"
    with tempfile.TemporaryDirectory() as state:
        printed, _ = python(head + EMITTERS[name] + MEMORY, state)
    return float(printed) if printed else float("nan")


def ending(name: str, url: str) -> float:
    """Milliseconds from the last event to the end of the process."""
    with tempfile.TemporaryDirectory() as state:
        printed, ended = python(f"COUNT, URL = 100, {url!r}\n" + EMITTERS[name] + END, state, PATIENCE)
    return (ended - float(printed)) * 1000 if printed else float("nan")


def shutting_down(name: str, url: str) -> tuple[float, float]:
    """Milliseconds in ``provider.shutdown()``, and from its beginning to the end of the process."""
    with tempfile.TemporaryDirectory() as state:
        printed, ended = python(f"COUNT, URL = 100, {url!r}\n" + EMITTERS[name] + SHUTDOWN, state, PATIENCE)
    began, took = map(float, printed.split())
    return took * 1000, (ended - began) * 1000


def exits(count: int, url: str) -> None:
    """Print what the end costs, beside an exporter that does nothing, run by run in turn."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("no-op exporter", "usagewire")}
    for number in range(count):
        print(f"end {number + 1} of {count} …", file=sys.stderr, flush=True)
        for name, each in found.items():
            each.append(shutting_down(name, url))
    for at, title in enumerate(("in provider.shutdown()", "from its beginning to the end of the process")):
        print(f"ms {title}, endpoint silent, {count} ends each: median, p99")
        for name, each in found.items():
            values = [pair[at] for pair in each]
            print(f"    {name:18}{median(values):10,.1f}{quantiles(values, n=100)[98]:10,.1f}")


def main() -> None:
    """Measure all, round by round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--exits", type=int, metavar="N", help="measure the end alone, N times each, at least 2")
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    said = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0), backlog=512) as hole:
        url = f"http://127.0.0.1:{hole.getsockname()[1]}"
        if said.exits:
            exits(said.exits, url)
            return
        rounds: dict[str, dict[str, list[float]]] = {"import": {}, "exit": {}, "memory": {}}
        for number in range(said.rounds):
            print(f"round {number + 1} of {said.rounds} …", file=sys.stderr, flush=True)
            for name in IMPORTS:
                rounds["import"].setdefault(name, []).append(importing(name))
            for name in EMITTERS:
                rounds["exit"].setdefault(name, []).append(ending(name, url))
        for name in EMITTERS:
            rounds["memory"].setdefault(name, []).append(remembering(name, said.waiting, url))
    found = {key: {name: median(each) for name, each in by_name.items()} for key, by_name in rounds.items()}
    if said.json:
        print(json.dumps(found))
        return
    units = {
        "import": "ms to import, over the SDK's own",
        "exit": "ms from the last event to the end of the process, endpoint silent",
        "memory": f"MiB grown with {said.waiting:,} events waiting, endpoint silent",
    }
    for key, by_name in found.items():
        print(units[key])
        for name, value in by_name.items():
            print(f"    {name:18}{value:10,.1f}")


if __name__ == "__main__":
    main()
