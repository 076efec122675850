"""`usagewire config`: the operator's own settings."""

from __future__ import annotations

import json

import pytest

from tests.support.left import NOWHERE, leave
from tests.support.shell import Shell, only
from usagewire.config import rows, variables
from usagewire.formats.segment import FORMAT
from usagewire.inspector.receiver import Receiver


def test_list_has_every_row(shell: Shell) -> None:
    """Every setting of the format, with its value, source and variable; the text and --json say the same."""
    leave(shell.root, settings={"timeout": "700"})

    table = shell.json("config", "list")["settings"]
    text = shell.run("config", "list").stdout.splitlines()

    assert [row.name for row in rows(FORMAT)] == [line["name"] for line in table]
    assert [list(variables(FORMAT, row)) for row in rows(FORMAT)] == [line["variables"] for line in table]
    assert len(table) == len(text)
    by_name = {line["name"]: line for line in table}
    assert (700, "code") == (by_name["timeout"]["value"], by_name["timeout"]["source"])
    assert ("gzip", "default") == (by_name["compression"]["value"], by_name["compression"]["source"])
    assert ("****", "code") == (by_name["write_key"]["value"], by_name["write_key"]["source"])


def test_a_stored_setting_wins_until_it_is_unset(shell: Shell, receiver: Receiver) -> None:
    """Stored beats the program's own and this shell's environment; unset brings back what was under it."""
    leave(shell.root, 1)
    shell.variables["OTEL_EXPORTER_SEGMENT_TIMEOUT"] = "900"

    stored = shell.run("config", "set", "endpoint", receiver.url)
    shell.run("config", "set", "OTEL_EXPORTER_SEGMENT_TIMEOUT", "800")

    assert f"endpoint = {receiver.url}, stored; a running program reads it at its next start\n" == stored.stdout
    assert f"{receiver.url}\n" == shell.run("config", "get", "endpoint").stdout
    assert "800\n" == shell.run("config", "get", "timeout").stdout
    assert receiver.url == only(shell.json("status"))["endpoint"]
    assert 0 == shell.run("send").exit_code
    unset = shell.run("config", "unset", "endpoint")
    assert f"endpoint = {NOWHERE}, from code; a running program reads it at its next start\n" == unset.stdout
    shell.run("config", "unset", "timeout")
    assert "900\n" == shell.run("config", "get", "timeout").stdout
    assert 1 == len(receiver.events())


def test_what_a_program_remembered_of_a_stored_setting_goes_with_it(shell: Shell) -> None:
    """A program that ran with a stored setting does not keep it alive after unset."""
    left = leave(shell.root)
    shell.run("config", "set", "timeout", "800")
    said = json.loads(left.place.destination_json.read_text())
    said["settings"]["timeout"], said["sources"]["timeout"] = 800, "stored"
    left.place.destination_json.write_text(json.dumps(said))

    shell.run("config", "unset", "timeout")

    assert "5000\n" == shell.run("config", "get", "timeout").stdout


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["set", "timeout", "abc"], "timeout='abc': not a number of milliseconds"),
        (["set", "endpoint", "http://example.com"], "plain http goes to this machine only"),
        (["set", "certificate", "/no/such.pem"], "certificate='/no/such.pem': no such file"),
        (["set", "delivery", "later"], "delivery='later': not one of auto, thread, manual"),
        (["set", "timeout", " "], "timeout=' ': empty; `usagewire config unset timeout` removes a stored value"),
        (["set", "write_key", "k\x07ey"], "write_key=****: holds control characters"),
        (["set", "speed", "1"], "segment has no setting 'speed'; it has write_key, endpoint"),
        (["get", "speed"], "segment has no setting 'speed'"),
    ],
)  # fmt: skip
def test_bad_input(shell: Shell, argv: list[str], said: str) -> None:
    """What cannot be stored is named with its value (no secret) and what would be right; nothing is stored."""
    left = leave(shell.root)

    result = shell.run("config", *argv)

    assert 2 == result.exit_code
    assert said in result.stderr
    assert not left.place.config_json.exists()


def test_secrets_are_taken_and_never_told(shell: Shell) -> None:
    """A secret is read from standard input or the argument, stored 0600, and printed nowhere."""
    left = leave(shell.root)

    first = shell.run("config", "set", "write_key", "-", input="n3w-key\n")
    got = shell.run("config", "get", "write_key")
    table = shell.run("config", "list")

    assert "write_key = ****, stored; a running program reads it at its next start\n" == first.stdout
    assert "****\n" == got.stdout
    assert "n3w-key" not in first.output + got.output + table.output
    assert {"write_key": "n3w-key"} == json.loads(left.place.config_json.read_text())
    assert 0o600 == left.place.config_json.stat().st_mode & 0o777


def test_what_is_not_there(shell: Shell) -> None:
    """A setting without a value, and one that is not stored, are 1 with a sentence."""
    leave(shell.root)

    got, unset = shell.run("config", "get", "proxy"), shell.run("config", "unset", "timeout")

    assert (1, "Error: proxy is not set\n") == (got.exit_code, got.stderr)
    assert (1, "Error: timeout is not stored; its value comes from default\n") == (unset.exit_code, unset.stderr)


def test_one_of_several_destinations_has_to_be_named(shell: Shell) -> None:
    """With several destinations, the way to name each is listed."""
    leave(shell.root)
    leave(shell.root, name="segment-second")

    refused = shell.run("config", "set", "timeout", "1")
    named = shell.run("config", "set", "timeout", "1", "--destination", "segment-second")

    assert (2, 0) == (refused.exit_code, named.exit_code)
    assert "--service shop --destination segment, --service shop --destination segment-second" in refused.stderr


def test_a_damaged_file_is_a_sentence(shell: Shell) -> None:
    """A config.json that cannot be read is named, by every command."""
    left = leave(shell.root, 1)
    left.place.config_json.write_text("{nonsense")

    listed, sent = shell.run("config", "list"), shell.run("send")

    assert (1, 1) == (listed.exit_code, sent.exit_code)
    assert f"Error: {left.place.config_json}: cannot be read" in listed.stderr
    assert f"not sent: {left.place.config_json}: cannot be read" in sent.stderr
