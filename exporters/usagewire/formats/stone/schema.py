"""What a report may hold: an allow-list of sections and fields, with the shape of each. The documentation's table is
made of it, and the receiver checks by it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any, Union, cast

from usagewire.formats.plain import text

MOST_ENTRIES = 10_000
"""Of one list or table; pools and their like come in hundreds."""
MOST_PLACES = 100
"""Places told apart in what was left out; the rest is one."""


@dataclass(frozen=True)
class Value:
    """A single value: ``fits`` says whether it may pass; a text is cut to ``width`` characters."""

    name: str
    fits: Callable[[Any], bool]
    width: int = 0


@dataclass(frozen=True)
class Many:
    """A list of one shape."""

    of: Shape


@dataclass(frozen=True)
class Names:
    """A list of texts that is sorted, each of them once."""

    width: int = 128


@dataclass(frozen=True)
class Each:
    """An object whose keys are data of at most ``width`` characters, and its values of one shape."""

    of: Shape
    key: str
    width: int


@dataclass(frozen=True)
class Fields:
    """An object with these fields and no others. Without one of ``needs`` all of it is left out."""

    of: Mapping[str, Shape]
    needs: tuple[str, ...] = ()


Shape = Union[Value, Many, Names, Each, Fields]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


COUNT = Value("whole number", _is_count)
FLAG = Value("true or false", lambda value: isinstance(value, bool))
TEXT = Value("text", _is_text, 128)
MONTH = Value("year and month", lambda value: _is_text(value) and bool(re.fullmatch(r"\d{4}-\d\d", value)))
TIME = Value(
    "UTC time with Z",
    lambda value: _is_text(value) and bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", value)),
)
SETTING = Value(
    "number, text, true or false",
    lambda value: isinstance(value, (str, bool, int)) or (isinstance(value, float) and isfinite(value)),
    128,
)

DAEMONS = ("osd", "mon")


def _counts(*names: str) -> dict[str, Shape]:
    return dict.fromkeys(names, COUNT)


_FILE_SYSTEM = Fields(
    {
        **_counts("max_mds", "ever_allowed_features", "explicitly_allowed_features", "num_in", "num_up"),
        **_counts("num_standby_replay", "num_mds", "num_sessions", "cached_inos", "cached_dns", "cached_caps"),
        **_counts("cached_subtrees"),
        "balancer_enabled": FLAG,
        **_counts("num_data_pools", "standby_count_wanted"),
        "approx_ctime": MONTH,
        **_counts("files", "bytes", "snaps"),
    }
)
_POOL = Fields(
    {
        "pool": COUNT,
        "type": TEXT,
        **_counts("pg_num", "pgp_num", "size", "min_size"),
        "pg_autoscale_mode": TEXT,
        **_counts("target_max_bytes", "target_max_objects"),
        "erasure_code_profile": Fields(
            dict.fromkeys(("k", "m", "l", "plugin", "technique", "crush-failure-domain"), SETTING)
        ),
        "cache_mode": TEXT,
    },
    needs=("pool",),
)


@lru_cache
def sections(product: str) -> Mapping[str, Shape]:
    """The sections of the basic channel in the order of the report; ``product`` names the version among the
    daemons' attributes."""
    attributes = (
        "arch", f"{product}_version", "os", "cpu", "kernel_description", "kernel_version", "distro_description",
        "distro",
    )  # fmt: skip
    daemon = Fields(dict.fromkeys(attributes, Each(COUNT, "value", 128)))
    return {
        "created": TIME,
        "mon": Fields(
            {
                "count": COUNT,
                "features": Fields({"persistent": Names(), "optional": Names()}),
                "min_mon_release": SETTING,
                **_counts("v1_addr_mons", "v2_addr_mons", "ipv4_addr_mons", "ipv6_addr_mons"),
            }
        ),
        "config": Fields({"cluster_changed": Names(), "active_changed": Names()}),
        "rbd": Fields({"num_pools": COUNT, "num_images_by_pool": Many(COUNT), "mirroring_by_pool": Many(FLAG)}),
        "pools": Many(_POOL),
        "osd": Fields(
            {
                "count": COUNT,
                "require_osd_release": TEXT,
                "require_min_compat_client": TEXT,
                "cluster_network": FLAG,
            }
        ),
        "crush": Fields(
            {
                **_counts("num_devices", "num_types", "num_buckets", "num_rules"),
                "device_classes": Names(),
                "tunables": Each(SETTING, "tunable", 64),
                "compat_weight_set": FLAG,
                "num_weight_sets": COUNT,
                "bucket_algs": Each(COUNT, "algorithm", 32),
                "bucket_sizes": Each(COUNT, "size", 32),
                "bucket_types": Each(COUNT, "type", 32),
            }
        ),
        "fs": Fields(
            {
                "count": COUNT,
                "feature_flags": Each(FLAG, "flag", 64),
                **_counts("num_standby_mds", "total_num_mds"),
                "filesystems": Many(_FILE_SYSTEM),
            }
        ),
        "metadata": Fields(dict.fromkeys(DAEMONS, daemon)),
        "hosts": Fields(_counts("num", "num_with_mon", "num_with_mds", "num_with_osd", "num_with_mgr")),
        "usage": Fields(_counts("pools", "pg_num", "total_used_bytes", "total_bytes", "total_avail_bytes")),
        "services": Each(COUNT, "type", 32),
        "rgw": Fields({**_counts("count", "zones", "zonegroups"), "frontends": Names()}),
        "balancer": Fields({"active": FLAG, "mode": TEXT}),
    }


