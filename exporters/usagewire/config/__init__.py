"""The one table of settings, and the one reader of it.

Rows are declared next to what they configure: the common ones here, a format's own in its module. Code, YAML,
environment, CLI, the documentation and `opentelemetry-instrument --help` all read this table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from reprlib import Repr
from typing import Any

import orjson

from usagewire.config.kinds import is_loopback, parse
from usagewire.formats import Format
from usagewire.signals import Setting, Settings

__all__ = [
    "COMMON",
    "MASK",
    "Resolved",
    "common_variable",
    "is_loopback",
    "parse",
    "resolve",
    "rows",
    "variable",
    "variables",
]

COMMON: tuple[Setting, ...] = (
    Setting("endpoint", "Base URL that receives the data.", kind="url"),
    Setting(
        "headers",
        "Extra HTTP headers, `name=value` separated by commas, values percent-encoded.",
        kind="headers",
        secret=True,
    ),
    Setting("timeout", "Longest wait for one request.", kind="millis", default=5_000),
    Setting(
        "compression",
        "How bodies are compressed.",
        kind="choice",
        choices=("gzip", "none"),
        default="gzip",
    ),
    Setting(
        "proxy",
        "Proxy URL, `http://user:password@host:port`; unset: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` decide.",
        kind="proxy",
        secret=True,
    ),
    Setting("certificate", "File with the certificates to trust, PEM.", kind="path"),
    Setting("client_certificate", "Client certificate for mutual TLS, PEM.", kind="path"),
    Setting("client_key", "Private key of the client certificate, PEM.", kind="path"),
    Setting(
        "dialect",
        "`documented`: what the public document says; `upstream`: what the real product's client sends.",
        kind="choice",
        choices=("documented", "upstream"),
        default="documented",
    ),
    Setting("channels", "Channels that may leave, separated by commas; unset: the format's default.", kind="list"),
    Setting(
        "delivery",
        "Who sends: `auto` (this program, and a short-lived helper for what waits at its exit), `thread` (this "
        "program only), `manual` (only `usagewire send`).",
        kind="choice",
        choices=("auto", "thread", "manual"),
        default="auto",
    ),
    Setting("queue_bytes", "Room on disk for what waits; the oldest goes first.", kind="bytes", default=64 << 20),
    Setting("queue_ttl", "How long anything may wait.", kind="millis", default=30 * 86_400_000),
    Setting("sent_bytes", "Room on disk for copies of what was sent.", kind="bytes", default=4 << 20),
)
"""Settings of every format. ``interval`` is added where a format makes reports."""

_EVERYWHERE = frozenset({"interval", *(row.name for row in COMMON)})
"""Names that `USAGEWIRE_<NAME>` sets, also where a format brings a row of its own."""
MASK = "****"


def rows(fmt: Format) -> tuple[Setting, ...]:
    """Every setting of ``fmt``: its own first; a row of its own replaces the common one of that name."""
    own = {row.name for row in fmt.settings}
    report = (
        (Setting("interval", "Length of a report period.", kind="millis", default=fmt.interval),)
        if fmt.interval is not None and "interval" not in own
        else ()
    )
    return (*fmt.settings, *report, *(row for row in COMMON if row.name not in own))


def variable(fmt: Format, row: Setting) -> str:
    """Name of the environment variable that sets ``row`` for ``fmt`` alone."""
    return f"OTEL_EXPORTER_{fmt.name}_{row.name}".upper()


def common_variable(row: Setting) -> str:
    """Name of the environment variable that sets ``row`` for every format."""
    return f"USAGEWIRE_{row.name}".upper()


@dataclass(frozen=True)
class Resolved(Mapping[str, Any]):
    """A destination's settings: a mapping of values that also knows where each came from."""

    chosen: Settings
    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    """Setting name → ``stored``, ``code``, an environment variable's name, ``plan`` or ``default``."""
    faults: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    """Names of the settings whose values are never shown."""

    def __getitem__(self, name: str) -> Any:
        return self.chosen[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.chosen)

    def __len__(self) -> int:
        return len(self.chosen)

    def masked(self) -> dict[str, Any]:
        """The values with every secret replaced by ``****``."""
        return {name: MASK if name in self.secrets and value else value for name, value in self.chosen.items()}

    def mask(self, body: bytes) -> bytes:
        """``body`` with every secret value replaced: a short one (under 4 characters) only as a whole JSON string,
        because its letters are everywhere."""
        for name in self.secrets:
            value = self.chosen.get(name)
            if isinstance(value, str) and value:
                quoted, mask = orjson.dumps(value), MASK.encode()
                body = body.replace(quoted[1:-1], mask) if len(value) >= 4 else body.replace(quoted, b'"%b"' % mask)
        return body


