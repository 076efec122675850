"""Kill `usagewire off --channel` at every boundary of every system call: the channel is gone in the end, the rest is
whole."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.left import Left, leave
from tests.support.state import in_memory
from tests.support.storage import Faults
from usagewire.cli.channels import switch
from usagewire.cli.choose import Choice, find
from usagewire.policy.consent import read, write
from usagewire.signals import Event
from usagewire.state import ledger as ledgers
from usagewire.state import view

pytestmark = pytest.mark.slow

TRIALS = 100_000 if os.environ.get("USAGEWIRE_FAULTS") == "long" else 40


@pytest.fixture
def base() -> Iterator[Path]:
    """Room for one cluster after the other."""
    with in_memory() as folder:
        yield folder / "state"


def event(name: str, number: int, **attributes: object) -> Event:
    """An event whose attributes and body tell it apart."""
    return Event(name, time.time_ns(), f"{number:032x}", attributes, {"mode": f"kept{number}", "temperature": number})


def furnish(base: Path) -> Left:
    """A report that waits, a ledger with more, segments of every kind, and a segment whose owner died."""
    shutil.rmtree(base, ignore_errors=True)
    write(base / "cluster", True, "test", license="sharing-1-0")
    left = leave(base, service="cluster", name="stone")
    for number in range(3):
        left.keep(
            event("usage.crash", number, **{"usage.crash.frames": [f"secret{number}:run:1"]}),
            event("usage.state", number, **{"usage.state.section": "balancer"}),
            event("usage.device", number, **{"usage.device.id": f"a_{number}", "usage.device.host": "h"}),
        )
        if number < 2:
            left.consume(3, report=number == 0)
    writer = left.writer()
    left.keep(event("usage.crash", 7, **{"usage.crash.frames": ["secret7:run:1"]}), writer=writer)
    writer.after_fork()  # as if it had died
    return left


def off(base: Path) -> None:
    """What the command does, without its words."""
    switch(Choice(service="cluster"), base / "cluster", find(base / "cluster"), ["crash"], "test", on=False)


def killed(base: Path, at: int) -> bool:
    """Run `off` in a child that dies at boundary ``at``; whether it died."""
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            Faults(at=at).install()
            off(base)
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def passed(base: Path) -> int:
    """How many boundaries an undisturbed `off` passes."""
    furnish(base)
    low, high = 1, 1 << 14
    while low < high:
        middle = (low + high) // 2
        furnish(base)
        low, high = (middle + 1, high) if killed(base, middle) else (low, middle)
    return low - 1


def holding(left: Left, word: bytes) -> list[str]:
    """Files in which ``word`` stands."""
    files = [path for path in left.place.folder.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if word in path.read_bytes())


@pytest.mark.parametrize("newest_damaged", [False, True], ids=["whole", "newest ledger damaged"])
def test_off_for_a_channel_killed_anywhere(base: Path, newest_damaged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said or not said; once it is said, the next look leaves nothing of the channel and everything of the others."""
    monkeypatch.setenv("USAGEWIRE_STATE_DIR", str(base))
    boundaries = passed(base)
    assert boundaries > 60
    held: Counter[str] = Counter()
    said = 0
    for at in range(1, boundaries + 1, max(1, boundaries // TRIALS)):
        left = furnish(base)
        held["not killed"] += not killed(base, at)
        if not read(base / "cluster").channels("stone"):
            held["gone though nothing was said"] += not holding(left, b"secret1")
            continue
        said += 1
        if newest_damaged:
            damage(left)
        left.consume(3)
        held["left of the channel"] += len([name for name in holding(left, b"secret") if not name.endswith(".json")])
        stance = left.destination.consent({}).stance()
        items = [entry.data for entry in view.peek(left.place, stance)]
        held["disks missing"] += 3 - sum(item.startswith(b'{"device"') for item in items)
        held["reports missing"] += 1 - sum(b'"mode":"kept0"' in item and b'"crash' not in item for item in items)
        period = view.preview(left.place, stance)
        states = [one.body["mode"] for one in period.events] if period is not None else []
        held["states missing or doubled"] += states != ["kept1", "kept2"]
        held["counted too often"] += max(0, view.totals(left.place).lost["consent"] - 4)

    assert Counter() == +held
    assert said > 10


def damage(left: Left) -> None:
    """Flip a byte in the newest version of the ledger, where there is one before it."""
    epoch = left.destination.consent({}).stance().epoch
    serials = ledgers.versions(left.place, epoch)
    if len(serials) > 1:
        path = left.place.folder / f"{epoch}-ledger-{serials[-1]}"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
