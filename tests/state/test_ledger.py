"""usagewire.state.ledger"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.state import Desk, events, points
from usagewire.errors import HolderLost, StateError
from usagewire.signals import Event, Point
from usagewire.state import ledger as ledgers
from usagewire.state import lines
from usagewire.state.fold import Gathered
from usagewire.state.ledger import Closing, Ledger, Outcome, Running
from usagewire.state.totals import Totals

NUMBERS = st.integers(0, 2**62)
NAMES = st.dictionaries(st.text("abc-0123", min_size=1, max_size=6), NUMBERS, max_size=3)
ERRORS = st.none() | st.fixed_dictionaries({"time": NUMBERS, "reason": st.text(max_size=5)})


def gathered(signals: list[Event | Point]) -> Gathered:
    """A period with these in it."""
    found = Gathered()
    for signal in signals:
        found.add(signal, "t", 10)
    return found


OUTCOMES = st.builds(Outcome, st.none() | NUMBERS, ERRORS, st.none() | NUMBERS, st.booleans(), NUMBERS)
LEDGERS = st.builds(
    Ledger,
    epoch=st.sampled_from(["0", "a1"]),
    serial=NUMBERS,
    period=st.builds(Running, NUMBERS, NUMBERS, NUMBERS, st.lists(points() | events(), max_size=4).map(gathered)),
    closing=st.none() | st.builds(Closing, st.text("0123", max_size=3), NUMBERS, st.just({"service": "x"})),
    folded=NAMES,
    offsets=NAMES,
    reports=NAMES,
    totals=st.builds(Totals, NUMBERS, NAMES.map(Counter)),
    outcome=OUTCOMES,
    lanes=st.dictionaries(st.just("device"), OUTCOMES),
)


@given(LEDGERS)
def test_ledger_survives_its_file(ledger: Ledger) -> None:
    """What is read is what was saved."""
    assert ledger == ledgers.decode(ledgers.encode(ledger))


@given(LEDGERS)
def test_ledger_from_before_there_were_two_endpoints(ledger: Ledger) -> None:
    """It is read, and the second endpoint begins with nothing."""
    content = {name: value for name, value in ledger.to_json().items() if name != "lanes"}

    assert replace(ledger, lanes={}) == ledgers.decode(lines.frame(orjson.dumps(content)))


@given(LEDGERS)
def test_copy_is_the_next_version_and_independent(ledger: Ledger) -> None:
    """Changing it leaves what is in hand as it is on disk."""
    before = ledgers.encode(ledger)
    new = ledger.copy()
    new.folded["x"] = new.offsets["x"] = new.reports["x"] = 1
    new.totals.lost["x"] = new.totals.delivered = 7
    new.outcome.failures = new.of("device").failures = 99
    new.period.start = -1

    assert ledger.serial + 1 == new.serial
    assert before == ledgers.encode(ledger)


@given(LEDGERS, st.data())
def test_damage_never_passes_for_a_ledger(ledger: Ledger, data: st.DataObject) -> None:
    """One changed byte anywhere is noticed."""
    content = bytearray(ledgers.encode(ledger))
    at = data.draw(st.integers(0, len(content) - 2))  # the last is the LF, which means nothing
    content[at] ^= data.draw(st.integers(1, 255).filter(lambda change: not (at < 8 and change == 0x20)))

    with pytest.raises(ValueError):  # noqa: PT011 - any of them
        ledgers.decode(bytes(content))


def test_two_versions_are_kept(tmp_path: Path) -> None:
    """So that one may be damaged."""
    place = Desk(tmp_path).place
    ledger = Ledger("a1")
    for _ in range(5):
        ledger = ledger.copy()
        ledgers.save(place, ledger)

    assert [4, 5] == ledgers.versions(place, "a1")
    assert (ledger, []) == ledgers.read(place, "a1")


def test_second_holder_is_turned_away(tmp_path: Path) -> None:
    """Of two that write the same serial one fails, and overwrites nothing."""
    place = Desk(tmp_path).place
    first, second = Ledger("a1").copy(), Ledger("a1").copy()
    first.totals.delivered, second.totals.delivered = 1, 2
    ledgers.save(place, first)

    with pytest.raises(HolderLost):
        ledgers.save(place, second)
    assert (first, []) == ledgers.read(place, "a1")


def test_holder_that_fell_behind_is_turned_away(tmp_path: Path) -> None:
    """A stopped one that wakes up finds its serial free again, and higher ones there."""
    place = Desk(tmp_path).place
    ledger = Ledger("a1")
    for _ in range(4):
        ledger = ledger.copy()
        ledgers.save(place, ledger)

    with pytest.raises(HolderLost):
        ledgers.save(place, Ledger("a1").copy())
    assert [3, 4] == ledgers.versions(place, "a1")


def test_damaged_version_is_passed_over(tmp_path: Path) -> None:
    """The one before it is the newest then."""
    place = Desk(tmp_path).place
    first = Ledger("a1").copy()
    second = first.copy()
    ledgers.save(place, first)
    ledgers.save(place, second)
    (place.folder / "a1-ledger-2").write_bytes(b"damaged")

    assert (first, [2]) == ledgers.read(place, "a1")
    ledgers.put_aside(place, "a1", [2])
    assert b"damaged" == (place.corrupt / "a1-ledger-2").read_bytes()
    assert [1] == ledgers.versions(place, "a1")


def test_newer_usagewires_ledger_is_left_alone(tmp_path: Path) -> None:
    """Going back to an older usagewire must not destroy what the newer one knows."""
    desk = Desk(tmp_path)
    content = lines.frame(orjson.dumps({"version": 2, "anything": "else"}))
    path = desk.place.folder / "a1-ledger-1"
    path.write_bytes(content)

    with pytest.raises(StateError, match=r"a1-ledger-1: ledger of version 2: written by a newer usagewire"):
        desk.consumer()
    assert content == path.read_bytes()
