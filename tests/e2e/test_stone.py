"""Stone's reports, from real programs to the receiver."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.support.golden import settings_for
from tests.support.programs import Program
from tests.support.state import ORIGIN, SECOND, Desk
from usagewire.formats.stone import FORMAT, report
from usagewire.inspector import faults
from usagewire.inspector.receiver import Receiver
from usagewire.inspector.routes import Answer, Received
from usagewire.signals import Event, Item, Origin, Period
from usagewire.state import lines
from usagewire.state.fold import MOST_EVENT_BYTES

pytestmark = pytest.mark.slow

SMARTCTL = Path(__file__).parents[1] / "instrumentation" / "smartctl"
CLUSTER = """
import usagewire
from usagewire_instrumentation import CrashReporter, DeviceReporter, EntityCounts, StateReporter
crashes = CrashReporter("mon.host-a.example.com", version="15.2.8").install()
states = StateReporter()
states.register("balancer", lambda: {"active": True, "mode": "upmap"})
states.register("secrets", lambda: {"password": "hunter2"})
EntityCounts().count("osd", lambda: 12).count("host", lambda: 9).capacity("total", lambda: 1 << 40)
"""
CRASH = """
import threading
def fails(): raise ValueError("hunter2 at /home/alice")
thread = threading.Thread(target=fails); thread.start(); thread.join()
"""
SEND = """
import time
states.report()
usagewire.flush(1)
time.sleep(1.2)
assert usagewire.flush(20_000)
"""


@pytest.fixture
def cluster(program: Program, receiver: Receiver) -> Program:
    """A program of the cluster's, with nothing in its environment but what it needs."""
    program.settings = {
        "OTEL_LOGS_EXPORTER": "stone",
        "OTEL_METRICS_EXPORTER": "stone",
        "OTEL_EXPORTER_STONE_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_STONE_INTERVAL": "1000",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=15.2.8",
    }
    return program


def reports(receiver: Receiver) -> list[dict[str, Any]]:
    """What was put to /report and stored."""
    return [request.events[0] for request in receiver.requests if request.path == "/report" and request.accepted]


def run(program: Program, source: str) -> None:
    """Run it to a good end."""
    done = program.run(source)
    assert (0, "") == (done.returncode, done.stdout), done.stderr


def test_nothing_leaves_or_is_written_before_on(cluster: Program, receiver: Receiver) -> None:
    """Off is the default: no request, no file."""
    run(cluster, CLUSTER + CRASH + "usagewire.flush(1_000)\n")

    assert [] == receiver.requests
    assert not cluster.state.exists()


def test_report_arrives_with_crash_state_and_counts(cluster: Program, receiver: Receiver) -> None:
    """After `usagewire on` under the licence; valid, anonymous, and every later report lists the crash again."""
    assert 0 == cluster.usagewire("on", "--service", "shop", "--license", "sharing-1-0").returncode

    run(cluster, CLUSTER + CRASH + SEND)
    run(cluster, CLUSTER + SEND)

    assert receiver.wait_for(lambda: len(reports(receiver)) >= 2, timeout=20)
    found = reports(receiver)
    assert [] == receiver.complaints()
    assert 1 == len({report["report_id"] for report in found})
    assert len(found) == len({report["report_timestamp"] for report in found})
    whole = next(report for report in found if "balancer" in report and "osd" in report)
    assert {"active": True, "mode": "upmap"} == whole["balancer"]
    assert (12, 9, 1 << 40) == (whole["osd"]["count"], whole["hosts"]["num"], whole["usage"]["total_bytes"])
    ids = {tuple(crash["crash_id"] for crash in report["crashes"]) for report in found}
    assert [1] == [len(one) for one in ids]
    crash = found[0]["crashes"][0]
    assert ("15.2.8", "__main__:fails:") == (crash["stone_version"], crash["backtrace"][-1].rstrip("0123456789"))
    assert [] == [word for word in ("hunter2", "alice", "host-a", "secrets") if word in json.dumps(found)]
    assert "unfit" in cluster.usagewire("status").stdout


def test_devices_go_their_own_way(cluster: Program, receiver: Receiver) -> None:
    """To their own endpoint, the disks of a host in one request, with nothing that leads to the cluster."""
    smartctl = cluster.folder / "smartctl"
    smartctl.write_text(
        f"""#!/bin/sh
        case "$*" in
            --version) echo smartctl 7.3;;
            *scan*) cat {SMARTCTL}/scan.json;;
            *sda) cat {SMARTCTL}/ata.json;;
            *sdb) cat {SMARTCTL}/scsi.json;;
            *nvme0) cat {SMARTCTL}/nvme.json;;
            *) cat {SMARTCTL}/denied.json;;
        esac
        """
    )
    smartctl.chmod(0o755)
    assert 0 == cluster.usagewire("on", "--service", "shop", "--license", "sharing-1-0").returncode
    with Receiver() as own:
        cluster.settings["OTEL_EXPORTER_STONE_DEVICE_ENDPOINT"] = own.url

        run(cluster, CLUSTER + f"assert 3 == DeviceReporter(smartctl={str(smartctl)!r}).report()\n" + SEND)

        assert own.wait(3, timeout=20)
        assert receiver.wait_for(lambda: len(reports(receiver)) >= 1, timeout=20)
        assert [] == own.complaints() + receiver.complaints()
        assert ["/device"] == [request.path for request in own.requests]
        assert {"/report"} == {request.path for request in receiver.requests}
        assert reports(receiver)[0]["report_id"].encode() not in own.requests[0].body
        assert [True] * 3 == [
            name.rpartition("_")[0] in ("ST8000NM0055-1RM112", "HGST_HUS726T4TAL5204", "Samsung_SSD_970_EVO_Plus_1TB")
            for name in json.loads(own.requests[0].body)
        ]


