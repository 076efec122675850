"""A fork waits while a thread of ours loads modules.

A child that is forked in the middle of another thread's import has half a module for ever: its own import of it fails,
or waits for a lock that nobody is left to release. So it is with OpenSSL's locks, which setting up TLS takes. Servers
that preload fork as soon as the program is loaded, which is when our threads load what the first event and the first
request take.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

PATIENCE = 5.0
"""Seconds a fork waits at most: whoever forks inside an import of their own may hold what our thread waits for."""

_loading = threading.RLock()


@contextmanager
def held_up() -> Generator[None]:
    """No fork of this process while this lasts; for what is short, loads modules, and waits for no other thread."""
    with _loading:
        yield


def _before() -> None:
    _loading.acquire(timeout=PATIENCE)


def _after_in_parent() -> None:
    with suppress(RuntimeError):  # patience was at an end: it is not ours
        _loading.release()


def _after_in_child() -> None:
    global _loading  # noqa: PLW0603 - whoever held it may not have come along
    _loading = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
