"""An intake: what is said to it and when, and that its events are kept, delivered or counted all the same."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.intakes import RESOURCE, account, events, opened, place
from tests.support.servers import black_hole, refusing
from tests.support.shell import snapshot
from usagewire import formats
from usagewire.delivery import detached
from usagewire.inspector import faults
from usagewire.inspector.receiver import Receiver
from usagewire.pipeline.destination import recall
from usagewire.pipeline.intake import Intake
from usagewire.policy.consent import write
from usagewire.signals import Point, Stance
from usagewire.state.consumer import Consumer
from usagewire.state.files import read_json
from usagewire.state.locks import try_lock
from usagewire.state.view import peek


def intake(state: Path, endpoint: str = "http://127.0.0.1:9", **keywords: Any) -> Intake:
    """Not configured yet."""
    said = {"endpoint": endpoint, "write_key": "write-key", "delivery": "manual", **keywords}
    return Intake(formats.load("segment"), said, {"USAGEWIRE_STATE_DIR": str(state)}, ["program"])


def waiting(state: Path) -> int:
    """Items on disk."""
    return len(peek(place(state), Stance(True, "0")))


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Destinations for which a helper would have been started."""
    found: list[str] = []
    monkeypatch.setattr(detached, "spawn", lambda place, **how: found.append(place.name))
    return found


# -- what is said, and said anew -------------------------------------------------------------------------------------


def test_no_is_no_until_the_product_says_otherwise(tmp_path: Path) -> None:
    """`telemetry.enable: false` keeps nothing; true later on goes on; nothing of the time between appears."""
    taking = intake(tmp_path, service="shop")
    taking.configure({})
    taking.events(events(1), RESOURCE)
    taking.configure({"enable": False})
    taking.events(events(10), RESOURCE)
    taking.configure({"enable": True})
    taking.events(events(2), RESOURCE)
    taking.close()

    assert 3 == waiting(tmp_path)
    assert {"consent": 10} == taking.dropped


def test_a_no_for_good_outlasts_a_yes_of_the_configuration(tmp_path: Path) -> None:
    """`usagewire.disable()` is not undone by a configuration that says true."""
    taking = intake(tmp_path)
    taking.configure({"silenced": "usagewire.disable()"})
    taking.configure({"silenced": "usagewire.disable()", "enable": True})
    taking.events(events(3), RESOURCE)
    taking.close()

    assert not (tmp_path / "shop").exists()


def test_what_is_wrong_is_said_by_the_operators_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where the default is off, a fault is named once the operator has said on; without that word, or after off, there
    is nothing that it could keep from leaving."""
    environ = {"USAGEWIRE_STATE_DIR": str(tmp_path), "OTEL_SERVICE_NAME": "shop"}
    taking = Intake(formats.load("stone"), {"endpoint": "http://127.0.0.1:9", "timeout": "abc"}, environ, ["program"])
    said = []
    for word in (None, True, False):
        if word is not None:
            write(tmp_path / "shop", word, "usagewire", license="sharing-1-0" if word else "")
        caplog.clear()
        taking.configure({})
        said.append(["timeout='abc'" in record.message for record in caplog.records])

    assert [[], [True], []] == said


def test_said_before_anything_was_seen_it_leaves_no_trace(tmp_path: Path) -> None:
    """No before the first event: no folder, no file."""
    taking = intake(tmp_path, service="shop")
    taking.configure({"enable": False})
    taking.configure({"enable": False})
    assert taking.events(events(3), RESOURCE)
    taking.close()

    assert [] == list(tmp_path.iterdir())


def test_a_service_that_is_named_late_gets_its_own_folder(tmp_path: Path) -> None:
    """`configure(service=…)` with exporters at work: what came before stays where it was kept."""
    taking = intake(tmp_path)
    taking.configure({})
    taking.events(events(1), RESOURCE)
    taking.configure({"service": "bakery"})
    taking.events(events(2), RESOURCE)
    taking.close()

    assert 1 == waiting(tmp_path)
    assert {"shop", "bakery"} == {path.name for path in tmp_path.iterdir()}


def test_a_plan_that_comes_late_rules_from_then_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong plan switches off, with every fault in one line; without it, it goes on, and counts what that cost."""
    taking = intake(tmp_path)
    taking.configure({})
    taking.events(events(1), RESOURCE)
    taking.configure({"plan": {"events": 7, "product": 8}})
    taking.events(events(10), RESOURCE)
    taking.configure({})
    taking.events(events(2), RESOURCE)
    taking.close()

    assert {"delivered": 0, "waiting": 3, "configuration": 10} == account(tmp_path)
    assert {} == taking.dropped
    assert 1 == len([record for record in caplog.records if "the segment exporter is off" in record.message])


