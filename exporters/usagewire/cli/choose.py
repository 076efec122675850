"""Which services and destinations a command is about."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from usagewire.errors import StateError
from usagewire.pipeline import destinations
from usagewire.pipeline.destination import Destination, recall
from usagewire.state.paths import Place, locate, safe_name, services, state_root

_OPTIONS = {
    "service": "Only this service; the name is the program's OTEL_SERVICE_NAME.",
    "format": "Only destinations of this format.",
    "destination": "Only this destination, where a format has several; `usagewire status` names them.",
}


def choosing(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options ``--service``, ``--format`` and ``--destination``, as far as named."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            option = click.option(f"--{name}", metavar="NAME", callback=_inherited, help=_OPTIONS[name])
            function = option(function)
        return function

    return decorate


def _inherited(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """What was said before the command's name counts where nothing is said after it."""
    while value is None and ctx.parent is not None:
        ctx = ctx.parent
        # a product's own command, below which ours are mounted, may have a --format that is none of our business
        ours = any(one.name == parameter.name and one.callback is _inherited for one in ctx.command.params)
        value = ctx.params.get(str(parameter.name)) if ours else None
    return value


@dataclass(frozen=True)
class Found:
    """A destination on disk; ``destination`` is ``None`` where it cannot be read, and ``fault`` then says why."""

    place: Place
    destination: Destination | None
    fault: str = ""

    @property
    def title(self) -> str:
        """How it is called in every output."""
        return f"{self.place.service_dir.name} · {self.place.name}"


@dataclass(frozen=True)
class Choice:
    """What the options narrow it down to."""

    service: str | None = None
    format: str | None = None
    destination: str | None = None

    @property
    def root(self) -> Path:
        """The state folder."""
        return state_root(os.environ)

    def services(self) -> list[Path]:
        """Folders of the services that are meant. A service that is named and not there is a usage error."""
        known = sorted({*services(self.root), *(one.place.service_dir.name for one in destinations())})
        if self.service is None:
            return [self.root / name for name in known]
        name = safe_name(self.service)
        if name not in known:
            raise click.BadParameter(
                f"{self.service!r} has nothing in {self.root}; {self._known(known)}", param_hint="--service"
            )
        return [self.root / name]

    def one_service(self, *, create: bool = False) -> Path:
        """The folder of the one service that is meant; several, or none, is a usage error.

        ``create``: a service that is named need not have a folder yet.
        """
        if create and self.service is not None:
            return self.root / safe_name(self.service)
        found = self.services()
        if len(found) != 1:
            names = [folder.name for folder in found]
            raise click.UsageError(f"which service? say --service NAME; {self._known(names)}")
        return found[0]

    def found(self) -> list[Found]:
        """Destinations that are meant; naming one that is not there is a usage error."""
        known = [found for folder in self.services() for found in find(folder)]
        meant = [found for found in known if self.means(found)]
        if not meant and (self.format is not None or self.destination is not None):
            option = "--format" if self.format is not None else "--destination"
            names = sorted({(_format_of(one) if option == "--format" else one.place.name) for one in known})
            value = self.format if self.format is not None else self.destination
            raise click.BadParameter(f"{value!r} has nothing in {self.root}; {self._known(names)}", param_hint=option)
        return meant

    def means(self, found: Found) -> bool:
        """Whether ``--format`` and ``--destination`` leave it in."""
        of_format = self.format is None or _format_of(found) == self.format
        return of_format and (self.destination is None or found.place.name == self.destination)

    def one(self) -> Destination:
        """The one destination that is meant; several, or none, is a usage error, an unreadable one a `StateError`."""
        found = self.found()
        if len(found) != 1:
            ways = [f"--service {one.place.service_dir.name} --destination {one.place.name}" for one in found]
            raise click.UsageError(f"which destination? {self._known(ways)}")
        if found[0].destination is None:
            raise StateError(found[0].fault)
        return found[0].destination

    def _known(self, names: list[str]) -> str:
        return f"there are: {', '.join(names)}" if names else f"no program has left anything in {self.root} yet"


def find(service_dir: Path) -> list[Found]:
    """Every destination of one service, readable or not."""
    found: list[Found] = []
    for place in places(service_dir):
        if place.destination_json.exists():
            try:
                found.append(Found(place, recall(place, os.environ)))
            except StateError as fault:
                found.append(Found(place, None, str(fault)))
    # of the program that we are mounted in, if we are
    there = {one.place.folder for one in found}
    here = [one for one in destinations() if one.place.service_dir == service_dir and one.place.folder not in there]
    return [*found, *(Found(one.place, one) for one in here)]


def places(service_dir: Path) -> list[Place]:
    """The folder of every destination, also where a program died before it had described itself."""
    parent = locate(Place(service_dir, "_"), os.environ).folder.parent
    return [locate(Place(service_dir, name), os.environ) for name in services(parent)]


def _format_of(found: Found) -> str:
    return found.destination.format.name if found.destination else found.place.name.partition("-")[0]
