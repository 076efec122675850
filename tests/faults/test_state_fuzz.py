"""Random kills, stops, forks and changes of mind over real processes on one destination (R1, R3, R9, R11, R12)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from usagewire.state.settling import MOST_UNWRITTEN

LONG = os.environ.get("USAGEWIRE_FAULTS") == "long"
SECONDS = 240 if LONG else 4
CLEAN = (
    "missing events",
    "missing points",
    "doubled points",
    "periods with two contents",
    "repeats nobody suspected",
    "sent after an off",
    "old files",
    "complaints",
)


def fuzz(base: Path, **arguments: Any) -> dict[str, Any]:
    """Run the fuzzer in a process group of its own; what its oracle found."""
    given = json.dumps({"base": str(base), "seconds": SECONDS, **arguments})
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.storage", given],
        capture_output=True,
        text=True,
        timeout=SECONDS * 2 + 60,
        check=False,
    )
    assert 0 == ran.returncode, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    print(found)
    return found


def faults(found: dict[str, Any]) -> dict[str, int]:
    """The findings that must not be."""
    return {name: found[name] for name in CLEAN if found[name]}


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 90)
def test_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """Four writers and two consumers killed at random boundaries: every acknowledged record arrives, every point once,
    one content per period, and the totals account for every item."""
    found = fuzz(tmp_path)

    assert {} == faults(found)
    assert found["kills of a writer"] + found["kills of a consumer"] > SECONDS
    assert found["acknowledged"] > 100 * SECONDS
    items = found["delivered"] + sum(count for reason, count in found["lost"].items() if reason != "plan")
    assert found["acknowledged events"] <= items - found["reports"] <= found["tried events"]


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 90)
def test_nothing_from_before_an_off_survives_it(tmp_path: Path) -> None:
    """The same while consent is taken and given: what was collected before an off is neither sent nor left on disk."""
    found = fuzz(tmp_path, flips=True)

    assert {} == faults(found)
    assert found["flips"] > 1


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 90)
def test_accounting_closes_over_changes_of_mind(tmp_path: Path) -> None:
    """Without kills: every acknowledged item is delivered or counted, over every off and on."""
    found = fuzz(tmp_path, flips=True, kill=0.0)

    assert {} == faults(found)
    items = found["delivered"] + sum(count for reason, count in found["lost"].items() if reason != "plan")
    in_flight = found["flips"] * 500 * (1 + MOST_UNWRITTEN)
    assert found["acknowledged events"] <= items <= found["tried events"] + found["reports"] + in_flight


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 90)
def test_full_disks_between_kills_lose_only_what_was_refused(tmp_path: Path, small_disk: Path) -> None:
    """A disk that is full every now and then, under kills: nothing acknowledged is lost, nothing doubled."""
    found = fuzz(tmp_path, fill=True, disk=str(small_disk))

    assert {} == faults(found)
    assert found["full disks"] > 1


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 90)
def test_damage_between_kills_costs_the_damaged_records(tmp_path: Path) -> None:
    """Waiting files damaged at random, under kills: one record for one byte, counted; all others arrive, once."""
    found = fuzz(tmp_path, damage=True)

    missing = found.pop("missing events") + found.pop("missing points")
    assert {} == faults({**found, "missing events": 0, "missing points": 0})
    assert missing <= found["lost"].get("corrupt", 0) <= found["damages"]
