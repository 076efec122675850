"""Stone's document, command line by command line, with ``usagewire`` for ``stone`` and ``stone telemetry``."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.support.programs import Program
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow

ATA = Path(__file__).parents[1] / "instrumentation" / "smartctl" / "ata.json"
DAEMON = f"""
import json, os, pathlib
from usagewire_instrumentation import CrashReporter, StateReporter, emit_event
crashes = CrashReporter("mon.host-a", version="15.2.8").install()
import threading
def fails(): raise ValueError("hunter2")
thread = threading.Thread(target=fails); thread.start(); thread.join()
emit_event("usage.state", {{"usage.state.section": "balancer"}}, body={{"active": True, "mode": 7, "x": 1}})
body = json.loads(pathlib.Path({str(ATA)!r}).read_text())
emit_event("usage.device", {{"usage.device.host": "host-a", "usage.device.id": "ATA_DISK_X1"}}, body=body)
from opentelemetry._logs import get_logger_provider
get_logger_provider().force_flush()
os._exit(0)  # and nothing sends
"""


@dataclass
class Cluster:
    """A cluster whose daemon ran with telemetry on and ended before anything was sent."""

    program: Program
    receiver: Receiver

    def run(self, line: str) -> CompletedProcess[str]:
        """A command line, in another shell."""
        return self.program.usagewire(*shlex.split(line, comments=True))

    def json(self, line: str) -> dict[str, Any]:
        """What it prints with ``--json``."""
        done = self.run(f"{line} --json")
        assert (0, "") == (done.returncode, done.stderr)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def report(self) -> dict[str, Any]:
        """The one report that `show` shows."""
        [shown] = [one for one in self.json("show")["requests"] if one["url"].endswith("/report")]
        found: dict[str, Any] = json.loads(shown["body"])
        return found

    def settings(self) -> dict[str, Any]:
        """Every setting's value."""
        return {one["name"]: one["value"] for one in self.json("config list")["settings"]}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The daemon, run once."""
    program = Program(tmp_path_factory.mktemp("cluster"), "", service="mgr")
    program.settings = {
        "OTEL_LOGS_EXPORTER": "stone",
        "OTEL_EXPORTER_STONE_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_STONE_DELIVERY": "manual",
    }
    assert 0 == program.usagewire("on", "--service", "mgr", "--license", "sharing-1-0").returncode
    done = program.run(DAEMON)
    assert 0 == done.returncode, done.stderr
    return program


@pytest.fixture
def cluster(left: Program, tmp_path: Path, receiver: Receiver) -> Cluster:
    """A copy of what it left, with a receiver of its own."""
    shutil.copytree(left.state, tmp_path / "state")
    cluster = Cluster(Program(tmp_path, receiver.url), receiver)
    assert 0 == cluster.run(f"config set endpoint {receiver.url}").returncode
    return cluster


def _shows(cluster: Cluster, done: CompletedProcess[str]) -> None:
    """What is reported can be looked at at any time; what the format has no place for is named."""
    report = cluster.report()
    assert {"active": True} == report["balancer"]
    assert 1 == len(report["crashes"])
    assert "PUT " in done.stdout
    assert "left out: balancer.mode: not" in done.stderr
    left_out = [one["left_out"] for one in cluster.json("show")["requests"] if one["left_out"]]
    assert [{"balancer.mode: not a text": 1, "balancer.x: not known": 1}] == left_out
    assert [] == cluster.receiver.requests


def _shows_devices(cluster: Cluster, done: CompletedProcess[str]) -> None:
    """Only them, under an id that is not the disk's, and nothing of the cluster."""
    [shown] = cluster.json("show-device")["requests"]
    assert shown["url"].endswith("/device")
    [(name, samples)] = json.loads(shown["body"]).items()
    assert name.startswith("ATA_DISK_")
    assert "host_id" in next(iter(samples.values()))
    assert cluster.report()["report_id"] not in done.stdout
    assert "/report" not in done.stdout


