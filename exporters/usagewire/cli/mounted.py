"""The same commands below a product's own: ``stone telemetry show``, in the product's own process."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from typing import Any

import click

from usagewire.cli.app import CONTEXT, Commands, prepare
from usagewire.cli.choose import choosing
from usagewire.cli.send import REPORT
from usagewire.cli.words import bad
from usagewire.pipeline import record

Recorder = Callable[[], object]
PATIENCE = 10.0
"""Seconds that what was just recorded gets to reach the queue."""


class Mounted(Commands):
    """Has the product record what there is to say before a command says it."""

    report: Recorder | None = None
    devices: Recorder | None = None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called ``cmd_name``, live."""
        found = super().get_command(ctx, cmd_name)
        call = found.callback if found is not None and cmd_name in ("show", "show-device", "send") else None
        if found is None or call is None:
            return found

        def live(**said: Any) -> Any:
            what = said.get("what") or {"show": REPORT, "show-device": "device"}.get(cmd_name)
            self._record(self.report if what in (None, REPORT) else None, self.devices if what != REPORT else None)
            return call(**said)

        command = copy(found)
        command.callback = live
        return command

    @staticmethod
    def _record(*recorders: Recorder | None) -> None:
        for recorder in recorders:
            if recorder is not None:
                try:
                    recorder()
                except Exception as fault:  # the product's: it costs this one answer
                    click.echo(f"{bad('not recorded')}: {type(fault).__name__}: {fault}", err=True)
        record(time.monotonic() + PATIENCE)


def mount(service: str | None, format: str | None, report: Recorder | None, devices: Recorder | None) -> click.Group:
    """See `usagewire.cli.telemetry_commands`."""

    @click.group("telemetry", cls=Mounted, context_settings=CONTEXT)
    @choosing("service", "format")
    def telemetry(**_: object) -> None:
        """See, send or stop the usage data that this program collects."""
        prepare()

    for option in telemetry.params:
        option.default = {"service": service, "format": format}.get(str(option.name))
    assert isinstance(telemetry, Mounted)  # noqa: S101 - for the type checker
    telemetry.report, telemetry.devices = report, devices
    return telemetry
