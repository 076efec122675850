"""Opens a destination: its folder where one can be had, memory where not."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from usagewire import forks
from usagewire.errors import StateError
from usagewire.pipeline.destination import Destination
from usagewire.pipeline.pipeline import Pipeline
from usagewire.pipeline.said import Said
from usagewire.pipeline.session import Session
from usagewire.policy.consent import Consent
from usagewire.policy.redact import Redactor
from usagewire.signals import Origin
from usagewire.state import identity as identities
from usagewire.state import origin as origins
from usagewire.state.consumer import Consumer
from usagewire.state.files import read_json
from usagewire.state.memory import MemoryQueue
from usagewire.state.paths import Place, prepare
from usagewire.state.segments import Writer

_log = logging.getLogger("usagewire")


@forks.held_up()
def on_disk(
    said: Said, wanted: Place, consent: Consent, session: Session, resource: Mapping[str, Any]
) -> Pipeline | None:
    """The destination in ``wanted``; ``None``, and why is logged, where that cannot be."""
    try:
        place = prepare(wanted, said.environ)
        identity = identities.load(place.service_dir)
        settings = said.resolve(_stored(place))
        if settings.faults:
            _log.warning("usagewire: %s: %s; ignored", place.config_json, "; ".join(settings.faults))
            settings = said.settings
        origin = _origin(said, place, identity, session, resource)
        destination = Destination(place, said.format, settings, origin, said.product)
        destination.remember()
    except (StateError, OSError) as why:
        _log.warning("usagewire: %s waits in memory only and is lost at exit: %s", wanted.name, why)
        return None
    queue = Consumer(place, consent.stance, destination.limits())
    writer = Writer(place, consent.stance, queue_bytes=settings["queue_bytes"])
    return Pipeline(destination, consent, said.gate, identity.salt, Redactor.here(), writer, queue)


@forks.held_up()
def in_memory(said: Said, wanted: Place, consent: Consent, session: Session, resource: Mapping[str, Any]) -> Pipeline:
    """The destination without a folder, for as long as this process lives."""
    identity = identities.fresh()
    origin = _origin(said, wanted, identity, session, resource)
    destination = Destination(wanted, said.format, said.settings, origin, said.product)
    queue = MemoryQueue(consent.stance, destination.limits())
    return Pipeline(destination, consent, said.gate, identity.salt, Redactor.here(), queue, queue)


def unopened(said: Said, wanted: Place, session: Session) -> Destination:
    """The destination as it would be on disk; where nothing is there, with an identity that nobody will see again."""
    identity = identities.fresh()
    with suppress(StateError):
        identity = identities.peek(wanted.service_dir) or identity
    origin = _origin(said, wanted, identity, session, {})
    return Destination(wanted, said.format, said.resolve(_stored(wanted)), origin, said.product)


def _origin(
    said: Said, place: Place, identity: identities.Identity, session: Session, resource: Mapping[str, Any]
) -> Origin:
    return origins.gather(
        said.service_of(resource),
        resource,
        identity,
        session.id,
        session.started,
        packages=(*said.format.packages, *said.gate.product.packages),
        environ=said.environ,
    )


def _stored(place: Place) -> Mapping[str, Any]:
    """What ``usagewire config set`` stored up to now; a running program learns of a change at its next start. A
    damaged file counts as empty."""
    try:
        return read_json(place.config_json) or {}
    except StateError as why:
        _log.warning("usagewire: %s; ignored", why)
        return {}
