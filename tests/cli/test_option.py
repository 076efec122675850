"""The option a product adds to its own command line."""

from __future__ import annotations

import argparse
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from usagewire import pipeline
from usagewire.cli import add_disable_telemetry_option


@pytest.mark.parametrize(
    ("argv", "wanted"), [([], False), (["--disable-telemetry"], True), (["--disable-tel"], True)], ids=str
)
def test_option_says_no(argv: list[str], wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken by the parser, abbreviated or not, and passed on to every exporter; without it nothing changes."""
    said: list[bool] = []
    monkeypatch.setattr(pipeline, "disable", lambda: said.append(True))
    parser = argparse.ArgumentParser()
    add_disable_telemetry_option(parser)

    assert wanted is parser.parse_args(argv).disable_telemetry
    assert [True] * wanted == said
    assert "--disable-telemetry" in parser.format_help()


@pytest.mark.slow
def test_option_costs_a_product_nothing() -> None:
    """Neither the command line nor anything it needs is loaded for it."""
    source = "import sys, usagewire.cli; print([n for n in ('click', 'orjson', 'requests') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True)

    assert "[]\n" == done.stdout


@pytest.mark.parametrize(("argv", "wanted"), [([], False), (["--disable-telemetry"], True)], ids=str)
def test_option_of_a_click_command(argv: list[str], wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given to a group or a command, also as a decorator; its function sees nothing of it."""
    said: list[bool] = []
    monkeypatch.setattr(pipeline, "disable", lambda: said.append(True))

    @add_disable_telemetry_option
    @click.group()
    def product() -> None:
        """A product."""

    product.command("ls")(lambda: click.echo("listed"))

    assert "listed\n" == CliRunner().invoke(product, [*argv, "ls"]).stdout
    assert [True] * wanted == said
    assert "--disable-telemetry  Send no usage telemetry." in CliRunner().invoke(product, ["--help"]).stdout


def test_option_of_something_else() -> None:
    """What is neither is named, with the way out."""
    with pytest.raises(TypeError, match=r"put it above @click.command\(\)"):
        add_disable_telemetry_option(lambda: None)
