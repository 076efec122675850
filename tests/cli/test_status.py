"""`usagewire status`: read from another shell, on folders that the real writer and consumer left."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.left import leave, make_events
from tests.support.shell import Shell, only, snapshot
from usagewire.cli.words import REMEDIES
from usagewire.inspector import faults
from usagewire.inspector.receiver import Receiver
from usagewire.policy.consent import write
from usagewire.signals import Event, Point
from usagewire.state.consumer import Consumer

KEYS = {
    "service", "destination", "format", "folder", "fault", "consent", "endpoint", "delivery", "faults", "holder",
    "queue", "period", "last_success", "last_error", "next_try", "lanes", "totals", "channels",
    "held_back",
}  # fmt: skip


def test_before_anything_ran(shell: Shell) -> None:
    """Where nothing has run it says so, says how to start, and creates nothing."""
    result = shell.run("status")

    assert 0 == result.exit_code
    assert f"state folder: {shell.root}" in result.stdout
    assert "Nothing has run here yet" in result.stdout
    assert "OTEL_LOGS_EXPORTER=segment" in result.stdout
    assert not shell.root.exists()


def test_what_waits(shell: Shell) -> None:
    """Queue, consent, endpoint and losses with their remedies are all told."""
    left = leave(shell.root, 3)
    left.lose(plan=2, quota=1)
    left.measure(Point("usage.x", "sum", time.time_ns(), value=1.0))

    result = shell.run("status")

    assert 0 == result.exit_code
    assert "shop · segment" in result.stdout
    assert "on: nobody has said anything; the default is on" in result.stdout
    assert "to say no: usagewire off --service shop" in result.stdout
    assert "http://127.0.0.1:9" in result.stdout
    assert "3 items" in result.stdout
    assert "1 point, 0 events; due" in result.stdout
    assert "0 delivered, 3 waiting, 3 lost" in result.stdout
    assert f"2 plan: {REMEDIES['plan']}" in result.stdout
    assert f"1 quota: {REMEDIES['quota']}" in result.stdout


def test_json_has_every_key_always(shell: Shell) -> None:
    """Scripts find every key, whether there is something to say or not."""
    leave(shell.root, 2)
    shell.run("on", "--service", "empty")

    empty, full = sorted(shell.json("status")["destinations"], key=lambda one: str(one["service"]))

    assert {"state_dir", "hint", "destinations"} == set(shell.json("status"))
    assert (KEYS, KEYS) == (set(empty), set(full))
    assert {"on": True, "by": "default"} == {key: full["consent"][key] for key in ("on", "by")}
    assert 2 == full["queue"]["items"]
    assert {"delivered": 0, "repeated": 0, "waiting": 2, "lost": {}} == full["totals"]
    assert empty["queue"] is None
    assert "nothing has run yet" in empty["fault"]


def test_after_a_delivery_and_a_failure(shell: Shell, receiver: Receiver) -> None:
    """Last success, last error, next try and totals are what the consumer remembers."""
    left = leave(shell.root, 2, settings={"endpoint": receiver.url})
    assert 0 == shell.run("send").exit_code
    left.put(*make_events(1))
    receiver.script = faults.retry_after(120)
    assert 1 == shell.run("send").exit_code

    found = only(shell.json("status"))

    assert found["last_success"] is not None
    assert "HTTP 429" == found["last_error"]["reason"]
    assert found["next_try"]["by_server"]
    assert (2, 1) == (found["totals"]["delivered"], found["totals"]["waiting"])
    text = shell.run("status").stdout
    assert "HTTP 429; " in text
    assert "(the server asked for that)" in text


def test_a_no_does_not_deny_what_was_delivered(shell: Shell, receiver: Receiver) -> None:
    """The last success at each endpoint stays through off, on and the next holder, until everything is forgotten."""
    write(shell.root / "shop", True, "test", license="sharing-1-0")
    endpoints = dict.fromkeys(("endpoint", "device_endpoint"), receiver.url)
    left = leave(shell.root, name="stone", settings=endpoints)
    about = {"usage.device.host": "h", "usage.device.id": "disk_1"}
    left.keep(
        Event("usage.device", time.time_ns(), "1" * 32, about, {"model_name": "disk"}),
        Point("usage.capacity", "gauge", time.time_ns(), {"usage.capacity.state": "total"}, 3),
    )
    left.consume(3, report=True)
    assert 0 == shell.run("send").exit_code

    def successes() -> list[str | None]:
        found = only(shell.json("status"))
        return [found["last_success"], found["lanes"]["device"]["last_success"]]

    before = successes()
    assert None not in before
    shell.run("off")
    assert (before, False) == (successes(), "never" in shell.run("status").stdout)
    assert 0 == shell.run("on", "--license", "sharing-1-0").exit_code
    assert before == successes()
    left.consume()
    assert before == successes()
    shell.run("off")
    assert before == successes()
    shell.run("off", "--forget")
    assert None is only(shell.json("status"))["last_success"]


def test_beside_a_holder(shell: Shell) -> None:
    """Whoever holds the queue is named, and not disturbed."""
    left = leave(shell.root, 1)
    consumer = Consumer(left.place, left.destination.consent({}).stance, left.destination.limits())
    assert consumer.acquire()
    try:
        assert {"pid": os.getpid(), "stopped": False} == only(shell.json("status"))["holder"]
        assert f"process {os.getpid()} is running" in shell.run("status").stdout
        assert consumer.held
        consumer.refresh()
        assert 1 == consumer.backlog().items
    finally:
        consumer.release()
    assert only(shell.json("status"))["holder"] is None


@pytest.mark.slow
def test_a_stopped_holder_is_pointed_out(shell: Shell, receiver: Receiver) -> None:
    """A process that was stopped while it sends is named, with the way to wake it."""
    receiver.script = faults.slow(30)
    leave(shell.root, 1, settings={"endpoint": receiver.url, "timeout": "40000"})
    with shell.start("send") as process:
        try:
            assert wait(lambda: receiver.connections > 0)
            os.kill(process.pid, signal.SIGSTOP)

            assert wait(lambda: {"pid": process.pid, "stopped": True} == only(shell.json("status"))["holder"])
            assert f"kill -CONT {process.pid}" in shell.run("status").stdout
        finally:
            process.kill()


def test_a_no_and_where_it_comes_from(shell: Shell) -> None:
    """The source that said no is named, with the way to change it."""
    leave(shell.root, 1)
    shell.variables["DO_NOT_TRACK"] = "1"

    consent = only(shell.json("status"))["consent"]

    assert not consent["on"]
    assert "DO_NOT_TRACK" == consent["by"]
    assert "DO_NOT_TRACK=1 in the environment" == consent["detail"]
    assert "unset DO_NOT_TRACK, here and where the program is started" == consent["change"]
    del shell.variables["DO_NOT_TRACK"]
    shell.run("off")
    consent = only(shell.json("status"))["consent"]
    assert str(shell.root / "shop" / "consent.json") == consent["by"]
    assert "to say yes: usagewire on --service shop" == consent["change"]


def test_a_damaged_destination_is_a_sentence(shell: Shell) -> None:
    """What cannot be read is named with the way out, and the rest is still told."""
    left = leave(shell.root, 1)
    leave(shell.root, 1, name="segment-second")
    left.place.destination_json.write_text("{")

    result = shell.run("status")

    assert 0 == result.exit_code
    assert re.search(f"{left.place.destination_json}: cannot be read .*; remove it\n", result.stdout)
    assert "shop · segment-second" in result.stdout


def test_options_narrow_it_down(shell: Shell) -> None:
    """--service, --format and --destination choose, before or after the command's name."""
    for service, name in (("shop", "segment"), ("shop", "segment-second"), ("bank", "segment")):
        leave(shell.root, 1, service=service, name=name)

    def names(*argv: str) -> list[tuple[str, str]]:
        return [(one["service"], one["destination"]) for one in shell.json(*argv)["destinations"]]

    assert [("bank", "segment"), ("shop", "segment"), ("shop", "segment-second")] == names("status")
    assert [("bank", "segment")] == names("status", "--service", "bank")
    assert [("bank", "segment")] == names("--service", "bank", "status")
    assert [("shop", "segment-second")] == names("status", "--destination", "segment-second")
    assert 3 == len(names("--format", "segment", "status"))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--service", "nosuch"), "'nosuch' has nothing in"),
        (("--format", "jina"), "'jina' has nothing in"),
        (("--destination", "segment-x"), "there are: segment"),
    ],
)
def test_names_that_are_not_there(shell: Shell, argv: tuple[str, ...], said: str) -> None:
    """A name that matches nothing is a usage error that lists what there is."""
    leave(shell.root, 1)

    result = shell.run("status", *argv)

    assert 2 == result.exit_code
    assert said in result.stderr


