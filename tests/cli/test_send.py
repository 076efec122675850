"""`usagewire send`: against a real endpoint, alone and beside another process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.left import Left, leave
from tests.support.shell import Shell, only
from usagewire.inspector import faults
from usagewire.inspector.receiver import Receiver
from usagewire.inspector.routes import Answer
from usagewire.pipeline.destination import recall
from usagewire.state.consumer import Consumer
from usagewire.state.paths import Place


def test_everything_goes(shell: Shell, receiver: Receiver) -> None:
    """Exit code 0: all that waited has arrived, in one request, each event once."""
    leave(shell.root, 5, settings={"endpoint": receiver.url})

    result = shell.run("send")

    assert (0, "") == (result.exit_code, result.stderr)
    assert "shop · segment: 5 items delivered\n" == result.stdout
    assert [f"event_{number}" for number in range(5)] == [event["event"] for event in receiver.events()]
    assert 1 == len(receiver.requests)
    assert "shop · segment: nothing waits\n" == shell.run("send").stdout


def test_nothing_has_run(shell: Shell) -> None:
    """With nothing there, nothing is left: 0, and it says where it looked."""
    result = shell.run("send")

    assert 0 == result.exit_code
    assert f"nothing to send: no program has left anything in {shell.root} yet" in result.stdout
    assert not shell.root.exists()


def test_refused(shell: Shell) -> None:
    """Nobody listens: 1, what is left, why, and what to do."""
    leave(shell.root, 2)

    result = shell.run("send")

    assert 1 == result.exit_code
    assert "2 items left: connection refused; check the endpoint, http://127.0.0.1:9, then send again" in result.stderr


def test_back_off_is_ignored(shell: Shell, receiver: Receiver) -> None:
    """A back-off of our own keeps nobody waiting who asks for it now."""
    leave(shell.root, 1, settings={"endpoint": receiver.url})
    receiver.script = faults.in_turn(*[faults.status(503)] * 3)

    assert [1, 1, 1, 0] == [shell.run("send").exit_code for _ in range(4)]
    assert 4 == len(receiver.requests)


def test_retry_after_is_honoured(shell: Shell, receiver: Receiver) -> None:
    """A server's wish keeps everybody waiting but --force; until when, is said."""
    leave(shell.root, 1, settings={"endpoint": receiver.url})
    receiver.script = faults.in_turn(faults.retry_after(120))

    first, second = shell.run("send"), shell.run("send")

    assert [1, 1] == [first.exit_code, second.exit_code]
    assert 1 == len(receiver.requests)
    assert "HTTP 429; the server asks not to come back before 2" in second.stderr
    assert "--force tries all the same" in second.stderr
    assert 0 == shell.run("send", "--force").exit_code
    assert 1 == len(receiver.events())


def test_rejected(shell: Shell, receiver: Receiver) -> None:
    """What the endpoint will never take has not gone: 1, the reason, and where the copy is."""
    left = leave(shell.root, 4, settings={"endpoint": receiver.url})
    receiver.script = faults.poison(lambda event: bool(event["event"] == "event_2"))

    result = shell.run("send")

    assert 1 == result.exit_code
    assert "3 items delivered" in result.stdout
    assert "1 item rejected: HTTP 400: the event is malformed in Segment's eyes; kept in" in result.stderr
    assert str(left.place.rejected) in result.stderr


def test_off(shell: Shell, receiver: Receiver) -> None:
    """Without consent nothing is sent, and who decided is named."""
    leave(shell.root, 1, settings={"endpoint": receiver.url})
    shell.variables["DO_NOT_TRACK"] = "1"

    result = shell.run("send", "--force")

    assert 1 == result.exit_code
    assert "not sent: off: DO_NOT_TRACK=1 in the environment; unset DO_NOT_TRACK" in result.stderr
    assert [] == receiver.requests


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--timeout", "soon"], "'soon' is not a valid float"),
        (["--timeout", "0"], "0.0 is not in the range"),
        (["--service", "nosuch"], "'nosuch' has nothing in"),
        (["everything"], "'everything' is not one of 'report', 'device'"),
    ],
)
def test_bad_arguments(shell: Shell, argv: list[str], said: str) -> None:
    """A wrong command is 2, whatever waits."""
    leave(shell.root, 1)

    result = shell.run("send", *argv)

    assert 2 == result.exit_code
    assert said in result.stderr


