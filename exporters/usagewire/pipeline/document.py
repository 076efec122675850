"""A product's own configuration, as far as it concerns telemetry.

Document: The Things Stack's ``telemetry`` section.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

KEYS = ("enable", "uid-elements")


def read_document(document: object) -> tuple[dict[str, Any], list[str]]:
    """What ``{"telemetry": {"enable": False, "uid-elements": ["foo", "bar"]}}`` says, and what is wrong with it: that
    does not count, the rest does."""
    if not isinstance(document, Mapping):
        return {}, [f"{document!r}: not a mapping"]
    whole = cast("Mapping[str, Any]", document)
    faults = [f"unknown key {key!r}: known is 'telemetry'" for key in whole if key != "telemetry"]
    section = whole.get("telemetry")
    if not isinstance(section, Mapping):
        return {}, faults if section is None else [*faults, f"telemetry={section!r}: not a mapping"]
    telemetry = cast("Mapping[str, Any]", section)
    known = " and ".join(f"'telemetry.{key}'" for key in KEYS)
    faults += [f"unknown key 'telemetry.{key}': known are {known}" for key in telemetry if key not in KEYS]
    said: dict[str, Any] = {}
    enable, elements = telemetry.get("enable"), telemetry.get("uid-elements")
    if isinstance(enable, bool):
        said["enable"] = enable
    elif enable is not None:
        faults.append(f"telemetry.enable={enable!r}: not true or false")
    if isinstance(elements, (list, tuple)) and all(isinstance(one, str) for one in cast("list[Any]", elements)):
        said["settings"] = {"uid_elements": elements}
    elif elements is not None:
        faults.append(f"telemetry.uid-elements={elements!r}: not a list of texts")
    return said, faults
