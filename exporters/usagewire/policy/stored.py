"""consent.json, the operator's or the administrator's: how it is believed, and how it is written.

    {"version": 1, "state": "off", "epoch": "9f3b6c1e0a7d4c52", "time": 1735689600000000000, "by": "usagewire off",
     "licenses": [], "channels": {"stone": {"crash": {"state": "off", "epoch": "51f0c6de83ab4720"}}}, "history": [...]}

``state`` is absent where only a channel was ever spoken of. A file that is there and cannot be trusted is off. It is
read again whenever `os.stat` says that it changed.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson

from usagewire.errors import StateError
from usagewire.state.locks import try_lock

FILE = "consent.json"
VERSION = 1

_LOG = logging.getLogger("usagewire")
_EPOCH = re.compile(r"[0-9a-f]{1,32}")
_LONGEST = 65_536
MOST_HISTORY, MOST_HISTORY_BYTES = 50, 32 << 10
"""Of the history what is kept: the newest."""
_PATIENCE = 5.0
"""Seconds that a writer waits for another one, which might be stopped."""


@dataclass(frozen=True, slots=True)
class Word:
    """What one source says; ``on`` is ``None`` where it says nothing."""

    on: bool | None
    by: str = ""
    detail: str = ""
    epoch: str = ""
    since: int | None = None
    erases: bool = False
    content: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False, repr=False)
    """A file's whole content, where it is one that is trusted."""

    @property
    def licenses(self) -> frozenset[str]:
        """The licences that were accepted along with an on."""
        return frozenset(map(str, _listed(self.content.get("licenses"))))

    @property
    def history(self) -> list[dict[str, Any]]:
        """Every word of the operator's that is still known, oldest first."""
        return [cast("dict[str, Any]", one) for one in _listed(self.content.get("history")) if isinstance(one, dict)]

    def channels(self, destination: str) -> dict[str, tuple[bool, str]]:
        """What was said of single channels of a destination: channel → on, and the epoch of that word."""
        said = _table(_table(self.content.get("channels")).get(destination))
        words = {name: _table(one) for name, one in said.items()}
        return {name: (word.get("state") == "on", str(word.get("epoch", ""))) for name, word in words.items()}


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of one destination."""

    destination: str
    name: str


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
        if state not in ("on", "off") and not (state is None and said.get("channels")):
            raise ValueError('"state" is neither "on" nor "off"')
        if not isinstance(epoch, str) or not _EPOCH.fullmatch(epoch):
            raise ValueError('"epoch" is not 1 to 32 hex digits')
        for destination in _table(said.get("channels")):
            for name, (_, word) in Word(None, content=said).channels(destination).items():
                if not _EPOCH.fullmatch(word):
                    raise ValueError(f'the "epoch" of channel {name} is not 1 to 32 hex digits')
        if state is None:
            return Word(None, epoch=epoch, content=said)
        by = str(said.get("by", f"{state}, by hand"))
        return Word(
            on=state == "on",
            by=self._path,
            detail=f"{by} in {self._path}",
            epoch=epoch,
            since=since if isinstance(since, int) else None,
            erases=state == "off",
            content=said,
        )


def read(service_dir: Path) -> Word:
    """What the operator said of a service, as far as it can be trusted."""
    return File(service_dir / FILE, follow=False).word()


def write(
    service_dir: Path,
    on: bool,
    who: str,
    *,
    channel: Channel | None = None,
    license: str = "",
    accepted: Mapping[str, Mapping[str, Any]] | None = None,
    epoch: str = "",
    over: Word | None = None,
    make_room: Callable[[], object] | None = None,
    public: bool = False,
    clock: Callable[[], int] = time.time_ns,
) -> str:
    """Store on or off for one service, durably; returns its epoch, a new one unless ``epoch`` says which. Raises
    `StateError` when it could not be stored, or when the stored word is no longer the one that it is said ``over``: a
    yes that goes on under its old epoch would bring back what an off in between was about.

    ``who`` is for people: ``usagewire off (uid 1000)``. ``channel``: the word is about that one only, and the epoch
    its own. ``license`` is accepted along with an on, for as long as it lasts. ``accepted`` goes into the history:
    destination → plan and fingerprint of what it collects.

    On a disk too full to say off, ``make_room`` (unlink the queue) is called and the write tried again; then
    consent.json is cut to nothing, which needs no room and reads as off, unless it was only about a channel. On is
    never said where it cannot be written. Concurrent writers wait for each other, but not for ever. ``public``: every
    user of the machine can read it.
    """
    word = {"state": "on" if on else "off", "epoch": epoch or secrets.token_hex(8), "time": clock(), "by": who}
    about = {"license": license, "accepted": accepted}
    if channel is not None:
        about |= {"destination": channel.destination, "channel": channel.name}
    event = {key: value for key, value in {**word, **about}.items() if value and key != "epoch"}
    try:
        folder = _open_folder(service_dir, 0o755 if public else 0o700)
    except OSError as fault:
        raise _failed(service_dir, on, fault) from fault
    try:
        _take_turns(folder)
        before = read(service_dir)
        if over is not None and (before.on, before.epoch) != (over.on, over.epoch):
            raise StateError(f"{before.detail or service_dir / FILE}, just now; look at it, and say it again")
        content = orjson.dumps(_changed(before, word, event, channel, license)) + b"\n"
        try:
            _replace(folder, content, public)
        except OSError:
            if on:
                raise
            if make_room is not None:
                make_room()
            try:
                _replace(folder, content, public)
            except OSError:
                if channel is not None:
                    raise
                _truncate(folder)
    except OSError as fault:
        raise _failed(service_dir, on, fault) from fault
    finally:
        os.close(folder)
    return str(word["epoch"])


def _changed(
    before: Word, word: Mapping[str, Any], event: Mapping[str, Any], channel: Channel | None, license: str
) -> dict[str, Any]:
    """The file's next content."""
    if channel is not None and before.on is False and not before.content:
        raise StateError(f"{before.detail}; a single channel has to wait for that")
    known = {**before.content, "version": VERSION}
    history = [*before.history, event][-MOST_HISTORY:]
    while len(orjson.dumps(history)) > MOST_HISTORY_BYTES:
        del history[0]
    known.pop("history", None)
    if channel is not None:
        channels = _table(known.get("channels"))
        said = {"state": word["state"], "epoch": word["epoch"]}
        of_it = {**_table(channels.get(channel.destination)), channel.name: said}
        return {**known, "channels": {**channels, channel.destination: of_it}, "history": history}
    accepted = sorted({*before.licenses, license} - {""}) if word["state"] == "on" else []
    same = {"time": before.since} if before.on and before.epoch == word["epoch"] else {}
    return {**known, **word, **same, "licenses": accepted, "history": history}


def _take_turns(folder: int) -> None:
    """Keep other writers out for as long as ``folder`` is open. One that is stopped, or a file system without locks,
    must not keep anybody from saying off."""
    until = time.monotonic() + _PATIENCE
    with suppress(OSError):
        while not try_lock(folder) and time.monotonic() < until:
            time.sleep(0.01)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def _table(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _failed(service_dir: Path, on: bool, fault: OSError) -> StateError:
    way_out = "consent stays as it was" if on else "set DO_NOT_TRACK=1 for the program, or make room and try again"
    return StateError(f"{service_dir / FILE}: {fault.strerror or fault}; {way_out}")


def _open_folder(path: Path, mode: int) -> int:
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            with suppress(FileExistsError):
                folder.mkdir(mode=mode)
                folder.chmod(mode)  # whatever the umask
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if os.geteuid() not in (0, os.fstat(descriptor).st_uid):
        os.close(descriptor)
        raise OSError(errno.EPERM, "the folder belongs to somebody else")
    return descriptor


def _replace(folder: int, content: bytes, public: bool) -> None:
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
            if public:
                os.fchmod(descriptor, 0o644)
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
