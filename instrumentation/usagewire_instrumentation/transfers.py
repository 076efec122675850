"""Files and transfers, under the names that formats read (docs/instrumentation.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from opentelemetry.metrics import MeterProvider, get_meter

from usagewire_instrumentation.events import caller_scope, complain
from usagewire_instrumentation.rates import RateMeter

if TYPE_CHECKING:
    from typing_extensions import Self

FILE_RANGES = (0, *(2**power - 1 for power in range(10, 38, 3)))
TRANSFER_RANGES = tuple(2**power - 1 for power in range(20, 41, 2))
"""Upper edges of the documented ranges, in bytes; OpenTelemetry's buckets include them."""
_STATES: Mapping[str, Mapping[str, str]] = {
    state: {"usage.transfer.state": state} for state in ("queued", "started", "completed", "failed")
}


class FileSizes:
    """``usage.file.size``: one record per file seen. ``scope`` as in `emit_event`."""

    def __init__(self, *, scope: str | None = None, meter_provider: MeterProvider | None = None) -> None:
        meter = get_meter(caller_scope() if scope is None else scope, meter_provider=meter_provider)
        self._sizes = meter.create_histogram(
            "usage.file.size", "By", "Size of each file seen.", explicit_bucket_boundaries_advisory=FILE_RANGES
        )

    def observe(self, size: int) -> None:
        """A file of ``size`` bytes was seen."""
        try:
            self._sizes.record(size)
        except Exception as error:
            complain("a file size was not recorded: %s", type(error).__name__)

    def observe_tree(self, path: str | os.PathLike[str]) -> int:
        """Every regular file in and below the folder ``path``; links are not followed, what cannot be read is passed
        over. Returns how many files it were."""
        count = 0
        folders = [os.fspath(path)]
        while folders:
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        elif entry.is_file(follow_symlinks=False):
                            self.observe(entry.stat(follow_symlinks=False).st_size)
                            count += 1
            except OSError:  # gone meanwhile, or not ours to read
                continue
        return count


class Transfers:
    """What becomes of transfers: sizes, states, rates, round trip times. Thread-safe. ``scope`` as in `emit_event`.

    ::

        transfer = transfers.queue(size)
        with transfer.start() as progress:
            progress.advance(len(chunk))
    """

    def __init__(
        self, *, window: float = 1.0, scope: str | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        """``window``: see `RateMeter`."""
        scope = caller_scope() if scope is None else scope
        meter = get_meter(scope, meter_provider=meter_provider)
        self._sizes = meter.create_histogram(
            "usage.transfer.size", "By", "Size of each transfer.", explicit_bucket_boundaries_advisory=TRANSFER_RANGES
        )
        self._count = meter.create_counter("usage.transfer.count", "{transfer}", "Transfers entering each state.")
        self._trips = meter.create_histogram("usage.transfer.round_trip_time", "s", "Each measurement.")
        self.rates = (
            RateMeter("usage.transfer.rate", window=window, scope=scope, meter_provider=meter_provider),
            RateMeter("usage.transmission.rate", window=window, scope=scope, meter_provider=meter_provider),
        )
        """Of the data, and of the network."""

    def queue(self, size: int) -> Transfer:
        """A transfer of ``size`` bytes is waiting."""
        try:
            self._sizes.record(size)
        except Exception as error:
            complain("a transfer's size was not recorded: %s", type(error).__name__)
        self.enter("queued")
        return Transfer(self)

    def round_trip(self, seconds: float | None) -> None:
        """A round trip to the other side took so long; ``None``, as from `socket_round_trip_time`: not known."""
        try:
            if seconds is not None:
                self._trips.record(seconds)
        except Exception as error:
            complain("a round trip time was not recorded: %s", type(error).__name__)

    def enter(self, state: str) -> None:
        """A transfer has entered ``state``; `Transfer` and `Progress` say so by themselves."""
        try:
            self._count.add(1, _STATES[state])
        except Exception as error:
            complain("a transfer's state was not recorded: %s", type(error).__name__)


class Transfer:
    """A transfer that was queued. It may be started again after it failed."""

    __slots__ = ("_transfers",)

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers

    def start(self) -> Progress:
        """For a ``with`` block: started at its beginning; completed at its end, failed when left by an exception."""
        return Progress(self._transfers)


class Progress:
    """A transfer under way."""

    __slots__ = ("_moved", "_transfers", "_transmitted")

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers
        self._moved, self._transmitted = transfers.rates

    def advance(self, count: int, transmitted: int | None = None) -> None:
        """``count`` bytes of data have moved; over the network ``transmitted``, where that is another number
        (compression, protocol)."""
        self._moved.add(count)
        self._transmitted.add(count if transmitted is None else transmitted)

    def __enter__(self) -> Self:
        self._transfers.enter("started")
        self._moved.resume()
        self._transmitted.resume()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._moved.pause()
        self._transmitted.pause()
        self._transfers.enter("completed" if kind is None else "failed")
