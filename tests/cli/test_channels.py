"""`usagewire on --channel` and `usagewire off --channel`."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from typing import Any

import pytest

from tests.support.left import Left, leave
from tests.support.shell import Shell, only
from usagewire.inspector.receiver import Receiver
from usagewire.pipeline.destination import recall
from usagewire.policy.consent import Channel, write
from usagewire.signals import Event, Point
from usagewire.state import view
from usagewire.state.consumer import Consumer

NOW = time.time_ns()


def crash(name: str) -> Event:
    """A crash that can be found again by the module it happened in."""
    return Event(
        "usage.crash", time.time_ns(), f"{abs(hash(name)):032x}"[:32], {"usage.crash.frames": [f"{name}:run:1"]}
    )


def state(mode: str) -> Event:
    """A state of the cluster, of the channel `basic`."""
    return Event("usage.state", time.time_ns(), "0" * 32, {"usage.state.section": "balancer"}, {"mode": mode})


def disk(name: str) -> Event:
    """A disk's report, of the channel `device`."""
    about = {"usage.device.host": "h", "usage.device.id": name}
    return Event("usage.device", time.time_ns(), "1" * 32, about, {"model_name": "disk", "temperature": 31})


@pytest.fixture
def left(shell: Shell) -> Left:
    """A cluster under consent: crashes in a report that waits, carried in the ledger and not folded yet; two disks."""
    write(shell.root / "cluster", True, "test", license="sharing-1-0")
    left = leave(shell.root, service="cluster", name="stone")
    left.keep(crash("mod_reported"), state("upmap"), Point("usage.entity.count", "gauge", NOW, OSD, 12), disk("a_b_1"))
    left.consume(3, report=True)
    left.keep(crash("mod_folded"), state("crush"))
    left.consume(3)
    left.keep(crash("mod_waiting"), disk("a_b_2"))
    return left


OSD = {"usage.entity.type": "osd"}


def on_disk(left: Left) -> str:
    """Everything that lies in the destination's folder."""
    files = [path for path in left.place.folder.rglob("*") if path.is_file() and path != left.place.destination_json]
    return "\n".join(path.read_bytes().decode(errors="replace") for path in files)


def sent(shell: Shell) -> list[dict[str, Any]]:
    """The bodies that `show` would send: reports that wait, then disks, then the period so far."""
    return [json.loads(request["body"]) for request in shell.json("show", "--limit", "9")["requests"]]


def test_off_takes_back_everything_of_the_channel_and_nothing_else(shell: Shell, left: Left) -> None:
    """Out of the queue, the ledger and the report that waits; counted; the rest is as it was."""
    assert {"mod_reported", "mod_folded", "mod_waiting"} <= set(words(on_disk(left)))

    result = shell.run("off", "--channel", "crash")

    assert (0, "") == (result.exit_code, result.stderr)
    assert "cluster · stone: channel crash off, stored in" in result.stdout
    # mod_reported is carried on into the period, and so counted there
    assert "deleted: 3 items of it" in result.stdout
    assert [] == [word for word in words(on_disk(left)) if word.startswith("mod_")]
    found = only(shell.json("status"))
    assert {"basic": True, "crash": False, "device": True, "ident": False} == found["channels"]
    assert found["consent"]["on"]
    assert 3 == found["totals"]["lost"]["consent"]["count"]
    reports = [body for body in sent(shell) if "report_id" in body]
    assert [["basic", "device"]] * 2 == [report["channels"] for report in reports]
    assert ["upmap", "crush"] == [report["balancer"]["mode"] for report in reports]
    assert [12] == [report["osd"]["count"] for report in reports if "osd" in report]
    assert 2 == sum(len(body) for body in sent(shell) if "report_id" not in body)


def words(text: str) -> list[str]:
    """The pieces of JSON strings."""
    return text.replace('"', ":").split(":")


def test_on_again_brings_nothing_back(shell: Shell, left: Left) -> None:
    """What was collected before stays gone; what comes from then on is listed."""
    shell.run("off", "--channel", "crash")

    result = shell.run("on", "--channel", "crash")
    left.keep(crash("mod_later"))

    assert (0, True) == (result.exit_code, "cluster · stone: channel crash on, stored in" in result.stdout)
    assert only(shell.json("status"))["channels"]["crash"]
    listed = [crash["backtrace"] for body in sent(shell) for crash in body.get("crashes", [])]
    assert [["mod_later:run:1"]] == listed


