"""Any off is off, from any source; and what is stored is stored for good, or not at all."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from usagewire.errors import StateError
from usagewire.policy.consent import Channel, Consent, Decision, read, write
from usagewire.signals import Stance, Switch

SWITCHES = (
    Switch("--disable-telemetry", "flag"),
    Switch("JINA_OPTOUT_TELEMETRY", "present"),
    Switch("TTN_LW_TELEMETRY_ENABLE", "false"),
)


class Desk:
    """A service folder and an administrator's file, both in a temporary place."""

    def __init__(self, tmp_path: Path) -> None:
        self.service = tmp_path / "state" / "ferry"
        self.stored = self.service / "consent.json"
        self.admin = tmp_path / "etc" / "consent.json"

    def consent(
        self, environ: dict[str, str] | None = None, argv: tuple[str, ...] = (), *, default: bool = True
    ) -> Consent:
        """Consent of a program that was started like this."""
        return Consent(self.service, SWITCHES, default, environ or {}, argv, self.admin)

    def decide(self, **environ: str) -> Decision:
        """The decision in this environment."""
        return self.consent(environ).decide()

    def put(self, path: Path, content: bytes, mode: int = 0o600) -> None:
        """Leave a file, as somebody else's editor would."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)

    def administrator(self, state: str, **more: object) -> None:
        """What the administrator says, by hand."""
        self.put(self.admin, orjson.dumps({"version": 1, "state": state, **more}), 0o644)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A service nobody has said anything about."""
    return Desk(tmp_path)


def test_nobody_has_said_anything(desk: Desk) -> None:
    """The default decides, and no file or folder is made by asking."""
    assert Stance(on=True, epoch="0", erases=False) == desk.consent().stance()
    decision = desk.consent(default=False).decide()
    assert (False, "default", False) == (decision.on, decision.by, decision.erases)
    assert not desk.service.exists()


@pytest.mark.parametrize(
    ("name", "value", "on"),
    [
        ("DO_NOT_TRACK", "1", False),
        ("DO_NOT_TRACK", "yes", False),
        ("DO_NOT_TRACK", "", True),
        ("DO_NOT_TRACK", "0", True),
        ("DO_NOT_TRACK", "False", True),
        ("OTEL_SDK_DISABLED", "true", False),
        ("OTEL_SDK_DISABLED", " TRUE ", False),
        ("OTEL_SDK_DISABLED", "1", True),
        ("USAGEWIRE_DISABLED", "1", False),
        ("USAGEWIRE_DISABLED", "false", True),
        ("JINA_OPTOUT_TELEMETRY", "", False),
        ("JINA_OPTOUT_TELEMETRY", "0", False),
        ("TTN_LW_TELEMETRY_ENABLE", "false", False),
        ("TTN_LW_TELEMETRY_ENABLE", "0", False),
        ("TTN_LW_TELEMETRY_ENABLE", "true", True),
        ("TTN_LW_TELEMETRY_ENABLE", "", True),
    ],
)
def test_variables(desk: Desk, name: str, value: str, on: bool) -> None:
    """Each variable means what its document says, and is named when it decides."""
    decision = desk.decide(**{name: value})
    assert (on, "default" if on else name, False) == (decision.on, decision.by, decision.erases)


@pytest.mark.parametrize(
    ("argv", "on"),
    [
        (("python", "app.py"), True),
        (("python", "app.py", "--disable-telemetry"), False),
        (("python", "app.py", "--disable-telemetry=true"), False),
        (("python", "app.py", "--disable-telemetry=false"), True),
        (("python", "app.py", "--disable-telemetry-not"), True),
    ],
)
def test_flag(desk: Desk, argv: tuple[str, ...], on: bool) -> None:
    """The product's flag counts before the program has parsed its arguments."""
    assert on == desk.consent(argv=argv).decide().on


def test_disable(desk: Desk) -> None:
    """The program itself can say no for as long as it runs; what waits stays."""
    consent = desk.consent()
    consent.disable()
    decision = consent.decide()
    assert (False, "usagewire.disable()", False) == (decision.on, decision.by, decision.erases)


