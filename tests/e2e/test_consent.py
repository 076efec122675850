"""No means no: whoever says it, nothing is requested, written, opened or started."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

from tests.support.programs import EMIT, INSTRUMENT, Program, contents, names
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow

LOOK = (
    EMIT
    + """
    logger.emit(event_name="secret_event")
    import os, sys, threading
    from opentelemetry._logs import get_logger_provider
    getattr(get_logger_provider(), "force_flush", lambda: None)()
    ours = [t.name for t in threading.enumerate() if t.name.startswith("usagewire")]
    sockets = [fd for fd in os.listdir("/proc/self/fd") if "socket" in os.path.realpath(f"/proc/self/fd/{fd}")]
    print(ours, sockets, "requests" in sys.modules)
"""
)
SILENT = "[] [] False\n"


@pytest.mark.parametrize(
    ("environ", "argv"),
    [
        ({"DO_NOT_TRACK": "1"}, ()),
        ({"OTEL_SDK_DISABLED": "true"}, ()),
        ({"USAGEWIRE_DISABLED": "1"}, ()),
        ({}, ("--disable-telemetry",)),
    ],
    ids=["DO_NOT_TRACK", "OTEL_SDK_DISABLED", "USAGEWIRE_DISABLED", "--disable-telemetry"],
)
def test_a_switch_leaves_no_trace(
    program: Program, receiver: Receiver, environ: dict[str, str], argv: tuple[str, ...]
) -> None:
    """Off by environment or by the product's own flag: no request, no file, no socket, no thread, no word."""
    done = program.run(LOOK, *argv, environ=program.environ(**environ))

    assert (0, SILENT, "") == (done.returncode, done.stdout, done.stderr)
    assert not program.state.exists()
    assert (0, []) == (receiver.connections, receiver.requests)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed: nothing can tell what a process does")
@pytest.mark.parametrize("environ", [{"DO_NOT_TRACK": "1"}, {"USAGEWIRE_DISABLED": "1"}], ids=str)
def test_a_disabled_run_creates_no_file_and_opens_no_socket(program: Program, environ: dict[str, str]) -> None:
    """By its system calls, of every thread and child: nothing is created or connected, from start to end."""
    script, trace = program.folder / "program.py", program.folder / "trace"
    script.write_text(textwrap.dedent(EMIT + '    logger.emit(event_name="secret_event")\n'))
    calls = "trace=open,openat,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,socket,connect"
    command = ["strace", "-f", "-qq", "-e", calls, "-o", str(trace), INSTRUMENT, sys.executable, str(script)]
    subprocess.run(command, env=program.environ(PYTHONDONTWRITEBYTECODE="1", **environ), timeout=120, check=True)

    done = [line for line in trace.read_text().splitlines() if "(" in line and " = -1 " not in line]
    writing = re.compile(r"O_CREAT|O_WRONLY|O_RDWR|creat\(|mk(dir|nod)|rename|link|socket\(|connect\(")
    assert len(done) > 100
    assert [] == [line for line in done if writing.search(line) and "/dev/" not in line]


def test_off_by_the_operator_holds_for_the_next_run(program: Program, receiver: Receiver) -> None:
    """`usagewire off` from another shell: the program writes nothing but what off itself wrote, and sends nothing;
    `on` lets the events from then on through, and only those."""
    off = program.usagewire("off", "--service", "shop")
    before = sorted(str(path) for path in program.state.rglob("*"))
    silent = program.run(LOOK)
    after = sorted(str(path) for path in program.state.rglob("*"))
    on = program.usagewire("on", "--service", "shop")
    program.run(EMIT + '    logger.emit(event_name="after_on")\n')

    assert (0, 0) == (off.returncode, on.returncode), off.stderr + on.stderr
    assert (0, SILENT, "") == (silent.returncode, silent.stdout, silent.stderr)
    assert before == after
    assert receiver.wait(1, timeout=20)
    assert ["after_on"] == names(receiver.events())


