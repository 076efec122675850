"""Values and places for the tests of the state on disk."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import strategies as st

from usagewire.signals import Event, Histogram, Item, Origin, Period, Point, Stance
from usagewire.state.consumer import Consumer, Limits
from usagewire.state.paths import Place, prepare
from usagewire.state.segments import Writer

HOUR = 3_600_000
SECOND = 1_000_000_000
FILLER = "filler"
ORIGIN = Origin(installation="i", session="s", started=1, service="svc")

_NUMBERS = st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9)
_ATTRIBUTES = st.dictionaries(
    st.text(max_size=4),
    st.text(max_size=4) | st.booleans() | st.integers(-9, 9) | st.lists(st.text(max_size=2)),
    max_size=3,
)
_TIMES = st.integers(0, 2 * 10**18)
_NOT_KEPT = st.just(0)
"""What a signal knows only on its way to the queue: when it was taken, when its interval began."""


def events() -> st.SearchStrategy[Event]:
    """Any event."""
    ids = st.integers(0, 2**128 - 1).map(lambda drawn: f"{drawn:032x}")
    bodies = st.none() | st.text(max_size=4) | st.dictionaries(st.text(max_size=3), st.integers(-9, 9), max_size=2)
    return st.builds(Event, st.text(max_size=8), _TIMES, ids, _ATTRIBUTES, bodies, st.text(max_size=3), _NOT_KEPT)


def histograms() -> st.SearchStrategy[Histogram]:
    """A consistent distribution over two buckets, with exact moments."""
    return st.lists(st.integers(-1000, 1000), min_size=1, max_size=10).map(distribution)


def distribution(values: list[int]) -> Histogram:
    """The histogram of whole numbers, exact."""
    mean = sum(values) / len(values)
    return Histogram(
        count=len(values),
        sum=sum(values),
        min=min(values),
        max=max(values),
        mean=mean,
        m2=sum((value - mean) ** 2 for value in values),
        bounds=(0.0,),
        buckets=(sum(value <= 0 for value in values), sum(value > 0 for value in values)),
    )


def points() -> st.SearchStrategy[Point]:
    """Any data point."""
    names = st.sampled_from(["usage.a", "usage.b"])
    kinds = st.sampled_from(["sum", "gauge"])
    plain = st.builds(Point, names, kinds, _TIMES, _ATTRIBUTES, _NUMBERS, st.none(), st.just("By"), _NOT_KEPT)
    rest = st.none(), histograms(), st.just(""), _NOT_KEPT
    spread = st.builds(Point, names, st.just("histogram"), _TIMES, _ATTRIBUTES, *rest)
    return plain | spread


@contextmanager
def in_memory() -> Generator[Path, None, None]:
    """A folder where syncing costs nothing, for tests that make hundreds of worlds and cut no power."""
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


@contextmanager
def small_disk(folder: Path, size: int = 2 << 20) -> Generator[Path, None, None]:
    """A file system of ``size`` bytes in ``folder``. Raises `PermissionError` without the right to mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise PermissionError(f"cannot mount a small disk: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Use every last block of the file system of ``folder``, for a file `FILLER` in it."""
    with (folder / FILLER).open("ab", buffering=0) as file:
        for piece in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while file.write(b"x" * piece):
                    pass


class Desk:
    """A place in ``base`` with consent, a clock and limits that a test may change."""

    def __init__(self, base: Path, **limits: Any) -> None:
        self.place = prepare(Place(base / "service", "segment"), {})
        self.stance = Stance(True, "a1")
        self.now = 1_800_000_000 * SECOND
        given = {
            "queue_bytes": 64 << 20,
            "queue_ttl_millis": 30 * 24 * HOUR,
            "sent_bytes": 1 << 20,
            "interval_millis": HOUR,
        }
        self.limits = Limits(**{**given, **limits})

    def clock(self) -> int:
        return self.now

    def writer(self) -> Writer:
        return Writer(self.place, lambda: self.stance, queue_bytes=self.limits.queue_bytes, clock=self.clock)

    def consumer(self) -> Consumer:
        """One that holds the lock and has looked around."""
        consumer = Consumer(self.place, lambda: self.stance, self.limits, self.clock)
        assert consumer.acquire()
        consumer.refresh()
        return consumer


def report(period: Period, origin: Origin, now: int) -> list[Item]:
    """A report of one item that names everything."""
    return [Item(repr((period.number, period.points, period.events)).encode().hex().encode().join([b'"', b'"']))]
