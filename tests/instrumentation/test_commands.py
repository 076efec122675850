"""Commands of click and argparse programs are recorded, and nobody who runs them notices."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.support.console import instrumented, names
from tests.support.otel import Capture
from usagewire_instrumentation import events, record_command


@pytest.fixture
def capture() -> Capture:
    """A provider that remembers."""
    return Capture()


def recorded(capture: Capture) -> list[dict[str, Any]]:
    """The attributes of each command, without how long it took."""
    found: list[dict[str, Any]] = []
    for record in capture.records():
        assert "usage.command" == record.log_record.event_name
        attributes = dict(record.log_record.attributes or {})
        duration = attributes.pop("usage.command.duration")
        assert isinstance(duration, float)
        assert 0 <= duration < 60
        found.append(attributes)
    return found


def paths(capture: Capture) -> list[str]:
    """The paths of the commands."""
    return [attributes["usage.command.path"] for attributes in recorded(capture)]


# -- around anything ----------------------------------------------------------------------------------------------


def test_a_path_is_a_context_manager(capture: Capture) -> None:
    """What runs inside is the command; its error passes through and leaves its type."""
    with record_command("applications list", logger_provider=capture.provider):
        pass
    with pytest.raises(KeyError), record_command("users get", logger_provider=capture.provider):
        raise KeyError("a person's name")

    assert [
        {"usage.command.path": "applications list"},
        {"usage.command.path": "users get", "error.type": "KeyError"},
    ] == recorded(capture)


@pytest.mark.parametrize("way_out", [SystemExit(3), KeyboardInterrupt(), click.exceptions.Exit(3), click.Abort()])
def test_ways_to_stop_are_no_errors(capture: Capture, way_out: BaseException) -> None:
    """An exit status and Ctrl-C say nothing about a fault."""
    with pytest.raises(type(way_out)), record_command("x", logger_provider=capture.provider):
        raise way_out

    assert [{"usage.command.path": "x"}] == recorded(capture)


def test_scope_is_the_callers(capture: Capture) -> None:
    """As for every other event."""
    with record_command("x", logger_provider=capture.provider):
        pass

    (record,) = capture.records()
    assert record.instrumentation_scope is not None
    assert __name__.partition(".")[0] == record.instrumentation_scope.name


# -- click --------------------------------------------------------------------------------------------------------


class Late(click.Group):
    """Finds commands by their first letters, and makes them when they are asked for."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """`l` for `list`."""
        found = [name for name in ("list", "create") if name.startswith(cmd_name)]
        return click.Command(found[0], callback=lambda: click.echo(f"{found[0]} done")) if found else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Under its whole name."""
        _, command, rest = super().resolve_command(ctx, args)
        return command.name if command is not None else None, command, rest


def program(capture: Capture) -> click.Group:
    """`ttn` with `applications list`, `applications create`, `users get NAME`, `fail`, `exit`, and `info` on its
    own."""

    @click.group()
    def ttn() -> None:
        pass

    ttn.add_command(Late("applications"))

    @ttn.group()
    @click.argument("tenant")
    def users(tenant: str) -> None:
        pass

    @users.command()
    @click.argument("name")
    @click.option("--token")
    def get(name: str, token: str) -> None:
        click.echo(name)

    @ttn.command()
    def fail() -> None:
        raise ConnectionError("db.example.com refused alice")

    @ttn.command()
    def refuse() -> None:
        raise click.BadParameter("no such thing")

    @ttn.command("exit")
    @click.pass_context
    def leave(ctx: click.Context) -> None:
        ctx.exit(3)

    @ttn.group(invoke_without_command=True)
    def info() -> None:
        click.echo("info")

    info.add_command(click.Command("more"))
    return record_command(ttn, logger_provider=capture.provider, scope="ttn")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("applications list", [{"usage.command.path": "applications list"}]),
        ("applications l", [{"usage.command.path": "applications list", "usage.command.alias": "l"}]),
        ("users acme get alice --token s3cr3t", [{"usage.command.path": "users get"}]),
        ("fail", [{"usage.command.path": "fail", "error.type": "ConnectionError"}]),
        ("refuse", [{"usage.command.path": "refuse", "error.type": "click.exceptions.BadParameter"}]),
        ("exit", [{"usage.command.path": "exit"}]),
        ("info", [{"usage.command.path": "info"}]),
        ("info more", [{"usage.command.path": "info more"}]),
        ("", []),
        ("--help", []),
        ("users acme", []),
        ("users acme get", []),
        ("aplications list", []),
        ("applications x", []),
        ("fail --no-such-option", []),
    ],
)
def test_click_commands(capture: Capture, line: str, found: list[Mapping[str, str]]) -> None:
    """The path of what really ran, without its arguments; what was mistyped or asked for help did not run."""
    CliRunner().invoke(program(capture), line.split())

    assert found == recorded(capture)