def _sources(desk: Desk) -> list[tuple[str, Callable[[dict[str, str], list[str]], None]]]:
    """Every source that can say off, in the order in which they are named."""
    return [
        ("DO_NOT_TRACK", lambda env, argv: env.update(DO_NOT_TRACK="1")),
        ("OTEL_SDK_DISABLED", lambda env, argv: env.update(OTEL_SDK_DISABLED="true")),
        ("USAGEWIRE_DISABLED", lambda env, argv: env.update(USAGEWIRE_DISABLED="1")),
        ("--disable-telemetry", lambda env, argv: argv.append("--disable-telemetry")),
        (str(desk.admin), lambda env, argv: desk.administrator("off")),
        (str(desk.stored), lambda env, argv: desk.put(desk.stored, b'{"version":1,"state":"off"}')),
    ]


def _choices() -> Iterator[tuple[int, ...]]:
    return (some for size in range(1, 7) for some in itertools.combinations(range(6), size))


@pytest.mark.parametrize("chosen", list(_choices()), ids=str)
def test_any_off_is_off(desk: Desk, chosen: tuple[int, ...]) -> None:
    """Whatever else says on, one off is enough; the first is named; only the two files erase."""
    environ: dict[str, str] = {}
    argv: list[str] = []
    desk.administrator("on")
    write(desk.service, True, "usagewire on")
    sources = _sources(desk)
    for index in chosen:
        sources[index][1](environ, argv)
    decision = desk.consent(environ, tuple(argv), default=True).decide()
    assert (False, sources[chosen[0]][0], any(index >= 4 for index in chosen)) == (
        decision.on,
        decision.by,
        decision.erases,
    )


def test_any_on_beats_the_default(desk: Desk) -> None:
    """An opt-in format sends once the operator or the administrator has said on."""
    consent = desk.consent(default=False)
    assert not consent.decide().on
    write(desk.service, True, "usagewire on (uid 7)", clock=lambda: 1234)
    decision = consent.decide()
    assert (True, str(desk.stored), 1234) == (decision.on, decision.by, decision.since)
    assert "usagewire on (uid 7)" in decision.detail
    desk.stored.unlink()
    desk.administrator("on")
    assert str(desk.admin) == consent.decide().by


def test_every_change_of_mind_has_its_own_epoch(desk: Desk) -> None:
    """What was collected before an on or off, the operator's or the administrator's, belongs to another epoch."""
    consent = desk.consent()
    epochs = [consent.stance().epoch]
    for on in (True, False, True):
        assert write(desk.service, on, "test") == consent.stance().epoch
        epochs.append(consent.stance().epoch)
    desk.administrator("off", epoch="a1")
    epochs.append(consent.stance().epoch)
    desk.administrator("on", epoch="a2")
    epochs.append(consent.stance().epoch)
    assert len(epochs) == len(set(epochs))


