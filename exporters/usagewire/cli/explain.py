"""Why each field of what would leave is there: the tracking plan's purpose, else what the format's document says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from usagewire.cli.words import faint, title
from usagewire.inspector.explain import documented
from usagewire.inspector.payload import payload
from usagewire.pipeline.destination import Destination
from usagewire.policy.gate import Plan, from_purposes

if TYPE_CHECKING:
    from usagewire.cli.outlook import Outlook

MOST = 1 << 30


class Explainer:
    """Explains by ``plan``; without one by what each destination remembers of its program's."""

    def __init__(self, plan: Plan | None) -> None:
        self._plan = plan

    def lines(self, destination: Destination, body: str | bytes) -> list[str]:
        """A sentence, or nothing, for each line of `usagewire.cli.layout.body_lines`."""
        return [line.says for line in self._payload(destination, body)]

    def fields(self, destination: Destination, body: str | bytes) -> dict[str, str]:
        """The same by field, ``batch.0.event`` → why."""
        return {line.path: line.says for line in self._payload(destination, body) if line.says}

    def ahead(self, outlooks: Sequence[Outlook], format: str | None) -> list[dict[str, Any]]:
        """What would leave of destinations for which nothing was collected; where there is none, in ``format``."""
        silent = [one.found.destination for one in outlooks if not one.previews]
        known = {one.format.name: self._known(one) for one in silent if one is not None}
        if not outlooks and format is not None:
            known[format] = self._plan
        return [{"format": name, "fields": documented(name), "plan": _listed(plan)} for name, plan in known.items()]

    def _payload(self, destination: Destination, body: str | bytes) -> Sequence[Any]:
        return payload(body, destination.format.name, self._known(destination), most=MOST).lines

    def _known(self, destination: Destination) -> Plan | None:
        purposes = destination.product.purposes
        return self._plan or (from_purposes(purposes) if purposes else None)


def explained(ahead: Mapping[str, Any]) -> Iterator[str]:
    """One entry of `Explainer.ahead`, for people."""
    yield title(f"what {ahead['format']} may send")
    yield from (f"  {field:<40}{faint(says)}" for field, says in ahead["fields"].items())
    if ahead["plan"] is None:
        yield "  and the events and metrics that the program emits: no tracking plan lists them"
        return
    yield title("what the tracking plan lets pass, and nothing else")
    for name, why in ahead["plan"].items():
        yield f"  {name:<40}{faint(why[''])}"
        yield from (f"    {key:<38}{faint(says)}" for key, says in why.items() if key)


def _listed(plan: Plan | None) -> dict[str, dict[str, str]] | None:
    return None if plan is None else plan.purposes
