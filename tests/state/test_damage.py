"""Any damage to any file of the state: nothing raises, at most the damaged records are lost, and those are counted."""

from __future__ import annotations

import json
import os
import random
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.state import ORIGIN, Desk, in_memory, report
from usagewire.signals import Point
from usagewire.state import lines, view
from usagewire.state.consumer import Consumer

EXAMPLES = 400 if os.environ.get("USAGEWIRE_FAULTS") == "long" else 40


@pytest.fixture(scope="module")
def shelf() -> Iterator[Path]:
    """Room for many worlds."""
    with in_memory() as folder:
        yield folder


def furnished(base: Path) -> tuple[Desk, set[str]]:
    """Something of everything, and the names of 8 items of which 2 are delivered."""
    base.mkdir(exist_ok=True)
    desk = Desk(base)
    writer, consumer = desk.writer(), desk.consumer()
    writer.put("metrics.signals", [lines.point(Point("usage.a", "sum", desk.now, {}, 1))])
    writer.put("events", [lines.item(b'"%d"' % number) for number in range(4)])
    writer.close()
    consumer.refresh()
    consumer.compile_due(ORIGIN, report, force=True)
    consumer.sent(consumer.sending("https://x", b"1", 1), "delivered", 200)
    consumer.delivered(consumer.waiting(2, 1 << 20))
    consumer.sending("https://x", b"2", 1)
    consumer.release()
    desk.now += 1
    writer.lose("plan", 3)
    writer.put("metrics.signals", [lines.point(Point("usage.a", "sum", desk.now, {}, 1))])
    writer.put("events", [lines.item(b'"%d"' % number) for number in range(4, 7)])
    writer.close()
    writer.put("events", [lines.item(b'"7"')])
    writer.after_fork()  # dies
    return desk, {str(number) for number in range(8)}


def drained(consumer: Consumer) -> set[str]:
    """Names of the items that are handed out."""
    found: set[str] = set()
    for _ in range(20):
        consumer.refresh()
        consumer.compile_due(ORIGIN, report, force=True)
        entries = consumer.waiting(99, 1 << 20)
        found |= {json.loads(entry.data) for entry in entries}
        consumer.delivered(entries)
    return found


def damaged(content: bytes, drawn: random.Random) -> bytes:
    """Changed bytes, a piece cut out, the end cut off, or nothing left."""
    if not content:
        return b"\xff"
    kind = drawn.choice(("flip", "flip", "flip", "flips", "cut", "short", "empty"))
    at, end = sorted((drawn.randrange(len(content)), drawn.randrange(len(content))))
    if kind in ("flip", "flips"):
        found = bytearray(content)
        for _ in range(1 if kind == "flip" else 20):
            found[drawn.randrange(len(content))] ^= drawn.randint(1, 255)
        return bytes(found)
    return {"cut": content[:at] + content[end:], "short": content[:at], "empty": b""}[kind]


@settings(deadline=None, max_examples=EXAMPLES)
@given(st.randoms(use_true_random=True), st.integers(1, 4))
@pytest.mark.slow
def test_damage_anywhere_is_survived(shelf: Path, drawn: random.Random, count: int) -> None:
    """Whatever happens to whichever files, the queue is read to its end and takes new items."""
    desk, _ = furnished(shelf / secrets.token_hex(8))
    files = sorted(path for path in desk.place.folder.rglob("*") if path.is_file())
    for path in drawn.sample(files, count):
        path.write_bytes(damaged(path.read_bytes(), drawn))
    view.totals(desk.place)
    view.peek(desk.place, desk.stance)
    view.preview(desk.place, desk.stance)
    consumer = desk.consumer()

    drained(consumer)

    assert 0 == consumer.backlog().items
    desk.now += 1
    writer = desk.writer()
    assert "kept" == writer.put("events", [lines.item(b'"new"')])
    writer.close()
    assert {"new"} == drained(consumer)


@pytest.mark.slow
@settings(deadline=None, max_examples=EXAMPLES)
@given(st.randoms(use_true_random=True))
def test_one_changed_byte_of_a_segment_costs_one_record(shelf: Path, drawn: random.Random) -> None:
    """The others arrive; the lost one is counted, and its bytes are in corrupt/."""
    desk, names = furnished(shelf / secrets.token_hex(8))
    segment = drawn.choice(sorted((desk.place.queue / "events").glob("*.seg")))
    content = bytearray(segment.read_bytes())
    at = drawn.randrange(len(content))
    content[at] ^= drawn.randint(1, 255)
    segment.write_bytes(content)
    consumer = desk.consumer()

    found = drained(consumer)

    missing = names - {"0", "1"} - found
    assert len(missing) <= 1
    # a record that was settled already is not read again, so its damage costs nothing
    assert len(missing) == consumer.ledger.totals.lost["corrupt"]
    assert len(missing) == len(list(desk.place.corrupt.glob("*")))
    totals = consumer.ledger.totals
    assert 8 + 2 == totals.delivered + totals.lost["corrupt"]  # two reports


@pytest.mark.slow
@settings(deadline=None, max_examples=EXAMPLES)
@given(st.randoms(use_true_random=True))
def test_one_damaged_ledger_costs_nothing(shelf: Path, drawn: random.Random) -> None:
    """The version before it goes on; what it did not know yet is done once more."""
    desk, names = furnished(shelf / secrets.token_hex(8))
    path = drawn.choice(sorted(desk.place.folder.glob("a1-ledger-*")))
    path.write_bytes(damaged(path.read_bytes(), drawn))
    consumer = desk.consumer()

    found = drained(consumer)

    assert names - {"0", "1"} <= found
    assert {"plan": 3} == +consumer.ledger.totals.lost


def test_both_ledgers_lost_cost_the_running_sums(tmp_path: Path) -> None:
    """Counted; the totals, the period's number and every item go on."""
    desk, names = furnished(tmp_path)
    before = view.read_ledger(desk.place, "a1")
    assert before is not None
    for path in desk.place.folder.glob("a1-ledger-*"):
        path.write_bytes(b"")
    consumer = desk.consumer()

    assert names <= drained(consumer)
    assert consumer.ledger.period.number > before.period.number
    assert {"plan": 3, "corrupt": 1} == +consumer.ledger.totals.lost
    assert 2 == len(list(desk.place.corrupt.iterdir()))


def test_damaged_totals_and_notes_are_survived(tmp_path: Path) -> None:
    """The ledger knows the totals; without it, counting begins anew."""
    desk, _ = furnished(tmp_path)
    desk.place.totals_json.write_bytes(b"{")
    (desk.place.folder / "purged-00ff").write_bytes(b"{}")
    for path in desk.place.folder.glob("a1-ledger-*"):
        path.unlink()
    consumer = desk.consumer()
    for _ in range(3):
        consumer.refresh()

    assert {"plan": 3, "corrupt": 1} == +consumer.ledger.totals.lost
    assert not (desk.place.folder / "purged-00ff").exists()
    assert b"{" == (desk.place.corrupt / "totals.json").read_bytes()
