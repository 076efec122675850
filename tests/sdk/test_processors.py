"""`usagewire.sdk.processors` in front of exporters that are not ours, on the real SDK."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.resources import Resource

from tests.support.programs import shell
from usagewire.inspector.receiver import Receiver
from usagewire.policy.consent import write
from usagewire.policy.redact import Redactor
from usagewire.sdk.processors import ConsentProcessor, RedactionProcessor

BOB = Redactor("bob", "wombat", "/srv/people/bob")
Wrap = Callable[[SimpleLogRecordProcessor], Any]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of this test."""
    monkeypatch.setenv("USAGEWIRE_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def memory() -> InMemoryLogRecordExporter:
    """Somebody else's exporter."""
    return InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]


def told(exporter: InMemoryLogRecordExporter) -> list[tuple[str | None, dict[str, Any], Any]]:
    """Name, attributes and body of what arrived."""
    return [
        (one.log_record.event_name, dict(one.log_record.attributes or {}), one.log_record.body)
        for one in exporter.get_finished_logs()
    ]


def provider_of(*processors: Any) -> LoggerProvider:
    """A provider of the program's own."""
    provider = LoggerProvider(Resource({"service.name": "shop", "host.name": "wombat"}), shutdown_on_exit=False)
    for processor in processors:
        provider.add_log_record_processor(processor)
    return provider


# -- redaction --------------------------------------------------------------------------------------------------------


def test_attributes_and_body_are_redacted(memory: InMemoryLogRecordExporter) -> None:
    """Plain logs as well as events; everything else of a record stays."""
    provider = provider_of(RedactionProcessor(SimpleLogRecordProcessor(memory), BOB))
    provider.get_logger("shop").emit(
        timestamp=7,
        severity_number=SeverityNumber.WARN,
        event_name="paid",
        attributes={"who": "bob@example.com", "n": 3, "at": ["10.1.2.3", "here"]},
        body={"card": "4111 1111 1111 1111", "deep": [{"path": "/home/bob/x"}]},
    )
    provider.get_logger("shop").emit(body="call +49 170 1234567")

    assert [
        ("paid", {"who": "[email]", "n": 3, "at": ("[ip]", "here")}, {"card": "[card]", "deep": [{"path": "[path]"}]}),
        (None, {}, "call [phone]"),
    ] == [(name, {**attributes}, body) for name, attributes, body in told(memory)]
    first = memory.get_finished_logs()[0]
    assert (7, SeverityNumber.WARN) == (first.log_record.timestamp, first.log_record.severity_number)
    assert first.instrumentation_scope is not None
    assert ("shop", "wombat") == (first.instrumentation_scope.name, first.resource.attributes["host.name"])


def test_a_clean_record_is_handed_on_itself_and_others_see_the_original(memory: InMemoryLogRecordExporter) -> None:
    """Nothing is copied where nothing is replaced, and the console next door keeps what the program said."""
    seen: list[Any] = []

    class Watch(SimpleLogRecordProcessor):
        def on_emit(self, log_record: Any) -> None:
            seen.append(log_record)

    plain = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = provider_of(RedactionProcessor(Watch(memory), BOB), SimpleLogRecordProcessor(plain), Watch(plain))
    provider.get_logger("shop").emit(event_name="a", attributes={"db": "mysql"})
    provider.get_logger("shop").emit(event_name="b", attributes={"who": "bob@example.com"})

    clean, clean_after, redacted, after = seen
    assert clean is clean_after
    assert redacted is not after
    assert [("a", {"db": "mysql"}, None), ("b", {"who": "bob@example.com"}, None)] == told(plain)
    assert {"who": "[email]"} == dict(redacted.log_record.attributes)


