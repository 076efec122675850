"""The host program: never broken by a wrong setting, never held up at its end."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.programs import EMIT, Program, names
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow


@contextmanager
def black_hole() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_all_wrong_settings_are_named_in_one_line(program: Program, receiver: Receiver) -> None:
    """A time-out that is no number, no write key, and plain http to a remote host: one line names all three; the
    program's own output and its other telemetry are as before."""
    environ = program.environ(
        OTEL_LOGS_EXPORTER="segment,console",
        OTEL_EXPORTER_SEGMENT_TIMEOUT="abc",
        OTEL_EXPORTER_SEGMENT_WRITE_KEY=None,
        OTEL_EXPORTER_SEGMENT_ENDPOINT="http://telemetry.example.com",
    )

    done = program.run(EMIT + '    logger.emit(event_name="seen_by_others")\n    print("works")\n', environ=environ)

    assert 0 == done.returncode
    assert "works" in done.stdout
    assert '"event_name": "seen_by_others"' in done.stdout
    lines = [line for line in done.stderr.splitlines() if line]
    assert 1 == len(lines), done.stderr
    for named in ("OTEL_EXPORTER_SEGMENT_TIMEOUT", "abc", "OTEL_EXPORTER_SEGMENT_WRITE_KEY", "telemetry.example.com"):
        assert named in lines[0]
    assert not program.state.exists()
    assert [] == receiver.requests


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("raise ValueError('the program\\'s own')", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    ],
    ids=["return", "exit", "exception", "SIGINT", "SIGTERM"],
)
@pytest.mark.parametrize("endpoint", ["black hole", "refusing", "unresolvable"])
def test_the_end_is_what_it_would_be_without_us(program: Program, endpoint: str, ending: str, code: int) -> None:
    """Whatever the endpoint does, exit code, stdout and stderr are those of the program alone, and the end comes
    within a generous second or two."""
    body = (
        EMIT
        + f"""
    import time, sys
    for number in range(100):
        logger.emit(event_name="going_down", attributes={{"number": number}})
    from opentelemetry._logs import get_logger_provider
    getattr(get_logger_provider(), "force_flush", lambda: None)()
    time.sleep(0.3)
    print("said", flush=True)
    print("warned", file=sys.stderr, flush=True)
    {ending}
    """
    )
    with black_hole() as hole:
        program.endpoint = {
            "black hole": hole,
            "refusing": "http://127.0.0.1:9",
            "unresolvable": "https://nothing.invalid",
        }[endpoint]
        alone = program.run(body, environ=program.environ(OTEL_LOGS_EXPORTER="none"))
        began = time.monotonic()
        ours = program.run(body, environ=program.environ(OTEL_EXPORTER_SEGMENT_DELIVERY="thread"))
        took = time.monotonic() - began

    plain = re.compile(r'File "[^"]*"')
    assert (code, alone.stdout) == (ours.returncode, ours.stdout)
    assert plain.sub("", alone.stderr) == plain.sub("", ours.stderr)
    assert took < 8


def test_a_short_script_has_its_events_delivered_after_its_end(program: Program, receiver: Receiver) -> None:
    """Half a second of life is enough: a short-lived helper delivers what waits at the exit."""
    done = program.run(EMIT + '    import time; time.sleep(0.3); logger.emit(event_name="short_lived")\n')

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert receiver.wait(1, timeout=20)
    assert ["short_lived"] == names(receiver.events())


def test_a_program_in_manual_delivery_sends_only_when_told(program: Program, receiver: Receiver) -> None:
    """With DELIVERY=manual nothing leaves by itself; `usagewire send` then delivers all of it."""
    done = program.run(
        EMIT + '    import time; logger.emit(event_name="held"); time.sleep(2.5)\n',
        environ=program.environ(USAGEWIRE_DELIVERY="manual"),
    )
    untold = len(receiver.requests)
    sent = program.usagewire("send")

    assert (0, "", 0) == (done.returncode, done.stderr, untold)
    assert 0 == sent.returncode, sent.stdout + sent.stderr
    assert ["held"] == names(receiver.events())


def test_an_unwritable_state_folder_is_survived(program: Program, receiver: Receiver) -> None:
    """Where no folder can be had, one line says so and events are delivered from memory."""
    (program.folder / "state").write_text("a file where the folder should be")

    done = program.run(
        EMIT + '    logger.emit(event_name="from_memory")\n    import usagewire; print(usagewire.flush(15_000))\n'
    )

    assert (0, "True\n") == (done.returncode, done.stdout), done.stderr
    assert 1 == len(done.stderr.splitlines())
    assert "memory" in done.stderr
    assert ["from_memory"] == names(receiver.events())


def test_lifecycle_without_a_line_of_ours(program: Program, receiver: Receiver) -> None:
    """USAGEWIRE_LIFECYCLE=server emits start and stop for a program that knows nothing of telemetry."""
    done = program.run("print('hello')", environ=program.environ(USAGEWIRE_LIFECYCLE="server"))

    assert (0, "hello\n", "") == (done.returncode, done.stdout, done.stderr)
    assert receiver.wait(2, timeout=20)
    assert ["server_start", "server_stop"] == names(receiver.events())
