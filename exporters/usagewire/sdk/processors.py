"""Consent and redaction for pipelines that are not ours: in front of any log processor, and so of any exporter.

    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from usagewire.sdk.processors import ConsentProcessor, RedactionProcessor

    behind = BatchLogRecordProcessor(OTLPLogExporter())
    provider.add_log_record_processor(ConsentProcessor(RedactionProcessor(behind)))

They wrap the processor behind them, for the SDK knows no processor that holds a record back from another. Our own
exporters do both by themselves and need neither.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord

from usagewire import pipeline
from usagewire.errors import PlanError
from usagewire.pipeline.said import named, service_name
from usagewire.policy import plan as plans
from usagewire.policy.consent import Consent
from usagewire.policy.redact import Redactor
from usagewire.signals import Event
from usagewire.state.paths import safe_name, state_root

__all__ = ["ConsentProcessor", "RedactionProcessor"]

_log = logging.getLogger("usagewire")


class _Wrapper(LogRecordProcessor):
    """Hands everything on to ``behind``."""

    def __init__(self, behind: LogRecordProcessor) -> None:
        self._behind = behind
        self.dropped = 0
        """Records that were not handed on."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Hand on what may pass."""
        passed: ReadWriteLogRecord | None = None
        try:
            passed = self._pass(log_record)
        except Exception:
            # Whatever a program puts into a record: what cannot be looked at does not leave, and the host never knows.
            _log.info("usagewire: a record that cannot be read is dropped", exc_info=True)
        if passed is None:
            self.dropped += 1
        else:
            self._behind.on_emit(passed)

    def _pass(self, record: ReadWriteLogRecord) -> ReadWriteLogRecord | None:
        raise NotImplementedError

    def enabled(self, **asked: Any) -> bool:
        """Whether a record would be handed on at all."""
        behind = getattr(self._behind, "enabled", None)  # SDKs before 1.42 do not ask
        return behind is None or bool(behind(**asked))

    def shutdown(self) -> None:
        """Shut down what is behind."""
        self._behind.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush what is behind."""
        return self._behind.force_flush(timeout_millis)


class ConsentProcessor(_Wrapper):
    """Drops every record while there is no consent: by the environment, the product's own switches, the
    administrator, ``usagewire off`` or ``usagewire.disable()`` (docs/privacy.md), as of each record.

    ``service``: whose consent; unset, it is found as for our exporters. ``plan``: the tracking plan (path or mapping;
    else ``USAGEWIRE_PLAN``) whose switches and default count; one with faults means no. ``default``: what holds while
    nobody has said anything, ``on`` or ``off``, where no plan says. Two `os.stat` per record; never raises.
    """

    def __init__(self, behind: LogRecordProcessor, *, service: str = "", plan: Any = None, default: str = "on") -> None:
        super().__init__(behind)
        self._service, self._product = service, plans.Product(consent=default == "on")
        self._refused = "" if default in ("on", "off") else f"default={default!r}: not on or off"
        source = plans.find(plan, os.environ)
        if source:
            try:
                said = plans.load(source).product
                self._product = said if said.consent is not None else said._replace(consent=default == "on")
            except PlanError as why:
                self._refused = str(why)
        if self._refused:
            _log.warning("usagewire: the consent processor lets nothing pass: %s", self._refused)
        self._consent: Consent | None = None

    def _pass(self, record: ReadWriteLogRecord) -> ReadWriteLogRecord | None:
        return record if self._consented(record) else None

    def _consented(self, record: ReadWriteLogRecord) -> bool:
        if self._refused or pipeline.silenced():
            return False
        consent = self._consent
        if consent is None:
            resource: Mapping[str, Any] = record.resource.attributes if record.resource is not None else {}
            service = service_name(self._service or named(os.environ), resource, sys.orig_argv)
            folder = state_root(os.environ) / safe_name(service)
            switches, default = self._product.opt_out, bool(self._product.consent)
            consent = self._consent = Consent(folder, switches, default, os.environ, sys.orig_argv)
        return consent.decide().on

    def enabled(self, **asked: Any) -> bool:
        """Whether a record would be handed on at all; before the first one, nobody knows whose consent it is."""
        consent = self._consent
        said_no = self._refused or pipeline.silenced() or (consent is not None and not consent.decide().on)
        return not said_no and super().enabled(**asked)


class RedactionProcessor(_Wrapper):
    """Replaces addresses, people, folders, machines and keys in attributes and body (docs/privacy.md, *Redaction*).

    What is behind gets a copy where there was something to replace: other processors of the provider see the record as
    it was. Resource attributes are the program's own to choose, and stay. Never raises.
    """

    def __init__(self, behind: LogRecordProcessor, redactor: Redactor | None = None) -> None:
        super().__init__(behind)
        self._redactor = redactor or Redactor.here()

    def _pass(self, record: ReadWriteLogRecord) -> ReadWriteLogRecord:
        said = record.log_record
        attributes = cast("Mapping[str, Any]", said.attributes or {})
        told = Event(said.event_name or "", 0, "", attributes, said.body)
        clean = self._redactor.event(told)
        if clean is told:
            return record
        changed = copy.copy(said)
        changed.body = clean.body
        passed = copy.copy(record)
        passed.log_record = changed
        if clean.attributes is not attributes:
            changed.attributes = clean.attributes
            passed = ReadWriteLogRecord(changed, record.resource, record.instrumentation_scope, record.limits)
            if isinstance(attributes, BoundedAttributes) and isinstance(changed.attributes, BoundedAttributes):
                changed.attributes.dropped = attributes.dropped
        return passed
