"""R9 on the server that everybody has: gunicorn, with `--preload` and without, whose workers come and go."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.intakes import account
from tests.support.programs import EMIT, Program
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow

WORKERS, EACH = 4, 10
SERVER = (
    EMIT
    + """
    import os
    from opentelemetry._logs import get_logger_provider

    def app(environ, start_response):
        kind, number = environ["PATH_INFO"].split("/")[1:]
        logger.emit(event_name="request", attributes={"number": int(number)})
        if kind == "flushed":
            get_logger_provider().force_flush()
        start_response("200 OK", [])
        return [str(os.getpid()).encode()]

    if __name__ == "__main__":
        from gunicorn.app.wsgiapp import run
        run()
    else:
        with open("loaded", "a") as loaded:
            print(os.getpid(), file=loaded, flush=True)
        logger.emit(event_name="loaded", attributes={"process": str(os.getpid())})
"""
)


def until(met: Callable[[], bool]) -> None:
    """Wait for it, on a busy machine."""
    deadline = time.monotonic() + 40
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children(pid: int) -> set[int]:
    """The processes that ``pid`` started and that live."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


@pytest.mark.parametrize("loading", ["once, before the fork", "in each worker"])
def test_workers_that_come_and_go_lose_nothing(tmp_path: Path, loading: str) -> None:
    """Workers that are replaced after ten requests each, one that is killed once its event is acknowledged, and all of
    them by a reload: what was emitted when the program was loaded and in every request arrives once."""
    preload = ["--preload"] if loading.startswith("once") else []
    asked = Counter[int]()
    with Receiver() as receiver, socket.create_server(("127.0.0.1", 0)) as listening:

        def ask(kind: str = "plain") -> int:
            connection = HTTPConnection("127.0.0.1", listening.getsockname()[1], timeout=40)
            connection.request("GET", f"/{kind}/{asked.total()}")
            worker = int(connection.getresponse().read())
            connection.close()
            asked[worker] += 1
            return worker

        program = Program(tmp_path, receiver.url)
        options = [*preload, "--bind", f"fd://{listening.fileno()}", "--workers", str(WORKERS)]
        options += ["--max-requests", str(EACH), "--no-control-socket", "--log-level", "critical", "program:app"]
        with program.start(SERVER, *options, pass_fds=[listening.fileno()], cwd=tmp_path) as server:
            try:
                for _ in range(WORKERS * EACH * 2):
                    ask()
                os.kill(killed := ask("flushed"), signal.SIGKILL)
                until(lambda: killed not in children(server.pid))
                for _ in range(WORKERS):
                    ask()
                until(lambda: len(children(server.pid)) == WORKERS)
                before = children(server.pid)
                server.send_signal(signal.SIGHUP)
                until(lambda: not before & children(server.pid))
                for _ in range(WORKERS * EACH):
                    ask()
                server.terminate()
                said = server.communicate(timeout=60)
            finally:
                server.kill()
        assert ("", "", 0) == (*said, server.returncode)
        until(lambda: not account(program.state)["waiting"] or not program.usagewire("send").returncode)
        found = {event["messageId"]: event for event in receiver.events()}

    assert 3 * WORKERS <= len(asked)
    assert max(asked.values()) <= EACH
    loaded = (tmp_path / "loaded").read_text().split()
    assert {str(server.pid)} == set(loaded) if preload else set(map(str, asked)) <= set(loaded)
    processes = [event["properties"]["process"] for event in found.values() if event["event"] == "loaded"]
    numbers = [event["properties"]["number"] for event in found.values() if event["event"] == "request"]
    assert sorted(loaded) == sorted(processes)
    assert list(range(asked.total())) == sorted(numbers)
    assert {"delivered": len(found), "waiting": 0} == account(program.state)
