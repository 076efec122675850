"""A destination as the operator's words make it: they may change while the program runs."""

from __future__ import annotations

import logging
from typing import NamedTuple

from usagewire.pipeline.destination import Destination
from usagewire.policy import content as contents
from usagewire.policy.consent import Consent
from usagewire.policy.content import Accepted, narrow
from usagewire.policy.gate import Gate
from usagewire.signals import Stance

_log = logging.getLogger("usagewire")


class Current(NamedTuple):
    """What belongs together at one instant."""

    program: Destination
    """As the program would have it, whatever the operator says."""
    stance: Stance
    destination: Destination
    gate: Gate


class Words:
    """The operator's words about one destination, as of whenever they are asked for. Thread-safe."""

    def __init__(self, program: Destination, consent: Consent, gate: Gate, *, durable: bool) -> None:
        """``gate`` is what the tracking plan, or the lack of one, lets through. ``durable``: there is a folder in which
        it is remembered what a yes covers."""
        self._consent, self._gate, self._durable = consent, gate, durable
        self._current = self._settle(program)

    def about(self, program: Destination) -> Current:
        """What they make of ``program`` right now; two `os.stat` unless something has changed."""
        current = self._current
        if program is not current.program or self._consent.stance() is not current.stance:
            # One value, put in its place at once: threads that come by meanwhile see all of it, or none.
            current = self._current = self._settle(program)
        return current

    def _settle(self, program: Destination) -> Current:
        stance = self._consent.stance()  # before what was accepted is read: of two changes none is missed
        accepted = self._accepted(program)
        gate = narrow(self._gate, accepted.content) if accepted else self._gate
        return Current(program, stance, program.under(stance, accepted), gate)

    def _accepted(self, program: Destination) -> Accepted | None:
        """What the operator's yes covers: where they had not seen anything yet, all of what there is now."""
        term = self._consent.decide().term
        if not (self._durable and term):
            return None
        found = contents.recall(program.place, term)
        if found is None:
            found = Accepted(program.content, program.product.plan)
            try:
                contents.remember(program.place, term, found)
            except OSError as why:  # the next start tries again
                _log.info("%s: %s", program.place.accepted_json, why)
        return found
