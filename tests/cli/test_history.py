"""`usagewire history`: what left, to the letter."""

from __future__ import annotations

import json

from tests.support.left import leave, make_events
from tests.support.shell import Shell, snapshot
from usagewire.inspector import faults
from usagewire.inspector.receiver import Receiver
from usagewire.state.paths import Place


def test_what_left_is_kept_byte_for_byte(shell: Shell, receiver: Receiver) -> None:
    """The newest is 1; its body is what the endpoint received, and the answer stands beside it."""
    left = leave(shell.root, 2, settings={"endpoint": receiver.url})
    shell.run("send")
    left.put(*make_events(3))
    shell.run("send")
    first, second = receiver.requests

    assert [second.body, first.body] == [shell.run("history", "show", n, "--raw").stdout_bytes for n in "12"]
    newest, oldest = shell.json("history")["requests"]
    assert (1, 2) == (newest["number"], oldest["number"])
    assert {
        "service": "shop",
        "destination": "segment",
        "url": f"{receiver.url}/v1/batch",
        "items": 3,
        "bytes": len(second.body),
        "outcome": "delivered",
        "verdict": "delivered",
        "status": 200,
    }.items() <= newest.items()
    assert oldest["time"] <= newest["time"] <= newest["finished"]
    whole = shell.json("history", "show", "2")
    assert oldest.items() <= whole.items()
    assert first.body.decode() == whole["body"]


def test_for_people(shell: Shell, receiver: Receiver) -> None:
    """A few lines each; the body over lines, each token as it left."""
    leave(shell.root, 2, settings={"endpoint": receiver.url})
    shell.run("send")

    listed = shell.run("history").stdout
    shown = shell.run("history", "show", "1").stdout

    assert f"2 items, {len(receiver.requests[0].body)} bytes to {receiver.url}/v1/batch" in listed
    assert "HTTP 200, delivered" in listed
    assert listed.splitlines()[1:] == shown.splitlines()[1:3]  # the first line says how long ago it was
    assert '"event": "event_1"' in shown


def test_secrets_are_not_in_it(shell: Shell, receiver: Receiver) -> None:
    """What joins a request at the last moment is masked, and the key is in a header, of which nothing is kept."""
    left = leave(shell.root, settings={"endpoint": receiver.url, "user_id": "person-4711"})
    left.put(*make_events(1))
    shell.run("send")

    assert b"person-4711" in receiver.requests[0].body
    raw = shell.run("history", "show", "1", "--raw").stdout_bytes
    assert receiver.requests[0].body.replace(b"person-4711", b"****") == raw
    assert b"s3cret-key" not in b"".join(path.read_bytes() for path in left.place.sent.iterdir())


def test_what_failed_is_told(shell: Shell, receiver: Receiver) -> None:
    """A try that was answered 503 and one that was rejected say so."""
    left = leave(shell.root, 1, settings={"endpoint": receiver.url})
    receiver.script = faults.in_turn(faults.status(503), faults.ordinary, faults.status(401))
    shell.run("send")

    [tried] = shell.json("history")["requests"]
    assert ("to be retried", 503) == (tried["outcome"], tried["status"])
    assert "kept: 1 request that is not settled yet" in shell.run("history", "clean").stdout
    shell.run("send")
    left.put(*make_events(1))
    shell.run("send")

    assert [("rejected", 401), ("delivered", 200)] == [
        (one["outcome"], one["status"]) for one in shell.json("history")["requests"]
    ]


def test_several_destinations_are_one_list(shell: Shell, receiver: Receiver) -> None:
    """By time, whoever sent; the options narrow it down, and the numbers with it."""
    for service in ("shop", "forge", "shop"):
        leave(shell.root, 1, service=service, settings={"endpoint": receiver.url})
        shell.run("send", "--service", service)

    assert ["shop", "forge", "shop"] == [one["service"] for one in shell.json("history")["requests"]]
    assert [(1, "shop"), (2, "shop")] == [
        (one["number"], one["service"]) for one in shell.json("history", "--service", "shop")["requests"]
    ]
    assert "forge" == shell.json("history", "show", "1", "--service", "forge")["service"]
    short = shell.json("history", "--limit", "1")
    assert (1, 2) == (len(short["requests"]), short["beyond"])
    assert "2 older requests" in shell.run("history", "--limit", "1").stdout


def test_clean(shell: Shell, receiver: Receiver) -> None:
    """What is settled is gone from the disk; of one service only, where only that is meant."""
    for service in ("shop", "forge"):
        leave(shell.root, 1, service=service, settings={"endpoint": receiver.url})
    shell.run("send")

    assert "deleted: 1 request of history\n" == shell.run("history", "clean", "--service", "shop").stdout
    assert ["forge"] == [one["service"] for one in shell.json("history")["requests"]]
    assert not list((shell.root / "shop" / "segment" / "sent").iterdir())


def test_clean_keeps_what_the_next_try_must_know_of(shell: Shell, receiver: Receiver) -> None:
    """Its sender saw the answer, and was killed before it had written that down."""
    leave(shell.root, 1, settings={"endpoint": receiver.url})
    shell.run("send")
    place = Place(shell.root / "shop", "segment")
    (copy,) = place.sent.iterdir()
    number = copy.name.split("-")[1]
    copy.rename(copy.with_name(copy.name.replace(number, f"{int(number) + 1:020d}")))

    assert "kept: 1 request that is not settled yet" in shell.run("history", "clean").stdout
    assert 1 == len(list(place.sent.iterdir()))


def test_it_is_bounded(shell: Shell, receiver: Receiver) -> None:
    """sent_bytes is what it takes on disk at most, and the oldest goes first."""
    left = leave(shell.root, settings={"endpoint": receiver.url, "sent_bytes": "2K"})
    for _ in range(12):
        left.put(*make_events(2))
        shell.run("send")

    kept = len(shell.json("history")["requests"])
    assert 1 <= kept < 12
    assert 2048 >= sum(path.stat().st_size for path in left.place.sent.iterdir())
    assert receiver.requests[-1].body == shell.run("history", "show", "1", "--raw").stdout_bytes


def test_off_leaves_it_and_forget_does_not(shell: Shell, receiver: Receiver) -> None:
    """What left is the operator's to read, also after a no."""
    leave(shell.root, 1, settings={"endpoint": receiver.url})
    shell.run("send")
    shell.run("off")

    assert 1 == len(shell.json("history")["requests"])
    shell.run("off", "--forget")
    assert [] == shell.json("history")["requests"]


def test_nothing_is_changed_by_looking(shell: Shell, receiver: Receiver) -> None:
    """Nor created, where nothing has run."""
    assert "Nothing was sent" in shell.run("history").stdout
    assert not shell.root.exists()
    left = leave(shell.root, 1, settings={"endpoint": receiver.url})
    shell.run("send")
    (left.place.sent / "a1-00000000000000000001-00000000.json").write_text("{,")
    before = snapshot(shell.root)

    assert "1 copy in sent/ cannot be read" in shell.run("history").stderr
    assert 1 == json.loads(shell.run("history", "--json").stdout)["unreadable"]
    wrong = shell.run("history", "show", "7")
    assert (2, True) == (wrong.exit_code, "7: there are 1; `usagewire history` lists them" in wrong.stderr)
    assert before == snapshot(shell.root)
