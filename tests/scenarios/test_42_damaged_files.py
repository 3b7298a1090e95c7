"""A byte of the engine's files that had been synced is changed. In a log replay ends there: what was lost is told, and
no account gets a second home by it. In a table those are hit whose records it had, and nobody else: not in what is served,
and not in a backup.
"""
import datetime
import glob
import json
import os
import shutil
import signal
import subprocess
import time

import botocore.exceptions

from domicile import DOMICILE, Region, wait_until
from test_36_standby import make_pair, wait_shipped     # noqa: F401 (a fixture)


def log_of(region):
    return max(glob.glob(str(region.folder / region.name / "store/engine/*.log")), key=os.path.getsize)


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        was = f.read(1)
        f.seek(at)
        f.write(bytes([was[0] ^ 1]))


def wait_stopped(pid):
    for _ in range(2400):
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


def with_a_table(tmp_path):
    """A region, clients of 8 accounts, and a table at least with records of theirs."""
    region = Region(tmp_path)
    with open(region.config, "a") as f:
        f.write("engine_write_buffer = 1MiB\nscrub = off\nmay_write = ..\n")
    region.start()
    return region, fill_a_table(region)


def fill_a_table(region):
    clients = [region.client(region.account()) for _ in range(8)]
    for client in clients:
        client.create_bucket(Bucket="things")
    assert writes(clients, "before", 12) == [0] * 8
    wait_until(lambda: tables_of(region))
    return clients


def tables_of(region):
    return glob.glob(str(region.folder / region.name / "store/engine/*.sst"))


def flip_in_table(region):
    big = max(tables_of(region), key=os.path.getsize)
    flip(big, os.path.getsize(big) // 2)


def test_a_damaged_table_stops_nobody_else(tmp_path):
    region, clients = with_a_table(tmp_path)
    flip_in_table(region)
    refused = writes(clients, "new", 12)                # enough for a compaction to meet it
    assert sum(n > 0 for n in refused) <= 2, refused    # whose records the block had
    region.stop(signal.SIGKILL)
    region.start()
    assert sum(n > 0 for n in writes(clients, "after", 2)) <= 2
    region.stop(signal.SIGKILL)


def command(*words):
    """(exit code, stdout, stderr)"""
    done = subprocess.run([DOMICILE, *map(str, words)], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def back_up(region, folder, *options):
    for _ in range(120):
        code, out, why = command("region", "backup", folder, "--config", region.config, *options)
        if code != 9:                                   # a compaction met it first: the store is opened anew
            break
        time.sleep(0.5)
    return code, out, why


def has_all(client):
    try:
        return all(len(client.get_object(Bucket="things", Key=f"before{i}")["Body"].read()) == 30000 for i in range(12))
    except botocore.exceptions.ClientError:
        return False


def test_a_backup_of_a_damaged_store_is_incomplete_and_says_so(tmp_path):
    region, clients = with_a_table(tmp_path)
    folder = tmp_path / "backup"
    assert back_up(region, folder)[0] == 0
    region.stop(signal.SIGKILL)
    flip_in_table(region)
    region.start()
    code, out, why = back_up(region, folder, "--keep", "1", "--json")
    made = json.loads(out.splitlines()[-1])["backup"]
    assert code == 11 and made["missing"] == made["damaged"] == 1, (out, why)
    gap = made["damages"][0]
    assert gap["kind"] == "missing" and gap["account"] <= gap["to"] and told(region, "backup.missing")
    assert made["accounts"] == 8                        # their home records are in another place
    # The complete one stays.
    code, out, why = command("region", "backup", "--verify", folder)
    assert code == 11 and out.count("generation") == 2 and out.count("INCOMPLETE") == 1, (out, why)
    assert out.endswith(f"{gap['account']}\tto {gap['to']}\tmissing\n"), out
    region.stop()
    shutil.rmtree(region.folder / region.name / "store")
    code, out, why = command("region", "restore", folder, "--config", region.config)
    assert code == 10 and "generation 2 is incomplete" in why, (out, why)
    code, out, why = command("region", "restore", folder, "--config", region.config, "--incomplete")
    assert code == 11 and "INCOMPLETE" in out and out.endswith("\tmissing\n"), (out, why)
    region.start()
    assert sum(has_all(client) for client in clients) >= 6
    region.stop()
    # And without what is newer, but with everything else, from the complete one.
    shutil.rmtree(region.folder / region.name / "store")
    code, out, why = command("region", "restore", folder, "--config", region.config, "--generation", "1")
    assert code == 0 and "INCOMPLETE" not in out, (out, why)
    region.start()
    assert all(has_all(client) for client in clients)
    region.stop()


def copies_begun(region):
    """When, in seconds."""
    return [datetime.datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp()
            for line in told(region, "standby.copy") if "begins" in line]


def test_a_standby_gets_a_whole_copy_or_none(pair):
    p = pair(engine_write_buffer="1MiB", scrub="off")
    p.region.start()
    fill_a_table(p.region)
    p.region.stop()
    big = max(tables_of(p.region), key=os.path.getsize)
    flip(big, os.path.getsize(big) // 2)
    p.region.start()
    p.standby.follow()
    wait_until(lambda: len(copies_begun(p.region)) >= 4, "no copy is tried again")
    p.standby.stop()
    # Each time later than before: half a second, one, two.
    begun = copies_begun(p.region)
    assert all(later - before > 0.5 * 2 ** n - 0.01 for n, (before, later) in enumerate(zip(begun, begun[1:]))), begun
    assert len(told(p.region, "standby.connected")) == 1
    why = sum("can't be read" in line or "orruption" in line for line in told(p.region, "standby.disconnected"))
    assert 1 <= why <= 2, why                           # not each time; again if a connection fails in between
    p.standby.put_keys()
    code, _, why = command("region", "promote", "--config", p.standby.config)
    assert code and "no whole copy" in why, why
    assert len(told(p.region, "standby.unreadable")) == 1
    assert not any("is complete" in line for line in told(p.region, "standby.copy"))
    p.region.stop()
    flip(big, os.path.getsize(big) // 2)                # whole again
    p.region.start()
    p.standby.follow()
    wait_shipped(p.region)
