"""What the page can switch: consent, by the command itself, and how the receiver misbehaves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from usagewire.inspector import faults
from usagewire.inspector.faults import Script
from usagewire.inspector.grpc_receiver import GrpcReceiver
from usagewire.inspector.records import Records

MISBEHAVIOURS = {
    "none": "answers as the real one does",
    "503": "answers 503: not available",
    "429": "answers 429 with Retry-After",
    "slow": "answers late",
    "cut": "takes the request and closes the connection without an answer",
}
LONGEST = 300
"""Seconds that an answer may be late, or be asked for."""
_UNAVAILABLE, _EXHAUSTED = 14, 8


@dataclass
class Misbehaviour:
    """How the receivers answer from now on."""

    receivers: Sequence[Records]
    kind: str = "none"
    seconds: int = 5

    def choose(self, kind: str, seconds: int) -> None:
        """Raises `ValueError` for a kind that there is not."""
        if kind not in MISBEHAVIOURS:
            raise ValueError(f"{kind!r} is none of {', '.join(MISBEHAVIOURS)}")
        self.kind, self.seconds = kind, min(max(seconds, 0), LONGEST)
        for receiver in self.receivers:
            grpc = isinstance(receiver, GrpcReceiver)
            receiver.script = _call(kind, self.seconds) if grpc else _request(kind, self.seconds)


def _request(kind: str, seconds: int) -> Script | None:
    made = {
        "503": faults.status(503),
        "429": faults.retry_after(seconds),
        "slow": faults.slow(seconds),
        "cut": faults.cut(),
    }
    return made.get(kind)


def _call(kind: str, seconds: int) -> Script | None:
    """The same over gRPC, where a connection that is cut looks like a server that is not available."""
    made = {
        "503": faults.grpc_status(_UNAVAILABLE),
        "429": faults.grpc_status(_EXHAUSTED, seconds),
        "slow": faults.slow(seconds),
        "cut": faults.grpc_status(_UNAVAILABLE),
    }
    return made.get(kind)


def command(*words: str) -> tuple[bool, str]:
    """Run ``usagewire words``: whether it did it, and what it said. The page switches by nothing else, so it cannot
    differ from the command line."""
    done = subprocess.run(  # noqa: S603 - our own command, with a word and a name
        [sys.executable, "-m", "usagewire", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode == 0, (done.stdout + done.stderr).strip()
