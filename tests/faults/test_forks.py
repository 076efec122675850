"""R9: workers of every kind beside one parent, as servers that preload have them: nothing lost, nothing shared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.intakes import account
from tests.support.programs import EMIT, Program
from usagewire import forks
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow

EACH = 10_000
WORKERS = ["fork"] * 4 + ["multiprocessing fork"] * 2 + ["multiprocessing spawn"] * 2

SERVER = """
    import json, logging, multiprocessing, os, random, sys, threading, warnings
    from pathlib import Path

    # Python 3.12 warns of every fork beside a thread, and OpenTelemetry's own worker is one
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    EACH, FOLDER, WORKERS = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    if "fork untold" in WORKERS:
        del os.register_at_fork  # Python's own modules have theirs already

    def preload():
        global provider, logger
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        from opentelemetry.sdk.resources import Resource
        from usagewire.sdk import SegmentLogExporter

        provider = LoggerProvider(Resource({"service.name": "shop"}))
        provider.add_log_record_processor(BatchLogRecordProcessor(SegmentLogExporter(), max_queue_size=2 * EACH))
        logger = provider.get_logger("shop")

    def held():
        # the queue's files that are open in this process
        found = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
        return sorted(path for path in found if "/queue/" in path)

    def work(name):
        if "spawn" in name:
            preload()
        for number in range(EACH):
            logger.emit(event_name="work", attributes={"who": name, "number": number})
            if number >= EACH - 2:
                provider.force_flush(120_000)
        (FOLDER / name).write_text(json.dumps(held()))

    def run():
        preload()
        logger.emit(event_name="preloaded")
        provider.force_flush(120_000)
        (FOLDER / "parent").write_text(json.dumps(held()))
        children, forked = [], []
        for number, kind in enumerate(WORKERS):
            name = f"{kind} {number}"
            if kind.startswith("fork"):
                child = os.fork()
                if not child:
                    work(name)
                    sys.exit(0)
                forked.append(child)
            else:
                context = multiprocessing.get_context(kind.split()[1])
                children.append(context.Process(target=work, args=(name,)))
                children[-1].start()
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in forked]
        [child.join() for child in children]
        codes += [child.exitcode for child in children]
        from opentelemetry._logs import set_logger_provider
        import usagewire
        set_logger_provider(provider)
        print(codes, usagewire.flush(120_000))

    if __name__ == "__main__":
        run()
"""


def test_eight_workers_lose_nothing(tmp_path: Path) -> None:
    """Forked by a server that had loaded everything, by multiprocessing, and spawned: 10,000 events of each of eight
    arrive, exactly 80,000, and no two processes have a file of the queue open."""
    seen = tmp_path / "seen"
    seen.mkdir()
    with Receiver() as receiver:
        program = Program(tmp_path, receiver.url)
        with program.start(SERVER, str(EACH), str(seen), *WORKERS, instrument=False) as process:
            out, err = process.communicate(timeout=170)

        assert (f"{[0] * len(WORKERS)} True\n", "") == (out, err)
        found = {event["messageId"]: event for event in receiver.events()}

    counts = Counter(event["properties"].get("who", "parent") for event in found.values())
    assert {"parent": 1, **{f"{kind} {number}": EACH for number, kind in enumerate(WORKERS)}} == counts
    assert len(found) == len({(e["properties"].get("who"), e["properties"].get("number")) for e in found.values()})
    files = [path for name in seen.iterdir() for path in json.loads(name.read_text())]
    assert 1 < len(files) == len(set(files))


def test_children_forked_past_pythons_hooks_share_nothing(tmp_path: Path) -> None:
    """uWSGI forks in C, and no hook of ours runs: a child notices by itself, lets go of the parent's files and writes
    to its own; all that it emits arrives."""
    workers, each = ["fork untold"] * 3, 300
    with Receiver() as receiver:
        # nothing is sent before the end, as no fork would wait for what that loads
        program = Program(tmp_path, receiver.url, settings={"OTEL_EXPORTER_SEGMENT_DELIVERY": "manual"})
        with program.start(SERVER, str(each), str(tmp_path), *workers, instrument=False) as process:
            assert (f"{[0] * len(workers)} True\n", "") == process.communicate(timeout=120)
        found = {event["messageId"]: event for event in receiver.events()}

    counts = Counter(event["properties"].get("who", "parent") for event in found.values())
    names = [f"{kind} {number}" for number, kind in enumerate(workers)]
    assert {"parent": 1, **dict.fromkeys(names, each)} == counts
    files = [path for name in ("parent", *names) for path in json.loads((tmp_path / name).read_text())]
    stems = [path.partition(".")[0] for path in files]
    assert len(stems) == len(set(stems))
    assert {"delivered": len(found), "waiting": 0} == account(program.state)


LOADING = (
    """
    import os, sys, threading
    from usagewire import forks

    loaded, opened = [], []

    def hear(what, values):
        locked = what == "open" and str(values[0]).endswith(("/lock", ".open", ".tmp")) and values[2] & os.O_RDWR
        if (what == "import" or locked) and threading.current_thread() is not threading.main_thread():
            if not forks._loading._is_owned():
                loaded.append(values[0])
            elif locked:
                opened.append(values[0].rpartition(".")[2].rpartition("/")[2])

    sys.addaudithook(hear)
