"""Transfers, file sizes and rates, recorded through a real provider."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from usagewire.formats.ranges import BOUNDARIES, FILE_SIZE, TRANSFER_SIZE
from usagewire_instrumentation import FileSizes, RateMeter, Transfers, rates, socket_round_trip_time
from usagewire_instrumentation.transfers import FILE_RANGES, TRANSFER_RANGES

STATE = "usage.transfer.state"


class Meters:
    """A provider, and what it collects."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def points(self) -> dict[str, list[Any]]:
        """Metric → points; the scope is always ours."""
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        return {
            metric.name: list(metric.data.data_points)
            for scope in scopes
            if scope.scope.name == "ferry"
            for metric in scope.metrics
        }

    def states(self) -> dict[str, int]:
        """How many transfers entered each state."""
        return {point.attributes[STATE]: point.value for point in self.points()["usage.transfer.count"]}


@pytest.fixture
def meters() -> Iterator[Meters]:
    """A provider of one's own."""
    made = Meters()
    yield made
    made.provider.shutdown()


@pytest.fixture
def transfers(meters: Meters) -> Transfers:
    """Transfers that are counted there."""
    return Transfers(scope="ferry", meter_provider=meters.provider)


def test_ranges_are_those_the_exporters_use() -> None:
    """Written twice, because the helpers import nothing of the exporters."""
    assert (BOUNDARIES[FILE_SIZE], BOUNDARIES[TRANSFER_SIZE]) == (FILE_RANGES, TRANSFER_RANGES)


# -- files --------------------------------------------------------------------------------------------------------


def test_file_sizes_of_a_tree(meters: Meters, tmp_path: Path) -> None:
    """Every regular file once; links are not followed, and folders are no files."""
    for number, size in enumerate((0, 1, 1023, 1024)):
        path = tmp_path / f"folder-{number % 2}" / f"{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
    (tmp_path / "link").symlink_to(tmp_path / "folder-1" / "1")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe")
    sizes = FileSizes(scope="ferry", meter_provider=meters.provider)

    assert 4 == sizes.observe_tree(tmp_path)
    [point] = meters.points()["usage.file.size"]
    assert (4, 2048, FILE_RANGES) == (point.count, point.sum, tuple(point.explicit_bounds))
    assert [1, 2, 1, 0] == list(point.bucket_counts[:4])


def test_absent_folder_has_no_files(meters: Meters, tmp_path: Path) -> None:
    """Nothing is raised for what cannot be read."""
    assert 0 == FileSizes(scope="ferry", meter_provider=meters.provider).observe_tree(tmp_path / "absent")


# -- transfers ----------------------------------------------------------------------------------------------------


def test_states_of_a_transfer(meters: Meters, transfers: Transfers) -> None:
    """Queued, started, and completed at the end of the block or failed when left by an exception, which goes on."""
    with transfers.queue(10).start() as progress:
        progress.advance(10)
    failing = transfers.queue(20)
    with pytest.raises(OSError, match="gone"), failing.start():
        raise OSError("gone")
    with failing.start():
        pass

    assert {"queued": 2, "started": 3, "completed": 2, "failed": 1} == meters.states()
    [size] = meters.points()["usage.transfer.size"]
    assert (2, 30, TRANSFER_RANGES) == (size.count, size.sum, tuple(size.explicit_bounds))


def test_rates_are_bytes_per_second_of_moving(meters: Meters, transfers: Transfers) -> None:
    """Two transfers with a long pause between them: the pause is no part of the average. What the network carried may
    differ from what was moved."""
    for _ in range(2):
        with transfers.queue(100_000).start() as progress:
            time.sleep(0.1)
            progress.advance(100_000, 50_000)
        time.sleep(0.5)

    points = meters.points()
    [moved], [carried] = points["usage.transfer.rate.samples"], points["usage.transmission.rate.samples"]
    assert (2, 2) == (moved.count, carried.count)
    assert 100_000 < moved.min <= moved.max < 1_100_000
    assert carried.max < 550_000
    [newest] = points["usage.transfer.rate"]
    assert moved.min <= newest.value <= moved.max


def test_at_most_four_samples_a_second(meters: Meters) -> None:
    """However often bytes move, and however short the transfers are."""
    meter = RateMeter(scope="ferry", meter_provider=meters.provider)
    until, began = time.monotonic() + 0.8, time.monotonic()
    while time.monotonic() < until:
        meter.resume()
        for _ in range(10):
            meter.add(1)
        meter.pause()

    [samples] = meters.points()["usage.transfer.rate.samples"]
    assert 1 <= samples.count <= (time.monotonic() - began) * 4 + 1


