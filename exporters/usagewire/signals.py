"""The neutral values that travel between the rooms: frozen, typed, free of any SDK.

Times are integers, nanoseconds since 1970 (UTC), unless a name ends in ``_millis`` or a docstring says seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Union

Attributes = Mapping[str, Any]
Settings = Mapping[str, Any]
"""A destination's resolved settings: name of the `Setting` → parsed value (``None`` when unset)."""

# -- what the host program says -----------------------------------------------------------------------------------


class Event(NamedTuple):
    """One OpenTelemetry log record that has an ``event_name``. A tuple: it is made at a third of a dataclass's price,
    and there are many."""

    name: str
    time: int
    id: str
    """32 hex digits, drawn at random when the event was taken over; stable over every retry."""
    attributes: Attributes = MappingProxyType({})
    body: Any = None
    scope: str = ""
    observed: int = 0
    """When OpenTelemetry took it, whatever ``time`` the program gave it; 0: not known, or no longer of interest."""


@dataclass(frozen=True)
class Histogram:
    """The distribution of one data point. ``buckets`` has one more entry than ``bounds`` (upper-inclusive edges)."""

    count: int
    sum: float
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    m2: float | None = None
    """Sum of squared deviations from the mean; ``None`` where only an approximate variance could be had."""
    bounds: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()


class Point(NamedTuple):
    """One metric data point: ``histogram`` for kind "histogram", ``value`` for the other two. A tuple, as `Event`."""

    name: str
    kind: Literal["sum", "gauge", "histogram"]
    time: int
    attributes: Attributes = MappingProxyType({})
    value: float | None = None
    histogram: Histogram | None = None
    unit: str = ""
    start: int = 0
    """When the interval began that a sum or a distribution is of; 0: unknown, or of no interval. Not kept."""


@dataclass(frozen=True)
class Origin:
    """The frozen facts about the sending program. Holds no host name, user name, address or path."""

    installation: str
    """UUID, random, one per service and machine account; survives restarts."""
    session: str
    """UUID, random, one per process."""
    started: int
    service: str
    service_version: str = ""
    library_version: str = ""
    salt: str = field(default="", repr=False)
    """UUID, random, as lasting as the installation: ids that must not be traced back are drawn with it. Never sent."""
    number: int = 0
    """The installation once more, for formats whose ids are numbers: 48 bits, as random as the UUID."""
    os_type: str = ""
    os_version: str = ""
    os_release: str = ""
    platform: str = ""
    """The system as it writes its own name: ``Linux``, ``Darwin``."""
    platform_version: str = ""
    """What ``uname -v`` says."""
    architecture: str = ""
    processor: str = ""
    python_version: str = ""
    ci_vendor: str = ""
    """Name of the CI service the program runs under (`usagewire.state.origin.CI_VENDORS`); empty elsewhere."""
    packages: Mapping[str, str] = field(default_factory=dict[str, str])
    """Distribution name → version, empty where it is not installed, for those the tracking plan or the format asks
    for."""
    proto_backend: str = ""
    """Implementation of protobuf, ``upb``, ``cpp`` or ``python``, where the version of that is asked for."""
    resource: Attributes = field(default_factory=dict[str, Any])


class Period(NamedTuple):
    """What a report is compiled from. Every random value in the report derives from ``nonce``, so that
    compiling again gives the same bytes."""

    number: int
    start: int
    end: int
    points: tuple[Point, ...]
    events: tuple[Event, ...]
    nonce: str
    """32 hex digits."""


# -- what a format declares and makes -----------------------------------------------------------------------------


class Setting(NamedTuple):
    """One configuration row: read by code, YAML, environment, CLI and docs alike (see `usagewire.config`)."""

    name: str
    """Lower case: keyword and YAML property; upper case behind ``OTEL_EXPORTER_<FORMAT>_``: environment variable."""
    help: str
    kind: Literal["str", "url", "proxy", "integer", "millis", "bytes", "choice", "path", "headers", "list", "table"] = (
        "str"
    )
    default: Any = None
    choices: tuple[str, ...] = ()
    """The values of a ``choice``, or of a ``list`` (none: any); the schemes of a ``url``, best first (none: all that
    any format knows)."""
    secret: bool = False
    """Masked in every output and never stored in a payload."""
    required: bool = False
    hours: int | None = None
    """``usagewire config`` takes it in hours, as the format's document does, and in no fewer than these."""
    variables: tuple[str, ...] = ()
    """The product's own documented environment variables for it; weaker than ours."""
    fault: Callable[[Any], str] = lambda value: ""
    """What is wrong with a value beyond its kind; empty: nothing."""


class Switch(NamedTuple):
    """A product's own documented way to say no."""

    name: str
    kind: Literal["flag", "present", "false"]
    """``flag``: on the command line; ``present``: variable set, even empty; ``false``: variable set to a false word."""


class Item(NamedTuple):
    """One encoded unit waiting to be sent: one line of JSON (UTF-8, no line feed) in the format's own shape."""

    data: bytes
    left_out: Mapping[str, int] | None = None
    """What a report had no place for, as ``place: why`` → how many values: logged, and counted as ``unfit``."""


class Request(NamedTuple):
    """One call over the wire."""

    url: str
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})
    """Content type and authentication; the transport adds User-Agent, Content-Encoding and the operator's HEADERS."""
    method: str = "POST"
    readable: bytes = b""
    """What the body says, as text, for ``show`` and ``sent/``; empty where the body is text itself."""
    idempotent: bool = False
    """A repeat does nothing more: each item has an id by which the receiver knows it again."""


class Response(NamedTuple):
    """What came back; ``status`` is ``None`` when nothing did, and ``error`` then says why."""

    status: int | None
    headers: Mapping[str, str] = MappingProxyType({})
    """Names in lower case."""
    body: bytes = b""
    error: str = ""


class Stance(NamedTuple):
    """Consent at this instant, as far as the state on disk needs to know it."""

    on: bool
    epoch: str
    """Random hex, fresh at every change of mind; ``0`` before the first. Files of another epoch are purged."""
    erases: bool = True
    """Off: whether what waits is unlinked too; False where only this process was silenced."""
    channels: Mapping[str, Stance] = MappingProxyType({})
    """What the operator said of single channels; such an epoch is this one, ``_``, and that of the word."""
    since: int = 0
    """When the yes was said that this is, in nanoseconds; 0: nobody had to say one. What is older never leaves."""

    def of(self, channel: str) -> Stance:
        """The same for one channel of the queue."""
        said = self.channels.get(channel)
        if said is None:
            return Stance(self.on, self.epoch, self.erases, since=self.since)
        return Stance(self.on and said.on, said.epoch, self.erases or not said.on, since=said.since)

    @property
    def words(self) -> dict[str, str]:
        """Channel → epoch."""
        return {channel: stance.epoch for channel, stance in self.channels.items()}


@dataclass(frozen=True)
class Delivered:
    """The first ``count`` items of the request arrived; ``None``: all of them."""

    count: int | None = None
    repeat: bool = False
    """It had arrived before: this answer is to a try that was not needed."""


@dataclass(frozen=True)
class Retry:
    """Nothing is known to have arrived; try the same items again."""

    reason: str
    after: float | None = None
    """Seconds the *server* asked for; ``None`` leaves it to the back-off."""


@dataclass(frozen=True)
class Rejected:
    """These items will never be taken."""

    reason: str
    isolates: bool = False
    """One bad item may be to blame: halve the batch until it stands alone."""


Verdict = Union[Delivered, Retry, Rejected]

Items = Sequence[Item]
