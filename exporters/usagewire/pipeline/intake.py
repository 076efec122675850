"""What an exporter holds: settings from its construction on, an open pipeline from the first batch on.

One intake per destination and process; the log and the metric exporter of one destination share it. The rooms behind
an open pipeline are loaded on a thread meanwhile: neither the program's start nor its end is to wait for them.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usagewire import forks
from usagewire.delivery import CHILD
from usagewire.formats import Format
from usagewire.pipeline.dropped import Dropped
from usagewire.pipeline.said import Said, read
from usagewire.pipeline.session import Session
from usagewire.signals import Event, Point
from usagewire.state.paths import Place, locate, safe_name, state_root

if TYPE_CHECKING:
    from usagewire.pipeline.destination import Destination
    from usagewire.pipeline.pipeline import Pipeline

_log = logging.getLogger("usagewire")

_NOWHERE = Place(Path("/dev/null"), "none")
"""Stands for a destination while the service is not known: consent then goes by environment and command line."""


class Intake:
    """Everything between an exporter and the disk. No method raises."""

    def __init__(self, fmt: Format, keywords: Mapping[str, Any], environ: Mapping[str, str], argv: list[str]) -> None:
        """``keywords`` are the exporter's: settings of the format, and ``name``, ``service``, ``plan``."""
        self.format = fmt
        self.name = f"{fmt.name}-{safe_name(str(keywords['name']))}" if keywords.get("name") else fmt.name
        self.keywords = {name: value for name, value in keywords.items() if value is not None}
        self.dropped = Dropped()
        """Events and points that were refused before anything could be written; counted in the queue as soon as there
        is one, or else in a note at the end."""
        self._environ, self._argv = dict(environ), list(argv)
        self._lock = threading.RLock()
        self._session = Session()
        self._users: weakref.WeakSet[object] = weakref.WeakSet()
        self._read: Said | None = None  # also where it is wrong
        self._resource: Mapping[str, Any] = {}  # of the latest batch that found no pipeline
        self._said: Said | None = None  # None: nothing is taken
        self._pipeline: Pipeline | None = None
        self._ahead: threading.Thread | None = None
        self._process = os.getpid()

    # -- what is said -------------------------------------------------------------------------------------------

    def configure(self, configured: Mapping[str, Any]) -> None:
        """Read plan and settings, anew when the program has more to say (`usagewire.configure`)."""
        with self._lock:
            self._close()
            self._said = self._read = None
            if CHILD in self._environ:
                return
            try:
                self._read = said = read(self.format, self.keywords, self._environ, self._argv, configured)
                if not said.faults:
                    self._said = said
                    self._go_ahead(said)
                elif said.consent(self._place(said.service) if said.service else _NOWHERE).decide().on:
                    self.refuse("; ".join(said.faults))
            except Exception:
                self._fail()

    def join(self, keywords: Mapping[str, Any], configured: Mapping[str, Any]) -> bool:
        """Take another exporter's keywords for the same destination as well; False when they contradict what was said
        to this one in so many words."""
        given = {name: value for name, value in keywords.items() if value is not None}
        more = {name: value for name, value in given.items() if name not in self.keywords}
        if any(str(self.keywords[name]) != str(value) for name, value in given.items() if name not in more):
            return False
        if more:
            if self._said is not None and self._said.contradicts(more, configured):
                return False
            self.keywords |= more
            self.configure(configured)
        return True

    def refuse(self, why: str) -> None:
        """Say why nothing will be taken."""
        _log.warning("usagewire: the %s exporter is off, nothing is kept or sent: %s", self.name, why)

    # -- from the exporters -------------------------------------------------------------------------------------

    def events(self, events: Sequence[Event], resource: Mapping[str, Any]) -> bool:
        """Keep events; True also when there was nothing to keep, or no consent."""
        pipeline = self._open(resource, len(events))
        return pipeline is None or pipeline.events(events)

    def points(self, points: Sequence[Point], resource: Mapping[str, Any]) -> bool:
        """Keep data points; True also when there was nothing to keep, or no consent."""
        pipeline = self._open(resource, len(points))
        return pipeline is None or pipeline.points(points)

    def lose(self, reason: str) -> None:
        """Count an event that was given up before it came here."""
        self._notice_fork()
        pipeline = self._pipeline
        if pipeline is not None:
            pipeline.lose(reason)
        else:
            self.dropped.add(reason)

    def flush(self, until: float) -> bool:
        """Deliver what waits before ``until`` (monotonic seconds); whether nothing does any more."""
        self._notice_fork()
        ahead = self._ahead
        try:
            if ahead is not None:
                ahead.join(max(0.0, until - time.monotonic()))
            pipeline = self._pipeline
            return pipeline is None or pipeline.flush(until)
        except Exception:
            _log.info("usagewire: %s could not be flushed", self.name, exc_info=True)
            return False

    def seal(self) -> None:
        """What is kept so far may be taken by any process, at once."""
        self._notice_fork()
        pipeline = self._pipeline
        if pipeline is not None:
            pipeline.seal()

    def destination(self) -> Destination | None:
        """Where it goes, opened or not; ``None`` where the settings are wrong, or the service is not known yet."""
        said, pipeline = self._said, self._pipeline
        if pipeline is not None or said is None or not said.service:
            return pipeline.destination if pipeline is not None else None
        with forks.held_up():
            from usagewire.pipeline import opening
        return opening.unopened(said, self._place(said.service), self._session)

    def use(self, user: object) -> None:
        """Another exporter works through this intake."""
        self._users.add(user)

    def leave(self, user: object) -> bool:
        """An exporter is done; the last one closes. Whether it was the last."""
        self._users.discard(user)
        if self._users:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Write the last of it and let go, without a network, and see to it that what waits is sent; a later batch
        opens anew."""
        self._notice_fork()
        with self._lock:
            self._close(helper=True)
            if self._read is not None:
                try:
                    self.dropped.note(self._read, self._place(self._read.service_of(self._resource)))
                except Exception:
                    _log.info("usagewire: what %s has dropped cannot be noted", self.name, exc_info=True)

    def after_fork(self) -> None:
        """In a forked child: a session, a lock and, at first use, a pipeline of its own; what was dropped so far is the
        parent's to count."""
        self._lock = threading.RLock()
        self.dropped = Dropped()
        self._session = Session()
        pipeline, self._pipeline, self._ahead = self._pipeline, None, None
        self._process = os.getpid()
        if pipeline is not None:
            pipeline.abandon()

    def _notice_fork(self) -> None:
        """uWSGI forks in C, past Python's hooks: what is the parent's would be written to beside it, and lost."""
        if self._process != os.getpid():
            self.after_fork()

    def undecided(self) -> tuple[Place, str] | None:
        """Where this sends, and from which place, if it does so because nobody has said anything; ``None`` also while
        the service's name is not known."""
        said, pipeline = self._said, self._pipeline
        if said is None or not (said.service or pipeline is not None):
            return None
        place = pipeline.destination.place if pipeline is not None else self._place(said.service)
        decision = said.consent(place).decide()
        return (place, str(said.settings["endpoint"])) if decision.on and decision.by == "default" else None

    # -- opening and closing ------------------------------------------------------------------------------------

    def _open(self, resource: Mapping[str, Any], count: int) -> Pipeline | None:
        """The pipeline, opened at the first batch that may leave; ``None``: drop ``count``."""
        self._notice_fork()
        pipeline = self._pipeline
        if pipeline is not None and pipeline.located and pipeline.consented:
            return pipeline
        with self._lock:
            self._resource = resource
            if self._said is None:
                self.dropped.add("configuration", count)
                return None
            try:
                pipeline = self._pipeline or self._try_open(self._said, resource)
                if pipeline is None or not pipeline.consented:
                    self.dropped.add("consent", count)
                    return None
                pipeline.locate(resource)
                self._hand_over(pipeline)
            except Exception:
                self._fail()
                self.dropped.add("fault", count)
                return None
            return pipeline

    def _try_open(self, said: Said, resource: Mapping[str, Any]) -> Pipeline | None:
        wanted = self._place(said.service_of(resource))
        consent = said.consent(wanted)
        decision = consent.decide()
        if not decision.on:
            if decision.erases and wanted.folder.is_dir():
                with forks.held_up():
                    from usagewire.state.purge import purge
                with suppress(OSError):  # every start tries again
                    purge(wanted, consent.stance)
            return None
        with forks.held_up():
            from usagewire.pipeline import opening
        about = said, wanted, consent, self._session, resource
        self._pipeline = opening.on_disk(*about) or opening.in_memory(*about)
        return self._pipeline

    def _go_ahead(self, said: Said) -> None:
        """Before the program has said anything: see to what an earlier run of this service left."""
        place = self._place(said.service) if said.service else _NOWHERE
        left = place.folder.is_dir()
        if said.consent(place).decide().on:
            thread = threading.Thread(target=self._load, args=(said, left), name="usagewire-open", daemon=True)
            with suppress(RuntimeError):  # at the end of Python 3.12: then the first batch does it
                thread.start()
                self._ahead = thread
        elif left:
            self._try_open(said, {})

    def _load(self, said: Said, left: bool) -> None:
        try:
            with forks.held_up():
                import_module("usagewire.pipeline.opening")  # so that the first batch finds it
            with self._lock:
                if not left or self._pipeline is not None or self._ahead is not threading.current_thread():
                    return
                pipeline = self._try_open(said, {})
                if pipeline is not None:
                    pipeline.located = False
                    pipeline.courier.start()
        except Exception:
            self._fail()

    def _place(self, service: str) -> Place:
        return locate(Place(state_root(self._environ) / safe_name(service), self.name), self._environ)

    def _fail(self) -> None:
        self._said = None
        _log.warning("usagewire: the %s exporter is off: unexpected fault, please report it", self.name, exc_info=True)

    def _hand_over(self, pipeline: Pipeline) -> None:
        for reason, count in self.dropped.take().items():
            pipeline.lose(reason, count)

    def _close(self, *, helper: bool = False) -> None:
        pipeline, self._pipeline, self._ahead = self._pipeline, None, None
        if pipeline is not None:
            self._hand_over(pipeline)
            pipeline.close(helper=helper)
