"""The operator's command line, and what a product's own command line needs of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    import click

    from usagewire.cli.app import main

__all__ = ["add_disable_telemetry_option", "main", "telemetry_commands"]

C = TypeVar("C")
FLAG, HELP = "--disable-telemetry", "Send no usage telemetry."


def telemetry_commands(
    *,
    service: str | None = None,
    format: str | None = None,
    report: Callable[[], object] | None = None,
    devices: Callable[[], object] | None = None,
) -> click.Group:
    """Our commands as a group for a product to mount below its own, so that ``stone telemetry show`` works.

    With click, ``cli.add_command(telemetry_commands())``; with argparse, the group is called with the remainder:
    ``telemetry_commands()(options.rest, prog_name="stone telemetry")``, which exits. ``service`` and ``format``
    count where the operator names none; ``service`` unset: all that have run. ``report`` and ``devices`` record what
    there is to say now, such as `StateReporter.report` and `DeviceReporter.report`: ``show`` and ``send`` call the
    one, ``show-device`` and ``send`` the other, and have OpenTelemetry hand it over, so that what they show is live.
    """
    from usagewire.cli.mounted import mount

    return mount(service, format, report, devices)


def add_disable_telemetry_option(command: C) -> C:
    """Give a product's `argparse.ArgumentParser`, or its click command, ``--disable-telemetry``, as JETStream Server
    and ReadySet document it; returns it, so that this also decorates a click command.

    Exporters exist before any command line is parsed and look for the flag themselves; the option makes the parser
    take it, and says no also where it was abbreviated or came from elsewhere than the command line. With argparse it
    is the attribute ``disable_telemetry``, too; a click command's function is not given it.
    """
    if isinstance(command, argparse.ArgumentParser):
        command.add_argument(FLAG, action=_Disable, nargs=0, default=False, help=HELP)
    elif not hasattr(command, "params"):
        raise TypeError(f"{command!r} is neither an argparse parser nor a click command: put it above @click.command()")
    else:
        import click

        cast("click.Command", command).params.append(
            click.Option([FLAG], is_flag=True, expose_value=False, is_eager=True, callback=_disable, help=HELP)
        )
    return command


def _disable(context: object, parameter: object, value: bool) -> None:
    if value:
        from usagewire import disable

        disable()


class _Disable(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        from usagewire import disable

        disable()
        setattr(namespace, self.dest, True)


def __getattr__(name: str) -> Any:
    if name == "main":  # a product that wants the option needs nothing else of this
        from usagewire.cli.app import main

        return main
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
