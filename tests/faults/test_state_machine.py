"""Queue and ledger against a model of ten lines, whatever happens in whatever order (R1, R6, R7, R11, R12)."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.support.state import FILLER, ORIGIN, Desk, fill, in_memory, small_disk
from tests.support.storage import compile_report, is_old
from usagewire.errors import HolderLost, StateError
from usagewire.signals import Point, Stance
from usagewire.state import ledger as ledgers
from usagewire.state import lines, view
from usagewire.state.consumer import Consumer, Entries
from usagewire.state.files import read_file
from usagewire.state.purge import purge
from usagewire.state.segments import Outcome

LONG = os.environ.get("USAGEWIRE_FAULTS") == "long"
WHICH, SEED = st.integers(0, 9), st.integers(0, 1 << 30)


class Model:
    """What should be: names that are owed, names that may come, names that never may, and what has come."""

    def __init__(self) -> None:
        self.owed, self.perhaps, self.banned, self.arrived = set[str](), set[str](), set[str](), set[str]()

    def put(self, names: set[str], outcome: Outcome) -> None:
        {"kept": self.owed, "full": self.perhaps, "off": self.banned}[outcome].update(names)

    def revoke(self) -> None:
        self.banned |= (self.owed | self.perhaps) - self.arrived
        self.owed, self.perhaps = set(), set()

    def arrive(self, names: set[str]) -> None:
        assert not names & self.banned, "sent after an off"
        self.arrived |= names


class State(RuleBasedStateMachine):
    """The real writers and consumer of one destination, on a disk that can be filled."""

    disk: Path
    """For all examples; ``fillable``: small."""
    fillable = False
    troubles: Set[str] = frozenset()

    @initialize(troubles=st.sets(st.sampled_from(["damage", "full disk", "no"])))
    def begin(self, troubles: set[str]) -> None:
        """Not every trouble in every example: each hides what the others would bring to light."""
        self.troubles = troubles if self.fillable else troubles - {"full disk"}
        self.base = Path(mkdtemp(dir=self.disk))
        self.desk, self.model = Desk(self.base, interval_millis=60_000), Model()
        self.writers, self.consumer = [self.desk.writer(), self.desk.writer()], self.desk.consumer()
        self.number = self.epochs = self.damages = 0
        self.items: Counter[str] = Counter()
        """Events by what became of putting them, and reports."""
        self.reports: dict[int, str] = {}
        self.exact = True
        """Whether every count is known to the end: a full disk or a lost version of the ledger may cost one."""

    def teardown(self) -> None:
        if not hasattr(self, "base"):
            return
        try:
            self.settle()
        finally:
            self.consumer.after_fork()
            (self.disk / FILLER).unlink(missing_ok=True)
            shutil.rmtree(self.base)

    # -- programs ---------------------------------------------------------------------------------------------------

    @rule(which=WHICH, count=st.integers(1, 12), points=st.booleans(), pad=st.sampled_from(["", "x" * 900]))
    def put(self, which: int, count: int, points: bool, pad: str) -> None:
        """Events or data points, each with a name of its own."""
        names = [f"{'p' if points else 'e'}{self.number + offset}" for offset in range(count)]
        self.number += count
        writer = self.writers[which % 2]
        if points:
            made = [Point("usage.p", "sum", self.desk.now, {"id": name, "pad": pad}, 1) for name in names]
            outcome = writer.put("metrics.signals", [lines.point(point) for point in made])
        else:
            outcome = writer.put(
                "events", [lines.item(json.dumps({"id": name, "pad": pad}).encode()) for name in names]
            )
            self.items[outcome] += count
        self.model.put(set(names), outcome)

    @rule(which=WHICH, count=st.integers(1, 5))
    def lose(self, which: int, count: int) -> None:
        """What a tracking plan holds back."""
        if self.desk.stance.on:
            self.writers[which % 2].lose("plan", count)
            self.writers[which % 2].rest()
            self.items["held back"] += count

    @rule(which=WHICH)
    def seal(self, which: int) -> None:
        self.writers[which % 2].close()

    @rule(which=WHICH)
    def crash_of_a_program(self, which: int) -> None:
        self.writers[which % 2].after_fork()  # what a kill does: descriptors closed, nothing else
        self.writers[which % 2] = self.desk.writer()

    # -- the consumer -----------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0, 1, 70, -3_600]))
    def fold(self, seconds: int) -> None:
        self.desk.now += seconds * 1_000_000_000
        self.consuming()

    @rule(force=st.booleans())
    def compile(self, force: bool) -> None:
        if self.consuming():
            self.items["reports"] += self.consumer.compile_due(ORIGIN, compile_report, force=force)

    @rule(
        most=st.integers(1, 40),
        taken=st.integers(0, 40),
        fate=st.sampled_from(["ack", "ack", "reject", "retry", "crash", "burst", "burst and crash"]),
    )
    def drain(self, most: int, taken: int, fate: str) -> None:
        """One request, of which the endpoint takes a part; whoever is killed before the answer repeats it."""
        if not self.consuming():
            return
        entries = self.consumer.waiting(most, 1 << 20)
        name = self.consumer.sending("https://x", b"body", len(entries)) if entries else ""
        if not entries:
            return
        if fate == "crash":
            self.arrive(entries)
            self.crash_of_the_consumer()
        elif fate.startswith("burst"):
            for _ in range(6):  # of requests that may be repeated, so most are settled later
                self.arrive(entries)
                self.consumer.sent(name, "delivered", 200)
                self.consumer.delivered(entries, idempotent=True)
                entries = self.consumer.waiting(most, 1 << 20)
                if not entries:
                    break
                name = self.consumer.sending("https://x", b"body", len(entries))
            self.crash_of_the_consumer() if fate.endswith("crash") else self.consumer.settle()
        elif fate == "retry":
            self.consumer.sent(name, "retry", None)
            self.consumer.retry("no", self.desk.now, False)
        else:
            entries = entries[:1] if fate == "reject" else entries[: max(1, taken)]
            self.arrive(entries)
            self.consumer.sent(name, fate, 200)
            self.consumer.rejected(entries, "no", b"") if fate == "reject" else self.consumer.delivered(entries)

    @rule()
    def crash_of_the_consumer(self) -> None:
        self.consumer.after_fork()
        self.consumer = Consumer(self.desk.place, lambda: self.desk.stance, self.desk.limits, self.desk.clock)

    # -- the disk ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: "damage" in self.troubles)
    @rule(seed=SEED)
    def corrupt_a_segment(self, seed: int) -> None:
        """One byte of one sealed file."""
        channels = (self.desk.place.queue / name for name in ("events", "metrics.signals"))
        found = sorted(path for channel in channels for path in channel.glob("*.seg"))
        if found:
            drawn = random.Random(seed)
            flip(drawn.choice(found), drawn)
            self.damages += 1

    @precondition(lambda self: "damage" in self.troubles)
    @rule(seed=SEED)
    def corrupt_the_newest_ledger(self, seed: int) -> None:
        """If the version before it can be read."""
        place, epoch = self.desk.place, self.desk.stance.epoch
        serials = ledgers.versions(place, epoch)
        paths = [place.folder / f"{epoch}-ledger-{serial}" for serial in serials]
        if len(serials) == 2 and all(map(readable, paths)):
            flip(paths[-1], random.Random(seed))
            self.crash_of_the_consumer()  # it would go on from its memory
            self.exact = False

    @precondition(lambda self: "full disk" in self.troubles)
    @rule(room=st.booleans())
    def fill(self, room: bool) -> None:
        """Take all the room there is, or give it back."""
        self.exact = False
        if room:
            (self.disk / FILLER).unlink(missing_ok=True)
        else:
            fill(self.disk)

    # -- the operator -----------------------------------------------------------------------------------------------

    @precondition(lambda self: "no" in self.troubles)
    @rule(words=st.sampled_from([[False], [True], [False, True]]), purged=st.booleans())
    def revoke_or_grant_again(self, words: list[bool], purged: bool) -> None:
        for on in words:
            if on != self.desk.stance.on:
                self.say(on, purged)

    def say(self, on: bool, purged: bool) -> None:
        self.epochs += 1
        self.desk.stance = Stance(on, f"b{self.epochs}")
        self.model.revoke()
        if purged:
            purge(self.desk.place, lambda: self.desk.stance)

    # -- how it is looked at ----------------------------------------------------------------------------------------

    def consuming(self) -> bool:
        """One look at the queue, as a courier takes it; whether something may be sent."""
        try:
            if not (self.consumer.held or self.consumer.acquire()):
                return False
            self.consumer.refresh()
        except HolderLost:
            return False
        except StateError:
            assert (self.disk / FILLER).exists()
            self.consumer.release()
            return False
        return self.desk.stance.on and self.consumer.ledger.epoch == self.desk.stance.epoch

    def arrive(self, entries: Entries) -> None:
        for entry in entries:
            item = json.loads(entry.data)
            if "period" in item:
                told = self.reports.setdefault(item["period"], entry.data.decode())
                assert told == entry.data.decode(), "one period, two contents"
            self.model.arrive({record["id"] for record in item.get("points", [item])})

    def settle(self) -> None:
        """With room, with consent and in peace: all that is owed arrives, and the books balance."""
        (self.disk / FILLER).unlink(missing_ok=True)
        if not self.desk.stance.on:
            self.say(True, False)
        for writer in self.writers:
            writer.rest()
            writer.close()
        for _ in range(12):
            if self.consuming():
                self.items["reports"] += self.consumer.compile_due(ORIGIN, compile_report, force=True)
                while entries := self.consumer.waiting(100, 1 << 20):
                    self.arrive(entries)
                    self.consumer.delivered(entries)
        self.consumer.refresh()
        totals = self.consumer.ledger.totals
        place, epoch = self.desk.place, self.desk.stance.epoch

        missing = self.model.owed - self.model.arrived
        assert len(missing) <= self.damages
        assert len(missing) <= totals.lost["corrupt"] or not self.exact
        points = Counter(point["id"] for told in self.reports.values() for point in json.loads(told)["points"])
        assert [] == [name for name, count in points.items() if count > 1], "told twice"
        assert [] == [path for path in place.folder.rglob("*") if is_old(path, epoch)]
        assert totals == view.totals(place)
        if self.exact and not self.damages:
            items = self.items.total() - self.items["off"]
            assert items == totals.delivered + totals.lost.total()


def flip(path: Path, drawn: random.Random) -> None:
    """Change one byte, in place."""
    with path.open("r+b") as file:
        content = file.read()
        at = drawn.randrange(len(content))
        file.seek(at)
        file.write(bytes([content[at] ^ drawn.randint(1, 255)]))


def readable(path: Path) -> bool:
    """Whether a version of the ledger is undamaged."""
    try:
        ledgers.decode(read_file(path))
    except (ValueError, OSError):
        return False
    return True


@pytest.fixture(scope="module", autouse=True)
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A small one where one may be mounted, else one that does not fill."""
    try:
        mounted = small_disk(tmp_path_factory.mktemp("machine") / "disk")
        State.disk, State.fillable = mounted.__enter__(), True
    except PermissionError:
        mounted = in_memory()
        State.disk, State.fillable = mounted.__enter__(), False
    yield
    mounted.__exit__(None, None, None)


TestState = pytest.mark.slow(State.TestCase)
TestState.settings = settings(
    max_examples=3_000 if LONG else 150, stateful_step_count=40, suppress_health_check=list(HealthCheck), deadline=None
)
