"""A received request, for people."""

from __future__ import annotations

import json
import time
from typing import Any

from usagewire.inspector.routes import Received, mapping

BOLD, RED, CYAN = 1, 31, 36


def describe(received: Received, color: bool = False) -> str:
    """A line for the request, one for each event with its properties, one for each complaint."""

    def paint(code: int, text: str) -> str:
        return f"\x1b[{code}m{_printable(text)}\x1b[0m" if color else _printable(text)

    clock = time.strftime("%H:%M:%S", time.localtime(received.time / 1e9))
    count = f"{len(received.events)} event{'' if len(received.events) == 1 else 's'}"
    what = paint(BOLD, f"{received.method} {received.path}")
    lines = [f"{clock}  {what}  {count}, {len(received.raw)} bytes, answered {received.answer.status}"]
    for event in received.events:
        said = mapping(event) or {}
        shown = mapping(said.get("properties", {name: said[name] for name in said if name != "event"})) or {}
        properties = "  ".join(f"{name}={_json(value)}" for name, value in shown.items())
        lines.append(f"    {paint(CYAN, str(said.get('event', 'message')))}  {_printable(properties)}".rstrip())
    lines += [f"    {paint(RED, f'complaint: {complaint}')}" for complaint in received.complaints]
    return "\n".join(lines) + "\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _printable(text: str) -> str:
    """What came over the network must not steer the terminal."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
