"""The scrub: finds what is damaged and says where, serves none of it, mends what it can, and is never wrong."""
import concurrent.futures
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request

import botocore.exceptions
import pytest

from domicile import DOMICILE, Region, wait_until

MIB = 1 << 20
FORGED = 11
KEY = "very-private-name"       # must be in no log and no answer to an operator


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory(prefix="scrub-") as name:
        yield name


@pytest.fixture(scope="module")
def regions(folder):
    bj = Region(folder, "cn-bj", "CN").start()
    sg = Region(folder, "sg", "SG", beside=bj).start()
    yield bj, sg
    sg.stop()
    bj.stop()


@pytest.fixture(scope="module")
def bodies():
    return {"large": os.urandom(9 * MIB), "middle": os.urandom(MIB), "small": b"small"}


@pytest.fixture(scope="module")
def accounts(regions, bodies):
    """Three accounts in the order of their ids, each with an object in chunks, and others."""
    bj = regions[0]
    made = sorted((bj.account("IN") for _ in range(3)), key=lambda a: a["account"])
    for account in made:
        s3 = bj.client(account)
        s3.create_bucket(Bucket="things")
        s3.put_object(Bucket="things", Key=KEY, Body=bodies["large"])
        s3.put_object(Bucket="things", Key="middle", Body=bodies["middle"])
        s3.put_object(Bucket="things", Key="small", Body=bodies["small"])
    return made


def scrub(region, *words, timeout=120):
    """(exit code, the last JSON that was printed)"""
    done = subprocess.run([DOMICILE, "region", "scrub", *words, "--json", "--config", region.config],
                          capture_output=True, text=True, timeout=timeout)
    assert done.returncode in (0, FORGED), done.stderr
    assert KEY not in done.stdout + done.stderr
    if "--now" in words or "--account" in words:
        return done.returncode, json.loads(done.stdout.splitlines()[-1])
    return done.returncode, json.loads(done.stdout)


def fast(region, *words):
    return scrub(region, *words, "--rate", "10GiB")


def chunk_folder(region, account, service=2):
    return region.folder / region.name / "store" / "chunks" / account[:2] / f"{account}.{service}"


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def code_and_status(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


def metric(region, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{region.port + 3}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def test_what_nobody_has_touched_is_whole(regions, accounts):
    code, said = fast(regions[0], "--now")
    assert (code, said["damaged"], said["accounts"]) == (0, 0, 3), said
    assert said["bytes"] > 3 * 10 * MIB and said["chunks"] == 3 * 4
    assert said["was_through"] and said["last"]["accounts"] == 3
    assert metric(regions[0], "domicile_scrub_damaged") == 0
    assert metric(regions[0], "domicile_scrub_passes_total") >= 1


@pytest.fixture
def damaged(regions, accounts, bodies):
    """A byte of the first account's large object is wrong; its chunk file."""
    path = max(chunk_folder(regions[0], accounts[0]["account"]).iterdir(), key=lambda f: f.stat().st_size)
    flip(path, 3 * MIB)
    yield path
    if path.exists():
        flip(path, 3 * MIB)


def test_one_wrong_byte_is_found_and_named_by_numbers_alone(regions, accounts, damaged):
    bj = regions[0]
    code, said = fast(bj, "--now")
    assert (code, said["damaged"], said["damaged_accounts"]) == (FORGED, 1, 1), said
    one, = said["damages"]
    assert (one["account"], one["service"], one["kind"], one["chunk"]) == \
        (accounts[0]["account"], "files", "chunk", damaged.name)
    assert one["row"] > 0
    assert scrub(bj, "--list") == (FORGED, [one])
    assert metric(bj, "domicile_scrub_damaged") == 1
    assert f"chunk={damaged.name}" in bj.log() and KEY not in bj.log()
    plain = subprocess.run([DOMICILE, "region", "scrub", "--config", bj.config], capture_output=True, text=True)
    assert plain.returncode == FORGED and f"chunk {damaged.name}" in plain.stdout
    assert fast(bj, "--account", accounts[1]["account"])[0] == 0
    assert fast(bj, "--account", accounts[0]["account"])[0] == FORGED


def test_nothing_of_it_is_served(regions, accounts, bodies, damaged):
    s3 = regions[0].client(accounts[0])
    where = {"Bucket": "things", "Key": KEY}
    got = b""
    with pytest.raises(Exception):          # the connection is broken off
        for piece in s3.get_object(**where)["Body"].iter_chunks(65536):
            got += piece
    assert len(got) < 9 * MIB and bodies["large"].startswith(got)

    # Only those segments are damaged that the byte lies in: parts of the object are right or refused.
    right = refused = 0
    for at in range(0, 9 * MIB, 512 * 1024):
        part = {"Range": f"bytes={at}-{at + 65535}", **where}
        try:
            assert s3.get_object(**part)["Body"].read() == bodies["large"][at:at + 65536]
            right += 1
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
            refused += 1
    assert right > 10
    wrong = next(at for at in range(2 * MIB, 9 * MIB, 65536)
                 if not is_readable(s3, where, at))
    assert code_and_status(s3.get_object, Range=f"bytes={wrong}-{wrong + 1000}", **where) == ("InternalError", 500)

    source = {"CopySource": f"things/{KEY}"}
    assert code_and_status(s3.copy_object, Bucket="things", Key="copy", **source) == ("InternalError", 500)
    upload = s3.create_multipart_upload(Bucket="things", Key="parts")["UploadId"]
    assert code_and_status(s3.upload_part_copy, Bucket="things", Key="parts", UploadId=upload, PartNumber=1,
                           **source) == ("InternalError", 500)
    s3.abort_multipart_upload(Bucket="things", Key="parts", UploadId=upload)
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="things")["Contents"]] == ["middle", "small", KEY]
    assert s3.get_object(Bucket="things", Key="middle")["Body"].read() == bodies["middle"]


