"""Whole programs: under opentelemetry-instrument, and without any SDK."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.console import decode, instrumented, names

pytestmark = pytest.mark.slow


def program(tmp_path: Path, code: str, **variables: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run ``code`` under opentelemetry-instrument."""
    script = tmp_path / "program.py"
    script.write_text(code)
    return instrumented(script, **variables)


def test_program_without_a_line_of_ours(tmp_path: Path) -> None:
    """USAGEWIRE_LIFECYCLE makes the program a component; its version is the resource's."""
    status, records, errors = program(
        tmp_path,
        "print('working')",
        USAGEWIRE_LIFECYCLE="server",
        OTEL_RESOURCE_ATTRIBUTES="service.name=readyset,service.version=1.30.0",
    )

    start, stop = (record["attributes"] for record in records)
    duration = stop.pop("usage.component.duration")
    common = {"usage.component.name": "server", "usage.component.version": "1.30.0"}
    assert (0, "") == (status, errors)
    assert ["usage.component.start", "usage.component.stop"] == names(records)
    assert (common, common) == (start, stop)
    assert 0 <= duration < 60


def test_nothing_is_emitted_when_unset(tmp_path: Path) -> None:
    """Without the variable, or with an empty one, the hook does nothing."""
    assert (0, [], "") == program(tmp_path, "")
    assert (0, [], "") == program(tmp_path, "", USAGEWIRE_LIFECYCLE=" ")


def test_program_that_ends_by_an_exception(tmp_path: Path) -> None:
    """Exit status and traceback stay as they are; the stop names the type of the error."""
    status, records, errors = program(tmp_path, "raise KeyError('secret')", USAGEWIRE_LIFECYCLE="server")

    assert 1 == status
    assert errors.endswith("KeyError: 'secret'\n")
    assert "KeyError" == records[-1]["attributes"]["error.type"]
    assert "secret" not in str(records)


def test_exit_status_is_no_error(tmp_path: Path) -> None:
    """sys.exit() passes its status on, and is a way to stop."""
    status, records, errors = program(tmp_path, "raise SystemExit(3)", USAGEWIRE_LIFECYCLE="server")

    assert (3, "") == (status, errors)
    assert ["usage.component.start", "usage.component.stop"] == names(records)
    assert "error.type" not in records[-1]["attributes"]


def test_children_are_not_the_component(tmp_path: Path) -> None:
    """Forked children, multiprocessing workers of both kinds and child programs add no second start or stop."""
    code = """
import multiprocessing, os, subprocess, sys
def work(): pass
if __name__ == "__main__":
    child = os.fork()
    if child == 0:
        sys.exit(0)  # runs the exit handlers it inherited
    os.waitpid(child, 0)
    for method in ("fork", "spawn"):
        process = multiprocessing.get_context(method).Process(target=work)
        process.start()
        process.join()
    subprocess.run([sys.executable, "-c", "print()"], check=True)
"""
    status, records, _ = program(tmp_path, code, USAGEWIRE_LIFECYCLE="server")

    assert 0 == status
    assert ["usage.component.start", "usage.component.stop"] == names(records)


def test_disabled_sdk_is_silent(tmp_path: Path) -> None:
    """OTEL_SDK_DISABLED=true leaves nothing to emit to, and nothing to complain about."""
    assert (0, [], "") == program(tmp_path, "", USAGEWIRE_LIFECYCLE="server", OTEL_SDK_DISABLED="true")


def test_everything_works_without_an_sdk() -> None:
    """Where the OpenTelemetry SDK and usagewire cannot be imported, every helper is a quiet no-op without threads."""
    code = """
import sys, threading
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "usagewire" or name.startswith(("usagewire.", "opentelemetry.sdk")):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import asyncio, os
from usagewire_instrumentation import Lifecycle, emit_event
from usagewire_instrumentation.lifecycle import post_instrument
emit_event("deployment_started", {"db_backend": "mysql"})
with Lifecycle("server", version="1"):
    pass
@Lifecycle("flow")
async def flow():
    return 1
assert asyncio.run(flow()) == 1
os.environ["USAGEWIRE_LIFECYCLE"] = "server"
post_instrument()
assert threading.enumerate() == [threading.main_thread()]
assert not any(name.startswith("opentelemetry.sdk") for name in sys.modules)
"""
    strict = ("-W", "error", "-W", "ignore:SelectableGroups")  # which OpenTelemetry 1.42 causes on Python 3.10 and 3.11
    done = subprocess.run(
        [sys.executable, *strict, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_sdk_set_up_later_gets_what_follows() -> None:
    """A lifecycle made and used before the SDK exists emits its stop once there is one."""
    code = """
from usagewire_instrumentation import Lifecycle, emit_event
lifecycle = Lifecycle("server").start()
emit_event("too early")
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter, SimpleLogRecordProcessor
provider = LoggerProvider()
provider.add_log_record_processor(SimpleLogRecordProcessor(ConsoleLogRecordExporter()))
set_logger_provider(provider)
emit_event("in time")
lifecycle.stop()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert ["in time", "usage.component.stop"] == names(decode(done.stdout))


@pytest.mark.parametrize("as_module", [False, True])
def test_scope_of_a_script_is_its_name(tmp_path: Path, as_module: bool) -> None:
    """What runs as `__main__` is called by its file, or by its module when started with -m."""
    (tmp_path / "ferry.py").write_text(
        "from usagewire_instrumentation.events import caller_scope\n"
        "def helper(): return caller_scope()\nprint(helper())\n"
    )
    target = ["-m", "ferry"] if as_module else ["ferry.py"]
    done = subprocess.run(
        [sys.executable, *target], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )

    assert "ferry\n" == done.stdout
