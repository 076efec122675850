"""What a receiver remembers of every request, and how tests and the demo ask for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from usagewire.inspector.faults import Script
from usagewire.inspector.received import Answer, Received
from usagewire.inspector.routes import check


class Records:
    """Checks requests and remembers them.

    ``script`` may answer in the ordinary answer's place (see `usagewire.inspector.faults`) and may be exchanged at any
    time; ``watch`` is told of every request once it is answered for. What runs for days does not ``remember``: it
    leaves that to who watches.
    """

    def __init__(
        self, script: Script | None = None, watch: Callable[[Received], None] | None = None, *, remember: bool = True
    ) -> None:
        self.script = script
        self._watch = watch
        self._remember = remember
        self._received: list[Received] = []
        self._accepted = 0
        self._changed = threading.Condition()

    @property
    def requests(self) -> list[Received]:
        """Every request so far, in the order of arrival."""
        with self._changed:
            return list(self._received)

    def events(self) -> list[Any]:
        """Every event of every request that was answered as taken, in order, repeats included."""
        return [event for received in self.requests if received.accepted for event in received.events]

    def complaints(self) -> list[str]:
        """Everything that was wrong with any request."""
        return [complaint for received in self.requests for complaint in received.complaints]

    def wait(self, count: int, timeout: float = 10.0) -> bool:
        """Whether ``count`` events, or more, were accepted within ``timeout`` seconds."""
        return self.wait_for(lambda: self._accepted >= count, timeout)

    def wait_for(self, met: Callable[[], bool], timeout: float = 10.0) -> bool:
        """Whether ``met``, asked after every request, came true within ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(met, timeout)

    def take(self, received: Received) -> Answer:
        """Check and remember a request; what it is to be answered."""
        if received.accepted:
            found = check(received)
            received = replace(received, events=found.events, complaints=found.complaints, answer=found.answer)
        chosen = self.script(received) if self.script else None
        received = replace(received, answer=chosen or received.answer)
        with self._changed:
            if self._remember:
                self._received.append(received)
            self._accepted += len(received.events) if received.accepted else 0
            self._changed.notify_all()
        if self._watch:
            self._watch(received)
        return received.answer
