"""Crashes of real programs: what is reported, and that nothing else about them changes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.support.golden import NOON, ORIGIN
from usagewire.formats.stone.crashes import record
from usagewire.signals import Event
from usagewire_instrumentation import fatal

PRELUDE = """
import json, sys
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
class Lines(LogRecordExporter):
    def export(self, batch):
        with open("exported", "a") as file:
            for one in batch:
                file.write(json.dumps([one.log_record.event_name, dict(one.log_record.attributes)]) + "\\n")
        return LogRecordExportResult.SUCCESS
    def shutdown(self): pass
    def force_flush(self, timeout_millis=0): return True
provider = LoggerProvider()
provider.add_log_record_processor(BatchLogRecordProcessor(Lines(), schedule_delay_millis=60_000))
set_logger_provider(provider)
from usagewire_instrumentation import CrashReporter
reporter = CrashReporter("osd.7", component="osd", version="1.2", fatal_log="fatal.log").install()
"""
"""A program whose events would wait a minute, and arrive in a file."""


def run(
    folder: Path, source: str, prelude: str = PRELUDE
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """Run a program to its end: how it ended, and the crashes that were exported."""
    (folder / "shop.py").write_text(prelude + textwrap.dedent(source))
    command = [sys.executable, "-W", "error", "shop.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    exported = folder / "exported"
    found = [json.loads(line) for line in exported.read_text().splitlines()] if exported.exists() else []
    assert {"usage.crash"} >= {name for name, _ in found}
    return done, [attributes for _, attributes in found]


FAILING = """
class Till:
    def open(self, key):
        secret = "hunter2"
        raise KeyError(f"/home/alice/{secret}")
def main():
    Till().open(1)
"""


@pytest.mark.slow
def test_uncaught_exception_is_reported_and_ends_as_before(tmp_path: Path) -> None:
    """Its traceback and exit status stay; the event has types and places, no message, path or value."""
    done, crashes = run(tmp_path, FAILING + "main()")

    assert 1 == done.returncode
    assert done.stderr.endswith("KeyError: '/home/alice/hunter2'\n")
    (crash,) = crashes
    drawn = crash.pop("usage.crash.id")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", drawn)
    method = "Till.open" if sys.version_info >= (3, 11) else "open"
    assert {
        "usage.crash.entity": "osd.7",
        "usage.component.name": "osd",
        "usage.component.version": "1.2",
        "process.executable.name": "shop.py",
        "exception.type": "KeyError",
    } == {name: value for name, value in crash.items() if name != "usage.crash.frames"}
    assert ["__main__:<module>", "__main__:main", f"__main__:{method}"] == [
        frame.rpartition(":")[0] for frame in crash["usage.crash.frames"]
    ]
    assert [] == [word for word in ("alice", "hunter2", str(tmp_path)) if word in json.dumps(crashes)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import threading; t = threading.Thread(target=main); t.start(); t.join()", "Exception in thread"),
        (
            """
            import asyncio
            async def fails(): main()
            async def all():
                task = asyncio.create_task(fails()); await asyncio.sleep(0.01); del task
                import gc; gc.collect(); await asyncio.sleep(0.05)
            asyncio.run(all())
            """,
            "Task exception was never retrieved",
        ),
        (
            """
            import asyncio
            async def all():
                asyncio.get_running_loop().call_soon(main); await asyncio.sleep(0.05)
            asyncio.run(all())
            """,
            "Exception in callback main()",
        ),
        (
            """
            class Dying:
                def __del__(self): main()
            Dying()
            """,
            "Exception ignored",
        ),
    ],
    ids=["thread", "task", "callback", "unraisable"],
)
def test_exceptions_that_end_no_program_are_reported_too(tmp_path: Path, source: str, told: str) -> None:
    """Of threads, tasks nobody waits for, callbacks, and where nothing can be raised; they are told of as before."""
    done, crashes = run(tmp_path, FAILING + textwrap.dedent(source) + "\nprovider.force_flush()")

    assert (0, True) == (done.returncode, told in done.stderr)
    assert ["KeyError"] == [crash["exception.type"] for crash in crashes]
    assert crashes[0]["usage.crash.frames"][-1].startswith("__main__:")


@pytest.mark.slow
def test_ways_to_stop_are_no_crashes(tmp_path: Path) -> None:
    """Ctrl-C, sys.exit(), and a thread that exits."""
    source = """
    import threading
    t = threading.Thread(target=sys.exit); t.start(); t.join()
    raise KeyboardInterrupt
    """

    done, crashes = run(tmp_path, source)

    assert (-signal.SIGINT, []) == (done.returncode, crashes)
    assert (3, []) == ((ended := run(tmp_path, "sys.exit(3)"))[0].returncode, ended[1])


@pytest.mark.slow
def test_crash_leaves_the_process_before_it_dies(tmp_path: Path) -> None:
    """A crash in a thread has arrived though the program is killed right after, its batch still waiting."""
    source = (
        FAILING
        + """
    import os, signal, threading
    t = threading.Thread(target=main); t.start(); t.join()
    import time
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
    """.replace("\n    ", "\n")
    )

    done, crashes = run(tmp_path, source)

    assert -signal.SIGKILL == done.returncode
    assert ["KeyError"] == [crash["exception.type"] for crash in crashes]


@pytest.mark.slow
def test_program_that_fails_all_the_time_has_said_enough(tmp_path: Path) -> None:
    """After a hundred crashes the log says so once, and nothing more is reported."""
    source = """
    import threading
    for _ in range(120):
        t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()
    """

    done, crashes = run(tmp_path, source)

    assert 100 == len(crashes)
    assert 1 == done.stderr.count("100 crashes of this process were reported, no more are")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"])
def test_fatal_signal_is_found_at_the_next_start(tmp_path: Path, name: str) -> None:
    """The stack that it left is reported once, under the signal's name, with the time of its death."""
    died, none = run(tmp_path, f"import os, signal\ndef main(): os.kill(os.getpid(), signal.{name})\nmain()")
    left = (tmp_path / "fatal.log").stat().st_mtime_ns

    _, crashes = run(tmp_path, "")
    _, again = run(tmp_path, "")

    assert (-getattr(signal, name), []) == (died.returncode, none)
    (crash,) = crashes
    assert name == crash["exception.type"]
    assert ["shop:<module>", "shop:main"] == [frame.rpartition(":")[0] for frame in crash["usage.crash.frames"]]
    assert f"{left // 1_000_000_000}"[:-3] in str(int(_seconds(crash["usage.crash.id"])))
    assert crashes == again
    assert 0 == (tmp_path / "fatal.log").stat().st_size
    assert 0o600 == (tmp_path / "fatal.log").stat().st_mode & 0o777


