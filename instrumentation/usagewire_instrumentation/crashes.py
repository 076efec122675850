"""Crashes: ``usage.crash``, with where in the code it was, and nothing of what was said or held there.

No exception's message, no value of a variable and no path of a file is in it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import uuid
from collections import deque
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import LoggerProvider

from usagewire_instrumentation.events import caller_scope, complain, emit_event, flush
from usagewire_instrumentation.fatal import FatalLog
from usagewire_instrumentation.lifecycle import failure, qualified

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_CRASHES = 100
"""Reported by one process. One that fails all the time has said enough by then."""
MOST_FRAMES = 100
"""Of one crash, the innermost."""

Hook = tuple[ModuleType, str]
UNCAUGHT, IN_THREAD, UNRAISABLE = (sys, "excepthook"), (threading, "excepthook"), (sys, "unraisablehook")


class CrashReporter:
    """Reports exceptions that nobody catches: of the program, its threads, asyncio's tasks and callbacks, and where an
    exception cannot be raised at all (``__del__``). What happens to them otherwise does not change.

    ``entity`` says which daemon this is, type and name: ``osd.7``, ``server.alpha``; formats anonymise the name.
    ``fatal_log``: a file of this program's own, into which `faulthandler` writes the stack when a signal such as
    SIGSEGV ends the process; the next `install` reports what it finds there. ``component`` and ``version`` become
    ``usage.component.name`` and ``.version``. ``scope`` and ``logger_provider`` as in `emit_event`.
    """

    def __init__(
        self,
        entity: str,
        *,
        component: str | None = None,
        version: str | None = None,
        fatal_log: str | os.PathLike[str] | None = None,
        scope: str | None = None,
        logger_provider: LoggerProvider | None = None,
    ) -> None:
        said = {
            "usage.crash.entity": entity,
            "usage.component.name": component,
            "usage.component.version": version,
            "process.executable.name": _program(),
        }
        self._attributes = {name: value for name, value in said.items() if value is not None}
        self._scope = caller_scope() if scope is None else scope
        self._provider = logger_provider
        self._fatal = FatalLog(fatal_log) if fatal_log is not None else None
        self._left = MOST_CRASHES
        self._active = False
        self._hooks: dict[Hook, Any] = {
            UNCAUGHT: self._uncaught,
            IN_THREAD: self._in_thread,
            UNRAISABLE: self._unraisable,
        }
        self._before: dict[Hook, Any] = {}
        """What was hooked in before, where we are."""

    def install(self) -> Self:
        """Begin. Whatever was hooked in before is called as before. To be called once the SDK is set up: a fatal
        signal of the last run is reported now."""
        if self._active:
            return self
        self._active = True
        for place, ours in self._hooks.items():
            if place not in self._before:
                self._before[place] = getattr(*place)
                setattr(*place, ours)
        # asyncio tells its own logger, whichever event loop it is; a filter sees each record and changes nothing.
        logging.getLogger("asyncio").addFilter(self._in_loop)
        if self._fatal is not None:
            self._fatal.begin(self._died)
        return self

    def uninstall(self) -> None:
        """End. Where another hook came on top of ours, ours stays below it and only passes on."""
        if not self._active:
            return
        self._active = False
        for place, ours in self._hooks.items():
            if getattr(*place) == ours:
                setattr(*place, self._before.pop(place))
        logging.getLogger("asyncio").removeFilter(self._in_loop)
        if self._fatal is not None:
            self._fatal.end()

    def report(self, error: BaseException) -> None:
        """Report an exception that the program has caught, and goes down with. Handed over at once (50 ms at most)."""
        self._take(error, error.__traceback__)

    # -- hooks --------------------------------------------------------------------------------------------------

    def _uncaught(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if self._active:
            self._take(error, traceback)
        self._before[UNCAUGHT](kind, error, traceback)

    def _in_thread(self, about: threading.ExceptHookArgs, /) -> None:
        if self._active:
            self._take(about.exc_value, about.exc_traceback)
        self._before[IN_THREAD](about)

    def _unraisable(self, about: sys.UnraisableHookArgs, /) -> None:
        if self._active:
            # The interpreter may be anywhere, also inside a lock of the exporter's: another thread has to emit it.
            self._take(about.exc_value, about.exc_traceback, aside=True)
        self._before[UNRAISABLE](about)

    def _in_loop(self, record: logging.LogRecord) -> bool:
        about = record.exc_info
        if record.levelno >= logging.ERROR and isinstance(about, tuple):
            self._take(about[1], about[2], aside=True)  # the event loop does not wait
        return True

    # -- events -------------------------------------------------------------------------------------------------

    def _take(self, error: BaseException | None, traceback: TracebackType | None, *, aside: bool = False) -> None:
        """Report ``error``, unless it is a way to stop. Never raises: the program is in trouble already."""
        try:
            wrong = failure(error)
            if wrong is None or not self._may():
                return
            crash = {"exception.type": qualified(type(wrong)), "usage.crash.frames": frames(traceback)}
            crash["usage.crash.id"] = crash_id(datetime.now(timezone.utc), uuid.uuid4())
            if aside:
                threading.Thread(target=self._emit, args=(crash,), name="usagewire-crash", daemon=True).start()
            else:
                self._emit(crash)
        except Exception as fault:
            complain("a crash was not reported: %s", type(fault).__name__)

    def _died(self, kind: str, stack: list[str], time: datetime, drawn: uuid.UUID) -> None:
        """A fatal signal ended an earlier run."""
        if self._may():
            said = {"exception.type": kind, "usage.crash.frames": stack[-MOST_FRAMES:]}
            self._emit({**said, "usage.crash.id": crash_id(time, drawn)})

    def _may(self) -> bool:
        self._left -= 1
        if self._left < 0:
            complain("%d crashes of this process were reported, no more are", MOST_CRASHES)
        return self._left >= 0

    def _emit(self, crash: dict[str, Any]) -> None:
        attributes = {**self._attributes, **crash}
        emit_event("usage.crash", attributes, scope=self._scope, logger_provider=self._provider)
        flush(self._provider)


def frames(traceback: TracebackType | None) -> list[str]:
    """``module:function:line`` of each frame, the innermost last."""
    found: deque[str] = deque(maxlen=MOST_FRAMES)
    while traceback is not None:
        code = traceback.tb_frame.f_code
        module = traceback.tb_frame.f_globals.get("__name__", "?")
        function = getattr(code, "co_qualname", code.co_name)  # Python 3.11 and newer
        found.append(f"{module}:{function}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return list(found)


def crash_id(time: datetime, drawn: uuid.UUID) -> str:
    """``2026-11-21T09:17:31.751323Z_<uuid>``; ``time`` in UTC."""
    return f"{time.replace(tzinfo=None).isoformat(timespec='microseconds')}Z_{drawn}"


def _program() -> str:
    """The name of the program's file, without its folder."""
    name = Path(sys.argv[0]).name if sys.argv else ""
    return name if name not in ("", "-c", "-m", "__main__.py") else Path(sys.executable).name
