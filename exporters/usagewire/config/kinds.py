"""One parser per kind of setting: text from the environment, or what YAML or code made of it, to a value.

Each raises `ValueError` saying what would be right; the caller names the setting and the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path, PurePath
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from usagewire.signals import Setting

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SUFFIXES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LONGEST_MILLIS = 10 * 365 * 86_400_000


def parse(row: Setting, raw: Any) -> Any:
    """``raw`` (text, or what YAML made of it) as ``row``'s value. Raises `ValueError` saying what would be right."""
    value = _PARSERS[row.kind](row, raw)
    fault = row.fault(value)
    if fault:
        raise ValueError(fault)
    return value


def _text(row: Setting, raw: Any) -> str:
    if not isinstance(raw, (str, int, float, PurePath)):
        raise ValueError("not a text or a number")
    text = str(raw).strip()
    if not text.isprintable():
        raise ValueError("holds control characters, or bytes that are not UTF-8")
    return text


def _integer(row: Setting, raw: Any) -> int:
    try:
        return int(_text(row, raw))
    except ValueError:
        raise ValueError("not a whole number") from None


def _millis(row: Setting, raw: Any) -> int:
    try:
        value = int(_text(row, raw))
    except ValueError:
        value = 0
    if not 1 <= value <= _LONGEST_MILLIS:
        raise ValueError(f"not a number of milliseconds from 1 to {_LONGEST_MILLIS}")
    return value


def _bytes(row: Setting, raw: Any) -> int:
    try:
        text = _text(row, raw).lower().removesuffix("b").removesuffix("i")
        factor = _SUFFIXES.get(text[-1:], 1)
        value = int(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        value = -1
    if value < 0:
        raise ValueError("not a number of bytes such as 1048576, 512K or 64M")
    return value


def _choice(row: Setting, raw: Any) -> str:
    text = _text(row, raw).lower()
    if text not in row.choices:
        raise ValueError(f"not one of {', '.join(row.choices)}")
    return text


def _path(row: Setting, raw: Any) -> str:
    try:
        path = Path(_text(row, raw)).expanduser()
        found = path.is_file()
    except (OSError, RuntimeError) as trouble:  # a folder we may not enter, an unknown ~user
        raise ValueError(f"cannot be read ({trouble})") from None
    if not found:
        raise ValueError("no such file")
    return str(path)


def _url(row: Setting, raw: Any) -> str:
    text = _text(row, raw).rstrip("/")
    schemes = row.choices or ("https", "http", "grpcs", "grpc")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in schemes or not host or " " in text:
        raise ValueError(f"not a URL such as {schemes[0]}://host:port")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or password; give it by its own setting")
    if parts.query or parts.fragment:
        raise ValueError("holds a ? or #; a base URL ends with its path")
    if parts.scheme in ("http", "grpc") and not is_loopback(host):
        raise ValueError(f"plain {parts.scheme} goes to this machine only; use {parts.scheme}s://{host}")
    return text


def _proxy(row: Setting, raw: Any) -> str:
    text = _text(row, raw).rstrip("/")
    text = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or " " in text or parts.path or parts.query:
        raise ValueError("not a proxy such as http://user:password@host:port")
    return text


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or address from a URL) can only mean this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _headers(row: Setting, raw: Any) -> dict[str, str]:
    if isinstance(raw, Mapping):
        pairs = [(_text(row, name), _text(row, value)) for name, value in cast("dict[Any, Any]", raw).items()]
    else:
        pieces = [piece.partition("=") for piece in _text(row, raw).split(",") if piece.strip()]
        if not all(equals for _, equals, _ in pieces):
            raise ValueError("not name=value, separated by commas")
        pairs = [(name, unquote(value.strip())) for name, _, value in pieces]
    found = {name.strip(): value.strip() for name, value in pairs}
    for name, value in found.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError("a header's name has only letters, digits and !#$%&'*+.^_`|~-")
        if not (value.isprintable() and value.isascii()):
            raise ValueError(f"the value of {name} is not plain ASCII text")
    return found


def _list(row: Setting, raw: Any) -> tuple[str, ...]:
    pieces = cast("Iterable[Any]", raw) if isinstance(raw, (list, tuple)) else _text(row, raw).split(",")
    found = tuple(text for text in (_text(row, piece) for piece in pieces) if text)
    unknown = [text for text in found if row.choices and text not in row.choices]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: not one of {', '.join(row.choices)}")
    return found


def _table(row: Setting, raw: Any) -> dict[str, tuple[str, ...]]:
    if isinstance(raw, Mapping):
        pairs = [(_text(row, name), _list(row, value)) for name, value in cast("dict[Any, Any]", raw).items()]
    else:
        pieces = [piece.partition("=") for piece in _text(row, raw).split(";") if piece.strip()]
        pairs = [(name.strip(), _list(row, value)) for name, _, value in pieces]
    if not all(name and values for name, values in pairs):
        raise ValueError("not name=value,value, separated by semicolons")
    return dict(pairs)


_PARSERS: Mapping[str, Callable[[Setting, Any], Any]] = {
    "str": _text,
    "url": _url,
    "proxy": _proxy,
    "integer": _integer,
    "millis": _millis,
    "bytes": _bytes,
    "choice": _choice,
    "path": _path,
    "headers": _headers,
    "list": _list,
    "table": _table,
}
