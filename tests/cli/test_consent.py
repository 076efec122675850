"""`usagewire on` and `usagewire off`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.left import leave, make_events
from tests.support.shell import Shell, only
from usagewire.inspector import faults
from usagewire.inspector.receiver import Receiver
from usagewire.policy.consent import Consent, write


def test_off_deletes_what_waits(shell: Shell) -> None:
    """Off is stored, and nothing that waited is on disk any more; the count of it is kept."""
    left = leave(shell.root, 3)

    result = shell.run("off")

    assert 0 == result.exit_code
    assert "shop: off, stored in" in result.stdout
    assert "deleted: 3 items that waited, 1 file in all" in result.stdout
    assert [] == [path for path in left.place.queue.rglob("*") if path.is_file()]
    found = only(shell.json("status"))
    assert not found["consent"]["on"]
    assert (0, 3) == (found["queue"]["items"], found["totals"]["lost"]["consent"]["count"])


def test_on_starts_anew(shell: Shell) -> None:
    """On allows what comes from now on; what was collected before an off stays gone."""
    left = leave(shell.root, 3)
    shell.run("off")

    result = shell.run("on")
    left.put(*make_events(1))

    assert 0 == result.exit_code
    assert "shop: on, stored in" in result.stdout
    assert "" == result.stderr
    found = only(shell.json("status"))
    assert found["consent"]["on"]
    assert found["consent"]["since"] is not None
    assert 1 == found["queue"]["items"]


def test_on_twice_is_on_once(shell: Shell) -> None:
    """A first on deletes what was collected before anybody was asked, and says so; a second one changes nothing."""
    left = leave(shell.root, 2)

    first = shell.run("on")
    left.put(*make_events(3))
    second = shell.run("on")

    assert "deleted: 2 items from before" in first.stdout
    assert (0, True) == (second.exit_code, second.stdout.startswith("shop: already on, stored in "))
    assert 3 == only(shell.json("status"))["queue"]["items"]


def test_on_says_that_somebody_else_still_says_no(shell: Shell) -> None:
    """A yes that has no effect yet is not passed over in silence."""
    leave(shell.root)
    shell.variables["DO_NOT_TRACK"] = "1"

    result = shell.run("on")

    assert 0 == result.exit_code
    assert "but nothing leaves yet: DO_NOT_TRACK=1 in the environment; unset DO_NOT_TRACK" in result.stderr


def test_a_service_without_a_folder_has_to_be_named(shell: Shell) -> None:
    """Before anything ran, a decision needs --service, and is kept for the program's first run."""
    refused = shell.run("off")
    named = shell.run("off", "--service", "new one")

    assert (2, 0) == (refused.exit_code, named.exit_code)
    assert f"which service? say --service NAME; no program has left anything in {shell.root} yet" in refused.stderr
    [folder] = shell.root.iterdir()
    assert folder.name.startswith("new_one-")
    assert ["consent.json"] == [path.name for path in folder.iterdir()]
    assert 0o700 == folder.stat().st_mode & 0o777
    assert "nothing has run yet" in shell.run("status").stdout


def test_a_name_that_may_be_a_slip_of_the_pen(shell: Shell) -> None:
    """A service that has not run is taken at its word, with a hint at those that have."""
    leave(shell.root, 1)

    result = shell.run("off", "--service", "shpo")

    assert 0 == result.exit_code
    assert "shpo has not run here yet; there are: shop\n" == result.stderr


def test_a_service_that_another_user_may_run(shell: Shell) -> None:
    """Saying off as the wrong user would do nothing, and says so."""
    result = shell.run("off", "--service", "shop")

    assert 0 == result.exit_code
    assert (
        "shop has not run here yet; if another user runs it, say it as that user, or with --system\n" == result.stderr
    )


