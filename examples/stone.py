"""Stone, as small as can be: a storage cluster of one machine, with its telemetry commands below its own.

    opentelemetry-instrument python stone.py run
    opentelemetry-instrument python stone.py telemetry show

What it reports is true: this machine's counts, room and system, a crash of its own, and what smartctl says of the
disks, where smartctl is installed and may ask them. Nothing is recorded before `stone.py telemetry on`.
"""

from __future__ import annotations

import platform
import shutil
import threading

import click

from usagewire.cli import add_disable_telemetry_option, telemetry_commands
from usagewire_instrumentation import CrashReporter, DeviceReporter, EntityCounts, StateReporter

__version__ = "15.2.8"

states = StateReporter()
devices = DeviceReporter()


def set_up() -> None:
    """Who is asked what; OpenTelemetry asks for counts by itself, the others are asked by `run` and by `telemetry`."""
    CrashReporter("osd.0", component="stone", version=__version__).install()
    counts = EntityCounts().count("host", lambda: 1).count("host", lambda: 1, role="osd").count("osd", lambda: 1)
    counts.capacity("total", lambda: shutil.disk_usage("/").total).capacity("used", lambda: shutil.disk_usage("/").used)
    counts.capacity("available", lambda: shutil.disk_usage("/").free)
    states.register("metadata", metadata).register("balancer", lambda: {"active": True, "mode": "upmap"})
    states.register("config", lambda: {"cluster_changed": ["osd_pool_default_size"], "active_changed": []})


def metadata() -> dict[str, dict[str, dict[str, int]]]:
    """How many daemons have which property."""
    system = platform.freedesktop_os_release() if hasattr(platform, "freedesktop_os_release") else {}
    known = {
        "arch": platform.machine(),
        "kernel_version": platform.release(),
        "distro": system.get("ID", ""),
        "os": platform.system(),
        "stone_version": __version__,
    }
    return {"osd": {name: {value: 1} for name, value in known.items() if value}}


@add_disable_telemetry_option
@click.group()
@click.version_option(__version__)
def stone() -> None:
    """Keep objects on this machine."""
    set_up()


@stone.command()
def run() -> None:
    """Scrub every object, once."""

    def scrub() -> None:
        raise OSError("/var/lib/stone/osd.0/secret-object cannot be read")

    thread = threading.Thread(target=scrub, name="scrub")
    thread.start()
    thread.join()
    states.report()
    click.echo(f"scrubbed; {devices.report()} disks were asked how they are")


stone.add_command(telemetry_commands(service="stone", format="stone", report=states.report, devices=devices.report))

if __name__ == "__main__":
    stone(prog_name="stone")
