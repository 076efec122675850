"""What programs emit, for the goldens of the stone format."""

from __future__ import annotations

from typing import Any

from tests.support.golden import NOON, SECOND, Case
from usagewire.signals import Event, Point

DAY = 86_400 * SECOND
NAMES = "usage.entity.count"


def state(section: str, body: Any, age: int = 60) -> Event:
    """What is so of one section, ``age`` seconds before noon."""
    return Event("usage.state", NOON - age * SECOND, "5e" * 16, {"usage.state.section": section}, body)


def count(kind: str, number: float, **facet: str) -> Point:
    """How many there are."""
    said = {f"usage.entity.{name}": value for name, value in {"type": kind, **facet}.items()}
    return Point(NAMES, "gauge", NOON, said, value=number, unit="{entity}")


def capacity(which: str, number: float) -> Point:
    """How much room there is."""
    return Point("usage.capacity", "gauge", NOON, {"usage.capacity.state": which}, value=number, unit="By")


def device(serial: str, host: str = "rack-7.example.com", age: int = 3600) -> Event:
    """What smartctl says of one disk."""
    body = {
        "json_format_version": [1, 0],
        "smartctl": {"version": [7, 3], "argv": ["smartctl", "-x", "--json", f"/dev/disk/by-id/ata-ST8000_{serial}"]},
        "device": {"name": "/dev/sda", "type": "sat", "protocol": "ATA"},
        "model_name": "ST8000NM0055-1RM112",
        "serial_number": serial,
        "wwn": {"naa": 5, "oui": 3152, "id": 2748570134},
        "temperature": {"current": 31},
        "power_on_time": {"hours": 8_123},
    }
    said = {"usage.device.host": host, "usage.device.id": f"SEAGATE_ST8000NM0055-1RM112_{serial}"}
    return Event("usage.device", NOON - age * SECOND, "de" * 16, said, body)


CRASH = Event(
    "usage.crash",
    NOON - 3_600 * SECOND,
    "c0ffee00" * 4,
    {
        "usage.crash.id": "2026-09-30T11:00:00.000000Z_6dbcbd0f-4f5c-4b86-a0e5-0d3b3c1a9b11",
        "usage.crash.entity": "mon.host-a.example.com",
        "usage.component.name": "monitor",
        "usage.component.version": "15.2.8",
        "exception.type": "KeyError",
        "usage.crash.frames": ("__main__:main:12", "stone.monitor:tick:88", "stone.paxos:commit:301"),
        "process.executable.name": "stone-mon",
    },
)
ASSERTION = Event(
    "usage.crash",
    NOON - 1_800 * SECOND,
    "deadbeef" * 4,
    {
        "usage.crash.entity": "osd.7",
        "exception.type": "AssertionError",
        "usage.crash.frames": ("stone.osd:run:5", "stone.osd:write:44"),
        "usage.crash.assert_condition": "r == 0",
        "usage.crash.assert_file": "/build/stone/src/osd/write.cc",
        "usage.crash.assert_thread_name": "tp_osd_tp",
    },
)
POOLS = [
    {
        "pool": 1, "type": "replicated", "pg_num": 128, "pgp_num": 128, "size": 3, "min_size": 2,
        "pg_autoscale_mode": "on", "target_max_bytes": 0, "target_max_objects": 0, "erasure_code_profile": {},
        "cache_mode": "none",
    },
    {
        "pool": 2, "type": "erasure", "pg_num": 64, "pgp_num": 64, "size": 6, "min_size": 5,
        "pg_autoscale_mode": "warn", "target_max_bytes": 0, "target_max_objects": 0,
        "erasure_code_profile": {"k": "4", "m": "2", "plugin": "jerasure", "technique": "reed_sol_van",
                                 "crush-failure-domain": "host"},
        "cache_mode": "none",
    },
]  # fmt: skip
FILE_SYSTEM = {
    "max_mds": 1, "ever_allowed_features": 0, "explicitly_allowed_features": 0, "num_in": 1, "num_up": 1,
    "num_standby_replay": 0, "num_mds": 1, "num_sessions": 4, "cached_inos": 1_000, "cached_dns": 1_010,
    "cached_caps": 90, "cached_subtrees": 2, "balancer_enabled": False, "num_data_pools": 1,
    "standby_count_wanted": 1, "approx_ctime": "2025-03", "files": 12_000, "bytes": 987_654_321, "snaps": 3,
}  # fmt: skip
DAEMON = {
    "arch": {"x86_64": 3},
    "stone_version": {"stone version 15.2.8 (bdf3eebcd22d7d0b3dd4d5501bee5bac354d5b55) octopus (stable)": 3},
    "os": {"Linux": 3},
    "cpu": {"Intel(R) Xeon(R) CPU E5-2620 v4 @ 2.10GHz": 2, "AMD EPYC 7302P 16-Core Processor": 1},
    "kernel_description": {"#45-Ubuntu SMP PREEMPT_DYNAMIC Fri Aug 30 12:02:04 UTC 2024": 3},
    "kernel_version": {"6.8.0-45-generic": 3},
    "distro_description": {"Ubuntu 24.04.1 LTS": 3},
    "distro": {"ubuntu": 3},
}
STATES = {
    "created": "2025-03-02T08:15:30.123456Z",
    "mon": {
        "features": {"persistent": ["octopus", "kraken", "luminous"], "optional": []},
        "min_mon_release": 15, "v1_addr_mons": 3, "v2_addr_mons": 3, "ipv4_addr_mons": 6, "ipv6_addr_mons": 0,
    },
    "config": {"cluster_changed": ["osd_pool_default_size", "auth_client_required"],
               "active_changed": ["osd_memory_target"]},
    "rbd": {"num_pools": 1, "num_images_by_pool": [17], "mirroring_by_pool": [False]},
    "pools": POOLS,
    "osd": {"require_osd_release": "octopus", "require_min_compat_client": "luminous", "cluster_network": True},
    "crush": {
        "num_devices": 12, "num_types": 11, "num_buckets": 10, "num_rules": 2, "device_classes": ["ssd", "hdd"],
        "tunables": {"choose_total_tries": 50, "profile": "jewel", "optimal_tunables": 1},
        "compat_weight_set": True, "num_weight_sets": 0,
        "bucket_algs": {"straw2": 10}, "bucket_sizes": {"3": 9, "9": 1}, "bucket_types": {"1": 9, "11": 1},
    },
    "fs": {"count": 1, "feature_flags": {"enable_multiple": False, "ever_enabled_multiple": False},
           "num_standby_mds": 1, "filesystems": [FILE_SYSTEM]},
    "metadata": {"osd": DAEMON, "mon": {"arch": {"aarch64": 3}}},
    "usage": {"pg_num": 192},
    "services": {"rbd-mirror": 2},
    "rgw": {"zones": 1, "zonegroups": 1, "frontends": ["beast"]},
    "balancer": {"active": True, "mode": "upmap"},
}  # fmt: skip
COUNTS = [
    count("monitor", 3),
    count("manager", 2),
    count("osd", 12),
    count("mds", 2),
    count("object_gateway", 4),
    count("pool", 2),
    count("host", 9),
    count("host", 3, role="monitor"),
    count("host", 2, role="mds"),
    count("host", 9, role="osd"),
    count("host", 2, role="manager"),
    count("gateway", 7),  # of another product
    capacity("total", 96_000_000_000_000),
    capacity("used", 31_000_000_000_000),
    capacity("available", 65_000_000_000_000),
]
ALL = [*(state(section, body) for section, body in STATES.items()), CRASH, ASSERTION, device("ZA1ABCDE")]
IDENT = {"description": "My first Stone cluster", "contact": "John Doe <john.doe@example.com>"}

