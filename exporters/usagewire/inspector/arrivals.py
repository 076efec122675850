"""The engineer's views: what arrived, one request of it, the pictures; and how the receiver misbehaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from usagewire.cli.layout import as_json, masked
from usagewire.cli.words import iso
from usagewire.config import Resolved
from usagewire.formats import BUILT_IN
from usagewire.inspector.journal import Arrival, Filter, Journal, page
from usagewire.inspector.pages import ROWS, Pages, as_download, form_of
from usagewire.inspector.pages import number as number_of
from usagewire.inspector.payload import curl, payload
from usagewire.inspector.pictures import drawn
from usagewire.inspector.received import Received
from usagewire.inspector.routes import readable
from usagewire.inspector.switches import MISBEHAVIOURS, Misbehaviour
from usagewire.policy.gate import Plan
from usagewire.signals import Request as Wire

EXPORTED = 10_000
"""Requests in one export; the newest."""
_NO_SETTINGS = Resolved({})


class Arrivals:
    """Drawn from the ``journal``. ``addresses``: name of a receiver → its URL."""

    def __init__(
        self,
        pages: Pages,
        journal: Journal,
        misbehaviour: Misbehaviour,
        addresses: Mapping[str, str],
        plan: Plan | None,
    ) -> None:
        self._pages, self._journal, self._misbehaviour = pages, journal, misbehaviour
        self._addresses, self._plan = addresses, plan

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            Route("/received", self.received),
            Route("/received/export.json", self.received_export),
            Route("/received/{number:int}", self.arrival),
            Route("/received/{number:int}/body", self.body),
            Route("/received/clear", self.clear, methods=["POST"]),
            Route("/misbehave", self.misbehave, methods=["POST"]),
            Route("/pictures", self.pictures),
        ]

    def received(self, request: Request) -> Response:
        """What arrived, newest first."""
        wanted = _wanted(request)
        number = number_of(request.query_params.get("page"), 1)
        rows, more = page(wanted.select(self._journal.arrivals()), number, ROWS)
        return self._pages.draw(
            request, "received.html", journal=self._journal, rows=rows, more=more, number=number, wanted=wanted,
            addresses=self._addresses, formats=BUILT_IN, misbehaviour=self._misbehaviour, kinds=MISBEHAVIOURS,
        )  # fmt: skip

    def received_export(self, request: Request) -> Response:
        """The same as JSON, with bodies and what they hold."""
        chosen, _ = page(_wanted(request).select(self._journal.arrivals()), 1, EXPORTED)
        return as_download({"requests": [_exported(one) for one in chosen]}, "received.json")

    def arrival(self, request: Request) -> Response:
        """One request that arrived."""
        found = self._arrival(request)
        received = found.received
        headers, body = _shown(received)
        said = readable(received)
        base = self._addresses.get("gRPC" if _is_call(received) else "HTTP", "")
        return self._pages.draw(
            request,
            "arrival.html",
            one=found,
            headers=headers,
            packed=said is not received.body,
            payload=payload(_text(said), found.format, self._plan),
            curl="" if _is_call(received) else curl(received.method, base + received.path, headers, body),
        )

    def body(self, request: Request) -> Response:
        """The body as it came, to be saved."""
        found = self._arrival(request)
        name = f"body-{found.number}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(found.received.body, media_type="application/octet-stream", headers=headers)

    def pictures(self, request: Request) -> Response:
        """Figures of all that arrived."""
        pictures, rankings = drawn(self._journal.figures)
        return self._pages.draw(request, "pictures.html", pictures=pictures, rankings=rankings, journal=self._journal)

    async def clear(self, request: Request) -> Response:
        """Forget what arrived."""
        self._journal.clear()
        return self._pages.back(await form_of(request), True, "forgotten: everything that arrived")

    async def misbehave(self, request: Request) -> Response:
        """How the receiver answers from now on."""
        form = await form_of(request)
        try:
            self._misbehaviour.choose(form.get("kind", ""), number_of(form.get("seconds"), 5))
        except ValueError as fault:
            raise HTTPException(400, str(fault)) from fault
        return self._pages.back(form, True, f"the receiver {MISBEHAVIOURS[self._misbehaviour.kind]}")

    def _arrival(self, request: Request) -> Arrival:
        found = self._journal.find(request.path_params["number"])
        if found is None:
            raise HTTPException(404, "No such request, or it had to make room for newer ones.")
        return found


def _wanted(request: Request) -> Filter:
    said = request.query_params
    wrong = said.get("wrong", "") == "1"
    return Filter(said.get("format", ""), said.get("event", "")[:100], said.get("channel", "")[:40], wrong)


def _shown(received: Received) -> tuple[dict[str, str], str | bytes]:
    """Headers without credentials, and the body, as text where it is."""
    hidden = {"host", "content-length", "connection", "accept-encoding", "content-encoding", "transfer-encoding"}
    kept = {name: value for name, value in received.headers.items() if name not in hidden}
    wire = Wire(received.path, received.body, kept, received.method)
    headers, _ = masked(wire, _NO_SETTINGS)
    return headers, _text(received.body)


def _text(body: bytes) -> str | bytes:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body


def _exported(one: Arrival) -> dict[str, Any]:
    received = one.received
    headers, body = _shown(received)
    return {
        "number": one.number,
        "time": iso(received.time),
        "format": one.format,
        "method": received.method,
        "path": received.path,
        **as_json(headers, body),
        "says": _text(said) if (said := readable(received)) is not received.body else None,
        "events": dict(one.events),
        "channels": list(one.channels),
        "complaints": list(received.complaints),
        "answered": received.answer.status,
    }


def _is_call(received: Received) -> bool:
    return received.headers.get("content-type", "").startswith("application/grpc")
