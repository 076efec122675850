"""How the product is made up, and how many there are of what."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tests.support.otel import Capture
from usagewire_instrumentation import EntityCounts, StateReporter, events


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What is said once is said once per test."""
    monkeypatch.setattr(events, "_complained", set[str]())
    caplog.set_level(logging.WARNING)


def test_section_is_asked_for_at_once_and_again() -> None:
    """On a thread of the reporter's; each answer is the body of an event that names the section."""
    capture, asked = Capture(), list[str]()

    def balancer() -> dict[str, Any]:
        asked.append(threading.current_thread().name)
        return {"active": True, "round": len(asked)}

    reporter = StateReporter(logger_provider=capture.provider).register("balancer", balancer, interval=0.02)
    capture.wait_for(3)
    reporter.close()

    assert {"usage.state"} == set(capture.names())
    assert {"usage.state.section": "balancer"} == capture.attributes()[0]
    assert [{"active": True, "round": number} for number in (1, 2, 3)] == [
        record.log_record.body for record in capture.records()[:3]
    ]
    assert {"usagewire-states"} == set(asked)


def test_answer_is_as_it_was_when_asked() -> None:
    """What the product changes afterwards in its own table does not change an event that waits in a batch."""
    capture, table = Capture(batch_delay_millis=60_000), {"pools": [1]}
    StateReporter(logger_provider=capture.provider).register("pools", lambda: table, interval=3_600).close()
    reporter = StateReporter(logger_provider=capture.provider).register("pools", lambda: table)
    reporter.close()
    reporter.report()
    table["pools"].append(2)
    capture.provider.force_flush()

    assert {"pools": [1]} == capture.records()[-1].log_record.body
    capture.provider.shutdown()


def test_section_that_fails_or_has_nothing_to_say_is_no_event(caplog: pytest.LogCaptureFixture) -> None:
    """The others are reported all the same; the failure is said once, without its message."""
    capture = Capture()
    reporter = StateReporter(logger_provider=capture.provider)
    reporter.close()  # no thread: only `report` asks

    def fails() -> Any:
        raise OSError("/home/alice is gone")

    reporter.register("config", fails).register("fs", lambda: None).register("osd", lambda: {"count": 3})
    reporter.report()
    reporter.report()

    assert [{"usage.state.section": "osd"}] * 2 == capture.attributes()
    assert ["state config was not reported: OSError (said once)"] == caplog.messages


def test_section_registered_again_is_replaced() -> None:
    """The product may have something else to say."""
    capture = Capture()
    reporter = StateReporter(logger_provider=capture.provider)
    reporter.close()
    reporter.register("osd", lambda: {"count": 1}).register("osd", lambda: {"count": 2}).report()

    assert [{"count": 2}] == [record.log_record.body for record in capture.records()]


def measured(reader: InMemoryMetricReader) -> list[tuple[str, dict[str, Any], float]]:
    """Every data point: metric, attributes, value."""
    data = reader.get_metrics_data()
    return [
        (metric.name, dict(point.attributes or {}), point.value)  # type: ignore[union-attr]
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]


def test_entities_and_capacity_are_counted_when_metrics_are_collected(caplog: pytest.LogCaptureFixture) -> None:
    """Each with its type and facet; what fails or is not known is left out."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)

    def fails() -> float:
        raise OSError("secret")

    counts = EntityCounts(scope="stone", meter_provider=provider)
    counts.count("osd", lambda: 12).count("host", lambda: 3, role="monitor").count("mds", fails).count(
        "user", lambda: None
    )
    counts.capacity("total", lambda: 1 << 40)
    counts.count("user", lambda: 1, role="admin", activity="any")

    assert [
        ("usage.entity.count", {"usage.entity.type": "osd"}, 12),
        ("usage.entity.count", {"usage.entity.type": "host", "usage.entity.role": "monitor"}, 3),
        ("usage.capacity", {"usage.capacity.state": "total"}, 1 << 40),
    ] == measured(reader)
    assert [
        "entity user is counted by one facet at a time, not by role and activity (said once)",
        "mds was not counted: OSError (said once)",
    ] == caplog.messages
    provider.shutdown()
