"""What the operator's words make of a destination, while they change and threads ask."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.left import leave
from usagewire.pipeline.current import Current, Words
from usagewire.policy import content
from usagewire.policy.consent import write
from usagewire.policy.gate import Open


def test_a_thread_that_was_held_up_leaves_nothing_of_an_older_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that had read the older word, and is overtaken, answers by that word alone; everybody after it by the newer
    one, whose yes covers less."""
    destination = leave(tmp_path).destination
    open_gate = Open()
    place, everything = destination.place, content.Accepted(content.of_gate(open_gate))
    older = write(place.service_dir, True, "test")
    content.remember(place, older, everything)
    consent = destination.consent({})
    words = Words(destination, consent, open_gate, durable=True)
    recall, held, go_on = content.recall, threading.Event(), threading.Event()
    slow: list[Current] = []

    def recall_slowly(*about: Any) -> content.Accepted | None:
        found = recall(*about)
        if threading.current_thread() is thread:
            held.set()
            assert go_on.wait(20)
        return found

    monkeypatch.setattr(content, "recall", recall_slowly)
    consent.disable("a word that changes nothing of what was accepted")
    thread = threading.Thread(target=lambda: slow.append(words.about(destination)))
    thread.start()
    assert held.wait(20)
    newer = write(place.service_dir, True, "test")
    content.remember(place, newer, content.Accepted({}))
    fast = words.about(destination)
    go_on.set()
    thread.join(20)
    after = words.about(destination)

    assert [(older, True)] == [(one.stance.epoch, one.gate is open_gate) for one in slow]
    assert [(newer, False)] * 2 == [(one.stance.epoch, one.gate is open_gate) for one in (fast, after)]
