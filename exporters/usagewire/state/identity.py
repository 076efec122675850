"""The installation's random id and salt: drawn once per service, never derived from the machine."""

from __future__ import annotations

import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from usagewire.errors import StateError
from usagewire.state.files import read_json, sync_folder, write_file

_NAME = "identity.json"


class Identity(NamedTuple):
    """Who reports. ``created`` in nanoseconds."""

    installation: str
    """UUID, random."""
    salt: bytes
    """32 random bytes for hashed values; never leaves."""
    created: int


def fresh() -> Identity:
    """A new identity, nowhere stored."""
    drawn = uuid.UUID(bytes=os.urandom(16), version=4)
    return Identity(str(drawn), os.urandom(32), time.time_ns())


def load(service_dir: Path) -> Identity:
    """The service's identity, drawn and stored at first use. Who loses a race takes the winner's.

    A damaged file is put aside as ``identity.json.<random>`` and a new identity drawn. Raises `OSError` and
    `StateError` when it can be neither read nor written.
    """
    path = service_dir / _NAME
    for _ in range(5):
        try:
            found = peek(service_dir)
        except StateError:
            _put_aside(path)
            continue
        if found is not None:
            return found
        drawn = fresh()
        content: dict[str, Any] = {
            "version": 1,
            "installation": drawn.installation,
            "salt": drawn.salt.hex(),
            "created": drawn.created,
        }
        # A link, not a rename: a rename replaces the winner's file and leaves two processes with two ids.
        with suppress(FileExistsError):
            write_file(path, orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE), link=True)
            return drawn
    raise StateError(f"{path}: cannot be read or replaced; remove it")


def peek(service_dir: Path) -> Identity | None:
    """The stored identity, or ``None``. Raises `StateError` when it is damaged."""
    return _read(service_dir / _NAME)


def forget(service_dir: Path) -> None:
    """Unlink the identity; the next `load` draws another."""
    with suppress(FileNotFoundError):
        (service_dir / _NAME).unlink()
        sync_folder(service_dir)


def _read(path: Path) -> Identity | None:
    content = read_json(path)
    if content is None:
        return None
    try:
        salt = bytes.fromhex(content["salt"])
        found = Identity(str(uuid.UUID(content["installation"])), salt, int(content["created"]))
    except (KeyError, TypeError, ValueError, AttributeError) as why:
        raise StateError(f"{path}: damaged ({why!r}); remove it, a new one is drawn") from why
    if len(salt) < 16:
        raise StateError(f"{path}: damaged (short salt); remove it, a new one is drawn")
    return found


def _put_aside(path: Path) -> None:
    aside = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        try:
            _read(aside)
        except StateError:
            return
        # Another process was quicker, and what was moved is its good new file: give it back.
        with suppress(FileExistsError):
            os.link(aside, path)
        aside.unlink()
