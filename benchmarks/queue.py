"""What the queue on disk takes and hands out: items per second by batch size and by number of processes.

    make bench
    python -m benchmarks.queue [--rounds 3] [--json]

Every batch is one `put`: synced when it returns. The floor is a file of its own with one write and one fdatasync per
batch and nothing else, from one process. Medians of interleaved rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from usagewire.signals import Stance
from usagewire.state import lines
from usagewire.state.consumer import Consumer, Limits
from usagewire.state.paths import Place, prepare
from usagewire.state.segments import Writer

ITEMS = {1: 300, 8: 2_000, 64: 10_000, 512: 40_000, 2_048: 80_000}
"""Batch size → items that each process puts."""
PROCESSES = (1, 2, 4)
FLOOR = "a write and an fdatasync"
TAKEN = "taken and settled by one process"
ITEM = lines.item(json.dumps({"type": "track", "event": "deployment_started", "properties": {"x": "x" * 280}}).encode())
ROOM = 1 << 40
STANCE = Stance(True, "0")


def place(folder: str) -> Place:
    """The queue below ``folder``."""
    return prepare(Place(Path(folder) / "usagewire" / "bench", "segment"), {})


def put(folder: str, batch: int) -> None:
    """In a process of its own, when told to: put all of its items."""
    writer = Writer(place(folder), lambda: STANCE, queue_bytes=ROOM)
    payloads = [ITEM] * batch
    writer.put("events", payloads)  # makes the folder
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(ITEMS[batch] // batch):
        assert writer.put("events", payloads) == "kept"
    writer.close()
    print("done", flush=True)


def putting(folder: str, batch: int, processes: int) -> float:
    """Items per second of all processes together, from the word to begin until the last one is done."""
    command = [sys.executable, "-m", "benchmarks.queue", "--put", str(batch), "--folder", folder]
    pipe: Any = subprocess.PIPE
    running = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(processes)]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    began = time.perf_counter()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
    took = time.perf_counter() - began
    for process in running:
        process.communicate(timeout=60)
    return processes * (ITEMS[batch] // batch) * batch / took


def floor(folder: str, batch: int) -> float:
    """Items per second that the disk itself takes."""
    data = lines.frame(ITEM) * batch
    descriptor = os.open(f"{folder}/floor", os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        began = time.perf_counter()
        for _ in range(ITEMS[batch] // batch):
            os.write(descriptor, data)
            os.fdatasync(descriptor)
        return ITEMS[batch] / (time.perf_counter() - began)
    finally:
        os.close(descriptor)


def taking(folder: str) -> float:
    """Items per second that the one that sends takes from the queue and settles, request by request."""
    consumer = Consumer(place(folder), lambda: STANCE, Limits(ROOM, 86_400_000, 4 << 20))
    assert consumer.acquire()
    began, count = time.perf_counter(), 0
    consumer.refresh()
    while True:
        entries = consumer.waiting(2_500, 512 << 10)
        if not entries:
            break
        consumer.delivered(entries)
        count += len(entries)
    took = time.perf_counter() - began
    consumer.release()
    return count / took


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Number of processes, or the floor → batch size → items per second put; and what one process takes, the same for
    every size."""
    found: dict[str, dict[str, list[float]]] = {}
    taken: list[float] = []
    for number in range(rounds):
        for batch in ITEMS:
            print(f"round {number + 1} of {rounds}: batches of {batch} …", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                found.setdefault(FLOOR, {}).setdefault(str(batch), []).append(floor(folder, batch))
            for processes in PROCESSES:
                with tempfile.TemporaryDirectory() as folder:
                    rate = putting(folder, batch, processes)
                    name = f"{processes} process{'es' * (processes > 1)}"
                    found.setdefault(name, {}).setdefault(str(batch), []).append(rate)
                    if batch == max(ITEMS) and processes == 1:
                        taken.append(taking(folder))
    medians = {name: {batch: median(rates) for batch, rates in by.items()} for name, by in found.items()}
    return {**medians, TAKEN: {str(batch): median(taken) for batch in ITEMS}}


def table(found: dict[str, dict[str, float]]) -> None:
    """Print what was measured."""
    print(f"{'items/s, by items per batch':36}" + "".join(f"{batch:>12,}" for batch in ITEMS))
    for name, rates in found.items():
        print(f"{name:36}" + "".join(f"{rate:12,.0f}" for rate in rates.values()))


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--put", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.put:
        put(said.folder, said.put)
        return
    found = measure(said.rounds)
    if said.json:
        print(json.dumps(found))
    else:
        table(found)


if __name__ == "__main__":
    main()
