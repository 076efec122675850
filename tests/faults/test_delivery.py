"""Endpoints that fail in every way: nothing lost that could be delivered, nothing hangs, the books balance.

Every test ends by comparing the state's accounts with what the test itself put in.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support.intakes import RESOURCE, account, events, opened
from tests.support.servers import Authority, black_hole, refusing
from usagewire.inspector import faults
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow


def numbers(receiver: Receiver) -> list[int]:
    """The numbers of the events that arrived, in order, repeats by messageId left out."""
    seen: dict[str, int] = {}
    for event in receiver.events():
        seen.setdefault(event["messageId"], event["properties"]["number"])
    return list(seen.values())


@pytest.mark.parametrize(
    "script",
    [
        faults.status(503),
        faults.status(500),
        faults.status(408),
        faults.status(410),
        faults.status(460),
        faults.cut(),
        faults.garbage(),
        faults.drip_headers(),
    ],
    ids=["503", "500", "408", "410", "460", "cut", "garbage", "dripping headers"],
)
def test_what_fails_once_is_sent_again(tmp_path: Path, script: faults.Script) -> None:
    """A failure that may pass is tried again, with the same ids and the count of the retry."""
    with Receiver(script=faults.in_turn(script)) as receiver, opened(tmp_path, receiver.url, timeout=700) as intake:
        intake.events(events(20), RESOURCE)
        receiver.wait_for(lambda: len(receiver.requests) > 1, timeout=20)
        assert intake.flush(time.monotonic() + 20)

    assert list(range(20)) == numbers(receiver)
    assert "1" == receiver.requests[1].headers["x-retry-count"]
    assert [] == receiver.complaints()
    assert {"delivered": 20, "waiting": 0} == account(tmp_path)


def test_an_endless_answer_is_cut_and_counts(tmp_path: Path) -> None:
    """A 200 whose body never ends is a 200; 64 KiB of it are read."""
    with Receiver(script=faults.endless()) as receiver, opened(tmp_path, receiver.url) as intake:
        intake.events(events(5), RESOURCE)
        assert intake.flush(time.monotonic() + 20)

    assert list(range(5)) == numbers(receiver)
    assert {"delivered": 5, "waiting": 0} == account(tmp_path)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_pauses_the_destination_also_over_a_restart(tmp_path: Path, form: str) -> None:
    """429 with Retry-After: nothing is asked before that time, not even by a new start or a flush; then all arrives."""
    value = 3 if form == "seconds" else formatdate(time.time() + 4, usegmt=True)
    with Receiver(script=faults.in_turn(faults.retry_after(value))) as receiver:
        with opened(tmp_path, receiver.url) as intake:
            intake.events(events(10), RESOURCE)
            assert not intake.flush(time.monotonic() + 1)
        asked = receiver.requests[0].time
        with opened(tmp_path, receiver.url) as intake:
            intake.events(events(10, start=10), RESOURCE)
            assert receiver.wait(20, timeout=20)
            intake.flush(time.monotonic() + 5)

    assert list(range(20)) == numbers(receiver)
    assert receiver.requests[1].time - asked > 2_500_000_000
    assert {"delivered": 20, "waiting": 0} == account(tmp_path)


def test_one_poisoned_event_among_500_is_found(tmp_path: Path) -> None:
    """400 for a batch: it is halved until the event to blame stands alone; the 499 others arrive, that one is kept in
    rejected/ and counted."""

    def poisoned(event: Any) -> bool:
        return bool(event["properties"]["number"] == 321)

    with Receiver(script=faults.poison(poisoned)) as receiver, opened(tmp_path, receiver.url) as intake:
        intake.events(events(500), RESOURCE)
        assert intake.flush(time.monotonic() + 30)

    assert [number for number in range(500) if number != 321] == numbers(receiver)
    assert len(receiver.requests) < 25
    kept = [path.read_text() for path in (tmp_path / "shop" / "segment" / "rejected").iterdir()]
    assert 1 == len(kept)
    assert '"number":321' in kept[0].replace("\\", "")
    assert {"delivered": 499, "waiting": 0, "rejected": 1} == account(tmp_path)


@pytest.mark.parametrize("status", [401, 403, 404, 501, 505, 302])
def test_a_final_no_is_kept_and_counted(tmp_path: Path, status: int) -> None:
    """What can never succeed is moved to rejected/ with its reason, and asked once."""
    with Receiver(script=faults.status(status)) as receiver, opened(tmp_path, receiver.url) as intake:
        intake.events(events(3), RESOURCE)
        assert intake.flush(time.monotonic() + 20)

    assert 1 == len(receiver.requests)
    kept = "".join(path.read_text() for path in (tmp_path / "shop" / "segment" / "rejected").iterdir())
    assert f"HTTP {status}" in kept
    assert {"delivered": 0, "waiting": 0, "rejected": 3} == account(tmp_path)


BOMB = gzip.compress(b"[" + b"0," * (8 << 20) + b"0]", 9)
"""16 KiB that unpack to 16 MiB."""


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB,
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n\xff\x00}{[]"\x80\n',
    ],
    ids=["HTTP/1.0", "early close", "gzip bomb", "garbage for a body"],
)
def test_a_yes_counts_however_it_is_put(tmp_path: Path, said: bytes) -> None:
    """An old protocol, a body that breaks off, swells or makes no sense: the status says that it arrived."""
    with Receiver(script=faults.cut(said)) as receiver, opened(tmp_path, receiver.url) as intake:
        intake.events(events(5), RESOURCE)
        assert intake.flush(time.monotonic() + 20)
        assert 1 == len(receiver.requests)

    assert list(range(5)) == numbers(receiver)
    assert {"delivered": 5, "waiting": 0} == account(tmp_path)


@pytest.mark.parametrize("code", [301, 307, 308])
def test_a_body_is_never_sent_on(tmp_path: Path, code: int) -> None:
    """A redirect to another server is a no: nothing arrives there, and what was refused is kept and counted."""
    with Receiver() as elsewhere, Receiver(script=faults.redirect(f"{elsewhere.url}/v1/batch", code)) as receiver:
        with opened(tmp_path, receiver.url) as intake:
            intake.events(events(3), RESOURCE)
            assert intake.flush(time.monotonic() + 20)
        assert [] == elsewhere.requests

    assert {"delivered": 0, "waiting": 0, "rejected": 3} == account(tmp_path)


YESTERDAY = datetime.now(timezone.utc) - timedelta(days=1)
CERTIFICATES: dict[str, dict[str, Any]] = {
    "strange certificate": {"trusted": False},
    "expired certificate": {"until": YESTERDAY},
    "another's certificate": {"names": ("example.org",)},
}


@contextmanager
def secure(
    names: tuple[str, ...] = (), until: datetime | None = None, trusted: bool = True
) -> Iterator[tuple[str, str]]:
    """A TLS server with a certificate for ``names`` that expires ``until``; its URL, and whom to trust instead."""
    with TemporaryDirectory() as folder, TemporaryDirectory() as other:
        authority = Authority(Path(folder))
        with Receiver(tls=authority.server(*names, until=until)) as receiver:
            yield receiver.url, authority.file if trusted else Authority(Path(other)).file
            assert [] == receiver.requests


@contextmanager
def silent(server: AbstractContextManager[str]) -> Iterator[tuple[str, str]]:
    """A server without TLS, which needs no trust."""
    with server as url:
        yield url, ""


@pytest.mark.parametrize("kind", [*CERTIFICATES, "refused", "black hole"])
def test_what_cannot_be_reached_waits_and_arrives_later(tmp_path: Path, kind: str) -> None:
    """A certificate that is no good, refused, no answer at all: everything waits on disk; with a working endpoint it
    arrives, oldest first."""
    silence = refusing() if kind == "refused" else black_hole()
    server = secure(**CERTIFICATES[kind]) if kind in CERTIFICATES else silent(silence)
    with server as (url, trust), opened(tmp_path, url, timeout=500, certificate=trust or None) as intake:
        intake.events(events(40), RESOURCE)
        assert not intake.flush(time.monotonic() + 1.5)
    assert {"delivered": 0, "waiting": 40} == account(tmp_path)

    with Receiver() as receiver, opened(tmp_path, receiver.url) as intake:
        intake.events(events(10, start=40), RESOURCE)
        assert intake.flush(time.monotonic() + 20)

    assert list(range(50)) == numbers(receiver)
    assert {"delivered": 50, "waiting": 0} == account(tmp_path)


def test_an_event_over_the_limit_is_lost_alone(tmp_path: Path) -> None:
    """An event of more than 32 KB is counted as oversize; its batch goes on without it."""
    batch = events(3)
    batch[1] = type(batch[1])("big", 1, batch[1].id, {"number": 1, "blob": "x" * 40_000})
    with Receiver() as receiver, opened(tmp_path, receiver.url) as intake:
        intake.events(batch, RESOURCE)
        assert intake.flush(time.monotonic() + 20)

    assert [0, 2] == numbers(receiver)
    assert {"delivered": 2, "waiting": 0, "oversize": 1} == account(tmp_path)


def test_a_thousand_small_batches_leave_in_few_requests(tmp_path: Path) -> None:
    """What waited in many segments is packed near the limits, not one request each."""
    with refusing() as url, opened(tmp_path, url) as intake:
        for start in range(0, 3_000, 3):
            intake.events(events(3, start=start), RESOURCE)
    with Receiver() as receiver, opened(tmp_path, receiver.url) as intake:
        intake.events(events(1, start=3_000), RESOURCE)
        assert intake.flush(time.monotonic() + 20)

    assert list(range(3_001)) == numbers(receiver)
    assert len(receiver.requests) <= 4
    assert {"delivered": 3_001, "waiting": 0} == account(tmp_path)
