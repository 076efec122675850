"""Files and folders of ours: private, whole or not at all, durable when written; links are not followed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import orjson

from usagewire.errors import StateError


def make_folder(folder: Path) -> None:
    """Create one folder, 0700, and make its name durable."""
    with suppress(FileExistsError):
        folder.mkdir(0o700)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable: a rename, link or unlink counts after this."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in ``path``; ``None`` when there is no such file. Raises `StateError` when it cannot be read."""
    try:
        found: object = orjson.loads(read_file(path))
    except FileNotFoundError:
        return None
    except OSError as why:
        raise StateError(f"{path}: cannot be read ({why})") from why
    except ValueError as why:
        raise StateError(f"{path}: cannot be read ({why}); remove it") from why
    if not isinstance(found, dict):
        raise StateError(f"{path}: not a JSON object; remove it")
    return cast("dict[str, Any]", found)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace ``path`` by ``content``, whole or not at all, durable when this returns. Raises `OSError`."""
    write_file(path, orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def read_file(path: Path) -> bytes:
    """All bytes of a regular file of ours; links are not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        return file.read()


def write_file(path: Path, content: bytes, *, link: bool = False) -> None:
    """Write ``content`` beside ``path``, sync it and rename it into place. Raises `OSError`.

    ``link``: link instead of rename, which raises `FileExistsError` when somebody else was first.
    """
    draft = path.with_name(f"{path.name}.{os.urandom(4).hex()}.tmp")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if link:
            os.link(draft, path)
        else:
            os.rename(draft, path)  # noqa: PTH104 - link and rename side by side
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_all(descriptor: int, content: bytes) -> None:
    """Write every byte; a full disk raises `OSError` at the write that brings nothing more."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
