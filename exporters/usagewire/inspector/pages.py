"""What all views share: drawing a page, going back to one, and reading what was asked."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any, cast
from urllib.parse import parse_qs, urlencode

import jinja2
import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from usagewire import formats
from usagewire.cli.words import iso, moment, plural, remedy, size
from usagewire.formats import License
from usagewire.inspector.explain import CHANNELS

ROWS = 50
"""Requests on one page of a list."""
TOLD = 20
"""Answers to changes that are kept until their page asks for them."""
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("usagewire.inspector"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
cast("Any", _TEMPLATES.filters).update({"iso": iso, "size": size, "plural": plural})


class Pages:
    """Draws pages, and remembers what changes said until the next page says it."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, tuple[bool, str]] = OrderedDict()

    def draw(self, request: Request, template: str, code: int = 200, **values: Any) -> Response:
        """The page that a template makes of ``values``."""
        now = time.time_ns()
        text = _TEMPLATES.get_template(template).render(
            **values,
            here=request.url.path,
            query=dict(request.query_params),
            flash=self._told.get(request.query_params.get("said", "")),
            ago=partial(moment, now=now),
            remedy=remedy,
            link=link,
            terms=_terms,
            says=CHANNELS,
        )
        return HTMLResponse(text, code)

    def back(self, form: Mapping[str, str], done: bool, said: str) -> Response:
        """To the page that the form was on, which then says what was done."""
        token = secrets.token_hex(8)
        self._told[token] = (done, said)
        while len(self._told) > TOLD:
            self._told.popitem(last=False)
        back = form.get("back", "/")
        if not back.startswith("/") or back.startswith("//") or "\\" in back:
            back = "/"
        return RedirectResponse(f"{back}{'&' if '?' in back else '?'}said={token}", 303)

    def missing(self, request: Request, fault: Exception) -> Response:
        """What is not there, or was not asked for rightly."""
        code, detail = (fault.status_code, fault.detail) if isinstance(fault, HTTPException) else (500, str(fault))
        return self.draw(request, "fault.html", code, detail=detail)

    def unreadable(self, request: Request, fault: Exception) -> Response:
        """A state folder that cannot be read."""
        return self.draw(request, "fault.html", 500, detail=str(fault))


def _terms(one: Mapping[str, Any]) -> License | None:
    """The licence that a destination asks for before it is switched on."""
    consent = one["consent"]
    if not consent or consent["on"] or not consent["license"] or not one["format"]:
        return None
    return formats.load(one["format"]).license


def link(path: str, query: Mapping[str, str], **changes: Any) -> str:
    """``path`` with a query like this one's, changed."""
    kept = {name: value for name, value in {**query, **changes}.items() if value and name != "said"}
    return f"{path}?{urlencode(kept)}" if kept else path


def as_download(content: Any, name: str) -> Response:
    """``content`` as a JSON file called ``name``."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    text = orjson.dumps(content, option=orjson.OPT_INDENT_2)
    return Response(text, media_type="application/json", headers=headers)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form; `usagewire.inspector.guard` has bounded it."""
    text = (await request.body()).decode(errors="replace")
    try:
        return {name: values[-1] for name, values in parse_qs(text, max_num_fields=50).items()}
    except ValueError as fault:
        raise HTTPException(400, f"form: {fault}") from fault


def number(text: str | None, default: int) -> int:
    """A number from 1 on that was asked for."""
    return max(1, int(text)) if text is not None and text.isdecimal() and len(text) < 9 else default
