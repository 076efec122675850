"""consent.json, the operator's or the administrator's: how it is believed, and how it is written.

    {"version": 1, "state": "off", "epoch": "9f3b6c1e0a7d4c52", "time": 1735689600000000000, "by": "usagewire off"}

A file that is there and cannot be trusted is off. It is read again whenever `os.stat` says that it changed.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson

from usagewire.errors import StateError

FILE = "consent.json"
VERSION = 1

_LOG = logging.getLogger("usagewire")
_EPOCH = re.compile(r"[0-9a-f]{1,32}")
_LONGEST = 65_536


@dataclass(frozen=True, slots=True)
class Word:
    """What one source says; ``on`` is ``None`` where it says nothing."""

    on: bool | None
    by: str = ""
    detail: str = ""
    epoch: str = ""
    since: int | None = None
    erases: bool = False


SILENCE = Word(None)


class File:
    """One consent.json. Holds no lock and no descriptor, so threads and forks are safe."""

    def __init__(self, path: Path, *, follow: bool) -> None:
        self._path = str(path)
        self._follow = follow
        self._seen: tuple[object, Word] = (None, SILENCE)

    def word(self) -> Word:
        """What it says now; `SILENCE` where it is not there."""
        key: object
        try:
            found = os.stat(self._path, follow_symlinks=self._follow)  # noqa: PTH116 - half the cost of Path.stat
            key = (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)
        except (FileNotFoundError, NotADirectoryError):
            return SILENCE
        except OSError as fault:
            key = fault.errno
        seen = self._seen
        if seen[0] == key:
            return seen[1]
        try:
            word = self._read()
        except FileNotFoundError:
            return SILENCE
        except (OSError, ValueError) as fault:
            reason = fault.strerror if isinstance(fault, OSError) else fault
            detail = f"{self._path} cannot be trusted ({reason}), and that means off; say `usagewire on` or `off` anew"
            word = Word(False, self._path, detail)
            _LOG.warning("%s", detail)
        self._seen = (key, word)
        return word

    def _read(self) -> Word:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if self._follow else os.O_NOFOLLOW)
        descriptor = os.open(self._path, flags)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ValueError("it is not a regular file")
            if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
                raise ValueError(f"mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}: others can write it")
            raw = os.read(descriptor, _LONGEST)
        finally:
            os.close(descriptor)
        if not raw:
            detail = f"{self._path} is empty: `usagewire off` on a full disk"
            return Word(False, self._path, detail, erases=True)
        return self._parse(orjson.loads(raw))

    def _parse(self, content: Any) -> Word:
        said = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
        if said.get("version") != VERSION:
            raise ValueError(f'it is not an object with "version": {VERSION}')
        state, epoch, since = said.get("state"), said.get("epoch", "0"), said.get("time")
        if state not in ("on", "off"):
            raise ValueError('"state" is neither "on" nor "off"')
        if not isinstance(epoch, str) or not _EPOCH.fullmatch(epoch):
            raise ValueError('"epoch" is not 1 to 32 hex digits')
        by = str(said.get("by", f"{state}, by hand"))
        return Word(
            on=state == "on",
            by=self._path,
            detail=f"{by} in {self._path}",
            epoch=epoch,
            since=since if isinstance(since, int) else None,
            erases=state == "off",
        )


def write(
    service_dir: Path,
    on: bool,
    who: str,
    *,
    make_room: Callable[[], object] | None = None,
    clock: Callable[[], int] = time.time_ns,
) -> str:
    """Store on or off for one service, durably; returns the new epoch. Raises `StateError` when it could not be stored.

    ``who`` is for people: ``usagewire off (uid 1000)``. On a disk too full to say off, ``make_room`` (unlink the
    queue) is called and the write tried again; then consent.json is cut to nothing, which needs no room and reads as
    off. On is never said where it cannot be written. Of concurrent writers the last one counts.
    """
    epoch = secrets.token_hex(8)
    said = {"version": VERSION, "state": "on" if on else "off", "epoch": epoch, "time": clock(), "by": who}
    content = orjson.dumps(said) + b"\n"
    try:
        folder = _open_folder(service_dir)
    except OSError as fault:
        raise _failed(service_dir, on, fault) from fault
    try:
        try:
            _replace(folder, content)
        except OSError:
            if on:
                raise
            if make_room is not None:
                make_room()
            try:
                _replace(folder, content)
            except OSError:
                _truncate(folder)
    except OSError as fault:
        raise _failed(service_dir, on, fault) from fault
    finally:
        os.close(folder)
    return epoch


def _failed(service_dir: Path, on: bool, fault: OSError) -> StateError:
    way_out = "consent stays as it was" if on else "set DO_NOT_TRACK=1 for the program, or make room and try again"
    return StateError(f"{service_dir / FILE}: {fault.strerror or fault}; {way_out}")


def _open_folder(path: Path) -> int:
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if os.geteuid() not in (0, os.fstat(descriptor).st_uid):
        os.close(descriptor)
        raise OSError(errno.EPERM, "the folder belongs to somebody else")
    return descriptor


def _replace(folder: int, content: bytes) -> None:
    temporary = f".{FILE}-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        try:
            if os.write(descriptor, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if os.geteuid() == 0:  # said by root for another user: that user's program must be able to read it
                owner = os.fstat(folder)
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, FILE, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    os.fsync(folder)


def _truncate(folder: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(FILE, flags, 0o600, dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.fsync(folder)
