"""What the SDK exports only at exit, when Python lets no thread start any more (3.12), is not lost."""

from __future__ import annotations

import time

import pytest

from tests.support.programs import EMIT, Program, names
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow

AT_EXIT = (
    EMIT
    + """
    from opentelemetry.metrics import get_meter
    get_meter("shop").create_counter("usage.sold").add(3)
    logger.emit(event_name="last_words")
    raise SystemExit(3)
"""
)


def test_what_is_exported_at_exit_arrives(program: Program, receiver: Receiver) -> None:
    """A program that ends at once: its event arrives by the helper, its metrics with the next send after the period;
    exit code and output are its own."""
    environ = program.environ(
        OTEL_BLRP_SCHEDULE_DELAY="60000",
        OTEL_METRICS_EXPORTER="segment",
        OTEL_METRIC_EXPORT_INTERVAL="60000",
        OTEL_EXPORTER_SEGMENT_INTERVAL="1000",
    )

    done = program.run(AT_EXIT, environ=environ)
    helped = receiver.wait(1, timeout=20)
    time.sleep(1.1)
    sent = program.usagewire("send")

    assert (3, "", "") == (done.returncode, done.stdout, done.stderr)
    assert helped
    assert 0 == sent.returncode, sent.stdout + sent.stderr
    assert ["last_words", "usage.sold"] == names(receiver.events())
    assert {"value": 3} == receiver.events()[1]["properties"]


def test_in_thread_delivery_it_waits_for_the_next_start(program: Program, receiver: Receiver) -> None:
    """Without a helper what was exported at exit is the next run's to deliver."""
    program.settings |= {"OTEL_BLRP_SCHEDULE_DELAY": "60000", "USAGEWIRE_DELIVERY": "thread"}

    done = program.run(AT_EXIT)
    untold = len(receiver.requests)
    program.run("import time; time.sleep(4)")

    assert (3, "", "", 0) == (done.returncode, done.stdout, done.stderr, untold)
    assert ["last_words"] == names(receiver.events())


def test_a_flush_at_exit_delivers(program: Program, receiver: Receiver) -> None:
    """`usagewire.flush` in an exit handler of the program: true, at once, and everything is there."""
    source = (
        EMIT
        + """
    import atexit, usagewire
    logger.emit(event_name="last_words")
    atexit.register(lambda: print(usagewire.flush(20_000)))
    """
    )
    program.settings |= {"OTEL_BLRP_SCHEDULE_DELAY": "60000", "USAGEWIRE_DELIVERY": "thread"}

    done = program.run(source)

    assert (0, "True\n", "") == (done.returncode, done.stdout, done.stderr)
    assert ["last_words"] == names(receiver.events())