def paths(name: str, shape: Shape) -> Iterator[str]:
    """Where in a report the values of a shape are: ``pools[].size``, ``services.<type>``."""
    if isinstance(shape, Fields):
        for key, inner in shape.of.items():
            yield from paths(f"{name}.{key}", inner)
    elif isinstance(shape, Each):
        yield from paths(f"{name}.<{shape.key}>", shape.of)
    elif isinstance(shape, Many):
        yield from paths(f"{name}[]", shape.of)
    else:
        yield f"{name}[]" if isinstance(shape, Names) else name


# -- holding a value to its shape ---------------------------------------------------------------------------------

ABSENT = object()
"""What `admit` gives when nothing of a value may pass."""


class LeftOut(Counter[str]):
    """``place: why`` → how many values. Places come from data, so that their number is bounded."""

    def add(self, place: str, why: str) -> None:
        """One more value that stays behind."""
        sentence = f"{place}: {why}"
        self[sentence if sentence in self or len(self) < MOST_PLACES else "…"] += 1


def admit(shape: Shape, value: Any, place: str, left_out: LeftOut) -> Any:
    """What of ``value`` has the shape, or `ABSENT`; what has not is noted under its ``place``."""
    if isinstance(shape, Value):
        if not shape.fits(value):
            return _refuse(place, f"not a {shape.name}", left_out)
        return text(value)[: shape.width or None] if isinstance(value, str) else value
    if isinstance(shape, (Many, Names)):
        if not isinstance(value, (list, tuple)):
            return _refuse(place, "not a list", left_out)
        return _listed(shape, cast("Sequence[Any]", value), f"{place}[]", left_out)
    if not isinstance(value, Mapping):
        return _refuse(place, "not an object", left_out)
    table = cast("Mapping[str, Any]", value)
    return _each(shape, table, place, left_out) if isinstance(shape, Each) else _fields(shape, table, place, left_out)


def _refuse(place: str, why: str, left_out: LeftOut) -> Any:
    left_out.add(place, why)
    return ABSENT


def _listed(shape: Many | Names, values: Sequence[Any], place: str, left_out: LeftOut) -> list[Any]:
    of = Value("text", _is_text, shape.width) if isinstance(shape, Names) else shape.of
    admitted = (admit(of, value, place, left_out) for value in values[:MOST_ENTRIES])
    found = [value for value in admitted if value is not ABSENT]
    if len(values) > MOST_ENTRIES:
        left_out.add(place, f"more than {MOST_ENTRIES}")
    return sorted(set(found)) if isinstance(shape, Names) else found


def _each(shape: Each, table: Mapping[str, Any], place: str, left_out: LeftOut) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, (key, value) in enumerate(table.items()):
        if number == MOST_ENTRIES:
            left_out.add(place, f"more than {MOST_ENTRIES}")
            break
        admitted = admit(shape.of, value, f"{place}.<{shape.key}>", left_out)
        if admitted is not ABSENT:
            found[text(str(key))[: shape.width]] = admitted
    return found


def _fields(shape: Fields, table: Mapping[str, Any], place: str, left_out: LeftOut) -> Any:
    found: dict[str, Any] = {}
    for name, inner in shape.of.items():
        if name in table:
            admitted = admit(inner, table[name], f"{place}.{name}", left_out)
            if admitted is not ABSENT:
                found[name] = admitted
    for name in table.keys() - shape.of.keys():
        left_out.add(f"{place}.{text(str(name))[:40]}", "not known")
    missing = [name for name in shape.needs if name not in found]
    if missing:
        return _refuse(place, f"without {', '.join(missing)}", left_out)
    return found if found or not table else ABSENT
