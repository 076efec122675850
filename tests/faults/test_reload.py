"""R9 on a server that reloads as uWSGI does: the master ends its workers and becomes a new image of itself, with the
same process id and the listening socket kept open; nothing else of the old one may be left."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.intakes import account
from tests.support.programs import Program
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow

WORKERS, BURST, IMAGES = 3, 12, 3
MASTER = """
    import json, os, select, signal, socket, sys, warnings

    held = [fd for fd in sorted(os.listdir("/proc/self/fd")) if os.path.lexists(f"/proc/self/fd/{fd}")]
    print(json.dumps({"pid": os.getpid(), "held": held}), flush=True)
    LISTENING, WORKERS, IMAGE = map(int, sys.argv[1:])
    # waited for in the master, and never missed: also not between a fork and a worker's own handler, or by a new image
    signal.pthread_sigmask(signal.SIG_BLOCK, TOLD := {signal.SIGHUP, signal.SIGTERM})
    # Python 3.12 warns of every fork beside a thread, and OpenTelemetry's own worker is one
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource
    from usagewire.sdk import JinaLogExporter, SegmentLogExporter

    provider = LoggerProvider(Resource({"service.name": "shop"}))
    for exporter in (SegmentLogExporter(), JinaLogExporter()):
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))

    def emit(kind, **more):
        process = f"{IMAGE}/{os.getpid()}"
        provider.get_logger("shop").emit(event_name=kind, attributes={"process": process, "image": IMAGE, **more})

    def work():
        heard, told = socket.socketpair()
        told.setblocking(False)
        signal.set_wakeup_fd(told.fileno())  # a handler would not run if the signal came just before `select` waits
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
        listening = socket.socket(fileno=LISTENING)
        listening.setblocking(False)
        while heard not in select.select([listening, heard], [], [])[0]:
            try:
                asking, _ = listening.accept()
            except BlockingIOError:  # another worker was faster
                continue
            with asking:
                emit("request", number=int(asking.recv(64)))
                asking.sendall(b"%d" % IMAGE)
        sys.exit()

    def start():
        worker = os.fork()
        return worker or work()

    emit("loaded")
    assert provider.force_flush(60_000)
    workers = [start() for _ in range(WORKERS)]
    wanted = signal.sigwait(TOLD)
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
    assert not any([os.waitpid(worker, 0)[1] for worker in workers])
    if wanted == signal.SIGHUP:
        emit("reloading")
        assert provider.force_flush(60_000)
        os.execv(sys.executable, [sys.executable, __file__, str(LISTENING), str(WORKERS), str(IMAGE + 1)])
"""


Event = dict[str, Any]


def of(event: Event) -> Event:
    """What the program said of itself: Segment keeps it apart, Jina among its own keys."""
    found: Event = event.get("properties", event)
    return found


def test_a_master_that_becomes_a_new_image_of_itself_loses_nothing(tmp_path: Path) -> None:
    """Two reloads with requests under way: what master and workers of each image emitted arrives once, each image takes
    the queue over from the one before, inherits no descriptor of ours, and is a new session of the same installation.
    """
    number, images = 0, Counter[int]()
    with Receiver() as receiver, socket.create_server(("127.0.0.1", 0)) as listening:

        def ask(told: int = 0) -> None:
            """A burst of requests, with a signal in the middle of it; all are answered."""
            nonlocal number
            asking = list[socket.socket]()
            for _ in range(BURST):
                asking.append(socket.create_connection(listening.getsockname(), timeout=60))
                asking[-1].sendall(b"%d" % number)
                number += 1
                if told and len(asking) == BURST // 2:
                    server.send_signal(told)
            for one in asking:
                images[int(one.recv(64))] += 1
                one.close()

        def arrived(image: int) -> bool:
            return receiver.wait_for(lambda: image in {of(event)["image"] for event in receiver.events()}, 60)

        program = Program(tmp_path, receiver.url, settings={"OTEL_EXPORTER_JINA_ENDPOINT": f"{receiver.url}/jina"})
        kept = listening.fileno()
        about = [str(kept), str(WORKERS), "1"]
        with program.start(MASTER, *about, instrument=False, pass_fds=[kept], start_new_session=True) as server:
            try:
                for image in range(1, IMAGES + 1):
                    assert arrived(image)
                    ask()
                    ask(told=signal.SIGHUP if image < IMAGES else 0)
                server.terminate()
                out, err = server.communicate(timeout=60)
            finally:
                with suppress(ProcessLookupError):  # whom a failure leaves behind
                    os.killpg(server.pid, signal.SIGKILL)
        assert ("", 0) == (err, server.returncode)
        until = time.monotonic() + 40
        while any(account(program.state, kind)["waiting"] for kind in ("segment", "jina")):
            assert time.monotonic() < until
            program.usagewire("send")
        segment = {event["messageId"]: event for event in receiver.events() if "messageId" in event}
        jina = [event for event in receiver.events() if "messageId" not in event]

    assert set(range(1, IMAGES + 1)) == set(images)
    expected = {"pid": server.pid, "held": sorted(["0", "1", "2", str(kept)])}
    assert [expected] * IMAGES == [json.loads(line) for line in out.splitlines()]
    emitted = Counter([*range(number), *["loaded"] * IMAGES, *["reloading"] * (IMAGES - 1)])
    assert emitted == Counter(of(event).get("number", event["event"]) for event in segment.values())
    assert set(emitted) == {of(event).get("number", event["event"]) for event in jina}
    for kind in ("segment", "jina"):
        assert {"delivered": emitted.total(), "waiting": 0} == account(program.state, kind)
    for sessions in (
        {(of(event)["process"], event["anonymousId"]) for event in segment.values()},
        {(of(event)["process"], event["session-id"]) for event in jina},
    ):
        assert len(sessions) == len({process for process, _ in sessions}) == len({session for _, session in sessions})
    assert 1 == len({event["uid"] for event in jina})
