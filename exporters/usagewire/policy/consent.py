"""Whether data may leave, and who said so.

Any off, from any source, is off; else any on is on; else the default (DESIGN §5). The sources, in the order in which
they are named:

1. ``DO_NOT_TRACK``
2. ``OTEL_SDK_DISABLED=true``, ``USAGEWIRE_DISABLED``
3. the product's own switches, and `Consent.disable`
4. the administrator's ``/etc/usagewire/consent.json``
5. the operator's ``consent.json``, written by ``usagewire on`` and ``usagewire off``
6. the default of the tracking plan or of the format

Only 4 and 5 can say on: a yes is a deliberate act that is written down, never something inherited from a parent
process. For a format whose document demands a licence, it is a yes only if the licence was accepted with it, and no
default is. Single channels are switched by the operator alone, and only while all of this says on.

A file that is there and cannot be trusted (empty, damaged, a newer version, somebody else's) is off, loudly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from usagewire.policy.stored import FILE, SILENCE, File, Word, read
from usagewire.policy.storing import Channel, write
from usagewire.signals import Stance, Switch

__all__ = ["ADMINISTRATOR", "FILE", "Channel", "Consent", "Decision", "read", "write"]

ADMINISTRATOR = Path("/etc/usagewire/consent.json")

_UNSET = frozenset({"", "0", "false"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


class Decision(NamedTuple):
    """The outcome, and who decided."""

    on: bool
    by: str
    """A variable, a flag, a call, a file's path, or ``default``: the first that said what was decided."""
    detail: str
    """A sentence for people."""
    erases: bool
    """The operator or the administrator said off: what waits is unlinked. Off for any other reason silences this
    process only, and what waits stays where it is: purge only if ``on or erases``."""
    epoch: str
    """Changes with every stored or administrator's change of mind; see `usagewire.signals.Stance`."""
    since: int | None
    """When the operator or the administrator said on, if one did; nothing from before is sent."""
    license: str = ""
    """The licence that a yes has to accept; empty: none."""
    term: str = ""
    """The epoch of the operator's yes, if there is one: what was accepted with it holds for as long."""


class Consent:
    """Consent as one process sees it. Environment and command line are read once, the two files whenever they
    change: `decide` costs two `os.stat`. Holds no lock and no descriptor, so threads and forks are safe."""

    def __init__(
        self,
        service_dir: Path,
        switches: Iterable[Switch],
        default_on: bool,
        environ: Mapping[str, str],
        argv: Sequence[str],
        admin_path: Path | None = None,
        default_by: str = "default",
        *,
        destination: str = "",
        license: str = "",
    ) -> None:
        """``argv`` is `sys.orig_argv`, for exporters exist before the program parses its arguments. ``destination``:
        whose channels are asked about; ``license``: what its format demands."""
        self._said = (*_environment(environ), *_switches(switches, environ, argv))
        # configuration tools and container mounts make links below /etc; in the state folder nobody has cause to
        self._admin = File(admin_path or ADMINISTRATOR, follow=True)
        self._stored = File(service_dir / FILE, follow=False)
        self._destination, self._license = destination, license
        default_on = default_on and not license
        detail = f"nobody has said anything; the default is {'on' if default_on else 'off'}"
        self._default = Word(default_on, default_by, detail)
        self._known = self._judge(self._said, SILENCE, SILENCE)

    def decide(self) -> Decision:
        """Consent at this instant."""
        return self._now()[3]

    def stance(self) -> Stance:
        """The same, as far as the state on disk needs to know it."""
        return self._now()[4]

    def disable(self, by: str = "usagewire.disable()") -> None:
        """Silence this process for good. ``by`` names what in the program's code or configuration did so."""
        self._said = (*self._said, Word(False, by, f"{by} in this program"))

    def _now(self) -> _Known:
        said, admin, stored = self._said, self._admin.word(), self._stored.word()
        known = self._known
        if known[0] is not said or known[1] is not admin or known[2] is not stored:
            known = self._known = self._judge(said, admin, stored)
        return known

    def _judge(self, said: tuple[Word, ...], admin: Word, stored: Word) -> _Known:
        words = (*said, admin, stored)
        off = next((word for word in words if word.on is False), None)
        first = off or next((word for word in words if word.on and self._covers(word)), None) or self._otherwise(words)
        # both files' epochs: whoever of the two changes their mind, what was collected before is purged
        epoch = (stored.epoch or "0") + admin.epoch
        decision = Decision(
            on=bool(first.on),
            by=first.by,
            detail=first.detail,
            erases=any(word.erases for word in words),
            epoch=epoch,
            since=max((word.since for word in words if word.on and word.since), default=None),
            license=self._license,
            term=stored.epoch if stored.on else "",
        )
        since = decision.since or 0
        channels = {
            name: Stance(bool(word.on), f"{epoch}_{word.epoch}", since=max(since, word.since or 0))
            for name, word in stored.channels(self._destination).items()
        }
        return said, admin, stored, decision, Stance(decision.on, epoch, decision.erases, channels, since)

    def _covers(self, word: Word) -> bool:
        return not self._license or self._license in word.licenses

    def _otherwise(self, words: tuple[Word, ...]) -> Word:
        """The default; or a yes that does not count, for it says nothing of the licence."""
        yes = next((word for word in words if word.on), None)
        if yes is None:
            return self._default
        return replace(yes, on=False, detail=f"{yes.detail}, without the licence {self._license}")


_Known = tuple[tuple[Word, ...], Word, Word, Decision, Stance]


def _environment(environ: Mapping[str, str]) -> Iterable[Word]:
    for name in ("DO_NOT_TRACK", "OTEL_SDK_DISABLED", "USAGEWIRE_DISABLED"):
        value = environ.get(name, "").strip().lower()
        if value == "true" if name == "OTEL_SDK_DISABLED" else value not in _UNSET:
            yield Word(False, name, f"{name}={environ[name]} in the environment")


def _switches(switches: Iterable[Switch], environ: Mapping[str, str], argv: Sequence[str]) -> Iterable[Word]:
    for switch in switches:
        name, value = switch.name, environ.get(switch.name)
        if switch.kind == "flag":
            said = [word for word in argv if word == name or word.startswith(f"{name}=")]
            if any(word.partition("=")[2].strip().lower() not in _FALSE for word in said):
                yield Word(False, name, f"{name} on the command line")
        elif value is not None and (switch.kind == "present" or value.strip().lower() in _FALSE):
            yield Word(False, name, f"{name}={value} in the environment")
