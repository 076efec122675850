"""What `make demo` runs: a real program, real receivers on this machine, and everything that goes between them.

The programs are ferry.py and stone.py, which know nothing of usagewire's exporters: their environment names them.
Nothing leaves this machine and nothing stays on it. Exit status 1 when what arrived is not what they did.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import webbrowser
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from pathlib import Path

from usagewire.inspector.describe import describe
from usagewire.inspector.grpc_receiver import GrpcReceiver
from usagewire.inspector.journal import Journal
from usagewire.inspector.receiver import Receiver
from usagewire.inspector.routes import Received
from usagewire.inspector.serve import Inspector

FERRY, STONE = Path(__file__).with_name("ferry.py"), Path(__file__).with_name("stone.py")
INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")
COMPONENT_EVENTS = ("server_start", "client_start", "client_stop", "server_stop")
COUNTED = {
    "file sizes": ("total",),
    "transfer sizes": ("queued", "bytes"),
    "transfer status": ("queued", "started", "completed", "failed"),
    "round trip times": ("count",),
    "transmission rates": ("files",),
}
"""What adds up of the data sets."""
JINA, TTS = "all events once more (jina)", "the command line's message (tts)"
INTERVAL = 1.0
"""Seconds of a report period, which usually is 15 minutes, or a day."""
PATIENCE = 8.0
"""Seconds to wait for what should take one or two."""


def main() -> None:
    """Run the whole way once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=24, metavar="N", help="files to carry (default: %(default)s)")
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    parser.add_argument("--page", action="store_true", default=at_terminal, help="show it on a page, too, till Enter")
    options = parser.parse_args()
    files, journal = options.files, Journal()
    folder = tempfile.TemporaryDirectory(prefix="usagewire-demo-", ignore_cleanup_errors=True)
    with (
        folder as state,
        Receiver(watch=journal.take) as events,
        GrpcReceiver(watch=journal.take) as reports,
        page(state, journal, events, reports) if options.page else nullcontext(),
    ):
        home = {"USAGEWIRE_STATE_DIR": state}
        moved, plain_lines = run_ferry(files, events.url, reports.url, home)
        expected = expect(files, moved)

        def arrived(*names: str) -> Callable[[], bool]:
            return lambda: all(expected[name] <= tally(events, reports)[name] for name in names)

        with progress("waiting for ferry's events"):
            events.wait_for(arrived("transfer_finished", JINA, *COMPONENT_EVENTS), PATIENCE)
        with progress("waiting for the end of the metrics' report period"):
            time.sleep(INTERVAL + 0.5)
        title("From another shell, with the program stopped: send the report that is due")
        usagewire("send", home)
        with progress("waiting for ferry's metrics"):
            reports.wait_for(arrived(*expected), PATIENCE)

        title("What the receivers got: events in two formats and a message over HTTP, a report over gRPC")
        for text in readable(sorted([*events.requests, *reports.requests], key=lambda received: received.time)):
            print(text, end="")
        title("The final state")
        usagewire("status", home)
        title("What ferry did, and what arrived")
        faults = compare(expected, events, reports, plain_lines)
        with Receiver(watch=journal.take) as cluster:
            faults += run_stone(cluster, home)
        if faults:
            sys.exit("\n".join(["", "demo failed:", *faults]))
        print(
            f"\nAll of it arrived, once, and nothing else: {plain_lines} plain log lines that name files stayed here."
        )


