"""Taking fields out of JSON by their path: ``osd.count``, ``pools[].size``, ``services.<type>``, ``names[]``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

import orjson


def without(data: bytes, paths: Collection[str]) -> bytes:
    """An item without what is at these paths, and without what is empty then."""
    content: Any = orjson.loads(data)
    for path in paths:
        _remove(content, path.replace("[]", ".[]").split("."))
    return orjson.dumps(content)


def _remove(value: Any, path: Sequence[str]) -> bool:
    """Whether nothing is left of ``value``."""
    step, below = path[0], path[1:]
    if step == "[]" and isinstance(value, list):
        items = cast("Any", value)
        items[:] = [item for item in items if below and not _remove(item, below)]
    elif isinstance(value, dict) and step != "[]":
        table = cast("dict[str, Any]", value)
        for name in list(table) if step.startswith("<") else [step]:
            if name in table and (not below or _remove(table[name], below)):
                del table[name]
    else:
        return False
    return not value