def test_every_destination_is_tried(shell: Shell, receiver: Receiver) -> None:
    """One endpoint that fails keeps no other from getting its own; the exit code is that of the worst."""
    leave(shell.root, 1, service="bank")
    leave(shell.root, 1, service="shop", settings={"endpoint": receiver.url})

    result = shell.run("send")

    assert 1 == result.exit_code
    assert 1 == len(receiver.events())
    assert 0 == shell.run("send", "--service", "shop").exit_code


def test_this_shell_wins(shell: Shell, receiver: Receiver) -> None:
    """The environment of the shell overrules what the program had; the program's own key stays."""
    leave(shell.root, 1)
    shell.variables["OTEL_EXPORTER_SEGMENT_ENDPOINT"] = receiver.url

    assert 0 == shell.run("send").exit_code
    assert [] == receiver.complaints()


def test_time_is_up(shell: Shell, receiver: Receiver) -> None:
    """A long delivery ends after --timeout, with the request under way, and goes on the next time."""
    leave(shell.root, 5_200, settings={"endpoint": receiver.url})
    receiver.script = faults.slow(0.2)

    result = shell.run("send", "--timeout", "0.1")

    assert 1 == result.exit_code
    assert "left: time is up; send again, with a longer --timeout" in result.stderr
    assert 1 == len(receiver.requests)
    assert 0 == shell.run("send").exit_code
    assert 5_200 == len({event["messageId"] for event in receiver.events()})


