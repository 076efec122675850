"""JetStream end to end: plain OpenTelemetry instruments in real programs, real gRPC servers, kills and faults."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import Program, shell
from tests.support.servers import Authority
from usagewire.formats.jetstream.codec import from_protobuf
from usagewire.formats.jetstream.data_sets import key
from usagewire.inspector.faults import grpc_status, in_turn
from usagewire.inspector.grpc_receiver import GrpcReceiver
from usagewire.inspector.receiver import Receiver
from usagewire.inspector.records import Records

pytestmark = pytest.mark.slow

METER = """
    import sys, time
    from opentelemetry.metrics import get_meter, get_meter_provider
    import usagewire
    meter = get_meter("shop")
"""
SEND = """
    usagewire.flush(1)          # what was recorded is kept
    time.sleep(1.3)             # the period is over
    usagewire.flush(20_000)
"""


def program_for(tmp_path: Path, endpoint: str, **settings: str) -> Program:
    """A program whose metrics go to JetStream, with periods of a second."""
    return Program(
        tmp_path,
        endpoint,
        settings={
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "jetstream",
            "OTEL_EXPORTER_JETSTREAM_ENDPOINT": endpoint,
            "OTEL_EXPORTER_JETSTREAM_INTERVAL": "1000",
            **settings,
        },
    )


@pytest.fixture
def receiver() -> Iterator[GrpcReceiver]:
    """A server that takes everything."""
    with GrpcReceiver() as listening:
        yield listening


def sets(receiver: Records) -> dict[str, list[Any]]:
    """Data set → values, of what was accepted; every set must have come once."""
    found = receiver.events()
    assert len(found) == len({event["event"] for event in found}), found
    return {event["event"]: event["values"] for event in found}


def status(program: Program) -> dict[str, Any]:
    """What `usagewire status` says of the destination."""
    [found] = json.loads(program.usagewire("status", "--json").stdout)["destinations"]
    assert isinstance(found, dict)
    return found


def send(program: Program) -> None:
    """`usagewire send`, again while a server's wish has to be waited for."""
    deadline = time.monotonic() + 20
    while program.usagewire("send").returncode and time.monotonic() < deadline:
        time.sleep(0.5)


# -- what is reported ---------------------------------------------------------------------------------------------

FILE_EDGES = [0, *(edge for power in range(10, 38, 3) for edge in (2**power - 1, 2**power)), 1]
TRANSFER_EDGES = [edge for power in range(20, 41, 2) for edge in (2**power - 1, 2**power)]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf", "http/json"])
def test_every_edge_lands_in_its_range(tmp_path: Path, protocol: str) -> None:
    """Plain instruments without a word about buckets; both sides of every documented edge; exact statistics. A session
    opens with the information structure, and what was not recorded is not sent."""
    source = (
        METER
        + f"""
    files = meter.create_histogram("usage.file.size", "By")
    transfers = meter.create_histogram("usage.transfer.size", "By")
    trips = meter.create_histogram("usage.transfer.round_trip_time", "s")
    for size in {FILE_EDGES}: files.record(size)
    for size in {TRANSFER_EDGES}: transfers.record(size)
    for trip in (1e9 - 1, 1e9, 1e9 + 1): trips.record(trip)
"""
        + SEND
    )
    server: GrpcReceiver | Receiver = GrpcReceiver() if protocol == "grpc" else Receiver()
    with server as receiver:
        program = program_for(
            tmp_path,
            receiver.url,
            OTEL_EXPORTER_JETSTREAM_PROTOCOL=protocol,
            OTEL_EXPORTER_JETSTREAM_LICENSE="ABCD-EFGH",
            OTEL_EXPORTER_JETSTREAM_REVISION="42",
        )
        done = program.run(source, environ=program.environ())
        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
        assert receiver.wait(3, timeout=20)

        found = sets(receiver)
        assert [22, 1, 2, *[2] * 9, 1] == found.pop("file sizes")
        assert [sum(TRANSFER_EDGES), 22, 1, *[2] * 10, 1] == found.pop("transfer sizes")
        start, end, count, low, high, mean, variance = found.pop("round trip times")
        assert (0, 3, 1e9 - 1, 1e9 + 1, 1e9) == (start, count, low, high, mean)
        assert end >= 1_000_000
        assert pytest.approx(2 / 3, rel=0, abs=1e-6) == variance
        assert {} == found
        assert [] == receiver.complaints()
        [request] = receiver.requests
        assert b"ABCD-EFGH" in request.body


