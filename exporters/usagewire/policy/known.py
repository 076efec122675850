"""What a tracking plan may name because some format knows it: settings, products' variables and channels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from usagewire import formats
from usagewire.config import COMMON, parse, rows
from usagewire.policy.source import shown
from usagewire.signals import Setting


def settings_named(name: str) -> Iterable[Setting]:
    """The settings of that name, one for each format that has it; a common one at once, without loading any."""
    common = [row for row in COMMON if row.name == name]
    if common:
        return common
    return (row for row in every_setting() if row.name == name)


def channels() -> tuple[str, ...]:
    """Every channel that some format can switch by itself."""
    choices = (row.choices for row in every_setting() if row.name == "channels")
    return tuple(dict.fromkeys(channel for some in choices for channel in some))


def variables() -> tuple[str, ...]:
    """Every environment variable that some format knows as a product's own."""
    return tuple(dict.fromkeys(name for row in every_setting() for name in row.variables))


@lru_cache
def every_setting() -> tuple[Setting, ...]:
    """The rows of every format that is installed."""
    found: list[Setting] = []
    for name in formats.names():
        with suppress(Exception):  # a stranger's format that cannot be loaded has no say
            found += rows(formats.load(name))
    return tuple(found)


def setting_fault(name: str, value: Any, facts: Sequence[str]) -> str:
    """What is wrong with a setting among the product's facts; a value that suits one format is in order."""
    fault = ""
    for row in settings_named(name):
        if row.kind == "path":  # a file of the machine that the plan is for, not of the one that checks it
            return "" if isinstance(value, str) else f"a path is needed, not {shown(value)}"
        try:
            parse(row, value)
        except ValueError as why:
            fault = fault or (str(why) if row.secret else f"{shown(value)}: {why}")
        else:
            return ""
    return fault or f"neither a fact ({', '.join(facts)}) nor a setting of any format"
