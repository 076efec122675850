"""usagewire.state.origin"""

from __future__ import annotations

import getpass
import json
import platform
import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from usagewire.state import identity, origin

RESOURCE = {
    "service.name": "ferry",
    "service.version": "2.1",
    "service.instance.id": "host-17",
    "deployment.environment.name": "production",
    "telemetry.sdk.language": "python",
    "host.name": "secret-host",
    "host.arch": "amd64",
    "process.command_line": "/home/someone/ferry --key 1",
    "process.runtime.name": "cpython",
    "k8s.pod.name": "ferry-77",
    "edition": "free",
    "odd": ("a", "b"),
}


def test_origin_survives_json() -> None:
    """What destination.json keeps is what was gathered."""
    found = origin.gather("ferry", RESOURCE, identity.fresh(), "session", 5, packages=("orjson",), environ={})

    assert found == origin.from_json(json.loads(json.dumps(origin.to_json(found))))


def test_origin_names_no_machine_and_nobody() -> None:
    """No host name, user, hardware address or path, from the system or from the resource."""
    found = json.dumps(origin.to_json(origin.gather("ferry", RESOURCE, identity.fresh(), "s", 5, environ={})))

    secrets = ["secret-host", "host-17", "someone", "ferry-77", f"{uuid.getnode():012x}", str(Path.home())]
    assert [] == [secret for secret in secrets if secret in found]
    for name in (socket.gethostname(), getpass.getuser()):
        assert len(name) < 5 or name not in found


def test_salt_is_the_identitys_and_not_it() -> None:
    """It stays as long as the identity does, is another's for another, and gives neither salt nor id away."""
    one, two = identity.fresh(), identity.fresh()
    found = [origin.gather("ferry", {}, who, "s", 5, environ={}) for who in (one, one, two)]

    assert found[0].salt == found[1].salt != found[2].salt
    assert 4 == uuid.UUID(found[0].salt).version
    assert found[0].salt != one.installation
    assert found[0].salt.replace("-", "") not in one.salt.hex()
    assert found[0].salt not in repr(found[0])


def test_resource_keeps_what_the_product_is() -> None:
    """The product's own words stay."""
    kept = origin.gather("ferry", RESOURCE, identity.fresh(), "s", 5, environ={}).resource

    assert {
        "service.name",
        "service.version",
        "deployment.environment.name",
        "telemetry.sdk.language",
        "host.arch",
        "process.runtime.name",
        "edition",
    } == set(kept)


def test_system_facts() -> None:
    """They are the platform's."""
    found = origin.gather("ferry", RESOURCE, identity.fresh(), "s", 5, environ={})

    assert ("2.1", platform.system().lower()) == (found.service_version, found.os_type)
    assert (platform.machine(), platform.release()) == (found.architecture, found.os_release)
    assert (platform.system(), platform.version()) == (found.platform, found.platform_version)


@pytest.mark.parametrize(
    ("system", "machine", "processor"),
    [("Linux", "aarch64", "aarch64"), ("Darwin", "x86_64", "i386"), ("Darwin", "arm64", "arm")],
)
def test_processor_is_known_without_a_process(
    system: str, machine: str, processor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `uname -p` would say, with no process to start."""
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(subprocess, "Popen", None)

    assert processor == origin.gather("ferry", {}, identity.fresh(), "s", 5, environ={}).processor


@pytest.mark.parametrize(
    ("environ", "vendor"),
    [
        ({}, ""),
        ({"CI": "true"}, ""),
        ({"CI": "true", "GITHUB_ACTIONS": "true"}, "GITHUB_ACTIONS"),
        ({"GITHUB_ACTIONS": ""}, "GITHUB_ACTIONS"),
        ({"BUILD_ID": "7"}, "JENKINS"),
        ({"HUDSON_URL": "x", "JENKINS_URL": "x", "BUILD_ID": "7"}, "HUDSON"),
        ({"CI_NAME": "codeship"}, "CODESHIP"),
        ({"CI_NAME": "other"}, ""),
    ],
)
def test_ci_vendor(environ: dict[str, str], vendor: str) -> None:
    """The first service of the table one of whose variables is there, even empty, or has the one value that counts."""
    assert vendor == origin.gather("ferry", {}, identity.fresh(), "s", 5, environ=environ).ci_vendor


def test_packages_are_looked_up_when_asked_for() -> None:
    """An absent one is known to be absent; protobuf's comes with how it is implemented."""
    asked = ("orjson", "no-such-package", "protobuf")
    found = origin.gather("ferry", {}, identity.fresh(), "s", 5, packages=asked, environ={})

    assert (list(asked), "") == (list(found.packages), found.packages["no-such-package"])
    assert found.packages["orjson"].partition(".")[0].isdecimal()
    assert found.proto_backend in ("upb", "cpp", "python")


def test_number_is_the_installation_and_nothing_of_the_machine() -> None:
    """The same for one identity, another for another, and never the hardware address it stands in for."""
    one, two = identity.fresh(), identity.fresh()
    first, again, other = (origin.gather("ferry", {}, who, "s", 5, environ={}).number for who in (one, one, two))

    assert first == again
    assert first not in (other, uuid.getnode())
    assert 0 <= first < 1 << 48


def test_newer_origin_is_read_by_an_older_reader() -> None:
    """Unknown facts are skipped, missing ones are an error."""
    stored = origin.to_json(origin.gather("ferry", {}, identity.fresh(), "s", 5, environ={}))

    assert "ferry" == origin.from_json({**stored, "mood": "good"}).service
    with pytest.raises(ValueError, match="not an origin"):
        origin.from_json({"service": "ferry"})
