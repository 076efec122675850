"""Version 1: proto/usagewire/wire/jetstream/v1/telemetry.proto."""
