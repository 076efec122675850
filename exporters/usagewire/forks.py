"""A fork waits while a thread of ours does what must not be cut in half.

A child that is forked in the middle of another thread's import has half a module for ever: its own import of it fails,
or waits for a lock that nobody is left to release. So it is with OpenSSL's locks, which setting up TLS takes. Servers
that preload fork as soon as the program is loaded, which is when our threads load what the first event and the first
request take. And a file that is opened to be locked must be known before a fork, or the child never closes its copy and
keeps the lock alive when the parent is long gone.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import mmap

T = TypeVar("T")
PATIENCE = 5.0
"""Seconds a fork waits at most: whoever forks inside an import of their own may hold what our thread waits for."""

_WIPE_ON_FORK = 18
"""Linux's MADV_WIPEONFORK: a child finds zeros in such memory."""

_loading = threading.RLock()
_process = os.getpid()
_mark: bytes | mmap.mmap | None = bytes(1)
"""Begins with a 1, and in a child with a 0, as it does before anybody has asked; ``None``: cannot be had here."""


def process() -> int:
    """`os.getpid()`, for who asks once per event: by a look at memory, where that is possible, not by a system call.
    True also in a child of which Python was not told: uWSGI forks in C."""
    if not (_mark and _mark[0]):
        _look()
    return _process


def _look() -> None:
    global _mark  # noqa: PLW0603 - one per process
    _notice()
    if _mark is None:
        return
    with held_up():
        import mmap  # takes a millisecond or two
    try:
        page = mmap.mmap(-1, 1, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_WIPE_ON_FORK)
        page[0] = 1
    except (AttributeError, OSError):  # not Linux, or older than 4.14
        _mark = None
    else:
        _mark = page


@contextmanager
def held_up() -> Generator[None]:
    """No fork of this process while this lasts; for what is short and waits for no other thread."""
    _notice()
    with _loading:
        yield


class cached_property(functools.cached_property[T]):
    """Without the lock that all instances share before Python 3.12: a child that is forked while another thread
    computes would wait for it for ever. Two threads may compute the same; it must come out alike."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        super().__init__(compute)
        self.lock = nullcontext()


def _notice() -> None:
    if _process != os.getpid():  # forked past Python's hooks
        _after_in_child()


def _before() -> None:
    _loading.acquire(timeout=PATIENCE)


def _after_in_parent() -> None:
    with suppress(RuntimeError):  # patience was at an end: it is not ours
        _loading.release()


def _after_in_child() -> None:
    global _loading, _process, _mark  # noqa: PLW0603 - whoever held the lock may not have come along
    _loading = threading.RLock()
    _process = os.getpid()
    _mark = _mark and bytes(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
