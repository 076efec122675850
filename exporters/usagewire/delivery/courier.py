"""Takes what waits to the endpoint: one request at a time, oldest first, judged by the format.

A courier runs in every process, but only the holder of the destination's lock sends. It decides when, its lanes
(`usagewire.delivery.lane`) do it; the format decides what a request holds and what an answer means; the state decides
what is still owed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import NamedTuple

from usagewire.config import Resolved
from usagewire.delivery import Transport
from usagewire.delivery.lane import TICK, Lane
from usagewire.errors import HolderLost, StateError
from usagewire.formats import Format
from usagewire.signals import Origin, Stance
from usagewire.state.consumer import Consumer
from usagewire.state.memory import MemoryQueue

EARLY = "report"
"""What another process asks for that wants a report of the period so far, besides everything that waits."""

_log = logging.getLogger("usagewire")


class Progress(NamedTuple):
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
        asked: Callable[[], str] = lambda: "",
        quiet: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """``rest`` is the writer's once-a-second care, ``asked`` tells (once) what another process wants done now
        (`usagewire.pipeline.destination.Destination.asked`), ``quiet`` switches instrumentation off around a tick."""
        self._format, self._settings, self._origin, self._queue = fmt, settings, origin, queue
        self._rest, self._asked, self._quiet, self._clock = rest, asked, quiet, clock
        names = ("", fmt.event_lane) if fmt.event_lane else ("",)
        self._lanes = [Lane(name, fmt, settings, queue, stance, transport, clock) for name in names]
        self._sends = settings["delivery"] != "manual"
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._wishing = threading.Lock()
        self._wished = self._heard = 0
        self.granted = 0
        """The newest `hurry` after which nothing was left to send."""
        self._working = threading.Lock()

    @property
    def delivered(self) -> int:
        """Items that arrived."""
        return sum(lane.delivered for lane in self._lanes)

    @property
    def rejected(self) -> int:
        """Items that the endpoint will not take."""
        return sum(lane.rejected for lane in self._lanes)

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
        """Whether this process sends, and no endpoint is to be asked yet."""
        return self._queue.held and all(lane.outcome.wait(self._clock()) for lane in self._lanes)

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
            asked = self._asked() if self._queue.held else ""
            hurry = wish > self._heard or bool(asked)
            self._heard = wish
            if not (self._sends or hurry):
                return TICK
            pause = self.step(hurry=hurry, early=asked == EARLY)
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
        for lane in self._lanes:
            lane.close()
        if self._queue.held:
            self._queue.release()

    # -- one look at the queue --------------------------------------------------------------------------------

    def step(
        self,
        *,
        hurry: bool = False,
        force: bool = False,
        early: bool = False,
        until: float | None = None,
        lanes: list[Lane] | None = None,
    ) -> float:
        """Send what is ready; returns the seconds to wait before the next look.

        ``hurry`` ignores the back-off and the age of what waits but honours a server's Retry-After; ``force`` ignores
        that too; ``early`` makes a report of the period so far. ``until`` (monotonic seconds) ends it after the request
        under way. Of the ``lanes`` to be looked at, those that have nothing more to send now are taken out.
        """
        if not self._queue.held and not self._queue.acquire():
            return TICK
        self._queue.refresh()
        self._compile(early)
        pause = self._send(list(self._lanes) if lanes is None else lanes, hurry=hurry, force=force, until=until)
        self._queue.settle()
        return pause

    def _send(self, ready: list[Lane], *, hurry: bool, force: bool, until: float | None) -> float:
        pause = TICK
        while ready and not self._stopping.is_set():
            for lane in tuple(ready):  # in turn, so that a long queue for one endpoint holds nothing up for the other
                wait = lane.pause(hurry=hurry, force=force)
                pause = min(pause, wait or TICK)
                if wait or not lane.send_one():
                    ready.remove(lane)
                if until is not None and time.monotonic() >= until:
                    return TICK
        return pause

    def drain(
        self,
        *,
        only: Collection[str] | None = None,
        force: bool = False,
        early: bool = False,
        timeout: float = 60.0,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> Progress:
        """Send everything now, on the calling thread, until nothing waits, the endpoint says no, or time is up.

        ``only``: of these lanes, by name. ``force`` and ``early`` as in `step`."""
        until = time.monotonic() + timeout
        wanted = [lane for lane in self._lanes if only is None or lane.name in only]
        ready = list(wanted)
        with self._working, self._quiet():
            try:
                while True:
                    before = self.delivered, self.rejected, len(ready)
                    end = min(until, time.monotonic() + TICK)
                    self.step(hurry=True, force=force, early=early, until=end, lanes=ready)
                    force = early = False
                    progress = self._progress(wanted)
                    report(progress)
                    seeking = any(lane.suspects for lane in ready)
                    stuck = (self.delivered, self.rejected, len(ready)) == before and not seeking
                    if progress.done or not ready or stuck or time.monotonic() >= until:
                        return progress
            finally:
                self._let_go()

    def _progress(self, lanes: Sequence[Lane]) -> Progress:
        if not self._queue.held:
            return Progress(self.delivered, self.rejected, 0, held_elsewhere=True)
        errors = [lane.outcome.last_error or {} for lane in lanes if lane.outcome.failures]
        return Progress(
            self.delivered,
            self.rejected,
            sum(self._queue.backlog(lane.name).items for lane in lanes),
            last_error=str(errors[0].get("reason", "")) if errors else "",
        )

    def _compile(self, early: bool) -> None:
        compile, settings = self._format.compile, self._settings
        if compile is not None:
            self._queue.compile_due(
                self._origin(), lambda period, origin, now: compile(period, origin, settings, now), force=early
            )
