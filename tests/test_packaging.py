"""The wheel, as users get it: what is in it, what it says of itself, and what an import of it costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
SOURCES = {"usagewire": ROOT / "exporters", "usagewire_instrumentation": ROOT / "instrumentation"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked: the folder that pip would have made."""
    built = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(built), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    (packed,) = built.iterdir()
    assert packed.name.endswith("-py3-none-any.whl")
    with ZipFile(packed) as archive:
        archive.extractall(built / "site")
    return built / "site"


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """METADATA."""
    (path,) = wheel.glob("usagewire-*.dist-info/METADATA")
    return HeaderParser().parsestr(path.read_text())


def python(wheel: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
    """What the interpreter says with the wheel ahead of everything else; warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:SelectableGroups", *arguments],  # OpenTelemetry 1.42's own
        env={**os.environ, "PYTHONPATH": str(wheel), **(environ or {})},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def test_it_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    """Every file of both packages, among them the markers that make type checkers look; no tests, no examples."""
    top = {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")}
    held = {str(path.relative_to(wheel)) for name in top for path in (wheel / name).rglob("*") if path.is_file()}
    wanted = {
        str(path.relative_to(source))
        for name, source in SOURCES.items()
        for path in (source / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }

    assert set(SOURCES) == top
    assert wanted == held
    assert {"usagewire/py.typed", "usagewire_instrumentation/py.typed"} <= held


def test_its_metadata_is_complete(metadata: Message) -> None:
    """What an index shows of it, and the licence with its text."""
    said = {name: metadata[name] for name in ("Name", "License-Expression", "Requires-Python", "License-File")}

    assert {
        "Name": "usagewire",
        "License-Expression": "Apache-2.0",
        "Requires-Python": ">=3.10",
        "License-File": "LICENSE",
    } == said
    assert "text/markdown" in metadata["Description-Content-Type"]
    assert len(metadata["Summary"]) > 20


def test_it_pins_nothing(metadata: Message) -> None:
    """A pinned version, above all one of OpenTelemetry's betas, would make it uninstallable beside other packages."""
    for requirement in metadata.get_all("Requires-Dist", []):
        specifier = requirement.partition(";")[0]
        assert "==" not in specifier
        assert not re.search(r"\db\d", specifier)


def test_its_names_are_found(wheel: Path) -> None:
    """Every entry point leads to what it promises."""
    found = python(
        wheel,
        "-c",
        "from importlib.metadata import distribution\n"
        "for point in distribution('usagewire').entry_points: point.load(); print(point.group, point.name)",
    )

    assert {
        "console_scripts usagewire",
        "opentelemetry_logs_exporter segment",
        "opentelemetry_metrics_exporter segment",
        "opentelemetry_environment_variables usagewire",
        "opentelemetry_post_instrument usagewire_lifecycle",
    } <= set(found.splitlines())


def test_the_command_runs(wheel: Path, metadata: Message, tmp_path: Path) -> None:
    """`usagewire --version` and `usagewire status`, on a machine where nothing was ever sent."""
    assert metadata["Version"] in python(wheel, "-m", "usagewire", "--version")
    assert python(wheel, "-m", "usagewire", "status", environ={"USAGEWIRE_STATE_DIR": str(tmp_path)})


HEAVY = ("click", "google.protobuf", "grpc", "requests", "urllib3", "yaml")


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("usagewire", (*HEAVY, "opentelemetry", "orjson")),
        ("usagewire_instrumentation", (*HEAVY, "opentelemetry.sdk", "usagewire")),
        ("usagewire.sdk", HEAVY),
    ],
)
def test_an_import_loads_nothing_heavy(wheel: Path, module: str, never: tuple[str, ...]) -> None:
    """What the host's start does not need is loaded at first use, on a thread of ours; requests alone takes 100 ms."""
    loaded = python(wheel, "-c", f"import {module}, sys; print({module}.__file__, *sys.modules)").split()

    assert loaded[0].startswith(str(wheel))
    assert [] == [name for name in never if name in loaded]
