"""The README's examples, run as printed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.support.programs import INSTRUMENT, Program, names, needs_yaml
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ENDPOINT = "https://events.example.com"


def blocks(language: str) -> list[str]:
    """The README's code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A folder with the README's program as app.py, and an environment without a word about telemetry."""
    (tmp_path / "app.py").write_text(blocks("python")[0])
    return Program(tmp_path, "")


def run(program: Program, script: str, **more: str | None) -> tuple[int, str, str]:
    """Run a shell script where ``opentelemetry-instrument`` and ``python`` are ours."""
    import subprocess

    unset = dict.fromkeys(name for name in program.environ() if name.startswith("OTEL_"))
    environ = program.environ(**{**unset, **more, "USAGEWIRE_STATE_DIR": str(program.state)})
    environ["PATH"] = f"{Path(INSTRUMENT).parent}:{environ['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", script], cwd=program.folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_the_environment_example(program: Program) -> None:
    """The program and the five exports, as printed, deliver both events."""
    with Receiver() as receiver:
        assert (0, "", "") == run(program, blocks("sh")[0].replace(ENDPOINT, receiver.url))
        assert receiver.wait(2, timeout=20)
        assert ["server_start", "deployment_started"] == names(receiver.events())


@needs_yaml
def test_the_yaml_example(program: Program) -> None:
    """The YAML, as printed, delivers both events."""
    with Receiver() as receiver:
        (program.folder / "otel.yaml").write_text(blocks("yaml")[0].replace(ENDPOINT, receiver.url))
        code, out, err = run(program, "opentelemetry-instrument python app.py", OTEL_CONFIG_FILE="otel.yaml")
        assert (0, "") == (code, out)
        assert "usagewire" not in err  # OpenTelemetry has a line of its own to say
        assert receiver.wait(2, timeout=20)
        assert ["server_start", "deployment_started"] == names(receiver.events())


def test_the_code_example(program: Program) -> None:
    """The lines of code, as printed, deliver both events of a program that sets its own provider."""
    with Receiver() as receiver:
        setup = blocks("python")[1].replace(ENDPOINT, receiver.url)
        source = f"{setup}\nfrom opentelemetry._logs import set_logger_provider\nset_logger_provider(provider)\n"
        (program.folder / "whole.py").write_text(source + blocks("python")[0])
        assert (0, "", "") == run(program, f"{sys.executable} whole.py")
        assert receiver.wait(2, timeout=20)
        assert ["server_start", "deployment_started"] == names(receiver.events())


def test_the_error_is_printed_as_shown(program: Program) -> None:
    """The README shows the very line that wrong settings give."""
    script = blocks("sh")[0].replace("export OTEL_EXPORTER_SEGMENT_WRITE_KEY=your-write-key\n", "")

    code, _, err = run(program, script, OTEL_EXPORTER_SEGMENT_TIMEOUT="abc")

    assert (0, blocks("text")[0]) == (code, err)


def test_every_page_it_names_is_there() -> None:
    """No link of the README leads nowhere."""
    links = re.findall(r"\]\(([^)#]+)\)", README)

    assert [] == [link for link in links if not link.startswith("http") and not (ROOT / link).exists()]
