"""The three ways a user switches the exporter on: environment, YAML, code; each in a real process."""

from __future__ import annotations

import json
import statistics

import pytest

from tests.support.programs import EMIT, Program, names, needs_yaml
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow


def test_events_arrive_by_environment_alone(program: Program, receiver: Receiver) -> None:
    """A program that knows OpenTelemetry's API only has its events delivered; its plain logs, and those of other
    libraries, never leave."""
    source = (
        EMIT
        + """
    import logging
    from opentelemetry._logs import SeverityNumber
    logging.basicConfig(level="INFO")
    logging.getLogger("app").warning("a plain log line")
    logger.emit(body="a log record without a name", severity_number=SeverityNumber.INFO)
    get_logger("opentelemetry.instrumentation.requests").emit(event_name="http.something")
    get_logger("chat").emit(event_name="gen_ai.user.message", attributes={"content": "hello"})
    logger.emit(event_name="deployment_started", attributes={"db_backend": "mysql"})
    logger.emit(event_name="usage.component.start", attributes={
        "usage.component.name": "server", "usage.component.version": "1.30.0"})
    """
    )

    done = program.run(source)

    assert (0, "") == (done.returncode, done.stdout)
    assert receiver.wait(2, timeout=20)
    assert ["deployment_started", "server_start"] == names(receiver.events())
    assert [{"db_backend": "mysql"}, {"server_version": "1.30.0"}] == [e["properties"] for e in receiver.events()]
    assert [] == receiver.complaints()


@needs_yaml
def test_events_arrive_by_yaml(program: Program, receiver: Receiver) -> None:
    """The same exporter is configured by OTEL_CONFIG_FILE; a key that YAML takes for a number still is a key."""
    (program.folder / "otel.yaml").write_text(f"""
file_format: "1.0"
resource: {{attributes: [{{name: service.name, value: shop-yaml}}]}}
logger_provider:
  processors:
    - batch:
        schedule_delay: 100
        exporter: {{segment: {{write_key: 12345, endpoint: "{receiver.url}"}}}}
""")
    environ = program.environ(
        OTEL_CONFIG_FILE=str(program.folder / "otel.yaml"),
        OTEL_SERVICE_NAME=None,
        OTEL_EXPORTER_SEGMENT_ENDPOINT=None,
        OTEL_EXPORTER_SEGMENT_WRITE_KEY=None,
    )

    done = program.run(EMIT + '    logger.emit(event_name="from_yaml")\n', environ=environ)

    assert 0 == done.returncode, done.stderr
    assert receiver.wait(1, timeout=20)
    assert ["from_yaml"] == names(receiver.events())
    assert "Basic MTIzNDU6" == receiver.requests[0].headers["authorization"]
    assert (program.state / "shop-yaml" / "segment").is_dir()


def test_events_arrive_by_code(program: Program, receiver: Receiver) -> None:
    """Five lines of code do the same without environment or auto-instrumentation."""
    source = f"""
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from usagewire.sdk import SegmentLogExporter
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(
        SegmentLogExporter(endpoint="{receiver.url}", write_key="by-code")))
    provider.get_logger("shop").emit(event_name="from_code")
    provider.shutdown()
    """
    environ = program.environ(OTEL_EXPORTER_SEGMENT_ENDPOINT=None, OTEL_EXPORTER_SEGMENT_WRITE_KEY=None)

    done = program.run(source, instrument=False, environ=environ)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert receiver.wait(1, timeout=20)
    assert ["from_code"] == names(receiver.events())


def test_metrics_arrive_as_a_report(program: Program, receiver: Receiver) -> None:
    """With OTEL_METRICS_EXPORTER=segment a counter's sum and a histogram's numbers arrive once per period."""
    source = """
    import time
    from opentelemetry.metrics import get_meter
    import usagewire
    meter = get_meter("shop")
    counter = meter.create_counter("usage.transfer.count")
    sizes = meter.create_histogram("usage.upload.size", explicit_bucket_boundaries_advisory=[10, 100])
    meter.create_counter("http.requests").add(1)
    for size in (5, 50, 500):
        counter.add(1, {"usage.transfer.state": "completed"})
        sizes.record(size)
    usagewire.flush(1)
    time.sleep(1.2)
    usagewire.flush(20_000)
    """

    done = program.run(
        source,
        environ=program.environ(
            OTEL_LOGS_EXPORTER="none",
            OTEL_METRICS_EXPORTER="segment",
            OTEL_EXPORTER_SEGMENT_INTERVAL="1000",
        ),
    )

    assert (0, "") == (done.returncode, done.stdout), done.stderr
    assert receiver.wait(2, timeout=20)
    got = {event["event"]: event["properties"] for event in receiver.events()}
    assert {"usage.transfer.state": "completed", "value": 3} == got.pop("usage.transfer.count")
    sizes = got.pop("usage.upload.size")
    assert {"bounds": [10, 100], "counts": [1, 1, 1]} == sizes.pop("buckets")
    assert (3, 555, 5, 500, 185) == tuple(sizes[name] for name in ("count", "sum", "min", "max", "mean"))
    assert pytest.approx(statistics.pvariance([5, 50, 500])) == sizes["variance"]
    assert {} == got


def test_own_metrics_carry_opentelemetry_names(program: Program, receiver: Receiver) -> None:
    """Where the SDK's own metrics are switched on, the exporter reports under the names OpenTelemetry gives."""
    done = program.run(
        EMIT + '    logger.emit(event_name="counted")\n',
        environ=program.environ(
            OTEL_METRICS_EXPORTER="console",
            OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED="true",
        ),
    )

    exported = [
        metric
        for line in done.stdout.split("\n}\n")
        if "otel.sdk.exporter.log.exported" in line
        for resource in json.loads(line if line.rstrip().endswith("}") else line + "\n}")["resource_metrics"]
        for scope in resource["scope_metrics"]
        for metric in scope["metrics"]
        if metric["name"] == "otel.sdk.exporter.log.exported"
    ]
    assert [1] == [point["value"] for metric in exported for point in metric["data"]["data_points"]], done.stderr