def is_readable(s3, where, at):
    try:
        s3.get_object(Range=f"bytes={at}-{at + 65535}", **where)["Body"].read()
        return True
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
        return False


def test_what_is_written_anew_is_whole_again(regions, accounts, bodies, damaged):
    bj = regions[0]
    assert fast(bj, "--now")[0] == FORGED
    s3 = bj.client(accounts[0])
    s3.put_object(Bucket="things", Key=KEY, Body=bodies["large"])
    assert fast(bj, "--account", accounts[0]["account"])[0] == 0
    assert scrub(bj, "--list") == (0, [])
    assert "scrub.whole" in bj.log()
    assert s3.get_object(Bucket="things", Key=KEY)["Body"].read() == bodies["large"]


def test_what_is_left_over_goes(regions, accounts):
    bj = regions[0]
    stray = chunk_folder(bj, accounts[1]["account"]) / ("5a" * 16)
    stray.write_bytes(b"left by a crash")
    nobodys = chunk_folder(bj, "0123456789abcdef" * 2)
    nobodys.mkdir()
    (nobodys / ("a5" * 16)).write_bytes(b"of an account that is not here")
    code, said = fast(bj, "--now")
    assert code == 0 and said["mended"]["chunk-files"] == 1 and said["mended"]["vaults"] == 1, said
    assert not stray.exists()
    wait_until(lambda: not nobodys.exists())
    assert metric(bj, "domicile_scrub_mended_total") >= 2
    assert fast(bj, "--now")[1]["mended"]["chunk-files"] == 0