def test_off_and_on_within_one_look_takes_back_all_the_same(shell: Shell, left: Left) -> None:
    """A killed off, an on right after it: what was gathered before both is gone at the next look."""
    for on in (False, True):
        write(shell.root / "cluster", on, "test", channel=Channel("stone", "crash"))

    left.consume()

    assert [] == [word for word in words(on_disk(left)) if word.startswith("mod_")]
    assert "upmap" in on_disk(left)


def test_what_a_killed_off_has_left_is_not_shown(shell: Shell, left: Left) -> None:
    """Switched off and on again, and no look at the queue in between: `show` is as the report will be."""
    for on in (False, True):
        write(shell.root / "cluster", on, "test", channel=Channel("stone", "crash"))

    shown = [body for body in sent(shell) if "report_id" in body][-1]

    assert (["basic", "crash", "device"], False) == (shown["channels"], "crashes" in shown)


def test_devices_are_unlinked(shell: Shell, left: Left) -> None:
    """A channel with requests of its own: nothing of it waits any more, and a report that waits is as it was."""
    before = [body for body in sent(shell) if "report_id" in body]

    result = shell.run("off", "--channel", "device")

    assert "deleted: 2 items of it" in result.stdout
    assert not list((left.place.queue / "device").iterdir())
    after = [body for body in sent(shell) if "report_id" in body]
    assert ["basic", "crash"] == after[0]["channels"]
    assert {**before[0], "channels": ["basic", "crash"]} == after[0]


def test_basic_off_leaves_the_crashes(shell: Shell, left: Left) -> None:
    """The next report holds the crashes alone."""
    shell.run("off", "--channel", "basic")

    reports = [body for body in sent(shell) if "report_id" in body]
    assert [["crash", "device"]] * 2 == [report["channels"] for report in reports]
    assert [False, False] == ["balancer" in report or "osd" in report for report in reports]
    assert {"mod_reported:run:1", "mod_folded:run:1", "mod_waiting:run:1"} == {
        crash["backtrace"][0] for crash in reports[-1]["crashes"]
    }


def test_a_channel_that_is_off_by_default_is_switched_on(shell: Shell, left: Left) -> None:
    """`ident` leaves once the operator says so, with what the settings say."""
    shell.run("config", "set", "contact", "ops")

    shell.run("on", "--channel", "ident")

    report = [body for body in sent(shell) if "report_id" in body][-1]
    assert ["basic", "crash", "device", "ident"] == report["channels"]
    assert ("ops", None) == (report["contact"], report["description"])
    shell.run("off", "--channel", "ident")
    assert ["contact" in body for body in sent(shell)] == [False] * len(sent(shell))


@pytest.mark.slow
def test_a_channel_that_is_taken_back_while_send_waits(shell: Shell, receiver: Receiver) -> None:
    """`send` makes a report by the word that holds then, and not by that of when it was started."""
    service_dir = shell.root / "cluster"
    write(service_dir, True, "test", license="sharing-1-0")
    write(service_dir, True, "test", channel=Channel("stone", "ident"))
    left = leave(
        shell.root, service="cluster", name="stone", settings={"endpoint": receiver.url, "contact": "ops@example.org"}
    )
    left.keep(state("upmap"))
    found = recall(left.place, {})
    consumer = Consumer(left.place, found.consent({}).stance, found.limits())
    assert consumer.acquire()
    done: list[subprocess.CompletedProcess[str]] = []
    thread = threading.Thread(target=lambda: done.append(shell.call("send", "report", "--timeout", "60")))
    thread.start()
    end = time.monotonic() + 30
    while not (left.place.folder / "send-now").exists():  # it asks whoever has the lock
        assert time.monotonic() < end
        time.sleep(0.02)

    write(service_dir, False, "test", channel=Channel("stone", "ident"))
    consumer.release()
    thread.join(90)

    assert [0] == [one.returncode for one in done], done
    [report] = [json.loads(request.body) for request in receiver.requests]
    assert (["basic", "crash", "device"], False) == (report["channels"], "contact" in report)


