"""The command line as an operator calls it: in this process for speed, or as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result

from usagewire.cli import main


@dataclass
class Shell:
    """A shell that knows the state folder ``root``, and ``variables``."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict[str, str])

    def run(self, *argv: str, input: str | None = None) -> Result:
        """Run a command in this process. What is not a decent end fails the test, with its traceback."""
        env = {"USAGEWIRE_STATE_DIR": str(self.root), **self.variables}
        result = CliRunner().invoke(main, list(argv), input=input, env=env, prog_name="usagewire")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def json(self, *argv: str) -> dict[str, Any]:
        """What a command prints with ``--json``."""
        result = self.run(*argv, "--json")
        assert 0 == result.exit_code, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Run a command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "usagewire", *argv],
            env={**os.environ, "USAGEWIRE_STATE_DIR": str(self.root), **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own, to its end."""
        with self.start(*argv) as process:
            out, err = process.communicate(timeout=90)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def only(document: Mapping[str, Any]) -> dict[str, Any]:
    """The one destination of a status."""
    [found] = document["destinations"]
    return dict(found)


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    """Every path below ``root`` with its size, time of change and inode: what reading must leave alone."""
    found = {}
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        found[str(path.relative_to(root))] = (about.st_size, about.st_mtime_ns, about.st_ino)
    return found


def pages(
    command: click.Command = main, words: tuple[str, ...] = ("usagewire",)
) -> Iterator[tuple[str, click.Command]]:
    """Every command that operators see: how it is called, and itself; the group first."""
    yield " ".join(words), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from pages(found, (*words, name))


def help_text(call: str) -> str:
    """What ``call --help`` prints, 100 columns wide."""
    result = CliRunner().invoke(main, [*call.split()[1:], "--help"], prog_name="usagewire", terminal_width=100)
    assert 0 == result.exit_code
    return result.stdout.rstrip()
