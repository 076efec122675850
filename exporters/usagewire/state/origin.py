"""The facts about the sending program that a payload may carry. No host, user, address or path is among them."""

from __future__ import annotations

import hmac
import os
import platform
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, fields, replace
from importlib import import_module
from typing import Any
from uuid import UUID

from usagewire import __version__
from usagewire.signals import Origin
from usagewire.state.identity import Identity

CI_VENDORS: Mapping[str, tuple[str, ...]] = {
    "APPVEYOR": ("APPVEYOR",),
    "AZURE_PIPELINES": ("SYSTEM_TEAMFOUNDATIONCOLLECTIONURI",),
    "APPCIRCLE": ("AC_APPCIRCLE",),
    "BAMBOO": ("bamboo_planKey",),
    "BITBUCKET": ("BITBUCKET_COMMIT",),
    "BITRISE": ("BITRISE_IO",),
    "BUDDY": ("BUDDY_WORKSPACE_ID",),
    "BUILDKITE": ("BUILDKITE",),
    "CIRCLE": ("CIRCLECI",),
    "CIRRUS": ("CIRRUS_CI",),
    "CODEBUILD": ("CODEBUILD_BUILD_ARN",),
    "CODEFRESH": ("CF_BUILD_ID",),
    "CODESHIP": ("CI_NAME=codeship",),
    "DRONE": ("DRONE",),
    "DSARI": ("DSARI",),
    "GITHUB_ACTIONS": ("GITHUB_ACTIONS",),
    "GITLAB": ("GITLAB_CI",),
    "GOCD": ("GO_PIPELINE_LABEL",),
    "LAYERCI": ("LAYERCI",),
    "HUDSON": ("HUDSON_URL",),
    "JENKINS": ("JENKINS_URL", "BUILD_ID"),
    "MAGNUM": ("MAGNUM",),
    "NETLIFY": ("NETLIFY",),
    "NEVERCODE": ("NEVERCODE",),
    "RENDER": ("RENDER",),
    "SAIL": ("SAILCI",),
    "SEMAPHORE": ("SEMAPHORE",),
    "SCREWDRIVER": ("SCREWDRIVER",),
    "SHIPPABLE": ("SHIPPABLE",),
    "SOLANO": ("TDDIUM",),
    "STRIDER": ("STRIDER",),
    "TASKCLUSTER": ("TASK_ID", "RUN_ID"),
    "TEAMCITY": ("TEAMCITY_VERSION",),
    "TRAVIS": ("TRAVIS",),
    "VERCEL": ("NOW_BUILDER",),
    "APPCENTER": ("APPCENTER_BUILD_ID",),
}
"""CI service → the variables of which one, set to anything (or to exactly this), gives it away; the first match counts.
Document: Jina's telemetry."""
_MACHINE = (
    "host.", "process.", "container.", "k8s.", "cloud.", "device.", "user.", "enduser.", "client.", "server.", "net.",
    "network.", "faas.", "aws.", "gcp.", "azure.", "heroku.", "webengine.", "service.instance.", "vcs.",
)  # fmt: skip
"""Resource attributes of these namespaces say where a program runs, not what it is."""
_HARMLESS = frozenset({"host.arch", "process.runtime.name", "process.runtime.version", "cloud.provider"})


def gather(
    service: str,
    resource: Mapping[str, Any],
    identity: Identity,
    session: str,
    started: int,
    packages: Collection[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> Origin:
    """The origin of this process. ``packages`` are the distributions whose versions may be told; looking one up is
    slow (`importlib.metadata`), so nothing is looked up unasked."""
    bare = Origin(
        installation=identity.installation,
        session=session,
        started=started,
        service=service,
        library_version=__version__,
        number=_number(identity),
        salt=_salt(identity),
        os_type=platform.system().lower(),
        os_version=_os_version(),
        os_release=platform.release(),
        platform=platform.system(),
        platform_version=platform.version(),
        architecture=platform.machine(),
        processor=_processor(platform.system(), platform.machine()),
        python_version=platform.python_version(),
        ci_vendor=ci_vendor(environ),
        packages=_versions(packages),
        proto_backend=_proto_backend() if "protobuf" in packages else "",
    )
    return with_resource(bare, resource)


def with_resource(origin: Origin, resource: Mapping[str, Any]) -> Origin:
    """``origin`` with what an OpenTelemetry resource says of the product."""
    kept = {
        name: value
        for name, value in resource.items()
        if (name in _HARMLESS or not name.startswith(_MACHINE)) and isinstance(value, (str, bool, int, float))
    }
    return replace(origin, resource=kept, service_version=str(kept.get("service.version", origin.service_version)))


def to_json(origin: Origin) -> dict[str, Any]:
    """As plain JSON values."""
    return asdict(replace(origin, packages=dict(origin.packages), resource=dict(origin.resource)))


def from_json(content: Mapping[str, Any]) -> Origin:
    """From `to_json`; unknown keys are skipped, so that an older reader can use a newer file. Raises `ValueError`."""
    try:
        return Origin(**{row.name: content[row.name] for row in fields(Origin) if row.name in content})
    except TypeError as why:
        raise ValueError(f"not an origin: {why}") from why


def _number(identity: Identity) -> int:
    return int.from_bytes(hmac.digest(identity.salt, identity.installation.encode(), "sha256")[:6], "big")


def _salt(identity: Identity) -> str:
    return str(UUID(bytes=hmac.digest(identity.salt, b"origin", "sha256")[:16], version=4))


def ci_vendor(environ: Mapping[str, str]) -> str:
    """Name of the CI service that the environment tells of; empty elsewhere."""
    for vendor, signs in CI_VENDORS.items():
        for sign in signs:
            name, exactly, value = sign.partition("=")
            if name in environ and (not exactly or environ[name] == value):
                return vendor
    return ""


def _processor(system: str, machine: str) -> str:
    """What ``uname -p`` says, without starting it as `platform.processor` does: a family of its own on macOS only."""
    return ("arm" if machine == "arm64" else "i386") if system == "Darwin" else machine


def _proto_backend() -> str:
    try:
        return str(import_module("google.protobuf.internal.api_implementation").Type())
    except Exception:  # absent, or a build that does not fit
        return ""


def _os_version() -> str:
    if sys.platform == "linux":
        try:
            found = platform.freedesktop_os_release()
        except OSError:
            return ""
        return f"{found.get('ID', 'linux')} {found.get('VERSION_ID', '')}".strip()
    return platform.version()


def _versions(names: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found[name] = version(name)
        except (PackageNotFoundError, ValueError):
            found[name] = ""
    return found