def resolve(
    fmt: Format,
    keywords: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    stored: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
    plan_variables: Iterable[str] | None = None,
) -> Resolved:
    """Read every setting of ``fmt``: stored > keyword or YAML > environment > plan > default.

    ``plan`` holds the tracking plan's product facts; ``plan_variables`` the product's own variables the plan names
    (``None``: there is no plan, all the documented ones count). Never raises: what is wrong is in ``faults``.
    """
    named = None if plan_variables is None else frozenset(plan_variables)
    known = rows(fmt)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    faults: dict[str, str] = {}
    for row in known:
        raw, source = _find(fmt, row, keywords, environ, stored or {}, plan or {}, named)
        values[row.name], sources[row.name] = row.default, source
        if source == "default":
            continue
        try:
            values[row.name] = parse(row, raw)
        except Exception as fault:  # a keyword may be an object of any class
            faults[row.name] = f"{_said(row, raw, source)}: {fault}"
    names = {row.name for row in known}
    unknown = sorted(set(keywords) - names - {"name", "service"})
    if unknown:
        faults[""] = f"unknown setting {', '.join(unknown)}: known are {', '.join(sorted(names))}"
    for row in known:
        if row.required and not values[row.name] and row.name not in faults:
            ways = " or ".join(variables(fmt, row, named))
            faults[row.name] = f"no {row.name}: set {ways}, or give {row.name} in code or YAML"
    return Resolved(values, sources, tuple(faults.values()), tuple(row.name for row in known if row.secret))


def _find(
    fmt: Format,
    row: Setting,
    keywords: Mapping[str, Any],
    environ: Mapping[str, str],
    stored: Mapping[str, Any],
    plan: Mapping[str, Any],
    named: frozenset[str] | None,
) -> tuple[Any, str]:
    if stored.get(row.name) is not None:
        return stored[row.name], "stored"
    if keywords.get(row.name) is not None:
        return keywords[row.name], "code"
    for name in variables(fmt, row, named):
        if environ.get(name, "").strip():
            return environ[name].strip(), name
    if plan.get(row.name) is not None:
        return plan[row.name], "plan"
    return row.default, "default"


def variables(fmt: Format, row: Setting, named: frozenset[str] | None = None) -> tuple[str, ...]:
    """The environment variables that may set ``row``, strongest first; of the product's own only those ``named`` by a
    tracking plan (``None``: there is no plan)."""
    product = (name for name in row.variables if named is None or name in named)
    common = (common_variable(row),) if row.name in _EVERYWHERE else ()
    return (variable(fmt, row), *product, *common)


_PLACES = {"stored": " (stored by `usagewire config set`)", "code": " (in code or YAML)", "plan": " (in the plan)"}


_short = Repr()
_short.maxstring = _short.maxother = 200


def _said(row: Setting, raw: Any, source: str) -> str:
    """The setting as its author wrote it, without its secrets, for a fault."""
    try:
        shown = MASK if row.secret else re.sub("//.*@", f"//{MASK}@", _short.repr(raw))
    except Exception:
        shown = f"a {type(raw).__name__}"
    return f"{row.name}={shown}{_PLACES[source]}" if source in _PLACES else f"{source}={shown}"
