"""The page's addresses. Everything it shows is made by what the command line shows it with."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast
from urllib.parse import parse_qs, urlencode

import jinja2
import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from usagewire import formats
from usagewire.cli import status
from usagewire.cli.choose import Choice, Found
from usagewire.cli.layout import as_json, masked
from usagewire.cli.show import Preview, document, outlook
from usagewire.cli.words import iso, moment, plural, remedy, size
from usagewire.config import Resolved
from usagewire.errors import StateError
from usagewire.formats import BUILT_IN, License
from usagewire.inspector import folder
from usagewire.inspector.explain import CHANNELS
from usagewire.inspector.journal import Arrival, Filter, Journal, page
from usagewire.inspector.payload import curl, payload
from usagewire.inspector.pictures import drawn
from usagewire.inspector.received import Received
from usagewire.inspector.records import Records
from usagewire.inspector.routes import check
from usagewire.inspector.switches import MISBEHAVIOURS, Misbehaviour, command
from usagewire.policy.gate import Plan, from_purposes
from usagewire.signals import Request as Wire

ROWS = 50
"""Requests on one page of a list."""
PREVIEWS, PREVIEWED = 3, 120
"""Requests that would leave next, and lines of each."""
EXPORTED = 10_000
"""Requests in one export; the newest."""
_NO_SETTINGS = Resolved({})
_HERE = jinja2.PackageLoader("usagewire.inspector")
_TEMPLATES = jinja2.Environment(
    loader=_HERE, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
cast("Any", _TEMPLATES.filters).update({"iso": iso, "size": size, "plural": plural})


class Site:
    """What the addresses answer from. ``addresses``: name of a receiver → its URL."""

    def __init__(self, journal: Journal, receivers: Sequence[Records], addresses: Mapping[str, str], plan: Plan | None):
        self._journal, self._addresses, self._plan = journal, addresses, plan
        self._misbehaviour = Misbehaviour(receivers)
        self._said: OrderedDict[str, tuple[bool, str]] = OrderedDict()

    def app(self) -> Starlette:
        """All addresses."""
        return Starlette(
            routes=[
                Route("/", self.programs),
                Route("/programs/{service}/{destination}", self.destination),
                Route("/programs/{service}/{destination}/export.json", self.destination_export),
                Route("/programs/{service}/{destination}/sent/{name}", self.sent),
                Route("/consent", self.consent, methods=["POST"]),
                Route("/received", self.received),
                Route("/received/export.json", self.received_export),
                Route("/received/{number:int}", self.arrival),
                Route("/received/{number:int}/body", self.body),
                Route("/received/clear", self.clear, methods=["POST"]),
                Route("/misbehave", self.misbehave, methods=["POST"]),
                Route("/pictures", self.pictures),
                Mount("/static", StaticFiles(packages=[("usagewire.inspector", "static")])),
            ],
            exception_handlers={HTTPException: self.missing, StateError: self.unreadable, OSError: self.unreadable},
        )

    # -- the operator's -----------------------------------------------------------------------------------------------

    def programs(self, request: Request) -> Response:
        """Every service: who decided, what waits, how it went."""
        document = status.report(Choice())
        services: dict[str, list[dict[str, Any]]] = {}
        for one in document["destinations"]:
            services.setdefault(one["service"], []).append(one)
        return self._page(request, "programs.html", state_dir=document["state_dir"], hint=document["hint"],
                          services=services)  # fmt: skip

    def destination(self, request: Request) -> Response:
        """One destination: what would leave next, what left, what was lost."""
        found = self._found(request)
        choice = Choice(service=found.place.service_dir.name, destination=found.place.name)
        [standing] = status.report(choice)["destinations"]
        next_ = outlook(found, PREVIEWS, time.time_ns())
        past = folder.history(found.place)
        number = _number(request.query_params.get("page"), 1)
        shown = past[(number - 1) * ROWS : number * ROWS]
        return self._page(
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
        return _json(
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
        return self._page(request, "sent.html", found=found, past=past, payload=shown)

    async def consent(self, request: Request) -> Response:
        """Switch a service, or a channel of a destination: ``usagewire on`` or ``usagewire off``."""
        form = await _form(request)
        word, service = form.get("word", ""), form.get("service", "")
        if word not in ("on", "off") or not service:
            raise HTTPException(400, "consent: a service, and on or off, are needed")
        options = ("service", "destination", "channel", "license")
        words = [word, *(f"--{name}={form[name]}" for name in options if form.get(name))]
        done, said = await run_in_threadpool(command, *words)
        return self._back(form, done, f"usagewire {' '.join(words)}\n{said}")

    # -- the engineer's -----------------------------------------------------------------------------------------------

    def received(self, request: Request) -> Response:
        """What arrived, newest first."""
        wanted = _wanted(request)
        number = _number(request.query_params.get("page"), 1)
        rows, more = page(wanted.select(self._journal.arrivals()), number, ROWS)
        return self._page(
            request, "received.html", journal=self._journal, rows=rows, more=more, number=number, wanted=wanted,
            addresses=self._addresses, formats=BUILT_IN, misbehaviour=self._misbehaviour, kinds=MISBEHAVIOURS,
        )  # fmt: skip

    def received_export(self, request: Request) -> Response:
        """The same as JSON, with bodies and what they hold."""
        chosen, _ = page(_wanted(request).select(self._journal.arrivals()), 1, EXPORTED)
        return _json({"requests": [_exported(one) for one in chosen]}, "received.json")

    def arrival(self, request: Request) -> Response:
        """One request that arrived."""
        found = self._arrival(request)
        received = found.received
        headers, body = _shown(received)
        checked = check(received) if found.format and received.accepted else None
        readable = body
        if isinstance(body, bytes) and checked is not None:  # protobuf: what it says
            readable = orjson.dumps(checked.events, option=orjson.OPT_INDENT_2).decode()
        base = self._addresses.get("gRPC" if _is_call(received) else "HTTP", "")
        return self._page(
            request,
            "arrival.html",
            one=found,
            headers=headers,
            binary=isinstance(body, bytes),
            payload=payload(readable, found.format if readable is body else "", self._plan),
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
        return self._page(request, "pictures.html", pictures=pictures, rankings=rankings, journal=self._journal)

    async def clear(self, request: Request) -> Response:
        """Forget what arrived."""
        self._journal.clear()
        return self._back(await _form(request), True, "forgotten: everything that arrived")

    async def misbehave(self, request: Request) -> Response:
        """How the receiver answers from now on."""
        form = await _form(request)
        try:
            self._misbehaviour.choose(form.get("kind", ""), _number(form.get("seconds"), 5))
        except ValueError as fault:
            raise HTTPException(400, str(fault)) from fault
        return self._back(form, True, f"the receiver {MISBEHAVIOURS[self._misbehaviour.kind]}")

    # -- what they share ----------------------------------------------------------------------------------------------

    def missing(self, request: Request, fault: Exception) -> Response:
        """What is not there, or was not asked for rightly."""
        code, detail = (fault.status_code, fault.detail) if isinstance(fault, HTTPException) else (500, str(fault))
        return self._page(request, "fault.html", code, detail=detail)

    def unreadable(self, request: Request, fault: Exception) -> Response:
        """A state folder that cannot be read."""
        return self._page(request, "fault.html", 500, detail=str(fault))

    def _page(self, request: Request, template: str, code: int = 200, **values: Any) -> Response:
        now = time.time_ns()
        text = _TEMPLATES.get_template(template).render(
            **values,
            here=request.url.path,
            query=dict(request.query_params),
            flash=self._said.get(request.query_params.get("said", "")),
            ago=partial(moment, now=now),
            remedy=remedy,
            link=_link,
            terms=_terms,
            says=CHANNELS,
        )
        return HTMLResponse(text, code)

    def _back(self, form: Mapping[str, str], done: bool, said: str) -> Response:
        """To the page that the form was on, which then says what was done."""
        token = secrets.token_hex(8)
        self._said[token] = (done, said)
        while len(self._said) > 20:
            self._said.popitem(last=False)
        back = form.get("back", "/")
        if not back.startswith("/") or back.startswith("//") or "\\" in back:
            back = "/"
        return RedirectResponse(f"{back}{'&' if '?' in back else '?'}said={token}", 303)

    def _found(self, request: Request) -> Found:
        service, name = request.path_params["service"], request.path_params["destination"]
        known = (one for path in Choice().services() if path.name == service for one in Choice(service).found())
        found = next((one for one in known if one.place.name == name), None)
        if found is None:
            raise HTTPException(404, f"{service} · {name}: no such destination in {Choice().root}")
        return found

    def _arrival(self, request: Request) -> Arrival:
        found = self._journal.find(request.path_params["number"])
        if found is None:
            raise HTTPException(404, "No such request, or it had to make room for newer ones.")
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


def _terms(one: Mapping[str, Any]) -> License | None:
    """The licence that a destination asks for before it is switched on."""
    consent = one["consent"]
    if not consent or consent["on"] or not consent["license"] or not one["format"]:
        return None
    return formats.load(one["format"]).license


def _wanted(request: Request) -> Filter:
    said = request.query_params
    wrong = said.get("wrong", "") == "1"
    return Filter(said.get("format", ""), said.get("event", "")[:100], said.get("channel", "")[:40], wrong)


def _link(path: str, query: Mapping[str, str], **changes: Any) -> str:
    """``path`` with a query like this one's, changed."""
    kept = {name: value for name, value in {**query, **changes}.items() if value and name != "said"}
    return f"{path}?{urlencode(kept)}" if kept else path


