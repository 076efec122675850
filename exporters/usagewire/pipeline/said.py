"""What was said about a destination: by keywords, environment, tracking plan and `usagewire.configure`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from usagewire.config import Resolved, resolve
from usagewire.errors import PlanError
from usagewire.formats import Format
from usagewire.pipeline.product import Product, consent_for
from usagewire.policy import plan as plans
from usagewire.policy.consent import Consent
from usagewire.policy.content import of_gate
from usagewire.state.paths import Place

OURS = ("name", "service", "plan")
"""Keywords of an exporter that are no settings of its format."""


class Said(NamedTuple):
    """One reading of it all. Settings may still change by what the operator stored: see `resolve`."""

    format: Format
    keywords: Mapping[str, Any]
    environ: Mapping[str, str]
    argv: list[str]
    service: str
    """Empty: the first batch's resource names it."""
    gate: plans.Open | plans.Plan
    product: Product
    facts: Mapping[str, Any]
    """The tracking plan's settings."""
    settings: Resolved
    faults: tuple[str, ...]
    silenced: str
    """What in the program said no; empty: nothing did."""

    def resolve(self, stored: Mapping[str, Any]) -> Resolved:
        """The settings, with what ``usagewire config set`` stored."""
        return _resolve(self.format, self.keywords, self.environ, self.product, self.facts, stored)

    def consent(self, place: Place) -> Consent:
        """Who decides whether anything may be kept or leave."""
        consent = consent_for(place, self.format, self.product, self.environ, self.argv)
        if self.silenced:
            consent.disable(self.silenced)
        return consent

    def service_of(self, resource: Mapping[str, Any]) -> str:
        """The service's name; programs that never gave one are told apart by their main file."""
        return service_name(self.service, resource, self.argv)

    def contradicts(self, more: Mapping[str, Any], configured: Mapping[str, Any]) -> bool:
        """Whether the environment, by which all this goes so far, says something else than ``more`` keywords do."""
        before = self.settings
        after = read(self.format, {**self.keywords, **more}, self.environ, self.argv, configured).settings
        weak = ("plan", "default")
        return any(
            name in before and before.sources[name] not in weak and before[name] != after[name]
            for name in more
            if name not in OURS
        )


def read(
    fmt: Format,
    keywords: Mapping[str, Any],
    environ: Mapping[str, str],
    argv: list[str],
    configured: Mapping[str, Any],
) -> Said:
    """Read everything anew; what is wrong is in ``faults``, all of it."""
    faults: list[str] = []
    gate: plans.Open | plans.Plan = plans.Open(fmt.planned)
    product, facts = Product(), dict[str, Any]()
    source = plans.find(configured.get("plan") or keywords.get("plan"), environ)
    if source:
        try:
            gate = loaded = plans.load(source)
            told = loaded.product
            product = Product(
                told.variables, told.opt_out, told.consent, loaded.channels, told.deletion, loaded.purposes
            )
            facts = dict(loaded.product.settings)
        except PlanError as why:
            faults += why.faults
    product = product._replace(content=of_gate(gate), plan=gate.title if isinstance(gate, plans.Plan) else "")
    if configured.get("default") and configured.get("enable") is not True:
        product = product._replace(consent=configured["default"] == "on")
    own = {row.name for row in fmt.settings}
    documented = {name: value for name, value in configured.get("settings", {}).items() if name in own}
    keywords = {**documented, **keywords}
    settings = _resolve(fmt, keywords, environ, product, facts, {})
    return Said(
        format=fmt,
        keywords=keywords,
        environ=environ,
        argv=argv,
        service=str(configured.get("service") or keywords.get("service") or named(environ)),
        gate=gate,
        product=product,
        facts=facts,
        settings=settings,
        faults=(*faults, *settings.faults),
        silenced=said_no(configured),
    )


def _resolve(
    fmt: Format,
    keywords: Mapping[str, Any],
    environ: Mapping[str, str],
    product: Product,
    facts: Mapping[str, Any],
    stored: Mapping[str, Any],
) -> Resolved:
    own = {name: value for name, value in keywords.items() if name not in OURS}
    return resolve(fmt, own, environ, stored=stored, plan=facts, plan_variables=product.variables)


def said_no(configured: Mapping[str, Any]) -> str:
    """What in `usagewire.configure` or `usagewire.disable` said no; empty: nothing did."""
    return str(configured.get("silenced") or ("telemetry.enable" if configured.get("enable") is False else ""))


def service_name(said: str, resource: Mapping[str, Any], argv: list[str]) -> str:
    """``said``, else the resource's; programs that never gave one are told apart by their main file."""
    name = said or str(resource.get("service.name") or "unknown_service")
    if not name.startswith("unknown_service"):
        return name
    import hashlib  # loads OpenSSL, which takes milliseconds

    main = getattr(sys.modules.get("__main__"), "__file__", None) or (argv[:1] or [""])[0]
    return f"unknown_service-{hashlib.sha256(str(Path(main).absolute()).encode()).hexdigest()[:8]}"


def named(environ: Mapping[str, str]) -> str:
    """The service's name as far as the environment tells it."""
    if environ.get("OTEL_SERVICE_NAME", "").strip():
        return environ["OTEL_SERVICE_NAME"].strip()
    for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        name, _, value = pair.partition("=")
        if name.strip() == "service.name" and value.strip():
            return unquote(value.strip())
    return ""
