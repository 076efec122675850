"""A program that runs for long: what it holds of the machine stays what it was, and everything arrives.

`make faults` soaks it for ten minutes. The figures are printed (`-rP` shows them)."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

from tests.support.intakes import account
from tests.support.programs import EMIT, Program
from usagewire.inspector import faults
from usagewire.inspector.receiver import Receiver
from usagewire.inspector.routes import Answer, Received

LONG = os.environ.get("USAGEWIRE_FAULTS") == "long"
SECONDS = 600 if LONG else 2
GROWTH = 4.0 if LONG else 12.0
"""MiB between the first quarter's median and the last's; what allocators and caches settle at takes longer than two
seconds."""
SWING = 1 if LONG else 4
"""Descriptors and threads between them: a file that is being written and a connection come and go."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 180)]

STEADY = (
    EMIT
    + """
    import itertools, sys, time
    from opentelemetry.metrics import get_meter
    import usagewire
    meter = get_meter("shop")
    counter, sizes = meter.create_counter("usage.transfer.count"), meter.create_histogram("usage.upload.size")
    level = meter.create_gauge("usage.entity.count")

    def work(number):
        logger.emit(event_name="work", attributes={"number": number, "db_backend": "mysql"})
        counter.add(1, {"usage.transfer.state": "completed"})
        sizes.record(number % 1_000)
        level.set(number % 10, {"usage.entity.type": "gateway"})

    work(0)
    usagewire.flush(20_000)  # what is loaded at the first request, is loaded
    print("ready", flush=True)
    began, numbers = time.monotonic(), itertools.count(1)
    while time.monotonic() - began < float(sys.argv[1]):
        work(next(numbers))
        time.sleep(0.005)
    sys.stdin.read()  # until nobody looks at this process any more
    usagewire.flush(1)
    time.sleep(1.2)  # by then the report period is over
    print(next(numbers), usagewire.flush(60_000))
"""
)


def counted(receiver: Receiver) -> int:
    """The counter's sum over all reports that were taken."""
    return sum(event["properties"]["value"] for event in receiver.events() if event["event"] == "usage.transfer.count")


def held(pid: int) -> tuple[float, int, int]:
    """Resident MiB, open descriptors and threads of a process."""
    process = Path("/proc") / str(pid)
    said = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return int(said["VmRSS"].split()[0]) / 1024, sum(1 for _ in (process / "fd").iterdir()), int(said["Threads"])


def test_a_long_run_holds_no_more_than_a_short_one(tmp_path: Path) -> None:
    """Events and data points at a steady rate, every third request refused for the moment: memory, descriptors and
    threads of the last quarter are those of the first, every event arrives once and every count in some report."""
    asked, refused = itertools.count(1), faults.status(503)

    def now_and_then(received: Received) -> Answer | None:
        return refused(received) if next(asked) % 3 == 0 else None

    settings = {
        "OTEL_METRICS_EXPORTER": "segment",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "OTEL_EXPORTER_SEGMENT_INTERVAL": "1000",
    }
    with Receiver(script=now_and_then) as receiver:
        program = Program(tmp_path, receiver.url, settings=settings)
        with program.start(STEADY, str(SECONDS), stdin=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert "ready\n" == process.stdout.readline()
            samples, began = list[tuple[float, int, int]](), time.monotonic()
            while time.monotonic() - began < SECONDS:
                samples.append(held(process.pid))
                time.sleep(SECONDS / 100)
            out, err = process.communicate(timeout=120)
        emitted, flushed = out.split()
        assert ("True", "", 0) == (flushed, err, process.returncode)
        deadline = time.monotonic() + 40
        while counted(receiver) < int(emitted) and time.monotonic() < deadline:
            program.usagewire("send")  # a machine that was too busy for it
        assert int(emitted) == counted(receiver)
        arrived = receiver.events()
        assert any(not received.accepted for received in receiver.requests)

    size = len(samples) // 4
    quarters = [[median(each) for each in zip(*samples[at * size :][:size], strict=True)] for at in range(4)]
    print(f"{emitted} events in {SECONDS} s; MiB, descriptors and threads by quarters: {quarters}")
    first, last = quarters[0], quarters[-1]
    assert last[0] - first[0] < GROWTH
    assert max(abs(late - early) for early, late in zip(first[1:], last[1:], strict=True)) <= SWING

    numbers = Counter(event["properties"]["number"] for event in arrived if event["event"] == "work")
    assert Counter(range(int(emitted))) == numbers
    assert len(arrived) == len({event["messageId"] for event in arrived})
    assert {"delivered": len(arrived), "waiting": 0} == account(program.state)
