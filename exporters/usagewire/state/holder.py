"""Holding a destination: its lock, and its ledger as it stands on disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from usagewire import forks
from usagewire.errors import HolderLost, StateError
from usagewire.signals import Stance
from usagewire.state import ledger as ledgers
from usagewire.state.files import make_folder, write_json
from usagewire.state.ledger import Ledger, Running
from usagewire.state.listing import epoch_of, names
from usagewire.state.locks import try_lock
from usagewire.state.paths import Place
from usagewire.state.purge import purge
from usagewire.state.totals import Memory, notes, read_memory

RESERVE_BYTES = 64 << 10
NOWHERE = ""
"""The epoch of a ledger that belongs to nothing, while there is no consent."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Holder:
    """Lock and ledger. `ledger` is what the newest version on disk says, or what the next one will say."""

    def __init__(self, place: Place, stance: Callable[[], Stance], clock: Callable[[], int]) -> None:
        self._place, self._stance, self._clock = place, stance, clock
        self._descriptor: int | None = None
        self._saved: Memory | None = None
        self._ahead = False
        self.ledger = Ledger(NOWHERE)

    @property
    def held(self) -> bool:
        """Whether this process has the lock."""
        return self._descriptor is not None

    def acquire(self) -> bool:
        """Take the lock and read the ledger; False when another process has it or there is no consent.

        Raises `StateError` when the ledger is a newer usagewire's, `OSError` when the folder cannot be used.
        """
        stance = self._stance()
        if self.held or not stance.on:
            return self.held
        for folder in (self._place.folder, self._place.queue):
            make_folder(folder)
        flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        with forks.held_up():  # a child closes what is known here
            self._descriptor = os.open(self._place.lock, flags, 0o600)
        try:
            if try_lock(self._descriptor) and _same(self._place.lock, self._descriptor):
                self.load(stance.epoch)
                return True
        except BaseException:
            self.after_fork()
            raise
        self.after_fork()
        return False

    def release(self) -> None:
        """Let go of the lock."""
        if self.held:
            with suppress(HolderLost):
                self.catch_up()
            self.save_totals()
        self.after_fork()

    def after_fork(self) -> None:
        """Let go without touching anything: closing a copy of the descriptor leaves the parent's lock alone."""
        descriptor, self._descriptor = self._descriptor, None
        self.ledger, self._ahead = Ledger(NOWHERE), False
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    def check(self) -> None:
        """Raises `HolderLost` when the lock is no longer the file that others would lock."""
        if self._descriptor is None or not _same(self._place.lock, self._descriptor):
            self.after_fork()
            raise HolderLost(f"{self._place.lock}: removed or replaced")

    # -- the ledger -------------------------------------------------------------------------------------------------

    def load(self, epoch: str) -> None:
        """Read the ledger of an epoch, or begin one; damaged versions are moved to corrupt/."""
        found, damaged = ledgers.read(self._place, epoch)
        ledgers.put_aside(self._place, epoch, damaged)
        self.ledger = found if found is not None else self._fresh(epoch, damaged)
        # whoever wrote the newest one may have been killed before that
        ledgers.prune(self._place, self.ledger, ledgers.versions(self._place, epoch))
        self._saved, self._ahead = None, False

    def _fresh(self, epoch: str, damaged: list[int]) -> Ledger:
        ledger = Ledger.begin(epoch, self._memory(), max(damaged, default=0))
        number = ledger.period.number - 1
        for name in names(self._place.reports):
            # Whole and of this epoch: compiled, and perhaps sent, by what was lost.
            _, _, rest = name.partition("-r")
            if epoch_of(name) == epoch and "." not in name and rest.partition("-")[0].isdecimal():
                ledger.reports[name] = self._clock()
                number = max(number, int(rest.partition("-")[0]))
        if damaged:
            ledger.totals.lost["corrupt"] += 1
            # No number may come twice, not even one that nothing on disk remembers.
            number = max(number, self._clock() // 1_000_000_000)
        ledger.period = Running(number + 1)
        if not ledger.reports:  # otherwise it is not known under which word they were compiled
            ledger.channels = self._stance().words
        return ledger

    def _memory(self) -> Memory:
        path = self._place.totals_json
        memory = Memory()
        try:
            memory = read_memory(path) or memory
        except StateError:
            with suppress(OSError):
                make_folder(self._place.corrupt)
                path.rename(self._place.corrupt / path.name)
        for note in notes(self._place).values():
            if note is not None:
                memory.join(note.memory)
        return memory

    def commit(self, ledger: Ledger) -> None:
        """Make a changed copy the newest version. Raises `HolderLost` after letting go, or `StateError` when the disk
        does not take it; nothing has changed then."""
        self.check()
        if ledger.epoch == NOWHERE:
            raise StateError(f"{self._place.folder}: there is no consent any more")
        try:
            self.write(lambda: ledgers.save(self._place, ledger))
        except HolderLost:
            self.after_fork()
            raise
        self.ledger, self._ahead = ledger, False
        now = self._stance()
        if not now.on or now.epoch != ledger.epoch:
            purge(self._place, self._stance)  # the version just written would outlive the purge that came before it

    def remember(self, ledger: Ledger) -> None:
        """Take a changed copy as the newest version all the same: the disk has no room for it, or need not have it yet.
        Killed before it has, what it settled is repeated, as after any crash."""
        ledger.serial -= 1  # of the version on disk: the next one is the one after it
        self.ledger, self._ahead = ledger, True

    def catch_up(self) -> None:
        """Write what is only remembered, if there is room now."""
        if self._ahead:
            try:
                self.commit(self.ledger.copy())
            except HolderLost:
                raise
            except StateError:
                return  # not yet; `consumer` has said why

    def unload(self) -> None:
        """Forget the ledger of an epoch that is over; its totals stay."""
        self.save_totals()
        self.ledger, self._ahead = Ledger(NOWHERE), False

    def save_totals(self) -> bool:
        """Bring totals.json up to date; False when the disk does not take it now."""
        memory = self.ledger.memory()
        if self.ledger.epoch != NOWHERE and memory != self._saved:
            try:
                write_json(self._place.totals_json, memory.to_json())
            except OSError:
                return False
            self._saved = memory
        return True

    # -- the reserve ------------------------------------------------------------------------------------------------

    def write(self, write: Callable[[], None]) -> None:
        """Do it; on a full disk give the reserve back and do it again. Raises `StateError` when that was not enough."""
        try:
            try:
                write()
            except OSError as why:
                if why.errno not in _FULL or not self._place.reserve.exists():
                    raise
                self._place.reserve.unlink()
                write()
        except OSError as why:
            raise StateError(f"{why.filename or self._place.folder}: cannot be written ({why.strerror})") from why

    def keep_reserve(self) -> None:
        """Have the reserve, if there is room for it."""
        path = self._place.reserve
        if path.exists():
            return
        with suppress(OSError):
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
                else:  # macOS
                    os.write(descriptor, bytes(RESERVE_BYTES))
            except OSError:
                path.unlink()
            finally:
                os.close(descriptor)


def _same(path: Path, descriptor: int) -> bool:
    try:
        there, here = path.lstat(), os.fstat(descriptor)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
