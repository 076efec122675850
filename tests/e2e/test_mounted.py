"""A product with our commands below its own, in its own process."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.support.programs import Program
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow

PRODUCT = """
import json, os, pathlib
from usagewire.cli import add_disable_telemetry_option, telemetry_commands
from usagewire_instrumentation import EntityCounts, emit_event
here = pathlib.Path(__file__).parent
EntityCounts(scope="stone").count("osd", lambda: int((here / "osds").read_text()))
def report():
    emit_event("usage.state", {"usage.state.section": "balancer"}, body={"mode": (here / "mode").read_text()})
def devices():
    (here / "asked").write_text("yes")
    emit_event("usage.device", {"usage.device.host": "h", "usage.device.id": "DISK_1"}, body={"temperature": 31})
commands = telemetry_commands(service="mgr", format="stone", report=report, devices=devices)
"""
CLICK = (
    PRODUCT
    + """
import click
@add_disable_telemetry_option
@click.group()
@click.option("--format", default="json")
@click.option("--service", default="x")
def stone(format, service):
    "Something else than our --format and --service."
@stone.command()
def ls():
    click.echo("listed")
stone.add_command(commands)
stone(prog_name="stone")
"""
)
ARGPARSE = (
    PRODUCT
    + """
import argparse
parser = argparse.ArgumentParser(prog="stone")
add_disable_telemetry_option(parser)
parser.add_argument("command", choices=["ls", "telemetry"])
parser.add_argument("rest", nargs=argparse.REMAINDER)
options = parser.parse_args()
if options.command == "telemetry":
    commands(options.rest, prog_name="stone telemetry")
print("listed")
"""
)


@pytest.fixture
def product(program: Program, receiver: Receiver) -> Program:
    """A product that says how many disks it has, and in which mode it is; its telemetry is on."""
    program.settings = {
        "OTEL_SERVICE_NAME": "mgr",
        "OTEL_LOGS_EXPORTER": "stone",
        "OTEL_METRICS_EXPORTER": "stone",
        "OTEL_EXPORTER_STONE_ENDPOINT": receiver.url,
    }
    assert 0 == program.usagewire("on", "--service", "mgr", "--license", "sharing-1-0").returncode
    (program.folder / "mode").write_text("upmap")
    (program.folder / "osds").write_text("12")
    return program


def call(product: Program, source: str, *argv: str) -> str:
    """What the product prints."""
    done = product.run(source, *argv)
    assert (0, False) == (done.returncode, "Traceback" in done.stderr), done.stderr  # a slow send says how far it is
    return done.stdout


def shown(said: str) -> dict[str, Any]:
    """The report that `show --json` shows."""
    [request] = [one for one in json.loads(said)["requests"] if one["url"].endswith("/report")]
    found: dict[str, Any] = json.loads(request["body"])
    return found


@pytest.mark.parametrize("source", [CLICK, ARGPARSE], ids=["click", "argparse"])
def test_show_is_live(product: Program, source: str) -> None:
    """It says how things are now, not how they were when something last reported; the disks are left alone."""
    first = shown(call(product, source, "telemetry", "show", "--json"))
    (product.folder / "mode").write_text("crush-compat")
    (product.folder / "osds").write_text("13")
    second = shown(call(product, source, "telemetry", "show", "--json"))

    assert ("upmap", 12) == (first["balancer"]["mode"], first["osd"]["count"])
    assert ("crush-compat", 13) == (second["balancer"]["mode"], second["osd"]["count"])
    assert not (product.folder / "asked").exists()


@pytest.mark.parametrize("source", [CLICK, ARGPARSE], ids=["click", "argparse"])
def test_send_records_and_sends(product: Program, receiver: Receiver, source: str) -> None:
    """Both reports, as they are now; a second time again."""
    said = call(product, source, "telemetry", "send")
    assert "delivered" in said
    assert receiver.wait_for(lambda: len(receiver.requests) >= 2, timeout=20)
    (product.folder / "osds").write_text("13")
    call(product, source, "telemetry", "send", "report")

    assert receiver.wait_for(lambda: len(receiver.requests) >= 3, timeout=20)
    assert [] == receiver.complaints()
    reports = [json.loads(one.body) for one in receiver.requests if one.path == "/report"]
    assert [12, 13] == [report["osd"]["count"] for report in reports]
    assert ["/device"] == [one.path for one in receiver.requests if one.path != "/report"]


def test_show_device_asks_the_disks(product: Program) -> None:
    """And nothing else."""
    said = json.loads(call(product, CLICK, "telemetry", "show-device", "--json"))

    [request] = said["requests"]
    [(name, _)] = json.loads(request["body"]).items()
    assert name.startswith("DISK_")
    assert (product.folder / "asked").exists()


def test_group_is_the_product_s_own(product: Program) -> None:
    """Its help names the product's command, its options are not the product's, and faults are sentences."""
    assert "Usage: stone telemetry [OPTIONS] COMMAND" in call(product, CLICK, "telemetry", "--help")
    assert "Usage: stone telemetry show" in call(product, ARGPARSE, "telemetry", "show", "--help")
    assert "listed\n" == call(product, CLICK, "ls")
    assert not (product.folder / "asked").exists()
    refused = product.run(CLICK, "--format", "yaml", "telemetry", "config", "set", "speed", "1")
    assert (2, True) == (refused.returncode, "stone has no setting 'speed'" in refused.stderr)


def test_the_product_is_no_slip_of_the_pen(product: Program) -> None:
    """Its own service is known, also before it has left anything."""
    shutil.rmtree(product.state / "mgr")

    done = product.run(CLICK, "telemetry", "on", "--license", "sharing-1-0")

    assert (0, "") == (done.returncode, done.stderr)
    assert "mgr: on under the licence sharing-1-0" in done.stdout


def test_a_recorder_that_fails_costs_its_part(product: Program) -> None:
    """It is named, and the rest is shown."""
    (product.folder / "mode").unlink()

    done = product.run(CLICK, "telemetry", "show", "--json")

    assert 0 == done.returncode
    assert "not recorded: FileNotFoundError" in done.stderr
    assert 12 == shown(done.stdout)["osd"]["count"]


@pytest.mark.parametrize("source", [CLICK, ARGPARSE], ids=["click", "argparse"])
def test_off_and_the_flag_reach_the_product(product: Program, receiver: Receiver, source: str) -> None:
    """Off by the mounted command, or by the flag: nothing is recorded."""
    assert "listed\n" == call(product, source, "--disable-telemetry", "ls")
    assert not (product.state / "mgr" / "stone").exists()
    off = call(product, source, "telemetry", "off")
    assert "mgr: off" in off
    said = json.loads(call(product, source, "telemetry", "show", "--json"))
    assert [] == said["requests"]
    blank = json.loads(said["nothing"][0]["blank"])
    assert (["basic", "crash", "device"], "not recorded while off") == (blank["channels"], blank["balancer"])
    assert [] == receiver.requests
    assert not (product.state / "mgr" / "stone").exists()
