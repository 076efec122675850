"""The whole way: ferry, the exporters, real receivers."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.console import INSTRUMENT, clean
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_demo(**variables: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as `make demo` does."""
    command = [sys.executable, str(EXAMPLES / "demo.py"), "--files", "8"]
    environ = {**clean(), **variables}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_demo_shows_that_everything_arrived(tmp_path: Path) -> None:
    """It succeeds whatever telemetry settings surround it, shows requests, status and figures, and leaves nothing."""
    done = run_demo(TMPDIR=str(tmp_path), DO_NOT_TRACK="1", OTEL_SDK_DISABLED="true")

    assert (0, "") == (done.returncode, done.stderr), done.stdout
    assert 'server_start  server_version="1.4.0"' in done.stdout
    assert "POST /v1/batch  13 events" in done.stdout
    assert "POST /jina  1 event" in done.stdout
    assert "POST /collect  1 event" in done.stdout
    assert "    transfer status  queued=8  started=8  completed=8  failed=0\n" in done.stdout
    assert "  file sizes, total                             8          8\n" in done.stdout
    assert "stone: on under the licence sharing-1-0" in done.stdout
    assert '"backtrace": [' in done.stdout
    assert "no devices reported: " in done.stdout or "/device" in done.stdout
    assert "secret-object" not in done.stdout
    assert "All of it arrived, once, and nothing else" in done.stdout
    assert [] == list(tmp_path.iterdir())


def test_demo_is_watched_on_a_page() -> None:
    """At a terminal it opens a page first, which has received everything when all is said, and stays until Enter."""
    command = [sys.executable, "-u", str(EXAMPLES / "demo.py"), "--files", "2", "--page"]
    environ = {name: value for name, value in clean().items() if not name.endswith("DISPLAY")}
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        assert demo.stdin is not None
        assert demo.stdout is not None
        said = "".join(takewhile(lambda line: line != "The page stays until you press Enter.\n", demo.stdout))
        url = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", said)
        assert url is not None, said
        with requests.Session() as session:
            assert session.get(url[0], timeout=60).ok
            arrived = session.get(url[0].replace("/?token", "/received/export.json?token"), timeout=60).json()
        demo.stdin.write("\n")
        demo.stdin.close()

        assert 0 == demo.wait(60)
    assert {"segment", "jetstream", "jina", "tts", "stone"} == {request["format"] for request in arrived["requests"]}
    assert [] == [request["complaints"] for request in arrived["requests"] if request["complaints"]]


def carried(tmp_path: Path, *arguments: str, **variables: str) -> list[dict[str, Any]]:
    """Run ferry's demo with the segment exporters and deliver all of it: the events that arrived."""
    with Receiver() as receiver:
        settings = {
            "OTEL_SERVICE_NAME": "ferry",
            "OTEL_LOGS_EXPORTER": "segment",
            "OTEL_METRICS_EXPORTER": "segment",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_EXPORTER_SEGMENT_ENDPOINT": receiver.url,
            "OTEL_EXPORTER_SEGMENT_WRITE_KEY": "key",
            "OTEL_EXPORTER_SEGMENT_INTERVAL": "1",
            "USAGEWIRE_STATE_DIR": str(tmp_path / "state"),
            "USAGEWIRE_DELIVERY": "manual",
            **variables,
        }
        program = [str(INSTRUMENT), sys.executable, str(EXAMPLES / "ferry.py"), "demo", "--files", "3", *arguments]
        send = [sys.executable, "-m", "usagewire", "send"]
        for command in (program, send, send):  # a report leaves one look later than the points it is made of
            subprocess.run(
                command, env={**clean(), **settings}, capture_output=True, timeout=60, check=command is program
            )
        assert [] == receiver.complaints()
        return receiver.events()


def test_plan_lists_all_that_ferry_says(tmp_path: Path) -> None:
    """With its tracking plan as the allow-list, ferry's telemetry is the same as without one."""

    def names(events: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
        return sorted((event["event"], sorted(event["properties"])) for event in events)

    planned = carried(tmp_path / "planned", USAGEWIRE_PLAN=str(EXAMPLES / "plans" / "ferry.yaml"))

    assert names(carried(tmp_path / "free")) == names(planned)
    assert 4 + 3 + 1 + 10 == len(planned)


@pytest.mark.parametrize("plan", ["", str(EXAMPLES / "plans" / "ferry.yaml")])
def test_disable_telemetry_is_silence(tmp_path: Path, plan: str) -> None:
    """Ferry's documented switch on its own command line: nothing is sent and nothing is written."""
    assert [] == carried(tmp_path, "--disable-telemetry", USAGEWIRE_PLAN=plan)
    assert [] == list(tmp_path.iterdir())