"""
    + EMIT
    + """
    from opentelemetry.metrics import get_meter
    get_meter("shop").create_counter("usage.a").add(1)
    logger.emit(event_name="work", attributes={"home": "/home/ada/x", "blob": "x" * 5_000})
    sys.stdin.read()
    print(loaded, {"lock", "tmp"} <= set(opened))
"""
)


def test_nothing_is_loaded_beside_a_fork(tmp_path: Path) -> None:
    """Whatever the threads load for the first event and the first request, they load while a fork waits: a child with
    half a module in it would fail at its next import of it, or wait for ever. And what they open to lock, a child would
    keep locked."""
    with Receiver() as receiver:
        settings = {
            "OTEL_METRICS_EXPORTER": "segment",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
            "OTEL_EXPORTER_SEGMENT_INTERVAL": "1000",
            "XDG_STATE_HOME": str(tmp_path),
        }
        program = Program(tmp_path, receiver.url, settings=settings)
        environ = program.environ(USAGEWIRE_STATE_DIR=None, OTEL_SERVICE_NAME=None)
        with program.start(LOADING, environ=environ, stdin=subprocess.PIPE) as process:
            assert receiver.wait(2, timeout=40)
            assert ("[] True\n", "") == process.communicate(timeout=40)


def test_a_fork_waits_for_what_is_being_loaded() -> None:
    """It happens once the other thread has done, and the child may load at once."""
    entered, order = threading.Event(), list[str]()

    def load() -> None:
        with forks.held_up():
            entered.set()
            time.sleep(0.3)
            order.append("loaded")

    thread = threading.Thread(target=load)
    thread.start()
    assert entered.wait(20)
    child = os.fork()
    if not child:
        with forks.held_up():
            os._exit(len(order))
    order.append("forked")
    thread.join()

    assert ["loaded", "forked"] == order
    assert 1 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_computes_what_another_thread_was_computing() -> None:
    """What is computed once is computed without a lock, which would not be let go of in the child."""
    entered, leave, parent = threading.Event(), threading.Event(), os.getpid()

    class Sum:
        @forks.cached_property
        def value(self) -> int:
            if os.getpid() == parent:
                entered.set()
                assert leave.wait(20)
            return 7

    thread = threading.Thread(target=lambda: Sum().value)
    thread.start()
    assert entered.wait(20)
    child = os.fork()
    if not child:
        signal.alarm(20)  # a child that waits for ever ends by it
        os._exit(Sum().value)
    leave.set()
    thread.join()

    assert 7 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
