"""Where things are on disk, and whether the place can be trusted.

<service>/consent.json identity.json
<service>/<destination>/lock destination.json config.json accepted.json totals.json reserve <epoch>-ledger-<serial>
<service>/<destination>/queue/<channel>/<epoch>-<time>-<token>-<n>.tmp → .open → .seg
<service>/<destination>/queue/reports/<epoch>-r<number>-<nonce>
<service>/<destination>/sent/ rejected/ corrupt/
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from usagewire import forks
from usagewire.errors import StateError
from usagewire.state.files import make_folder
from usagewire.state.locks import AVAILABLE, try_lock

LONGEST = 64
NETWORK = frozenset(
    ("9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
     "nfs4", "ocfs2", "orangefs", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs")
)  # fmt: skip
"""File systems whose locks, links or renames may lie between machines; so may anything in user space (``fuse…``)."""


def state_root(environ: Mapping[str, str]) -> Path:
    """Where every service's folder is: ``USAGEWIRE_STATE_DIR`` itself, else the user's state folder."""
    chosen = environ.get("USAGEWIRE_STATE_DIR", "").strip()
    if chosen:
        return Path(chosen).expanduser()
    with forks.held_up():
        import platformdirs  # not needed where a folder was chosen

    return platformdirs.user_state_path("usagewire")


def safe_name(text: str) -> str:
    """``text`` as a file name: 1 to 64 of ``A-Za-z0-9._-``, no leading dot, and a short hash where it was altered, so
    that two names stay two."""
    clean = re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".")[:LONGEST]
    if clean == text:
        return clean or "_"
    return f"{clean[: LONGEST - 9]}-{_digest(text.encode('utf-8', 'surrogatepass'))}"


def _digest(name: bytes) -> str:
    import hashlib  # loads OpenSSL, which takes milliseconds and is seldom needed

    return hashlib.sha256(name).hexdigest()[:8]


class Place(NamedTuple):
    """One destination's folder, and the service folder above it."""

    service_dir: Path
    name: str
    elsewhere: Path | None = None
    """Stands in for ``service_dir`` above `folder` where the state folder is on a network; consent and identity are
    never moved: they need no locks, and must not be forgotten with a temporary folder."""

    @property
    def folder(self) -> Path:
        """Everything of this destination."""
        return (self.elsewhere or self.service_dir) / self.name

    @property
    def lock(self) -> Path:
        """Locked by the one process that consumes."""
        return self.folder / "lock"

    @property
    def queue(self) -> Path:
        """One folder per channel, and `reports`."""
        return self.folder / "queue"

    @property
    def reports(self) -> Path:
        """Compiled reports that wait."""
        return self.queue / "reports"

    @property
    def sent(self) -> Path:
        """A copy of each request."""
        return self.folder / "sent"

    @property
    def rejected(self) -> Path:
        """What an endpoint will never take."""
        return self.folder / "rejected"

    @property
    def corrupt(self) -> Path:
        """What could not be read."""
        return self.folder / "corrupt"

    @property
    def destination_json(self) -> Path:
        """Resolved settings and the last origin."""
        return self.folder / "destination.json"

    @property
    def config_json(self) -> Path:
        """What ``usagewire config set`` stored."""
        return self.folder / "config.json"

    @property
    def accepted_json(self) -> Path:
        """What it collected when the operator said yes."""
        return self.folder / "accepted.json"

    @property
    def totals_json(self) -> Path:
        """The ledger's totals, which outlive it."""
        return self.folder / "totals.json"

    @property
    def reserve(self) -> Path:
        """Room given back on a full disk, so that the ledger can go on."""
        return self.folder / "reserve"

    @property
    def consent_json(self) -> Path:
        """What the operator said."""
        return self.service_dir / "consent.json"

    @property
    def identity_json(self) -> Path:
        """The installation's random id."""
        return self.service_dir / "identity.json"


# -- making sure ----------------------------------------------------------------------------------------------------


def locate(place: Place, environ: Mapping[str, str], mounts: str | None = None) -> Place:
    """``place`` itself, or with its queue on a local disk where ``place`` is on a network or FUSE file system.

    Reads only. ``mounts`` is the text of ``/proc/self/mountinfo``.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
        except OSError:  # not Linux
            return place
    if not _is_remote(place.service_dir, mounts):
        return place
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    local = Path(runtime) if runtime and not _is_remote(Path(runtime), mounts) else Path("/var/tmp")  # noqa: S108
    # The path's hash: the same service below two state folders stays two.
    name = f"{place.service_dir.name}-{_digest(os.fsencode(place.service_dir))}"
    return place._replace(elsewhere=local / f"usagewire-{os.geteuid()}" / name)


def prepare(place: Place, environ: Mapping[str, str]) -> Place:
    """Create and check the folders; returns where the queue really is (`locate`).

    Raises `StateError`, saying what is wrong and the way out, when no safe folder can be had.
    """
    if not AVAILABLE:
        raise StateError("this system has no file locks (flock)")
    if not place.service_dir.is_absolute():
        why = "not an absolute path" if environ.get("USAGEWIRE_STATE_DIR", "").strip() else "no home folder is known"
        raise StateError(f"{place.service_dir}: {why}; set USAGEWIRE_STATE_DIR to an absolute path")
    place = locate(place, environ)
    ours = [place.service_dir]
    if place.elsewhere is not None:
        ours += [place.elsewhere.parent, place.elsewhere]
    ours += [place.folder, place.queue]
    root = place.service_dir.parent
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        make_folder(root)
        if root.stat().st_mode & (0o002 | stat.S_ISVTX) == 0o002:
            raise StateError(f"{root}: anybody may replace what is in it; run: chmod o-w {root}")
        for folder in ours:
            make_folder(folder)
            _check(folder)
        _try_lock(place.folder)
    except OSError as why:
        raise StateError(f"{why.filename or place.folder}: {why.strerror}; set USAGEWIRE_STATE_DIR to a folder that "
                         "this user can write to") from why  # fmt: skip
    return place


def _check(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise StateError(f"{folder}: not a folder (links are not followed); remove it or set USAGEWIRE_STATE_DIR")
    if found.st_uid != os.geteuid():
        raise StateError(f"{folder}: belongs to user {found.st_uid}, not to {os.geteuid()}; set USAGEWIRE_STATE_DIR")
    if found.st_mode & 0o022:
        raise StateError(f"{folder}: others may write to it; run: chmod 700 {folder}")
    if found.st_mode & 0o055:
        folder.chmod(0o700)


def _try_lock(folder: Path) -> None:
    probe = folder / f".{os.urandom(8).hex()}.tmp"
    descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try_lock(descriptor)
    except OSError as why:
        raise StateError(f"{folder}: files cannot be locked here ({why.strerror}); set USAGEWIRE_STATE_DIR") from why
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


def _is_remote(path: Path, mounts: str) -> bool:
    real, longest, kind = os.path.realpath(path), "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        try:
            point, kind_here = _unescape(fields[4]), fields[fields.index("-") + 1]
        except (IndexError, ValueError):
            continue
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(longest):  # of two mounts on one point the later hides the earlier
            longest, kind = point, kind_here
    return kind in NETWORK or kind.startswith("fuse")


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


# -- finding --------------------------------------------------------------------------------------------------------


def services(root: Path) -> list[str]:
    """Names of the services that have a folder below ``root``."""
    return _folders(root)


def destinations(service_dir: Path) -> list[str]:
    """Names of the destinations of one service."""
    return [name for name in _folders(service_dir) if (service_dir / name / "destination.json").exists()]


def _folders(parent: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