CASES = {
    # a crash that says nothing but where
    "empty": Case([Event("usage.crash", NOON, "00" * 16, {"usage.crash.frames": ["stone:main:1"]})]),
    "one": Case(points=[count("osd", 12)]),
    # two disks of one host are one request; a third is another host's
    "two": Case([device("ZA1ABCDE"), device("ZA1FGHIJ", age=1800), device("ZA2KLMNO", host="rack-8.example.com")]),
    "nested": Case([state("fs", STATES["fs"]), state("fs", {"count": 9}, age=600), state("pools", POOLS)]),
    # everything wrong that can be, and the rest arrives
    "odd": Case(
        [
            Event("usage.crash", NOON, "0dd0" * 8, {"usage.crash.frames": "not a list", "usage.crash.id": "x"}),
            Event(
                "usage.crash",
                -1,
                "0dd1" * 8,
                {"usage.crash.frames": ["from long ago:it is listed for a year:1"]},
            ),
            Event(
                "usage.crash",
                NOON - 1,
                "0dd2" * 8,
                {
                    "usage.crash.frames": ["/home/alice/app.py:main:1", 7, "", "\ud800:f:2"],
                    "usage.crash.entity": "host-a.example.com",
                    "process.executable.name": "/usr/bin/stone-osd",
                    "exception.type": "AssertionError",
                },
            ),
            state("mon", {"count": "three", "min_mon_release": float("nan"), "v1_addr_mons": True, "names": ["a"]}),
            state("osd", "twelve"),
            state("pools", [{"pool": 1, "name": "secrets"}, {"type": "replicated"}, None]),
            state("config", {"cluster_changed": ["b", "a", "b"], "active_changed": {"osd_memory_target": 4}}),
            state("metadata", {"osd": {"cpu": {"x" * 200: 1}, "hostname": {"host-a": 1}}, "mgr": {}}),
            state("balancer", {"active": True, "mode": "a\ud800b"}),
            state("secrets", {}),
        ],
        points=[count("monitor", float("inf")), count("osd", -1), count("mds", 1.6), capacity("lost", 1)],
    ),
    "full": Case(ALL, COUNTS, {"channels": "basic,crash,device,ident", "leaderboard": "true", **IDENT}),
    "basic": Case(ALL, COUNTS, {"channels": "basic"}),
    "crash": Case(ALL, COUNTS, {"channels": "crash"}),
    "device": Case(ALL, COUNTS, {"channels": "device", "device_endpoint": "https://device.example"}),
    "ident": Case(ALL, COUNTS, {"channels": "ident,crash"}),
    # Ceph's own module, on the same wire
    "upstream": Case(
        [state("metadata", {"mon": {"ceph_version": {"15.2.8": 3}}}), CRASH],
        [count("object_gateway", 4)],
        {"dialect": "upstream", "product": "ceph"},
    ),
}
