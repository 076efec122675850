"""`usagewire inspect` as a command; what its page shows is tried in tests/inspector."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.support.programs import shell

pytestmark = pytest.mark.slow

INSPECT = [sys.executable, "-u", "-m", "usagewire", "inspect"]


def run(state: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command that cannot begin, to its end."""
    return subprocess.run(command, env=shell(state), capture_output=True, text=True, timeout=90, check=False)


def test_it_answers_until_ctrl_c(tmp_path: Path) -> None:
    """Three addresses are printed, the page opens with its key, and an interrupt ends it quietly and leaves nothing."""
    state, pipe = tmp_path / "state", subprocess.PIPE
    with subprocess.Popen(INSPECT, env=shell(state), stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(3))
        page, receiver, grpc = re.findall(r"http://127\.0\.0\.1:\d+\S*", said)
        with requests.Session() as session:
            assert "Nothing has run here yet" in session.get(page, timeout=60).text
            assert receiver in session.get(page.replace("/?", "/received?"), timeout=60).text
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert (0, "", "") == (process.returncode, out, err)
    assert grpc.startswith("http://127.0.0.1:")
    assert not state.exists()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """It says which, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option in ("--port", "--receiver-port"):
            done = run(tmp_path, *INSPECT, option, port)

            assert 1 == done.returncode
            assert re.search(rf"Error: {option} {port}: .+; leave it out to take any free one\n", done.stderr), (
                done.stderr
            )


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    """The address is named, not the port, which is not what is wrong."""
    done = run(tmp_path, *INSPECT, "--host", "192.0.2.1")

    assert 1 == done.returncode
    assert re.search(r"^Error: --host 192\.0\.2\.1: .+; name an address of this machine$", done.stderr, re.MULTILINE)


def test_without_the_extra(tmp_path: Path) -> None:
    """It says what to install; nothing else of the command line needs it."""
    hide = "import sys; sys.modules['jinja2'] = sys.modules['uvicorn'] = None; from usagewire.cli import main; main()"

    done = run(tmp_path, sys.executable, "-c", hide, "inspect")

    assert (1, "Error: not installed: jinja2, uvicorn; pip install 'usagewire[inspector]'\n") == (
        done.returncode,
        done.stderr,
    )
    assert 0 == run(tmp_path, sys.executable, "-c", hide, "status").returncode
