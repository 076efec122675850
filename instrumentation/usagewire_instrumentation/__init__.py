"""Helpers that speak the OpenTelemetry API only: what happened, and how much. See docs/instrumentation.md."""

from usagewire_instrumentation.commands import CommandRun, record_command
from usagewire_instrumentation.crashes import CrashReporter
from usagewire_instrumentation.devices import DeviceReporter
from usagewire_instrumentation.events import emit_event
from usagewire_instrumentation.lifecycle import Lifecycle
from usagewire_instrumentation.rates import RateMeter, socket_round_trip_time
from usagewire_instrumentation.states import EntityCounts, StateReporter
from usagewire_instrumentation.transfers import FileSizes, Transfers

__all__ = [
    "CommandRun",
    "CrashReporter",
    "DeviceReporter",
    "EntityCounts",
    "FileSizes",
    "Lifecycle",
    "RateMeter",
    "StateReporter",
    "Transfers",
    "emit_event",
    "record_command",
    "socket_round_trip_time",
]
