"""A byte of the engine's files that had been synced is changed. In a log replay ends there: what was lost is told, and
no account gets a second home by it. In a table those are hit whose records it had, and nobody else.
"""
import glob
import os
import signal
import time

import botocore.exceptions

from domicile import Region


def log_of(region):
    return max(glob.glob(str(region.folder / region.name / "store/engine/*.log")), key=os.path.getsize)


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        was = f.read(1)
        f.seek(at)
        f.write(bytes([was[0] ^ 1]))


def wait_stopped(pid):
    for _ in range(600):
        with open(f"/proc/{pid}/stat") as f:
            if f.read().rpartition(")")[2].split()[0] == "T":
                return
        time.sleep(0.05)
    raise AssertionError("it did not come to the step")


def told(region, what):
    return [line for line in region.log_path().read_text().splitlines() if f" {what} " in line]


def test_what_was_durable_and_is_gone_is_told(tmp_path):
    region = Region(tmp_path)
    region.start()
    s3 = region.client(region.account())
    s3.create_bucket(Bucket="things")
    for i in range(30):
        s3.put_object(Bucket="things", Key=f"{i}", Body=os.urandom(3000))
    region.stop(signal.SIGKILL)
    region.start()                                      # nothing is missing
    region.stop(signal.SIGKILL)
    assert told(region, "engine.lost") == []
    big = log_of(region)
    flip(big, os.path.getsize(big) // 2)
    region.start()
    assert len(told(region, "engine.lost")) == 1 and told(region, "store.copied") and told(region, "reconcile.done")
    s3.put_object(Bucket="things", Key="new", Body=b"x")
    region.stop(signal.SIGKILL)
    region.start()                                      # it is told once
    assert len(told(region, "engine.lost")) == 1
    region.stop()


def test_a_home_that_forgot_a_move_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("DOMICILE_STOP_AT", "source.moved")
    source = Region(tmp_path, "cn-bj", "CN").start()
    monkeypatch.undo()
    away = Region(tmp_path, "sg", "SG", beside=source).start()
    account = source.account()
    s3 = source.client(account)
    s3.create_bucket(Bucket="things")
    s3.put_object(Bucket="things", Key="before", Body=os.urandom(3000))
    log = log_of(source)
    size = os.path.getsize(log)
    source.wave_to(away)
    wait_stopped(source.process.pid)
    source.stop(signal.SIGKILL)
    flip(log, size + 20)                                # where the move began
    source.start()
    assert away.home(account) == "sg"
    for region in (source, away):
        region.client(account).put_object(Bucket="things", Key="who", Body=region.name.encode())
    for region in (source, away):
        assert region.client(account).get_object(Bucket="things", Key="who")["Body"].read() == b"sg"
    for region in (source, away):
        region.stop()


def writes(clients, key, n):
    """How many of N writes of each are refused."""
    refused = [0] * len(clients)
    for i in range(n):
        for which, client in enumerate(clients):
            try:
                client.put_object(Bucket="things", Key=f"{key}{i}", Body=os.urandom(30000))
            except botocore.exceptions.ClientError:
                refused[which] += 1
    return refused


def test_a_damaged_table_stops_nobody_else(tmp_path):
    region = Region(tmp_path)
    with open(region.config, "a") as f:
        f.write("engine_write_buffer = 1MiB\nscrub = off\n")
    region.start()
    clients = [region.client(region.account()) for _ in range(8)]
    for client in clients:
        client.create_bucket(Bucket="things")
    assert writes(clients, "before", 12) == [0] * 8
    for _ in range(100):
        tables = glob.glob(str(region.folder / region.name / "store/engine/*.sst"))
        if tables:
            break
        time.sleep(0.1)
    big = max(tables, key=os.path.getmtime)
    flip(big, os.path.getsize(big) // 2)
    refused = writes(clients, "new", 12)                # enough for a compaction to meet it
    assert sum(n > 0 for n in refused) <= 2, refused    # whose records the block had
    region.stop(signal.SIGKILL)
    region.start()
    assert sum(n > 0 for n in writes(clients, "after", 2)) <= 2
    region.stop(signal.SIGKILL)
