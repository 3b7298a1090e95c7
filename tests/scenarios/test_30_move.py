"""Promises one-home, no-loss, no-outage and gone, under kill -9 of each side at each step of a move.

Every case: three accounts (one written to all the time, one with a large object, one with small ones), a
wave from cn-bj to sg, one process killed at a named step and started again; then the wave must end, with
exactly one home, every acknowledged write there, and nothing of the accounts anywhere else.
"""
import glob
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "demo"))
import s3
from world import DOMICILE, Failure, World, run

SOURCE_STEPS = ["copying", "opened", "copied", "fenced", "tail", "sealed", "answered", "moved", "learned"]
TARGET_STEPS = ["arriving", "taken", "sealed", "prepared", "swapped", "settled", "answered"]
ERASER_STEPS = ["keys", "records", "compacted", "erased"]


class Writer(threading.Thread):
    """Writes to one account without pause; remembers what was acknowledged and what may be."""

    def __init__(self, pair):
        super().__init__(daemon=True)
        self.pair, self.acked, self.maybe, self.refused = pair, {}, {}, []
        self.stopping, self.writes = threading.Event(), 0

    def run(self):
        client = None
        while not self.stopping.is_set():
            key, value = f"/live/{self.writes % 9}", f"value {self.writes}"
            self.writes += 1
            self.maybe.setdefault(key, []).append(value)
            try:
                client = client or s3.Client(self.pair.address(), self.pair.accounts[0], self.pair.tls, 40)
                status, _ = client.request("PUT", key, value.encode())
                if status == 200:
                    self.acked[key], self.maybe[key] = value, []
                else:
                    self.refused.append(status)
                    time.sleep(0.05)
            except OSError:         # the process was killed: whether it was written is not known
                client = None
                time.sleep(0.1)

    def wait_writes(self, n, timeout=60):
        """Until so many more have ended."""
        wanted, end = self.writes + n, time.monotonic() + timeout
        while self.writes <= wanted:
            assert time.monotonic() < end and self.is_alive()
            time.sleep(0.02)

    def stop(self):
        self.stopping.set()
        self.join(60)
        assert not self.is_alive()


