"""The operator's command line, and the one option of it that a product's own command line needs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usagewire.cli.app import main

__all__ = ["add_disable_telemetry_option", "main"]


def add_disable_telemetry_option(parser: argparse.ArgumentParser) -> None:
    """Give a product's parser ``--disable-telemetry``, as JETStream Server and ReadySet document it.

    Exporters exist before any parser runs and look for the flag themselves; the option makes the parser take it, and
    says no also where it was abbreviated or came from elsewhere than the command line.
    """
    parser.add_argument("--disable-telemetry", action=_Disable, nargs=0, default=False, help="send no usage telemetry")


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
