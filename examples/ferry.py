"""Ferry carries files to another folder over TCP and checks that they arrive intact.

    python ferry.py serve --directory inbox
    python ferry.py send report.pdf photos/
    python ferry.py demo --files 24

It is also what an instrumented product looks like. All telemetry goes through the OpenTelemetry API: it imports no
SDK and no exporter, and runs the same without them. Five kinds of line do all the work; look for:

    Lifecycle("server")            a component starts and stops
    events.emit(event_name=...)    something happened that the product's makers want to know
    counted.queue(size)            a transfer, whose size, fate and speed are worth counting
    record_command(parser)         a command is run
    log.info(...)                  a plain log line: it may name files, so it never leaves the machine
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import random
import signal
import socket
import socketserver
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from opentelemetry._logs import get_logger

from usagewire_instrumentation import FileSizes, Lifecycle, Transfers, record_command, socket_round_trip_time
from usagewire_instrumentation.transfers import Transfer as Counted

__version__ = "1.4.0"
CHUNK = 1 << 16
PORT = 7117

log = logging.getLogger("ferry")
events = get_logger("ferry", __version__)

seen = FileSizes()
counted = Transfers()


class Refused(Exception):
    """The other side did not take the file, and says why."""


def copy(source: BinaryIO, target: BinaryIO, size: int, moved: Callable[[int], None] = lambda count: None) -> str:
    """Copy exactly ``size`` bytes and return their SHA-256, in hex; ``moved`` is told of every piece."""
    digest = hashlib.sha256()
    while size > 0:
        chunk = source.read(min(size, CHUNK))
        if not chunk:
            raise OSError(f"{size} bytes are missing")
        digest.update(chunk)
        target.write(chunk)
        moved(len(chunk))
        size -= len(chunk)
    return digest.hexdigest()


class Handler(socketserver.StreamRequestHandler):
    """One connection, any number of files. For each, client and server take turns:

    ``{"name": …, "size": …}`` → ``ready``; the bytes and their SHA-256 → ``stored``. Any other answer is a refusal.
    """

    def handle(self) -> None:
        """Called by socketserver."""
        directory = cast("Server", self.server).directory
        with tempfile.TemporaryDirectory(dir=directory, prefix=".ferry-") as arriving:
            try:
                while header := self.rfile.readline(CHUNK):
                    self.answer(self.receive(directory, Path(arriving, "part"), **json.loads(header)))
            except (OSError, ValueError, TypeError) as error:
                log.warning("gave up on %s: %s", self.client_address, error)

    def receive(self, directory: Path, part: Path, *, name: str, size: int) -> str:
        """Store one file as ``name`` below ``directory``: whole and intact, or not at all. Gives the answer."""
        target = (directory / name).resolve()
        if directory not in target.parents or target.is_dir():
            return "not a place below my directory"
        self.answer("ready")
        with part.open("wb") as file:
            digest = copy(cast("BinaryIO", self.rfile), file, size)
        if self.rfile.readline(CHUNK).decode().strip() != digest:
            return "damaged on the way"
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)
        log.info("stored %s, %d bytes", target, size)
        return "stored"

    def answer(self, words: str) -> None:
        """Send one line back."""
        self.wfile.write(words.encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    """Stores what it gets below one directory."""

    allow_reuse_address = True
    daemon_threads = True  # a client that stays connected must not keep the server from stopping

    def __init__(self, directory: Path, host: str, port: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory.resolve()
        super().__init__((host, port), Handler)


@contextmanager
def serving(directory: Path, host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[str, int]]:
    """Serve in the background for the length of a ``with`` block; gives the address."""
    with Lifecycle("server", version=__version__), Server(directory, host, port) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield cast("tuple[str, int]", server.server_address)
        finally:
            server.shutdown()


@dataclass
class Transfer:
    """One file on its way: where it is, what it will be called, and how it went."""

    path: Path
    name: str
    size: int
    counted: Counted
    duration: float = 0.0
    round_trip: float = 0.0
    succeeded: bool = False


def queue(paths: Iterable[Path]) -> list[Transfer]:
    """A transfer for every file among ``paths`` and in the folders among them."""
    transfers: list[Transfer] = []
    for path in paths:
        for found in sorted(filter(Path.is_file, path.rglob("*"))) if path.is_dir() else [path]:
            size = found.stat().st_size
            seen.observe(size)
            transfers.append(Transfer(found, str(found.relative_to(path.parent)), size, counted.queue(size)))
    return transfers


@Lifecycle("client", version=__version__)
def send(transfers: Iterable[Transfer], address: tuple[str, int]) -> None:
    """Send the files over one connection. A refused file does not stop the others; a broken connection does.

    What it tells the makers is sizes and times, never names.
    """
    with socket.create_connection(address, timeout=30) as connection, connection.makefile("rwb") as stream:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for transfer in transfers:
            began = time.monotonic()
            try:
                with transfer.counted.start() as progress:
                    send_one(cast("BinaryIO", stream), transfer, progress.advance)
                transfer.succeeded = True
            except Refused as refusal:
                log.warning("%s was refused: %s", transfer.path, refusal)
            finally:
                transfer.duration = time.monotonic() - began
                transfer.round_trip = socket_round_trip_time(connection) or transfer.round_trip
                counted.round_trip(transfer.round_trip)
                log.info("%s: %d bytes in %.3f s", transfer.path, transfer.size, transfer.duration)
                properties = {"size": transfer.size, "duration": transfer.duration, "succeeded": transfer.succeeded}
                events.emit(event_name="transfer_finished", attributes=properties)


def send_one(stream: BinaryIO, transfer: Transfer, moved: Callable[[int], None]) -> None:
    """Send one file, telling ``moved`` of every piece; raises `Refused` when the server does not store it."""
    with transfer.path.open("rb") as file:
        asked = time.monotonic()
        ask(stream, json.dumps({"name": transfer.name, "size": transfer.size}), "ready")
        transfer.round_trip = time.monotonic() - asked
        ask(stream, copy(file, stream, transfer.size, moved), "stored")


def ask(stream: BinaryIO, line: str, wanted: str) -> None:
    """Send ``line``; any answer but the ``wanted`` one is a refusal."""
    stream.write(line.encode() + b"\n")
    stream.flush()
    answer = stream.readline(CHUNK).decode().strip()
    if answer != wanted:
        raise Refused(answer or "the server hung up")


def serve(options: argparse.Namespace) -> None:
    """Serve until Ctrl-C or SIGTERM; either is a proper stop."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with serving(options.directory, options.host, options.port) as (host, port), suppress(KeyboardInterrupt):
        print(f"storing in {options.directory}, listening on {host}:{port}", flush=True)
        threading.Event().wait()


