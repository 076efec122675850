"""Writing consent.json: durably, one writer after the other, and an off even on a full disk."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from usagewire.errors import StateError
from usagewire.policy.stored import FILE, VERSION, Word, read, table
from usagewire.state.locks import try_lock

MOST_HISTORY, MOST_HISTORY_BYTES = 50, 32 << 10
"""Of the history what is kept: the newest."""
_PATIENCE = 5.0
"""Seconds that a writer waits for another one, which might be stopped."""


class Channel(NamedTuple):
    """One channel of one destination."""

    destination: str
    name: str


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
    word = {"state": "on" if on else "off", "epoch": epoch or os.urandom(8).hex(), "time": clock(), "by": who}
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
        channels = table(known.get("channels"))
        said = {key: word[key] for key in ("state", "epoch", "time")}
        of_it = {**table(channels.get(channel.destination)), channel.name: said}
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
    temporary = f".{FILE}-{os.urandom(8).hex()}"
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
