"""The command line as a whole: help, faults, colours, and what it costs to start."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cogapp import Cog

from tests.support.left import leave
from tests.support.shell import Shell, pages
from usagewire.cli import choose
from usagewire.cli.words import moment, plural, remedy, size, span

ROOT = Path(__file__).parents[2]
CALLS = dict(pages())


@pytest.mark.parametrize("call", CALLS)
def test_every_command_and_option_has_help(call: str) -> None:
    """A sentence for each command, ending as sentences do, and one for each option."""
    command = CALLS[call]
    first = (command.help or "").partition("\n")[0]

    assert first.endswith(".")
    assert first[0].isupper()
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert (option.help or "").endswith("."), option.name


@pytest.mark.parametrize("call", CALLS)
def test_every_command_is_documented(call: str) -> None:
    """Each has its section on the page."""
    assert f"### {call}\n" in (ROOT / "docs" / "cli.md").read_text()


def test_the_page_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cog would write stands there already; otherwise run `cog -r docs/cli.md`."""
    monkeypatch.chdir(ROOT)

    assert 0 == Cog().main(["cog", "--check", "docs/cli.md"])


def test_version(shell: Shell) -> None:
    """The distribution's version."""
    assert "usagewire, version 0.1.0\n" == shell.run("--version").stdout


def test_an_unknown_command(shell: Shell) -> None:
    """A command that is not there is a usage error."""
    result = shell.run("stats")

    assert 2 == result.exit_code
    assert "No such command 'stats'" in result.stderr


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/state/shop"), "/state/shop: Permission denied; is"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; make room, and say it again"),
        (RuntimeError("impossible"), "a fault of usagewire itself, please report it: RuntimeError: impossible"),
    ],
)  # fmt: skip
def test_no_fault_is_a_traceback(shell: Shell, monkeypatch: pytest.MonkeyPatch, fault: Exception, said: str) -> None:
    """Whatever goes wrong is one line on stderr, and 1."""

    def fail(root: Path) -> list[str]:
        raise fault

    monkeypatch.setattr(choose, "services", fail)

    for command in ("status", "show", "send", "on", "off"):
        result = shell.run(command)

        assert (1, "") == (result.exit_code, result.stdout)
        assert said in result.stderr
        assert 1 == len(result.stderr.splitlines())


@pytest.mark.slow
def test_a_reader_that_leaves_early(shell: Shell) -> None:
    """`usagewire show | head -1` ends quietly."""
    leave(shell.root, 2_000)
    command = f"{sys.executable} -m usagewire show --full | head -1"

    done = subprocess.run(
        ["sh", "-c", command],
        env={"USAGEWIRE_STATE_DIR": str(shell.root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ("shop · segment\n", "") == (done.stdout, done.stderr)


@pytest.mark.slow
def test_colours(shell: Shell, tmp_path: Path) -> None:
    """On a terminal there are colours, with NO_COLOR there are none, in a pipe neither."""
    leave(shell.root, 1)
    script = "import pty, sys; sys.exit(pty.spawn([sys.executable, '-m', 'usagewire', 'status']))"

    def said(**variables: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={"USAGEWIRE_STATE_DIR": str(shell.root), "TERM": "xterm", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout

    assert "\x1b[" in said()
    assert "\x1b[" not in said(NO_COLOR="1")
    assert "shop" in said(NO_COLOR="1")
    assert "\x1b[" not in shell.call("status").stdout


@pytest.mark.slow
def test_help_loads_nothing_heavy() -> None:
    """Help appears without the network's, the plan's or OpenTelemetry's libraries."""
    code = (
        "import sys\n"
        "from usagewire.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print([name for name in ('requests', 'grpc', 'yaml', 'opentelemetry', 'google') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert "[]" == done.stdout.splitlines()[-1]


def test_words() -> None:
    """Numbers as people read them."""
    second = 1_000_000_000

    assert ["1 item", "1,204 items"] == [plural(1, "item"), plural(1204, "item")]
    assert ["0 bytes", "1023 bytes", "1.5 KiB", "64.0 MiB", "2.0 GiB"] == [
        size(number) for number in (0, 1023, 1536, 64 << 20, 2 << 30)
    ]
    assert ["0.5 s", "45 s", "5 min", "3 h", "2 days"] == [
        span(round(seconds * second)) for seconds in (0.5, 45, 300, 3 * 3600, 2 * 86_400)
    ]
    assert "1970-01-01T00:01:00Z (60 s ago)" == moment("1970-01-01T00:01:00Z", 120 * second)
    assert "1970-01-01T00:01:00Z (in 60 s)" == moment("1970-01-01T00:01:00Z", 0)
    assert "an unknown time" == moment(None, 0)
    assert "use the version that the program uses" in remedy("invented")