def test_events_and_unknown_metrics_are_dropped_and_counted(tmp_path: Path, receiver: GrpcReceiver) -> None:
    """`OTEL_LOGS_EXPORTER=jetstream` is a name that is known and carries nothing, which is said once."""
    source = (
        METER
        + """
    from opentelemetry._logs import get_logger
    for _ in range(3):
        get_logger("shop").emit(event_name="lunch")
    meter.create_counter("usage.other").add(1)
    meter.create_counter("usage.transfer.count").add(5, {"usage.transfer.state": "queued"})
"""
        + SEND
    )
    program = program_for(tmp_path, receiver.url, OTEL_LOGS_EXPORTER="jetstream")
    done = program.run(source, environ=program.environ())

    assert 0 == done.returncode
    assert 1 == done.stderr.count("carries no events")
    assert receiver.wait(1, timeout=20)
    assert {"transfer status": [5, 0, 0, 0]} == sets(receiver)
    assert status(program)["totals"]["lost"]["format"]["count"] >= 4


def test_unaligned_histograms_are_left_out(tmp_path: Path, receiver: GrpcReceiver) -> None:
    """A View of the program's own: named in one line and counted; the rest is unaffected."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("""
plan: shop
version: 1
product:
  data_sets: {fine: [usage.fine]}
attributes:
  usage.transfer.state: {type: string, purpose: which}
metrics:
  usage.fine: {purpose: three}
  usage.file.size: {purpose: four}
  usage.transfer.size: {purpose: five}
  usage.transfer.count: {purpose: six, attributes: [usage.transfer.state]}
""")
    source = """
    import logging, time
    import usagewire
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
    from opentelemetry.metrics import set_meter_provider
    from usagewire.sdk import JetstreamMetricExporter
    logging.basicConfig(level="WARNING", format="%(message)s")
    view = View(instrument_name="usage.file.size", aggregation=ExplicitBucketHistogramAggregation([10, 100]))
    provider = MeterProvider([PeriodicExportingMetricReader(JetstreamMetricExporter())], views=[view])
    set_meter_provider(provider)
    meter = provider.get_meter("shop")
    for _ in range(2):
        meter.create_histogram("usage.file.size").record(50)
        meter.create_histogram("usage.transfer.size").record(50)
        meter.create_counter("usage.transfer.count").add(1, {"usage.transfer.state": "queued"})
        meter.create_counter("usage.fine").add(1)
        provider.force_flush()
    time.sleep(1.3)
    usagewire.flush(20_000)
    """
    program = program_for(tmp_path, receiver.url, USAGEWIRE_PLAN=str(plan))
    done = program.run(source, instrument=False, environ=program.environ())

    assert (0, "") == (done.returncode, done.stdout)
    lines = [line for line in done.stderr.splitlines() if "unfit" in line]
    assert ["usage.file.size"] == [line.split(": ")[3] for line in lines]
    assert receiver.wait(3, timeout=20)
    found = sets(receiver)
    assert [100, 2] == found.pop("transfer sizes")[:2]
    assert {"transfer status": [2, 0, 0, 0], f"data set {key('fine')}": [2]} == found
    assert 2 == status(program)["totals"]["lost"]["unfit"]["count"]


def test_names_with_one_hash_are_found_before_anything_is_kept(tmp_path: Path, receiver: GrpcReceiver) -> None:
    """Two data sets that a receiver could not tell apart: the plan is refused, with the line, and nothing leaves."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("""
plan: shop
version: 1
product:
  data_sets: {costarring: [usage.mine], liquid: [usage.yours]}
metrics:
  usage.mine: {purpose: one}
  usage.yours: {purpose: two}
