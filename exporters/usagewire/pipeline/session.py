"""This process, as payloads know it."""

from __future__ import annotations

import time
import uuid


class Session:
    """This process, as payloads know it: an id drawn anew per process, and when it began."""

    def __init__(self) -> None:
        self.id = str(uuid.uuid4())
        self.started = time.time_ns()