def test_counts_of_dropped_attributes_stay(memory: InMemoryLogRecordExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the SDK's that has cost attributes is still told."""
    monkeypatch.setenv("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "1")
    provider = provider_of(RedactionProcessor(SimpleLogRecordProcessor(memory), BOB))
    with pytest.warns(UserWarning, match="dropped due to limits"):
        provider.get_logger("shop").emit(event_name="a", attributes={"b": "x", "c": "bob@example.com"})

    assert ([("a", {"c": "[email]"}, None)], [1]) == (
        told(memory),
        [one.dropped_attributes for one in memory.get_finished_logs()],
    )


class Hostile:
    """A value of the program's own."""

    def __str__(self) -> str:
        raise RuntimeError


def test_hostile_values_reach_nobody(memory: InMemoryLogRecordExporter) -> None:
    """No exception comes back to the program, whatever it logs."""
    processor = RedactionProcessor(SimpleLogRecordProcessor(memory), BOB)
    loop: list[Any] = []
    loop.append(loop)
    provider = provider_of(processor)
    bodies: list[Any] = [Hostile(), loop, b"bob@example.com", {"a": Hostile()}]
    for body in bodies:
        provider.get_logger("shop").emit(body=body)

    assert "example.com" not in str(told(memory))
    assert 4 == len(told(memory)) + processor.dropped


# -- consent ----------------------------------------------------------------------------------------------------------


def test_consent_counts_as_of_each_record(state: Path, memory: InMemoryLogRecordExporter) -> None:
    """A no in another shell holds from the next record on, and a yes again."""
    processor = ConsentProcessor(SimpleLogRecordProcessor(memory))
    provider = provider_of(processor)
    log = provider.get_logger("shop")
    log.emit(event_name="a")
    assert not state.exists()
    write(state / "shop", False, "test")
    log.emit(event_name="b")
    write(state / "shop", True, "test")
    log.emit(event_name="c")

    assert ["a", "c"] == [name for name, _, _ in told(memory)]
    write(state / "shop", False, "test")
    assert (False, 0) == (processor.enabled(), len(told(memory)) - 2)


@pytest.mark.parametrize(
    ("variables", "keywords", "passes"),
    [
        ({}, {}, True),
        ({"DO_NOT_TRACK": "1"}, {}, False),
        ({"OTEL_SERVICE_NAME": "other"}, {}, True),
        ({}, {"default": "off"}, False),
        ({}, {"default": "perhaps"}, False),
        ({}, {"service": "silent"}, False),
        ({"OTEL_SERVICE_NAME": "silent"}, {}, False),
        ({"SHOP_NO": ""}, {"plan": {"opt_out": ["SHOP_NO"]}}, False),
        ({}, {"plan": {"opt_out": ["SHOP_NO"]}}, True),
        ({}, {"plan": {"consent": "off"}}, False),
        ({}, {"plan": {"consent": "on"}, "default": "off"}, True),
        ({}, {"plan": {"consent": "perhaps"}}, False),
    ],
    ids=repr,
)
def test_who_decides(
    state: Path,
    memory: InMemoryLogRecordExporter,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    keywords: dict[str, Any],
    passes: bool,
) -> None:
    """The same sources as for our exporters: environment, plan, stored word, default; a fault means no."""
    write(state / "silent", False, "test")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if "plan" in keywords:
        keywords = {
            **keywords,
            "plan": {"plan": "p", "version": 1, "product": keywords["plan"], "events": {"a": {"purpose": "x"}}},
        }
    provider_of(ConsentProcessor(SimpleLogRecordProcessor(memory), **keywords)).get_logger("shop").emit(event_name="a")

    assert passes == (["a"] == [name for name, _, _ in told(memory)])


def test_a_fault_is_named_once(
    state: Path, memory: InMemoryLogRecordExporter, caplog: pytest.LogCaptureFixture
) -> None:
    """Why nothing passes is in the log, and nothing is raised."""
    with caplog.at_level(logging.WARNING, "usagewire"):
        processor = ConsentProcessor(SimpleLogRecordProcessor(memory), plan="/nowhere/plan.yaml")

    assert ["/nowhere/plan.yaml: No such file or directory"] == [
        line.partition("nothing pass: ")[2] for line in caplog.messages
    ]
    assert not processor.enabled()


# -- both, with OpenTelemetry's own exporter --------------------------------------------------------------------------


@pytest.mark.slow
def test_in_front_of_the_otlp_exporter(state: Path, receiver: Receiver) -> None:
    """OTLP over a real connection: nothing personal in it, and nothing at all after a no."""
    behind = BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{receiver.url}/v1/logs"))
    provider = provider_of(ConsentProcessor(RedactionProcessor(behind, BOB)))
    log = provider.get_logger("shop")
    log.emit(event_name="a", body="bob@example.com", attributes={"card": "4111111111111111"})
    assert provider.force_flush()
    write(state / "shop", False, "test")
    log.emit(event_name="b")
    assert provider.force_flush()
    provider.shutdown()

    [request] = receiver.requests
    found = ExportLogsServiceRequest.FromString(request.body)
    [record] = found.resource_logs[0].scope_logs[0].log_records
    assert ("a", "[email]", "[card]") == (
        record.event_name,
        record.body.string_value,
        record.attributes[0].value.string_value,
    )


@pytest.mark.slow
def test_the_program_may_say_no(state: Path) -> None:
    """`usagewire.disable()` holds for these pipelines, too."""
    source = """
    import usagewire
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
    from usagewire.sdk.processors import ConsentProcessor

    kept = InMemoryLogRecordExporter()
    provider = LoggerProvider()
    provider.add_log_record_processor(ConsentProcessor(SimpleLogRecordProcessor(kept)))
    provider.get_logger("shop").emit(event_name="a")
    usagewire.disable()
    provider.get_logger("shop").emit(event_name="b")
    print([one.log_record.event_name for one in kept.get_finished_logs()])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        env=shell(state),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ("['a']\n", "") == (done.stdout, done.stderr)
    assert not state.exists()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A real endpoint."""
    with Receiver() as running:
        yield running
