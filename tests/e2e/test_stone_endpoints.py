"""Stone's two endpoints, each with its own troubles, and the way to them through a proxy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import Program
from tests.support.servers import Authority, Proxy, black_hole
from usagewire.inspector import faults
from usagewire.inspector.receiver import Receiver
from usagewire.inspector.routes import Answer, Received

pytestmark = pytest.mark.slow

CLUSTER = """
import logging, os, sys, time
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
from opentelemetry._logs import get_logger_provider
from usagewire_instrumentation import emit_event
def happen(number):
    emit_event("usage.state", {"usage.state.section": "balancer"}, body={"active": True, "mode": str(number)})
    about = {"usage.device.host": "host-a", "usage.device.id": f"DISK_{number}"}
    emit_event("usage.device", about, body={"temperature": {"current": number}})
    get_logger_provider().force_flush()
"""
GOES_ON = """
for number in range(1000):
    happen(number)
    if number >= 5 and os.path.exists(sys.argv[1]):
        break
    time.sleep(0.3)
"""


@pytest.fixture
def cluster(program: Program, receiver: Receiver) -> Program:
    """A program with its telemetry on, which reports every second."""
    program.settings = {
        "OTEL_LOGS_EXPORTER": "stone",
        "OTEL_EXPORTER_STONE_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_STONE_INTERVAL": "1000",
        "OTEL_EXPORTER_STONE_TIMEOUT": "30000",
        "OTEL_EXPORTER_STONE_DELIVERY": "thread",
    }
    assert 0 == program.usagewire("on", "--service", "shop", "--license", "sharing-1-0").returncode
    return program


def status(cluster: Program) -> dict[str, Any]:
    """What `status` says of the one destination."""
    [found] = json.loads(cluster.usagewire("status", "--json").stdout)["destinations"]
    return dict(found)


def went(cluster: Program) -> dict[str, Any]:
    """The same of each endpoint."""
    found = status(cluster)
    return {"report": found, "device": found["lanes"]["device"]}


def wait_for(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true within a minute."""
    until = time.monotonic() + 60
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def accepted(receiver: Receiver) -> list[Any]:
    """The timestamps of the reports, and the disks of the samples, that a receiver stored."""
    bodies = [json.loads(request.body) for request in receiver.requests if request.accepted]
    return [name for body in bodies for name in ([body["report_timestamp"]] if "report_id" in body else body)]


def once_each() -> Callable[[Received], Answer | None]:
    """As Stone's receiver does: the same report again is a 500."""
    stored: set[str] = set()

    def answer(received: Received) -> Answer | None:
        [report] = received.events
        if report["report_timestamp"] in stored:
            return Answer(500, b"duplicate key")
        stored.add(report["report_timestamp"])
        return None

    return answer


@contextmanager
def trouble(cluster: Program, kind: str, failing: str, own: Receiver) -> Iterator[None]:
    """The endpoint of ``failing`` does not answer, or says 503, for as long as this lasts."""
    if kind == "503":
        before, own.script = own.script, faults.status(503)
        yield
        own.script = before
        return
    name = "DEVICE_ENDPOINT" if failing == "device" else "ENDPOINT"
    with black_hole() as nobody:
        working, cluster.settings[f"OTEL_EXPORTER_STONE_{name}"] = (
            cluster.settings[f"OTEL_EXPORTER_STONE_{name}"],
            nobody,
        )
        cluster.settings["OTEL_EXPORTER_STONE_TIMEOUT"] = "3000"
        yield
    assert 0 == cluster.usagewire("config", "set", name.lower(), working).returncode
    assert 0 == cluster.usagewire("config", "set", "timeout", "30000").returncode


@pytest.mark.parametrize("kind", ["503", "black hole"])
@pytest.mark.parametrize("failing", ["report", "device"])
def test_one_endpoint_s_trouble_is_not_the_other_s(cluster: Program, failing: str, kind: str) -> None:
    """What is for the one that works arrives while the other has its troubles; in the end everything has, once."""
    with Receiver(script=once_each()) as reports, Receiver() as devices:
        cluster.settings["OTEL_EXPORTER_STONE_ENDPOINT"] = reports.url
        cluster.settings["OTEL_EXPORTER_STONE_DEVICE_ENDPOINT"] = devices.url
        broken, working = (reports, devices) if failing == "report" else (devices, reports)
        stop = cluster.folder / "stop"
        with trouble(cluster, kind, failing, broken):
            with cluster.start(CLUSTER + GOES_ON, str(stop)) as process:
                arrived = working.wait_for(lambda: len(accepted(working)) >= 2, timeout=60)
                tried = wait_for(lambda: went(cluster)[failing]["last_error"] is not None)
                stop.touch()
                _, err = process.communicate(timeout=60)
            said = went(cluster)
        assert (True, True, 0) == (arrived, tried, process.returncode), err
        assert [] == accepted(broken)
        assert said[failing]["last_success"] is None
        assert said[failing]["last_error"]["reason"] == ("HTTP 503" if kind == "503" else "timed out after 3000 ms")
        ((well, _),) = [one for one in said.items() if one[0] != failing]
        assert said[well]["last_success"] is not None

        sent = cluster.usagewire("send")

        assert 0 == sent.returncode, sent.stderr
        both = {*accepted(reports), *accepted(devices)}
        assert len(set(accepted(reports))) == len(accepted(reports))
        stored = [request for request in (*reports.requests, *devices.requests) if request.accepted]
        assert [] == [request.complaints for request in stored if request.complaints]  # the end may cut another short
        totals = status(cluster)["totals"]
        assert (len(both), 0, {}) == (totals["delivered"], totals["waiting"], totals["lost"])
        numbers = {int(json.loads(one.body)["balancer"]["mode"]) for one in reports.requests if one.accepted}
        assert len(set(accepted(devices))) == max(numbers) + 1


