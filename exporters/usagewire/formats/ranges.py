"""The documented ranges of the two byte histograms, as OpenTelemetry's bucket boundaries.

Document: JETStream Server, "Telemetry". A bucket includes its upper edge, so for whole bytes the range 1024 – 8191 is
the bucket (1023, 8191].
"""

from __future__ import annotations

from collections.abc import Mapping

FILE_SIZE, TRANSFER_SIZE = "usage.file.size", "usage.transfer.size"

BOUNDARIES: Mapping[str, tuple[int, ...]] = {
    FILE_SIZE: (0, *(2**power - 1 for power in range(10, 38, 3))),
    TRANSFER_SIZE: tuple(2**power - 1 for power in range(20, 41, 2)),
}
"""Instrument name → upper edges in bytes; what lies above the last one is a bucket of its own."""
