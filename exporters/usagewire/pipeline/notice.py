"""One line on the terminal, once: that usage data is sent, and how to say no."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence

from usagewire.errors import StateError
from usagewire.pipeline.intake import Intake
from usagewire.state.origin import ci_vendor
from usagewire.state.paths import prepare

FILE = "noticed"
"""Beside consent.json; its being there says that the line was printed."""
_HELP = frozenset({"-h", "--help", "help", "-V", "--version", "--completion"})

_log = logging.getLogger("usagewire")


def told(intakes: Iterable[Intake], text: str, environ: Mapping[str, str], argv: Sequence[str]) -> bool:
    """Print the line where somebody reads it and does not know; whether it was printed. Never raises."""
    stderr = sys.stderr
    try:
        if not stderr.isatty() or environ.get("CI") or ci_vendor(environ) or not _HELP.isdisjoint(argv):
            return False
        for intake in intakes:
            undecided = intake.undecided()
            if undecided is None:
                continue
            place, endpoint = undecided
            service = place.service_dir.name
            # remembered first: better never than at every start
            if not _remember(prepare(place, environ).service_dir / FILE):
                return False
            line = text or (
                f"{service} sends usage data to {endpoint}. To see it: usagewire show --service {service}; "
                f"to say no: usagewire off --service {service}, or DO_NOT_TRACK=1."
            )
            print(" ".join(line.split()), file=stderr, flush=True)
            return True
    except (StateError, OSError, ValueError) as why:  # ValueError: a stderr that was closed
        _log.info("usagewire: no first-run notice: %s", why)
    return False


def _remember(path: os.PathLike[str]) -> bool:
    """Make the file; whether it is new."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    return True