def test_twice_is_once(shell: Shell, left: Left) -> None:
    """A word that is stored already is not stored again; off looks again for what a kill may have left."""
    assert "channel crash is already on" in shell.run("on", "--channel", "crash").stdout
    shell.run("off", "--channel", "crash")
    before = (shell.root / "cluster" / "consent.json").read_bytes()

    again = shell.run("off", "--channel", "crash")

    assert "channel crash is already off" in again.stdout
    assert "deleted: 0 items of it" in again.stdout
    assert before == (shell.root / "cluster" / "consent.json").read_bytes()


def test_a_channel_that_is_not_there(shell: Shell, left: Left) -> None:
    """A usage error that names those there are; nothing is stored."""
    result = shell.run("off", "--channel", "crush", "--channel", "crash")

    assert 2 == result.exit_code
    assert "crush: no such channel; known are: basic, crash, device, ident" in result.stderr
    assert only(shell.json("status"))["channels"]["crash"]


def test_before_the_first_run(shell: Shell) -> None:
    """With --format the word is kept for the program's first run; it says nothing about the whole."""
    result = shell.run("off", "--service", "cluster", "--format", "stone", "--channel", "crash")
    leave(shell.root, service="cluster", name="stone")
    unknown = shell.run("off", "--service", "shop", "--channel", "crash")

    assert (0, 2) == (result.exit_code, unknown.exit_code)
    assert "--format says which one" in unknown.stderr
    found = only(shell.json("status"))
    assert (False, "default") == (found["consent"]["on"], found["consent"]["by"])
    assert {"basic": True, "crash": False, "device": True, "ident": False} == found["channels"]


def test_the_whole_goes_before_its_channels(shell: Shell, left: Left) -> None:
    """While all is off, a channel that is on has no effect; its word is kept until all is on again."""
    shell.run("off", "--channel", "crash")
    shell.run("off")
    shell.run("on", "--channel", "ident")
    assert [] == sent(shell)

    shell.run("on", "--license", "sharing-1-0")

    assert {"basic": True, "crash": False, "device": True, "ident": True} == only(shell.json("status"))["channels"]
    history = only(shell.json("status"))["consent"]["history"]
    assert [("on", None), ("off", "crash"), ("off", None), ("on", "ident"), ("on", None)] == [
        (word["state"], word.get("channel")) for word in history
    ]
    assert "off, stone: crash by usagewire off (uid" in shell.run("status", "-v").stdout


def test_a_program_that_runs_takes_its_part_back_itself(shell: Shell, left: Left) -> None:
    """Where another process holds the queue, off waits until that has rewritten the ledger."""
    current = recall(left.place, {})
    consumer = Consumer(left.place, current.consent({}).stance, current.limits())
    assert consumer.acquire()
    consumer.refresh()
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            consumer.refresh()

    running = threading.Thread(target=look)
    running.start()
    try:
        result = shell.run("off", "--channel", "crash")
    finally:
        done.set()
        running.join()
        consumer.release()

    assert (0, "") == (result.exit_code, result.stderr)
    assert "deleted: 3 items of it" in result.stdout
    assert [] == [word for word in words(on_disk(left)) if word.startswith("mod_")]


def test_a_writer_that_runs_keeps_nothing_of_it(shell: Shell, left: Left) -> None:
    """Its own segment goes at once, what it offers later is refused, and the other channels do not notice."""
    writer = left.writer()
    left.keep(crash("mod_open"), state("open"), writer=writer)

    shell.run("off", "--channel", "crash")

    assert "off" == writer.put("crash.signals", [b'{"event":{}}'])
    left.keep(state("later"), writer=writer)
    writer.close()
    assert [] == [word for word in words(on_disk(left)) if word.startswith("mod_")]
    left.consume(3)
    period = view.preview(left.place, left.destination.consent({}).stance())
    assert period is not None
    assert {"crush", "open", "later"} >= {event.body["mode"] for event in period.events} >= {"open", "later"}