""")
    source = """
    from usagewire.sdk import JetstreamMetricExporter
    JetstreamMetricExporter().shutdown()
    """
    program = program_for(tmp_path, receiver.url, USAGEWIRE_PLAN=str(plan))
    done = program.run(source, instrument=False, environ=program.environ())

    assert (0, "") == (done.returncode, done.stdout)
    assert "line 5: product.data_sets" in done.stderr
    assert "'costarring' and 'liquid' have the same key" in done.stderr
    assert not program.state.exists()


# -- periods ------------------------------------------------------------------------------------------------------


def test_a_period_survives_a_kill(tmp_path: Path, receiver: GrpcReceiver) -> None:
    """kill -9 in the middle of a period: what was collected before is reported after the restart, once."""
    program = program_for(tmp_path, receiver.url, OTEL_EXPORTER_JETSTREAM_INTERVAL="4000")
    source = (
        METER
        + """
    counter = meter.create_counter("usage.transfer.count")
    counter.add(int(sys.argv[1]), {"usage.transfer.state": "queued"})
    get_meter_provider().force_flush()
    print("kept", flush=True)
    if sys.argv[1] == "5":
        time.sleep(60)
    time.sleep(4.5)
    usagewire.flush(20_000)
    """
    )
    with program.start(source, "5", environ=program.environ()) as process:
        assert process.stdout is not None
        assert "kept\n" == process.stdout.readline()
        process.kill()
        process.wait()
    assert [] == receiver.requests
    done = program.run(source, "2", environ=program.environ())

    assert (0, "kept\n") == (done.returncode, done.stdout), done.stderr
    until = time.monotonic() + 30
    # one report, or two where the machine was so slow that the restart fell into the next period
    while sum(event["values"][0] for event in receiver.events()) < 7 and time.monotonic() < until:
        program.usagewire("send")
    count = len(receiver.requests)
    assert count in (1, 2)
    assert [7, 0, 0, 0] == [sum(column) for column in zip(*(one["values"] for one in receiver.events()), strict=True)]
    program.usagewire("send")
    assert count == len(receiver.requests)


def test_four_processes_make_one_report(tmp_path: Path, receiver: GrpcReceiver) -> None:
    """One session with the newest one's facts, whose sums, extremes and variance are those of all values together."""
    program = program_for(tmp_path, receiver.url, OTEL_EXPORTER_JETSTREAM_INTERVAL="6000")
    source = (
        METER
        + """
    who = int(sys.argv[1])
    counter = meter.create_counter("usage.transfer.count")
    trips = meter.create_histogram("usage.transfer.round_trip_time", "s")
    files = meter.create_histogram("usage.file.size", "By")
    for number in range(100):
        counter.add(1, {"usage.transfer.state": "queued"})
        trips.record(who * 100 + number)
        files.record(1024 * who)
    get_meter_provider().force_flush()
    print("kept", flush=True)
    sys.stdin.read()
    """
    )
    processes: list[subprocess.Popen[str]] = []
    try:
        for who in range(4):
            started = time.time_ns()
            processes.append(program.start(source, str(who), environ=program.environ(), stdin=subprocess.PIPE))
            if who in (2, 3):  # the last one starts when the others have, and one of them holds the lock
                for process in processes[0 if who == 2 else 3 :]:
                    assert process.stdout is not None
                    assert "kept\n" == process.stdout.readline()
        assert receiver.wait(3, timeout=40)
        until = time.monotonic() + 30
        # who ends before the answer has come does not know that it arrived, and another one sends it again
        while not status(program)["totals"]["delivered"]:
            assert time.monotonic() < until
    finally:
        for process in processes:
            process.communicate(timeout=30)

    found = sets(receiver)
    assert [400, 0, 0, 0] == found["transfer status"]
    assert [400, 100, 0, 300, *[0] * 9] == found["file sizes"]
    _, _, count, low, high, mean, variance = found["round trip times"]
    values = range(400)
    assert (400, 0, 399, statistics.fmean(values)) == (count, low, high, mean)
    assert pytest.approx(statistics.pvariance(values)) == variance
    [request] = receiver.requests
    assert from_protobuf(request.body)[0]["startTime"] * 1_000 >= started, "the newest process's facts"


# -- faults -------------------------------------------------------------------------------------------------------

ONE = (
    METER
    + """
    meter.create_counter("usage.transfer.count").add(3, {"usage.transfer.state": "failed"})
    usagewire.flush(1)
    time.sleep(1.3)
    usagewire.flush(2_000)
"""
)


