"""``usagewire``: the group of commands, and the one place where a fault becomes a sentence."""

from __future__ import annotations

import errno
import logging
import os
import sys
from importlib import import_module
from typing import Any

import click

from usagewire.cli.choose import choosing
from usagewire.errors import UsagewireError

_COMMANDS = {
    "status": "status",
    "show": "show",
    "show-device": "show",
    "send": "send",
    "history": "history",
    "on": "consent",
    "off": "consent",
    "diff": "diff",
    "config": "settings",
    "plan": "plan",
    "inspect": "inspect",
}
"""Command → its module, in the order of ``--help``; loaded when it is called."""


class Commands(click.Group):
    """Loads a command at first use, and turns every fault into one line on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of use, not of the alphabet."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called ``cmd_name``."""
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(import_module(f"usagewire.cli.{module}"), cmd_name.replace("-", "_"))
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what goes wrong is said in a sentence, unless ``python -X dev`` asks for the traceback."""
        try:
            return super().invoke(ctx)
        except UsagewireError as fault:
            raise click.ClickException(str(fault)) from fault
        except OSError as fault:
            if fault.errno == errno.EPIPE:  # `usagewire show | head`: click ends it quietly
                raise
            what = f"{fault.filename}: " if fault.filename else ""
            hint = "is USAGEWIRE_STATE_DIR the program's state folder, and are you its user?"
            if fault.errno == errno.ENOSPC:  # of the state folder, or of what the output goes to
                hint = "make room, and say it again"
            raise click.ClickException(f"{what}{fault.strerror or fault}; {hint}") from fault
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as fault:
            if sys.flags.dev_mode:
                raise
            raise click.ClickException(
                f"a fault of usagewire itself, please report it: {type(fault).__name__}: {fault} "
                "(`python -X dev -m usagewire …` shows where)"
            ) from fault


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def prepare() -> None:
    """What every command needs of its process."""
    if os.environ.get("NO_COLOR"):
        click.get_current_context().color = False
    # `status` says what the log would say, and a log without a handler would print it between the lines
    logging.getLogger("usagewire").addHandler(logging.NullHandler())


@click.group(
    cls=Commands,
    context_settings=CONTEXT,
    epilog="Settings of the programs are environment variables; `usagewire config list` names them.",
)
@choosing("service", "format")
@click.version_option(package_name="usagewire")
def main(**_: object) -> None:
    """See, send or stop the usage data that programs with usagewire collect.

    It reads what the programs leave in their state folder, so it works whether they run or not, from any shell of
    the same user. The folder is the one `usagewire status` names; USAGEWIRE_STATE_DIR chooses another.

    \b
    Examples:
      usagewire status               who decided, what waits, what went wrong
      usagewire show                 what would leave next, to the letter
      usagewire off --service shop   nothing leaves any more; what waits is deleted
      usagewire send                 deliver everything now
    """
    prepare()