def send_files(options: argparse.Namespace) -> None:
    """Send the files and folders given."""
    transfers = queue(options.files)
    send(transfers, (options.host, options.port))
    report(transfers)


def demo(options: argparse.Namespace) -> None:
    """Make files of many sizes, carry them over loopback, and clean up."""
    with tempfile.TemporaryDirectory(prefix="ferry-") as folder:
        make_files(Path(folder, "outbox"), options.files)
        with serving(Path(folder, "inbox")) as address:
            transfers = queue([Path(folder, "outbox")])
            send(transfers, address)
        report(transfers)


def make_files(folder: Path, count: int) -> None:
    """Sizes as on a real disk: mostly small, a few large, and first of all those on the edges of the ranges."""
    chance = random.Random(count)
    edges = (0, 1, 1023, 1024, 8191, 8192, 65535, 65536, 524287, 524288, 1048575, 1048576)
    for number in range(count):
        size = edges[number] if number < len(edges) else min(int(chance.lognormvariate(9, 2.2)), 1 << 23)
        path = folder / f"shelf-{number % 4}" / f"file-{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(size))


def report(transfers: list[Transfer]) -> None:
    """Two lines for people; exit status 1 when anything failed."""
    arrived = [transfer for transfer in transfers if transfer.succeeded]
    total, seconds = sum(t.size for t in arrived), sum(t.duration for t in transfers)
    print(f"{len(arrived)} of {len(transfers)} files arrived intact: {total} bytes in {seconds:.2f} s")
    if arrived:
        sizes, trips = [t.size for t in arrived], [t.round_trip for t in arrived]
        print(
            f"sizes {min(sizes)} to {max(sizes)} bytes, median {statistics.median(sizes):.0f}; "
            f"median round trip {statistics.median(trips) * 1000:.2f} ms"
        )
    if len(arrived) < len(transfers):
        sys.exit(1)


def main() -> None:
    """Read the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="log every file to stderr")
    # Telemetry exporters exist before this parser runs and read the switch themselves; here it only has to be known.
    common.add_argument("--disable-telemetry", action="store_true", help="send no usage telemetry")
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--host", default="127.0.0.1")
    place.add_argument("--port", type=int, default=PORT)
    parser = argparse.ArgumentParser(prog="ferry", description="Carry files to another folder over TCP.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="serve | send | demo")

    command = commands.add_parser("serve", parents=[common, place], help=serve.__doc__)
    command.add_argument("--directory", type=Path, default=Path("inbox"))
    command.set_defaults(run=serve)

    command = commands.add_parser("send", parents=[common, place], help=send_files.__doc__)
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    command.set_defaults(run=send_files)

    command = commands.add_parser("demo", parents=[common], help=demo.__doc__)
    command.add_argument("--files", type=int, default=24, metavar="N")
    command.set_defaults(run=demo)

    record_command(parser)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING)
    try:
        options.run(options)
    except OSError as error:
        sys.exit(f"ferry: {error}")


if __name__ == "__main__":
    main()
