"""The tracking plan as a JSON Schema: what editors check and complete while a plan is written.

It says the shape only. What one part says about another (an attribute that is not defined, buckets that do not ascend)
is left to `usagewire.policy.plan`.
"""

from __future__ import annotations

from typing import Any

from usagewire.policy.gate import KINDS
from usagewire.policy.known import channels, every_setting, variables
from usagewire.policy.plan import DELETION, SENSITIVITIES
from usagewire.signals import Setting

_TEXT = {"type": "string", "pattern": r"\S"}
_TEXTS = {"type": "array", "items": {"type": "string", "minLength": 1}}
_SWITCHED = [True, False, "on", "off"]  # YAML 1.1 reads `on` as true, YAML 1.2 as text
_NUMERIC = {"type": ["integer", "string"]}
_SETTING: dict[str, dict[str, Any]] = {
    "str": {"type": ["string", "number"]},
    "url": {"type": "string", "format": "uri"},
    "proxy": {"type": "string"},
    "path": {"type": "string"},
    "integer": _NUMERIC,
    "millis": _NUMERIC,
    "bytes": _NUMERIC,
    "headers": {"type": ["object", "string"]},
    "list": {"type": ["array", "string"]},
    "table": {"type": ["object", "string"]},
}
"""Kind of a setting → what a plan may hold for it; a ``choice`` has its choices."""


def schema() -> dict[str, Any]:
    """The schema, draft 7, for the formats that are installed."""
    purpose = _described(_TEXT, "Why it is collected, in a sentence that users of the product will read.")
    named = {"type": "array", "items": {"type": "string"}}
    entry = {
        "purpose": purpose,
        "attributes": {
            "description": "Names defined under the top's attributes, or a table of definitions.",
            "oneOf": [named, _table("#/definitions/attribute"), {"type": "null"}],
        },
        "owner": _described(_TEXT, "Who answers for it."),
        "channel": _described({"enum": list(channels())}, "The channel that it is switched off with."),
        "review": _described(_TEXT, "Where it was agreed."),
        "expires": _described({"type": "string", "format": "date"}, "The last day, UTC, on which it leaves."),
    }
    body = _described({"$ref": "#/definitions/attribute"}, "Without it a record's body stays behind.")
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "usagewire tracking plan",
        "description": "Everything that may leave, and why. What is not listed stays.",
        **_object(
            {
                "plan": _described(_TEXT, "Name of the plan."),
                "version": {"type": "integer", "minimum": 1, "description": "Raise it with every change."},
                "product": _product(),
                "attributes": _described(_table("#/definitions/attribute"), "Definitions that entries name."),
                "events": _described(_table("#/definitions/event"), "Names as they leave."),
                "metrics": _described(_table("#/definitions/metric"), "Names of instruments."),
            },
            "plan",
            "version",
        ),
        "anyOf": [{"required": ["events"]}, {"required": ["metrics"]}],
        "definitions": {
            "attribute": _object(
                {
                    "type": {"enum": list(KINDS)},
                    "purpose": purpose,
                    "values": {"type": "array", "minItems": 1, "description": "The only values that may leave."},
                    "sensitivity": {"enum": list(SENSITIVITIES), "default": "keep"},
                    "buckets": {
                        "type": "array",
                        "items": {"type": "number"},
                        "minItems": 1,
                        "description": "Ascending lower edges, with sensitivity: bucket.",
                    },
                },
                "type",
                "purpose",
            ),
            "event": _object({**entry, "body": body}, "purpose"),
            "metric": _object(entry, "purpose"),
        },
    }


def _product() -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for row in every_setting():
        shape = _shape(row)
        settings[row.name] = shape if settings.get(row.name, shape) == shape else {}  # formats differ about it
    named = {"type": "array", "items": {"enum": list(variables())}}
    settings = {row.name: _described(settings[row.name], row.help) for row in every_setting()}
    return _object(
        {
            **settings,
            "variables": _described(named, "The product's own environment variables that count."),
            "opt_out": _described(_TEXTS, "Its own switches: --flag, NAME (present, even empty), NAME=false."),
            "consent": {"enum": _SWITCHED, "description": "The default while nobody has said anything."},
            "deletion": _described(_shape(DELETION), DELETION.help),
            "packages": _described(_TEXTS, "Distributions whose versions may be named."),
        }
    )


def _shape(row: Setting) -> dict[str, Any]:
    if row.kind != "choice":
        return _SETTING[row.kind]
    return {"enum": [*row.choices, *(_SWITCHED[:2] if "true" in row.choices else ())]}


def _described(shape: dict[str, Any], description: str) -> dict[str, Any]:
    return {**shape, "description": description}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _table(of: str) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"$ref": of}}
