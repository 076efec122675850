"""The product's own configuration, taken as it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

import usagewire
from usagewire import formats, pipeline
from usagewire.pipeline.document import read_document
from usagewire.pipeline.said import Said, read
from usagewire.state.paths import Place

ENVIRON = {"OTEL_EXPORTER_TTS_ENDPOINT": "https://telemetry.example", "OTEL_EXPORTER_TTS_UID_ELEMENTS": "a,b"}


@pytest.fixture
def configured() -> Iterator[Mapping[str, Any]]:
    """What `usagewire.configure` has been told, forgotten afterwards."""
    found = pipeline._configured
    yield found
    found.clear()


def said(configured: Mapping[str, Any], name: str = "tts", **keywords: Any) -> Said:
    """What an exporter of the format goes by."""
    return read(formats.load(name), keywords, ENVIRON, ["program"], configured)


def test_the_documents_own_yaml_is_taken(configured: Mapping[str, Any]) -> None:
    """Both examples of the page, parsed by a YAML reader, count: the elements and the switch."""
    usagewire.configure(yaml.safe_load('telemetry:\n  uid-elements: ["foo", "bar"]\n'))
    usagewire.configure(yaml.safe_load("telemetry:\n  enable: false\n"))

    found = said(configured)
    assert (("foo", "bar"), "code") == (found.settings["uid_elements"], found.settings.sources["uid_elements"])
    assert "telemetry.enable" == found.silenced


def test_keywords_go_before_the_document(configured: Mapping[str, Any]) -> None:
    """An exporter made in code with elements of its own keeps them."""
    usagewire.configure({"telemetry": {"uid-elements": ["foo"]}})

    assert ("x",) == said(configured, uid_elements=["x"]).settings["uid_elements"]


def test_other_formats_have_no_use_for_the_elements(configured: Mapping[str, Any]) -> None:
    """A setting that a format does not know is no fault of its exporter."""
    usagewire.configure({"telemetry": {"uid-elements": ["foo"]}})

    assert () == said(configured, "segment", write_key="key").faults


@pytest.mark.parametrize(
    ("default", "enable", "on"),
    [
        (None, None, True),
        ("on", None, True),
        ("off", None, False),
        ("off", True, True),
        ("off", False, False),
        (None, False, False),
        (None, True, True),
    ],
)
def test_an_edition_that_is_off_by_default(
    configured: Mapping[str, Any], default: str | None, enable: bool | None, on: bool, tmp_path: Any
) -> None:
    """`default="off"` holds until the configuration says true; false is off whatever the default."""
    usagewire.configure({"telemetry": {"enable": enable}}, default=default)

    assert on == said(configured).consent(Place(tmp_path, "tts")).decide().on


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        ({}, []),
        ({"telemetry": None}, []),
        ({"telemetry": {}}, []),
        ({"telemetry": {"enable": None, "uid-elements": None}}, []),
        ({"telemtry": {}}, ["unknown key 'telemtry': known is 'telemetry'"]),
        ({"telemetry": [1]}, ["telemetry=[1]: not a mapping"]),
        ({"telemetry": {"enable": "no"}}, ["telemetry.enable='no': not true or false"]),
        ({"telemetry": {"uid-elements": "foo"}}, ["telemetry.uid-elements='foo': not a list of texts"]),
        ({"telemetry": {"uid-elements": ["a", 7]}}, ["telemetry.uid-elements=['a', 7]: not a list of texts"]),
        (
            {"telemetry": {"uid_elements": [], "target": "x"}},
            [
                "unknown key 'telemetry.uid_elements': known are 'telemetry.enable' and 'telemetry.uid-elements'",
                "unknown key 'telemetry.target': known are 'telemetry.enable' and 'telemetry.uid-elements'",
            ],
        ),
        ("telemetry", ["'telemetry': not a mapping"]),
    ],
)
def test_faults_are_named(document: object, faults: list[str]) -> None:
    """Every fault by the name of its key; nothing is raised."""
    assert ({}, faults) == read_document(document)


def test_what_is_right_counts_beside_what_is_wrong(
    configured: Mapping[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """One line names all that is wrong, the rest is taken."""
    with caplog.at_level(logging.WARNING, "usagewire"):
        usagewire.configure({"telemetry": {"enable": False, "colour": "red"}}, default="maybe")

    assert [
        "usagewire.configure: unknown key 'telemetry.colour': known are 'telemetry.enable' and "
        "'telemetry.uid-elements'; default='maybe': not on or off"
    ] == caplog.messages
    assert {"enable": False} == configured
