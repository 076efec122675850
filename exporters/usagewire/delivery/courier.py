"""Takes what waits to the endpoint: one request at a time, oldest first, judged by the format.

A courier runs in every process, but only the holder of the destination's lock sends. It decides when; the format
decides what a request holds and what an answer means; the state decides what is still owed.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass

from usagewire.config import Resolved
from usagewire.delivery import Transport
from usagewire.errors import HolderLost, StateError
from usagewire.formats import Format
from usagewire.signals import Delivered, Item, Origin, Rejected, Request, Response, Retry, Stance, Verdict
from usagewire.state.consumer import Consumer, Entry
from usagewire.state.ledger import LONGEST_WAIT
from usagewire.state.memory import MemoryQueue

SECOND = 1_000_000_000
TICK = 1.0
"""Seconds between looks at the queue, and the age at which a request leaves though it is not full."""
BACK_OFF, LONGEST_BACK_OFF = 0.5, 300.0
MOST_ITEMS, MOST_BYTES = 2_500, 512 << 10
"""What is offered to ``pack`` at once; the format takes as much of it as one request may hold."""

_log = logging.getLogger("usagewire")


@dataclass(frozen=True)
class Progress:
    """How a drain stands, for whoever shows it."""

    delivered: int
    rejected: int
    waiting: int
    last_error: str = ""
    held_elsewhere: bool = False

    @property
    def done(self) -> bool:
        """Whether nothing waits any more."""
        return self.waiting == 0 and not self.held_elsewhere


class Courier:
    """Sends for one destination. `step` does one look at the queue; `start` runs it on a daemon thread."""

    def __init__(
        self,
        fmt: Format,
        settings: Resolved,
        origin: Callable[[], Origin],
        queue: Consumer | MemoryQueue,
        stance: Callable[[], Stance],
        transport: Callable[[], Transport],
        *,
        rest: Callable[[], None] = lambda: None,
        asked: Callable[[], bool] = lambda: False,
        quiet: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """``rest`` is the writer's once-a-second care, ``asked`` tells (once) that another process wants everything
        sent now, ``quiet`` switches instrumentation off around a tick."""
        self._format, self._settings, self._origin, self._queue = fmt, settings, origin, queue
        self._stance, self._open_transport, self._rest, self._asked = stance, transport, rest, asked
        self._quiet, self._clock = quiet, clock
        self._transport: Transport | None = None
        # Items at the head of the queue among which a poisoned one is sought. Older ones that turn up meanwhile only
        # make the search longer: nothing is rejected on suspicion.
        self._suspects = 0
        self._sends = settings["delivery"] != "manual"
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._wishing = threading.Lock()
        self._wished = self._heard = 0
        self.granted = 0
        """The newest `hurry` after which nothing was left to send."""
        self._working = threading.Lock()
        self.delivered = self.rejected = 0

    # -- the thread -------------------------------------------------------------------------------------------

    def start(self) -> bool:
        """Start the thread unless it runs; whether it does: a host that is already ending cannot have one."""
        if not self._stopping.is_set() and not (self._thread is not None and self._thread.is_alive()):
            thread = threading.Thread(target=self._run, name=f"usagewire-{self._format.name}", daemon=True)
            with suppress(RuntimeError):  # Python 3.12: "can't create new thread at interpreter shutdown"
                thread.start()
                self._thread = thread
        return self._thread is not None and self._thread.is_alive()

    def wake(self) -> None:
        """Look at the queue now: there is a full request's worth."""
        self._wake.set()

    def hurry(self) -> int:
        """Send everything that waits, back-off or not; it is done when `granted` has reached the number returned."""
        with self._wishing:
            self._wished = wish = self._wished + 1
        self._wake.set()
        return wish

    @property
    def holds(self) -> bool:
        """Whether this process is the one that sends."""
        return self._queue.held

    @property
    def backs_off(self) -> bool:
        """Whether this process sends, and the endpoint is not to be asked yet."""
        return self._queue.held and self._queue.ledger.outcome.wait(self._clock()) > 0

    def after_fork(self) -> None:
        """In a forked child: let go of descriptors; the thread did not come along."""
        self._queue.after_fork()

    def stop(self) -> None:
        """End the thread without waiting for it, and let go of the lock unless a request is under way (the kernel lets
        go of it when the process ends)."""
        self._stopping.set()
        self._wake.set()
        if self._working.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._working.release()

    def _run(self) -> None:
        with self._quiet():
            # Not at once: a program that ends sooner leaves sending, and loading what that takes, to the helper.
            pause = TICK
            while not self._stopping.is_set():
                self._wake.wait(pause)
                self._wake.clear()
                with self._working:
                    pause = self._safe_step()
            with self._working:
                self._let_go()

    def _safe_step(self) -> float:
        if self._stopping.is_set():
            return 0.0
        try:
            self._rest()
            wish = self._wished
            # What another process asks for is meant for the holder: whoever else took it would only lose it.
            hurry = wish > self._heard or (self._queue.held and self._asked())
            self._heard = wish
            if not (self._sends or hurry):
                return TICK
            pause = self.step(hurry=hurry)
            if self._queue.held and not self._queue.backlog().items:
                self.granted = wish
            return pause
        except (HolderLost, OSError, StateError) as trouble:
            _log.info("%s: %s; trying again", self._format.name, trouble)
        except Exception:
            # A fault of ours must neither end the thread nor reach the host program.
            _log.info("%s: unexpected fault on the courier", self._format.name, exc_info=True)
        self._let_go()
        return 5 * TICK

    def _let_go(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        if self._queue.held:
            self._queue.release()

    # -- one look at the queue --------------------------------------------------------------------------------

    def step(self, *, hurry: bool = False, force: bool = False, until: float | None = None) -> float:
        """Send what is ready; returns the seconds to wait before the next look.

        ``hurry`` ignores the back-off and the age of what waits but honours a server's Retry-After; ``force`` ignores
        that too. ``until`` (monotonic seconds) ends it after the request under way.
        """
        if not self._queue.held and not self._queue.acquire():
            return TICK
        self._queue.refresh()
        self._compile()
        while not self._stopping.is_set():
            pause = self._pause(hurry=hurry, force=force)
            if pause > 0:
                return min(pause, TICK)
            if not self._send_one() or (until is not None and time.monotonic() >= until):
                return TICK
        return TICK

    def drain(
        self,
        *,
        force: bool = False,
        timeout: float = 60.0,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> Progress:
        """Send everything now, on the calling thread, until nothing waits, the endpoint says no, or time is up."""
        until = time.monotonic() + timeout
        with self._working, self._quiet():
            try:
                while True:
                    before = self.delivered + self.rejected
                    self.step(hurry=True, force=force, until=min(until, time.monotonic() + TICK))
                    force = False
                    progress = self.progress()
                    report(progress)
                    stuck = self.delivered + self.rejected == before and not self._suspects
                    if progress.done or progress.last_error or stuck or time.monotonic() >= until:
                        return progress
            finally:
                self._let_go()

    def progress(self) -> Progress:
        """How things stand. Call it while holding the queue, or after."""
        if not self._queue.held:
            return Progress(self.delivered, self.rejected, 0, held_elsewhere=True)
        outcome = self._queue.ledger.outcome
        error = outcome.last_error or {}
        return Progress(
            self.delivered,
            self.rejected,
            self._queue.backlog().items,
            last_error=str(error.get("reason", "")) if outcome.failures else "",
        )

    def _compile(self) -> None:
        compile, settings = self._format.compile, self._settings
        if compile is not None:
            self._queue.compile_due(self._origin(), lambda period, origin, now: compile(period, origin, settings, now))

    def _pause(self, *, hurry: bool, force: bool) -> float:
        """Seconds until the next request may leave; 0: now."""
        backlog = self._queue.backlog()
        if not backlog.items:
            return TICK
        now, outcome = self._clock(), self._queue.ledger.outcome
        wait = outcome.wait(now)
        if wait and not force and (outcome.retry_by_server or not hurry):
            return wait / SECOND
        age = (now - backlog.oldest) / SECOND if backlog.oldest is not None else TICK
        full = backlog.items >= MOST_ITEMS or backlog.bytes >= MOST_BYTES // 2
        if hurry or full or not 0 <= age < TICK:
            return 0.0
        return TICK - age

    def _send_one(self) -> bool:
        """One request from packing to settling; False when the endpoint should be left alone for now."""
        entries = self._queue.waiting(MOST_ITEMS, MOST_BYTES)
        if not entries:
            return False
        if self._suspects:
            entries = entries[: max(1, self._suspects // 2)]
        try:
            request, taken = self._format.pack(
                [Item(entry.data) for entry in entries],
                self._settings,
                self._clock(),
                self._queue.ledger.outcome.failures + 1,
            )
        except Exception as fault:
            # One item that a format chokes on must not keep the others for ever.
            _log.info("%s: unexpected fault while packing", self._format.name, exc_info=True)
            return self._settle(entries, Rejected(f"cannot be packed ({type(fault).__name__})", isolates=True))
        entries = entries[:taken]
        before = self._stance()
        if not before.on or before.epoch != self._queue.ledger.epoch:
            return False
        uncertain = self._queue.uncertain
        if self._transport is None:
            self._transport = self._open_transport()
        packed = self._transport.pack(request)  # once, for the wire and for the copy
        body = self._settings.mask(request.readable or request.body)
        as_sent = packed is not request and body == request.body
        name = self._queue.sending(request.url, body, taken, packed.body if as_sent else b"")
        response = self._transport.send(packed)
        verdict = self._judge(request, response, uncertain)
        self._queue.sent(name, describe(verdict), response.status)
        return self._settle(entries, verdict, body)

    def _judge(self, request: Request, response: Response, uncertain: bool) -> Verdict:
        try:
            return self._format.judge(request, response, uncertain)
        except Exception as fault:
            # It may have arrived: to be asked again, and as seldom as anything that fails.
            _log.info("%s: unexpected fault while judging", self._format.name, exc_info=True)
            return Retry(f"the answer {response.status} cannot be judged ({type(fault).__name__})")

    def _settle(self, entries: Sequence[Entry], verdict: Verdict, body: bytes = b"") -> bool:
        if isinstance(verdict, Delivered):
            arrived = entries[: verdict.count]
            if arrived:
                self._queue.delivered(arrived, repeat=verdict.repeat)
                self.delivered += len(arrived)
                self._suspects = max(0, self._suspects - len(arrived))
                return True
            verdict = Retry("the endpoint took none of it")
        if isinstance(verdict, Retry):
            by_server = verdict.after is not None
            delay = verdict.after if verdict.after is not None else back_off(self._queue.ledger.outcome.failures)
            at = self._clock() + min(int(delay * SECOND), LONGEST_WAIT)
            self._queue.retry(verdict.reason, at, by_server)
            _log.info("%s: %s; next try in %.1f s", self._format.name, verdict.reason, delay)
            return False
        if verdict.isolates and len(entries) > 1:
            self._suspects = len(entries)
            return True
        self._queue.rejected(entries, verdict.reason, body)
        self.rejected += len(entries)
        self._suspects = max(0, self._suspects - len(entries))
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
