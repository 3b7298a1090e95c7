"""A wave ends although its region was killed before it could tell the directory what it had done."""
import contextlib
import signal
import sqlite3

from domicile import Region

WAVE_RUNNING, ITEM_WAITING, ITEM_MOVED, ITEM_PUT_OFF = 1, 0, 2, 4     # as in directory.h


def forget_the_end(directory, item_state):
    """As the directory was when it had heard of nothing since: the wave runs, its accounts are in ITEM_STATE."""
    with contextlib.closing(sqlite3.connect(directory)) as db, db:
        db.execute("UPDATE wave SET state = ?, finished_ms = 0", [WAVE_RUNNING])
        db.execute("UPDATE item SET state = ?", [item_state])
        db.execute("DELETE FROM tally WHERE items = 0")
        db.execute("UPDATE tally SET state = ?", [item_state])


def test_an_account_that_had_left_is_not_put_off_for_ever(tmp_path):
    source = Region(tmp_path).start()
    target = Region(tmp_path, "hk", "HK", beside=source).start()
    try:
        account = source.account()
        source.client(account).create_bucket(Bucket="photos")
        wave = source.wave_to(target)
        source.wait_wave(wave)
        for state in (ITEM_WAITING, ITEM_PUT_OFF, ITEM_MOVED):
            source.stop(signal.SIGKILL)
            forget_the_end(tmp_path / source.name / "directory.sqlite", state)
            source.start()
            assert source.wait_wave(wave)["items"]["erased"] == 1
            assert target.home(account) == "hk"
            assert [b["Name"] for b in target.client(account).list_buckets()["Buckets"]] == ["photos"]
    finally:
        target.stop()
        source.stop()
