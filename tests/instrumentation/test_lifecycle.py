"""A component's start and stop, by every way a program may run one."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.support.otel import Capture
from usagewire_instrumentation import Lifecycle, events

START, STOP = "usage.component.start", "usage.component.stop"


@pytest.fixture
def capture() -> Capture:
    """A pipeline that exports at once."""
    return Capture()


def test_with_block_emits_start_and_stop(capture: Capture) -> None:
    """Both carry name, version and the caller's own attributes; the stop also says how long it ran, in seconds."""
    with Lifecycle("server", version="1.30.0", logger_provider=capture.provider, db_backend="mysql"):
        time.sleep(0.02)

    start, stop = capture.attributes()
    common = {
        "usage.component.name": "server",
        "usage.component.version": "1.30.0",
        "db_backend": "mysql",
    }
    duration = stop.pop("usage.component.duration")
    assert [START, STOP] == capture.names()
    assert common == start
    assert common == stop
    assert 0.02 <= duration < 20


def test_version_is_left_out_when_unknown(capture: Capture) -> None:
    """No version means no attribute, not an empty one."""
    Lifecycle("server", logger_provider=capture.provider).start()

    assert [{"usage.component.name": "server"}] == capture.attributes()


def test_exception_passes_unchanged_and_names_its_type(capture: Capture) -> None:
    """The stop of a failing component says which type of error it was, never its message."""
    error = ValueError("/home/alice/secret.db is locked")

    with pytest.raises(ValueError, match="locked") as caught, Lifecycle("server", logger_provider=capture.provider):
        raise error

    assert error is caught.value
    assert "ValueError" == capture.attributes()[1]["error.type"]
    assert "secret" not in str(capture.attributes())


class Refused(Exception):
    """An error of the product's own."""


def test_own_error_types_are_qualified(capture: Capture) -> None:
    """A product's own exception is named with its module, since short names repeat."""
    lifecycle = Lifecycle("server", logger_provider=capture.provider).start()

    lifecycle.stop(Refused())

    assert f"{__name__}.Refused" == capture.attributes()[1]["error.type"]


@pytest.mark.parametrize("way_out", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_ways_to_stop_are_not_failures(capture: Capture, way_out: type[BaseException]) -> None:
    """Ctrl-C, sys.exit() and a cancelled task end a component without an error type."""
    with suppress(way_out), Lifecycle("server", logger_provider=capture.provider):
        raise way_out

    assert [START, STOP] == capture.names()
    assert "error.type" not in capture.attributes()[1]


def test_start_and_stop_are_idempotent_and_it_runs_again(capture: Capture) -> None:
    """Starting twice is one start, stopping twice one stop, and a stopped lifecycle may start again."""
    lifecycle = Lifecycle("server", logger_provider=capture.provider)

    lifecycle.stop()
    lifecycle.start().start()
    lifecycle.stop()
    lifecycle.stop()
    with lifecycle:
        pass

    assert [START, STOP, START, STOP] == capture.names()


def test_decorated_function_behaves_as_before(capture: Capture) -> None:
    """Arguments, result, name and docstring stay; every call is a run of its own, a nested one too."""

    @Lifecycle("installer", logger_provider=capture.provider)
    def factorial(n: int, *, base: int = 1) -> int:
        """Multiply."""
        return base if n < 2 else n * factorial(n - 1, base=base)

    assert 12 == factorial(3, base=2)
    assert ("factorial", "Multiply.") == (factorial.__name__, factorial.__doc__)
    assert [START] * 3 + [STOP] * 3 == capture.names()


def test_decorated_coroutine_runs_until_it_is_done(capture: Capture) -> None:
    """An async function's component lasts as long as the coroutine, and two at once are two runs."""

    @Lifecycle("flow", logger_provider=capture.provider)
    async def flow(result: int) -> int:
        await asyncio.sleep(0.02)
        if result == 2:
            raise Refused
        return result

    async def both() -> tuple[int | BaseException, int | BaseException]:
        return await asyncio.gather(flow(1), flow(2), return_exceptions=True)

    first, second = asyncio.run(both())
    stops = [a for a in capture.attributes() if "usage.component.duration" in a]
    assert 1 == first
    assert isinstance(second, Refused)
    assert [START, START, STOP, STOP] == capture.names()
    assert all(0.02 <= stop["usage.component.duration"] < 20 for stop in stops)
    assert [None, f"{__name__}.Refused"] == sorted((stop.get("error.type") for stop in stops), key=str)


def test_generator_functions_are_left_alone(
    capture: Capture, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Calling a generator function does not run it, so it is not followed, works as before, and the log says so."""
    monkeypatch.setattr(events, "_complained", set[str]())

    def numbers() -> Iterator[int]:
        yield from (1, 2)

    decorated: Callable[[], Iterator[int]] = Lifecycle("x", logger_provider=capture.provider)(numbers)

    assert numbers is decorated
    assert [1, 2] == list(decorated())
    assert [] == capture.names()
    assert "use `with Lifecycle(...)` inside it" in caplog.text


def test_racing_threads_make_one_start_and_one_stop(capture: Capture) -> None:
    """However many threads start or stop one lifecycle at once, it happens once."""
    lifecycle = Lifecycle("server", logger_provider=capture.provider)

    def together(action: Callable[[], Any]) -> None:
        barrier = threading.Barrier(8)

        def work() -> None:
            barrier.wait(10)
            action()

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

    for _ in range(20):
        together(lifecycle.start)
        together(lifecycle.stop)

    assert [START, STOP] * 20 == capture.names()


def test_stop_is_handed_over_at_once() -> None:
    """The last event of a dying program does not wait for the next batch."""
    capture = Capture(batch_delay_millis=60_000)

    with Lifecycle("server", logger_provider=capture.provider):
        pass
    capture.wait_for(2)

    assert [START, STOP] == capture.names()
    capture.provider.shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_child_does_not_stop_its_parents_component(capture: Capture) -> None:
    """A child that leaves the parent's with block emits nothing; what it starts itself, it also stops."""
    inherited = Lifecycle("server", logger_provider=capture.provider).start()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        inherited.stop()
        with Lifecycle("worker", logger_provider=capture.provider):
            pass
        os.write(write, " ".join(name or "" for name in capture.names()[1:]).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        in_child = pipe.read()
    os.waitpid(child, 0)
    inherited.stop()

    assert f"{START} {STOP}" == in_child
    assert [START, STOP] == capture.names()
