"""Events through the OpenTelemetry API: a log record with an ``event_name`` (names: docs/instrumentation.md).

Without an SDK everything here is a no-op; no exception leaves this module.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from opentelemetry._logs import Logger, LoggerProvider, get_logger, get_logger_provider

FLUSH_WAIT = 0.05
"""Seconds that `flush` may hold its caller."""

_FLUSHER = "usagewire-flush"
_MAX_FLUSHERS = 4

_log = logging.getLogger(__name__)
_complained: set[str] = set()


def emit_event(
    name: str,
    properties: Mapping[str, Any] | None = None,
    *,
    body: Any = None,
    scope: str | None = None,
    logger_provider: LoggerProvider | None = None,
) -> None:
    """Emit one event called ``name``; ``properties`` become its attributes, ``body`` a structured value beside them.

    ``scope`` names the instrumented product; unset, it is the caller's top-level package (for a script: its file's
    name). ``logger_provider`` defaults to the global one, also when that is set up later.
    """
    try:
        logger = _logger(logger_provider, caller_scope() if scope is None else scope)
        logger.emit(event_name=name, timestamp=time.time_ns(), attributes=properties, body=body)
    except Exception as error:
        complain("event %s was not emitted: %s", name, type(error).__name__)


def flush(logger_provider: LoggerProvider | None = None) -> None:
    """Have the provider hand over now what it holds back for its next batch; waits `FLUSH_WAIT` at most.

    The work goes on in a helper thread for as long as the slowest exporter takes.
    """
    try:
        provider = get_logger_provider() if logger_provider is None else logger_provider
        force_flush = getattr(provider, "force_flush", None)
        # Exporters that hang must not pile up threads; counted by name because a fork leaves no stale count then.
        if force_flush is None or sum(t.name == _FLUSHER for t in threading.enumerate()) >= _MAX_FLUSHERS:
            return
        helper = threading.Thread(target=_quietly, args=(force_flush,), name=_FLUSHER, daemon=True)
        helper.start()
        helper.join(FLUSH_WAIT)
    except RuntimeError:
        # No new threads while the interpreter goes down: the provider's own shutdown is about to flush.
        return
    except Exception as error:
        complain("events were not flushed: %s", type(error).__name__)


def caller_scope() -> str:
    """The scope name of the code that called our caller."""
    frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]  # inspect's public way takes twice the time
    return _scope(frame.f_globals.get("__name__", "__main__"))


def complain(message: str, *arguments: object) -> None:
    """Log ``message % arguments`` once per process. Never raises: what a program hands over may fail to print, and
    log handlers may fail as well."""
    try:
        said = message % arguments
        if said not in _complained and len(_complained) < 100:
            _complained.add(said)
            _log.warning("%s (said once)", said)
    except Exception:  # the only way left to speak has just failed
        return


@lru_cache(maxsize=256)
def _logger(provider: LoggerProvider | None, scope: str) -> Logger:
    # Safe to keep: while no SDK is set up the API hands out proxies, which find it as soon as it is.
    return get_logger(scope, logger_provider=provider)


@lru_cache(maxsize=256)
def _scope(module: str) -> str:
    top = module.partition(".")[0]
    if top != "__main__":
        return top
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).partition(".")[0]
    return Path(getattr(main, "__file__", None) or top).stem


def _quietly(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception as error:
        complain("events were not flushed: %s", type(error).__name__)
