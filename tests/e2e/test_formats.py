"""Formats are a choice made outside the program: one, another, several at once; messages once per interval."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from tests.support.programs import EMIT, Program
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow

SHOP = (
    EMIT
    + """
    logger.emit(event_name="usage.component.start", attributes={"usage.component.name": "server"})
    logger.emit(event_name="deployment_started", attributes={"db_backend": "mysql"})
"""
)


@pytest.fixture
def shop(program: Program, receiver: Receiver) -> Program:
    """A program, and endpoints for every format it may be told to use."""
    program.settings |= {
        "OTEL_EXPORTER_JINA_ENDPOINT": f"{receiver.url}/jina",
        "OTEL_EXPORTER_TTS_ENDPOINT": f"{receiver.url}/collect",
    }
    return program


def by_format(receiver: Receiver) -> dict[str, list[str]]:
    """Names of the events that arrived, by path."""
    found: dict[str, list[str]] = {}
    for received in receiver.requests:
        found.setdefault(received.path, []).extend(event["event"] for event in received.events)
    return found


SEGMENT, JINA = ["server_start", "deployment_started"], ["server.start", "deployment_started"]


@pytest.mark.parametrize(
    ("exporters", "expected"),
    [
        ("segment", {"/v1/batch": SEGMENT}),
        ("jina", {"/jina": JINA}),
        ("segment,jina", {"/v1/batch": SEGMENT, "/jina": JINA}),
    ],
)
def test_the_environment_chooses_the_format(
    shop: Program, receiver: Receiver, exporters: str, expected: dict[str, list[str]]
) -> None:
    """The same program, untouched: its events arrive in one format, in the other, in both."""
    done = shop.run(SHOP, environ=shop.environ(OTEL_LOGS_EXPORTER=exporters))

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert receiver.wait(sum(map(len, expected.values())), timeout=20)
    assert expected == by_format(receiver)
    assert [] == receiver.complaints()


def test_jina_knows_the_session_the_user_and_the_packages(shop: Program, receiver: Receiver) -> None:
    """Two runs: the same user, two sessions; the packages' versions are the installed ones."""
    for _ in range(2):
        done = shop.run(SHOP, environ=shop.environ(OTEL_LOGS_EXPORTER="jina", GITHUB_ACTIONS="true"))
        assert (0, "") == (done.returncode, done.stderr)
    shop.usagewire("send")  # the helper comes once a minute
    assert receiver.wait(4, timeout=20)

    events = receiver.events()
    assert (1, 2) == (len({event["uid"] for event in events}), len({event["session-id"] for event in events}))
    assert {"GITHUB_ACTIONS"} == {event["ci-vendor"] for event in events}
    assert {"not-available"} == {event["jina"] for event in events}
    assert {True} == {event["protobuf"][0].isdecimal() and event["pyyaml"][0].isdecimal() for event in events}
    assert {event["proto-backend"] for event in events} <= {"upb", "cpp", "python"}


@pytest.mark.parametrize("value", ["", "1", "0"])
def test_jinas_own_word_switches_it_off(shop: Program, receiver: Receiver, value: str) -> None:
    """JINA_OPTOUT_TELEMETRY, whatever its value: no request, no file; the other format goes on."""
    done = shop.run(SHOP, environ=shop.environ(OTEL_LOGS_EXPORTER="segment,jina", JINA_OPTOUT_TELEMETRY=value))

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert receiver.wait(2, timeout=20)
    assert {"/v1/batch": SEGMENT} == by_format(receiver)
    assert not (shop.state / "shop" / "jina").exists()


def test_a_side_that_a_format_does_not_have(shop: Program, receiver: Receiver) -> None:
    """`OTEL_METRICS_EXPORTER=jina` says once that there are no metrics, drops them, counts them; events go out."""
    source = SHOP + (
        """
    from opentelemetry.metrics import get_meter, get_meter_provider
    get_meter("shop").create_counter("usage.transfer.count").add(1)
    get_meter_provider().force_flush()
    """
    )
    environ = shop.environ(OTEL_LOGS_EXPORTER="jina", OTEL_METRICS_EXPORTER="jina")
    done = shop.run(source, environ=environ)

    assert (0, "usagewire: the jina format carries no metrics; data points are dropped\n") == (
        done.returncode,
        done.stderr,
    )
    assert receiver.wait(2, timeout=20)
    assert {"/jina": JINA} == by_format(receiver)
    assert "format" in shop.usagewire("status").stdout


# -- once per interval --------------------------------------------------------------------------------------------