@pytest.mark.parametrize("fault", ["stalls", "exhausted", "unavailable", "internal", "tls", "refused"])
def test_nothing_is_lost_to_a_server_in_trouble(tmp_path: Path, authority: Authority, fault: str) -> None:
    """Whatever the server does, the program ends normally, `status` says what is wrong, and once the server is well,
    all of it arrives, once."""
    scripts = {
        "stalls": grpc_status(0, delay=60),
        "exhausted": grpc_status(8, retry_after=1),
        "unavailable": grpc_status(14),
        "internal": grpc_status(13),
    }
    said = {
        "stalls": "timed out after 500 ms",
        "exhausted": "gRPC RESOURCE_EXHAUSTED",
        "unavailable": "connection closed by the server",
        "internal": "gRPC INTERNAL",
        "tls": "tls: the server does not speak it",
        "refused": "connection refused",
    }
    with GrpcReceiver(script=scripts.get(fault)) as bad:
        port = bad.url.rpartition(":")[2]
        if fault == "refused":
            bad.stop()
        endpoint = f"https://localhost:{port}" if fault == "tls" else bad.url
        program = program_for(
            tmp_path,
            endpoint,
            OTEL_EXPORTER_JETSTREAM_TIMEOUT="500",
            OTEL_EXPORTER_JETSTREAM_CERTIFICATE=authority.file,
            USAGEWIRE_DELIVERY="thread",
        )
        done = program.run(ONE, environ=program.environ())

        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
        assert said[fault] == status(program)["last_error"]["reason"]
        assert 1 == status(program)["totals"]["waiting"]
    with GrpcReceiver(port=int(port), tls=authority.files() if fault == "tls" else None) as good:
        send(program)
        assert {"transfer status": [0, 0, 0, 3]} == sets(good)
    assert {"delivered": 1, "waiting": 0, "lost": {}, "repeated": 0} == status(program)["totals"]


SERVER = """
import sys, time
from usagewire.inspector.faults import grpc_status
from usagewire.inspector.grpc_receiver import GrpcReceiver
with GrpcReceiver(script=grpc_status(0, delay=60), watch=lambda received: print("called", flush=True)) as receiver:
    print(receiver.url, flush=True)
    time.sleep(120)
"""


def test_server_killed_in_the_middle_of_a_call(tmp_path: Path) -> None:
    """The call ends at once, the program normally; the session goes to the server that takes its place, once."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        program = program_for(tmp_path, url, OTEL_EXPORTER_JETSTREAM_TIMEOUT="30000", USAGEWIRE_DELIVERY="thread")
        with program.start(ONE, environ=program.environ()) as process:
            assert "called\n" == server.stdout.readline()
            server.kill()
            out, err = process.communicate(timeout=60)
        server.wait()

    assert (0, "", "") == (process.returncode, out, err)
    assert 1 == status(program)["totals"]["waiting"]
    with GrpcReceiver(port=int(url.rpartition(":")[2])) as good:
        send(program)
        assert {"transfer status": [0, 0, 0, 3]} == sets(good)


def test_rejected_sessions_are_kept_and_named(tmp_path: Path) -> None:
    """What the server will never take is not asked again, and stays to be looked at."""
    with GrpcReceiver(script=in_turn(grpc_status(16))) as receiver:
        program = program_for(tmp_path, receiver.url)
        done = program.run(ONE, environ=program.environ())
        program.usagewire("send")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert 1 == len(receiver.requests)
    assert 1 == status(program)["totals"]["lost"]["rejected"]["count"]
    [kept] = (program.state / "shop" / "jetstream" / "rejected").iterdir()
    assert "gRPC UNAUTHENTICATED: check the license" in kept.read_text()


def test_what_is_shown_is_what_leaves(tmp_path: Path, receiver: GrpcReceiver) -> None:
    """`usagewire show` prints the session as JSON, under any protocol, the license masked; sent/ holds the same."""
    # nobody is there yet: what a program that ends has under way may arrive, and be sent again
    program = program_for(
        tmp_path, "http://127.0.0.1:9", OTEL_EXPORTER_JETSTREAM_LICENSE="ABCD-EFGH", USAGEWIRE_DELIVERY="manual"
    )
    program.run(ONE, environ=program.environ())
    shown = json.loads(program.usagewire("show", "--json").stdout)["requests"][0]["body"]
    program.usagewire("send", environ={**shell(program.state), "OTEL_EXPORTER_JETSTREAM_ENDPOINT": receiver.url})

    assert receiver.wait(1, timeout=20)
    assert {"transfer status": [0, 0, 0, 3]} == sets(receiver)
    copies = [path.read_text() for path in (program.state / "shop" / "jetstream" / "sent").iterdir()]
    assert shown.startswith('[{"license":"****","platform":"linux","serverId":"')
    assert any('"license":"****"' in copy.replace("\\", "") for copy in copies)
    assert all("ABCD-EFGH" not in copy for copy in [shown, *copies])
    [request] = receiver.requests
    assert json.loads(shown)[1:] == list(from_protobuf(request.body))[1:]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom the programs trust."""
    return Authority(tmp_path)