def _switches(channel: str) -> Callable[[Cluster, CompletedProcess[str]], None]:
    def check(cluster: Cluster, done: CompletedProcess[str]) -> None:
        """The channel is off; what it is made of is in no report any more."""
        assert f"mgr · stone: channel {channel} off, stored in " in done.stdout
        assert "false\n" == cluster.run(f"config get mgr mgr/telemetry/channel_{channel}").stdout
        shown = cluster.json("show")["requests"]
        bodies = [json.loads(one["body"]) for one in shown if one["url"].endswith("/report")]
        report: dict[str, Any] = bodies[0] if bodies else {"channels": []}
        assert channel not in report["channels"]
        assert {"basic": "balancer", "crash": "crashes", "ident": "contact"}.get(channel, "device") not in report

    return check


def _stores(name: str, value: Any) -> Callable[[Cluster, CompletedProcess[str]], None]:
    def check(cluster: Cluster, done: CompletedProcess[str]) -> None:
        """The setting has the value, whichever way it is asked for."""
        assert value == cluster.settings()[name]
        assert done.stdout.startswith(f"{name} = ")

    return check


def _takes_hours(cluster: Cluster, done: CompletedProcess[str]) -> None:
    """Three days, said in both units."""
    assert "interval = 72 h (259200000 ms), stored; a running program reads it at its next start\n" == done.stdout
    assert "72\n" == cluster.run("config get interval").stdout
    assert 259_200_000 == cluster.settings()["interval"]
    refused = cluster.run("config set mgr mgr/telemetry/interval 7")
    assert (2, True) == (refused.returncode, "'7': not a number of hours, 8 at least" in refused.stderr)


def _tells_status(cluster: Cluster, done: CompletedProcess[str]) -> None:
    """Consent, endpoints and what waits."""
    [found] = cluster.json("status")["destinations"]
    assert (True, cluster.receiver.url, 1) == (found["consent"]["on"], found["endpoint"], found["queue"]["items"])
    assert cluster.receiver.url == found["lanes"]["device"]["endpoint"]
    assert "next report" in done.stdout


def _sends(cluster: Cluster, done: CompletedProcess[str]) -> None:
    """A report of the period so far and what the disks said, each to its endpoint; valid, and as shown."""
    assert "2 items delivered" in done.stdout
    assert {"/report", "/device"} == {request.path for request in cluster.receiver.requests}
    assert [] == cluster.receiver.complaints()
    [found] = cluster.json("status")["destinations"]
    assert None not in (found["last_success"], found["lanes"]["device"]["last_success"])
    assert {"unfit": 2} == {reason: loss["count"] for reason, loss in found["totals"]["lost"].items()}


def _masks_the_proxy(cluster: Cluster, done: CompletedProcess[str]) -> None:
    """It is stored, and its password shown nowhere."""
    assert "proxy = ****, stored; a running program reads it at its next start\n" == done.stdout
    stored = (cluster.program.state / "mgr" / "stone" / "config.json").read_text()
    assert "10.0.0.1:8080" in stored
    for line in ("config list", "config get mgr mgr/telemetry/proxy", "status", "show", "show --json"):
        assert "telemetry@" not in cluster.run(line).stdout


def _identifies(field: str, value: str) -> Callable[[Cluster, CompletedProcess[str]], None]:
    def check(cluster: Cluster, done: CompletedProcess[str]) -> None:
        """In the report only once the channel ident is on."""
        assert field not in cluster.report()
        assert 0 == cluster.run("config set mgr mgr/telemetry/channel_ident true").returncode
        report = cluster.report()
        assert (value, True) == (report[field], "ident" in report["channels"])

    return check


def _identifies_itself(cluster: Cluster, done: CompletedProcess[str]) -> None:
    """What is not set is null."""
    assert "mgr · stone: channel ident on, stored in " in done.stdout
    report = cluster.report()
    assert (None, None, None) == (report["description"], report["contact"], report["organization"])


