"""The example product does its work, with and without an SDK, and tells what it should."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.console import clean, instrumented, names

pytestmark = pytest.mark.slow

FERRY = Path(__file__).parents[2] / "examples" / "ferry.py"


def ferry(*arguments: str | Path, status: int = 0) -> str:
    """Run ferry without an SDK and give what it printed."""
    command = [sys.executable, FERRY, *arguments]
    done = subprocess.run(command, env=clean(), capture_output=True, text=True, timeout=60, check=False)
    assert status == done.returncode, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A server process storing in ``inbox``; it must end well when asked to."""
    command = [sys.executable, "-u", str(FERRY), "serve", "--port", "0", "--directory", str(tmp_path / "inbox")]
    with subprocess.Popen(command, env=clean(), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline().rpartition(":")[2])
        server.send_signal(signal.SIGTERM)
        assert 0 == server.wait(20)


def test_files_arrive_byte_for_byte(tmp_path: Path, port: int) -> None:
    """Files and whole folders arrive as they are, empty ones too, and the client says how many."""
    outbox = tmp_path / "outbox"
    (outbox / "deep" / "er").mkdir(parents=True)
    contents = {"empty": b"", "deep/one": b"x", "deep/er/large": os.urandom(300_000), "ünï cödé\n": b"name"}
    for name, content in contents.items():
        (outbox / name).write_bytes(content)

    printed = ferry("send", "--port", str(port), outbox, FERRY)

    inbox = tmp_path / "inbox"
    arrived = {str(p.relative_to(inbox)): p.read_bytes() for p in inbox.rglob("*") if p.is_file()}
    assert {**{f"outbox/{name}": c for name, c in contents.items()}, "ferry.py": FERRY.read_bytes()} == arrived
    assert printed.startswith("5 of 5 files arrived intact: ")


def ask(port: int, *requests: bytes) -> list[bytes]:
    """Speak to the server by hand: its answer to each part."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, connection.makefile("rwb") as stream:
        answers = []
        for request in requests:
            stream.write(request)
            stream.flush()
            answers.append(stream.readline().strip())
        return answers


def header(name: Any, size: Any) -> bytes:
    """The first line of a file."""
    return json.dumps({"name": name, "size": size}).encode() + b"\n"


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "", "."])
def test_server_keeps_to_its_directory(tmp_path: Path, port: int, name: str) -> None:
    """Nothing is stored outside, whatever the name says."""
    assert [b"not a place below my directory"] == ask(port, header(name, 1))
    assert ["inbox"] == [path.name for path in tmp_path.iterdir()]


def test_damaged_file_is_not_stored(tmp_path: Path, port: int) -> None:
    """A wrong checksum is told and leaves nothing; the next file on the same connection is fine."""
    good = hashlib.sha256(b"abc").hexdigest().encode() + b"\n"

    answers = ask(port, header("a", 3), b"abX" + good, header("b", 3), b"abc" + good)

    assert [b"ready", b"damaged on the way", b"ready", b"stored"] == answers
    assert ["b"] == [path.name for path in (tmp_path / "inbox").rglob("*") if path.is_file()]


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{}\n", b"\xff\n", header(3, 3), header("a\0", 3), header("a", "b")])
def test_nonsense_ends_the_connection_only(port: int, line: bytes) -> None:
    """A client that speaks nonsense is hung up on, at the latest when it goes on; the next one is served."""
    answers = ask(port, line)

    assert answers in ([b""], [b"ready"])
    assert [b"ready"] == ask(port, header("fine", 0))


def test_refused_files_and_absent_servers_are_told(tmp_path: Path) -> None:
    """Exit status 1 and a sentence, not a traceback."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        printed = ferry("send", "--port", str(unused.getsockname()[1]), FERRY, status=1)

    assert printed.startswith("ferry: ")
    assert 1 == printed.count("\n")
    assert ferry("send", tmp_path / "absent", status=1).startswith("ferry: ")


def test_demo_works_without_an_sdk() -> None:
    """The demo carries what it made and says so in two lines; the documented telemetry switch is accepted."""
    assert re.fullmatch(
        r"30 of 30 files arrived intact: \d+ bytes in .* s\nsizes 0 to \d+ bytes, median .* ms\n",
        ferry("demo", "--files", "30", "--disable-telemetry"),
    )


def test_demo_tells_what_it_did() -> None:
    """Under a real SDK: components, one event per file, and the documented metrics and boundaries."""
    status, found, errors = instrumented(FERRY, "demo", "--files", "5", OTEL_METRICS_EXPORTER="console")
    metrics = {
        metric["name"]: (metric["unit"], metric["data"]["data_points"])
        for record in found
        for resource in record.get("resource_metrics", [])
        for scope in resource["scope_metrics"]
        if scope["scope"]["name"] != "opentelemetry-sdk"  # 1.41 counts its own work without being asked
        for metric in scope["metrics"]
    }

    assert (0, "") == (status, errors)
    start, stop = "usage.component.start", "usage.component.stop"
    assert [start, start, *["transfer_finished"] * 5, stop, stop, "usage.command"] == names(found)
    assert {
        "usage.file.size": "By",
        "usage.transfer.size": "By",
        "usage.transfer.count": "{transfer}",
        "usage.transfer.round_trip_time": "s",
        "usage.transfer.rate": "By/s",
        "usage.transfer.rate.samples": "By/s",
        "usage.transmission.rate": "By/s",
        "usage.transmission.rate.samples": "By/s",
    } == {name: unit for name, (unit, _) in metrics.items()}
    assert {"queued": 5, "started": 5, "completed": 5} == {
        point["attributes"]["usage.transfer.state"]: point["value"] for point in metrics["usage.transfer.count"][1]
    }
    (sizes,), (transfers,) = metrics["usage.file.size"][1], metrics["usage.transfer.size"][1]
    assert [0, 1023, 8191, 65535, 524287, 4194303] == sizes["explicit_bounds"][:6]
    assert [1, 2, 2, 0] == sizes["bucket_counts"][:4], "0 · 1 and 1023 · 1024 and 8191, on the right side of each edge"
    assert 137438953471 == sizes["explicit_bounds"][-1]
    assert [1048575, 4194303, 16777215] == transfers["explicit_bounds"][:3]
    assert (11, 2**40 - 1) == (len(transfers["explicit_bounds"]), transfers["explicit_bounds"][-1])
