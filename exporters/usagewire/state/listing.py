"""What lies in a queue: names of segments, and finding them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from usagewire.state.paths import Place, safe_name

SIGNALS = ".signals"
REPORTS = "reports"
SUFFIXES = (".seg", ".open", ".tmp")


@dataclass(frozen=True, slots=True)
class Found:
    """One segment file."""

    folder: str
    stem: str
    """``<epoch>-<time>-<token>-<n>``: stays the same while the suffix changes."""
    suffix: str

    @property
    def path(self) -> Path:
        """Where it is, unless its writer has just renamed it."""
        return Path(self.folder, self.stem + self.suffix)

    @property
    def signals(self) -> bool:
        """Whether it is to be folded rather than sent."""
        return self.folder.endswith(SIGNALS)

    @property
    def channel(self) -> str:
        """The channel that it belongs to."""
        return channel_of(Path(self.folder).name)


def channel_folder(channel: str) -> str:
    """Folder name of a channel."""
    base = channel.removesuffix(SIGNALS)
    safe = safe_name(base)
    return (f"{safe}_" if safe == REPORTS else safe) + channel[len(base) :]


def channel_of(folder: str) -> str:
    """The channel whose folder has that name."""
    return folder.removesuffix(SIGNALS)


def make_stem(epoch: str, time: int, token: str, number: int) -> str:
    """Name of the ``number``-th segment of the process with ``token``; ``time`` in nanoseconds."""
    return f"{epoch}-{time:020d}-{token}-{number}"


def epoch_of(name: str) -> str:
    """The consent epoch a file's content was collected under."""
    return name.partition("-")[0]


def base_epoch(name: str) -> str:
    """The same without the part that is the channel's alone: the ledger's epoch."""
    return epoch_of(name).partition("_")[0]


def is_report(name: str) -> bool:
    """Whether a source of items is a report (``<epoch>-r<period>-…``), and no segment."""
    return name.partition("-")[2].startswith("r")


def split(name: str) -> tuple[str, str]:
    """A segment's file name as stem and suffix."""
    stem, dot, suffix = name.rpartition(".")
    return stem, dot + suffix


@lru_cache(2048)  # a week without an endpoint leaves half as many files; each takes 400 bytes here
def order(stem: str) -> tuple[int, str, int]:
    """``(time, token, number)`` of a stem; sorts by age. Raises `ValueError` for a name that is not of our making."""
    _, time, token, number = stem.split("-")
    return int(time), token, int(number)


def is_stem(stem: str) -> bool:
    """Whether a name is of our making."""
    try:
        order(stem)
    except ValueError:
        return False
    return True


def segments(place: Place) -> Iterator[Found]:
    """Every segment file of every channel and epoch, in no order."""
    for channel in folders(place):
        if channel.name == REPORTS:
            continue
        for name in names(channel):
            stem, suffix = split(name)
            if suffix in SUFFIXES and is_stem(stem):
                yield Found(str(channel), stem, suffix)


def folders(place: Place) -> list[Path]:
    """The queue's folders."""
    return sorted(place.queue / name for name in names(place.queue) if (place.queue / name).is_dir())


def names(folder: Path) -> list[str]:
    """File names in ``folder``; none when there is no such folder."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - names, not paths
    except (FileNotFoundError, NotADirectoryError):
        return []


def trim(folder: Path, most: int) -> None:
    """Unlink the oldest files of ``folder`` until what is left takes ``most`` bytes at most."""
    found: list[tuple[int, int, Path]] = []
    for path in (folder / name for name in names(folder)):
        with suppress(FileNotFoundError):
            about = path.lstat()
            found.append((about.st_mtime_ns, about.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            break
        path.unlink(missing_ok=True)
        total -= size


def used_bytes(place: Place) -> int:
    """Room that the queue takes on disk: allocated blocks, which a thousand small files fill faster than bytes do."""
    total = 0
    for channel in folders(place):
        with suppress(FileNotFoundError), os.scandir(channel) as found:
            for entry in found:
                with suppress(FileNotFoundError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def file_bytes(path: Path) -> int:
    """Length of one file; 0 when it is gone."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def file_blocks(path: Path) -> int:
    """Allocated bytes of one file; 0 when it is gone."""
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0
