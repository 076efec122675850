"""A small world around the state on disk: writers, consumers that "send" by appending to a sink, an oracle that knows
what was acknowledged, and faults at the system calls. Nothing in it is known to the product."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from usagewire.errors import StateError
from usagewire.signals import Item, Origin, Period, Point, Stance
from usagewire.state import fold, lines, locks
from usagewire.state.consumer import Consumer, Limits
from usagewire.state.listing import segments
from usagewire.state.paths import Place, prepare
from usagewire.state.purge import purge
from usagewire.state.segments import Writer
from usagewire.state.totals import Totals

ORIGIN = Origin(installation="i", session="s", started=0, service="fuzz")
SYSTEM_CALLS = (
    "open", "close", "write", "fsync", "fdatasync", "rename", "replace", "link", "unlink", "listdir", "stat", "lstat",
    "fstat", "mkdir", "posix_fallocate",
)  # fmt: skip


class Faults:
    """Wraps the system calls of this process: ``at`` kills at the n-th boundary (before and after each call counts),
    ``kill`` and ``stop`` are probabilities per boundary, ``jitter`` of a short sleep."""

    def __init__(self, at: int = 0, kill: float = 0.0, stop: float = 0.0, jitter: float = 0.0) -> None:
        self.at, self.kill, self.stop, self.jitter = at, kill, stop, jitter
        self.boundaries = 0

    def install(self) -> None:
        for name in SYSTEM_CALLS:
            setattr(os, name, self._wrap(getattr(os, name)))
        setattr(locks, "flock", self._wrap(fcntl.flock))  # noqa: B010 - not one of its exports

    def _wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **keywords: Any) -> Any:
            self._boundary()
            try:
                return call(*args, **keywords)
            finally:
                self._boundary()

        return wrapped

    def _boundary(self) -> None:
        self.boundaries += 1
        drawn = random.random()
        if self.boundaries == self.at or drawn < self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if drawn > 1 - self.stop:
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.jitter and random.random() < self.jitter:
            time.sleep(random.random() * 0.03)


class World:
    """One destination in ``base``/state, and the oracle's files in ``base``/oracle."""

    def __init__(
        self, base: Path, interval_millis: int = 150, queue_bytes: int = 1 << 30, disk: Path | None = None
    ) -> None:
        """``disk``: where the state is, if not in ``base``."""
        self.base = base
        self.disk = disk or base
        self.oracle = base / "oracle"
        self.oracle.mkdir(exist_ok=True)
        self.place = Place(self.disk / "state" / "service", "fuzz")
        self.limits = Limits(queue_bytes, 30 * 86_400_000, 1 << 20, interval_millis)

    # -- consent ------------------------------------------------------------------------------------------------

    def consent(self, on: bool) -> None:
        """What `usagewire off` and `on` do, with a full disk in mind."""
        content = json.dumps({"on": on, "epoch": os.urandom(6).hex()}).encode()
        path, draft = self.base / "consent", self.base / f"consent.{os.urandom(4).hex()}"
        draft.write_bytes(content)
        draft.rename(path)
        if not on:
            purge(self.place, self.stance)

    def stance(self) -> Stance:
        try:
            content = json.loads((self.base / "consent").read_bytes())
            return Stance(content["on"], content["epoch"])
        except FileNotFoundError:
            return Stance(True, "0")

    # -- the oracle ---------------------------------------------------------------------------------------------

    def note(self, file: str, *records: Any) -> None:
        """Append to one of the oracle's files, in one write, which a kill may cut short: then it was never noted."""
        descriptor = os.open(self.oracle / file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        os.write(descriptor, b"".join(b"\n" + json.dumps(record).encode() + b"\n" for record in records))
        os.close(descriptor)

    def noted(self, file: str) -> list[Any]:
        found: list[Any] = []
        with suppress(FileNotFoundError):
            for line in (self.oracle / file).read_bytes().split(b"\n"):
                with suppress(ValueError):
                    found.append(json.loads(line))
        return found

    # -- writing and consuming ----------------------------------------------------------------------------------

    def writer(self) -> Writer:
        return Writer(self.place, self.stance, queue_bytes=self.limits.queue_bytes)

    def consumer(self) -> Consumer:
        return Consumer(self.place, self.stance, self.limits)

    def put(self, writer: Writer, kind: str, names: Sequence[str], pad: str = "") -> str:
        """Write records and tell the oracle what was acknowledged; ``kind`` is ``event`` or ``point``."""
        epoch = self.stance().epoch
        self.note("tried", [kind, len(names)])
        if kind == "event":
            payloads = [lines.item(json.dumps({"id": name, "pad": pad}).encode()) for name in names]
            outcome = writer.put("events", payloads)
        else:
            made = time.time_ns()
            points = [Point("usage.p", "sum", made, {"id": name}, 1) for name in names]
            outcome = writer.put("metrics.signals", [lines.point(point) for point in points])
        done = time.monotonic_ns()
        self.note("finished", *([kind, name, epoch, done, outcome] for name in names))
        return outcome

    def send(self, consumer: Consumer, most: int = 500) -> bool:
        """One request: what waits goes to the sink."""
        entries = consumer.waiting(most, 400_000)
        began, stance = time.monotonic_ns(), self.stance()
        if not entries or not stance.on or stance.epoch != consumer.ledger.epoch:
            return False
        name = consumer.sending("fuzz:", b"body", len(entries))
        if random.random() < 0.05:
            consumer.sent(name, "retry: fuzz", None)
            consumer.retry("fuzz", time.time_ns(), False)
            return False
        if random.random() < 0.01:
            consumer.sent(name, "rejected: fuzz", 400)
            self.note("rejected", json.loads(entries[0].data))
            consumer.rejected(entries[:1], "fuzz", b"body")
            return True
        if random.random() < 0.1:
            entries = entries[: len(entries) // 2 + 1]
        self.note("sink", [began, [json.loads(entry.data) for entry in entries], bool(consumer.uncertain)])
        consumer.sent(name, "delivered", 200)
        consumer.delivered(entries, idempotent=random.random() < 0.5)
        return True

    def tick(self, consumer: Consumer, *, force: bool = False) -> None:
        """One look of a courier at the queue."""
        if not consumer.held and not consumer.acquire():
            return
        consumer.refresh()
        consumer.compile_due(ORIGIN, compile_report, force=force)
        for _ in range(20):
            if not self.send(consumer):
                break
        consumer.settle()

    def drain(self) -> Totals:
        """Everything that still waits is sent; the totals after that."""
        consumer = self.consumer()
        for _ in range(200):
            self.tick(consumer, force=True)
            ledger = consumer.ledger
            unfolded = any(found.signals for found in segments(self.place))
            if consumer.held and not (unfolded or consumer.backlog().items or ledger.period.gathered or ledger.folded):
                break
        else:
            raise AssertionError(f"does not drain: {consumer.backlog()} {consumer.ledger}")
        totals = consumer.ledger.totals
        consumer.release()
        return totals

    # -- judging ------------------------------------------------------------------------------------------------

    def judge(self, offs: Sequence[int] = ()) -> dict[str, int]:
        """The oracle's findings after `drain`; everything but the counts of what was done must be 0."""
        epoch = self.stance().epoch
        finished = self.noted("finished")
        kept = [(kind, name, under) for kind, name, under, _, outcome in finished if outcome == "kept"]
        # An off between the end of a put and the sending: what was put must be gone. A put that said off kept nothing.
        until = {name: 0 if outcome == "off" else done for _, name, _, done, outcome in finished}
        events: Counter[str] = Counter()
        points: Counter[str] = Counter()
        reports: dict[tuple[str, int], set[str]] = defaultdict(set)
        late = 0
        sunk = self.noted("sink")
        heads = [(items[0], doubt) for _, items, doubt in sunk]
        rejected = [[0, [item], False] for item in self.noted("rejected")]
        for at, items, _ in [*sunk, *rejected]:
            for item in items:
                records = item.get("points", [item])
                late += sum(any(until.get(record["id"], at) < off < at for off in offs) for record in records)
                if "period" not in item:
                    events[item["id"]] += 1
                    continue
                known = reports[item["epoch"], item["period"]]
                body = json.dumps(item)
                if body not in known:
                    known.add(body)
                    points.update({record["id"]: record["value"] for record in records})
        return {
            "acknowledged": len(kept),
            "reports": len(reports),
            "repeats": sum(count - 1 for count in events.values()),
            "missing events": sum(e == epoch and k == "event" and not events[n] for k, n, e in kept),
            "missing points": sum(e == epoch and k == "point" and not points[n] for k, n, e in kept),
            "doubled points": sum(count > 1 for count in points.values()),
            "repeats nobody suspected": sum(
                head == before and not doubt for (before, _), (head, doubt) in pairwise(heads)
            ),
            "periods with two contents": sum(len(bodies) > 1 for bodies in reports.values()),
            "sent after an off": late,
            "complaints": len(self.noted("complaints")),
        }


def compile_report(period: Period, origin: Origin, now: int) -> Sequence[Item]:
    """One item that tells everything about the period."""
    content = {
        "period": period.number,
        "epoch": "",
        "nonce": period.nonce,
        "start": period.start,
        "end": period.end,
        "points": [{**point.attributes, "value": point.value} for point in period.points],
    }
    return [Item(json.dumps(content).encode())]


# -- processes ------------------------------------------------------------------------------------------------------


def run_writer(world: World, seed: int, kill: float) -> None:
    """Write for ever; fork now and then, use threads now and then."""
    random.seed(seed)
    Faults(kill=kill, stop=kill / 4).install()
    writer = world.writer()
    state: dict[str, Any] = {"me": os.urandom(6).hex(), "left": 1 << 40}

    def some(thread: int) -> None:
        numbers = iter(range(1 << 40))
        while state["left"] > 0:
            state["left"] -= 1
            kind = random.choice(("event", "point"))
            batch = random.choice((1, 2, 3, 40))
            world.put(writer, kind, [f"{state['me']}.{thread}.{next(numbers)}" for _ in range(batch)])
            if random.random() < 0.05:
                writer.lose("plan")
            writer.rest() if random.random() < 0.1 else None
            if random.random() < 0.05:
                writer.close()
            time.sleep(random.random() * 0.02)
            if threads == 1 and random.random() < 0.006 and os.fork() == 0:
                random.seed(os.urandom(8))
                writer.after_fork()
                state.update(me=os.urandom(6).hex(), left=random.randint(1, 40))
                signal.alarm(20)

    threads = random.choice((1, 1, 3))
    others = [threading.Thread(target=complaining, args=(world, lambda n=n: some(n))) for n in range(1, threads)]
    for other in others:
        other.start()
    some(0)


def run_consumer(world: World, seed: int, kill: float) -> None:
    """Consume for ever."""
    random.seed(seed)
    Faults(kill=kill, stop=kill / 4).install()
    setattr(fold, "MOST_SERIES", 1 << 40)  # noqa: B010 - every point here is a series, to tell them apart
    consumer = world.consumer()
    while True:
        try:
            world.tick(consumer)
        except StateError as why:
            world.note("trouble", str(why))
            consumer.release()
        if random.random() < 0.02:
            consumer.release()
        time.sleep(0.01)


def complaining(world: World, work: Callable[[], None]) -> None:
    """Run ``work``; anything that it raises fails the test."""
    try:
        work()
    except BaseException:
        world.note("complaints", traceback.format_exc())
        os._exit(1)


def fork(world: World, work: Callable[[], None]) -> int:
    """Run ``work`` in a child; returns its pid."""
    pid = os.fork()
    if pid == 0:
        complaining(world, work)
        os._exit(0)
    return pid


def fuzz(
    base: Path,
    seconds: float,
    *,
    writers: int = 4,
    consumers: int = 2,
    kill: float = 0.0012,
    flips: bool = False,
    fill: bool = False,
    damage: bool = False,
    disk: str = "",
    seed: int = 1,
) -> dict[str, Any]:
    """Let them all loose on one destination, killing, stopping and flipping, then see what the oracle says."""
    os.setpgid(0, 0)
    world = World(base, disk=Path(disk) if disk else None)
    drawn = random.Random(seed)
    world.consent(True)
    prepare(world.place, {})
    procs: dict[int, str] = {}
    stopped: dict[int, float] = {}
    done: Counter[str] = Counter()
    offs: list[int] = []

    def start(role: str) -> None:
        number = drawn.getrandbits(32)
        if role == "consumer":
            procs[fork(world, lambda: run_consumer(world, number, kill))] = role
        else:
            procs[fork(world, lambda: run_writer(world, number, kill / 2.5))] = role

    for role in ["consumer"] * consumers + ["writer"] * writers:
        start(role)
    end = time.monotonic() + seconds
    next_flip = time.monotonic() + 0.4
    while time.monotonic() < end:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if not pid:
                break
            if os.WIFSTOPPED(status):
                stopped[pid] = time.monotonic() + drawn.random() * 0.5
                done["stops"] += 1
            elif pid in procs:
                done[f"kills of a {procs[pid]}"] += os.WIFSIGNALED(status)
                start(procs.pop(pid))
        for pid in [pid for pid, until in stopped.items() if until < time.monotonic()]:
            del stopped[pid]
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if kill and drawn.random() < 0.05:
            with suppress(ProcessLookupError):
                os.kill(drawn.choice(list(procs)), signal.SIGKILL)
        if flips and next_flip < time.monotonic() < end - 0.3 * seconds:
            next_flip = time.monotonic() + drawn.random() * 0.6
            world.consent(False)
            offs.append(time.monotonic_ns())
            done["flips"] += 1
            time.sleep(drawn.random() * 0.05 if drawn.random() < 0.7 else 0)
            world.consent(True)
        if fill and drawn.random() < 0.05:
            done["full disks"] += toggle_filler(world)
        if damage and drawn.random() < 0.05:
            done["damages"] += damage_segment(world, drawn)
        time.sleep(0.01)
    for _ in range(2):
        kill_group()
    make_room(world)
    setattr(fold, "MOST_SERIES", 1 << 40)  # noqa: B010
    totals = world.drain()
    found = world.judge(offs)
    old = sum(1 for path in world.place.folder.rglob("*") if is_old(path, world.stance().epoch))
    tried = world.noted("tried")
    return {
        **done,
        **found,
        "old files": old,
        "delivered": totals.delivered,
        "lost": dict(totals.lost),
        "tried events": sum(count for kind, count in tried if kind == "event"),
        "acknowledged events": sum(
            kind == "event" and outcome == "kept" for kind, *_, outcome in world.noted("finished")
        ),
        "troubles": len(world.noted("trouble")),
        "complained": world.noted("complaints")[:3],
    }


def toggle_filler(world: World) -> bool:
    """Take all the room there is, or give it back; whether the disk is full now."""
    filler = world.disk / "filler"
    if filler.exists():
        filler.unlink()
        return False
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    return True


def make_room(world: World) -> None:
    """As an operator would: points wait for it, and writers may have taken all there was."""
    (world.disk / "filler").unlink(missing_ok=True)
    if world.disk != world.base:
        subprocess.run(["mount", "-o", "remount,size=512m", str(world.disk)], check=True)


def damage_segment(world: World, drawn: random.Random) -> bool:
    """Change one byte of one waiting file; whether there was one."""
    found = [path for path in world.place.queue.rglob("*.seg") if path.is_file()]
    if not found:
        return False
    try:
        descriptor = os.open(drawn.choice(found), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        size = os.fstat(descriptor).st_size
        at = drawn.randrange(size) if size else 0
        byte = os.pread(descriptor, 1, at)
        os.pwrite(descriptor, bytes([byte[0] ^ drawn.randint(1, 255)]) if byte else b"", at)
    finally:
        os.close(descriptor)
    return bool(byte)


def is_old(path: Path, epoch: str) -> bool:
    """Whether a file holds data of another epoch."""
    data = "-ledger-" in path.name or path.suffix in (".seg", ".open", ".tmp") or path.parent.name == "reports"
    return path.is_file() and data and not path.name.startswith(("purged-", "totals.", f"{epoch}-"))


def kill_group() -> None:
    """Kill every process of our group but ourselves: forked writers have parents that may be dead."""
    for _ in range(2):
        for pid in [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]:
            with suppress(ProcessLookupError, PermissionError):
                if pid != os.getpid() and os.getpgid(pid) == os.getpgrp():
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    print(json.dumps(fuzz(Path(arguments.pop("base")), **arguments)))
