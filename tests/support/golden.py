"""Golden files: a case says what a program emitted, the ``.out`` beside it holds the exact requests.

``tests/golden/<format>/cases.py`` has one ``CASES`` table; `requests` is what the pipeline does, without disk and
network: render, encode, compile, pack, until nothing is left.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from textwrap import wrap
from typing import Any

from usagewire.config import Resolved, resolve, rows
from usagewire.errors import Unsendable
from usagewire.formats import Format
from usagewire.signals import Event, Item, Origin, Period, Point, Request, Setting

GOLDEN = Path(__file__).parents[1] / "golden"
FIVE = ("empty", "one", "two", "nested", "odd")
"""The cases every format has; it may have more."""

SECOND = 1_000_000_000
NOON = 1_790_769_600 * SECOND
"""2026-09-30T12:00:00Z, when everything in a golden file happens."""
ORIGIN = Origin(
    installation="0b6f5a1e-6f0e-4a53-9e64-0f6a2f6f3d11",
    session="9f3b6c1e-0000-4000-8000-000000000000",
    started=NOON - 60 * SECOND,
    service="ferry",
    service_version="1.2.0",
    library_version="0.1.0",
    salt="00000000-0000-4000-8000-000000000000",
    os_type="linux",
    os_version="ubuntu 24.04",
    number=0x5E1EC7ED5EED,
    os_release="6.8.0",
    platform="Linux",
    platform_version="#45-Ubuntu SMP PREEMPT_DYNAMIC Fri Aug 30 12:02:04 UTC 2024",
    architecture="x86_64",
    processor="x86_64",
    python_version="3.11.9",
    packages={
        "jina": "",
        "docarray": "",
        "jina-proto": "",
        "protobuf": "5.29.5",
        "grpcio": "1.66.2",
        "pyyaml": "6.0.2",
    },
    proto_backend="upb",
)


@dataclass(frozen=True)
class Case:
    """What a program emitted, under which settings, and which try this is."""

    events: Sequence[Event] = ()
    points: Sequence[Point] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 1
    origin: Origin = ORIGIN


def cases(name: str) -> Mapping[str, Case]:
    """The table of the format called ``name``."""
    table: Mapping[str, Case] = import_module(f"tests.golden.{name}.cases").CASES
    return table


def _needed(row: Setting) -> bool:
    return row.required or (row.name == "endpoint" and row.default is None)


def settings_for(fmt: Format, given: Mapping[str, Any] | None = None) -> Resolved:
    """Settings that work: ``given``, and something harmless for every other row that needs a value."""
    harmless = {"url": "https://telemetry.example", "path": __file__}
    needed = {row.name: harmless.get(row.kind, row.name) for row in rows(fmt) if _needed(row)}
    settings = resolve(fmt, {**needed, **(given or {})}, {})
    assert () == settings.faults
    return settings


def items(fmt: Format, case: Case, settings: Resolved) -> list[Item]:
    """Everything the case leaves in the queue."""
    found, folded = _encoded(fmt, case, settings) if fmt.carries_events else ([], ())
    if fmt.compile is not None and (case.points or folded):
        period = Period(1, NOON - 86_400 * SECOND, NOON, _admitted(fmt, case.points, settings), folded, nonce="5e" * 16)
        found += fmt.compile(period, case.origin, settings, NOON)
    return found


def _encoded(fmt: Format, case: Case, settings: Resolved) -> tuple[list[Item], tuple[Event, ...]]:
    """What leaves of the case's events at once, and what waits for the report."""
    found: list[Item] = []
    folded: list[Event] = []
    for event in case.events:
        with suppress(Unsendable):
            rendered = fmt.render(event)
            data = None if fmt.encode is None else fmt.encode(rendered, case.origin, settings)
            if data is None:
                folded.append(rendered)
            else:
                found.append(Item(data))
    return found, tuple(folded)


def _admitted(fmt: Format, points: Sequence[Point], settings: Resolved) -> tuple[Point, ...]:
    """What a period takes of ``points``, which are of one series each."""
    found: list[Point] = []
    for point in points:
        with suppress(Unsendable):
            admitted = fmt.admit(point, settings)
            found += [admitted] if admitted is not None else []
    return tuple(found)


def packed(fmt: Format, waiting: Sequence[Item], settings: Resolved, attempt: int = 1) -> list[tuple[Request, int]]:
    """All of ``waiting`` as requests, each with the number of items it took."""
    found: list[tuple[Request, int]] = []
    lines = [item.data for item in waiting]
    while lines:
        request, taken = fmt.pack(lines, settings, NOON, attempt)
        assert 1 <= taken <= len(lines)
        found.append((request, taken))
        lines = lines[taken:]
    return found


def requests(fmt: Format, case: Case) -> bytes:
    """The case's requests as a golden file holds them: method and URL, headers, empty line, body."""
    settings = settings_for(fmt, case.settings)
    text = b""
    for request, _ in packed(fmt, items(fmt, case, settings), settings, case.attempt):
        head = [f"{request.method} {request.url}", *(f"{name}: {value}" for name, value in request.headers.items())]
        body = request.body
        if request.readable:  # what it says, and then its bytes
            plain = (
                body if body.isascii() and body.decode().isprintable() else "\n".join(wrap(body.hex(" "), 95)).encode()
            )
            body = request.readable + b"\n\n" + plain
        text += "\n".join([*head, "", ""]).encode() + body + b"\n"
    return text


def strict(data: bytes) -> Any:
    """``data`` as JSON, without the NaN and Infinity that Python's parser would let through."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(data, parse_constant=refuse)


def check(path: Path, actual: bytes, *, update: bool) -> None:
    """``actual`` is, byte for byte, what ``path`` holds; ``update`` (--update-golden) writes it instead."""
    if update:
        path.write_bytes(actual)
    assert path.exists(), f"no {path.name}: run pytest --update-golden, then read it"
    assert path.read_bytes() == actual