def _shown(received: Received) -> tuple[dict[str, str], str | bytes]:
    """Headers without credentials, and the body, as text where it is."""
    hidden = {"host", "content-length", "connection", "accept-encoding", "content-encoding", "transfer-encoding"}
    kept = {name: value for name, value in received.headers.items() if name not in hidden}
    wire = Wire(received.path, received.body, kept, received.method)
    headers, _ = masked(wire, _NO_SETTINGS)
    try:
        return headers, received.body.decode()
    except UnicodeDecodeError:
        return headers, received.body


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
        "events": dict(one.events),
        "channels": list(one.channels),
        "complaints": list(received.complaints),
        "answered": received.answer.status,
    }


def _is_call(received: Received) -> bool:
    return received.headers.get("content-type", "").startswith("application/grpc")


def _json(content: Any, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    text = orjson.dumps(content, option=orjson.OPT_INDENT_2)
    return Response(text, media_type="application/json", headers=headers)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form; `usagewire.inspector.guard` has bounded it."""
    text = (await request.body()).decode(errors="replace")
    return {name: values[-1] for name, values in parse_qs(text, max_num_fields=50).items()}


def _number(text: str | None, default: int) -> int:
    return max(1, int(text)) if text is not None and text.isdecimal() and len(text) < 9 else default
