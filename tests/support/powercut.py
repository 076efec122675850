"""Cutting the power: what a process did to its files, told by strace, and what a disk may hold had it stopped anywhere.

A disk keeps what an fsync or fdatasync covered: of a file its bytes, of a folder its names. Of the rest it may keep
all, nothing, or anything between: any first part of the bytes, which tears a line, and any first part of the changes
to a folder's names, for journals keep their order.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Union

from tests.support.storage import World
from usagewire.state.paths import prepare

KNOWN = {
    "openat": "open", "write": "write", "fsync": "sync", "fdatasync": "sync", "mkdir": "mkdir", "mkdirat": "mkdir",
    "rename": "rename", "renameat": "rename", "renameat2": "rename", "link": "link", "linkat": "link",
    "unlink": "unlink", "unlinkat": "unlink",
}  # fmt: skip
"""System calls by what they do, whichever of them this machine has."""
UNKNOWN = ("pwrite64", "writev", "ftruncate", "truncate", "rmdir", "sendfile", "copy_file_range")
"""Calls that no `Disk` can follow; the state has no use for them."""
LINE = re.compile(r"(?P<who>\d+) +(?:<\.\.\. \w+ resumed>|(?P<call>\w+)\()(?P<rest>.*)")
UNFINISHED = " <unfinished ...>"
QUOTED = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
DESCRIPTOR = re.compile(r"\d+<([^>]*)>")
INTERVAL = 60
Rest = Literal["dropped", "kept", "drawn"]


# -- what was done --------------------------------------------------------------------------------------------------


def work(base: Path, batches: int = 40) -> None:
    """Two threads write, a consumer folds, compiles and sends meanwhile; every acknowledgement is noted."""
    random.seed(5)
    world = World(base, interval_millis=INTERVAL)
    prepare(world.place, {})

    def write(name: str) -> None:
        writer = world.writer()
        for batch in range(batches):
            kind = ("event", "point")[batch % 2]
            world.put(writer, kind, [f"{name}.{batch}.{number}" for number in range(1 + batch % 3)])
            if batch % 7 == 6:
                writer.close()
            if batch % 11 == 10:
                writer.after_fork()  # as if it had died
        writer.close()

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    consumer = world.consumer()
    while any(thread.is_alive() for thread in threads):
        world.tick(consumer)
    for _ in range(5):
        world.tick(consumer, force=True)
    consumer.release()


class Step(NamedTuple):
    """Where a call began, or returned."""

    call: Call
    returned: bool


@dataclass(eq=False)
class Call:
    """One system call that succeeded. ``rest`` are its arguments and its result as strace prints them."""

    name: str
    rest: str
    node: Node | None = None
    """What its descriptor is of."""
    covers: int = 0
    """How much of that was there when a sync began."""

    @property
    def failed(self) -> bool:
        return " = -1 " in self.rest

    def paths(self) -> list[Path]:
        """Arguments that are strings."""
        return [Path(plain(found).decode()) for found in QUOTED.findall(self.rest)]

    def data(self) -> bytes:
        """The bytes that the disk took of a write."""
        return plain(QUOTED.findall(self.rest)[-1])[: int(self.rest.rpartition(" = ")[2])]

    def file(self) -> Path:
        """What the descriptor is of, by its name when the call began."""
        found = DESCRIPTOR.match(self.rest)
        assert found, self.rest
        return Path(plain(found[1]).decode() if found[1].startswith("\\x") else found[1])


def plain(escaped: str) -> bytes:
    """What strace printed as ``\\x…``."""
    return bytes.fromhex(escaped.replace("\\x", ""))


def record(base: Path) -> list[Step]:
    """Run `work` in ``base`` under strace. Raises `PermissionError` where processes may not be traced."""
    trace = base / "trace"
    wanted = ",".join(f"?{name}" for name in (*KNOWN, *UNKNOWN))
    strace = ["strace", "-f", "-y", "-xx", "-s", str(1 << 24), "-e", f"trace={wanted}", "-o", str(trace)]
    ran = subprocess.run(
        [*strace, sys.executable, "-m", "tests.support.powercut", str(base)],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    if "ptrace" in ran.stderr and ran.returncode:
        raise PermissionError(ran.stderr.strip())
    assert 0 == ran.returncode, ran.stderr
    return steps(trace.read_text())


def steps(trace: str) -> list[Step]:
    """The calls of a trace, in order; what a call returned is known where it begins."""
    begun: dict[str, Call] = {}
    found: list[Step] = []
    for line in trace.splitlines():
        parsed = LINE.fullmatch(line)
        if parsed is None:
            continue  # signals and exits
        who, rest = parsed["who"], parsed["rest"]
        if parsed["call"]:
            begun[who] = Call(parsed["call"], rest.removesuffix(UNFINISHED))
            found.append(Step(begun[who], False))
        else:
            begun[who].rest += rest
        if not rest.endswith(UNFINISHED):
            found.append(Step(begun.pop(who), True))
    return [step for step in found if step.call not in begun.values() and not step.call.failed]


# -- what is left of it ---------------------------------------------------------------------------------------------


@dataclass(eq=False)
class File:
    """Bytes, of which the first ``synced`` are durable."""

    log: bytearray = field(default_factory=bytearray)
    synced: int = 0


@dataclass(eq=False)
class Folder:
    """Changes to names, of which the first ``synced`` are durable; ``names`` is what they come to."""

    log: list[Change] = field(default_factory=list)
    synced: int = 0
    names: dict[str, Node] = field(default_factory=dict)

    def change(self, change: Change) -> None:
        change(self.names)
        self.log.append(change)


Node = Union[File, Folder]
Change = Callable[[dict[str, Node]], object]


class Disk:
    """A disk, of which the part below ``root`` is of interest. Steps are done on it one by one."""

    def __init__(self, root: Path) -> None:
        self._root, self._top = root, Folder()

    def do(self, step: Step) -> None:
        """Names change where a call begins, for whoever sees the change is later; bytes are there where a write
        returns; and a sync, when it returns, covers what was there when it began."""
        call = step.call
        kind = KNOWN.get(call.name)
        if kind in ("write", "sync") or kind is None:
            if not step.returned:
                call.node = self._find(call.file()) if DESCRIPTOR.match(call.rest) else None
                call.covers = len(call.node.log) if call.node else 0
            elif kind == "sync" and call.node:
                call.node.synced = max(call.node.synced, call.covers)
            elif isinstance(call.node, File):
                assert kind == "write", f"a disk that knows no {call.name}"
                call.node.log += call.data()
        elif not step.returned and all(self._find(path.parent) for path in call.paths()):
            self._change(kind, call)

    def _change(self, kind: str, call: Call) -> None:
        path, *others = call.paths()
        folder, name = self._find(path.parent), path.name
        assert isinstance(folder, Folder)
        if kind in ("open", "mkdir"):
            if name not in folder.names and (kind == "mkdir" or "O_CREAT" in call.rest):
                made = File() if kind == "open" else Folder()
                folder.change(lambda names: names.__setitem__(name, made))
        elif kind == "unlink":
            folder.change(lambda names: names.pop(name))
        else:
            (other,) = others
            assert path.parent == other.parent, f"a disk that knows no {kind} between folders"
            move = kind == "rename"
            folder.change(lambda names: names.__setitem__(other.name, names.pop(name) if move else names[name]))

    def _find(self, path: Path) -> Node | None:
        """What is there, below the root; ``None``: nothing, or elsewhere."""
        if not path.is_relative_to(self._root):
            return None
        node: Node | None = self._top
        for name in path.relative_to(self._root).parts:
            node = node.names.get(name) if isinstance(node, Folder) else None
        return node

    def leave(self, into: Path, rest: Rest, drawn: random.Random) -> None:
        """Write what a cut leaves; of what is not durable ``rest`` is left, except of the oracle's, who has a disk of
        its own."""

        def write(node: Node, path: Path, rest: Rest) -> None:
            least, most = node.synced, len(node.log)
            kept = {"dropped": least, "kept": most, "drawn": drawn.randint(least, most)}[rest]
            if isinstance(node, File):
                path.write_bytes(node.log[:kept])
                return
            path.mkdir(exist_ok=True)
            names: dict[str, Node] = {}
            for change in node.log[:kept]:
                change(names)
            for name, below in names.items():
                write(below, path / name, "kept" if name == "oracle" else rest)

        into.mkdir()
        for name, below in self._top.names.items():
            write(below, into / name, "kept" if name == "oracle" else rest)


if __name__ == "__main__":
    work(Path(sys.argv[1]))
