"""R9: workers of every kind beside one parent, as servers that preload have them: nothing lost, nothing shared."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.support.programs import Program
from usagewire.inspector.receiver import Receiver

pytestmark = pytest.mark.slow

EACH = 10_000
WORKERS = ["fork"] * 4 + ["multiprocessing fork"] * 2 + ["multiprocessing spawn"] * 2

SERVER = """
    import json, multiprocessing, os, sys, warnings
    from pathlib import Path

    # Python 3.12 warns of every fork beside a thread, and OpenTelemetry's own worker is one
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    EACH, FOLDER, WORKERS = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]

    def preload():
        global provider, logger
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        from opentelemetry.sdk.resources import Resource
        from usagewire.sdk import SegmentLogExporter

        provider = LoggerProvider(Resource({"service.name": "shop"}))
        provider.add_log_record_processor(BatchLogRecordProcessor(SegmentLogExporter(), max_queue_size=2 * EACH))
        logger = provider.get_logger("shop")

    def held():
        # the queue's files that are open in this process
        found = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
        return sorted(path for path in found if "/queue/" in path)

    def work(name):
        if "spawn" in name:
            preload()
        for number in range(EACH):
            logger.emit(event_name="work", attributes={"who": name, "number": number})
            if number >= EACH - 2:
                provider.force_flush(120_000)
        (FOLDER / name).write_text(json.dumps(held()))

    def run():
        preload()
        logger.emit(event_name="preloaded")
        provider.force_flush(120_000)
        (FOLDER / "parent").write_text(json.dumps(held()))
        children, forked = [], []
        for number, kind in enumerate(WORKERS):
            name = f"{kind} {number}"
            if kind == "fork":
                child = os.fork()
                if not child:
                    work(name)
                    sys.exit(0)
                forked.append(child)
            else:
                context = multiprocessing.get_context(kind.split()[1])
                children.append(context.Process(target=work, args=(name,)))
                children[-1].start()
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in forked]
        [child.join() for child in children]
        codes += [child.exitcode for child in children]
        from opentelemetry._logs import set_logger_provider
        import usagewire
        set_logger_provider(provider)
        print(codes, usagewire.flush(120_000))

    if __name__ == "__main__":
        run()
"""


def test_eight_workers_lose_nothing(tmp_path: Path) -> None:
    """Forked by a server that had loaded everything, by multiprocessing, and spawned: 10,000 events of each of eight
    arrive, exactly 80,000, and no two processes have a file of the queue open."""
    seen = tmp_path / "seen"
    seen.mkdir()
    with Receiver() as receiver:
        program = Program(tmp_path, receiver.url)
        with program.start(SERVER, str(EACH), str(seen), *WORKERS, instrument=False) as process:
            out, err = process.communicate(timeout=170)

        assert (f"{[0] * len(WORKERS)} True\n", "") == (out, err)
        found = {event["messageId"]: event for event in receiver.events()}

    counts = Counter(event["properties"].get("who", "parent") for event in found.values())
    assert {"parent": 1, **{f"{kind} {number}": EACH for number, kind in enumerate(WORKERS)}} == counts
    assert len(found) == len({(e["properties"].get("who"), e["properties"].get("number")) for e in found.values()})
    files = [path for name in seen.iterdir() for path in json.loads(name.read_text())]
    assert 1 < len(files) == len(set(files))