def _seconds(crash_id: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(crash_id.partition("Z")[0] + "+00:00").timestamp()


@pytest.mark.slow
def test_equal_crashes_have_one_signature(tmp_path: Path) -> None:
    """Of two runs of a program that has moved by a line in between, and not of another crash."""
    _, first = run(tmp_path, FAILING + "main()")
    _, both = run(tmp_path, "\n" + FAILING + "main()")
    _, three = run(tmp_path, FAILING + "Till().open(1)")
    made = [record(Event("usage.crash", NOON, "00" * 16, attributes), ORIGIN, "stone") for attributes in three]
    signatures = [crash["stack_sig"] for crash in made if crash is not None]

    assert (1, 2, 3) == (len(first), len(both), len(three))
    assert first[0]["usage.crash.frames"] != both[1]["usage.crash.frames"]
    assert signatures[0] == signatures[1] != signatures[2]


@pytest.mark.slow
def test_other_hooks_are_left_in_place(tmp_path: Path) -> None:
    """Hooks from before are called and restored, those on top of ours stay; uninstalled we report nothing."""
    source = """
    import sys, threading
    before = sys.excepthook
    def on_top(kind, error, traceback):
        print("on top", file=sys.stderr); below(kind, error, traceback)
    below, sys.excepthook = sys.excepthook, on_top
    reporter.uninstall()
    assert sys.excepthook is on_top and sys.unraisablehook is sys.__unraisablehook__
    assert threading.excepthook is threading.__excepthook__
    t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()
    reporter.install(); reporter.install()
    raise ValueError
    """

    done, crashes = run(tmp_path, source)

    assert (1, 1) == (done.returncode, done.stderr.count("on top"))
    assert ["ValueError"] == [crash["exception.type"] for crash in crashes]


@pytest.mark.slow
def test_without_an_sdk_a_crash_is_as_it_always_was(tmp_path: Path) -> None:
    """Nothing is reported, and nothing is added to what the program prints."""
    prelude = "from usagewire_instrumentation import CrashReporter\nCrashReporter('osd.7').install()\n"

    done, crashes = run(tmp_path, "1 / 0", prelude)

    assert (1, []) == (done.returncode, crashes)
    assert ["Traceback (most recent call last):", "ZeroDivisionError: division by zero"] == [
        line for line in done.stderr.splitlines() if not line.startswith(" ")
    ]


def test_stacks_are_read_whatever_else_the_file_holds() -> None:
    """Other threads, C stacks, lists of modules and torn ends are passed over; packages go by their folder's name."""
    text = """garbage
Fatal Python error: Segmentation fault

Thread 0x00007f0 (most recent call first):
  File "/srv/other.py", line 1 in other

Current thread 0x00007f1 (most recent call first):
  File "/srv/shop/__init__.py", line 7 in crash
  File "C:\\shop\\till.py", line 3 in open
  File "<frozen runpy>", line 88 in _run_code
  ...

Current thread's C stack trace (most recent call first):
  Binary file "python", at _Py_DumpStack+0x48

Extension modules: numpy (total: 1)
Fatal Python error: Something new: with a secret

Stack (most recent call first):
  File "x.py", line 2 in f
  File "x.py", line 4 in <mod"""

    assert [
        ("SIGSEGV", ["<frozen runpy>:_run_code:88", "till:open:3", "shop:crash:7"]),
        ("FatalError", ["x:<mod:4", "x:f:2"]),
    ] == list(fatal.stacks(text))
    assert [] == list(fatal.stacks("Fatal Python error: Aborted\n"))
