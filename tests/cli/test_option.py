"""The option a product adds to its own command line."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

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
