"""The SDK's names that we use beyond its public interface are still there. Each test says what degrades without."""

from __future__ import annotations

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader


def test_every_metric_reader_is_listed() -> None:
    """Without `MeterProvider._all_metric_readers` and a reader's `_exporter`, what a parent counted before a fork is
    reported by the child as well."""
    exporter = ConsoleMetricExporter()
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    try:
        assert [reader] == [
            known
            for known in list(getattr(MeterProvider, "_all_metric_readers", ()))
            if getattr(known, "_exporter", None) is exporter
        ]
    finally:
        provider.shutdown()


def test_the_copy_of_bounded_attributes_is_a_plain_dict() -> None:
    """Were `BoundedAttributes.copy` to give another `BoundedAttributes`, every later access would pay for its lock."""
    bounded = BoundedAttributes(attributes={"a": 1})

    copied = bounded.copy()
    copied["b"] = 2

    assert dict is type(copied)
    assert {"a": 1, "b": 2} == copied
    assert {"a": 1} == dict(bounded)
