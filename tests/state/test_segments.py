"""usagewire.state.segments"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from tests.support.state import Desk
from usagewire.signals import Stance
from usagewire.state import lines
from usagewire.state.listing import Found, make_stem, order, segments
from usagewire.state.segments import SEGMENT_BYTES, Writer
from usagewire.state.totals import notes


def items(*names: object) -> list[bytes]:
    """A payload for each name."""
    return [lines.item(f'"{name}"'.encode()) for name in names]


def stored(desk: Desk, channel: str = "events") -> list[bytes]:
    """Every payload of a channel, oldest first."""
    found = sorted(
        (one for one in segments(desk.place) if one.path.parent.name == channel), key=lambda one: order(one.stem)
    )
    return [line.payload or b"" for one in found for line in lines.scan(one.path.read_bytes())]


def suffixes(desk: Desk) -> list[str]:
    """How the segments stand."""
    return sorted(found.suffix for found in segments(desk.place))


def test_kept_lines_are_on_disk(tmp_path: Path) -> None:
    """Private, in order, in a segment that is open."""
    desk = Desk(tmp_path)
    writer = desk.writer()

    assert ["kept", "kept"] == [writer.put("events", items(1, 2)), writer.put("events", items(3))]
    assert items(1, 2, 3) == stored(desk)
    assert [".open"] == suffixes(desk)
    assert [0o600] == [found.path.stat().st_mode & 0o777 for found in segments(desk.place)]
    writer.close()
    assert [".seg"] == suffixes(desk)


def test_nothing_is_created_before_the_first_line(tmp_path: Path) -> None:
    """An exporter that never exports leaves no trace."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", [])
    writer.rest()
    writer.close()

    assert [] == list(segments(desk.place))


def test_off_keeps_nothing(tmp_path: Path) -> None:
    """No consent, no file."""
    desk = Desk(tmp_path)
    desk.stance = Stance(False, "a1")

    assert "off" == desk.writer().put("events", items(1))
    assert [] == list(desk.place.queue.iterdir())


def test_off_unlinks_what_is_open_and_counts_it(tmp_path: Path) -> None:
    """The writer's own file goes at once, even where no purge comes by."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(1, 2))
    desk.stance = Stance(False, "b2")

    assert "off" == writer.put("events", items(3))
    assert [] == list(segments(desk.place))
    assert [{"consent": 2}] == [note.lost for note in notes(desk.place).values() if note]


def test_silencing_this_process_alone_leaves_what_was_kept(tmp_path: Path) -> None:
    """Off by environment is no off for others: what they consented to is theirs to send."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(1))
    desk.stance = Stance(False, "a1", erases=False)

    assert "off" == writer.put("events", items(2))
    assert items(1) == stored(desk)
    assert [".seg"] == suffixes(desk)


def test_change_of_mind_during_the_write_is_no_acknowledgement(tmp_path: Path) -> None:
    """Off and on again between the two looks: the line belongs to before the off, and goes."""
    desk = Desk(tmp_path)
    said = iter([Stance(True, "a1"), Stance(True, "b2")])
    writer = Writer(desk.place, lambda: next(said), queue_bytes=1 << 20)

    assert "off" == writer.put("events", items(1))
    assert [] == list(segments(desk.place))


@pytest.mark.parametrize("care", ["rest", "close"])
def test_an_outdated_no_drops_nothing_newer(tmp_path: Path, care: str) -> None:
    """A thread that was held up since an off has no say over what others keep after the next on."""
    desk = Desk(tmp_path)
    outdated = [Stance(on=False, epoch="1")]
    writer = Writer(
        desk.place,
        lambda: outdated.pop() if len(outdated) > 1 else Stance(on=True, epoch="2"),
        queue_bytes=1 << 20,
    )
    assert "kept" == writer.put("events", items("a"))

    outdated.append(outdated[0])
    getattr(writer, care)()

    assert items("a") == stored(desk)
    writer.close()


