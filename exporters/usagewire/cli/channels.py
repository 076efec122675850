"""``usagewire on`` and ``off`` with ``--channel``: the operator's word on single channels of a destination."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from usagewire import formats
from usagewire.cli.choose import Choice, Found
from usagewire.cli.look import holder
from usagewire.cli.words import bad, good, plural
from usagewire.config import rows
from usagewire.pipeline.destination import Destination
from usagewire.policy.consent import FILE, Channel, read, write
from usagewire.signals import Stance
from usagewire.state import view
from usagewire.state.consumer import Consumer
from usagewire.state.purge import purge

PATIENCE = 10.0
"""Seconds that a running program, which looks about once a second, has to delete its part."""


@dataclass(frozen=True)
class Target:
    """A destination that has channels; ``destination`` is ``None`` before its first run."""

    service_dir: Path
    name: str
    channels: Mapping[str, bool]
    destination: Destination | None

    @property
    def title(self) -> str:
        """How it is called in every output."""
        return f"{self.service_dir.name} · {self.name}"


def switch(choice: Choice, service_dir: Path, found: Sequence[Found], names: Sequence[str], who: str, on: bool) -> None:
    """Store the word, and delete what waits of a channel that is off now. Raises `click.UsageError` for a channel that
    no destination has."""
    targets = _targets(choice, service_dir, found)
    known = sorted({name for target in targets for name in target.channels})
    unknown = [name for name in names if name not in known]
    if unknown:
        there = ", ".join(known) or "none here has any; --format says which one is meant before its first run"
        raise click.BadParameter(f"{', '.join(unknown)}: no such channel; known are: {there}", param_hint="--channel")
    for target in targets:
        for name in names:
            if name in target.channels:
                _say(target, name, who, on)


def _targets(choice: Choice, service_dir: Path, found: Sequence[Found]) -> list[Target]:
    there = [one.destination for one in found if one.destination is not None and choice.means(one)]
    targets = [Target(service_dir, one.place.name, one.channels, one) for one in there if one.channels]
    if targets or choice.format is None:
        return targets
    try:
        row = next(row for row in rows(formats.load(choice.format)) if row.name == "channels")
    except KeyError:
        raise click.BadParameter(f"{choice.format!r} is no format", param_hint="--format") from None
    name = choice.destination or choice.format
    said = {channel: bool(word.on) for channel, word in read(service_dir).channels(name).items()}
    return [Target(service_dir, name, {one: said.get(one, one in (row.default or ())) for one in row.choices}, None)]


def _say(target: Target, name: str, who: str, on: bool) -> None:
    word, stored = good("on") if on else bad("off"), target.service_dir / FILE
    said = read(target.service_dir).channels(target.name).get(name)
    destination = target.destination
    if target.channels[name] == on and (on or said is not None):
        click.echo(f"{target.title}: channel {name} is already {word}")
        if on:
            return
    else:
        channel = Channel(target.name, name)
        write(target.service_dir, on, who, channel=channel, make_room=lambda: _make_room(destination, name))
        click.echo(f"{target.title}: channel {name} {word}, stored in {stored}")
    if destination is None:
        return
    before = view.totals(destination.place).lost["consent"]
    done = _take_back(destination)
    gone = view.totals(destination.place).lost["consent"] - before
    if gone or not on:
        click.echo(f"deleted: {plural(gone, 'item')} {'from before' if on else 'of it'}")
    if not done:
        running = holder(destination.place)
        pid = f"process {running.pid}" if running and running.pid else "its program"
        way_out = f"`kill -CONT {running.pid}`" if running and running.stopped else "it does so when it looks next"
        click.echo(f"{target.title}: {pid} still holds a part, which is not sent any more; {way_out}", err=True)


def begin_anew(destination: Destination, pieces: Sequence[str], who: str) -> None:
    """Let the channels that have got new fields forget what they gathered: those were recorded before the yes."""
    of_field = destination.format.fields(destination.settings)
    grown = {of_field[path] for path in (piece.removeprefix("field ") for piece in pieces) if path in of_field}
    active = destination.under(destination.consent({}).stance()).channels
    again = [name for name in sorted(grown) if active.get(name)]
    for name in again:
        write(destination.place.service_dir, True, who, channel=Channel(destination.place.name, name))
    if again:
        _take_back(destination)


def _make_room(destination: Destination | None, channel: str) -> None:
    if destination is not None:
        stance = destination.consent({}).stance()
        without = stance._replace(channels={**stance.channels, channel: Stance(on=False, epoch="")})
        purge(destination.place, lambda: without)


def _take_back(destination: Destination) -> bool:
    """Have what was gathered under another word deleted, here or by the program that runs; whether that is done."""
    place, stance = destination.place, destination.consent({}).stance
    purge(place, stance)
    consumer = Consumer(place, stance, destination.limits())
    ours = place.folder.stat().st_uid == os.geteuid()  # what root wrote there its program could not read
    until = time.monotonic() + PATIENCE
    while stance().on:
        if ours and consumer.acquire():
            try:
                consumer.refresh()
            finally:
                consumer.release()
            return True
        ledger = view.read_ledger(place, stance().epoch)
        if ledger is None or ledger.under(stance()):
            return True
        if time.monotonic() > until or not (ours or holder(place)):
            return False
        time.sleep(0.05)
    return True