@pytest.mark.parametrize("word", ["off", "on"])
def test_the_administrators_word(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """--system stores it where every user's programs look, for everybody to read, and they go by it."""
    path = tmp_path / "etc" / "usagewire" / "consent.json"
    monkeypatch.setattr("usagewire.cli.consent.ADMINISTRATOR", path)

    result = shell.run(word, "--system")

    assert 0 == result.exit_code, result.stderr
    assert f"this machine: {word}, stored in {path}" in result.stdout
    assert (0o644, 0o755) == (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777)
    decision = Consent(tmp_path / "shop", (), word == "off", {}, [], admin_path=path).decide()
    assert (word == "on", str(path)) == (decision.on, decision.by)


def test_the_administrators_word_is_about_everything(shell: Shell) -> None:
    """With anything else beside it, it is refused, and nothing is stored."""
    for more in (("--service", "shop"), ("--channel", "crash"), ("--forget",)):
        result = shell.run("off", "--system", *more)
        assert (2, True) == (result.exit_code, "say it alone" in result.stderr)


def test_only_root_speaks_for_the_machine(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file cannot be written, one line names it, why, and the way out."""
    (tmp_path / "etc").write_text("a file where the folder should be")
    path = tmp_path / "etc" / "usagewire" / "consent.json"
    monkeypatch.setattr("usagewire.cli.consent.ADMINISTRATOR", path)

    result = shell.run("off", "--system")

    assert 1 == result.exit_code
    assert f"Error: {path}: Not a directory; run: sudo usagewire off --system\n" == result.stderr


CDLA = "Community Data License Agreement - Sharing - Version 1.0 (https://cdla.io/sharing-1-0/)"


@pytest.mark.parametrize("given", [(), ("--license", "mit"), ("--license", "")], ids=["none", "another", "empty"])
@pytest.mark.parametrize("known", [True, False], ids=["by its destination", "by --format"])
def test_a_format_that_demands_a_licence_is_not_switched_on_without(
    shell: Shell, given: tuple[str, ...], known: bool
) -> None:
    """Exit code 1, the document's words and the command that accepts it; nothing is stored."""
    if known:
        leave(shell.root, name="stone")

    result = shell.run("on", "--service", "shop", *([] if known else ["--format", "stone"]), *given)

    assert 1 == result.exit_code
    assert f"Telemetry data is licensed under the {CDLA}" in result.stderr
    assert "usagewire on --service shop --license sharing-1-0" in result.stderr
    assert not (shell.root / "shop" / "consent.json").exists()


def test_a_licence_is_accepted_and_remembered(shell: Shell) -> None:
    """It is stored with who and when; on again needs it no more; an off takes it back."""
    leave(shell.root, name="stone")

    result = shell.run("on", "--license", "sharing-1-0")
    consent = only(shell.json("status"))["consent"]
    again = shell.run("on")
    verbose = shell.run("status", "-v").stdout
    shell.run("off")
    refused = shell.run("on")

    assert (0, "") == (result.exit_code, result.stderr)
    assert "shop: on under the licence sharing-1-0, stored in" in result.stdout
    assert (True, "sharing-1-0") == (consent["on"], consent["license"])
    [word] = consent["history"]
    assert ("on", "sharing-1-0", consent["since"]) == (word["state"], word["license"], word["time"])
    assert f"usagewire on (uid {os.geteuid()})" == word["by"]
    assert f"{word['time']} on by {word['by']}, licence sharing-1-0" in verbose
    assert (0, True) == (again.exit_code, "already on" in again.stdout)
    assert (1, True) == (refused.exit_code, CDLA in refused.stderr)


def test_a_yes_without_the_licence_is_none_for_the_format_that_demands_it(shell: Shell) -> None:
    """A service that was switched on before its stone exporter came: segment sends, stone says what it waits for."""
    leave(shell.root, 1)
    shell.run("on")
    leave(shell.root, name="stone")

    segment, stone = shell.json("status")["destinations"]

    assert (True, False) == (segment["consent"]["on"], stone["consent"]["on"])
    assert stone["consent"]["detail"].endswith("consent.json, without the licence sharing-1-0")
    assert "to say yes: usagewire on --service shop --license sharing-1-0" == stone["consent"]["change"]
    before = segment["queue"]["items"]
    assert 0 == shell.run("on", "--license", "sharing-1-0").exit_code
    segment, stone = shell.json("status")["destinations"]
    assert (True, True, before) == (segment["consent"]["on"], stone["consent"]["on"], segment["queue"]["items"])


def test_formats_without_a_licence_ask_for_none(shell: Shell) -> None:
    """Nothing changes for them; a licence that no format knows is refused, and says which there are."""
    leave(shell.root, 1)

    refused = shell.run("on", "--license", "mit")
    result = shell.run("on")

    assert (1, 0) == (refused.exit_code, result.exit_code)
    assert "'mit' is no licence that any format asks for" in refused.stderr
    assert only(shell.json("status"))["consent"]["license"] is None


def test_history_is_kept_and_bounded(shell: Shell) -> None:
    """Who said what, the newest last; however often it is said, the file stays small."""
    for _ in range(30):
        write(shell.root / "shop", True, "x" * 900)
    shell.run("off", "--service", "shop")

    history = only(shell.json("status"))["consent"]["history"]

    assert "off" == history[-1]["state"]
    assert 20 < len(history) <= 31
    assert (shell.root / "shop" / "consent.json").stat().st_size < 40_000


@pytest.mark.parametrize("command", ["on", "off"])
def test_one_of_several_services_has_to_be_named(shell: Shell, command: str) -> None:
    """With several services, a change names the one it means; nothing is changed by guessing."""
    leave(shell.root, 1, service="shop")
    leave(shell.root, 1, service="bank")

    result = shell.run(command)

    assert 2 == result.exit_code
    assert "which service? say --service NAME; there are: bank, shop" in result.stderr
    assert [1, 1] == [one["queue"]["items"] for one in shell.json("status")["destinations"]]
    assert 0 == shell.run(command, "--service", "bank").exit_code


def test_forget_leaves_the_no_alone(shell: Shell, receiver: Receiver) -> None:
    """--forget deletes id, history and counts; consent.json and the operator's own settings stay."""
    left = leave(shell.root, 1, settings={"endpoint": receiver.url})
    shell.run("send")
    receiver.script = faults.status(403)
    left.put(*make_events(2))
    shell.run("send")
    shell.run("config", "set", "timeout", "100")
    assert left.place.rejected.exists()

    result = shell.run("off", "--forget")

    assert 0 == result.exit_code
    assert "forgotten: the random id, and" in result.stdout
    files = sorted(str(path.relative_to(shell.root)) for path in shell.root.rglob("*") if path.is_file())
    assert ["shop/consent.json", "shop/segment/config.json"] == files


def test_files_that_no_destination_describes_are_purged_too(shell: Shell) -> None:
    """Off finds what a program left that died before it had described itself."""
    left = leave(shell.root, 2)
    left.place.destination_json.unlink()

    shell.run("off")

    assert [] == [path for path in left.place.queue.rglob("*") if path.is_file()]


def test_a_running_program_stops_at_once(shell: Shell) -> None:
    """The writer of a program that runs keeps nothing after an off, and goes on after an on."""
    left = leave(shell.root)
    writer = left.put(*make_events(1), writer=left.writer())

    shell.run("off")
    assert "off" == writer.put("events", [b'{"item":{}}'])
    shell.run("on")
    assert "kept" == writer.put("events", [b'{"item":{}}'])

    writer.close()
    assert 1 == only(shell.json("status"))["queue"]["items"]


def test_a_file_that_cannot_be_written_is_a_sentence(shell: Shell) -> None:
    """A no that cannot be stored says so, and how else to say it."""
    shell.root.mkdir()
    (shell.root / "shop").write_text("not a folder")

    result = shell.run("off", "--service", "shop")

    assert 1 == result.exit_code
    assert "Error: " in result.stderr
    assert "DO_NOT_TRACK=1" in result.stderr


FULL = """
import os, subprocess, sys
from pathlib import Path
root = Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
from tests.support.left import leave, make_events
left = leave(root / "state", 0)
left.put(*make_events(200))
with open(root / "filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
done = subprocess.run(
    [sys.executable, "-m", "usagewire", "off"],
    env={**os.environ, "USAGEWIRE_STATE_DIR": str(root / "state")}, capture_output=True, text=True,
)
left_over = [str(path) for path in left.place.queue.rglob("*") if path.is_file()]
consent = (root / "state" / "shop" / "consent.json").read_text()
print(__import__("json").dumps([done.returncode, done.stdout, done.stderr, left_over, consent]))
"""


@pytest.mark.slow
def test_off_on_a_full_disk(tmp_path: Path) -> None:
    """On a disk without a free byte, off is stored and the queue is gone."""
    script = tmp_path / "full.py"
    script.write_text(FULL)
    mount = tmp_path / "small"
    mount.mkdir()
    here = str(Path(__file__).parents[2])
    command = f"mount -t tmpfs -o size=256k none {mount} && {sys.executable} {script} {mount} {here}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no user namespaces here")

    code, out, err, left_over, consent = json.loads(done.stdout)

    assert (0, "", []) == (code, err, left_over)
    assert "deleted: 200 items that waited" in out
    assert "off" == (json.loads(consent)["state"] if consent else "off")