def test_transfers_at_once_add_up(meters: Meters, transfers: Transfers) -> None:
    """From eight threads, no byte and no state is lost."""
    seen: list[float] = []
    meter = transfers.rates[0]
    meter._samples = type("Samples", (), {"record": lambda self, rate: seen.append(rate)})()

    def carry() -> None:
        for _ in range(20):
            with transfers.queue(100).start() as progress:
                for _ in range(100):
                    progress.advance(1)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=carry) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert {"queued": 160, "started": 160, "completed": 160} == meters.states()
    assert 0 == meter._moving
    assert seen


def test_gauge_is_silent_once_it_is_old(meters: Meters, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that moved something an hour ago has no rate now."""
    meter = RateMeter(scope="ferry", meter_provider=meters.provider)
    meter.resume()
    time.sleep(0.01)
    meter.add(5)
    meter.pause()
    fresh = meters.points()
    monkeypatch.setattr(rates, "STALE", 10)
    meter._newest.time -= 3_600

    assert {"usage.transfer.rate", "usage.transfer.rate.samples"} == set(fresh)
    assert "usage.transfer.rate" not in meters.points()


def test_meters_of_one_name_share_their_gauge(meters: Meters) -> None:
    """The newest sample of any of them is the gauge's value; an SDK takes one callback per name."""
    for count in (5, 50):
        meter = RateMeter(scope="ferry", meter_provider=meters.provider)
        meter.resume()
        time.sleep(0.01)
        meter.add(count)
        meter.pause()

    points = meters.points()
    assert (1, 2) == (len(points["usage.transfer.rate"]), points["usage.transfer.rate.samples"][0].count)
    assert points["usage.transfer.rate.samples"][0].max == points["usage.transfer.rate"][0].value


def test_bytes_outside_a_transfer_are_ignored(meters: Meters) -> None:
    """Nothing piles up for who forgets to resume; one pause too many does no harm."""
    meter = RateMeter(scope="ferry", meter_provider=meters.provider)
    meter.add(5)
    meter.pause()
    meter.resume()
    meter.pause()

    assert {} == meters.points()
    assert 0 == len(meter._pending)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_child_begins_anew(meters: Meters) -> None:
    """Locks that were held at that instant are free in the child, and the parent's transfers are the parent's."""
    meter = RateMeter(scope="ferry", meter_provider=meters.provider)
    meter.resume()
    meter.add(5)
    with meter._lock:
        child = os.fork()
        if not child:
            meter.pause()
            meter.resume()
            os._exit(0 if meter._moving == 1 and not meter._pending else 1)

    assert (child, 0) == os.waitpid(child, 0)
    assert (1, 1) == (meter._moving, len(meter._pending))


def test_nothing_is_raised_into_the_program(transfers: Transfers, meters: Meters) -> None:
    """Whatever is handed over; what makes sense is still counted."""
    odd: Any = "many"
    transfers.queue(odd)
    transfers.round_trip(odd)
    transfers.round_trip(None)
    with transfers.queue(1).start() as progress:
        transfers.rates[0]._due = 0.0
        progress.advance(odd)

    assert 1 == meters.states()["completed"]


def test_without_an_sdk_everything_is_quiet(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The API's own no-ops take it all, without a word."""
    quiet = Transfers(scope="nobody")
    with quiet.queue(1).start() as progress:
        progress.advance(1)
    quiet.round_trip(0.1)
    FileSizes(scope="nobody").observe(1)

    assert ("", "") == capsys.readouterr()
    assert [] == caplog.records


# -- the network --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO is Linux's")
def test_round_trip_time_of_a_connection() -> None:
    """What the kernel measured: a fraction of a second on this machine, through TLS as well."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        found = socket_round_trip_time(client)
        with ssl.create_default_context().wrap_socket(
            client, server_hostname="localhost", do_handshake_on_connect=False
        ) as secured:
            through_tls = socket_round_trip_time(secured)

    assert found is not None
    assert 0 < found < 5
    assert through_tls is not None


def test_no_round_trip_time() -> None:
    """Another protocol, a closed socket, no connection yet."""
    one, two = socket.socketpair()
    with one, two:
        assert None is socket_round_trip_time(one)
    assert None is socket_round_trip_time(one)
    with socket.socket() as unconnected:
        assert None is socket_round_trip_time(unconnected)
