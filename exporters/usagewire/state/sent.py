"""sent/: a copy of every request, written before it leaves and finished with the verdict.

One JSON object per file. The suffix tells how it stands: ``.open``, nobody knows whether it arrived; ``.retry``, it did
not, and will be tried again; ``.json``, settled. Only the last try of an unsettled request is kept.

What is settled is what the ledger says, and a holder may die between the two. So the ledger names the last copy whose
outcome it knows, and a later one, whatever it says itself, is of a request that will be repeated.
"""

from __future__ import annotations

import base64
import gzip
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson

from usagewire.state.files import make_folder, read_file, sync_folder, write_all, write_file
from usagewire.state.listing import epoch_of, names, split, trim
from usagewire.state.paths import Place

_NAME = re.compile(r"[^-]+-[0-9]{20}-[0-9a-f]{8}(-.+)?\.(json|open|retry)")
"""``<epoch>-<number>-<token>[-<lane>].<suffix>``"""


def body_of(copy: Mapping[str, Any]) -> bytes | None:
    """The body in a copy, unpacked, every byte as it was; ``None`` where it was too long to be kept. Raises
    `ValueError`, `OSError` or `EOFError` when it is damaged."""
    if "body_gzip" in copy:
        return gzip.decompress(base64.b64decode(copy["body_gzip"]))
    if "body_base64" in copy:
        return base64.b64decode(copy["body_base64"])
    return copy["body"].encode() if "body" in copy else None


def copies(place: Place, epoch: str) -> list[str]:
    """Names of the copies of one epoch, oldest first."""
    return sorted(name for name in names(place.sent) if _NAME.fullmatch(name) and epoch_of(name) == epoch)


def in_doubt(found: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    """Lane → its newest copy, of the ``found`` ones, where its request may have arrived without the ledger's knowing,
    which names the ``known`` ones."""
    newest = {_parts(name)[1]: split(name) for name in found}
    return {
        lane: stem + suffix
        for lane, (stem, suffix) in newest.items()
        if suffix != ".retry" and stem > known.get(lane, "")
    }


class Sent:
    """The history of one destination. A disk too full for it never keeps a request from leaving."""

    def __init__(self, place: Place, most: int, clock: Callable[[], int]) -> None:
        """``most`` bytes are kept."""
        self._place, self._most, self._clock = place, most, clock
        self.uncertain: set[str] = set()
        """Lanes whose last request may have arrived although nobody saw the answer."""
        self._left: dict[str, set[str]] = {}  # lane → names of copies that are not settled
        self.known: dict[str, str] = {}
        """Lane → the copy of the last request that this holder has seen settled: what the ledger has to name."""
        self._number = 0  # of the newest copy: about the time when it was made
        self._room = -1  # bytes until the folder is looked through again, which asks for the size of every file

    def begin(self, epoch: str, known: Mapping[str, str]) -> None:
        """Look at what the holder before left. ``known``: what the ledger names."""
        self._room = -1
        self._left, self.known = {}, {}
        found = copies(self._place, epoch)
        for name in found:
            if not name.endswith(".json"):
                self._left.setdefault(_parts(name)[1], set()).add(name)
        self.uncertain = set(in_doubt(found, known))
        self._number = max((_parts(name)[0] for name in (*found, *known.values())), default=0)

    def sending(self, epoch: str, url: str, body: bytes, count: int, packed: bytes = b"", lane: str = "") -> str:
        """Write the copy; returns its name, empty when it could not be written. ``packed``: ``body`` as gzip made it,
        where it leaves so, which takes a tenth of the room."""
        content: dict[str, Any] = {"time": self._clock(), "url": url, "count": count, "bytes": len(body)}
        key, text = _text(body, packed)
        if len(text) <= self._most * 3 // 4:  # or it would push everything out, itself included
            content[key] = text
        self._number = max(self._number + 1, content["time"])  # which is the newest, no clock may change
        name = f"{epoch}-{self._number:020d}-{os.urandom(4).hex()}{lane and '-' + lane}"
        raw = orjson.dumps(content)[:-1]  # the closing brace comes with the verdict
        for attempt in (1, 2):
            try:
                make_folder(self._place.sent)
                write_file(self._place.sent / f"{name}.open", raw)
                break
            except OSError:
                if attempt == 2:
                    return ""
                trim(self._place.sent, 0)
        for before in self._left.get(lane, ()):
            with suppress(OSError):
                (self._place.sent / before).unlink()
        self._left[lane] = {f"{name}.open"}
        return name

    def sent(self, name: str, verdict: str, status: int | None, lane: str = "") -> None:
        """Finish the copy. ``verdict`` begins with ``delivered``, ``rejected`` or ``retry``; ``status`` is ``None``
        when there was no answer."""
        settled = not verdict.startswith("retry")
        uncertain = not settled and (lane in self.uncertain or status is None)
        (self.uncertain.add if uncertain else self.uncertain.discard)(lane)
        if not name:
            return
        if settled:
            self.known[lane] = name
        path = self._place.sent / f"{name}.open"
        finish = orjson.dumps({"verdict": verdict, "status": status, "finished": self._clock()})
        with suppress(OSError):
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                write_all(descriptor, b"," + finish[1:] + b"\n")
                self._room -= os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            if not uncertain:
                done = path.rename(path.with_suffix(".json" if settled else ".retry"))
                self._left[lane] = set() if settled else {done.name}
                if not settled:
                    sync_folder(self._place.sent)
            if self._room < 0:
                trim(self._place.sent, self._most - self._most // 8)
                self._room = self._most // 8

    def forget_bodies(self, epoch: str) -> None:
        """Take the bodies out of the copies of what was tried and is not settled; that it was tried stays known."""
        for name in copies(self._place, epoch):
            if name.endswith(".json"):
                continue
            path = self._place.sent / name
            try:
                raw = read_file(path)
                finished = raw.endswith(b"\n")
                content = orjson.loads(raw if finished else raw + b"}")
                left = orjson.dumps({key: value for key, value in content.items() if not key.startswith("body")})
                write_file(path, left + b"\n" if finished else left[:-1])
            except (OSError, ValueError):
                path.unlink(missing_ok=True)


def _text(body: bytes, packed: bytes) -> tuple[str, str]:
    """A body as JSON can hold it: key and text; see `body_of`."""
    if packed:
        return "body_gzip", base64.b64encode(packed).decode()
    try:
        return "body", body.decode()
    except ValueError:
        return "body_base64", base64.b64encode(body).decode()


def _parts(name: str) -> tuple[int, str]:
    """Number and lane, with or without a suffix."""
    _, number, _, *lane = name.partition(".")[0].split("-", 3)
    return int(number), "".join(lane)