INTERVAL = 4.0
SERVER = """
    import select, sys
    from opentelemetry.metrics import get_meter
    gauge = get_meter("stack").create_gauge("usage.entity.count")
    print("ready", flush=True)
    sys.stdin.readline()
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        gauge.set(int(sys.argv[1]), {"usage.entity.type": "gateway"})
"""


def test_three_servers_of_one_installation_send_one_message_per_interval(shop: Program, receiver: Receiver) -> None:
    """They run until there are two, which takes two intervals; no interval has a message of its own for each."""
    environ = shop.environ(
        OTEL_LOGS_EXPORTER="none",
        OTEL_METRICS_EXPORTER="tts",
        OTEL_METRIC_EXPORT_INTERVAL="300",
        OTEL_EXPORTER_TTS_INTERVAL=str(int(INTERVAL * 1000)),
        OTEL_EXPORTER_TTS_UID_ELEMENTS="foo,bar",
    )
    servers = [shop.start(SERVER, str(count), environ=environ, stdin=subprocess.PIPE) for count in (7, 8, 9)]
    try:
        for server in servers:
            assert server.stdout is not None
            assert "ready\n" == server.stdout.readline()
        for server in servers:
            assert server.stdin is not None
            server.stdin.write("go\n")
            server.stdin.flush()
        assert receiver.wait(2, timeout=90)
        with ThreadPoolExecutor(3) as together:
            ends = list(together.map(lambda server: server.communicate("stop\n", timeout=60), servers))
    finally:
        for server in servers:
            server.kill()
            server.communicate()

    assert [("", "")] * 3 == ends
    messages = receiver.events()
    assert len(messages) in (2, 3)  # the third, where two came late
    assert {"wBs9NNSlIoSm2v/pcVCrI1j1UuOMFF36AFsiKszEq2r33ghp6MjSyxRci9Wqs5t3JkyLEUaouYHEO5gdyRFh3Q=="} == {
        message["uid"] for message in messages
    }
    assert {message["entities_count"]["gateways"]["total"] for message in messages} <= {7, 8, 9}
    assert [] == receiver.complaints()
    times = [received.time / 1e9 for received in receiver.requests]
    assert all(later - sooner > INTERVAL / 2 for sooner, later in pairwise(times))


COMMAND = """
    import click
    from opentelemetry._logs import set_logger_provider
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from usagewire.sdk import TtsLogExporter
    from usagewire_instrumentation import record_command

    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(TtsLogExporter()))
    set_logger_provider(provider)

    @record_command
    @click.group()
    def cli():
        pass

    @cli.group()
    def applications():
        pass

    @applications.command("list")
    def list_():
        click.echo("none yet")

    cli()
"""
PLAN = {
    "plan": "stack",
    "version": 1,
    "events": {
        "usage.command": {
            "purpose": "What is used.",
            "attributes": {"usage.command.path": {"type": "string", "purpose": "Which command."}},
        }
    },
}
RUNS = 50


def test_a_command_run_fifty_times_sends_one_message(shop: Program, receiver: Receiver) -> None:
    """Fifty runs within an interval send nothing; the first run after it has all of them sent as one message, by a
    helper; no run prints anything of ours."""
    (shop.folder / "plan.yaml").write_text(json.dumps(PLAN))
    script = shop.folder / "cli.py"
    script.write_text(textwrap.dedent(COMMAND))
    environ = shop.environ(USAGEWIRE_PLAN=str(shop.folder / "plan.yaml"))

    def run(**more: str) -> tuple[int, str, str]:
        command: list[Any] = [sys.executable, script, "applications", "list"]
        done = subprocess.run(command, env={**environ, **more}, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    with ThreadPoolExecutor(2) as two:
        assert {(0, "none yet\n", "")} == set(two.map(lambda _: run(), range(RUNS)))
    assert [] == receiver.requests

    assert (0, "none yet\n", "") == run(OTEL_EXPORTER_TTS_INTERVAL="1000")
    assert receiver.wait(1, timeout=30)
    (message,) = receiver.events()
    assert ({"commands": {"applications list": RUNS + 1}}, None) == (message["cli"], message["entities_count"])
    assert [] == receiver.complaints()


def test_the_things_stacks_own_word_switches_it_off(shop: Program, receiver: Receiver) -> None:
    """TTN_LW_TELEMETRY_ENABLE=false: no request, no file."""
    source = SHOP.replace("usage.component.start", "usage.command")
    done = shop.run(source, environ=shop.environ(OTEL_LOGS_EXPORTER="tts", TTN_LW_TELEMETRY_ENABLE="false"))

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert not shop.state.exists()
    assert [] == receiver.requests
