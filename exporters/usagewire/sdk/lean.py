"""A batch processor that makes nothing of a record until it is written: for those who add our exporter in code.

The SDK's own copies each record into three objects, which the garbage collector walks again and again while they wait.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource

from usagewire import forks
from usagewire.pipeline.quiet import quiet
from usagewire.sdk.from_logs import Events, plain
from usagewire.sdk.logs import LogExporter
from usagewire.signals import Event

_log = logging.getLogger("usagewire")
_Waiting = tuple[int, str, int, Mapping[str, Any], Any, str, int]
"""Resource (its `id`), name, time, attributes, body, scope, observed: mostly nothing that the collector must follow."""


class LeanLogRecordProcessor(LogRecordProcessor):
    """Hands events to one of our exporters in batches, from a thread of its own. Does what the SDK's
    ``BatchLogRecordProcessor`` does, for less, and for our exporters only:

        provider.add_log_record_processor(LeanLogRecordProcessor(SegmentLogExporter()))

    What waits here is in memory for ``schedule_delay_millis`` at most; `force_flush`, `shutdown` and every full batch
    write it. What comes while ``max_queue_size`` events wait is dropped and counted as ``memory``. An `on_emit` that
    `shutdown` overtakes is still written; later ones are refused. Plain logs never pass. A forked child begins with an
    empty queue: what waits is the parent's. Raises nothing, whatever it is given.
    """

    def __init__(
        self,
        exporter: LogExporter,
        *,
        schedule_delay_millis: float = 1_000,
        max_export_batch_size: int = 2_048,
        max_queue_size: int = 8_192,
    ) -> None:
        self._exporter = exporter
        self._delay = max(schedule_delay_millis, 1) / 1000
        self._batch = max(max_export_batch_size, 1)
        self._most = max(max_queue_size, self._batch)
        self._closed = False
        self._begin()
        if hasattr(os, "register_at_fork"):
            found = weakref.WeakMethod(self._begin)

            def after_fork() -> None:
                begin = found()
                if begin is not None:
                    begin()

            os.register_at_fork(after_in_child=after_fork)

    def _begin(self) -> None:
        self._process = forks.process()
        self._queue: deque[_Waiting] = deque()
        self._resources: dict[int, Resource | None] = {}
        self._wake = threading.Event()
        self._starting = threading.Lock()
        self._exporting = threading.Lock()
        self._thread: threading.Thread | None = None

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Take an event; never waits."""
        if self._process != forks.process():  # uWSGI forks in C, past Python's hooks
            self._begin()
        try:
            self._take(log_record)
        except Exception:
            # A record that is not what the SDK makes: the host must not hear of it.
            self._exporter.lose("rejected")
            _log.info("usagewire: a record that cannot be read is dropped", exc_info=True)

    def _take(self, log_record: ReadWriteLogRecord) -> None:
        record, queue = log_record.log_record, self._queue
        name = record.event_name
        if not name:
            return
        if self._closed or len(queue) >= self._most:
            self._exporter.lose("memory")
            return
        resource, scope = log_record.resource, log_record.instrumentation_scope
        key = id(resource)
        if key not in self._resources:
            self._resources[key] = resource
        queue.append(
            (
                key,
                name,
                record.timestamp or record.observed_timestamp or 0,
                plain(record.attributes),
                record.body,
                scope.name if scope is not None else "",
                record.observed_timestamp or 0,
            )
        )
        if self._closed:  # meanwhile, and `shutdown` may have looked for the last time
            self._export(float("inf"))
        elif self._thread is None:
            self._start()
        if len(queue) >= self._batch and not self._wake.is_set():
            self._wake.set()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Write what waits, on this thread; False when that took longer, or it could not be kept."""
        return self._export(time.monotonic() + timeout_millis / 1000)

    def shutdown(self) -> None:
        """Write what waits, and shut the exporter down."""
        if not self._closed:
            self._closed = True
            self._wake.set()
            self._export(float("inf"))
            self._exporter.shutdown()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="usagewire-lean", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # Python 3.12: "can't create new thread at interpreter shutdown"
                    return
                self._thread = thread

    def _run(self) -> None:
        wake = self._wake
        while not self._closed:
            wake.wait(self._delay)
            wake.clear()
            self._export(float("inf"))

    def _export(self, until: float) -> bool:
        """Write everything, batch by batch, until ``until`` (monotonic seconds)."""
        if self._process != forks.process():
            self._begin()
        kept = True
        with self._exporting, quiet():
            queue = self._queue
            while queue:
                if time.monotonic() > until:
                    return False
                kept &= self._exporter.keep(
                    self._groups([queue.popleft() for _ in range(min(len(queue), self._batch))])
                )
        return kept

    def _groups(self, batch: list[_Waiting]) -> list[tuple[Resource | None, Sequence[Event]]]:
        return [(self._resources[key], Events(list(group), _event)) for key, group in groupby(batch, itemgetter(0))]


def _event(waiting: _Waiting, made_id: str) -> Event:
    _, name, time, attributes, body, scope, observed = waiting
    return Event(name, time, made_id, attributes, body, scope, observed)