def test_no_helper_is_started_by_a_change_of_mind(tmp_path: Path, helpers: list[str]) -> None:
    """Configuring anew closes what is open, but the program goes on: what waits is its own to send. Least of all is
    anything sent because the program said no."""
    taking = intake(tmp_path, delivery="auto")
    taking.configure({})
    taking.events(events(1), RESOURCE)
    taking.configure({"service": "bakery"})
    taking.events(events(1), RESOURCE)
    taking.configure({"enable": False})
    taking.close()

    assert [] == helpers


def test_settings_stored_by_the_operator_count_from_the_next_start(tmp_path: Path) -> None:
    """`usagewire config set` wins over the program's keywords; a running program is not touched."""
    taking = intake(tmp_path)
    taking.configure({})
    taking.events(events(1), RESOURCE)
    place(tmp_path).config_json.write_text('{"endpoint": "https://elsewhere.example"}')
    taking.events(events(1), RESOURCE)
    stored = read_json(place(tmp_path).destination_json)
    taking.close()
    again = intake(tmp_path)
    again.configure({})
    again.events(events(1), RESOURCE)
    anew = read_json(place(tmp_path).destination_json)
    again.close()

    assert stored is not None
    assert anew is not None
    assert "http://127.0.0.1:9" == stored["settings"]["endpoint"]
    assert "https://elsewhere.example" == anew["settings"]["endpoint"]


def test_secrets_are_remembered_for_send_and_told_to_nobody_else(tmp_path: Path) -> None:
    """destination.json holds the key, readable by this user alone; recalled, it is known to be one."""
    taking = intake(tmp_path)
    taking.configure({})
    taking.events(events(1), RESOURCE)
    taking.close()
    recalled = recall(place(tmp_path), {})

    assert 0o600 == stat.S_IMODE(place(tmp_path).destination_json.stat().st_mode)
    assert "write-key" == recalled.settings["write_key"]
    assert "****" == recalled.settings.masked()["write_key"]
    assert b"a **** b" == recalled.settings.mask(b"a write-key b")


# -- beginning and end -----------------------------------------------------------------------------------------------


def test_what_an_earlier_run_left_is_sent_before_this_one_says_anything(tmp_path: Path) -> None:
    """With the service known, a start is enough; and the first event still brings its resource along."""
    with refusing() as url, opened(tmp_path, url) as taking:
        taking.events(events(3), {**RESOURCE, "service.version": "1"})
    with Receiver() as receiver, opened(tmp_path, receiver.url, service="shop") as taking:
        assert receiver.wait(3, timeout=20)
        taking.events(events(1), {**RESOURCE, "service.version": "2"})
        assert taking.flush(time.monotonic() + 20)

    assert {"delivered": 4, "waiting": 0} == account(tmp_path)
    assert "2" == recall(place(tmp_path), {}).origin.service_version


def test_a_flush_at_the_very_start_sends_what_an_earlier_run_left(tmp_path: Path) -> None:
    """It is being taken up on a thread meanwhile, and that is waited for."""
    with refusing() as url, opened(tmp_path, url) as taking:
        taking.events(events(3), RESOURCE)
    with Receiver() as receiver, opened(tmp_path, receiver.url, service="shop") as taking:
        assert taking.flush(time.monotonic() + 20)

    assert {"delivered": 3, "waiting": 0} == account(tmp_path)


def test_who_ends_at_the_very_start_takes_nothing_up(tmp_path: Path) -> None:
    """Before the thread that does it got its turn: what an earlier run left stays free for others."""
    with opened(tmp_path, "http://127.0.0.1:9") as taking:
        taking.events(events(3), RESOURCE)
    taking = intake(tmp_path, service="shop")
    with taking._lock:  # the thread's turn is when this ends
        taking.configure({})
        thread = taking._ahead
        taking.close()
    assert thread is not None
    thread.join(20)

    assert taking._pipeline is None


def test_where_no_thread_can_be_started_the_first_batch_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the end of Python 3.12: what was to be done ahead is not waited for."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    taking = intake(tmp_path, service="shop")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        taking.configure({})
    assert taking.flush(time.monotonic() + 1)
    assert taking.events(events(2), RESOURCE)
    taking.close()

    assert 2 == waiting(tmp_path)


