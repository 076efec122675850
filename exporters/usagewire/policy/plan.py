"""The tracking plan as a file: read with care, all faults named at once, nothing in it ever executed.

`docs/tracking-plan.md` describes the file; `usagewire.policy.gate` is the plan at run time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast

from usagewire.config import parse as parse_setting
from usagewire.errors import PlanError
from usagewire.policy.gate import KINDS, Attribute, Entry, Gate, Open, Plan, Product, Sensitivity, tagged
from usagewire.policy.known import channels, setting_fault, variables
from usagewire.policy.source import At, line_of, packaged, read, shown, values
from usagewire.signals import Setting, Switch

__all__ = ["Attribute", "Entry", "Gate", "Open", "Plan", "Product", "find", "load", "parse"]

VARIABLE = "USAGEWIRE_PLAN"

SENSITIVITIES = ("keep", "hash", "bucket", "drop")
TOP = ("plan", "version", "product", "attributes", "events", "metrics")
FACTS = ("variables", "opt_out", "consent", "packages", "deletion")
ENTRY = ("purpose", "attributes", "owner", "channel", "review", "expires")
ATTRIBUTE = ("type", "purpose", "values", "sensitivity", "buckets")
DELETION = Setting(
    "deletion", "URL that takes requests to delete what was sent.", kind="url", choices=("https", "http")
)
_SWITCH = re.compile(r"(?P<flag>--?[A-Za-z0-9][\w-]*)|(?P<name>[A-Za-z_]\w*)(?P<false>=false)?")


def find(keyword: str | os.PathLike[str] | Mapping[str, Any] | None, environ: Mapping[str, str]) -> Any:
    """What to `load`: the keyword, else the path in ``USAGEWIRE_PLAN``, else ``None``."""
    return keyword or environ.get(VARIABLE, "").strip() or None


def load(source: Any) -> Plan:
    """The plan in the file at a path, in ``package:file``, or in a mapping of the same shape. Raises `PlanError`, and
    nothing else."""
    if isinstance(source, Mapping):
        return _Check({}, []).plan(source)
    try:
        path = packaged(source) or Path(source)
    except TypeError as fault:
        raise PlanError([f"plan={shown(source)}: a path, or a table of a plan's shape, is needed"]) from fault
    try:
        return parse(read(path))
    except (OSError, ValueError) as fault:  # ValueError: a path that cannot be one
        reason = fault.strerror if isinstance(fault, OSError) else fault
        raise PlanError([f"{path}: {reason}"]) from fault
    except PlanError as fault:
        raise PlanError(f"{path}: {sentence}" for sentence in fault.faults) from fault


def parse(text: bytes) -> Plan:
    """The plan in ``text``, UTF-8. Raises `PlanError`, and nothing else."""
    lines: dict[At, int] = {}
    faults: list[str] = []
    return _Check(lines, faults).plan(values(text, lines, faults))


class _Check:
    """Turns plain values into a `Plan`, collecting every fault on the way."""

    def __init__(self, lines: Mapping[At, int], faults: list[str]) -> None:
        self._lines = lines
        self._faults = faults
        self._defined: dict[str, Attribute] = {}

    def plan(self, content: Any) -> Plan:
        """The whole file."""
        top = self._table((), content, TOP)
        name = self._text(("plan",), top, required=True)
        version: Any = top.get("version")
        if not KINDS["integer"](version) or version < 1:
            self._fault(("version",), f"a whole number, 1 or more, is needed, not {shown(version)}")
        self._defined = self._attributes(("attributes",), top.get("attributes"))
        product = self._product(top.get("product"))
        events = self._entries("events", top.get("events"), (*ENTRY, "body"))
        metrics = self._entries("metrics", top.get("metrics"), ENTRY)
        if not events and not metrics:
            self._fault((), "neither events nor metrics: nothing would ever leave")
        if self._faults:
            raise PlanError(sorted(self._faults, key=lambda fault: line_of(fault) or 0))
        return Plan(name, version, product, events, metrics)

    def _fault(self, at: At, message: str) -> None:
        # what is missing has no line of its own: the nearest thing around it does
        line = next((self._lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in self._lines), None)
        where = ".".join(at)
        self._faults.append(f"{f'line {line}: ' if line else ''}{f'{where}: ' if where else ''}{message}")

    def _table(self, at: At, value: Any, known: tuple[str, ...] = ()) -> Mapping[str, Any]:
        if value is None and at:
            return {}
        if not isinstance(value, Mapping):
            self._fault(at, f"a table is needed, not {shown(value)}")
            return {}
        table = {str(key): item for key, item in cast("Mapping[str, Any]", value).items()}
        for key in table if known else ():
            if key not in known:
                self._fault((*at, key), f"unknown; known are {', '.join(known)}")
        return table

    def _text(self, at: At, table: Mapping[str, Any], *, required: bool = False) -> str:
        value = table.get(at[-1])
        if value is None and not required:
            return ""
        if not isinstance(value, str) or not value.strip():
            self._fault(at, f"text is needed, not {shown(value)}")
            return ""
        return value.strip()

    def _texts(self, at: At, table: Mapping[str, Any]) -> tuple[str, ...]:
        value = table.get(at[-1])
        if value is None:
            return ()
        items = cast("list[Any]", value) if isinstance(value, (list, tuple)) else [None]
        if not all(isinstance(item, str) and item for item in items):
            self._fault(at, f"a list of texts is needed, not {shown(value)}")
            return ()
        return tuple(cast("list[str]", items))

    def _product(self, value: Any) -> Product:
        at: At = ("product",)
        table = self._table(at, value)
        settings: dict[str, Any] = {}
        for name, fact in table.items():
            if name in FACTS:
                continue
            fault = setting_fault(name, fact, FACTS)
            if fault:
                self._fault((*at, name), fault)
            settings[name] = fact
        switches: list[Switch] = []
        for word in self._texts((*at, "opt_out"), table):
            match = _SWITCH.fullmatch(word)
            if match is None:
                self._fault((*at, "opt_out"), f"{word!r} is none of --flag, VARIABLE, VARIABLE=false")
            elif match["flag"]:
                switches.append(Switch(word, "flag"))
            else:
                switches.append(Switch(match["name"], "false" if match["false"] else "present"))
        consent = table.get("consent")
        if consent not in (None, True, False, "on", "off"):
            self._fault((*at, "consent"), f"on or off is needed, not {shown(consent)}")
        return Product(
            settings=settings,
            variables=self._variables((*at, "variables"), table),
            opt_out=tuple(switches),
            consent=None if consent is None else consent in (True, "on"),
            packages=self._texts((*at, "packages"), table),
            deletion=self._deletion((*at, "deletion"), table),
        )

    def _variables(self, at: At, table: Mapping[str, Any]) -> tuple[str, ...]:
        names = self._texts(at, table)
        known = variables() if names else ()
        for name in names:
            if name not in known:
                self._fault(
                    at, f"{name!r} is no variable that a format knows as its product's; there are {', '.join(known)}"
                )
        return names

    def _deletion(self, at: At, table: Mapping[str, Any]) -> str:
        url = self._text(at, table)
        try:
            return str(parse_setting(DELETION, url)) if url else ""
        except ValueError as why:
            self._fault(at, f"{shown(url)}: {why}")
            return ""

    def _entries(self, kind: str, value: Any, known: tuple[str, ...]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for name, content in self._table((kind,), value).items():
            at = (kind, name)
            table = self._table(at, content, known)
            body = table.get("body")
            entries[name] = Entry(
                purpose=self._text((*at, "purpose"), table, required=True),
                attributes=self._attributes((*at, "attributes"), table.get("attributes")),
                body=None if body is None else self._attribute((*at, "body"), body),
                owner=self._text((*at, "owner"), table),
                channel=self._channel((*at, "channel"), table),
                review=self._text((*at, "review"), table),
                expires=self._date((*at, "expires"), table.get("expires")),
            )
        return entries

    def _channel(self, at: At, table: Mapping[str, Any]) -> str:
        channel = self._text(at, table)
        if channel and channel not in channels():
            self._fault(at, f"{channel!r} is no channel; there are {', '.join(channels())}")
        return channel

    def _attributes(self, at: At, value: Any) -> dict[str, Attribute]:
        """A table of definitions, or a list of names defined under the top's ``attributes``."""
        if isinstance(value, (list, tuple)):
            names = [str(name) for name in cast("list[Any]", value)]
            for name in names:
                if name not in self._defined:
                    self._fault(at, f"{name} is not defined under attributes")
            return {name: self._defined[name] for name in names if name in self._defined}
        return {name: self._attribute((*at, name), content) for name, content in self._table(at, value).items()}

    def _attribute(self, at: At, value: Any) -> Attribute:
        table = self._table(at, value, ATTRIBUTE)
        kind = self._choice((*at, "type"), table.get("type"), tuple(KINDS))
        sensitivity = self._choice((*at, "sensitivity"), table.get("sensitivity", "keep"), SENSITIVITIES)
        if sensitivity == "bucket" and kind not in ("integer", "number"):
            self._fault((*at, "sensitivity"), f"only numbers have buckets, not {kind}")
        if sensitivity == "hash" and kind not in ("string", "integer", "number"):
            self._fault((*at, "sensitivity"), f"only text and numbers are hashed, not {kind}")
        buckets = self._list((*at, "buckets"), table.get("buckets"), KINDS["number"], "numbers")
        if buckets is not None and (sensitivity != "bucket" or list(buckets) != sorted(set(buckets))):
            self._fault((*at, "buckets"), "ascending numbers are needed, with sensitivity: bucket")
        is_item = KINDS[kind] if kind not in ("list", "object", "any") else KINDS["string"]
        chosen = self._list((*at, "values"), table.get("values"), is_item, f"{kind} values")
        if chosen is not None and kind in ("object", "any"):
            self._fault((*at, "values"), f"type {kind} has no values to choose from")
        return Attribute(
            kind=cast("Any", kind),
            purpose=self._text((*at, "purpose"), table, required=True),
            values=None if chosen is None else frozenset(tagged(item) for item in chosen),
            sensitivity=cast("Sensitivity", sensitivity),
            buckets=tuple(buckets or ()),
        )

    def _choice(self, at: At, value: Any, choices: tuple[str, ...]) -> str:
        if value in choices:
            return str(value)
        self._fault(at, f"one of {', '.join(choices)} is needed, not {shown(value)}")
        return choices[0]

    def _list(self, at: At, value: Any, is_item: Callable[[Any], bool], what: str) -> list[Any] | None:
        if value is None:
            return None
        items = list(cast("list[Any]", value)) if isinstance(value, (list, tuple)) else []
        if not items or not all(is_item(item) for item in items):
            self._fault(at, f"a list of {what} is needed, not {shown(value)}")
            return None
        return items

    def _date(self, at: At, value: Any) -> date | None:
        if isinstance(value, datetime):
            return value.date()
        try:
            return value if value is None or isinstance(value, date) else date.fromisoformat(str(value))
        except ValueError:
            self._fault(at, f"a date such as 2030-12-31 is needed, not {shown(value)}")
            return None
