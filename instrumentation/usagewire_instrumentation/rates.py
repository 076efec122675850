"""How fast data moves, as a short-term average sampled a few times a second, and how far away the other side is."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from weakref import WeakSet

from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider, Observation, get_meter

from usagewire_instrumentation.events import caller_scope, complain

SAMPLES_PER_WINDOW = 4
STALE = 10
"""Windows after which the newest sample says nothing about now."""
_TCP_INFO_BYTES, _RTT_AT = 104, 68
"""Of Linux's ``struct tcp_info``: its oldest size, and where its smoothed round trip time stands, in microseconds."""


class RateMeter:
    """Bytes per second of whatever moves between `resume` and `pause`. Thread-safe.

    Every quarter of a ``window`` (seconds of moving), `add` takes a sample: the average over the last window. Samples
    go to the histogram ``<name>.samples``, the newest one to the gauge ``<name>``, which is silent once it is old.
    ``name`` is ``usage.transfer.rate`` or ``usage.transmission.rate``; ``scope`` as in `emit_event`.
    """

    def __init__(
        self,
        name: str = "usage.transfer.rate",
        *,
        window: float = 1.0,
        scope: str | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        scope = caller_scope() if scope is None else scope
        self._slot = window / SAMPLES_PER_WINDOW
        self._samples, self._newest = _instruments(meter_provider, scope, name, window)
        self.begin()
        _meters.add(self)

    def begin(self) -> None:
        """As new: nothing moves, nothing has moved."""
        self._pending: deque[float] = deque()  # appended to and taken from without a lock, since `add` is a hot path
        self._slots: deque[tuple[float, float]] = deque(maxlen=SAMPLES_PER_WINDOW)  # seconds and bytes of each
        self._moving = 0
        self._since = self._spent = self._bytes = 0.0  # when this stretch began; seconds and bytes of the slot so far
        self._due, self._sampled = float("inf"), float("-inf")
        self._newest.time = float("-inf")
        self._lock = threading.Lock()

    def resume(self) -> None:
        """Something begins to move. As often as it is called, `pause` must be."""
        with self._lock:
            self._moving += 1
            if self._moving == 1:
                self._since = time.monotonic()
                self._due = self._since + self._slot - self._spent

    def add(self, count: float) -> None:
        """``count`` bytes have moved; ignored while nothing moves."""
        if self._moving:
            self._pending.append(count)
            now = time.monotonic()
            if now >= self._due:
                with self._lock:
                    if now >= self._due:  # no other thread was faster
                        self._sample(now)

    def pause(self) -> None:
        """Something has stopped moving. Time in which nothing moves is not part of the average."""
        now = time.monotonic()
        with self._lock:
            if self._moving != 1:  # others still move; or this is a child, and its parent resumed
                self._moving = max(0, self._moving - 1)
                return
            if self._pending and now - self._sampled >= self._slot:
                self._sample(now)
            self._spent += now - self._since
            self._moving, self._due = 0, float("inf")

    def _sample(self, now: float) -> None:
        try:
            while self._pending:
                self._bytes += self._pending.popleft()
            self._slots.append((self._spent + now - self._since, self._bytes))
            self._since, self._spent, self._bytes, self._due = now, 0.0, 0.0, now + self._slot
            seconds = sum(spent for spent, _ in self._slots)
            if seconds <= 0:
                return
            rate = sum(moved for _, moved in self._slots) / seconds
            self._sampled = self._newest.time = now
            self._newest.rate = rate
            self._samples.record(rate)
        except Exception as error:
            complain("a rate was not recorded: %s", type(error).__name__)


class _Newest:
    """The newest sample of a name, in whatever meter it was taken: a gauge of a name has one callback."""

    rate = 0.0
    time = float("-inf")

    def __init__(self, window: float) -> None:
        self._stale = STALE * window

    def observe(self, options: CallbackOptions) -> Iterable[Observation]:
        if time.monotonic() - self.time < self._stale:
            yield Observation(self.rate)


@lru_cache(maxsize=64)
def _instruments(provider: MeterProvider | None, scope: str, name: str, window: float) -> tuple[Histogram, _Newest]:
    # Safe to keep: while no SDK is set up the API hands out proxies, which find it as soon as it is.
    meter = get_meter(scope, meter_provider=provider)
    newest = _Newest(window)
    meter.create_observable_gauge(name, [newest.observe], "By/s", "Short-term average, newest sample.")
    return meter.create_histogram(f"{name}.samples", "By/s", "Short-term averages."), newest


def socket_round_trip_time(sock: socket.socket) -> float | None:
    """Smoothed round trip time of a TCP connection in seconds, as the kernel measures it; ``None`` where it does not
    say: another system than Linux, another protocol, nothing measured yet."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        [micros] = struct.unpack_from("=I", info, _RTT_AT)
    except (AttributeError, OSError, ValueError, struct.error):
        return None
    return micros / 1e6 if micros else None


_meters: WeakSet[RateMeter] = WeakSet()


def _after_fork() -> None:
    """In a forked child: nothing moves yet, and locks that were held at that instant would stay so."""
    for meter in list(_meters):
        meter.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
