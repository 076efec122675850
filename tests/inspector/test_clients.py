"""Clients that others wrote, against the receiver."""

from __future__ import annotations

from typing import Any

import pytest

from usagewire.inspector.receiver import Receiver


@pytest.mark.parametrize("compressed", [False, True])
def test_segments_own_client_gives_no_cause_for_complaint(compressed: bool) -> None:
    """What segment-analytics-python sends is taken as it is."""
    from segment.analytics.client import Client

    with Receiver() as receiver:
        client: Any = Client("key", host=receiver.url, gzip=compressed)
        client.track("somebody", "server_start", {"db_backend": "mysql"})
        client.track(anonymous_id="nobody", event="server_stop", properties={"seconds": 1.5})
        client.flush()
        client.join()

        assert receiver.wait(2, 60)
        assert ["server_start", "server_stop"] == [event["event"] for event in receiver.events()]
        assert [] == receiver.complaints()