LOADS = """
import sys, threading
main = []
sys.addaudithook(lambda what, of: what == "import" and threading.current_thread() is threading.main_thread()
                 and main.append(of[0]))
from usagewire.sdk import SegmentLogExporter
exporter = SegmentLogExporter(endpoint="http://127.0.0.1:9", write_key="w", service="shop")
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(20) if thread.name == "usagewire-open" else None
rooms = {"usagewire.pipeline.opening", "usagewire.state.consumer", "usagewire.delivery.courier"}
print(sorted(rooms & set(main)), rooms <= set(sys.modules))
"""


@pytest.mark.parametrize("run", ["first", "second"])
def test_a_programs_own_thread_loads_no_queue(tmp_path: Path, run: str) -> None:
    """Neither at its first start nor where an earlier run has left something: a thread does it meanwhile."""
    if run == "second":
        with opened(tmp_path, "http://127.0.0.1:9") as taking:
            taking.events(events(1), RESOURCE)
    environ = {**os.environ, "USAGEWIRE_STATE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", LOADS], env=environ, capture_output=True, text=True, check=False)

    assert ("[] True\n", "") == (done.stdout, done.stderr)


def test_the_helper_comes_with_the_last_exporter(tmp_path: Path, helpers: list[str]) -> None:
    """Logs shut down first: points that come after are kept, and only the last to leave starts a helper."""
    taking = intake(tmp_path, delivery="auto")
    taking.configure({})
    logs, metrics = threading.Event(), threading.Event()  # anything will do for an exporter
    taking.use(logs)
    taking.use(metrics)
    taking.events(events(1), RESOURCE)

    assert not taking.leave(logs)
    assert [] == helpers
    assert taking.points([Point("usage.size", "sum", time.time_ns(), value=1)], RESOURCE)
    assert taking.leave(metrics)
    assert ["segment"] == helpers
    assert 1 == waiting(tmp_path)
    assert 1 == len(list(place(tmp_path).queue.glob("metrics.signals/*.seg")))


def test_an_exporter_that_was_forgotten_keeps_nobody_from_closing(tmp_path: Path, helpers: list[str]) -> None:
    """One that was thrown away without `shutdown` does not count."""
    taking = intake(tmp_path, delivery="auto")
    taking.configure({})
    taking.use(threading.Event())
    last = threading.Event()
    taking.use(last)
    taking.events(events(1), RESOURCE)

    assert taking.leave(last)
    assert ["segment"] == helpers


def test_no_helper_while_the_endpoint_is_to_be_left_alone(tmp_path: Path, helpers: list[str]) -> None:
    """Where the server asked for time, the helper could only wait, too."""
    with Receiver(script=faults.retry_after(100)) as receiver:
        with opened(tmp_path, receiver.url, delivery="auto") as taking:
            taking.events(events(1), RESOURCE)
            assert not taking.flush(time.monotonic() + 1)
        assert 1 == len(receiver.requests)

    assert [] == helpers


def test_a_batch_after_the_end_opens_anew(tmp_path: Path) -> None:
    """Closed, and used again in the same process: nothing is lost, and all of it is sealed at the next close."""
    taking = intake(tmp_path)
    taking.configure({})
    for _ in range(3):
        taking.events(events(2), RESOURCE)
        taking.close()

    assert 6 == waiting(tmp_path)
    assert [] == list(place(tmp_path).queue.glob("*/*.open"))


