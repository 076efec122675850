"""Disks, through a smartctl that answers as its documentation says."""

from __future__ import annotations

import json
import logging
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.support.golden import NOON, ORIGIN, settings_for
from tests.support.otel import Capture
from usagewire.formats.stone import FORMAT, encode
from usagewire.signals import Event
from usagewire_instrumentation import DeviceReporter, devices, events

ANSWERS = Path(__file__).parent / "smartctl"
"""What smartctl 7.3 prints: `scan` finds an ATA, a SCSI and an NVMe disk, and one that may not be opened."""
DISKS = {
    "ata": ("ZA1ABCDE", "2748570134"),
    "scsi": ("V6HABCDS", "5000cca0"),
    "nvme": ("S4EWNX0K123456A", "367554432117"),
}
"""Disk → what tells it from its like."""


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What is said once is said once per test."""
    monkeypatch.setattr(events, "_complained", set[str]())
    caplog.set_level(logging.WARNING)


def smartctl(folder: Path, version: str = "7.3 2022-02-28 r5338", scan: str = "scan") -> str:
    """A program that answers like smartctl."""
    path = folder / "smartctl"
    path.write_text(
        f"#!{sys.executable}\n"
        + textwrap.dedent(f"""
        import pathlib, sys
        arguments, answers = sys.argv[1:], pathlib.Path({str(ANSWERS)!r})
        if arguments == ["--version"]:
            print("smartctl {version} [x86_64-linux-6.1.0] (local build)")
        elif arguments == ["--json", "--scan-open"]:
            print((answers / "{scan}.json").read_text())
        else:
            assert arguments[:3] == ["--json", "--xall", "--device"], arguments
            known = {{"/dev/sda": "ata", "/dev/sdb": "scsi", "/dev/nvme0": "nvme", "/dev/sdc": "denied"}}
            print((answers / (known[arguments[4]] + ".json")).read_text())
            sys.exit(64)
    """)
    )
    path.chmod(0o755)
    return str(path)


def bodies(capture: Capture) -> list[Any]:
    """The events' bodies."""
    return [record.log_record.body for record in capture.records()]


def test_every_readable_disk_is_one_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With smartctl's JSON as its body; a disk that may not be opened is left out."""
    capture = Capture()

    count = DeviceReporter(smartctl=smartctl(tmp_path), logger_provider=capture.provider).report()

    assert (3, ["usage.device"] * 3) == (count, capture.names())
    assert ["ST8000NM0055-1RM112", "HGST HUS726T4TAL5204", "Samsung SSD 970 EVO Plus 1TB"] == [
        body.get("model_name", body.get("scsi_model_name")) for body in bodies(capture)
    ]
    ids = [attributes["usage.device.id"] for attributes in capture.attributes()]
    assert ["ST8000NM0055-1RM112", "HGST_HUS726T4TAL5204", "Samsung_SSD_970_EVO_Plus_1TB"] == [
        name.rpartition("_")[0] for name in ids
    ]
    assert 1 == len({attributes["usage.device.host"] for attributes in capture.attributes()})
    assert [] == caplog.messages


def test_nothing_tells_a_disk_or_its_machine(tmp_path: Path) -> None:
    """Serial numbers, world-wide names and addresses are gone from event and body, and so is the host's name."""
    capture = Capture()
    DeviceReporter(smartctl=smartctl(tmp_path), logger_provider=capture.provider).report()

    said = json.dumps([bodies(capture), capture.attributes()])

    assert [] == [word for words in DISKS.values() for word in words if word in said]
    assert f'"{os.uname().nodename}"' not in said
    assert all(0 < len(body["smartctl"]) and "temperature" in body for body in bodies(capture))


@pytest.mark.parametrize("disk", DISKS)
def test_format_removes_the_same(disk: str) -> None:
    """A program that emits smartctl's JSON as it is, by OpenTelemetry's API, gives nothing away either."""
    raw = json.loads((ANSWERS / f"{disk}.json").read_text())
    serial = DISKS[disk][0]
    event = Event(
        "usage.device", NOON, "00" * 16, {"usage.device.id": f"x_{serial}", "usage.device.host": "rack-7"}, raw
    )

    data = encode(event, ORIGIN, settings_for(FORMAT))

    assert data is not None
    assert [] == [word for word in (*DISKS[disk], "rack-7") if word in data.decode()]
    sent = json.loads(data)["data"]
    assert devices.scrub(raw) == {name: value for name, value in sent.items() if name != "host_id"}


@pytest.mark.parametrize(
    ("version", "scan", "said"),
    [
        ("6.6 2017-11-05 r4594", "scan", "smartctl 7.0 or newer is needed for its JSON"),
        ("7.3", "none", "smartctl found 0 and could read none"),
    ],
    ids=["old", "no disks"],
)
def test_says_why_there_is_no_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: str, scan: str, said: str
) -> None:
    """Once, in the log; the program goes on."""
    capture = Capture()
    reporter = DeviceReporter(smartctl=smartctl(tmp_path, version, scan), logger_provider=capture.provider)

    assert (0, 0, []) == (reporter.report(), reporter.report(), capture.names())
    assert [True] == [said in message for message in caplog.messages]


def test_says_that_smartctl_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """And which package has it."""
    assert 0 == DeviceReporter(smartctl="no-such-smartctl", logger_provider=Capture().provider).report()
    assert [
        "no devices reported: no-such-smartctl is not installed (package smartmontools) (said once)"
    ] == caplog.messages


def test_nonsense_is_no_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A smartctl that prints what is no JSON troubles nobody."""
    path = tmp_path / "smartctl"
    path.write_text("#!/bin/sh\necho 'smartctl 7.2'\n")
    path.chmod(0o755)

    assert 0 == DeviceReporter(smartctl=str(path), logger_provider=Capture().provider).report()
    assert 1 == len(caplog.messages)


def test_reports_by_itself_until_stopped(tmp_path: Path) -> None:
    """After a random delay of no more than the interval, and again after each."""
    capture = Capture()
    reporter = DeviceReporter(smartctl=smartctl(tmp_path), logger_provider=capture.provider).start(interval=0.2)

    capture.wait_for(6)
    reporter.stop()

    assert {"usage.device"} == set(capture.names())
