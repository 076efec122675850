"""When a component of the product starts and stops: ``usage.component.start`` and ``usage.component.stop``."""

from __future__ import annotations

import atexit
import inspect
import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from opentelemetry._logs import LoggerProvider, get_logger_provider

from usagewire_instrumentation.events import caller_scope, complain, emit_event, flush

if TYPE_CHECKING:
    from typing_extensions import Self

F = TypeVar("F", bound=Callable[..., Any])

VARIABLE = "USAGEWIRE_LIFECYCLE"
"""Environment variable: name of the component that the whole program is."""


class Lifecycle:
    """One component of the product, as the product writes its name (``server``, ``Flow``).

    A context manager, a decorator for plain and ``async`` functions (each call is a run of its own), or a pair of
    `start` and `stop`. Both are idempotent and a stopped lifecycle may be started again. ``version`` is the
    component's; further keyword arguments become attributes of both events. ``scope`` and ``logger_provider`` as in
    `emit_event`.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str | None = None,
        scope: str | None = None,
        logger_provider: LoggerProvider | None = None,
        **attributes: Any,
    ) -> None:
        self._attributes: dict[str, Any] = {"usage.component.name": name}
        if version is not None:
            self._attributes["usage.component.version"] = version
        self._attributes.update(attributes)
        self._scope = caller_scope() if scope is None else scope
        self._provider = logger_provider
        # Process id → monotonic seconds of its start. A forked child finds no start of its own and so cannot emit its
        # parent's stop; setdefault and pop are atomic, where a lock could be held by another thread at the fork.
        self._since: dict[int, float] = {}

    def start(self) -> Self:
        """Emit ``usage.component.start``, unless this process has started it already."""
        now = time.monotonic()
        if self._since.setdefault(os.getpid(), now) is now:
            self._emit("usage.component.start", self._attributes)
        return self

    def stop(self, error: BaseException | None = None) -> None:
        """Emit ``usage.component.stop`` with its duration, and ``error``'s type; nothing unless started here.

        Has the event handed over at once, since a stopping component often is a stopping program (50 ms at most).
        """
        since = self._since.pop(os.getpid(), None)
        if since is None:
            return
        attributes = {**self._attributes, "usage.component.duration": time.monotonic() - since}
        if error is not None:
            attributes["error.type"] = qualified(type(error))
        self._emit("usage.component.stop", attributes)
        flush(self._provider)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(failure(error))

    def __call__(self, function: F) -> F:
        """``function``, with a start before and a stop after every call."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            name = qualified(function)
            complain("generator function %s is not followed: use `with Lifecycle(...)` inside it", name)
            return function
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return cast("F", run_async)

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return cast("F", run)

    def _again(self) -> Self:
        # copy.copy() would cost more than everything else in a call.
        run = object.__new__(type(self))
        run.__dict__.update(self.__dict__, _since={})
        return run

    def _emit(self, event: str, attributes: dict[str, Any]) -> None:
        emit_event(event, attributes, scope=self._scope, logger_provider=self._provider)


def post_instrument() -> None:
    """Entry point of ``opentelemetry-instrument``: ``USAGEWIRE_LIFECYCLE=<component>`` makes the program a component.

    Start is emitted now, stop at exit; the version is the resource's ``service.version``.
    """
    # Taken out of the environment: this program is the component, the Python processes it starts are not.
    component = os.environ.pop(VARIABLE, "").strip()
    if not component:
        return
    try:
        resource = getattr(get_logger_provider(), "resource", None)
        version = getattr(resource, "attributes", {}).get("service.version")
        lifecycle = Lifecycle(component, version=version, scope=component).start()
        # Exit handlers run newest first: this one is younger than the provider's shutdown, so the stop gets through.
        atexit.register(_stop_at_exit, lifecycle)
    except Exception as error:
        complain("%s=%s was not followed: %s", VARIABLE, component, type(error).__name__)


def _stop_at_exit(lifecycle: Lifecycle) -> None:
    lifecycle.stop(failure(getattr(sys, "last_value", None)))


def failure(error: BaseException | None) -> Exception | None:
    """``error`` if it is one: Ctrl-C, sys.exit() and a cancelled task are ways to stop."""
    return error if isinstance(error, Exception) else None


def qualified(thing: Any) -> str:
    """``ValueError``, ``ferry.Refused``: qualified, except for built-in names."""
    return thing.__qualname__ if thing.__module__ == "builtins" else f"{thing.__module__}.{thing.__qualname__}"
