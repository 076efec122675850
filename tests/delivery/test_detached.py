"""The helper that delivers what a program left: when it is started, with what, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tests.support.couriers import Office
from usagewire.cli.send import send
from usagewire.delivery import detached
from usagewire.state.locks import try_lock
from usagewire.state.paths import Place


class Started(list[dict[str, Any]]):
    """What would have been started: the arguments of each `subprocess.Popen`, in place of which ``true`` runs."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    """No helper runs; what it would have been is kept."""
    found, popen = Started(), subprocess.Popen

    def instead(command: list[str], **options: Any) -> Any:
        found.append({"command": command, **options})
        return popen([sys.executable, "-I", "-S", "-c", ""], **{**options, "env": {}})

    monkeypatch.setattr(subprocess, "Popen", instead)
    yield found
    for thread in threading.enumerate():
        if thread.name == "usagewire-helper":
            thread.join(20)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """A place with an item that waits."""
    office = Office(tmp_path)
    office.put(1)
    return office


def test_a_helper_is_started_for_what_waits(office: Office, started: Started) -> None:
    """Apart from the program in every way: isolated, own session, no streams, no descriptors, nothing of its folder."""
    assert detached.spawn(office.place)

    (given,) = started
    assert [sys.executable, "-I"] == given["command"][:2]
    assert (subprocess.DEVNULL,) * 3 == (given["stdin"], given["stdout"], given["stderr"])
    assert (True, True, "/") == (given["close_fds"], given["start_new_session"], given["cwd"])


def test_the_command_is_one_that_the_command_line_knows(tmp_path: Path) -> None:
    """`send` takes exactly these options, and they mean this destination."""
    place = Place(tmp_path / "shop-1a2b3c4d", "segment-eu")
    name, *options = detached.arguments(place)

    assert "send" == name
    with click.Context(click.Group("usagewire")) as above:
        context = send.make_context("send", options, parent=above)
    assert (True, "shop-1a2b3c4d", "segment-eu") == tuple(
        context.params[key] for key in ("detached", "service", "destination")
    )


def test_the_environment_is_a_list_of_what_is_needed(
    office: Office, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies, certificates and a no are passed on; the program's secrets and OpenTelemetry's settings are not."""
    kept = {"HTTPS_PROXY": "http://proxy", "REQUESTS_CA_BUNDLE": "/ca", "CURL_CA_BUNDLE": "/ca", "all_proxy": "p"}
    for name, value in {**kept, "OTEL_EXPORTER_SEGMENT_WRITE_KEY": "s3cr3t", "AWS_SECRET_ACCESS_KEY": "s3cr3t"}.items():
        monkeypatch.setenv(name, value)
    assert detached.spawn(office.place)

    environment = started[0]["env"]
    assert kept == {name: environment[name] for name in kept}
    assert "1" == environment["USAGEWIRE_CHILD"]
    assert str(office.place.service_dir.parent) == environment["USAGEWIRE_STATE_DIR"]
    assert "s3cr3t" not in str(started)
    assert not [name for name in environment if name.startswith(("OTEL_", "PYTHON"))]


def test_nothing_to_do_is_no_helper(tmp_path: Path, started: Started) -> None:
    """An empty queue, and points that are for a later report, need none; a compiled report does."""
    office = Office(tmp_path)
    assert not detached.spawn(office.place)
    office.point(1)
    assert not detached.spawn(office.place)
    office.place.reports.mkdir()
    (office.place.reports / "a1-r1-aaaaaaaaaaaa").write_bytes(b"x")
    assert detached.spawn(office.place)


def test_nobody_helps_whoever_holds_the_queue(office: Office, started: Started) -> None:
    """Where another process holds the lock, it sends; where it is this one, the helper waits until it is gone."""
    descriptor = os.open(office.place.lock, os.O_CREAT | os.O_RDWR, 0o600)
    assert try_lock(descriptor)
    assert not detached.spawn(office.place)
    assert detached.spawn(office.place, held=True)
    os.close(descriptor)
    assert 1 == len(started)


def test_a_minute_lies_between_two_helpers(office: Office, started: Started) -> None:
    """A command run in a loop starts one helper, not one each; a clock that was set back is no minute."""
    assert detached.spawn(office.place)
    assert not detached.spawn(office.place)
    mark = office.place.folder / "helper"
    os.utime(mark, (time.time() - 61,) * 2)
    assert detached.spawn(office.place)
    os.utime(mark, (time.time() + 86_400,) * 2)
    assert detached.spawn(office.place)
    assert 0o600 == mark.stat().st_mode & 0o777


def test_a_helper_starts_no_helper(office: Office, started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside one, and inside a frozen program or anything that is no python, none is started."""
    monkeypatch.setenv("USAGEWIRE_CHILD", "1")
    assert not detached.spawn(office.place)
    monkeypatch.delenv("USAGEWIRE_CHILD")
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    assert not detached.spawn(office.place)
    monkeypatch.setattr(sys, "executable", None)
    assert not detached.spawn(office.place)
    monkeypatch.undo()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not detached.spawn(office.place)


@pytest.mark.parametrize("fault", [OSError(12, "no memory"), RuntimeError("shutting down"), TypeError("gone")])
def test_a_failure_to_start_is_none_of_the_programs_business(
    office: Office, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """No process to be had, or an interpreter that is half gone: False, and no exception."""

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(subprocess, "Popen", fail)
    assert not detached.spawn(office.place)


def test_a_folder_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    """Nothing there, or something else there."""
    assert not detached.spawn(Place(tmp_path / "never", "segment"))
    (tmp_path / "file").write_text("")
    assert not detached.spawn(Place(tmp_path / "file", "segment"))


def test_no_zombie_is_left_to_a_program_that_lives_on(office: Office, started: Started) -> None:
    """After `shutdown` of a provider in a long-lived program, the helper's end is taken note of."""
    before = _children()
    assert detached.spawn(office.place)
    deadline = time.monotonic() + 20
    while _children() - before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _children() -> set[str]:
    """Processes that have this one as parent, zombies included."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        found |= set((task / "children").read_text().split())
    return found


@pytest.mark.slow
def test_usagewire_is_found_where_an_isolated_python_would_not_look(tmp_path: Path) -> None:
    """Installed for one user or beside the program (``pip install --target``), the helper still starts."""
    for entry in [*Path(click.__file__).parents[1].iterdir(), Path(detached.__file__).parents[1]]:
        if not (tmp_path / entry.name).exists():
            (tmp_path / entry.name).symlink_to(entry)

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", detached.START, str(tmp_path), "send", "--help"],
        env={},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert "Deliver everything that waits" in done.stdout
