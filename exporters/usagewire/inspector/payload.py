"""A payload for the page: its own tokens line by line, each field explained, however large or broken it is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from usagewire.cli.layout import body_lines
from usagewire.inspector.explain import Path, explain
from usagewire.policy.gate import Plan

LINES, WIDTH = 400, 2_000
"""Of one body, and characters of one line; the export has all."""
CURL_BYTES = 32 << 10
"""Longer bodies are given to curl as a file."""
_MEMBER = re.compile(r'"((?:[^"\\]|\\.)*)": ')


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a body."""

    text: str
    depth: int
    says: str
    volatile: bool = False
    path: str = ""
    """Where the field lies, ``batch.0.event``; empty for a line that begins none."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A body as it is shown."""

    lines: tuple[Line, ...]
    more: bool
    """There is more of it than is shown."""
    size: int


def payload(
    body: str | bytes, format: str, plan: Plan | None = None, volatile: frozenset[str] = frozenset(), most: int = LINES
) -> Payload:
    """The first ``most`` lines of ``body``."""
    raw = body.encode(errors="surrogatepass") if isinstance(body, str) else body
    try:
        root: Any = orjson.loads(raw)
    except ValueError:
        root = None
    found: list[Line] = []
    frames: list[_Frame] = []
    for marked, text in body_lines(body, volatile):
        if len(found) == most:
            return Payload(tuple(found), True, len(raw))
        bare = text.lstrip(" ")
        depth = (len(text) - len(bare)) // 2 if root is not None else 0
        del frames[depth:]
        path = () if root is None or bare[0] in "}]" else _path(bare, frames)
        says = explain(format, root, path, plan) if path else ""
        found.append(_line(bare if depth else text, depth, says, marked, ".".join(path)))
    return Payload(tuple(found), False, len(raw))


@dataclass(slots=True)
class _Frame:
    """An object or list that is open."""

    key: str
    """Where it lies in what is around it."""
    next: int | None
    """Index of a list's next entry; ``None``: an object."""


def _path(bare: str, frames: list[_Frame]) -> Path:
    """Where the member or entry that begins on this line lies; opens its frame."""
    key = ""
    if frames:
        around, member = frames[-1], _MEMBER.match(bare)
        if around.next is not None:
            key, around.next = str(around.next), around.next + 1
        elif member:
            key = str(orjson.loads(f'"{member[1]}"'))
    path = (*(frame.key for frame in frames[1:]), *([key] if frames else []))
    if bare[-1] in "{[":
        frames.append(_Frame(key, 0 if bare[-1] == "[" else None))
    return path


def _line(text: str, depth: int, says: str, volatile: bool, path: str) -> Line:
    if len(text) > WIDTH:
        text = f"{text[:WIDTH]} … {len(text) - WIDTH:,} more characters"
    return Line(text, depth, says, volatile, path)


def curl(method: str, url: str, headers: Mapping[str, str], body: str | bytes) -> str:
    """The request as a command. Masked headers are taken from variables of the shell; a long body, or one that is not
    text, from a file called ``body``."""
    words = [f"curl -X {shlex.quote(method)} {shlex.quote(url)}"]
    for name, value in headers.items():
        if "****" in value:
            variable = re.sub(r"[^A-Z0-9]", "_", name.upper())
            words.append(f'-H {shlex.quote(f"{name}: ")}"${variable}"')
        else:
            words.append(f"-H {shlex.quote(f'{name}: {value}')}")
    inline = isinstance(body, str) and len(body) <= CURL_BYTES and "\0" not in body
    words.append(f"--data-binary {shlex.quote(body) if inline and isinstance(body, str) else '@body'}")
    return " \\\n  ".join(words)
