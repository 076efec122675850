"""Disks and what they say of their health: ``usage.device``, from smartmontools' ``smartctl`` 7.0 and newer."""

from __future__ import annotations

import json
import platform
import random
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

from opentelemetry._logs import LoggerProvider

from usagewire_instrumentation.events import caller_scope, complain, emit_event

if TYPE_CHECKING:
    from typing_extensions import Self

DAY, LONGEST_DELAY = 86_400.0, 3_600.0
PATIENCE = 60.0
"""Seconds that smartctl gets for one disk."""
OLDEST = (7, 0)
"""The first smartctl that speaks JSON."""
FAILED = 0b11
"""Bits of smartctl's exit status that say that nothing was read; the others tell of the disk's health."""
IDENTIFIERS = frozenset({"wwn", "logical_unit_id", "eui64", "nguid", "sas_address", "attached_sas_address"})
"""What tells a disk from its like, besides the serial number."""
SERIAL, DELETED = "serial_number", "deleted"


class DeviceReporter:
    """Asks smartctl about every disk it finds and emits one ``usage.device`` each, with smartctl's JSON as the body and
    without serial numbers and the like.

    Serial number and host name leave as digests, of which formats draw ids of their own. ``smartctl`` is the program's
    name or path; it mostly needs root. ``scope`` and ``logger_provider`` as in `emit_event`.
    """

    def __init__(
        self,
        *,
        smartctl: str = "smartctl",
        scope: str | None = None,
        logger_provider: LoggerProvider | None = None,
    ) -> None:
        self._smartctl = smartctl
        self._scope = caller_scope() if scope is None else scope
        self._provider = logger_provider
        self._stop = threading.Event()

    def start(self, interval: float = DAY) -> Self:
        """Report every ``interval`` seconds on a daemon thread; for the first time after a random delay of up to an
        hour, so that the time does not tell which machine it is."""
        delay = random.uniform(0, min(interval, LONGEST_DELAY))  # noqa: S311 - nobody gains by guessing it

        def run() -> None:
            wait = delay
            while not self._stop.wait(wait):
                self.report()
                wait = interval

        try:
            threading.Thread(target=run, name="usagewire-devices", daemon=True).start()
        except RuntimeError as error:  # the interpreter goes down
            complain("devices are not reported: %s", error)
        return self

    def stop(self) -> None:
        """No more reports."""
        self._stop.set()

    def report(self) -> int:
        """Report every disk now, on the calling thread; how many it were. Why it is none is said once in the log."""
        try:
            command = self._command()
            if not command:
                return 0
            found = self._run(command, "--scan-open").get("devices", [])
            reported = sum(self._report_one(command, device) for device in found)
            if not reported:
                complain("no devices reported: smartctl found %d and could read none; it mostly needs root", len(found))
            return reported
        except Exception as error:
            complain("devices were not reported: %s", type(error).__name__)
            return 0

    def _command(self) -> str:
        """Where smartctl is; empty, and it is said why, where it is of no use."""
        command = shutil.which(self._smartctl)
        if command is None:
            complain("no devices reported: %s is not installed (package smartmontools)", self._smartctl)
            return ""
        said = self._call(command, "--version")
        version = re.match(r"smartctl (?:pre-)?(\d+)\.(\d+)", said)
        if version is None or (int(version[1]), int(version[2])) < OLDEST:
            known = version[0] if version else repr(said[:40])
            complain("no devices reported: smartctl 7.0 or newer is needed for its JSON, %s is %s", command, known)
            return ""
        return command

    def _report_one(self, command: str, device: Mapping[str, Any]) -> bool:
        try:
            body = self._run(command, "--xall", "--device", device["type"], device["name"])
            if body.get("smartctl", {}).get("exit_status", FAILED) & FAILED:
                return False
            about = {"usage.device.host": _digest(platform.node()), "usage.device.id": device_id(body)}
            emit_event("usage.device", about, body=scrub(body), scope=self._scope, logger_provider=self._provider)
        except Exception as error:  # smartctl's answer is not what its documentation says
            complain("a device was not reported: %s", type(error).__name__)
            return False
        return True

    def _run(self, command: str, *arguments: str) -> dict[str, Any]:
        found = json.loads(self._call(command, "--json", *arguments) or "{}")
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

    @staticmethod
    def _call(command: str, *arguments: str) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - a program of the administrator's, no shell
                [command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            complain("%s %s: %s", command, arguments[0], type(error).__name__)
            return ""
        return done.stdout.decode("utf-8", "replace")


def device_id(body: Mapping[str, Any]) -> str:
    """``<vendor and model>_<digest of the serial number>``."""
    model = str(body.get("model_name") or body.get("scsi_model_name") or "")  # a SCSI disk's begins with its vendor
    return f"{re.sub(r'[^A-Za-z0-9.+-]+', '_', model.strip())}_{_digest(str(body.get(SERIAL, '')))}"


def scrub(body: Mapping[str, Any]) -> dict[str, Any]:
    """smartctl's JSON without what tells a disk from its like, wherever it stands."""
    serial = str(body.get(SERIAL, "")).strip()
    found: dict[str, Any] = _without(body, serial)
    return found


def _without(value: Any, serial: str) -> Any:
    if isinstance(value, dict):
        return {
            name: DELETED if name.endswith(SERIAL) else _without(inner, serial)
            for name, inner in cast("dict[str, Any]", value).items()
            if name not in IDENTIFIERS
        }
    if isinstance(value, list):
        return [_without(inner, serial) for inner in cast("Sequence[Any]", value)]
    return DELETED if isinstance(value, str) and serial and serial in value else value


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
