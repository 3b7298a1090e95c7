"""The torture's own parts: a checker that lets nothing pass, and a disk that loses only what nobody waited for."""
import itertools
import os
import random
import struct
import subprocess
import sys
import time

import pytest

from domicile import BUILD

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torture"))
import content
import disk
import history
import linear
import rot
import schedule
from linear import NEVER, read, refusal, swap, write

GOOD = {
    "nothing": [],
    "one after the other": [write(0, 1, 7), read(2, 3, 7), write(4, 5, None), read(6, 7, None)],
    "a read beside a write sees either": [write(0, 1, 1), write(2, 9, 2), read(3, 4, 1), read(5, 6, 2)],
    "two writes at once in the order that is read": [write(0, 9, 1), write(0, 9, 2), read(10, 11, 1)],
    "a lost write that happened": [write(0, NEVER, 1), read(5, 6, 1)],
    "a lost write that did not": [write(0, NEVER, 1), read(5, 6, None)],
    "a lost write that happened late": [write(0, NEVER, 1), read(5, 6, None), read(7, 8, 1)],
    "lost deletions, each once": [write(0, NEVER, None), write(0, NEVER, None), write(1, 2, 1), read(3, 4, None),
                                  write(5, 6, 2), read(7, 8, None)],
    "a swap": [write(0, 1, 1), swap(2, 3, 1, 2), read(4, 5, 2), refusal(6, 7, 1)],
    "a swap that another's deletion lets through": [write(0, 1, 1), write(2, 9, None), swap(3, 4, None, 2), read(10, 11, 2)],
    "a refusal because of a lost write": [write(0, NEVER, 1), refusal(2, 3, None)],
    "a lost swap after a lost write": [write(0, NEVER, 1), swap(0, NEVER, 1, 2), read(3, 4, 2)],
}
BAD = {
    "a lost update": [write(0, 1, 1), read(2, 3, None)],
    "a stale read": [write(0, 1, 1), write(2, 3, 2), read(4, 5, 1)],
    "a deletion undone": [write(0, 1, 1), write(2, 3, None), read(4, 5, 1)],
    "a value that nobody wrote": [read(0, 1, 9)],
    "reads that go back": [write(0, 9, 1), read(1, 2, 1), read(3, 4, None)],
    "a read of the future": [read(0, 1, 1), write(2, 3, 1)],
    "a lost write read before it began": [read(0, 1, 1), write(2, NEVER, 1)],
    "a lost write that happened twice": [write(0, NEVER, 1), read(1, 2, 1), write(3, 4, 2), read(5, 6, 1)],
    "one lost deletion for two": [write(0, NEVER, None), write(1, 2, 1), read(3, 4, None), write(5, 6, 2), read(7, 8, None)],
    "two swaps from one value": [write(0, 1, 1), swap(2, 9, 1, 2), swap(2, 9, 1, 3)],
    "a refusal without a reason": [write(0, 1, 1), refusal(2, 3, 1)],
    "a creation over something": [write(0, 1, 1), swap(2, 3, None, 2)],
    "two orders of two writes": [write(0, 9, 1), write(0, 9, 2), read(10, 11, 1), read(12, 13, 2)],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_has_an_order_passes(name):
    assert linear.explain(GOOD[name]) is None


@pytest.mark.parametrize("name", BAD)
def test_a_history_without_an_order_is_found(name):
    assert linear.explain(BAD[name])


def by_hand(ops):
    """Every order of every subset, slowly."""
    sure = [op for op in ops if op.end != NEVER]
    lost = [op for op in ops if op.end == NEVER]
    for n in range(len(lost) + 1):
        for some in itertools.combinations(lost, n):
            for order in itertools.permutations(sure + list(some)):
                value = None
                for i, op in enumerate(order):
                    if not linear.fits(op, value) or any(later.end < op.start for later in order[i + 1:]):
                        break
                    value = value if op.sets == linear.SAME else op.sets
                else:
                    return True
    return False


def some_history(draw):
    ops, numbers = [], iter(range(1, 9))
    for _ in range(draw.randint(1, 6)):
        start = draw.randint(0, 9)
        end = draw.choice([start + draw.randint(0, 5)] * 3 + [NEVER])
        seen = draw.choice([None, 1, 2, 3])
        kind = draw.randrange(6)
        ops.append([lambda: read(start, start + 2, seen), lambda: write(start, end, next(numbers)),
                    lambda: write(start, end, next(numbers)), lambda: write(start, end, None),
                    lambda: swap(start, end, seen, next(numbers)), lambda: refusal(start, start + 1, seen)][kind]())
    return ops


def test_the_checker_says_what_trying_every_order_says():
    draw, said = random.Random(5), [0, 0]
    for _ in range(3000):
        ops = some_history(draw)
        has_order = by_hand(ops)
        said[has_order] += 1
        assert (linear.explain(ops) is None) == has_order, ops
    assert min(said) > 500


def test_a_long_history_with_many_lost_answers_is_checked_soon():
    draw, ops, value = random.Random(1), [], None
    for i in range(2000):
        t = 10 * i
        if draw.random() < 0.3:
            ops.append(write(t, NEVER, draw.choice([None, 10000 + i])))
            continue
        if draw.random() < 0.5:
            value = draw.choice([i, None])
            ops.append(write(t, t + 5, value))
        ops.append(read(t + 6, t + 25, value))
    assert linear.explain(ops) is None


# --- records ---

def record(op, status, **more):
    return {"user": 1, "op": op, "key": "0/files/k0", "via": "sg", "began": 1, "ended": 2, "status": status, **more}


@pytest.mark.parametrize("status, why, outcome", [
    (200, None, "yes"), (503, "SlowDown", "lost"), (500, "InternalError", "lost"), (None, "sent ConnectionResetError", "lost"),
    (None, "ConnectionRefusedError", "no"), (412, "PreconditionFailed", "no")])
def test_only_what_can_be_nothing_else_counts_as_a_no(status, why, outcome):
    assert history.outcome(record("create", status, why=why)) == outcome


def test_a_lost_object_is_found_in_a_listing_and_in_an_answer():
    put = record("put", 200, value=1, etag="e")
    listing = {**record("list", 200, keys=["files/k0"], found={}), "key": "0/files", "began": 3, "ended": 4}
    assert linear.explain(history.registers([put, listing])["0/files/k0"])
    listing["found"] = {"files/k0": "e"}
    assert linear.explain(history.registers([put, listing])["0/files/k0"]) is None
    head = {**record("head", 404), "began": 5, "ended": 6}
    assert linear.explain(history.registers([put, head])["0/files/k0"])


def test_answers_that_should_never_be_given_are_named():
    assert history.wrong(record("get", 200, value=-1))
    assert history.wrong(record("put", 404, why="NoSuchBucket"))
    assert history.wrong(record("get", 404, why="NoSuchKey")) is None


def test_torn_content_is_not_taken_for_whole():
    for size in (12, 100, 70000):
        body = content.make(123, size)
        assert content.number_of(body) == 123
        assert content.number_of(body[:-1]) == -1
        if size > 20:
            assert content.number_of(body[:-3] + b"abc") == -1
    assert content.number_of(b"") == -1


# --- the schedule and the disk ---

def test_a_seed_is_a_schedule():
    assert schedule.faults("7", 600) == schedule.faults("7", 600) != schedule.faults("8", 600)
    for seconds in (30, 600):
        assert {f.kind for f in schedule.faults("7", seconds)} == set(schedule.FAULTS)
        for f in schedule.faults("7", seconds):
            assert any(a <= f.at <= b and f.at + f.seconds <= b + 4 for a, b in schedule.busy_windows(seconds))


def below_the_shim(tmp_path, script, prepare=lambda made: None):
    """What a process that runs SCRIPT over the file store/f leaves on its page: {flags, ranges}, and the page."""
    (tmp_path / "store").mkdir(exist_ok=True)
    made = disk.Disk(str(tmp_path / "page"))
    prepare(made)
    shim = str(BUILD / "tests" / "torture" / "libtorture_shim.so")
    if not os.path.exists(shim):
        pytest.skip("built without the library")
    head = f"""
import os, time
def sync():
    try: os.fsync(f)
    except OSError: pass
f = os.open("{tmp_path}/store/f", os.O_RDWR | os.O_CREAT)
"""
    subprocess.run([sys.executable, "-c", head + script + "\nos._exit(0)"], check=True, env={
        **os.environ, "LD_PRELOAD": shim, "TORTURE_PAGE": made.path, "TORTURE_FOLDER": str(tmp_path)})
    return {path: (flags, ranges) for _, flags, ranges, path in made.files()}.get(f"{tmp_path}/store/f"), made


@pytest.mark.parametrize("script, ranges", [
    ("os.write(f, b'x' * 100)", [(0, 100)]),
    ("os.write(f, b'x' * 100); sync()", []),
    ("os.write(f, b'x' * 100); sync(); os.write(f, b'y' * 7); os.write(f, b'z')", [(100, 108)]),
    ("os.write(f, b'x' * 100); sync(); os.pwrite(f, b'y' * 10, 20)", [(20, 30)]),
])
def test_the_library_notes_what_was_not_synced(tmp_path, script, ranges):
    assert below_the_shim(tmp_path, script)[0][1] == ranges


@pytest.mark.parametrize("script, ranges", [
    ("os.write(f, b'x' * 100); sync()", [(0, 100), (0, 100)]),                              # the sync that fails
    ("os.write(f, b'x' * 100); sync(); sync()", [(0, 100)]),                                # this one proves nothing
    ("os.write(f, b'x' * 100); sync(); os.pwrite(f, b'y' * 60, 0); sync()", [(60, 100)]),
    ("os.write(f, b'x' * 100); sync(); os.pwrite(f, b'y' * 200, 0); sync()", []),           # but what is written anew
])
def test_what_a_failed_sync_was_for_stays_in_doubt_until_it_is_written_anew(tmp_path, script, ranges):
    found, made = below_the_shim(tmp_path, script, lambda made: made.order("sync_errors", 1))
    assert found[1] == ranges and made.counts()["failed_syncs"] == 1


def test_a_name_is_durable_once_its_folder_is_synced(tmp_path):
    found, _ = below_the_shim(tmp_path, "sync()")
    assert found[0] & disk.ENTRY_UNSYNCED
    os.remove(tmp_path / "store" / "f")
    found, _ = below_the_shim(tmp_path, f"sync(); d = os.open('{tmp_path}/store', os.O_RDONLY); os.fsync(d)")
    assert not found[0] & disk.ENTRY_UNSYNCED


def test_the_library_sets_the_clock_wrong_and_fails_writes(tmp_path):
    script = """
assert 500 < time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) - WALL < 700
try: os.write(f, b'x'); raise SystemExit(1)
except OSError as e: assert e.errno == 28
assert os.statvfs("/").f_bavail == 0
"""
    wall = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)

    def prepare(made):
        made.order("clock_ns", 600 * 10 ** 9)
        made.order_for("full_until", 60)
    below_the_shim(tmp_path, script.replace("WALL", str(wall)), prepare)