def test_new_epoch_gets_a_new_segment(tmp_path: Path) -> None:
    """No file ever holds two epochs."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(1))
    desk.stance = Stance(True, "b2")
    writer.put("events", items(2))

    assert items(2) == stored(desk)
    assert ["b2"] == [found.stem.partition("-")[0] for found in segments(desk.place)]


def test_full_segment_is_sealed(tmp_path: Path) -> None:
    """At 1 MiB."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items("x" * (SEGMENT_BYTES // 2)))
    assert [".open"] == suffixes(desk)
    writer.put("events", items("x" * (SEGMENT_BYTES // 2)))
    writer.put("events", items(1))

    assert [".open", ".seg"] == suffixes(desk)


def test_a_small_queue_has_small_segments(tmp_path: Path) -> None:
    """Of what is too much the oldest segment goes, whole: it must not be most of what there is."""
    desk = Desk(tmp_path, queue_bytes=64_000)
    writer = desk.writer()
    for _ in range(4):
        writer.put("events", items("x" * 2_000))

    assert [".seg", ".seg"] == suffixes(desk)


@pytest.mark.slow
def test_old_segment_is_sealed_sooner_when_few_wait(tmp_path: Path) -> None:
    """After a second when nothing waits; later when much does, so that an outage does not make a file a second."""
    desk = Desk(tmp_path)
    quiet, busy = desk.writer(), desk.writer()
    folder = desk.place.queue / "busy"
    folder.mkdir()
    for number in range(100):
        (folder / f"{make_stem('a1', number, 'ff', 1)}.seg").touch()
    quiet.put("quiet", items(1))
    busy.put("busy", items(1))
    quiet.rest()
    assert 2 == suffixes(desk).count(".open")
    time.sleep(1.1)

    quiet.rest()
    busy.rest()

    assert ["busy"] == [found.path.parent.name for found in segments(desk.place) if found.suffix == ".open"]


def test_losses_become_a_line(tmp_path: Path) -> None:
    """Once, with all that was lost since the last."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.lose("plan", 2)
    writer.lose("oversize")
    writer.rest()
    writer.lose("plan")
    writer.close()
    writer.close()

    assert [lines.lost({"plan": 2, "oversize": 1}), lines.lost({"plan": 1})] == stored(desk, "counts.signals")


def test_losses_wait_for_consent(tmp_path: Path) -> None:
    """They are no reason to write while off."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.lose("plan")
    desk.stance = Stance(False, "b2")
    writer.rest()
    assert [] == list(segments(desk.place))
    desk.stance = Stance(True, "c3")
    writer.rest()

    assert [lines.lost({"plan": 1})] == stored(desk, "counts.signals")


@pytest.mark.parametrize("channel", ["../up", "reports", ".hidden", "a/b.signals", "reports.signals"])
def test_channel_is_a_safe_folder_name(tmp_path: Path, channel: str) -> None:
    """Inside the queue, never the reports' own folder, and still a folder of signals if it was one."""
    desk = Desk(tmp_path)
    desk.writer().put(channel, items(1))

    (found,) = segments(desk.place)
    assert desk.place.queue == found.path.parent.parent
    assert channel.endswith(".signals") == found.signals


def test_folder_removed_under_a_writer(tmp_path: Path) -> None:
    """`rm -r` loses what was in it, and nothing that comes after."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(1))
    shutil.rmtree(desk.place.folder)

    assert "kept" == writer.put("events", items(2))
    assert items(2) == stored(desk)


@pytest.mark.slow
def test_writer_refuses_only_past_twice_the_quota(tmp_path: Path) -> None:
    """Until then the consumer makes room, oldest first; past it the newest is lost, and counted."""
    desk = Desk(tmp_path, queue_bytes=100_000)
    writer = desk.writer()
    outcomes = [writer.put("events", items("x" * 50_000)) for _ in range(6)]

    assert ["kept"] * 4 + ["full"] * 2 == outcomes
    shutil.rmtree(desk.place.queue / "events")
    time.sleep(1.1)
    writer.rest()
    assert "kept" == writer.put("events", items(1))
    writer.close()
    assert [lines.lost({"quota": 2})] == stored(desk, "counts.signals")


def test_a_queue_that_cannot_be_looked_at_costs_the_events_and_nothing_more(tmp_path: Path) -> None:
    """Past the quota its size is measured: where that fails, the caller hears of a loss, not of an exception."""
    desk = Desk(tmp_path)
    writer = Writer(desk.place, lambda: desk.stance, queue_bytes=1)
    assert "kept" == writer.put("events", items(1))
    shutil.rmtree(desk.place.queue)
    desk.place.queue.symlink_to(desk.place.queue)  # round and round

    assert "full" == writer.put("events", items(2))


def test_threads_share_a_segment(tmp_path: Path) -> None:
    """Every acknowledged line of every thread is there, whole."""
    desk = Desk(tmp_path)
    writer = desk.writer()

    def some(thread: int) -> None:
        for number in range(50):
            assert "kept" == writer.put("events", items(f"{thread}.{number}"))
            if number % 20 == 19:
                writer.close()

    threads = [threading.Thread(target=some, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()

    assert sorted(items(*(f"{thread}.{number}" for thread in range(4) for number in range(50)))) == sorted(stored(desk))
    assert {".seg"} == set(suffixes(desk))


def test_threads_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait while one syncs are served together by the next."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items(0))
    syncs: list[int] = []
    gate = threading.Event()

    def slow(descriptor: int) -> None:
        syncs.append(descriptor)
        gate.wait(5)

    monkeypatch.setattr(os, "fdatasync", slow)
    threads = [threading.Thread(target=writer.put, args=("events", items(number))) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    while len(stored(desk)) < 9:
        time.sleep(0.01)
    gate.set()
    for thread in threads:
        thread.join()

    assert 2 >= len(syncs)


def test_short_write_counts_what_did_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole lines that the disk took are kept; the segment takes no more, and stays `.open`: it may end torn."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    payloads = items(1, 2, 3)
    room = len(lines.frame(payloads[0])) + 5
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:room]))
    assert "full" == writer.put("events", payloads)
    monkeypatch.undo()

    assert "kept" == writer.put("events", items(4))
    writer.close()
    assert [".open", ".seg", ".seg"] == suffixes(desk)
    assert [lines.lost({"full": 2})] == stored(desk, "counts.signals")
    consumer = desk.consumer()
    assert [b'"1"', b'"4"'] == [entry.data for entry in consumer.waiting(9, 999)]
    assert {"full": 2} == consumer.ledger.totals.lost


@pytest.mark.parametrize("short", [False, True], ids=["full", "short once"])
def test_disk_that_is_full_after_the_first_piece_keeps_what_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bool
) -> None:
    """A put of several writes: the lines that got there whole are kept, the others are counted, none is half there, and
    nothing is written behind a piece that did not fit."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    payloads = items(*[f"{number}" * 40_000 for number in range(4)])
    write, sizes = os.write, list[int]()

    def fills_up(descriptor: int, data: bytes) -> int:
        if len(sizes) == 1 and not short:
            raise OSError(errno.ENOSPC, "No space left on device")
        sizes.append(write(descriptor, data[:9] if len(sizes) == 1 else data))
        return sizes[-1]

    monkeypatch.setattr(os, "write", fills_up)
    assert "full" == writer.put("events", payloads)
    monkeypatch.undo()

    writer.close()
    consumer = desk.consumer()
    assert [lines.item_data(payloads[0])] == [entry.data for entry in consumer.waiting(9, 1 << 20)]
    assert [lines.lost({"full": 3})] == stored(desk, "counts.signals")


def test_failed_sync_is_never_tried_again_on_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk holds is unknown then; the next line goes to a new segment."""
    desk = Desk(tmp_path)
    writer = desk.writer()

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    assert "full" == writer.put("events", items(1))
    monkeypatch.undo()
    assert "kept" == writer.put("events", items(2))
    assert 2 == len({found.stem for found in segments(desk.place)})


def test_child_closes_but_never_unlocks(tmp_path: Path) -> None:
    """A forked child writes to segments of its own, under a token of its own; the parent's stay locked."""
    desk = Desk(tmp_path)
    writer = desk.writer()
    writer.put("events", items("parent"))
    writer.lose("plan")
    pid = os.fork()
    if pid == 0:
        writer.after_fork()
        writer.put("events", items("child"))
        writer.close()
        os._exit(0)
    assert (pid, 0) == os.waitpid(pid, 0)

    consumer = desk.consumer()

    assert [b'"child"'] == [entry.data for entry in consumer.waiting(9, 999)]
    assert 2 == len({order(found.stem)[1] for found in segments(desk.place)})
    writer.close()
    consumer.refresh()
    assert {b'"parent"', b'"child"'} == {entry.data for entry in consumer.waiting(9, 999)}
    assert {"plan": 1} == consumer.ledger.totals.lost


def test_listing_passes_over_files_of_others(tmp_path: Path) -> None:
    """What somebody else put into the queue is neither read nor removed."""
    desk = Desk(tmp_path)
    folder = desk.place.queue / "events"
    folder.mkdir()
    for name in ("notes.txt", "a-b-c-d.seg", "a1-1-ff-1.bak"):
        (folder / name).touch()

    desk.consumer()

    assert [] == list(segments(desk.place))
    assert 3 == len(list(folder.iterdir()))
    assert Found(str(folder), "a1-1-ff-1", ".seg").path == folder / "a1-1-ff-1.seg"