def test_off_while_running_stops_at_once_and_unlinks_what_waits(program: Program) -> None:
    """A running program whose endpoint is down: `usagewire off` empties the queue, and later events go nowhere."""
    program.endpoint = "http://127.0.0.1:9"
    source = (
        EMIT
        + """
    import sys
    from opentelemetry._logs import get_logger_provider
    logger.emit(event_name="before_off")
    get_logger_provider().force_flush()
    print("ready", flush=True)
    sys.stdin.readline()
    logger.emit(event_name="after_off")
    get_logger_provider().force_flush()
    """
    )
    with program.start(source, environ=program.environ(), stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        off = program.usagewire("off", "--service", "shop")
        left = [path for path, content in contents(program.state / "shop").items() if holds_data(content)]
        out, err = process.communicate("go on\n", timeout=30)

    assert 0 == off.returncode, off.stderr
    assert [] == left
    assert (0, "", "") == (process.returncode, out, err)
    later = [path for path, content in contents(program.state / "shop").items() if holds_data(content)]
    assert [] == later


CRASHES = """
    import sys, threading, time
    import usagewire
    from usagewire_instrumentation import CrashReporter, StateReporter
    crashes = CrashReporter("osd.1", version="1").install()
    states = StateReporter()
    states.register("balancer", lambda: {"active": True, "mode": "upmap"})
    def first(): raise ValueError
    def second(): raise ValueError
    def fail(target):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    for line in sys.stdin:
        for word in line.split():
            fail(globals()[word])
        states.report()
        usagewire.flush(1)
        time.sleep(1.2)
        print(usagewire.flush(20_000), flush=True)
"""


def test_a_channel_is_switched_while_the_program_runs(program: Program, receiver: Receiver) -> None:
    """A crash is listed again and again, until another shell says `off --channel crash`; the next report is without,
    and after an on the crashes from then on are listed, those from before never."""
    program.settings = {
        "OTEL_LOGS_EXPORTER": "stone",
        "OTEL_EXPORTER_STONE_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_STONE_INTERVAL": "1000",
    }
    assert 0 == program.usagewire("on", "--service", "shop", "--license", "sharing-1-0").returncode

    def listed(process: subprocess.Popen[str], crash: str = "") -> list[list[str] | None]:
        """The crashes in each report since the program was told to go on, until one lists ``crash``."""
        assert process.stdin is not None
        assert process.stdout is not None
        before = len(receiver.requests)

        def found() -> list[list[str] | None]:
            bodies = [json.loads(request.body) for request in receiver.requests[before:]]
            return [
                [crash["backtrace"][-1].split(":")[1] for crash in body.get("crashes", [])]
                if "crash" in body["channels"]
                else None
                for body in bodies
            ]

        process.stdin.write(f"{crash}\n")
        process.stdin.flush()
        assert "True\n" == process.stdout.readline()
        assert receiver.wait_for(lambda: any(not crash or crash in (one or [crash]) for one in found()), timeout=30)
        return found()

    with program.start(CRASHES, environ=program.environ(), stdin=subprocess.PIPE) as process:
        try:
            first = listed(process, "first")
            off = program.usagewire("off", "--channel", "crash")
            without = listed(process, "second")
            on = program.usagewire("on", "--channel", "crash")
            after = listed(process)
            later = listed(process, "second")
            process.communicate("", timeout=60)
        finally:
            process.kill()

    assert (0, 0) == (off.returncode, on.returncode), off.stderr + on.stderr
    assert "deleted: 1 item of it" in off.stdout
    assert ["first"] == first[-1]
    assert {None} == set(without)
    assert [[]] * len(after) == after
    assert ["second"] == later[-1]
    assert [] == receiver.complaints()


def holds_data(content: bytes) -> bool:
    """Whether a file holds an event of the program."""
    return b"before_off" in content or b"after_off" in content


def test_a_program_says_no_in_code(program: Program, receiver: Receiver) -> None:
    """`usagewire.disable()` and a product's own `telemetry.enable: false` silence the process from then on."""
    source = (
        EMIT
        + """
    import usagewire
    usagewire.configure({"telemetry": {"enable": False}})
    logger.emit(event_name="never")
    print(usagewire.flush(2_000))
    """
    )

    done = program.run(source)

    assert (0, "True\n", "") == (done.returncode, done.stdout, done.stderr)
    assert [] == receiver.requests
    assert not list(program.state.rglob("*.seg"))
