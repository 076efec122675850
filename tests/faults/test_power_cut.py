"""R2: the power goes at any moment: what was acknowledged is there, and what is there can be read."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from tests.support.powercut import INTERVAL, Disk, Rest, Step, record
from tests.support.state import in_memory
from tests.support.storage import World
from usagewire.state.paths import prepare

CUTS = 3_000 if os.environ.get("USAGEWIRE_FAULTS") == "long" else 300
DONE = ("acknowledged", "reports", "repeats")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Step]]:
    """Where the work was done, and every step of it."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed: nothing can tell what a process does to its files")
    base = tmp_path_factory.mktemp("recorded")
    try:
        return base, record(base)
    except PermissionError as why:
        pytest.skip(f"processes may not be traced here: {why}")


@pytest.mark.slow
def test_a_power_cut_loses_nothing_acknowledged(recorded: tuple[Path, list[Step]]) -> None:
    """Cut anywhere, with what was not synced dropped, kept or torn: every acknowledged record arrives, every point
    once, and nothing is unreadable."""
    base, steps = recorded
    drawn = random.Random(2)
    cuts = sorted(drawn.choices(range(1, len(steps)), k=CUTS))
    disk, done = Disk(base), 0
    held: Counter[str] = Counter()
    acknowledged = 0
    with in_memory() as folder:
        for number, cut in enumerate(cuts):
            for step in steps[done:cut]:
                disk.do(step)
            done = cut
            left = folder / str(number)
            disk.leave(left, get_args(Rest)[number % 3], drawn)
            found = judged(left)
            acknowledged = max(acknowledged, found["acknowledged"])
            held += Counter({name: count for name, count in found.items() if name not in DONE})
            shutil.rmtree(left)

    assert Counter() == +held
    print(f"{CUTS} cuts in {len(steps)} steps, up to {acknowledged} acknowledged records")
    assert acknowledged > 100


def judged(left: Path) -> dict[str, int]:
    """What the next program makes of it."""
    world = World(left, interval_millis=INTERVAL)
    prepare(world.place, {})
    totals = world.drain()
    return {**world.judge(), "unreadable": totals.lost["corrupt"]}
