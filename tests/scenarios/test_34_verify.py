"""`wave verify` reads again what has moved: it tells the same from the changed and the bad, and nobody
has to wait for it."""
import concurrent.futures
import errno
import json
import os
import pathlib
import subprocess
import time

import pytest

from domicile import DOMICILE, Region, wait_until

MIB = 1 << 20


@pytest.fixture(scope="module")
def regions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    bj = Region(folder, "cn-bj", "CN").start()
    sg = Region(folder, "sg", "SG", beside=bj).start()
    yield bj, sg
    sg.stop()
    bj.stop()


@pytest.fixture(scope="module")
def moved(regions):
    """(wave, accounts), moved from cn-bj to sg; the accounts in the order of their ids."""
    bj, sg = regions
    accounts = sorted((bj.account("IN") for _ in range(3)), key=lambda a: a["account"])
    for account in accounts:
        s3 = bj.client(account)
        for bucket in ("things", "backup-pc"):
            s3.create_bucket(Bucket=bucket)
            s3.put_object(Bucket=bucket, Key="small", Body=b"small")
            s3.put_object(Bucket=bucket, Key="large", Body=os.urandom(5 * MIB))
    wave = bj.wave_to(sg)
    bj.wait_wave(wave)
    return wave, accounts


def verify(region, wave):
    """(exit code, {account: (result, detail)})"""
    done = subprocess.run([DOMICILE, "wave", "verify", wave, "--config", region.config, "--json"],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1), done.stderr
    items = json.loads(done.stdout)["items"]
    return done.returncode, {i["account"]: (i["result"], i["detail"]) for i in items}


def results(found, accounts):
    return [found[a["account"]][0] for a in accounts]


FILES, BACKUP = 2, 3        # numbers of services, as the folders of chunks end in them


def large_chunk(region, account, service):
    """The file of an account's largest chunk of a service."""
    chunks = region.folder / region.name / "store" / "chunks" / account["account"][:2]
    return max((chunks / f"{account['account']}.{service}").iterdir(), key=lambda f: f.stat().st_size)


def test_what_nobody_has_touched_is_the_same(regions, moved):
    wave, accounts = moved
    code, found = verify(regions[0], wave)
    assert (code, results(found, accounts)) == (0, ["same"] * 3), found


def test_what_was_written_to_has_changed(regions, moved):
    wave, accounts = moved
    regions[1].client(accounts[0]).put_object(Bucket="things", Key="new", Body=b"new")
    code, found = verify(regions[0], wave)
    assert (code, results(found, accounts)) == (0, ["changed", "same", "same"]), found


def test_one_wrong_byte_is_bad_and_named(regions, moved):
    wave, accounts = moved
    chunk = large_chunk(regions[1], accounts[2], BACKUP)
    right = chunk.read_bytes()
    chunk.write_bytes(right[:70000] + bytes([right[70000] ^ 1]) + right[70001:])
    code, found = verify(regions[0], wave)
    assert (code, results(found, accounts)) == (1, ["changed", "same", "bad"]), found
    assert found[accounts[2]["account"]][1].startswith(f"backup: chunk {chunk.name}")

    said = subprocess.run([DOMICILE, "wave", "verify", wave, "--config", regions[0].config],
                          capture_output=True, text=True, timeout=120)
    assert said.returncode == 1 and "1 bad" in said.stderr
    line = next(line for line in said.stdout.splitlines() if "\tbad\t" in line)
    assert line.startswith(accounts[2]["account"]) and "backup" in line

    chunk.write_bytes(right)
    assert results(verify(regions[0], wave)[1], accounts) == ["changed", "same", "same"]


def is_opening_a_fifo(region):
    """Whether a thread of its node waits for somebody to write; perhaps, where the kernel does not tell."""
    tasks = pathlib.Path(f"/proc/{region.process.pid}/task").iterdir()
    waits = {(task / "wchan").read_text() for task in tasks if (task / "wchan").exists()}
    return "wait_for_partner" in waits or waits <= {"0", ""}


def open_once_awaited(path, seconds=60):
    """Open a FIFO for writing when someone is opening it for reading."""
    for _ in range(seconds * 20):
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as problem:
            assert problem.errno == errno.ENXIO
            time.sleep(0.05)
    raise AssertionError("nobody reads the chunk")


def test_an_account_is_read_and_written_while_it_is_verified(regions, moved):
    wave, accounts = moved
    s3 = regions[1].client(accounts[1], read_timeout=60)
    chunk = large_chunk(regions[1], accounts[1], FILES)
    chunk.unlink()
    os.mkfifo(chunk)            # so reading it ends when we want it
    verifying = concurrent.futures.ThreadPoolExecutor(1).submit(verify, regions[0], wave)
    time.sleep(1)
    wait_until(lambda: is_opening_a_fifo(regions[1]))
    for i in range(20):
        assert s3.get_object(Bucket="things", Key="small")["Body"].read() == b"small"
        s3.put_object(Bucket="things", Key=f"new-{i}", Body=b"new")
        assert len(s3.list_objects_v2(Bucket="things")["Contents"]) == i + 3
    s3.delete_object(Bucket="things", Key="large")
    time.sleep(1)
    assert not verifying.done()
    assert chunk.exists()       # removed, but not from under those who read it

    os.close(open_once_awaited(chunk))
    code, found = verifying.result(120)
    assert (code, results(found, accounts)) == (0, ["changed", "changed", "same"]), found
    wait_until(lambda: not chunk.exists())