@pytest.mark.parametrize(
    "line", ["applications list", "users acme get alice", "fail", "exit", "", "aplications", "refuse"]
)
def test_click_program_does_what_it_did(line: str) -> None:
    """Output, exit code and exception are those of the program without us."""
    runner, silent = CliRunner(), Capture()
    before = runner.invoke(unrecorded(), line.split())
    after = runner.invoke(program(silent), line.split())

    assert (before.output, before.exit_code, repr(before.exception)) == (
        after.output,
        after.exit_code,
        repr(after.exception),
    )


def unrecorded() -> click.Group:
    """The program as it was written."""
    kept = globals()["record_command"]
    globals()["record_command"] = lambda command, **about: command
    try:
        return program(Capture())
    finally:
        globals()["record_command"] = kept


def test_click_command_without_subcommands_goes_by_the_scope(capture: Capture) -> None:
    """What a user calls the program's file is not told; said twice, it is recorded once."""
    command = click.Command("main", callback=lambda: None)
    record_command(record_command(command, scope="ferry", logger_provider=capture.provider), scope="ferry")
    for _ in range(3):
        CliRunner().invoke(command, [], prog_name="/home/alice/bin/ferry")

    assert ["ferry"] * 3 == paths(capture)


def test_click_chain(capture: Capture) -> None:
    """Each command of a chain ran."""
    group = click.Group("cli", chain=True)
    for name in ("clean", "build"):
        group.add_command(click.Command(name, callback=lambda: None))
    CliRunner().invoke(record_command(group, logger_provider=capture.provider), ["clean", "build"])

    assert ["clean", "build"] == paths(capture)


# -- argparse -----------------------------------------------------------------------------------------------------

ARGPARSE = """
import argparse, sys
from usagewire_instrumentation import record_command

parser = argparse.ArgumentParser("cli")
{record}
commands = parser.add_subparsers(dest="command", metavar="COMMAND")
applications = commands.add_parser("applications", aliases=["apps"]).add_subparsers(required=True)
create = applications.add_parser("create")
create.add_argument("name")
create.set_defaults(run=lambda args: print("created", args.name))
fail = commands.add_parser("fail")
fail.set_defaults(run=lambda args: {{}}["alice"])
leave = commands.add_parser("leave")
leave.set_defaults(run=lambda args: sys.exit(3))
args = parser.parse_args()
getattr(args, "run", print)(args)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("applications create alice", {"usage.command.path": "applications create"}),
        ("apps create alice", {"usage.command.path": "applications create"}),
        ("fail", {"usage.command.path": "fail", "error.type": "KeyError"}),
        ("leave", {"usage.command.path": "leave"}),
        ("", {"usage.command.path": "cli"}),
        ("--help", None),
        ("applications", None),
        ("aplications", None),
    ],
)
def test_argparse_program(tmp_path: Path, line: str, found: Mapping[str, str] | None) -> None:
    """From parsing to the end of the process is one run, of what was parsed; errors, output and exit code are the
    program's."""
    script = tmp_path / "cli.py"
    script.write_text(ARGPARSE.format(record=""))
    before = subprocess.run([sys.executable, script, *line.split()], capture_output=True, text=True, check=False)
    script.write_text(ARGPARSE.format(record="record_command(parser)"))
    bare = subprocess.run([sys.executable, script, *line.split()], capture_output=True, text=True, check=False)
    status, records, errors = instrumented(script, *line.split())

    assert (before.returncode, before.stdout) == (bare.returncode, bare.stdout)
    assert (before.returncode, before.stderr.splitlines()[-1:]) == (status, errors.splitlines()[-1:])
    assert ([] if found is None else ["usage.command"]) == names(records)
    for record in records:
        attributes = record["attributes"]
        assert 0 <= attributes.pop("usage.command.duration") < 60
        assert found == attributes


def test_argparse_returns_what_it_returned(capture: Capture) -> None:
    """The parser comes back as it was; parsing twice is one run."""
    parser = argparse.ArgumentParser("cli")
    assert parser is record_command(parser, logger_provider=capture.provider)
    parser.add_argument("--port", type=int)

    assert argparse.Namespace(port=7) == parser.parse_args(["--port", "7"])
    assert (argparse.Namespace(port=None), ["x"]) == parser.parse_known_args(["x"])
    assert [] == capture.records()


# -- odd things ---------------------------------------------------------------------------------------------------


class Stubborn:
    """A command of a framework we have not met."""

    make_context: Callable[..., Any] = staticmethod(lambda: None)
    invoke: Callable[..., Any] = staticmethod(lambda: None)

    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError("frozen")


@pytest.mark.parametrize("odd", [7, None, object(), Stubborn()])
def test_what_is_no_command_is_returned_with_a_word(odd: object, caplog: pytest.LogCaptureFixture) -> None:
    """Never an exception: one line in the log."""
    events._complained.clear()

    assert odd is record_command(odd)
    assert 1 == len(caplog.messages)
    assert "is not followed" in caplog.messages[0]
