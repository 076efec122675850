"""What the pages generate with cog: tables from the code, examples from the goldens. `cog --check` keeps them true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tests.support.golden import GOLDEN, cases
from usagewire.config import COMMON, common_variable, rows, variables
from usagewire.formats import Format
from usagewire.formats.stone.schema import Each, Many, Names, Shape, Value
from usagewire.signals import Delivered, Request, Response, Retry, Setting


def settings_table(fmt: Format) -> str:
    """Every setting of ``fmt``: keyword, environment variables, default, meaning. Its own first."""
    lines = ["| keyword, YAML | environment | default | meaning |", "|---|---|---|---|"]
    for row in rows(fmt):
        names = ", ".join(f"`{name}`" for name in variables(fmt, row))
        said = row.help + (f" One of {', '.join(f'`{word}`' for word in row.choices)}." if _is_choice(row) else "")
        lines.append(f"| `{row.name}` | {names} | {_default(row)} | {said} |")
    return "\n".join(lines)


def common_table() -> str:
    """The settings that every format has: name, the variable for all formats, default, meaning."""
    lines = ["| name | environment, for all formats | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{row.name}` | `{common_variable(row)}` | {_default(row)} | {row.help} |" for row in COMMON]
    return "\n".join(lines)


def _is_choice(row: Setting) -> bool:
    """Whether the values are worth listing: those of a choice whose help does not explain them already."""
    return row.kind == "choice" and not all(f"`{word}`" in row.help for word in row.choices)


def _default(row: Setting) -> str:
    if row.required:
        return "required"
    if row.default is None:
        return ""
    if isinstance(row.default, tuple):
        return f"`{','.join(row.default)}`"
    return f"`{row.default}` ms" if row.kind == "millis" else f"`{row.default}`"


def example(name: str, case: str) -> str:
    """A case of ``tests/golden/<name>`` with texts for attributes: the event as emitted, and the exact request."""
    event = cases(name)[case].events[0]
    attributes = [f'        "{name}": "{value}",' for name, value in event.attributes.items()]
    emitted = ["logger.emit(", f'    event_name="{event.name}",', "    attributes={", *attributes, "    },", ")"]
    return "\n".join(["```python", *emitted, "```", "", "becomes", "", sent(name, case)])


def sent(name: str, case: str) -> str:
    """The exact request of a case."""
    request = (GOLDEN / name / f"{case}.out").read_text(encoding="utf-8").rstrip("\n")
    return f"```http\n{request}\n```"


def verdict_table(fmt: Format, answers: Mapping[str, Sequence[int | None]]) -> str:
    """What ``fmt`` makes of the statuses behind each label; all of a label must come out alike."""
    lines = ["| answer | verdict |", "|---|---|"]
    for label, statuses in answers.items():
        asked = Request("", b"")
        found = {_described(fmt, asked, status) for status in statuses}
        assert 1 == len(found), f"{label} is not one thing: {found}"
        lines.append(f"| {label} | {found.pop()} |")
    return "\n".join(lines)


def _described(fmt: Format, asked: Request, status: int | None) -> str:
    verdict = fmt.judge(asked, Response(status), False)
    if isinstance(verdict, Delivered):
        return "delivered"
    if isinstance(verdict, Retry):
        return "kept and tried again"
    halved = "halved until the bad event stands alone; that one is " if verdict.isolates else ""
    return f"{halved}moved to `rejected/`"


def sections_table(sections: Mapping[str, Shape]) -> str:
    """The allow-list of a report: every field, and what it holds."""
    lines = ["| field | holds |", "|---|---|"]
    for name, shape in sections.items():
        lines += [f"| `{path}` | {holds} |" for path, holds in _shapes(name, shape)]
    return "\n".join(lines)


def _shapes(path: str, shape: Shape) -> Iterable[tuple[str, str]]:
    if isinstance(shape, Value):
        yield path, shape.name + (f", at most {shape.width} characters" if shape.width else "")
    elif isinstance(shape, Names):
        yield f"{path}[]", f"texts of at most {shape.width} characters, sorted"
    elif isinstance(shape, Many):
        yield from _shapes(f"{path}[]", shape.of)
    elif isinstance(shape, Each):
        for at, holds in _shapes(f"{path}.<{shape.key}>", shape.of):
            yield at, f"{holds}; the {shape.key} at most {shape.width} characters"
    else:
        for name, inner in shape.of.items():
            needed = "; an entry without it is left out" if name in shape.needs else ""
            yield from ((at, f"{holds}{needed}") for at, holds in _shapes(f"{path}.{name}", inner))