def test_it_creates_and_changes_nothing(shell: Shell) -> None:
    """Every file is as it was, whatever is waiting."""
    left = leave(shell.root, 2)
    left.measure(Point("usage.x", "sum", time.time_ns(), value=1.0))
    left.lose(plan=1)
    before = snapshot(shell.root)

    shell.run("status")
    shell.json("status")

    assert before == snapshot(shell.root)


def test_a_folder_that_cannot_be_written(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a program could not keep its queue, status says that it waits in memory."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere

    assert "keeps its queue in memory" in shell.run("status").stdout


def test_a_folder_that_depends_on_where_one_stands(shell: Shell) -> None:
    """A program takes no relative path, and status says so."""
    assert None is shell.json("status")["hint"]

    shell.variables["USAGEWIRE_STATE_DIR"] = "here"

    assert "here is no absolute path: a program keeps its queue in memory" in shell.run("status").stdout


def test_no_secret_is_printed(shell: Shell, tmp_path: Path) -> None:
    """Neither the write key nor the user's id appears in what any reading command prints."""
    leave(shell.root, 1, settings={"user_id": "customer-4711", "headers": "X-Auth=t0psecret"})

    for command in (["status"], ["status", "--json"], ["show"], ["show", "--json"], ["config", "list"], ["send"]):
        said = shell.run(*command)
        for secret in ("s3cret-key", "czNjcmV0LWtleTo", "customer-4711", "t0psecret"):
            assert secret not in said.output, command


def wait(met: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether it came true in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if met():
            return True
        time.sleep(0.05)
    return False
