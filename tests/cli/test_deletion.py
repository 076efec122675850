"""`usagewire off --ask-deletion`: one request, to the address that the product's plan names, by the operator."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import Result

from tests.support.contract import SAMPLES
from tests.support.golden import ORIGIN, items, packed, settings_for
from tests.support.shell import Shell
from usagewire.formats import BUILT_IN, load
from usagewire.inspector import faults
from usagewire.inspector.receiver import Receiver
from usagewire.inspector.routes import Answer, Received
from usagewire.pipeline.intake import Intake
from usagewire.signals import Event


def taken(received: Received) -> Answer | None:
    """The vendor's answer to a request to delete."""
    return Answer(202) if received.path == "/delete" else None


def run(shell: Shell, receiver: Receiver, deletion: str | None, **settings: Any) -> None:
    """A program that emits one event in Jina's format, and ends."""
    fact = {} if deletion is None else {"deletion": deletion}
    plan = {"plan": "shop", "version": 1, "product": fact, "events": {"started": {"purpose": "x"}}}
    keywords = {"endpoint": f"{receiver.url}/jina", "delivery": "manual", "plan": plan, **settings}
    intake = Intake(load("jina"), keywords, {"USAGEWIRE_STATE_DIR": str(shell.root)}, ["shop"])
    intake.configure({})
    intake.events([Event("started", 1, "0" * 32)], {"service.name": "shop"})
    intake.close()


def test_the_vendor_is_asked_by_what_it_knows(shell: Shell, receiver: Receiver) -> None:
    """After the program has ended, and off at the same time: the id that was sent is named, and nothing else; the
    operator's headers stay with the endpoint that they are for."""
    receiver.script = taken
    run(shell, receiver, f"{receiver.url}/delete", headers="X-Team=blue")
    shell.run("send")
    done = shell.run("off", "--ask-deletion", "--forget")

    sent, asked = receiver.requests
    assert ("/delete", "POST") == (asked.path, asked.method)
    assert {"request": "deletion", "format": "jina", "uid": sent.events[0]["uid"]} == json.loads(asked.body)
    assert ("blue", None) == (sent.headers.get("x-team"), asked.headers.get("x-team"))
    assert f"asked {receiver.url}/delete to delete {asked.body.decode()}" in done.stdout
    assert (0, False) == (done.exit_code, (shell.root / "shop" / "identity.json").exists())


def test_off_holds_and_the_id_stays_where_nobody_answers(shell: Shell, receiver: Receiver) -> None:
    """What could not be asked for can be asked for again, by the same id: the command that is named does all that was
    wanted, forgetting included."""
    run(shell, receiver, f"{receiver.url}/delete")
    receiver.script = faults.in_turn(faults.status(503), faults.cut(), taken)
    for wanted, answer in ((["--ask-deletion"], "HTTP 503"), (["--ask-deletion", "--forget"], "connection closed")):
        failed = shell.run("off", *wanted)
        assert (1, True) == (failed.exit_code, answer in failed.stderr)
        assert ("--forget" in wanted) == ("nothing was forgotten" in failed.stderr)
        assert (shell.root / "shop" / "identity.json").exists()
        assert not shell.json("status")["destinations"][0]["consent"]["on"]

    assert 0 == shell.run(*step(failed, "usagewire off --ask-deletion --forget --service shop")).exit_code
    first, *_, again = receiver.requests
    assert first.body == again.body
    assert not (shell.root / "shop" / "identity.json").exists()


def step(failed: Result, command: str) -> list[str]:
    """The arguments of the ``command`` that a failure has named as what to say next."""
    assert f"say `{command}` " in failed.stderr
    return command.split()[1:]


def test_nobody_is_asked_unless_the_operator_says_so(shell: Shell, receiver: Receiver) -> None:
    """Off alone is silent."""
    run(shell, receiver, f"{receiver.url}/delete")
    shell.run("off", "--forget")

    assert [] == receiver.requests


def test_where_the_plan_names_nobody(shell: Shell, receiver: Receiver) -> None:
    """It is off all the same, and that nobody could be asked is said."""
    run(shell, receiver, None)
    done = shell.run("off", "--ask-deletion", "--forget")

    assert 1 == done.exit_code
    assert "no tracking plan names an address" in done.stderr
    assert (shell.root / "shop" / "identity.json").exists()
    assert 0 == shell.run(*step(done, "usagewire off --forget --service shop")).exit_code
    assert not (shell.root / "shop" / "identity.json").exists()
    assert not shell.json("status")["destinations"][0]["consent"]["on"]
    assert 2 == shell.run("off", "--ask-deletion", "--channel", "crash").exit_code


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_named_was_sent(name: str) -> None:
    """A request to delete tells the vendor nothing that it has not been told before."""
    fmt = load(name)
    settings = settings_for(fmt, {"user_id": "person-4711"} if name == "segment" else {})
    known_by = fmt.known_by(ORIGIN, settings)
    bodies = [request.readable or request.body for request, _ in packed(fmt, items(fmt, SAMPLES, settings), settings)]

    assert known_by
    for key, value in known_by.items():
        assert any(f'"{key}":{json.dumps(value)}'.encode() in body for body in bodies)


def test_an_event_format_without_a_lasting_id_is_not_asked_about() -> None:
    """Segment's anonymous id ends with the process: there is nothing to name."""
    fmt = load("segment")

    assert {} == fmt.known_by(ORIGIN, settings_for(fmt))
