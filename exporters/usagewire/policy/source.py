"""A tracking plan's text, taken with care: who may write it, how large and deep it is, and on which line what stands.

YAML by PyYAML's safe loader; aliases and tags are refused, and nothing in the text is ever executed.
"""

from __future__ import annotations

import os
import re
import stat
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from usagewire.errors import PlanError

LARGEST = 1 << 20
"""Bytes."""
DEEPEST = 16

At = tuple[str, ...]
"""Where in the plan: ``("events", "server_start", "purpose")``."""
_PACKAGED = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([^/:][^:]*)")
_LINE = re.compile(r"(?:.*: )?line ([0-9]+): ")


def line_of(fault: str) -> int | None:
    """The line that a fault names; ``None`` where it is about the whole."""
    found = _LINE.match(fault)
    return int(found[1]) if found else None


def packaged(source: Any) -> Path | None:
    """Where ``ferry:plan.yaml`` lies: the file among the data of the package ``ferry``, which is not imported for it
    (of ``ferry.data`` the parent is). Raises `PlanError` where no such package is installed."""
    found = _PACKAGED.fullmatch(source) if isinstance(source, str) and not os.path.exists(source) else None
    if found is None:
        return None
    try:
        spec = find_spec(found[1])
    except Exception:  # a parent that is missing, or fails at its import
        spec = None
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not folders:
        raise PlanError([f"plan={source}: no package {found[1]} is installed, nor is there such a file"])
    paths = [Path(folder, found[2]) for folder in folders]
    return next((path for path in paths if path.exists()), paths[0])


def read(path: Path) -> bytes:
    """The file's content. Raises `PlanError` where others could have written it, `OSError` where it cannot be had."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise PlanError(["not a regular file"])
        # a group of the owner's own (same number, as many distributions make it) is not "others"
        shared = found.st_mode & 0o002 or (found.st_mode & 0o020 and found.st_gid != found.st_uid)
        if shared or found.st_uid not in (0, os.geteuid()):
            owner = f"mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}"
            raise PlanError([f"others can write it ({owner}); it must be yours or root's, and chmod go-w"])
        if found.st_size > LARGEST:
            raise PlanError([f"{found.st_size} bytes; at most {LARGEST}"])
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(LARGEST)
    finally:
        os.close(descriptor)


def values(text: bytes, lines: dict[At, int], faults: list[str]) -> Any:
    """Plain values of ``text``; the line of each goes to ``lines``, what is wrong with single ones to ``faults``."""
    import yaml  # 15 ms, and only where there is a plan

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    def build(node: Any, at: At) -> Any:
        if isinstance(node, yaml.MappingNode):
            if node.tag != "tag:yaml.org,2002:map":
                faults.append(f"line {node.start_mark.line + 1}: tag {node.tag} is refused")
            table: dict[str, Any] = {}
            for key, value in cast("list[tuple[Any, Any]]", node.value):
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    faults.append(f"line {line}: a name is text")
                    continue
                below = (*at, key.value)
                if key.value in table:
                    faults.append(f"line {line}: {key.value} is there twice, before in line {lines[below]}")
                lines[below] = line
                table[key.value] = build(value, below)
            return table
        if isinstance(node, yaml.SequenceNode):
            if node.tag != "tag:yaml.org,2002:seq":
                faults.append(f"line {node.start_mark.line + 1}: tag {node.tag} is refused")
            return [build(item, at) for item in cast("list[Any]", node.value)]
        try:
            return scalars.construct_object(node)
        except Exception:  # a bad `!!int`, `2025-02-30`, `!!python/…`: each raises something of its own
            faults.append(
                f"line {node.start_mark.line + 1}: {node.value!r} is no {node.tag.removeprefix('tag:yaml.org,2002:')}"
            )
            return None

    scalars: Any = yaml.SafeLoader("")
    try:
        content = text.decode("utf-8-sig")
        depth, aliases = 0, list[str]()
        for event in yaml.parse(content, loader):
            line = cast("Any", event.start_mark).line + 1
            if isinstance(event, yaml.AliasEvent):
                aliases.append(f"line {line}: aliases (*name) are refused; write it out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise PlanError([f"line {line}: nested more than {DEEPEST} deep"])
        if aliases:
            raise PlanError(aliases)
        root = yaml.compose(content, loader)
        return None if root is None else build(root, ())
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else 1
        raise PlanError([*faults, f"line {line}: not YAML: {fault.problem}"]) from fault
    except (yaml.YAMLError, UnicodeError) as fault:
        raise PlanError([*faults, f"not YAML in UTF-8: {str(fault).splitlines()[0]}"]) from fault
    finally:
        scalars.dispose()


def shown(value: Any) -> str:
    """``value`` as a fault quotes it."""
    return "nothing" if value is None else repr(value)[:60]
