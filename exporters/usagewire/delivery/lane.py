"""One endpoint of a destination: one request at a time, from packing to settling, and how long to wait before the next.

Most formats have one lane; a format with two endpoints (`usagewire.formats.Format.event_lane`) has two, and what
happens in one of them is nothing to the other.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

from usagewire.config import Resolved
from usagewire.delivery import Transport
from usagewire.formats import Format
from usagewire.signals import Delivered, Rejected, Request, Response, Retry, Stance, Verdict
from usagewire.state.consumer import Consumer, Entries
from usagewire.state.ledger import LONGEST_WAIT, Outcome
from usagewire.state.memory import MemoryQueue

SECOND = 1_000_000_000
TICK = 1.0
"""Seconds between looks at the queue, and the age at which a request leaves though it is not full."""
BACK_OFF, LONGEST_BACK_OFF = 0.5, 300.0
MOST_ITEMS, MOST_BYTES = 2_500, 512 << 10
"""What is offered to ``pack`` at once; the format takes as much of it as one request may hold."""

_log = logging.getLogger("usagewire")


class Lane:
    """What shares an endpoint, its connection and its back-off. Its queue is held by whoever calls."""

    def __init__(
        self,
        name: str,
        fmt: Format,
        settings: Resolved,
        queue: Consumer | MemoryQueue,
        stance: Callable[[], Stance],
        transport: Callable[[], Transport],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.name, self._format, self._settings, self._queue = name, fmt, settings, queue
        self._stance, self._open_transport, self._clock = stance, transport, clock
        self._transport: Transport | None = None
        # Items at the head of the queue among which a poisoned one is sought. Older ones that turn up meanwhile only
        # make the search longer: nothing is rejected on suspicion.
        self.suspects = 0
        self.delivered = self.rejected = 0

    @property
    def outcome(self) -> Outcome:
        """How the last requests went."""
        return self._queue.ledger.of(self.name)

    def close(self) -> None:
        """Let go of the connection."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def pause(self, *, hurry: bool, force: bool) -> float:
        """Seconds until the next request may leave; 0: now."""
        waits = self._queue.weight(self.name)
        if waits.oldest is None:
            return TICK
        now, outcome = self._clock(), self.outcome
        wait = outcome.wait(now)
        if wait and not force and (outcome.retry_by_server or not hurry):
            return wait / SECOND
        age = (now - waits.oldest) / SECOND
        if hurry or waits.bytes >= MOST_BYTES // 2 or not 0 <= age < TICK:
            return 0.0
        return TICK - age

    def send_one(self) -> bool:
        """One request from packing to settling; False when the endpoint should be left alone for now."""
        entries = self._queue.waiting(MOST_ITEMS, MOST_BYTES, self.name)
        if not entries:
            return False
        if self.suspects:
            entries = entries[: max(1, self.suspects // 2)]
        try:
            request, taken = self._format.pack(entries.data, self._settings, self._clock(), self.outcome.failures + 1)
        except Exception as fault:
            # One item that a format chokes on must not keep the others for ever.
            _log.info("%s: unexpected fault while packing", self._format.name, exc_info=True)
            return self._settle(entries, Rejected(f"cannot be packed ({type(fault).__name__})", isolates=True))
        entries = entries[:taken]
        uncertain = self.name in self._queue.uncertain
        if self._transport is None:
            self._transport = self._open_transport()
        packed = self._transport.pack(request)  # once, for the wire and for the copy
        body = self._settings.mask(request.readable or request.body)
        as_sent = packed is not request and body == request.body
        # After all that takes time: opening may import a library, and packing compresses.
        if not self._queue.ledger.under(self._stance()):
            return False
        if not request.idempotent:
            self._queue.settle()  # or, after a crash, the doubt would be about what went before it
        name = self._queue.sending(request.url, body, taken, packed.body if as_sent else b"", self.name)
        response = self._transport.send(packed)
        verdict = self._judge(request, response, uncertain)
        self._queue.sent(name, describe(verdict), response.status, self.name)
        return self._settle(entries, verdict, body, idempotent=request.idempotent)

    def _judge(self, request: Request, response: Response, uncertain: bool) -> Verdict:
        try:
            return self._format.judge(request, response, uncertain)
        except Exception as fault:
            # It may have arrived: to be asked again, and as seldom as anything that fails.
            _log.info("%s: unexpected fault while judging", self._format.name, exc_info=True)
            return Retry(f"the answer {response.status} cannot be judged ({type(fault).__name__})")

    def _settle(self, entries: Entries, verdict: Verdict, body: bytes = b"", *, idempotent: bool = False) -> bool:
        if isinstance(verdict, Delivered):
            arrived = entries[: verdict.count]
            if arrived:
                self._queue.delivered(arrived, repeat=verdict.repeat, idempotent=idempotent, lane=self.name)
                self.delivered += len(arrived)
                self.suspects = max(0, self.suspects - len(arrived))
                return True
            verdict = Retry("the endpoint took none of it")
        if isinstance(verdict, Retry):
            by_server = verdict.after is not None
            delay = verdict.after if verdict.after is not None else back_off(self.outcome.failures)
            at = self._clock() + min(int(delay * SECOND), LONGEST_WAIT)
            self._queue.retry(verdict.reason, at, by_server, self.name)
            _log.info("%s: %s; next try in %.1f s", self._format.name, verdict.reason, delay)
            return False
        if verdict.isolates and len(entries) > 1:
            self.suspects = len(entries)
            return True
        self._queue.rejected(entries, verdict.reason, body, self.name)
        self.rejected += len(entries)
        self.suspects = max(0, self.suspects - len(entries))
        _log.info("%s: %d rejected: %s", self._format.name, len(entries), verdict.reason)
        return True


def back_off(failures: int) -> float:
    """Seconds to wait after so many failures in a row: 0.5 × 2ⁿ, at most 300, ±10 % so that many programs that
    lost one endpoint do not come back to it together."""
    return min(BACK_OFF * 2.0 ** min(failures, 20), LONGEST_BACK_OFF) * random.uniform(0.9, 1.1)  # noqa: S311 - jitter


def describe(verdict: Verdict) -> str:
    """A verdict as ``sent/``, ``status`` and ``history`` print it."""
    if isinstance(verdict, Delivered):
        told = "delivered, by an earlier try" if verdict.repeat else "delivered"
        return told if verdict.count is None else f"{told} {verdict.count}"
    if isinstance(verdict, Retry):
        return f"retry: {verdict.reason}"
    return f"rejected: {verdict.reason}"
