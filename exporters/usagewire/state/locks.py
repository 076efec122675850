"""The one kind of lock we use: flock, taken without waiting, let go by closing (or by dying)."""

from __future__ import annotations

import sys

AVAILABLE = sys.platform != "win32"

if sys.platform == "win32":

    def try_lock(descriptor: int) -> bool:
        """Never reached: `usagewire.state.paths.prepare` refuses first."""
        raise NotImplementedError

else:
    from fcntl import LOCK_EX, LOCK_NB, flock

    def try_lock(descriptor: int) -> bool:
        """Lock an open file for this process alone; False when another has it. Raises `OSError` where there are no
        locks."""
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        return True
