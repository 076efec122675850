"""The operator's views: every program, one destination, one request of its history; and the switches."""

from __future__ import annotations

import time
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from usagewire.cli import status
from usagewire.cli.choose import Choice, Found
from usagewire.cli.layout import as_json, masked
from usagewire.cli.outlook import Preview, document, outlook
from usagewire.cli.words import iso
from usagewire.inspector import folder
from usagewire.inspector.pages import ROWS, Pages, as_download, form_of
from usagewire.inspector.pages import number as number_of
from usagewire.inspector.payload import curl, payload
from usagewire.inspector.switches import command
from usagewire.policy.gate import Plan, from_purposes

PREVIEWS, PREVIEWED = 3, 120
"""Requests that would leave next, and lines of each."""


class Programs:
    """Made anew from the state folder with every look. ``plan`` explains, where one was given."""

    def __init__(self, pages: Pages, plan: Plan | None) -> None:
        self._pages, self._plan = pages, plan

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            Route("/", self.programs),
            Route("/programs/{service}/{destination}", self.destination),
            Route("/programs/{service}/{destination}/export.json", self.destination_export),
            Route("/programs/{service}/{destination}/sent/{name}", self.sent),
            Route("/consent", self.consent, methods=["POST"]),
        ]

    def programs(self, request: Request) -> Response:
        """Every service: who decided, what waits, how it went."""
        document = status.report(Choice())
        services: dict[str, list[dict[str, Any]]] = {}
        for one in document["destinations"]:
            services.setdefault(one["service"], []).append(one)
        return self._pages.draw(request, "programs.html", state_dir=document["state_dir"], hint=document["hint"],
                          services=services)  # fmt: skip

    def destination(self, request: Request) -> Response:
        """One destination: what would leave next, what left, what was lost."""
        found = self._found(request)
        choice = Choice(service=found.place.service_dir.name, destination=found.place.name)
        [standing] = status.report(choice)["destinations"]
        next_ = outlook(found, PREVIEWS, time.time_ns())
        past = folder.history(found.place)
        number = number_of(request.query_params.get("page"), 1)
        shown = past[(number - 1) * ROWS : number * ROWS]
        return self._pages.draw(
            request,
            "destination.html",
            one=standing,
            next=next_,
            blank=payload(next_.blank, self._format(found), self._known(found)) if next_.blank else None,
            previews=[self._preview(preview) for preview in next_.previews],
            past=shown,
            number=number,
            more=number * ROWS < len(past),
            rejected=folder.rejected(found.place),
            room=folder.room(found.place),
            timeline=folder.timeline(found.place, past),
        )

    def destination_export(self, request: Request) -> Response:
        """The same as JSON: its status, what would leave, and the history with its bodies."""
        found = self._found(request)
        choice = Choice(service=found.place.service_dir.name, destination=found.place.name)
        [standing] = status.report(choice)["destinations"]
        past = [
            {"time": iso(one.time), "url": one.url, "items": one.count, "verdict": one.verdict, "status": one.status,
             "finished": iso(one.finished), **as_json({}, one.body() or "")}
            for one in folder.history(found.place)
        ]  # fmt: skip
        next_ = document([outlook(found, PREVIEWS, time.time_ns())])
        return as_download(
            {"status": standing, "next": next_, "sent": past}, f"{found.place.service_dir.name}-{found.place.name}.json"
        )

    def sent(self, request: Request) -> Response:
        """One request of the history."""
        found = self._found(request)
        past = folder.past(found.place, request.path_params["name"])
        if past is None:
            raise HTTPException(404, "No such request: the oldest are deleted when room is needed.")
        body = past.body()
        shown = None if body is None else payload(body, self._format(found), self._known(found))
        return self._pages.draw(request, "sent.html", found=found, past=past, payload=shown)

    async def consent(self, request: Request) -> Response:
        """Switch a service, or a channel of a destination: ``usagewire on`` or ``usagewire off``."""
        form = await form_of(request)
        word, service = form.get("word", ""), form.get("service", "")
        if word not in ("on", "off") or not service:
            raise HTTPException(400, "consent: a service, and on or off, are needed")
        options = ("service", "destination", "channel", "license")
        words = [word, *(f"--{name}={form[name]}" for name in options if form.get(name))]
        done, said = await run_in_threadpool(command, *words)
        return self._pages.back(form, done, f"usagewire {' '.join(words)}\n{said}")

    def _found(self, request: Request) -> Found:
        service, name = request.path_params["service"], request.path_params["destination"]
        known = (one for path in Choice().services() if path.name == service for one in Choice(service).found())
        found = next((one for one in known if one.place.name == name), None)
        if found is None:
            raise HTTPException(404, f"{service} · {name}: no such destination in {Choice().root}")
        return found

    def _format(self, found: Found) -> str:
        return found.destination.format.name if found.destination else found.place.name.partition("-")[0]

    def _known(self, found: Found) -> Plan | None:
        """The plan to explain by: the one that was given, else what the program's own said."""
        purposes = found.destination.product.purposes if found.destination else None
        return self._plan or (from_purposes(purposes) if purposes else None)

    def _preview(self, preview: Preview) -> dict[str, Any]:
        request = preview.request
        headers, body = masked(request, preview.destination.settings)
        return {
            "preview": preview,
            "due": iso(preview.due),
            "headers": headers,
            "payload": payload(
                body, preview.destination.format.name, self._known(preview.found), preview.volatile, PREVIEWED
            ),
            "curl": curl(request.method, request.url, headers, body),
        }
