"""JETStream Server telemetry."""