def test_a_pass_outlives_the_command_and_the_node(regions, accounts):
    bj = regions[0]
    words = [DOMICILE, "region", "scrub", "--now", "--json", "--rate", "2MiB", "--config", bj.config]
    slowly = [*words[:5], "--rate", "64KiB", "--config", bj.config]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as watching:
        wait_until(lambda: (status := scrub(bj)[1])["is_asked"] and status["accounts"] >= 1)
        slow = subprocess.Popen(slowly, stdout=subprocess.PIPE, text=True)      # it does not end meanwhile
        watching.send_signal(signal.SIGINT)
    assert scrub(bj)[1]["is_asked"]
    with slow as watching:
        assert json.loads(watching.stdout.readline())["is_asked"]
        bj.stop(signal.SIGKILL)
        bj.start()
        status = scrub(bj)[1]
        assert status["is_asked"] and status["accounts"] >= 1, status
        subprocess.run([*words[:3], "--now", "--rate", "10GiB", "--config", bj.config], check=True)
        last = json.loads(watching.communicate(timeout=120)[0].splitlines()[-1])
    assert last["was_through"] and last["accounts"] == 3 and watching.returncode == 0

    with subprocess.Popen(slowly, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as watching:
        wait_until(lambda: scrub(bj)[1]["is_asked"])
        bj.command("region", "scrub", "--stop")
        assert watching.wait(60) == 17      # cancelled
    assert not scrub(bj)[1]["is_asked"]


def test_writers_and_moves_are_no_alarm(regions, accounts, bodies):
    bj, sg = regions
    began, stopping, written = time.monotonic(), threading.Event(), [0] * len(accounts)

    def write(i):
        s3 = bj.client(accounts[i], read_timeout=120)
        while not stopping.is_set():
            s3.put_object(Bucket="things", Key=f"busy-{written[i] % 4}", Body=bodies["middle"][:200000])
            if written[i] % 3 == 0:
                s3.delete_object(Bucket="things", Key=f"busy-{written[i] % 4}")
            written[i] += 1

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        writing = [pool.submit(write, i) for i in range(len(accounts))]
        here, there = bj, sg
        try:
            while time.monotonic() - began < 4 or min(written) < 4:
                assert time.monotonic() - began < 180 and not any(w.done() for w in writing), written
                wave = here.wave_to(there)
                for region in (bj, sg):
                    code, said = fast(region, "--now")
                    assert (code, said["damages"]) == (0, []), said
                here.wait_wave(wave)
                here, there = there, here
        finally:
            stopping.set()
        for one in writing:
            one.result(120)
    for region in (bj, sg):
        assert fast(region, "--now")[0] == 0
    wait_until(lambda: '"erasing": 0' in here.command("region", "status", "--json"))
    if here is sg:
        bj_back = sg.wave_to(bj)
        sg.wait_wave(bj_back)


def test_a_damaged_account_stays_and_the_others_move(regions, accounts, bodies, damaged):
    bj, sg = regions
    wave = bj.wave_to(sg)

    def left():
        return json.loads(bj.command("wave", "items", wave, "--json"))

    def settled():
        return all(i["state"] in ("erased", "put-off", "failed") and (i["state"] == "erased" or i["reason"])
                   for i in left())
    wait_until(settled)
    states = {i["account"]: i for i in left()}
    assert [states[a["account"]]["state"] for a in accounts[1:]] == ["erased"] * 2, states
    # Between two tries it may be said that the one before is not cleared away yet.
    wait_until(lambda: any(f"chunk {damaged.name}" in i["reason"] for i in left()))
    assert bj.home(accounts[0]) == "cn-bj"
    s3 = bj.client(accounts[0])
    assert s3.get_object(Bucket="things", Key="middle")["Body"].read() == bodies["middle"]
    s3.put_object(Bucket="things", Key="new", Body=b"new")
    assert not is_readable_whole(s3)
    assert sg.client(accounts[1]).get_object(Bucket="things", Key=KEY)["Body"].read() == bodies["large"]
    assert fast(sg, "--now")[0] == 0 and fast(bj, "--now")[0] == FORGED

    # Mended (here: written anew), it moves.
    s3.put_object(Bucket="things", Key=KEY, Body=bodies["large"])
    bj.command("wave", "retry", wave)
    bj.wait_wave(wave)
    assert bj.home(accounts[0]) == "sg"
    assert scrub(bj, "--list") == (0, [])       # it went with the account


def is_readable_whole(s3):
    try:
        return len(s3.get_object(Bucket="things", Key=KEY)["Body"].read()) == 9 * MIB
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
        return False
