"""docs/instrumentation.md says what is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "instrumentation.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)

PRELUDE = """
import atexit
HIDDEN = ("duration", "crash.id", "crash.frames")
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
exporter = InMemoryLogRecordExporter()
provider = LoggerProvider()
provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
set_logger_provider(provider)
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))

@atexit.register
def report():
    for record in exporter.get_finished_logs():
        log = record.log_record
        attributes = {name: value for name, value in log.attributes.items() if not name.endswith(HIDDEN)}
        print(log.event_name, record.instrumentation_scope.name, attributes)
    data = reader.get_metrics_data()
    for scope in data.resource_metrics[0].scope_metrics if data else ():
        for metric in sorted(scope.metrics, key=lambda metric: metric.name):
            print(metric.name, scope.scope.name, len(list(metric.data.data_points)))
"""
USE = {
    2: "import asyncio; assert asyncio.run(install()) == 'installed'",
    12: "import time\nwhile not exporter.get_finished_logs(): time.sleep(0.01)",
}
"""What a reader would do next, by number of the example."""

SERVER = "{'usage.component.name': 'server', 'usage.component.version': '1.30.0', 'db_backend': 'mysql'}"
PRINTED = {
    1: f"serving\nusage.component.start page {SERVER}\nusage.component.stop page {SERVER}\n",
    2: "usage.component.start page {'usage.component.name': 'installer'}\n"
    "usage.component.stop page {'usage.component.name': 'installer'}\n",
    3: "usage.component.start page {'usage.component.name': 'adapter'}\n"
    "usage.component.stop page {'usage.component.name': 'adapter', 'error.type': 'ConnectionError'}\n",
    4: "deployment_started page {'db_backend': 'mysql', 'docker_version': '27.3.1'}\n",
    5: "deployment_finished yourproduct {'db_backend': 'mysql'}\n",
    6: "two applications\nusage.command page {'usage.command.path': 'list'}\n",
    7: "usage.command page {'usage.command.path': 'list'}\n",
    8: "two applications\nusage.command page {'usage.command.path': 'applications list'}\n",
    9: "usage.file.size page 1\nusage.transfer.count page 3\nusage.transfer.rate page 1\n"
    "usage.transfer.rate.samples page 1\nusage.transfer.round_trip_time page 1\nusage.transfer.size page 1\n"
    "usage.transmission.rate page 1\nusage.transmission.rate.samples page 1\n",
    10: "usage.transfer.round_trip_time yourproduct 1\n",
    11: "usage.crash page {'usage.crash.entity': 'server.alpha', 'usage.component.name': 'server', "
    "'usage.component.version': '1.30.0', 'process.executable.name': 'page.py', "
    "'exception.type': 'ConnectionError'}\n",
    12: "usage.state page {'usage.state.section': 'balancer'}\nusage.capacity page 1\nusage.entity.count page 2\n",
    13: "",
}


def test_every_example_is_known() -> None:
    """An example added to the page has to say here what it emits."""
    assert sorted(PRINTED) == list(range(1, len(BLOCKS) + 1))


@pytest.mark.slow
@pytest.mark.parametrize("number", sorted(PRINTED))
def test_example_emits_what_the_page_says(number: int, tmp_path: Path) -> None:
    """Each example, run as a script with a real SDK, emits the events the page describes."""
    script = tmp_path / "page.py"
    script.write_text("\n".join([PRELUDE, BLOCKS[number - 1], USE.get(number, "")]))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)

    assert (PRINTED[number], "") == (done.stdout, done.stderr)