def test_interval_holds_across_restarts(cluster: Program, receiver: Receiver) -> None:
    """Three runs within one interval are one period: no report leaves, and it is due when it was."""
    cluster.settings["OTEL_EXPORTER_STONE_INTERVAL"] = "3600000"
    dues: list[str] = []
    for number in range(3):
        done = cluster.run(CLUSTER + f"happen({number}); time.sleep(1.5)")
        assert 0 == done.returncode, done.stderr
        dues.append(status(cluster)["period"]["due"])

    assert 1 == len(set(dues))
    assert "/report" not in {request.path for request in receiver.requests}
    assert 0 == cluster.usagewire("send", "report").returncode
    [report] = [json.loads(request.body) for request in receiver.requests if request.path == "/report"]
    assert "2" == report["balancer"]["mode"]


def test_answer_of_one_endpoint_settles_no_doubt_about_the_other(cluster: Program, receiver: Receiver) -> None:
    """A report is stored and its answer lost; a device report arrives; the report's second try gets a 500: stored."""
    stored: list[str] = []

    def once(received: Received) -> Answer | None:
        if received.path != "/report":
            return None
        stored.append(received.events[0]["report_timestamp"])
        return faults.cut()(received) if len(stored) == 1 else Answer(500, b"duplicate key")

    receiver.script = once
    cluster.settings["OTEL_EXPORTER_STONE_DELIVERY"] = "manual"
    assert 0 == cluster.run(CLUSTER + "happen(1)").returncode
    first, second = cluster.usagewire("send"), cluster.usagewire("send")

    assert (1, 0) == (first.returncode, second.returncode), second.stderr
    assert ["/report", "/device", "/report"] == [request.path for request in receiver.requests]
    assert stored[0] == stored[1]
    totals = status(cluster)["totals"]
    assert (2, 1, 0, {}) == (totals["delivered"], totals["repeated"], totals["waiting"], totals["lost"])


def test_reports_go_through_a_proxy_whose_password_nobody_sees(cluster: Program, tmp_path: Path) -> None:
    """Set as the document spells it, or by the environment; a wrong password is named without being told."""
    authority = Authority(tmp_path)
    with Receiver(tls=authority.server()) as receiver, Proxy("stone:hunter2") as proxy:
        cluster.settings |= {
            "OTEL_EXPORTER_STONE_ENDPOINT": receiver.url,
            "OTEL_EXPORTER_STONE_CERTIFICATE": authority.file,
            "OTEL_EXPORTER_STONE_TIMEOUT": "20000",
            "OTEL_EXPORTER_STONE_PROXY": proxy.url.replace("hunter2", "wr0ng"),
        }
        program = cluster.run(CLUSTER + "happen(1); time.sleep(2.5)")
        wrong = cluster.usagewire("send")
        fixed = cluster.usagewire("config", "set", "mgr", "mgr/telemetry/proxy", proxy.url)
        sent = cluster.usagewire("send")
        asked = [
            cluster.usagewire(*line.split())
            for line in ("status", "status --json", "show", "show --json", "config list", "config list --json",
                         "config get proxy", "config get mgr mgr/telemetry/proxy", "history")
        ]  # fmt: skip

    assert (0, 1, 0, 0) == tuple(one.returncode for one in (program, wrong, fixed, sent)), (
        f"{program.stderr[-5000:]}WRONG {wrong} {sent}"
    )
    assert "407" in wrong.stderr
    assert {"/report", "/device"} == {request.path for request in receiver.requests}
    assert {f"CONNECT {receiver.url.removeprefix('https://')} HTTP/1.1"} == {
        line.replace("HTTP/1.0", "HTTP/1.1") for line in proxy.seen
    }
    assert "proxy = ****, stored" in fixed.stdout
    said = "".join(done.stdout + done.stderr for done in (program, wrong, fixed, sent, *asked))
    copies = b"".join(cluster.copies(len(receiver.requests)))
    assert [] == [word for word in ("hunter2", "wr0ng") if word in said or word.encode() in copies]
