"""The tracking plan as a page for those whose data it is about: what a vendor publishes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from usagewire.policy.gate import Attribute, Entry, Plan, Product
from usagewire.policy.known import settings_named

_FLAT = str.maketrans({"\n": " ", "|": "\\|", "<": "&lt;"})


def page(plan: Plan) -> str:
    """``plan`` in Markdown, without a line feed at the end."""
    return "\n".join(_lines(plan)).rstrip()


def _lines(plan: Plan) -> Iterator[str]:
    yield f"# What {_flat(plan.name)} reports about its use"
    yield ""
    yield f"Version {plan.version} of the tracking plan. It lists everything that may leave a machine; what is not"
    yield "listed stays there. Addresses, names, folders and keys are taken out of what leaves, too."
    yield ""
    yield from _consent(plan.product)
    yield from _settings(plan.product)
    for title, entries in (("Events", plan.events), ("Metrics", plan.metrics)):
        if entries:
            yield f"## {title}"
            yield ""
            for name, entry in entries.items():
                yield from _entry(name, entry)


def _consent(product: Product) -> Iterator[str]:
    yield "## How to say no"
    yield ""
    default = {True: "on", False: "off", None: "what the format's document says"}[product.consent]
    yield f"While nobody has said anything, reporting is: {default}. Any of these switches it off:"
    yield ""
    yield "- `usagewire off`; `usagewire show` prints what would leave, `usagewire status` who decided"
    yield "- `DO_NOT_TRACK=1` in the program's environment"
    said = {
        "flag": "- `{}` on the program's command line",
        "present": "- `{}` in its environment, even empty",
        "false": "- `{}=false` in its environment",
    }
    for switch in product.opt_out:
        yield said[switch.kind].format(switch.name)
    yield ""
    if product.deletion:
        yield f"`usagewire off --ask-deletion` also asks {_code(product.deletion)} to delete what was sent before."
        yield ""


def _settings(product: Product) -> Iterator[str]:
    if product.settings:
        yield "## Where it goes, and how"
        yield ""
        yield "| setting | value | meaning |"
        yield "|---|---|---|"
        for name, value in product.settings.items():
            row = next(iter(settings_named(name)))
            shown = "****" if row.secret else _code(_text(value))
            yield f"| `{name}` | {shown} | {_flat(row.help)} |"
        yield ""
    if product.packages:
        yield f"Versions are told of the packages {', '.join(map(_code, product.packages))}."
        yield ""


def _entry(name: str, entry: Entry) -> Iterator[str]:
    yield f"### {_code(name)}"
    yield ""
    yield _flat(entry.purpose)
    yield ""
    about = {
        "owner": entry.owner,
        "channel": entry.channel,
        "review": entry.review,
        "leaves until": str(entry.expires or ""),
    }
    if any(about.values()):
        yield "; ".join(f"{word}: {_flat(said)}" for word, said in about.items() if said)
        yield ""
    rows = {_code(key): one for key, one in entry.attributes.items()}
    if entry.body is not None:
        rows["body"] = entry.body
    if rows:
        yield "| attribute | type | what leaves of it | why |"
        yield "|---|---|---|---|"
        for key, one in rows.items():
            yield f"| {key} | {one.kind} | {_leaves(one)} | {_flat(one.purpose)} |"
        yield ""


def _leaves(attribute: Attribute) -> str:
    if attribute.sensitivity == "drop":
        return "nothing"
    if attribute.sensitivity == "hash":
        return "a hash that can be compared with no other installation's"
    if attribute.sensitivity == "bucket":
        edges = ", ".join(f"{edge:g}" for edge in attribute.buckets) or "0, 1, 2, 4, 8 …"
        return f"the range it is in, by its lower edge: {edges}"
    if attribute.values is not None:
        return ", ".join(_code(_text(value)) for _, value in sorted(attribute.values, key=str))
    return "as it is"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "; ".join(f"{name} = {_text(inner)}" for name, inner in cast("Mapping[str, Any]", value).items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, cast("list[Any]", value)))
    return str(value)


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def _flat(text: str) -> str:
    return text.translate(_FLAT)
