"""The page: all views together, and what is said where one cannot be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from usagewire.errors import StateError
from usagewire.inspector.arrivals import Arrivals
from usagewire.inspector.journal import Journal
from usagewire.inspector.pages import Pages
from usagewire.inspector.programs import Programs
from usagewire.inspector.records import Records
from usagewire.inspector.switches import Misbehaviour
from usagewire.policy.gate import Plan


def make(journal: Journal, receivers: Sequence[Records], addresses: Mapping[str, str], plan: Plan | None) -> Starlette:
    """All addresses. ``receivers`` fill the ``journal``; ``addresses`` are their URLs by name."""
    pages = Pages()
    arrivals = Arrivals(pages, journal, Misbehaviour(receivers), addresses, plan)
    static = Mount("/static", StaticFiles(packages=[("usagewire.inspector", "static")]))
    return Starlette(
        routes=[*Programs(pages, plan).routes(), *arrivals.routes(), static],
        exception_handlers={
            HTTPException: pages.missing,
            StateError: pages.unreadable,
            OSError: pages.unreadable,
            click.ClickException: pages.unreadable,  # a folder that went while it was looked at
        },
    )
