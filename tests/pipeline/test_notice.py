"""`usagewire.first_run_notice`: said once, to somebody who reads it, and never where it would be noise."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.programs import shell
from usagewire.policy.consent import write
from usagewire.state.origin import CI_VENDORS

pytestmark = pytest.mark.slow

SOURCE = textwrap.dedent("""
    import usagewire
    from usagewire.sdk import SegmentLogExporter
    exporter = SegmentLogExporter(endpoint="https://telemetry.example", write_key="x", delivery="manual")
    print(usagewire.first_run_notice(), usagewire.first_run_notice("again"))
    exporter.shutdown()
""")
LINE = (
    "shop sends usage data to https://telemetry.example. To see it: usagewire show --service shop; to say no: "
    "usagewire off --service shop, or DO_NOT_TRACK=1.\r\n"
)

CI = {"CI", *(sign.partition("=")[0] for signs in CI_VENDORS.values() for sign in signs)}
"""Variables of the machine that runs this test, which may be one of those."""


def run(
    state: Path, *argv: str, source: str = SOURCE, terminal: bool = True, variables: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """What a program prints, and what a person at its terminal reads."""
    environ = {name: value for name, value in shell(state).items() if name not in CI}
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", source, *argv],
            env={**environ, "OTEL_SERVICE_NAME": "shop", **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs if terminal else subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        )
        os.write(theirs, b"$")  # so that there is something to read
        read = b""
        while not read.endswith(b"$"):
            read += os.read(ours, 4096)
    finally:
        os.close(ours)
        os.close(theirs)
    return done.stdout, read.decode().removesuffix("$") + (done.stderr or "")


def test_it_is_said_once(tmp_path: Path) -> None:
    """At the first run, on one line, with how to say no; the second run says nothing."""
    assert ("True False\n", LINE) == run(tmp_path / "state")
    assert ("False False\n", "") == run(tmp_path / "state")
    assert (tmp_path / "state" / "shop" / "noticed").exists()


def test_the_product_may_word_it(tmp_path: Path) -> None:
    """In one line, whatever it says."""
    source = SOURCE.replace("first_run_notice()", 'first_run_notice("Ferry\\ntells  its makers.")')

    assert "Ferry tells its makers.\r\n" == run(tmp_path / "state", source=source)[1]


@pytest.mark.parametrize(
    ("argv", "variables"),
    [
        ((), {"CI": "true"}),
        ((), {"GITHUB_ACTIONS": "true"}),
        (("--help",), {}),
        (("import", "-h"), {}),
        ((), {"DO_NOT_TRACK": "1"}),
        ((), {"OTEL_SERVICE_NAME": ""}),
    ],
    ids=repr,
)
def test_where_it_would_be_noise(tmp_path: Path, argv: tuple[str, ...], variables: dict[str, str]) -> None:
    """In CI, for help, and where somebody has decided: nothing is said, and nothing remembered."""
    assert ("False False\n", "") == run(tmp_path / "state", *argv, variables=variables)
    assert not (tmp_path / "state").exists()


def test_in_a_pipe(tmp_path: Path) -> None:
    """Nobody reads it there."""
    assert ("False False\n", "") == run(tmp_path / "state", terminal=False)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("on", [True, False])
def test_after_a_word(tmp_path: Path, on: bool) -> None:
    """Who has said yes or no knows."""
    write(tmp_path / "state" / "shop", on, "test")

    assert ("False False\n", "") == run(tmp_path / "state")
