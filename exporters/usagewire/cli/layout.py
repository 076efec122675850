"""Requests as text: the body's own tokens, one per line, so that nothing is lost or changed by printing it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, cast

import orjson

from usagewire.config import MASK, Resolved
from usagewire.signals import Request

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_OPENING, _CLOSING = ("{", "["), ("}", "]")
_TELLING = re.compile(r"auth|cookie|key|secret|token", re.IGNORECASE)


def masked(request: Request, settings: Resolved) -> tuple[dict[str, str], str | bytes]:
    """Headers and body without secrets; a body that is not text stays bytes."""
    operators: Mapping[str, str] = settings.get("headers") or {}
    hidden = {name.lower() for name in operators}
    headers = {
        name: _credential(value) if name.lower() in hidden or _TELLING.search(name) else value
        for name, value in request.headers.items()
    }
    body = settings.mask(request.readable or request.body)
    try:
        return headers, body.decode()
    except UnicodeDecodeError:
        return headers, body


def _credential(value: str) -> str:
    """``Basic abc`` → ``Basic ****``, anything else → ``****``."""
    scheme, _, _ = value.partition(" ")
    return f"{scheme} {MASK}" if scheme.lower() in ("basic", "bearer") else MASK


def as_json(headers: Mapping[str, str], body: str | bytes) -> dict[str, Any]:
    """The same for ``--json``: a body that is not text as Base64."""
    if isinstance(body, bytes):
        return {"headers": dict(headers), "body": None, "body_base64": b64encode(body).decode()}
    return {"headers": dict(headers), "body": body, "body_base64": None}


def body_lines(body: str | bytes, volatile: frozenset[str]) -> Iterator[tuple[bool, str]]:
    """The body line by line, and whether the line holds a volatile field."""
    if isinstance(body, bytes):
        text = b64encode(body).decode()
        yield from ((False, text[start : start + 76]) for start in range(0, len(text), 76))
        return
    for line in indented(body) if _is_json(body) else body.splitlines():
        yield line.lstrip().partition(":")[0].strip('"') in volatile, line


def indented(text: str) -> Iterator[str]:
    """JSON with every token as it is, one member or element per line."""
    depth, line, previous = 0, "", ""
    for found in _TOKEN.finditer(text):
        word = found[0]
        depth -= word in _CLOSING
        if (word in _CLOSING and previous not in _OPENING) or (previous in (*_OPENING, ",") and word not in _CLOSING):
            yield line
            line = "  " * depth
        line += ": " if word == ":" else word
        depth += word in _OPENING
        previous = word
    yield line


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


def differing(one: Any, other: Any, name: str = "") -> set[str]:
    """Names of the JSON members in which two documents of one shape differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        members, others = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        return {found for key in members for found in differing(members[key], others.get(key), key)}
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip_longest(cast("Sequence[Any]", one), cast("Sequence[Any]", other))
        return {found for pair in pairs for found in differing(*pair, name)}
    return set() if one == other else {name}
