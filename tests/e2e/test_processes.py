"""Several processes, violent ends: what was acknowledged arrives, once."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.programs import EMIT, Program, names
from usagewire.inspector.receiver import Receiver
from usagewire.inspector.routes import Received

pytestmark = pytest.mark.slow


@contextmanager
def told(program: Program, source: str) -> Iterator[subprocess.Popen[str]]:
    """A running program that has said "ready"."""
    with program.start(source, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "ready\n" == line, process.communicate(timeout=5)
        try:
            yield process
        finally:
            process.kill()


KILLED = (
    EMIT
    + """
    import sys
    from opentelemetry._logs import get_logger_provider
    for number in range(1_000):
        logger.emit(event_name="before_the_kill", attributes={"number": number})
    get_logger_provider().force_flush()
    print("ready", flush=True)
    sys.stdin.readline()
"""
)


@pytest.mark.parametrize("by", ["next start", "usagewire send"])
def test_acknowledged_events_survive_kill_9(program: Program, receiver: Receiver, by: str) -> None:
    """kill -9 after a flush, with the endpoint down: the next start, or `usagewire send`, delivers every event once,
    in few requests."""
    working, program.endpoint = program.endpoint, "http://127.0.0.1:9"
    program.settings["OTEL_BLRP_MAX_QUEUE_SIZE"] = "4096"
    with told(program, KILLED) as process:
        process.send_signal(signal.SIGKILL)
    program.endpoint = working

    if by == "next start":
        program.run("import time; time.sleep(8)")
    else:
        sent = program.usagewire("send", environ={**program.environ(), "OTEL_EXPORTER_SEGMENT_ENDPOINT": working})
        assert 0 == sent.returncode, sent.stdout + sent.stderr

    assert receiver.wait(1_000, timeout=20)
    assert list(range(1_000)) == [event["properties"]["number"] for event in receiver.events()]
    assert len(receiver.requests) <= 3
    assert 1_000 == len({event["messageId"] for event in receiver.events()})


class Peak:
    """Answers late, and knows how many requests were under way at once."""

    def __init__(self) -> None:
        self.most = self._now = 0
        self._lock = threading.Lock()

    def between(self, act: Callable[[], object]) -> None:
        """Do something while no request is under way: one of a process that is killed would outlive it here."""
        while True:
            with self._lock:
                if not self._now:
                    act()
                    return
            time.sleep(0.01)

    def __call__(self, received: Received) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.1)
        with self._lock:
            self._now -= 1


FOUR = (
    EMIT
    + """
    import os, sys, time, warnings
    from opentelemetry._logs import get_logger_provider
    # Python 3.12 warns of every fork beside a thread, and OpenTelemetry's own worker is one
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    who, forks = sys.argv[1], sys.argv[2] == "forks"
    for number in range(200):
        logger.emit(event_name="work", attributes={"who": who, "number": number})
        time.sleep(0.002)
    get_logger_provider().force_flush()
    if forks and os.fork() == 0:
        for number in range(50):
            logger.emit(event_name="work", attributes={"who": who + "'s child", "number": number})
        get_logger_provider().force_flush()
        sys.exit(0)
    print("ready", flush=True)
    sys.stdin.readline()
"""
)


def arrived(receiver: Receiver) -> dict[str, tuple[str, int]]:
    """Who said what, by messageId: what was under way when its sender was killed may come twice."""
    return {e["messageId"]: (e["properties"]["who"], e["properties"]["number"]) for e in receiver.events()}


def test_four_processes_one_killed_one_forking(program: Program, receiver: Receiver) -> None:
    """Four processes of one program, one SIGKILLed, one forking: every event arrives, and has one messageId however
    often the kill had it sent; one sends at a time."""
    senders = Peak()
    receiver.script = senders
    processes = [program.start(FOUR, name, "forks" if name == "c" else "", stdin=subprocess.PIPE) for name in "abcd"]
    try:
        for process in processes:
            assert process.stdout is not None
            assert "ready\n" == process.stdout.readline()
        senders.between(processes[1].kill)
        assert receiver.wait_for(lambda: len(arrived(receiver)) == 4 * 200 + 50, timeout=30)
        for process in processes:
            if process is not processes[1]:
                assert ("", "") == process.communicate("done\n", timeout=30)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    time.sleep(1.5)

    assert 4 * 200 + 50 == len(arrived(receiver))
    assert {1} == set(Counter(arrived(receiver).values()).values())
    assert 1 == senders.most
    sessions = {e["properties"]["who"]: e["anonymousId"] for e in receiver.events()}
    assert 5 == len(set(sessions.values()))


def test_a_multiprocessing_child_loses_nothing(program: Program, receiver: Receiver) -> None:
    """Children of multiprocessing leave by os._exit, past every atexit: their events arrive all the same."""
    source = (
        EMIT
        + """
    import multiprocessing
    def work(number):
        logger.emit(event_name="child", attributes={"number": number})
    if __name__ == "__main__":
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=work, args=(number,)) for number in range(3)]
        [child.start() for child in children]
        [child.join() for child in children]
        print([child.exitcode for child in children])
    """
    )

    done = program.run(source)

    assert (0, "[0, 0, 0]\n", "") == (done.returncode, done.stdout, done.stderr)
    assert receiver.wait(3, timeout=20)
    assert [0, 1, 2] == sorted(event["properties"]["number"] for event in receiver.events())
    assert ["child"] * 3 == names(receiver.events())
