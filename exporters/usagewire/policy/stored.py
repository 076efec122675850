"""consent.json, the operator's or the administrator's: how it is believed. `usagewire.policy.storing` writes it.

    {"version": 1, "state": "off", "epoch": "9f3b6c1e0a7d4c52", "time": 1735689600000000000, "by": "usagewire off",
     "licenses": [], "channels": {"stone": {"crash": {"state": "off", "epoch": "51f0c6de83ab4720"}}}, "history": [...]}

``state`` is absent where only a channel was ever spoken of. A file that is there and cannot be trusted is off. It is
read again whenever `os.stat` says that it changed.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson

FILE = "consent.json"
VERSION = 1

_LOG = logging.getLogger("usagewire")
_EPOCH = re.compile(r"[0-9a-f]{1,32}")
_LONGEST = 65_536


@dataclass(frozen=True)
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

    def channels(self, destination: str) -> dict[str, Word]:
        """What was said of single channels of a destination."""
        said = table(table(self.content.get("channels")).get(destination))
        words = {name: table(one) for name, one in said.items()}
        return {
            name: Word(word.get("state") == "on", epoch=str(word.get("epoch", "")), since=_time(word.get("time")))
            for name, word in words.items()
        }


SILENCE = Word(None)


_complained: dict[str, object] = {}
"""Path → the state that its file was last complained of: a program reads it at every batch, and says it once."""


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
            if _complained.get(self._path) != key:
                _complained[self._path] = key
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
        for destination in table(said.get("channels")):
            for name, word in Word(None, content=said).channels(destination).items():
                if not _EPOCH.fullmatch(word.epoch):
                    raise ValueError(f'the "epoch" of channel {name} is not 1 to 32 hex digits')
        if state is None:
            return Word(None, epoch=epoch, content=said)
        by = str(said.get("by", f"{state}, by hand"))
        return Word(
            on=state == "on",
            by=self._path,
            detail=f"{by} in {self._path}",
            epoch=epoch,
            since=_time(since),
            erases=state == "off",
            content=said,
        )


def read(service_dir: Path) -> Word:
    """What the operator said of a service, as far as it can be trusted."""
    return File(service_dir / FILE, follow=False).word()


def _time(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def table(value: Any) -> dict[str, Any]:
    """``value`` where it is a JSON object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