def test_ten_thousand_crashes_are_bounded_on_disk_and_in_the_report(tmp_path: Path) -> None:
    """The newest 500 are listed, all others counted; what is kept never outgrows the ledger's bound."""
    desk = Desk(tmp_path, keep=FORMAT.keep)
    consumer, largest, reports_ = desk.consumer(), 0, list[Item]()
    frames = [f"stone.osd.module{number}:Some.function_{number}:{number}" for number in range(60)]
    for batch in range(20):
        writer = desk.writer()
        events = [
            Event("usage.crash", desk.now + number, f"{batch:016x}{number:016x}", {"usage.crash.frames": frames})
            for number in range(500)
        ]
        assert "kept" == writer.put("events.signals", [lines.event(event) for event in events])
        writer.close()
        desk.now += SECOND
        consumer.refresh()
        ledgers = [path.stat().st_size for path in desk.place.folder.glob("*-ledger-*")]
        largest = max(largest, *ledgers)

    def compile(period: Period, origin: Origin, now: int) -> list[Item]:
        reports_.extend(report.compile(period, origin, settings_for(FORMAT), now))
        return reports_

    consumer.compile_due(ORIGIN, compile, force=True)

    listed = json.loads(reports_[0].data)["crashes"]
    assert 500 == len(listed)
    assert [f"{19:x}-" in crash["crash_id"] for crash in listed] == [True] * 500
    assert 9_500 == consumer.ledger.totals.lost["quota"]
    assert largest < MOST_EVENT_BYTES * 1.5
    assert len(reports_[0].data) < 16 << 20
    consumer.release()


def test_report_is_stored_once_whatever_became_of_the_answer(cluster: Program, receiver: Receiver) -> None:
    """The first try is stored and its answer lost; the receiver says 500 to the second, and that is that."""
    stored: set[tuple[str, str]] = set()

    def once(received: Received) -> Answer | None:
        if received.path != "/report":
            return None
        report = received.events[0]
        name = report["report_id"], report["report_timestamp"]
        if name in stored:
            return Answer(500, b"duplicate key")
        stored.add(name)
        return faults.cut()(received) if len(stored) == 1 else None

    receiver.script = once
    assert 0 == cluster.usagewire("on", "--service", "shop", "--license", "sharing-1-0").returncode
    run(cluster, CLUSTER + SEND.replace("assert usagewire.flush", "usagewire.flush"))
    sent = cluster.usagewire("send")

    tries = [json.loads(request.body)["report_timestamp"] for request in receiver.requests]
    assert 0 == sent.returncode, sent.stdout
    history = b"".join(path.read_bytes() for path in (cluster.state / "shop" / "stone" / "sent").iterdir())
    assert b"delivered, by an earlier try" in history
    assert "(1 of it once more than needed)" in cluster.usagewire("status").stdout
    assert tries[0] == tries[1]
    assert [500] == [request.answer.status for request in receiver.requests if request.answer.status >= 500]
    assert len(set(tries)) == len(tries) - 1


def test_ten_thousand_crashes_and_two_thousand_disks(cluster: Program, receiver: Receiver) -> None:
    """In bounded memory: the newest 500 crashes are listed and the others counted, every disk arrives, once, and no
    request comes near the receiver's 100 MB."""
    cluster.settings |= {
        "OTEL_EXPORTER_STONE_INTERVAL": "3600000",
        "OTEL_EXPORTER_STONE_DELIVERY": "manual",
        "OTEL_BLRP_MAX_QUEUE_SIZE": "20000",
        "OTEL_METRICS_EXPORTER": "none",
    }
    assert 0 == cluster.usagewire("on", "--service", "shop", "--license", "sharing-1-0").returncode
    many = textwrap.dedent(f"""
        import json, pathlib, resource
        from opentelemetry._logs import get_logger_provider
        from usagewire_instrumentation import emit_event
        frames = [f"stone.osd.module{{number}}:Some.function_{{number}}:{{number}}" for number in range(20)]
        body = json.loads(pathlib.Path({str(SMARTCTL / "ata.json")!r}).read_text())
        for number in range(10_000):
            emit_event("usage.crash", {{"usage.crash.entity": f"osd.{{number}}", "usage.crash.frames": frames}})
        for number in range(2_000):
            about = {{"usage.device.host": f"host-{{number // 200}}", "usage.device.id": f"DISK_{{number}}"}}
            emit_event("usage.device", about, body=body)
        assert get_logger_provider().force_flush(120_000)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    """)
    done = cluster.run(many)
    assert 0 == done.returncode, done.stderr
    sent = cluster.usagewire("send", "--timeout", "80")

    assert 0 == sent.returncode, sent.stderr
    [report_] = reports(receiver)
    devices = [request for request in receiver.requests if request.path == "/device"]
    assert [] == receiver.complaints()
    assert 500 == len(report_["crashes"])
    assert 2_000 == len({name for request in devices for name in json.loads(request.body)})
    assert max(len(request.body) for request in receiver.requests) < 10 << 20
    [found] = json.loads(cluster.usagewire("status", "--json").stdout)["destinations"]
    totals = found["totals"]
    assert (2_001, 0) == (totals["delivered"], totals["waiting"])
    assert {"quota": 9_500} == {reason: loss["count"] for reason, loss in totals["lost"].items()}
    assert int(done.stdout) < 400, "MB"
