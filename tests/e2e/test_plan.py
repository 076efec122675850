"""A tracking plan in a real process: what it does not list stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.programs import EMIT, Program, names
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow
READYSET = Path(__file__).parents[2] / "examples" / "plans" / "readyset.yaml"

SAYS_TOO_MUCH = (
    EMIT
    + """
    logger.emit(event_name="deployment_started", attributes={
        "db_backend": "mysql", "commit_id": "4f2a9c1", "customer": "alice@example.com"})
    logger.emit(event_name="deployment_finished", attributes={"db_backend": "oracle"})
    logger.emit(event_name="customer_created", attributes={"db_backend": "mysql"})
    logger.emit(event_name="usage.component.start", attributes={
        "usage.component.name": "server", "usage.component.version": "1.30.0", "usage.component.zone": "eu"})
    logger.emit(event_name="usage.component.start", attributes={"usage.component.name": "backup"})
"""
)


def test_readysets_plan_lets_its_nine_events_and_five_properties_pass(program: Program, receiver: Receiver) -> None:
    """Unknown events, attributes and values stay behind; whole events are counted by reason."""
    done = program.run(SAYS_TOO_MUCH, environ=program.environ(USAGEWIRE_PLAN=str(READYSET)))

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert receiver.wait(3, timeout=20)
    assert ["deployment_started", "deployment_finished", "server_start"] == names(receiver.events())
    properties = [event["properties"] for event in receiver.events()]
    assert [{"db_backend": "mysql", "commit_id": "4f2a9c1"}, {}, {"server_version": "1.30.0"}] == properties
    status = json.loads(program.usagewire("status", "--json").stdout)
    assert 2 == status["destinations"][0]["totals"]["lost"]["plan"]["count"]


def test_readysets_own_switches_count_where_the_plan_names_them(program: Program, receiver: Receiver) -> None:
    """RS_SEGMENT_WRITE_KEY is the key and RS_API_KEY the userId; a plan that names neither makes them mere
    variables."""
    environ = program.environ(
        OTEL_EXPORTER_SEGMENT_WRITE_KEY=None, RS_SEGMENT_WRITE_KEY="own-source", RS_API_KEY="api-key-1234"
    )
    program.run(
        EMIT + '    logger.emit(event_name="server_start")\n', environ={**environ, "USAGEWIRE_PLAN": str(READYSET)}
    )
    assert receiver.wait(1, timeout=20)
    assert "Basic b3duLXNvdXJjZTo=" == receiver.requests[0].headers["authorization"]
    assert ["api-key-1234"] == [event["userId"] for event in receiver.events()]
    assert [] == [copy for copy in program.copies(1) if b"api-key-1234" in copy]

    silent = program.folder / "silent.yaml"
    silent.write_text("plan: silent\nversion: 1\nevents:\n  server_start: {purpose: to know that it runs}\n")
    silent.chmod(0o600)
    done = program.run(
        EMIT + '    logger.emit(event_name="server_start")\n', environ={**environ, "USAGEWIRE_PLAN": str(silent)}
    )
    assert 0 == done.returncode
    assert "no write_key" in done.stderr
    assert 1 == len(receiver.events())