def test_nothing_is_lost_between_closing_and_writing(tmp_path: Path) -> None:
    """Threads that export while another configures anew: every event is kept once, every file is sealed."""
    taking = intake(tmp_path)
    taking.configure({})
    kept: list[bool] = []

    def export() -> None:
        kept.extend(taking.events(events(1), RESOURCE) for _ in range(40))

    threads = [threading.Thread(target=export) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taking.configure({})
    for thread in threads:
        thread.join()
    taking.close()

    assert [True] * 160 == kept
    assert 160 == waiting(tmp_path)
    assert [] == list(place(tmp_path).queue.glob("*/*.open"))


def test_a_folder_that_cannot_be_had_is_memory_for_this_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning; delivery from memory, also after the folder could be had: a run is one or the other."""
    (tmp_path / "shop").write_text("a file")
    with Receiver() as receiver, opened(tmp_path, receiver.url) as taking:
        taking.events(events(2), RESOURCE)
        (tmp_path / "shop").unlink()
        taking.events(events(2), RESOURCE)
        assert taking.flush(time.monotonic() + 20)
        assert 4 == len(receiver.events())

    assert 1 == len([record for record in caplog.records if record.levelno == logging.WARNING])
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize("broken", ["plan", "resolve", "open"])
def test_a_fault_of_ours_stays_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Whatever breaks inside: one warning, and an exporter that drops and counts."""

    class Hostile(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise RecursionError

    taking = intake(tmp_path)
    configured: Mapping[str, Any] = Hostile() if broken == "plan" else {}
    if broken == "open":
        monkeypatch.setattr("usagewire.pipeline.opening.prepare", lambda *_: 1 / 0)
    if broken == "resolve":
        monkeypatch.setattr("usagewire.pipeline.said.resolve", lambda *_, **__: 1 / 0)
    taking.configure(configured)
    for _ in range(3):
        assert taking.events(events(1), RESOURCE)
    assert taking.flush(time.monotonic())
    taking.close()

    assert 3 == sum(taking.dropped.values())
    assert 1 == len(caplog.records)


# -- what was dropped ------------------------------------------------------------------------------------------------


BAD: dict[str, Any] = {"plan": {"events": 7}}


def test_what_no_queue_was_open_for_is_counted_at_the_end(tmp_path: Path) -> None:
    """A program that was set up wrongly, after a run that was not: what it dropped is in the totals of both ways to
    look at them, once."""
    with opened(tmp_path, "http://127.0.0.1:9") as taking:
        taking.events(events(2), RESOURCE)
    for _ in range(2):
        wrong = intake(tmp_path)
        wrong.configure(BAD)
        wrong.events(events(3), RESOURCE)
        wrong.lose("memory")
        wrong.close()
        wrong.close()
        assert {} == wrong.dropped

    expected = {"delivered": 0, "waiting": 2, "configuration": 6, "memory": 2}
    assert expected == account(tmp_path)
    recalled = recall(place(tmp_path), {})
    consumer = Consumer(place(tmp_path), recalled.consent({}).stance, recalled.limits())
    assert consumer.acquire()
    for _ in range(3):
        consumer.refresh()
        assert expected == account(tmp_path)
    consumer.release()
    assert [] == list(place(tmp_path).folder.glob("purged-*"))


@pytest.mark.parametrize("no", ["stored", "program", "plan", "nothing there", "nothing wrong"])
def test_where_somebody_said_no_nothing_is_counted(tmp_path: Path, no: str) -> None:
    """The operator, the program, or the switch that an earlier run's plan named; nor is anything created."""
    if no != "nothing there":
        product: dict[str, Any] = {"opt_out": ["--quiet"]}
        fine = {"plan": "shop", "version": 1, "product": product, "events": {"work": {"purpose": "x"}}}
        with opened(tmp_path, "http://127.0.0.1:9", plan=fine) as taking:
            taking.events(events(2), RESOURCE)
    if no == "stored":
        write(tmp_path / "shop", False, "test")
    said = {"endpoint": "http://127.0.0.1:9", "write_key": "write-key"}
    argv = ["program", "--quiet"] if no == "plan" else ["program"]
    wrong = Intake(formats.load("segment"), said, {"USAGEWIRE_STATE_DIR": str(tmp_path)}, argv)
    silenced = {"silenced": "usagewire.disable()"} if no in ("program", "nothing wrong") else {}
    wrong.configure(silenced if no == "nothing wrong" else {**BAD, **silenced})
    before = snapshot(tmp_path)
    wrong.events(events(3), RESOURCE)
    wrong.close()

    assert before == snapshot(tmp_path)


def test_a_loss_beside_the_opening_and_the_closing_is_counted_once(tmp_path: Path) -> None:
    """Threads that lose events while another opens and closes the queue, over and over."""
    before, lost, stop = sys.getswitchinterval(), [0, 0], threading.Event()
    taking = intake(tmp_path)
    taking.configure({})

    def lose(number: int) -> None:
        while not stop.is_set():
            taking.lose("memory")
            lost[number] += 1

    threads = [threading.Thread(target=lose, args=(number,)) for number in range(2)]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for _ in range(40):
            taking.events(events(1), RESOURCE)
            taking.close()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)
    taking.close()

    assert {"delivered": 0, "waiting": 40, "memory": sum(lost)} == account(tmp_path)
    assert {} == taking.dropped


def test_a_forked_child_does_not_count_what_its_parent_dropped(tmp_path: Path) -> None:
    """Each counts its own, whichever opens the queue first."""
    taking = intake(tmp_path)
    taking.configure({})
    taking.lose("memory")
    child = os.fork()
    if not child:
        status = 1
        try:
            taking.after_fork()
            taking.lose("rejected")
            taking.events(events(1), RESOURCE)
            taking.close()
            status = 0
        finally:
            os._exit(status)
    assert 0 == os.waitpid(child, 0)[1]
    taking.events(events(1), RESOURCE)
    taking.close()

    assert {"delivered": 0, "waiting": 2, "memory": 1, "rejected": 1} == account(tmp_path)


# -- flush -----------------------------------------------------------------------------------------------------------


def test_flush_goes_on_after_a_failure(tmp_path: Path) -> None:
    """The first try fails, a later one succeeds: flush says so as soon as nothing waits."""
    with (
        Receiver(script=faults.in_turn(faults.status(503), faults.status(503))) as receiver,
        opened(tmp_path, receiver.url) as taking,
    ):
        taking.events(events(3), RESOURCE)
        began = time.monotonic()
        assert taking.flush(time.monotonic() + 20)
        assert time.monotonic() - began < 10

    assert {"delivered": 3, "waiting": 0} == account(tmp_path)


def test_flush_ends_in_time(tmp_path: Path) -> None:
    """Into a black hole: False, when the time is up and not when the request is."""
    with black_hole() as url, opened(tmp_path, url, timeout=5_000) as taking:
        taking.events(events(1), RESOURCE)
        began = time.monotonic()
        assert not taking.flush(began + 0.3)
        assert time.monotonic() - began < 2
        began = time.monotonic()
        taking.close()
        assert time.monotonic() - began < 1


def test_flush_without_consent_has_nothing_to_do(tmp_path: Path) -> None:
    """Off, stored or in the program, on disk or in memory: nothing is owed to the endpoint, so it is done."""
    for number, folder in enumerate(("disk", "memory")):
        state = tmp_path / folder
        state.mkdir()
        if number:
            (state / "shop").write_text("a file")
        with opened(state, "http://127.0.0.1:9") as taking:
            taking.events(events(1), RESOURCE)
            taking.configure({"enable": False})
            assert taking.flush(time.monotonic() + 5)
    with opened(tmp_path / "disk", "http://127.0.0.1:9") as taking:
        taking.events(events(1), RESOURCE)
        write(tmp_path / "disk" / "shop", False, "test")
        assert taking.flush(time.monotonic() + 5)


def test_flush_where_another_process_sends(tmp_path: Path) -> None:
    """The lock is another's: it is asked to send, and flush is done when what waited at the call is gone."""
    with opened(tmp_path, "http://127.0.0.1:9") as taking:
        taking.events(events(3), RESOURCE)
        folder = place(tmp_path).folder
        descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        assert try_lock(descriptor)
        results: list[bool] = []
        flushing = threading.Thread(target=lambda: results.append(taking.flush(time.monotonic() + 20)))
        flushing.start()
        deadline = time.monotonic() + 20
        while not (folder / "send-now").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not results
        sealed = list(place(tmp_path).queue.glob("events/*.seg"))
        taking.events(events(1), RESOURCE)  # newer than the call: not waited for
        for path in sealed:
            path.unlink()
        flushing.join(20)
        os.close(descriptor)

    assert [True] == results


def test_flush_from_several_threads(tmp_path: Path) -> None:
    """Each is told the truth about what it had kept."""
    with Receiver() as receiver, opened(tmp_path, receiver.url) as taking:
        results: list[bool] = []

        def work(first: int) -> None:
            taking.events(events(1, first), RESOURCE)
            flushed = taking.flush(time.monotonic() + 30)
            results.append(flushed and first in {one["properties"]["number"] for one in receiver.events()})

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [True] * 6 == results


def test_flush_in_a_forked_child(tmp_path: Path) -> None:
    """The child's own events go out by the child's flush, or by the parent that holds the queue; the parent's remain
    the parent's."""
    with Receiver() as receiver, opened(tmp_path, receiver.url) as taking:
        taking.events(events(2), RESOURCE)
        assert taking.flush(time.monotonic() + 20)
        child = os.fork()
        if not child:
            status = 1
            try:
                taking.after_fork()
                assert taking.flush(time.monotonic() + 20)
                taking.events(events(1, start=7), RESOURCE)
                status = 0 if taking.flush(time.monotonic() + 20) else 2
            finally:
                os._exit(status)
        assert 0 == os.waitpid(child, 0)[1]
        assert [0, 1, 7] == [one["properties"]["number"] for one in receiver.events()]

    assert {"delivered": 3, "waiting": 0} == account(tmp_path)
