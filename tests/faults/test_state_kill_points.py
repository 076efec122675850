"""Kill the consumer, or `off`, at every boundary of every system call in order: nothing is ever in between."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.state import in_memory
from tests.support.storage import Faults, World, complaining, is_old
from usagewire.state import ledger as ledgers
from usagewire.state.paths import prepare

LONG = os.environ.get("USAGEWIRE_FAULTS") == "long"
DONE = ("acknowledged", "reports", "repeats")
TRIALS = 100_000 if LONG else 60


@pytest.fixture
def base() -> Iterator[Path]:
    """Room for one world after the other."""
    with in_memory() as folder:
        yield folder / "world"


def furnish(base: Path) -> tuple[World, int]:
    """Sealed segments of both kinds, and one of each whose owner died; the world and the number of points."""
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir()
    world = World(base, interval_millis=1)
    world.consent(True)
    prepare(world.place, {})
    writer = world.writer()
    for number in range(6):
        world.put(writer, "event", [f"e{number}", f"f{number}"])
        world.put(writer, "point", [f"p{number}"])
        if number in (1, 3):
            writer.close()
    writer.after_fork()  # as if it had died
    return world, 6


def work(world: World) -> None:
    """Enough ticks for everything: fold, close, compile, send."""
    random.seed(7)
    consumer = world.consumer()
    for _ in range(8):
        world.tick(consumer, force=True)
    consumer.release()


def in_child(world: World, task: Callable[[], None], at: int = 0) -> tuple[bool, int]:
    """Run ``task`` in a child that dies at boundary ``at``; whether it died, and the boundaries it passed."""
    pid = os.fork()
    if pid == 0:
        faults = Faults(at=at)
        faults.install()
        complaining(world, task)
        world.note("boundaries", faults.boundaries)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    passed = world.noted("boundaries")
    return os.WIFSIGNALED(status), passed[-1] if passed else 0


def points_to_try(base: Path, task: Callable[[World], None]) -> list[int]:
    """The boundaries to die at: all, or evenly spread ones."""
    world, _ = furnish(base)
    _, passed = in_child(world, lambda: task(world))
    assert passed > 200
    step = max(1, passed // TRIALS)
    return list(range(random.randint(1, step), passed, step))


def faults_of(world: World) -> Counter[str]:
    """What the oracle holds against the world, once everything has drained."""
    world.drain()
    found = world.judge()
    return Counter({name: count for name, count in found.items() if count and name not in DONE})


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_consumer_killed_anywhere(base: Path, again: bool) -> None:
    """A consumer killed at any boundary, once or twice, loses nothing, doubles nothing, and says one thing a period."""
    held: Counter[str] = Counter()
    died = 0
    for at in points_to_try(base, work):
        world, _ = furnish(base)
        died += in_child(world, partial(work, world), at)[0]
        if again:
            in_child(world, partial(work, world), random.randint(1, 150))
        held += faults_of(world)

    assert Counter() == held
    assert died > 5


@pytest.mark.slow
def test_consumer_killed_and_its_newest_ledger_damaged(base: Path) -> None:
    """With the newest version damaged after the kill, the one before it goes on: nothing lost, nothing doubled."""
    held: Counter[str] = Counter()
    damaged = 0
    for at in points_to_try(base, work):
        world, _ = furnish(base)
        in_child(world, partial(work, world), at)
        damaged += damage_ledgers(world, newest_only=True)
        held += faults_of(world)

    assert Counter() == held
    assert damaged > 5


@pytest.mark.slow
def test_consumer_killed_and_both_ledgers_damaged(base: Path) -> None:
    """With every version damaged only the running sums are lost: no item, nothing twice, no number given twice."""
    held: Counter[str] = Counter()
    for at in points_to_try(base, work):
        world, points = furnish(base)
        in_child(world, partial(work, world), at)
        damage_ledgers(world)
        found = faults_of(world)
        assert found.pop("missing points", 0) <= points
        held += found

    assert Counter() == held


@pytest.mark.slow
def test_off_killed_anywhere_is_finished_by_the_next_tick(base: Path) -> None:
    """`off` killed at any boundary, after a consumer was: whoever ticks next leaves nothing of the old epoch."""
    held: Counter[str] = Counter()

    def off(world: World) -> None:
        world.consent(False)

    world, _ = furnish(base)
    _, passed = in_child(world, lambda: off(world))
    for at in range(random.randint(1, 3), passed, max(1, passed // TRIALS)):
        world, _ = furnish(base)
        epoch = world.stance().epoch
        in_child(world, partial(work, world), random.randint(20, 400))
        sent = len(world.noted("sink"))
        in_child(world, partial(off, world), at)
        if world.stance().epoch == epoch:
            continue  # killed before anything was said
        in_child(world, partial(work, world))
        held["sent after off"] += len(world.noted("sink")) - sent
        world.consent(True)
        world.drain()
        held["old files"] += sum(is_old(path, world.stance().epoch) for path in world.place.folder.rglob("*"))
        held["complaints"] += len(world.noted("complaints"))

    assert Counter() == +held


def damage_ledgers(world: World, *, newest_only: bool = False) -> int:
    """Flip a byte in the newest version of the ledger, or in all; how many there were."""
    epoch = world.stance().epoch
    serials = ledgers.versions(world.place, epoch)
    for serial in serials[-1:] if newest_only else serials:
        path = world.place.folder / f"{epoch}-ledger-{serial}"
        content = bytearray(path.read_bytes())
        content[random.randrange(len(content) - 1)] ^= 1 + random.randrange(255)
        path.write_bytes(content)
    return len(serials)
