"""Anything a program may attach to an event, for Hypothesis."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Any

from hypothesis import strategies as st


class Colour(Enum):
    """An enum whose values are of several kinds."""

    RED = "red"
    NONE = None
    PAIR = (1, float("nan"))


class Hostile(str):
    """Text whose every method raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class Unreadable(Mapping[str, Any]):
    """A mapping that claims three entries and yields none."""

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __iter__(self) -> Any:
        raise RuntimeError("gone")

    def __len__(self) -> int:
        return 3


def loop() -> list[Any]:
    """A list inside itself."""
    found: list[Any] = [1]
    found.append({"again": found})
    return found


def deep() -> list[Any]:
    """Lists a thousand levels deep: more than orjson takes."""
    found: list[Any] = []
    for _ in range(1_000):
        found = [found]
    return found


def wide() -> list[Any]:
    """Two to the power of sixty entries in sixty lists."""
    found: list[Any] = []
    for _ in range(60):
        found = [found, found]
    return found


TEXT = st.text(st.characters(exclude_categories=()))
"""Texts with lone surrogates and control characters."""

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXT,
    st.binary(),
    st.decimals(),
    st.fractions(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.dates(),
    st.times(),
    st.uuids(),
    st.complex_numbers(),
    st.sampled_from([*Colour, 2**2_000, object(), Unreadable(), range(3), deque([1])]),
    st.builds(lambda: -(10**5_000)),  # too long for Python to print
    st.builds(Hostile),
    st.builds(loop),
    st.builds(deep),
    st.builds(wide),
)
KEYS = TEXT | st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.tuples(st.integers(), TEXT)


def attributes() -> st.SearchStrategy[Mapping[Any, Any]]:
    """Attribute trees of any shape."""
    trees = st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner),
            st.dictionaries(KEYS, inner),
            st.tuples(inner, inner),
            st.sets(st.integers() | TEXT | st.none() | st.tuples(TEXT, st.integers())),
            st.frozensets(st.floats()),
        ),
        max_leaves=20,
    )
    return st.dictionaries(KEYS, trees)
