"""What a tracking plan says of the product, as far as consent and the operator's commands need to know it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from usagewire import formats
from usagewire.policy.consent import Consent
from usagewire.signals import Switch
from usagewire.state.paths import Place


class Product(NamedTuple):
    """What the tracking plan, if any, says of the product; remembered beside the settings."""

    variables: tuple[str, ...] | None = None
    """The product's own variables that count; ``None``: all the format documents."""
    switches: tuple[Switch, ...] | None = None
    consent: bool | None = None
    channels: Mapping[str, str] = MappingProxyType({})
    """Event or metric → the channel that it belongs to."""
    deletion: str = ""
    """URL that takes requests to delete what was sent; empty: there is none."""
    purposes: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    """Event or metric → why it is collected (under the empty name), and why each of its attributes is."""
    content: Mapping[str, str] = MappingProxyType({})
    """What the plan lets through, or the lack of one (`usagewire.policy.content`)."""
    plan: str = ""
    """Its name and version."""

    def to_json(self) -> dict[str, Any]:
        """For destination.json."""
        return {
            "variables": None if self.variables is None else list(self.variables),
            "switches": None if self.switches is None else [switch._asdict() for switch in self.switches],
            "consent": self.consent,
            "channels": dict(self.channels),
            "deletion": self.deletion,
            "purposes": dict(self.purposes),
            "content": dict(self.content),
            "plan": self.plan,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Product:
        """What `to_json` made, also of an earlier version. Raises `AttributeError`, `TypeError` or `ValueError`."""
        return cls(
            variables=None if said.get("variables") is None else tuple(said["variables"]),
            switches=None if said.get("switches") is None else tuple(Switch(**switch) for switch in said["switches"]),
            consent=said.get("consent"),
            channels=dict(said.get("channels") or {}),
            content=dict(said.get("content") or {}),
            plan=str(said.get("plan") or ""),
            purposes=dict(said.get("purposes") or {}),
            deletion=str(said.get("deletion") or ""),
        )


def consent_for(
    place: Place, fmt: formats.Format, product: Product, environ: Mapping[str, str], argv: list[str]
) -> Consent:
    """Who decides whether ``fmt`` may send from ``place``."""
    switches = fmt.switches if product.switches is None else product.switches
    default = fmt.default_on if product.consent is None else product.consent
    demanded = fmt.license.id if fmt.license else ""
    return Consent(place.service_dir, switches, default, environ, argv, destination=place.name, license=demanded)