def test_a_power_cut_takes_nothing_that_was_synced(tmp_path):
    made = disk.Disk(str(tmp_path / "page"))
    outcomes = set()
    for seed in range(200):
        path = tmp_path / "000001.log"
        path.write_bytes(b"s" * 1000 + b"u" * 500)
        disk.FILE.pack_into(made.page, disk.FILES_AT, disk.USED, 0, 1000, 1500, 0, 0, str(path).encode())
        struct.pack_into("=Q", made.page, disk.COUNTS_AT + 8 * disk.COUNTS.index("slots"), 1)
        done = made.power_cut(seed)
        left = path.read_bytes()
        assert left[:1000] == b"s" * 1000 and len(left) <= 1500
        assert (left == b"s" * 1000 + b"u" * 500) == (done == [])
        assert list(made.files()) == []
        outcomes.add(done[0][1] if done else "kept")
    assert outcomes == {"kept", "cut", "cut off", "noise", "zeros"}


def test_rot_changes_one_finished_chunk_and_remembers_whose(tmp_path):
    class Node:
        dir = str(tmp_path)
    account, content, outcomes = "ab" * 16, random.Random(1).randbytes(5000), set()
    folder = tmp_path / "store" / "chunks" / "ab" / f"{account}.2"
    folder.mkdir(parents=True)
    made, chunk, part = rot.Rot(), folder / ("0" * 32), folder / ("1" * 32 + ".part")
    part.write_bytes(content)
    before = time.monotonic_ns()
    assert rot.Rot().strike(Node, 0) is None
    for seed in range(100):
        chunk.write_bytes(content)
        path, way = made.strike(Node, seed)
        assert path == str(chunk) and (not chunk.exists() if way == "gone" else chunk.read_bytes() != content)
        outcomes.add(way)
    assert outcomes == {"bit", "sector", "cut", "gone"} and part.read_bytes() == content
    assert made.struck == {account: 100}
    assert not made.excuses(account, before) and made.excuses(account, time.monotonic_ns())
    assert not made.excuses("cd" * 16, time.monotonic_ns())
