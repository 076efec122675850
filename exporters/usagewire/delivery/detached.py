"""A short-lived helper process that delivers what waits when the program has ended."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from usagewire.delivery import CHILD
from usagewire.state.listing import REPORTS, SIGNALS, folders, names
from usagewire.state.locks import try_lock
from usagewire.state.paths import Place

PAUSE = 60.0
"""Seconds between two helpers of one destination: a command run in a loop starts one, not one each."""
LIFETIME = 60.0
_log = logging.getLogger("usagewire")

_PASSED_ON = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "USAGEWIRE_STATE_DIR",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "DO_NOT_TRACK", "USAGEWIRE_DISABLED",
)  # fmt: skip
"""Where things are, how the network is reached, and who said no. The settings are in destination.json."""
_HOME = Path(__file__).parents[2]
START = (
    "import os, sys, time; os.nice(10); time.sleep(0.25); "
    "sys.path.append(sys.argv.pop(1)); from usagewire.cli import main; main()"
)
"""``nice python -I -m usagewire``, also where ``-I`` would not find it: installed for one user, or beside the program.
Nice and a moment late, because the program is just ending and must not share its processor with what is loaded."""


def spawn(place: Place, *, held: bool = False, neglected: bool = False) -> bool:
    """Start the helper where it can be of use; whether it was started. Never raises, never waits.

    ``held``: this process holds, or is just letting go of, the destination's lock; the helper waits for that.
    ``neglected``: signals wait that somebody should see to (see `usagewire.state.view.neglected`).
    """
    try:
        if CHILD in os.environ or not _is_python() or not (neglected or _something_waits(place)):
            return False
        if not (held or _is_free(place)) or not _due(place):
            return False
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
            [sys.executable, "-I", "-c", START, str(_HOME), *arguments(place)],
            env=_environment(place),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=True,
            start_new_session=True,
        )
    except Exception:  # no memory, no process left, or the interpreter is too far gone for whatever it needs
        _log.info("%s: no helper could be started", place.folder, exc_info=True)
        return False
    try:
        # A host that lives on must not be left with a zombie.
        threading.Thread(target=child.wait, name="usagewire-helper", daemon=True).start()
    except RuntimeError:  # Python 3.12, while the interpreter ends
        child.returncode = 0  # nobody is to be warned that it still runs
    return True


def arguments(place: Place) -> list[str]:
    """The command that delivers what ``place`` holds."""
    return ["send", "--detached", "--service", place.service_dir.name, "--destination", place.name]


def _environment(place: Place) -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed_on, CHILD: "1", "USAGEWIRE_STATE_DIR": str(place.service_dir.parent)}


def _is_python() -> bool:
    name = os.path.basename(sys.executable or "").lower()  # noqa: PTH119
    return not getattr(sys, "frozen", False) and name.startswith(("python", "pypy"))


def _something_waits(place: Place) -> bool:
    """Whether a sealed segment of items or a compiled report is there."""
    for channel in folders(place):
        if not channel.name.endswith(SIGNALS):
            for name in names(channel):
                if name.endswith(".seg") or (channel.name == REPORTS and not name.endswith(".tmp")):
                    return True
    return False


def _is_free(place: Place) -> bool:
    """Whether nobody holds the destination: whoever does sends what waits."""
    try:
        descriptor = os.open(place.lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        return try_lock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _due(place: Place) -> bool:
    """Whether the last helper is long enough ago, and say that this one is starting now."""
    mark = place.folder / "helper"
    with contextlib.suppress(OSError):
        if 0 <= time.time() - mark.stat().st_mtime < PAUSE:
            return False
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        os.utime(mark)
    except OSError:
        return False
    return True