def run_ferry(files: int, events: str, reports: str, home: Mapping[str, str]) -> tuple[int, int]:
    """Run ferry under opentelemetry-instrument: bytes it moved, plain log lines it wrote."""
    settings = {
        "OTEL_SERVICE_NAME": "ferry",
        "OTEL_LOGS_EXPORTER": "segment,jina,tts",
        "OTEL_METRICS_EXPORTER": "jetstream",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_EXPORTER_SEGMENT_ENDPOINT": events,
        "OTEL_EXPORTER_SEGMENT_WRITE_KEY": "demo-key",
        "OTEL_EXPORTER_JINA_ENDPOINT": f"{events}/jina",
        "OTEL_EXPORTER_TTS_ENDPOINT": f"{events}/collect",
        "OTEL_EXPORTER_TTS_INTERVAL": f"{INTERVAL * 1000:.0f}",
        "OTEL_EXPORTER_JETSTREAM_ENDPOINT": reports,
        "OTEL_EXPORTER_JETSTREAM_INTERVAL": f"{INTERVAL * 1000:.0f}",
        "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true",  # plain log lines take the same way
        **home,
    }
    arguments = ["demo", "--files", str(files), "--verbose"]
    title("A program without a line about where its telemetry goes")
    print(*(f"{name}={value} \\" for name, value in settings.items()), sep="\n")
    print("opentelemetry-instrument python examples/ferry.py", *arguments, end="\n\n", flush=True)
    done = subprocess.run(
        [INSTRUMENT, sys.executable, FERRY, *arguments],
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stderr.splitlines()
    plain = sum(line.startswith("INFO:ferry:") for line in lines)
    print(done.stdout, *(f"{line}\n" for line in lines if not line.startswith("INFO:ferry:")), sep="", end="")
    moved = re.search(r": (\d+) bytes", done.stdout)
    if done.returncode or moved is None:
        sys.exit(f"demo failed: ferry ended with status {done.returncode}")
    return int(moved[1]), plain


def run_stone(cluster: Receiver, home: Mapping[str, str]) -> list[str]:
    """A cluster's report in channels, and its disks', from its own command line; what is wrong, in sentences."""
    settings = {
        "OTEL_SERVICE_NAME": "stone",
        "OTEL_LOGS_EXPORTER": "stone",
        "OTEL_METRICS_EXPORTER": "stone",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_EXPORTER_STONE_ENDPOINT": cluster.url,
        **home,
    }

    def stone(*arguments: str) -> str:
        print(f"\n$ stone {' '.join(arguments)}\n", flush=True)
        command = [str(INSTRUMENT), sys.executable, str(STONE), *arguments]
        done = subprocess.run(
            command, env=environment(settings), capture_output=True, text=True, timeout=60, check=False
        )
        told = [line for line in done.stderr.splitlines() if "devices reported" in line or "left out" in line]
        print(done.stdout, *(f"{line}\n" for line in told), sep="", end="", flush=True)
        return str(done.stdout)

    title("Another program: a cluster, which shares nothing before somebody has agreed to the licence")
    stone("telemetry", "on", "--license", "sharing-1-0")
    ran = stone("run")
    stone("telemetry", "show", "--full")
    stone("telemetry", "show-device")
    stone("telemetry", "send")
    disks = int((re.findall(r"(\d+) disks", ran) or ["0"])[0])
    if not disks:
        print("\nNo device report: smartctl has found no disk here that it may ask; it said so above.")
    cluster.wait_for(lambda: bool(cluster.requests), PATIENCE)
    sent = [event for request in cluster.requests if request.path == "/report" for event in request.events]
    faults = [f"a receiver complained: {complaint}" for complaint in cluster.complaints()]
    if len(sent) != 1 or not {"crashes", "osd", "usage", "metadata", "balancer"} <= sent[0].keys():
        faults.append("the cluster's report did not arrive once, with every section")
    if bool(disks) != any(request.path == "/device" for request in cluster.requests):
        faults.append("the disks' reports did not arrive")
    if any(b"secret-object" in request.body for request in cluster.requests):
        faults.append("a message of an exception left the program")
    return faults


def usagewire(command: str, home: Mapping[str, str]) -> None:
    """Run our command line as an operator would: it knows where the state is, and nothing else."""
    print(f"usagewire {command}\n", flush=True)
    subprocess.run([sys.executable, "-m", "usagewire", command], env=environment(home), timeout=60, check=False)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours, without telemetry settings from elsewhere. A DO_NOT_TRACK would leave nothing to show; nothing leaves
    this machine either way."""
    foreign = ("OTEL_", "USAGEWIRE_", "RS_", "DO_NOT_TRACK")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "NO_PROXY": "127.0.0.1", **settings}


# -- what came ----------------------------------------------------------------------------------------------------


def readable(requests: Sequence[Received]) -> Iterator[str]:
    """The requests line by line, of those with one event each the first two; equal events after the first two counted
    only, lines as wide as a screen."""
    single = [received for received in requests if received.path == "/jina"]
    for received in requests:
        if received in single[2:]:
            continue
        for _, group in groupby(describe(received).splitlines(), key=lambda line: line.split()[0]):
            alike = list(group)
            yield from (f"{line if len(line) <= 150 else line[:147] + '...'}\n" for line in alike[:2])
            if len(alike) > 2:
                yield f"    … and {len(alike) - 2} more\n"
    yield f"… and {len(single[2:])} more to /jina, of one event each\n"


def expect(files: int, moved: int) -> Counter[str]:
    """What must arrive when ferry moved ``files`` files of ``moved`` bytes together."""
    expected = Counter(dict.fromkeys(COMPONENT_EVENTS, 1))
    expected.update({"transfer_finished": files, "transfer_finished, bytes": moved, "usage.command": 1})
    expected.update({JINA: expected.total() - moved, TTS: 1})
    expected.update({f"transfer status, {state}": files for state in ("queued", "started", "completed")})
    expected.update({"file sizes, total": files, "transfer sizes, queued": files, "transfer sizes, bytes": moved})
    expected.update({"round trip times, count": files, "transfer rates": 1, "transmission rates, files": files})
    return expected


def tally(events: Receiver, reports: GrpcReceiver) -> Counter[str]:
    """The same of what did arrive, added up over all reports."""
    found: Counter[str] = Counter()
    for event in events.events():
        found[event["event"] if "type" in event else JINA if "event" in event else TTS] += 1
        if event.get("event") == "transfer_finished" and "type" in event:
            found["transfer_finished, bytes"] += event["properties"]["size"]
    for data in reports.events():
        name = data["event"]
        for value in COUNTED.get(name, ()):
            found[f"{name}, {value}"] += data["properties"][value]
        found["transfer rates"] += name == "transfer rates"
    return found


def compare(expected: Counter[str], events: Receiver, reports: GrpcReceiver, plain_lines: int) -> list[str]:
    """Print both sides; what is wrong, in sentences."""
    found = +tally(events, reports)
    complaints = [*events.complaints(), *reports.complaints()]
    faults = [f"a receiver complained: {complaint}" for complaint in complaints]
    print(f"  {'':36} {'ferry did':>10} {'arrived':>10}")
    for name in [*expected, *(found.keys() - expected.keys())]:
        print(f"  {name:36} {expected[name]:>10} {found[name]:>10}", end="")
        print("" if expected[name] == found[name] else "  differs")
    print(f"  {'complaints of the receivers':36} {0:>10} {len(complaints):>10}")
    if expected != found:
        faults.append("what arrived is not what ferry did")
    ids = [event["messageId"] for event in events.events() if "messageId" in event]
    if len(set(ids)) < len(ids):
        faults.append("an event arrived twice")
    if not plain_lines:
        faults.append("ferry wrote no plain log lines, so that nothing shows that they stay here")
    if any(b"shelf-" in received.body for received in [*events.requests, *reports.requests]):
        faults.append("a file's name left the program")
    return faults


# -- the page -----------------------------------------------------------------------------------------------------


@contextmanager
def page(state: str, journal: Journal, events: Receiver, reports: GrpcReceiver) -> Iterator[None]:
    """What `usagewire inspect` shows, from before anything happens until somebody has seen enough."""
    os.environ["USAGEWIRE_STATE_DIR"] = state
    with Inspector(journal, (events, reports), {"HTTP": events.url, "gRPC": reports.url}) as inspector:
        title("Watch it arrive, on a page of this machine")
        print(inspector.url, flush=True)
        if sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
            webbrowser.open(inspector.url)  # elsewhere it might be a browser that takes over the terminal
        yield
        print("\nThe page stays until you press Enter.", flush=True)
        sys.stdin.readline()


# -- the screen ---------------------------------------------------------------------------------------------------


def title(text: str) -> None:
    """A heading."""
    print(f"\n── {text} {'─' * (100 - len(text))}\n", flush=True)


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Show that something goes on: a dot every half second."""
    done = threading.Event()

    def dots() -> None:
        while not done.wait(0.5):
            print(".", end="", flush=True)

    print(f"\n{what} ", end="", flush=True)
    thread = threading.Thread(target=dots, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        print(flush=True)


if __name__ == "__main__":
    main()