@pytest.mark.parametrize(
    "content",
    [
        b"garbage",
        b"[]",
        b'{"version":2,"state":"on"}',
        b'{"version":1,"state":"maybe"}',
        b'{"version":1,"state":"on","epoch":"../x"}',
        b'{"version":1,"state":"on","epoch":7}',
        b"\xff\xfe",
    ],
)
def test_damage_is_off_loudly(desk: Desk, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A consent.json that makes no sense is off, says so once, whoever reads it how often, and erases nothing: nobody
    asked for that."""
    desk.put(desk.stored, content)
    consent = desk.consent()
    decision = consent.decide()
    consent.decide()
    desk.consent().decide()
    assert (False, str(desk.stored), False) == (decision.on, decision.by, decision.erases)
    assert [decision.detail] == [record.getMessage() for record in caplog.records]
    assert "usagewire on" in decision.detail


def test_empty_is_an_off_on_a_full_disk(desk: Desk) -> None:
    """An empty consent.json was an off for which there was no room, and counts as one."""
    desk.put(desk.stored, b"")
    decision = desk.decide()
    assert (False, True) == (decision.on, decision.erases)
    assert "full disk" in decision.detail


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_off(desk: Desk, mode: int) -> None:
    """Nobody else may say yes for us."""
    write(desk.service, True, "test")
    desk.stored.chmod(mode)
    decision = desk.decide()
    assert (False, False) == (decision.on, decision.erases)
    assert "others can write" in decision.detail


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another owner")
def test_a_strangers_file_is_off(desk: Desk) -> None:
    """A consent.json of another user is not the operator's."""
    write(desk.service, True, "test")
    os.chown(desk.stored, 12345, 12345)
    assert not desk.decide().on


def test_links_and_pipes_are_off(desk: Desk, tmp_path: Path) -> None:
    """In the state folder nothing but a regular file is believed, and nothing blocks."""
    desk.put(tmp_path / "elsewhere", b'{"version":1,"state":"on"}')
    desk.service.mkdir(parents=True)
    desk.stored.symlink_to(tmp_path / "elsewhere")
    assert not desk.decide().on
    desk.stored.unlink()
    os.mkfifo(desk.stored)
    assert not desk.decide().on


def test_the_administrators_file_may_be_a_link(desk: Desk, tmp_path: Path) -> None:
    """Configuration tools and container mounts link below /etc."""
    desk.put(tmp_path / "store", b'{"version":1,"state":"off"}', 0o644)
    desk.admin.parent.mkdir()
    desk.admin.symlink_to(tmp_path / "store")
    assert (False, str(desk.admin), True) == (desk.decide().on, desk.decide().by, desk.decide().erases)


def test_an_open_consent_notices_everything(desk: Desk) -> None:
    """A running program follows every change of either file, a mere change of mode too."""
    consent = desk.consent()
    assert consent.decide().on
    write(desk.service, False, "test")
    assert not consent.decide().on
    write(desk.service, True, "test")
    assert consent.decide().on
    desk.stored.chmod(0o666)
    assert not consent.decide().on
    desk.stored.unlink()
    assert consent.decide().on
    desk.administrator("off")
    assert not consent.decide().on


def test_what_is_written(desk: Desk) -> None:
    """consent.json can be read with `cat`: version, state, epoch, time, who, and who before; for our eyes only."""
    epoch = write(desk.service, False, "usagewire off (uid 7)", clock=lambda: 99)
    word = {"state": "off", "time": 99, "by": "usagewire off (uid 7)"}
    expected = {"version": 1, "epoch": epoch, "licenses": [], "history": [word], **word}
    assert expected == orjson.loads(desk.stored.read_bytes())
    assert (0o600, 0o700) == tuple(stat.S_IMODE(path.stat().st_mode) for path in (desk.stored, desk.service))
    assert ["consent.json"] == [path.name for path in desk.service.iterdir()]


def test_a_folder_that_is_a_link_is_refused(desk: Desk, tmp_path: Path) -> None:
    """Consent is never written through somebody's link."""
    desk.service.parent.mkdir()
    (tmp_path / "other").mkdir()
    desk.service.symlink_to(tmp_path / "other")
    with pytest.raises(StateError, match="consent stays as it was"):
        write(desk.service, True, "test")
    assert [] == list((tmp_path / "other").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")
def test_root_writes_for_the_folders_owner(desk: Desk) -> None:
    """What root says for another user's service can be read by that service."""
    desk.service.mkdir(parents=True)
    os.chown(desk.service, 12345, 12345)
    write(desk.service, True, "test")
    assert 12345 == desk.stored.stat().st_uid


FULL = """
import resource, signal, sys
from pathlib import Path
from usagewire.errors import StateError
from usagewire.policy.consent import Consent, write
service, state, room = Path(sys.argv[1]), sys.argv[2] == "on", sys.argv[3] == "room"
old = resource.getrlimit(resource.RLIMIT_FSIZE)
def make_room():
    print("asked")
    if room:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, old[1]))
try:
    write(service, state, "test", make_room=make_room)
except StateError as fault:
    print(fault)
resource.setrlimit(resource.RLIMIT_FSIZE, old)
decision = Consent(service, (), True, {}, []).decide()
print(decision.on, decision.erases, (service / "consent.json").stat().st_size > 0)
"""


def full(service: Path, state: str, room: str) -> list[str]:
    """What a process prints that cannot write one more byte (a file size limit of 0: refused by the real kernel)."""
    command = [sys.executable, "-c", FULL, str(service), state, room]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


@pytest.mark.slow
def test_on_is_never_said_where_it_cannot_be_written(desk: Desk) -> None:
    """On a full disk, on fails with a way out, and consent stays as it was."""
    write(desk.service, False, "test")
    said, outcome = full(desk.service, "on", "none")
    assert "consent stays as it was" in said
    assert "False True True" == outcome


@pytest.mark.slow
def test_off_makes_room(desk: Desk) -> None:
    """On a full disk, off asks for the queue to go and then writes."""
    write(desk.service, True, "test")
    assert ["asked", "False True True"] == full(desk.service, "off", "room")


@pytest.mark.slow
@pytest.mark.parametrize("before", ["on", "nothing"])
def test_off_without_any_room(desk: Desk, before: str) -> None:
    """Where no room can be made, an empty file says off."""
    if before == "on":
        write(desk.service, True, "test")
    assert ["asked", "False True False"] == full(desk.service, "off", "none")
    assert ["consent.json"] == [path.name for path in desk.service.iterdir()]


def test_writers_at_the_same_time(desk: Desk) -> None:
    """Of many writers one wins whole, and readers never see anything else than one of them."""
    write(desk.service, True, "first")
    consent = desk.consent()
    said: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            decision = consent.decide()
            said.append(decision.detail if "cannot be trusted" in decision.detail else "")

    reader = threading.Thread(target=read)

    def change(on: bool) -> None:
        for _ in range(10):
            write(desk.service, on, "test")

    writers = [threading.Thread(target=change, args=(number % 2 == 0,)) for number in range(4)]
    reader.start()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    assert {""} == set(said)
    assert orjson.loads(desk.stored.read_bytes())["epoch"] == consent.stance().epoch
    assert ["consent.json"] == [path.name for path in desk.service.iterdir()]


def test_words_at_the_same_time_do_not_lose_each_other(desk: Desk) -> None:
    """Writers read, change and write the file one after the other."""
    names = [f"channel{number}" for number in range(4)]
    writers = [
        threading.Thread(target=write, args=(desk.service, False, "test"), kwargs={"channel": Channel("stone", name)})
        for name in names
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert set(names) == set(read(desk.service).channels("stone"))
    assert len(names) == len(read(desk.service).history)


def test_a_yes_that_goes_on_does_not_undo_an_off_in_between(desk: Desk) -> None:
    """Under its old epoch what the off was about would count again: it is refused, and off stays off."""
    epoch = write(desk.service, True, "first")
    seen = read(desk.service)
    write(desk.service, False, "second")

    with pytest.raises(StateError, match=r"second in .*consent\.json, just now; look at it, and say it again"):
        write(desk.service, True, "first again", epoch=epoch, over=seen)

    assert (False, "second") == (desk.decide().on, read(desk.service).history[-1]["by"])


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_word_on_a_channel_does_not_undo_an_off(desk: Desk, content: bytes) -> None:
    """A file that is off because it cannot be trusted, or was cut on a full disk, stays off."""
    desk.put(desk.stored, content)
    with pytest.raises(StateError, match="a single channel has to wait for that"):
        write(desk.service, True, "test", channel=Channel("stone", "crash"))
    assert content == desk.stored.read_bytes()
    assert not desk.decide().on


def test_an_epoch_that_is_none_is_not_believed(desk: Desk) -> None:
    """Epochs become file names: a channel's, too, is hex digits or the file is off."""
    channels = {"stone": {"crash": {"state": "on", "epoch": "../../x"}}}
    desk.put(desk.stored, orjson.dumps({"version": 1, "state": "on", "channels": channels}))
    assert "channel crash is not 1 to 32 hex digits" in desk.decide().detail
    assert not desk.decide().on
