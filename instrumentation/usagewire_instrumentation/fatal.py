"""What a fatal signal leaves: `faulthandler` writes a stack into a file, and the next run reads it."""

from __future__ import annotations

import faulthandler
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import PureWindowsPath

from usagewire_instrumentation.events import complain

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MOST_BYTES, MOST_DUMPS = 1 << 20, 10
"""Of the file that are read, from its end; and how many stacks are reported."""
SIGNALS = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
    "Bus error": "SIGBUS",
    "Illegal instruction": "SIGILL",
}
_BEGIN = re.compile(r"^(?=Fatal Python error: )", re.MULTILINE)
_STACK = re.compile(r"^(?:Stack|Current thread\b.*) \(most recent call first\):\n((?:  .*\n?)*)", re.MULTILINE)
_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')

Died = Callable[[str, list[str], datetime, uuid.UUID], None]
"""What is told of each stack: the signal's name, the frames (innermost last), when, and an id that the same stack in
the same file always has."""


class FatalLog:
    """The file at ``path``, which is this program's own, for all its processes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._descriptor = -1
        self._was_on = False

    def begin(self, died: Died) -> None:
        """Tell ``died`` of what earlier runs left, empty the file, and have it written to from now on."""
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            self._descriptor = os.open(self._path, flags, 0o600)
            self._collect(self._descriptor, died)
            self._was_on = faulthandler.is_enabled()
            faulthandler.enable(self._descriptor, all_threads=False)
        except (OSError, ValueError, RuntimeError) as error:
            complain("fatal signals are not recorded in %s: %s", self._path, error)

    def end(self) -> None:
        """Stop recording; a `faulthandler` that was on before is on again, and writes to stderr."""
        if self._descriptor < 0:
            return
        faulthandler.disable()
        if self._was_on and sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)
        os.close(self._descriptor)
        self._descriptor = -1

    @staticmethod
    def _collect(descriptor: int, died: Died) -> None:
        about = os.fstat(descriptor)
        if not about.st_size or not _locked(descriptor):
            return  # nothing, or another process of the program is at it
        os.lseek(descriptor, max(0, about.st_size - MOST_BYTES), os.SEEK_SET)
        left = os.read(descriptor, MOST_BYTES)
        for number, (kind, stack) in enumerate(stacks(left.decode("ascii", "replace"))):
            drawn = uuid.UUID(bytes=sha256(left + f"{about.st_mtime} {number}".encode()).digest()[:16], version=4)
            died(kind, stack, datetime.fromtimestamp(about.st_mtime, timezone.utc), drawn)
        os.ftruncate(descriptor, 0)  # who dies before this reports it again, under the same id
        _unlock(descriptor)


def stacks(text: str) -> Iterator[tuple[str, list[str]]]:
    """The signal and the frames, as ``module:function:line``, of each stack in what `faulthandler` wrote, at most
    `MOST_DUMPS`, the newest. Of files only the module's name is left."""
    for dump in [part for part in _BEGIN.split(text) if part.startswith("Fatal")][-MOST_DUMPS:]:
        reason = dump.partition("\n")[0].partition(": ")[2]
        found = _STACK.search(dump)
        lines = _FRAME.findall(found[1]) if found else []
        frames = [f"{_module(file)}:{function}:{line}" for file, line, function in reversed(lines)]
        if frames:
            yield SIGNALS.get(reason, "FatalError"), frames


def _module(file: str) -> str:
    path = PureWindowsPath(file)  # knows both kinds of slashes
    return path.parent.name if path.stem in ("__init__", "__main__") and path.parent.name else path.stem


def _locked(descriptor: int) -> bool:
    """Whether the file's lock was free, and is ours now; always where there are no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _unlock(descriptor: int) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