LINES: dict[str, Callable[[Cluster, CompletedProcess[str]], None]] = {
    "show": _shows,
    "show-device": _shows_devices,
    "config set mgr mgr/telemetry/channel_ident false": _switches("ident"),
    "config set mgr mgr/telemetry/channel_basic false": _switches("basic"),
    "config set mgr mgr/telemetry/channel_crash false": _switches("crash"),
    "config set mgr mgr/telemetry/channel_device false": _switches("device"),
    "config set mgr mgr/telemetry/interval 72    # report every three days": _takes_hours,
    "status": _tells_status,
    "send": _sends,
    "config set mgr mgr/telemetry/proxy https://10.0.0.1:8080": _masks_the_proxy,
    "config set mgr mgr/telemetry/proxy https://stone:telemetry@10.0.0.1:8080": _masks_the_proxy,
    "config set mgr mgr/telemetry/contact 'John Doe <john.doe@example.com>'": _identifies(
        "contact", "John Doe <john.doe@example.com>"
    ),
    "config set mgr mgr/telemetry/description 'My first Stone cluster'": _identifies(
        "description", "My first Stone cluster"
    ),
    "config set mgr mgr/telemetry/channel_ident true": _identifies_itself,
    # not on the page, but in the module
    "config set mgr mgr/telemetry/organization Example": _stores("organization", "Example"),
    "config set mgr mgr/telemetry/leaderboard true": _stores("leaderboard", "true"),
    "config set mgr mgr/telemetry/channels basic,crash": _stores("channels", ["basic", "crash"]),
}


@pytest.mark.parametrize("line", LINES)
def test_command_line_does_what_the_document_says(cluster: Cluster, line: str) -> None:
    """As it stands there."""
    done = cluster.run(line)

    assert 0 == done.returncode, done.stderr
    LINES[line](cluster, done)


def test_report_and_device_report_can_be_sent_alone(cluster: Cluster) -> None:
    """`send device` leaves the report alone; `send report` ends the period now, and the next one begins there."""
    device = cluster.run("send device")
    assert (0, ["/device"]) == (device.returncode, [request.path for request in cluster.receiver.requests])
    shown = cluster.report()
    volatile = {one for request in cluster.json("show")["requests"] for one in request["volatile"]}

    report = cluster.run("send report")

    assert (0, ["/device", "/report"]) == (report.returncode, [one.path for one in cluster.receiver.requests])
    sent = json.loads(cluster.receiver.requests[1].body)
    assert {"report_timestamp"} == volatile
    assert {**shown, "report_timestamp": sent["report_timestamp"]} == sent
    assert list(shown) == list(sent)
    again = cluster.run("send report")
    assert (0, "mgr · stone: nothing waits\n", 2) == (again.returncode, again.stdout, len(cluster.receiver.requests))
    assert datetime.fromisoformat(sent["report_timestamp"])


def test_what_is_not_there_is_said(cluster: Cluster) -> None:
    """A format without device reports, a bad channel, a bad proxy: a sentence, and nothing is stored."""
    for line, said in {
        "config set mgr mgr/telemetry/channel_ident maybe": "channel_ident='maybe': not true or false",
        "config set mgr mgr/telemetry/proxy ftp://10.0.0.1": "proxy=****: not a proxy such as http://user:password@host",
        "config set mgr mgr/telemetry/interval soon": "interval='soon': not a number of hours, 8 at least",
        "config set mgr mgr/telemetry/leaderboard perhaps": "leaderboard='perhaps': not one of false, true",
        "config set mgr mgr/telemetry/speed 1": "stone has no setting 'speed'",
        "config set mgr mgr/telemetry/contact John Doe": "put quotes around what has a space in it",
        "config get mgr": "stone has no setting 'mgr'",
    }.items():
        done = cluster.run(line)
        assert (2, True) == (done.returncode, said in done.stderr), (line, done.stderr)
    assert {"endpoint"} == set(json.loads((cluster.program.state / "mgr" / "stone" / "config.json").read_text()))
