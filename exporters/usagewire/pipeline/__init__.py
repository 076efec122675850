"""Joins the rooms; one intake per destination and process. Also what a program may say itself: `configure`, `flush`,
`disable`, `first_run_notice`.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from usagewire import formats
from usagewire.pipeline.intake import Intake
from usagewire.pipeline.said import said_no

if TYPE_CHECKING:
    from usagewire.pipeline.destination import Destination

__all__ = ["attach", "configure", "detach", "disable", "first_run_notice", "flush"]

_log = logging.getLogger("usagewire")
_intakes: dict[str, Intake] = {}
_configured: dict[str, Any] = {}
_lock = threading.RLock()


def attach(user: object, name: str, keywords: Mapping[str, Any]) -> Intake:
    """The intake of format ``name`` for the exporter ``user``, shared by the exporters of one destination. An
    exporter whose keywords contradict those of another of the same destination gets one that drops and counts.
    Never raises."""
    with _lock:
        fmt = formats.load(name)
        try:
            made = Intake(fmt, keywords, os.environ, sys.orig_argv)
            shared = _intakes.get(made.name)
            if shared is None:
                _intakes[made.name] = shared = made
                shared.configure(_configured)
            elif not shared.join(keywords, _configured):
                made.refuse(f"{made.name} is configured twice, differently: give one of the exporters a name=")
                return made
            shared.use(user)
        except Exception:  # keywords may be objects of any class
            made = Intake(fmt, {}, os.environ, sys.orig_argv)
            made.refuse(f"unexpected fault with the keywords {', '.join(map(ascii, keywords))}")
            return made
        return shared


def detach(user: object, intake: Intake) -> None:
    """``user`` is done with ``intake``: the last one closes it."""
    with _lock:
        if intake.leave(user) and _intakes.get(intake.name) is intake:
            del _intakes[intake.name]


def configure(
    document: Mapping[str, Any] | None = None,
    *,
    plan: Any = None,
    service: str | None = None,
    default: str | None = None,
) -> None:
    """Say in code what is not said by environment or YAML; applies to every exporter, also those that exist already.

    ``document`` is the product's own configuration as far as it concerns telemetry: ``{"telemetry": {"enable": False,
    "uid-elements": […]}}``. ``plan`` is a tracking plan (path or mapping), ``service`` the name the state is kept
    under, ``default`` what holds while nobody has said on or off: ``off`` for an edition whose telemetry has to be
    switched on, by the document's ``enable`` or by ``usagewire on``. Faults are logged, all in one line; nothing is
    raised.
    """
    from usagewire.pipeline.document import read_document

    said, faults = read_document(document or {})
    if default in (None, "on", "off"):
        said["default"] = default
    else:
        faults.append(f"default={default!r}: not on or off")
    if faults:
        _log.warning("usagewire.configure: %s", "; ".join(faults))
    said |= {"plan": plan, "service": service}
    _configure({name: value for name, value in said.items() if value is not None})


def flush(timeout_millis: int = 10_000) -> bool:
    """Drain OpenTelemetry's processors into the queue and wait for delivery; whether nothing waits any more: it
    arrived, was rejected and counted, or there is no consent to send it. Reports leave when their period ends."""
    until = time.monotonic() + timeout_millis / 1000
    drain(until)
    results = [intake.flush(until) for intake in list(_intakes.values())]  # every one of them, also after a failure
    return all(results)


def drain(until: float) -> None:
    """Have OpenTelemetry's processors hand over what they hold back, before ``until`` (monotonic seconds)."""
    from opentelemetry._logs import get_logger_provider
    from opentelemetry.metrics import get_meter_provider

    for provider in (get_logger_provider(), get_meter_provider()):
        force_flush = getattr(provider, "force_flush", None)  # the SDK's have it, the API's do not
        if force_flush is not None:
            try:
                force_flush(max(1, int((until - time.monotonic()) * 1000)))
            except Exception:
                _log.info("usagewire: %r could not be drained", provider, exc_info=True)


def record(until: float) -> None:
    """Drain OpenTelemetry's processors into the queue, where any process can take it at once: for who is about to look
    or to send."""
    drain(until)
    for intake in list(_intakes.values()):
        intake.seal()


def destinations() -> list[Destination]:
    """Where this program's telemetry goes, also where it has left nothing yet. Creates nothing."""
    found = (intake.destination() for intake in list(_intakes.values()))
    return [destination for destination in found if destination is not None]


def disable() -> None:
    """The program says no, for good: from now on nothing is taken, kept or sent by this process."""
    _configure({"silenced": "usagewire.disable()"})


def silenced() -> str:
    """What in this program said no, for pipelines that are not ours; empty: nothing did."""
    return said_no(_configured)


def first_run_notice(text: str = "") -> bool:
    """Tell whoever sits at the terminal, once per service, that usage data is sent and how to say no; whether it was
    told just now.

    One line on stderr, ``text`` in place of ours. Not told in CI, where stderr is no terminal, with ``--help`` or
    ``--version`` on the command line, where anybody has said on or off already, and where it cannot be remembered.
    To be called when OpenTelemetry is set up; the service's name has to come from the environment or `configure`.
    """
    from usagewire.pipeline.notice import told

    return told(list(_intakes.values()), text, os.environ, sys.argv[1:])


def _configure(said: Mapping[str, Any]) -> None:
    with _lock:
        _configured.update(said)
        for intake in _intakes.values():
            intake.configure(_configured)


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - the inherited one may be held by a thread that did not come along
    _lock = threading.RLock()
    for intake in _intakes.values():
        intake.after_fork()
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _intakes:
        # Children of multiprocessing leave by os._exit, past every atexit: only its own finalizers run, and those
        # registered before this point are cleared.
        util.register_after_fork(_leave_child, _finalize)


def _finalize(registered: object) -> None:
    from multiprocessing.util import Finalize

    Finalize(None, _leave_child, exitpriority=0)


def _leave_child() -> None:
    drain(time.monotonic() + 5)
    for intake in list(_intakes.values()):
        intake.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