@pytest.mark.slow
def test_interrupted(shell: Shell, receiver: Receiver) -> None:
    """Ctrl-C, with a request under way: 1, and it says that nothing is lost by it."""
    leave(shell.root, 2, settings={"endpoint": receiver.url, "timeout": "60000"})
    receiver.script = lambda request: Answer(delay=60)
    with shell.start("send") as process:
        assert receiver.wait_for(lambda: len(receiver.requests) == 1, timeout=60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert (1, "") == (process.returncode, out)
    assert "Error: interrupted; what has not arrived still waits" == err.strip()
    assert 2 == only(shell.json("status"))["queue"]["items"]


def test_progress(shell: Shell, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long says how far it is: on stderr, in plain lines where that is no terminal."""
    monkeypatch.setattr("usagewire.cli.send.QUIET_SECONDS", 0.0)
    leave(shell.root, 10, settings={"endpoint": receiver.url})

    result = shell.run("send")

    assert "shop · segment: 10 delivered, 0 to go\n" == result.stderr


# -- beside another process -----------------------------------------------------------------------------------------


PROGRAM = """
from opentelemetry._logs import get_logger
import sys, time
logger = get_logger("shop")
for number in range(3):
    logger.emit(event_name="tick", attributes={"number": number})
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def program(folder: Path, endpoint: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A real program that has emitted three events and goes on running."""
    script = folder / "program.py"
    script.write_text(PROGRAM)
    instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    environ = {
        **os.environ,
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_LOGS_EXPORTER": "segment",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_EXPORTER_SEGMENT_ENDPOINT": endpoint,
        "OTEL_EXPORTER_SEGMENT_WRITE_KEY": "s3cret-key",
        "OTEL_BLRP_SCHEDULE_DELAY": "50",
        "USAGEWIRE_STATE_DIR": str(folder / "state"),
        **variables,
    }
    process = subprocess.Popen(
        [instrument, sys.executable, str(script)], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def wait_for_items(shell: Shell, count: int) -> None:
    """Until so many wait, or have been delivered."""
    until = time.monotonic() + 20
    while True:
        found = shell.json("status")["destinations"]
        if found and found[0]["totals"] and found[0]["totals"]["waiting"] + found[0]["totals"]["delivered"] >= count:
            return
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_a_running_program_is_asked(shell: Shell, receiver: Receiver, tmp_path: Path) -> None:
    """Beside a program that is backing off, send asks it to send, and waits until the queue is empty."""
    receiver.script = faults.status(503)
    with program(tmp_path, receiver.url):
        wait_for_items(shell, 3)
        assert receiver.wait_for(lambda: len(receiver.requests) >= 3, 20)  # by now it waits for seconds
        receiver.script = None

        done = shell.call("send", "--timeout", "30")

        assert (0, "") == (done.returncode, done.stderr)
        assert "delivered by the running program" in done.stdout
        assert [0, 1, 2] == sorted(event["properties"]["number"] for event in receiver.events())


@pytest.mark.slow
def test_a_running_program_that_cannot_send(shell: Shell, receiver: Receiver, tmp_path: Path) -> None:
    """Where the program asked cannot deliver either, send says why as soon as it has tried."""
    receiver.script = faults.status(503)
    with program(tmp_path, receiver.url):
        wait_for_items(shell, 3)
        assert receiver.wait_for(lambda: len(receiver.requests) >= 1, 20)
        began = time.monotonic()

        done = shell.call("send", "--timeout", "60")

        assert 1 == done.returncode
        assert "3 items left: HTTP 503; check the endpoint" in done.stderr
        assert time.monotonic() - began < 30


@pytest.mark.slow
def test_a_manual_program(shell: Shell, receiver: Receiver, tmp_path: Path) -> None:
    """With DELIVERY=manual the program keeps and never sends; send delivers, also while it runs."""
    with program(tmp_path, receiver.url, OTEL_EXPORTER_SEGMENT_DELIVERY="manual"):
        wait_for_items(shell, 3)
        assert [] == receiver.requests

        done = shell.call("send")

        # on a busy machine it takes over two seconds, and then stderr shows progress
        assert (0, "shop · segment: 3 items delivered\n") == (done.returncode, done.stdout), done.stderr
        assert 3 == len(receiver.events())


@pytest.mark.slow
def test_a_stopped_holder(shell: Shell) -> None:
    """A holder that was stopped cannot be asked; the process is named with the way to wake it."""
    left = leave(shell.root, 1)
    with holder(left) as process:
        os.kill(process.pid or 0, signal.SIGSTOP)
        result = shell.run("send", "--timeout", "1")

    assert 1 == result.exit_code
    assert f"1 item left: process {process.pid} holds the queue and is stopped; `kill -CONT" in result.stderr


@pytest.mark.slow
def test_a_holder_that_lets_go(shell: Shell, receiver: Receiver) -> None:
    """When the holder ends without sending, send takes over."""
    left = leave(shell.root, 2, settings={"endpoint": receiver.url})
    with holder(left, seconds=1.0):
        result = shell.run("send", "--timeout", "30")

    assert 0 == result.exit_code
    assert 2 == len(receiver.events())


@contextmanager
def holder(left: Left, seconds: float = 60.0) -> Iterator[multiprocessing.process.BaseProcess]:
    """Another process that has the lock and does nothing."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(left.place, ready, seconds))
    process.start()
    try:
        assert ready.wait(20)
        yield process
    finally:
        process.kill()
        process.join()


def hold(place: Place, ready: multiprocessing.synchronize.Event, seconds: float) -> None:
    """Run in the other process."""
    destination = recall(place, {})
    consumer = Consumer(place, destination.consent({}).stance, destination.limits())
    assert consumer.acquire()
    ready.set()
    time.sleep(seconds)
    consumer.release()


# -- the helper that a program starts when it ends --------------------------------------------------------------------


@pytest.mark.slow
def test_the_helper_says_nothing(shell: Shell, receiver: Receiver) -> None:
    """--detached delivers, and prints nothing, whatever happens."""
    leave(shell.root, 3, settings={"endpoint": receiver.url})

    result = shell.call("send", "--detached")
    nowhere = shell.call("send", "--detached", "--service", "nosuch")

    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)
    assert 3 == len(receiver.events())
    assert (0, "", "") == (nowhere.returncode, nowhere.stdout, nowhere.stderr)
    assert "--detached" not in shell.run("send", "--help").stdout


@pytest.mark.slow
def test_the_helper_honours_a_back_off(shell: Shell, receiver: Receiver) -> None:
    """One try: a first retry verdict ends it, and while a back-off is on it does nothing at all."""
    leave(shell.root, 3, settings={"endpoint": receiver.url})
    receiver.script = faults.retry_after(60)

    shell.call("send", "--detached")
    shell.call("send", "--detached")

    assert 1 == len(receiver.requests)
    assert 3 == only(shell.json("status"))["queue"]["items"]


@pytest.mark.slow
def test_the_helper_waits_for_its_parent(shell: Shell, receiver: Receiver) -> None:
    """The program that started it may still hold the lock for a moment."""
    left = leave(shell.root, 2, settings={"endpoint": receiver.url})
    with holder(left, seconds=1.0):
        done = shell.call("send", "--detached")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert 2 == len(receiver.events())