class Pair:
    """cn-bj (with the directory) and sg, and three accounts in cn-bj."""

    def __init__(self, folder, port):
        self.world = World(str(folder), port)
        self.source = self.world.add_region("cn-bj", "CN", relays=False)
        self.accounts = self.source.json("account", "create", "--country", "MY", "--grant", "files,backup",
                                         "--count", 3)
        if isinstance(self.accounts, dict):
            self.accounts = self.accounts["accounts"]
        self.target = self.world.add_region("sg", "SG", relays=False)
        self.tls = s3.context(self.world.ca)
        self.entry = self.source
        self.contents = [{}, {}, {}]
        self.put(0, "/live/", None)
        self.put(1, "/files/", None)
        self.put(1, "/files/large", random.Random(3).randbytes(9 << 20))
        self.put(2, "/backup-a/", None)
        for i in range(40):
            self.put(2, f"/backup-a/{i}", random.Random(i).randbytes(100 + i * 1500))

    def address(self):
        return self.entry.s3

    def put(self, account, path, value):
        client = s3.Client(self.address(), self.accounts[account], self.tls)
        status, body = client.request("PUT", path.rstrip("/"), value)
        assert status == 200, body
        if value is not None:
            self.contents[account][path] = value
        client.close()

    def move(self, source=None, target=None, **more):
        source, target = source or self.source, target or self.target
        plan = source.json("wave", "plan", "--from", source.name, "--to", target.name, *more.get("words", []))
        wave = plan["wave"] if isinstance(plan["wave"], str) else plan["wave"]["id"]
        source.cli("wave", "run", wave)
        return wave

    def wait_done(self, wave, via=None, timeout=180):
        end, status = time.monotonic() + timeout, None
        while time.monotonic() < end:
            try:
                status = (via or self.target).json("wave", "status", wave)
                if status["state"] in ("done", "cancelled"):
                    return status
            except Failure as problem:
                status = problem
            time.sleep(0.1)
        raise AssertionError(f"the wave did not end: {status}\n{self.source.logged()[-3000:]}\n"
                             f"{self.target.logged()[-3000:]}")

    def check(self, home, other, writer=None):
        """One home, everything acknowledged is there, nothing is left at OTHER."""
        for i, account in enumerate(self.accounts):
            shown = self.target.json("account", "show", account["account"])
            assert shown["home"] == home.name
            assert home.json("region", "sample", account["account"])["records"]
            assert other.json("region", "sample", account["account"])["records"] == []
            assert not glob.glob(os.path.join(other.dir, "store", "chunks", account["account"][:2],
                                              account["account"] + ".*", "*"))
            for region in (home, other):        # any region answers for any account
                client = s3.Client(region.s3, account, self.tls)
                for path, value in self.contents[i].items():
                    status, body = client.request("GET", path)
                    assert status == 200 and hashlib.sha256(body).digest() == hashlib.sha256(value).digest()
                client.close()
        if writer:
            client = s3.Client(home.s3, self.accounts[0], self.tls)
            for key, value in writer.acked.items():
                status, body = client.request("GET", key)
                assert status == 200 and body.decode() in [value] + writer.maybe.get(key, []), (key, body, value)
            client.close()

    def certificate(self, region, folder):
        trust, path = os.path.join(folder, "trust"), os.path.join(folder, "c.json")
        os.makedirs(trust, exist_ok=True)
        region.cli("trust", trust)
        region.cli("certificate", self.accounts[1]["account"], "--output", path)
        run(DOMICILE, "verify", path, "--trust", trust)
        with open(path) as f:
            return json.load(f)


PORT = [21000]


@pytest.fixture
def pair(tmp_path):
    PORT[0] += 40
    p = Pair(tmp_path, PORT[0])
    try:
        yield p
    finally:
        p.world.stop()


def test_a_wave_moves_accounts_while_they_are_written_to(pair, tmp_path):
    writer = Writer(pair)
    writer.start()
    writer.wait_writes(5)
    status = pair.wait_done(pair.move())
    assert status["items"]["erased"] == 3
    writer.wait_writes(5)
    writer.stop()
    assert writer.refused == []
    pair.check(pair.target, pair.source, writer)
    verified = pair.source.json("wave", "verify", status["id"])
    assert verified["bad"] == 0 and verified["same"] + verified["changed"] == 3
    assert "erasure" in pair.certificate(pair.source, str(tmp_path))


def test_and_back_again(pair, tmp_path):
    pair.wait_done(pair.move())
    pair.wait_done(pair.move(pair.target, pair.source), via=pair.source)
    pair.check(pair.source, pair.target)


@pytest.mark.parametrize("step", ["source." + s for s in SOURCE_STEPS] + ["eraser." + s for s in ERASER_STEPS])
def test_the_source_is_killed_at(pair, step):
    pair.source.stop()
    pair.source.start(DOMICILE_STOP_AT=step)
    pair.entry = pair.source
    writer = Writer(pair)
    writer.start()
    wave = pair.move()
    pair.source.wait_stopped()
    pair.source.kill()
    pair.source.start()
    pair.wait_done(wave)
    writer.stop()
    pair.check(pair.target, pair.source, writer)


@pytest.mark.parametrize("step", ["target." + s for s in TARGET_STEPS])
def test_the_destination_is_killed_at(pair, step):
    pair.target.stop()
    pair.target.start(DOMICILE_STOP_AT=step)
    writer = Writer(pair)
    writer.start()
    wave = pair.move()
    pair.target.wait_stopped()
    pair.target.kill()
    time.sleep(0.3)
    pair.target.start()
    pair.wait_done(wave)
    writer.stop()
    pair.check(pair.target, pair.source, writer)
