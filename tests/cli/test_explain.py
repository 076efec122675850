"""`usagewire show --explain`: why each field is there, also before anything was collected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.stone.cases import ALL
from tests.support.left import leave
from tests.support.shell import Shell, snapshot
from usagewire.formats import BUILT_IN, load
from usagewire.inspector.explain import OWN, documented
from usagewire.pipeline.intake import Intake
from usagewire.signals import Event

PLANS = Path(__file__).parents[2] / "examples" / "plans"
STARTED = Event("server_start", 1, "0" * 32, {"db_backend": "mysql", "mine": 1})


def test_the_plans_purpose_goes_before_the_documents_words(shell: Shell) -> None:
    """An attribute that the plan lists is there for its purpose; what the format adds, for what its document says."""
    leave(shell.root).put(STARTED)

    [shown] = shell.json("show", "--explain", "--plan", str(PLANS / "readyset.yaml"))["requests"]
    text = shell.run("show", "--explain", "--plan", str(PLANS / "readyset.yaml")).stdout

    assert {
        "batch.0.event": "The ReadySet server was launched.",
        "batch.0.properties.db_backend": "Which database protocol is in use, to decide where work on compatibility "
        "goes.",
        "batch.0.properties.mine": OWN,
        "batch.0.messageId": "random; lets the receiver drop a repeat",
        "sentAt": "when this try was made, UTC",
    }.items() <= shown["why"].items()
    assert '"event": "server_start",  ← The ReadySet server was launched.' in text
    assert "  ← when this try was made, UTC" in text
    assert "why" not in shell.json("show")["requests"][0]


def test_another_shell_knows_the_purposes_of_the_programs_plan(shell: Shell) -> None:
    """The operator needs no plan at hand: why the program's plan lists it is remembered with the queue."""
    keywords = {"endpoint": "http://127.0.0.1:9", "write_key": "x", "delivery": "manual"}
    environ = {"USAGEWIRE_STATE_DIR": str(shell.root)}
    intake = Intake(load("segment"), {**keywords, "plan": str(PLANS / "readyset.yaml")}, environ, ["shop"])
    intake.configure({})
    intake.events([STARTED], {"service.name": "shop"})
    intake.close()

    [shown] = shell.json("show", "--explain")["requests"]

    assert "The ReadySet server was launched." == shown["why"]["batch.0.event"]
    assert "batch.0.properties.mine" not in shown["why"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_before_anything_ran(shell: Shell, name: str) -> None:
    """Of every format it is told what it would send; nothing is created, not even an id."""
    document = shell.json("show", "--explain", "--format", name)
    text = shell.run("show", "--explain", "--format", name).stdout

    assert [{"format": name, "fields": documented(name), "plan": None}] == document["would"]
    assert all(documented(name).values())
    assert all(f"  {field}" in text for field in documented(name))
    assert not shell.root.exists()
    assert 2 == shell.run("show", "--format", name).exit_code
    assert 2 == shell.run("show", "--explain", "--format", "lunch").exit_code


def test_before_a_yes(shell: Shell) -> None:
    """A format that is off until somebody says yes: what it and the plan would let leave, by purpose."""
    shell.variables["USAGEWIRE_PLAN"] = str(PLANS / "stone.yaml")

    [would] = shell.json("show", "--explain", "--format", "stone")["would"]
    text = shell.run("show", "--explain", "--format", "stone").stdout

    assert "Where in the code daemons crash, to fix what crashes most." == would["plan"]["usage.crash"][""]
    assert {event.name for event in ALL} <= set(would["plan"])
    assert "  usage.device  " in text
    assert "What is counted." in text
    assert {"channel basic", "channel crash", "channel ident"} <= {
        says.partition(":")[0] for says in would["fields"].values()
    }


def test_while_it_is_off(shell: Shell) -> None:
    """A no hides nothing of what there would be to say; it changes nothing on disk either."""
    leave(shell.root, 1)
    shell.run("off")
    before = snapshot(shell.root)

    document = shell.json("show", "--explain")

    assert [] == document["requests"]
    assert ["segment"] == [would["format"] for would in document["would"]]
    assert "what segment may send" in shell.run("show", "--explain").stdout
    assert before == snapshot(shell.root)
