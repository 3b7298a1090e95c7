"""Moves over bad lines, without the directory, under a plan that changes, and beneath slow uploads.

Promises one-home, no-loss, no-outage and gone where what lies between the two regions fails: the
directory, a process of its own here, is killed or away; a relay makes the lines between the regions
slow, far, cut or silent; the operator pauses, cancels and limits a wave; clients take long to send.
"""
import datetime
import hashlib
import http.client
import os
import random
import threading
import time

import pytest

from test_00_relay import Relay
from test_30_move import Pair, Writer
import s3
from world import DOMICILE, Failure, Region, World, run

MIB = 1 << 20
LEASE = 2.0             # s; for reads of a fenced account
PORT = [25000]


class Directory(Region):
    """A node that serves the directory and holds no accounts."""

    def __init__(self, world, port):
        self.world, self.name, self.port, self.process = world, "dir", port, None
        self.dir = os.path.join(world.dir, "dir")
        self.conf = os.path.join(self.dir, "region.conf")
        run(DOMICILE, "region", "init", self.dir, "--region", "dir", "--jurisdiction", "SG",
            "--ca", world.ca_dir, "--port-base", port, "--directory-only")
        self.metrics = self.word("metrics_listen")


class Lines:
    """Relays between cn-bj and sg: stream and peer port of each, as the other reaches it."""

    def __init__(self, folder, pair, rtt_ms):
        self.relays = {}
        regions = os.path.join(pair.world.ca_dir, "regions.conf")
        with open(regions) as f:
            text = f.read()
        for region in (pair.source, pair.target):
            for kind in ("stream", "peer"):
                address = region.word(kind + "_listen")
                control = folder / f"{region.name}-{kind}"
                control.mkdir()
                relay = Relay(control, address.rsplit(":", 1)[1], rtt_ms)
                self.relays[region.name, kind] = relay
                text = text.replace(f"{kind} = {address}\n", f"{kind} = 127.0.0.1:{relay.port}\n")
        with open(regions, "w") as f:
            f.write(text)
        with open(pair.target.conf) as f:
            text = f.read()
        directory, far = pair.source.word("peer_listen"), self.relays["cn-bj", "peer"].port
        assert f"directory_at = cn-bj={directory}" in text
        with open(pair.target.conf, "w") as f:
            f.write(text.replace(f"cn-bj={directory}", f"cn-bj=127.0.0.1:{far}"))

    def order(self, order, *kinds, value=""):
        for (_, kind), relay in self.relays.items():
            if kind in (kinds or ("stream", "peer")):
                assert relay.order(f"{order} {relay.port} {value}".strip()) == "ok"

    def close(self):
        for relay in self.relays.values():
            relay.close()


class Place(Pair):
    """A Pair whose directory is APART, or that has LINES between its regions."""

    def __init__(self, folder, apart=False, rtt_ms=None, large=9 * MIB, **words):
        PORT[0] += 40
        self.world = World(str(folder), PORT[0])
        self.directory = self.lines = None
        if apart:
            self.directory = self.world.regions["dir"] = Directory(self.world, PORT[0]).start()
        self.source = self.entry = self.world.add_region("cn-bj", "CN", relays=False)
        self.accounts = self.source.json("account", "create", "--country", "MY",
                                         "--grant", "files,backup", "--count", 3)
        self.target = self.world.add_region("sg", "SG", relays=False)
        if rtt_ms is not None:
            self.lines = Lines(folder, self, rtt_ms)
        for region in (self.source, self.target):
            if words or self.lines:
                region.stop()
                with open(region.conf, "a") as f:
                    f.writelines(f"{word} = {value}\n" for word, value in words.items())
                region.start()
        self.tls = s3.context(self.world.ca)
        self.contents = [{}, {}, {}]
        self.put(0, "/live/", None)
        self.put(1, "/files/", None)
        self.put(1, "/files/large", random.Random(large).randbytes(large))
        self.put(2, "/small/", None)
        for i in range(20):
            self.put(2, f"/small/{i}", random.Random(i).randbytes(100 + i * 3000))

    def stop(self):
        self.world.stop()
        if self.lines:
            self.lines.close()

    def restart_at(self, step):
        """The side whose step that is, started anew to stop there."""
        side = self.source if step.startswith("source.") else self.target
        side.stop()
        side.start(DOMICILE_STOP_AT=step)
        return side

    def home(self, i):
        return self.source.json("account", "show", self.accounts[i]["account"])["home"]

    def arrived(self, i):
        """Records of the account that lie in the target's store."""
        return self.target.json("region", "sample", self.accounts[i]["account"])["records"]


@pytest.fixture
def place(tmp_path):
    made = []

    def make(**options):
        made.append(Place(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def wait_for(condition, timeout=60, every=0.05):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(every)


def ask(client, method, path, body=None):
    """(status, Retry-After) over a connection of its own."""
    connection = http.client.HTTPSConnection(*client.address, timeout=40, context=client.tls)
    connection.request(method, path, body, client._headers(method, path, ""))
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers["Retry-After"]


class Reader(threading.Thread):
    """Reads one object without pause; remembers every answer that was not its content."""

    def __init__(self, place, account, path):
        super().__init__(daemon=True)
        self.client = s3.Client(place.source.s3, place.accounts[account], place.tls)
        self.path = path
        self.content, self.failed, self.reads = place.contents[account][path], [], 0
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.is_set():
            status, body = self.client.request("GET", self.path)
            self.reads += 1
            if status != 200 or body != self.content:
                self.failed.append(status)
            time.sleep(0.01)

    def stop(self):
        self.stopping.set()
        self.join(60)
        assert not self.is_alive()


# --- the directory is away ---

@pytest.mark.parametrize("step", ["source.sealed", "target.prepared", "target.swapped"])
def test_the_directory_is_killed_while_a_side_stands_at(place, step):
    place = place(apart=True)
    side = place.restart_at(step)
    writer = Writer(place)
    writer.start()
    wave = place.move()
    side.wait_stopped()
    place.directory.kill()
    side.go_on()
    time.sleep(2.5)
    place.directory.start()
    place.wait_done(wave)
    writer.stop()
    place.check(place.target, place.source, writer)
    assert set(writer.refused) <= {503}


def test_without_the_directory_accounts_are_served_and_only_moves_and_sign_ups_wait(place):
    place = place(apart=True)
    clients = [s3.Client(region.s3, place.accounts[2], place.tls)
               for region in (place.source, place.target)]
    for client in clients:
        assert client.request("GET", "/small/3") == (200, place.contents[2]["/small/3"])
    place.directory.kill()
    for client in clients:                  # at home, and where the way there is known
        assert client.request("PUT", "/small/3", b"new")[0] == 200
        assert client.request("GET", "/small/3") == (200, b"new")
    for words in (["account", "create", "--country", "MY"],
                  ["wave", "plan", "--from", "cn-bj", "--to", "sg"]):
        with pytest.raises(Failure, match="dir"):
            place.source.cli(*words)
    other = s3.Client(place.target.s3, place.accounts[1], place.tls)
    status, retry_after = ask(other, "GET", "/files/large")
    assert status == 503 and retry_after    # nobody here knows the way
    place.directory.start()
    assert other.request("GET", "/files/large")[0] == 200
    place.source.cli("account", "create", "--country", "MY")


def test_a_fence_without_the_directory_answers_retry_after_and_opens_when_it_is_back(place):
    place = place(apart=True, hold="1500 ms")
    side = place.restart_at("target.prepared")
    reader = Reader(place, 2, "/small/19")  # an account that stays
    reader.start()
    client = s3.Client(place.source.s3, place.accounts[1], place.tls)
    assert client.request("GET", "/files/none")[0] == 404
    with open(os.path.join(place.world.dir, "some"), "w") as f:
        f.write(place.accounts[1]["account"])
    began = time.monotonic()
    wave = place.move(words=["--accounts", f.name])
    side.wait_stopped()
    place.directory.kill()
    status, _ = client.request("GET", "/files/large")
    assert status == 200 or time.monotonic() - began > LEASE    # so long a fenced account is read
    side.go_on()
    status, retry_after = ask(client, "PUT", "/files/late", b"1")
    assert status == 503 and retry_after
    time.sleep(LEASE)
    for path in ("/files/large", "/files/none"):
        status, retry_after = ask(client, "GET", path)
        assert status == 503 and retry_after
    place.directory.start()
    wait_for(lambda: ask(client, "PUT", "/files/late", b"2")[0] == 200)
    place.contents[1]["/files/late"] = b"2"
    place.wait_done(wave)
    wait_for(lambda: reader.reads > 50)
    reader.stop()
    assert reader.failed == []
    place.accounts, place.contents = place.accounts[1:2], place.contents[1:2]
    place.check(place.target, place.source)


@pytest.mark.parametrize("when", ["copying", "sealed"])
def test_a_wave_that_is_cancelled_while_its_source_is_dead_ends(place, when):
    place = place(apart=True)
    if when == "sealed":
        place.restart_at("source.sealed")
        wave = place.move()
        place.source.wait_stopped()
    else:
        wave = place.move(words=["--rate", "256KiB"])
        wait_for(lambda: "moving" in states(place, wave))
    place.source.kill()
    place.target.cli("wave", "cancel", wave)
    place.source.start()
    wait_for(lambda: set(states(place, wave)) <= {"cancelled", "erased"})
    assert when == "sealed" or "cancelled" in states(place, wave)
    accounts, contents = place.accounts, place.contents
    for i in range(3):
        home, other = place.source, place.target
        if place.home(i) == "sg":
            home, other = other, home
        else:
            wait_for(lambda: not place.arrived(i))
        place.accounts, place.contents = accounts[i:i + 1], contents[i:i + 1]
        place.check(home, other)
        place.accounts, place.contents = accounts, contents


def states(place, wave):
    return [item["state"] for item in place.target.json("wave", "items", wave)]


# --- the line is bad ---

def test_a_slow_line_moves_everything_and_refuses_nobody(place):
    place = place(rtt_ms=0)
    place.lines.order("limit", "stream", value=4 * MIB)
    writer = Writer(place)
    writer.start()
    began = time.monotonic()
    place.wait_done(place.move())
    assert time.monotonic() - began > 1.5
    writer.stop()
    assert writer.refused == []
    place.check(place.target, place.source, writer)


def test_a_far_line_moves_everything_with_a_pause_of_few_round_trips(place):
    place = place(rtt_ms=80)
    here, there, pauses = place.source, place.target, []
    while not pauses or min(pauses) >= 1_500_000:   # a busy machine adds to some
        assert len(pauses) < 8, pauses
        writer = Writer(place)
        writer.start()
        status = place.wait_done(place.move(here, there))
        writer.stop()
        assert writer.refused == []
        pauses.append(status["pause_us"]["max"])
        place.check(there, here, writer)
        here, there = there, here


def test_a_cut_within_a_large_copy_leaves_nothing_and_the_next_attempt_succeeds(place):
    place = place(rtt_ms=0)
    place.lines.order("limit", "stream", value=MIB // 2)
    wave = place.move()
    wait_for(lambda: place.arrived(1))
    place.lines.order("cut")
    assert place.home(1) == "cn-bj"
    wait_for(lambda: not place.arrived(1))
    place.put(1, "/files/late", b"written while the line is cut")
    place.lines.order("limit", "stream", value=0)
    place.lines.order("heal")
    place.wait_done(wave)
    place.check(place.target, place.source)


@pytest.mark.parametrize("how", ["cut", "stall"])
@pytest.mark.parametrize("kinds", ["stream", "stream peer"])
def test_the_answer_to_a_seal_is_lost(place, how, kinds):
    """With the peer port the destination can't reach the directory: the move is taken back."""
    place = place(rtt_ms=0)
    side = place.restart_at("target.sealed")
    writer = Writer(place)
    writer.start()
    wave = place.move()
    side.wait_stopped()
    place.lines.order(how, *kinds.split())
    side.go_on()
    # Longer than the 5 s that the source waits for an answer, if the line just says nothing.
    time.sleep(7 if how == "stall" else 1.5)
    place.lines.order("heal")
    place.wait_done(wave)
    writer.stop()
    assert set(writer.refused) <= {503}
    place.check(place.target, place.source, writer)


# --- the plan changes ---

class Land(Place):
    """A Place for many waves; each test makes its own accounts."""

    def make(self, *sizes):
        self.accounts = self.source.json("account", "create", "--country", "MY",
                                         "--grant", "files", "--count", len(sizes))
        self.contents = [{} for _ in sizes]
        for i, size in enumerate(sizes):
            self.put(i, "/files/", None)
            self.put(i, "/files/a", random.Random(size + i).randbytes(size))

    def list_file(self):
        path = os.path.join(self.world.dir, "accounts")
        with open(path, "w") as f:
            f.writelines(a["account"] + "\n" for a in self.accounts)
        return path

    def wave(self, *words):
        return self.move(words=["--accounts", self.list_file(), *words])

    def status(self, wave):
        return self.source.json("wave", "status", wave)


@pytest.fixture(scope="module")
def land(tmp_path_factory):
    made = Land(tmp_path_factory.mktemp("land"))
    yield made
    made.stop()


def test_a_cancelled_wave_leaves_its_accounts_at_home_and_nothing_abroad(land):
    land.make(9 * MIB)
    wave = land.wave("--rate", "256KiB")
    wait_for(lambda: land.arrived(0))
    land.source.cli("wave", "cancel", wave)
    status = land.wait_done(wave)
    assert status["state"] == "cancelled"
    wait_for(lambda: land.status(wave)["items"]["cancelled"] == 1)
    wait_for(lambda: not land.arrived(0))
    land.put(0, "/files/late", b"1")
    land.check(land.source, land.target)
    with pytest.raises(Failure):
        land.source.cli("wave", "resume", wave)
    land.wait_done(land.wave())
    land.check(land.target, land.source)


def test_a_paused_wave_rests_and_goes_on_no_faster_than_its_rate(land):
    land.make(8 * MIB)
    wave = land.wave("--rate", "1MiB")
    wait_for(lambda: land.arrived(0))
    land.source.cli("wave", "pause", wave)
    wait_for(lambda: not land.arrived(0))
    time.sleep(4)
    assert land.status(wave)["state"] == "paused" and land.home(0) == "cn-bj"
    land.put(0, "/files/late", b"1")
    began = time.monotonic()
    land.source.cli("wave", "resume", wave)
    land.wait_done(wave)
    assert time.monotonic() - began > 5     # 8 MiB take 8 s
    land.check(land.target, land.source)


def test_the_accounts_a_second_are_kept(land):
    land.make(*[100] * 7)
    began = time.monotonic()
    land.wait_done(land.wave("--accounts-per-second", "3"))
    assert time.monotonic() - began > 1.5
    land.check(land.target, land.source)


def test_a_wave_ends_soon_though_an_account_of_it_was_removed(land):
    land.make(100, 200, 300)
    accounts = list(land.accounts)
    wave = land.source.json("wave", "plan", "--from", "cn-bj", "--to", "sg", "--accounts", land.list_file())["wave"]["id"]
    land.source.cli("account", "remove", accounts[1]["account"], "--yes")
    land.source.cli("wave", "run", wave)
    status = land.wait_done(wave)
    tries = {item["account"]: item["tries"] for item in land.source.json("wave", "items", wave)}
    assert tries[accounts[1]["account"]] <= 1, "a removed account is not tried again"
    assert status["state"] == "done" and status["items"]["cancelled"] == 1 and status["items"]["erased"] == 2
    assert "removed" in status["reasons"][0]["reason"]


def set_policy(land, regions, *reloaded):
    """Where accounts of Malaysia may live, from now on; None: as anybody's."""
    path = os.path.join(land.world.ca_dir, "regions.conf")
    with open(path) as f:
        text = f.read().partition("\n[policy MY]")[0]
    with open(path, "w") as f:
        f.write(text + (f"\n[policy MY]\nregions = {regions}\n" if regions else ""))
    for region in reloaded:
        region.reload()


def test_a_wave_against_the_policy_is_refused_and_says_why(land):
    land.make(100)
    set_policy(land, "cn-bj", land.source, land.target)
    try:
        with pytest.raises(Failure, match="1 accounts of MY.*sg"):
            land.wave()
    finally:
        set_policy(land, None, land.source, land.target)
    land.wait_done(land.wave())


def test_a_destination_that_refuses_is_tried_again_and_shown_with_its_reason(land):
    land.make(100)
    set_policy(land, "cn-bj", land.target)  # only the destination knows of it yet
    try:
        wave = land.wave()
        wait_for(lambda: (status := land.status(wave))["items"]["put-off"] == 1 and "MY" in status["reasons"][0]["reason"])
        land.check(land.source, land.target)
    finally:
        set_policy(land, None, land.source, land.target)
    land.source.cli("wave", "retry", wave)
    assert land.wait_done(wave)["items"]["erased"] == 1
    land.check(land.target, land.source)


def test_quiet_hours_hold_a_wave(land):
    land.make(100)
    now = datetime.datetime.utcnow()
    hours = [(now + datetime.timedelta(minutes=m)).strftime("%H:%M") for m in (-5, 30, 60, 90)]
    wave = land.wave("--quiet", f"{hours[0]}-{hours[1]}")
    time.sleep(2)
    assert land.status(wave)["state"] == "running" and land.home(0) == "cn-bj"
    land.source.cli("wave", "cancel", wave)
    land.wait_done(wave)
    land.wait_done(land.wave("--quiet", f"{hours[2]}-{hours[3]}"))
    land.check(land.target, land.source)


# --- slow uploads ---

class Upload:
    """A PUT of N pieces of 1 MiB, sent bit by bit."""

    def __init__(self, place, path, pieces):
        client = s3.Client(place.source.s3, place.accounts[0], place.tls)
        self.pieces, self.sent, self.digest = pieces, 0, hashlib.sha256()
        self.random = random.Random(pieces)
        self.connection = http.client.HTTPSConnection(*client.address, timeout=60,
                                                      context=client.tls)
        self.connection.putrequest("PUT", path, skip_host=True, skip_accept_encoding=True)
        headers = {**client._headers("PUT", path, ""), "Content-Length": pieces * MIB}
        for name, value in headers.items():
            self.connection.putheader(name, value)
        self.connection.endheaders()

    def send_until(self, done, wait=0.0, most=None):
        """No more than MOST pieces before DONE."""
        while self.sent < self.pieces and not done():
            if self.sent == most:
                time.sleep(0.05)
                continue
            piece = self.random.randbytes(MIB)
            self.digest.update(piece)
            self.connection.send(piece)
            self.sent += 1
            time.sleep(wait)

    def answer(self):
        answer = self.connection.getresponse()
        return answer.status, answer.read()


def test_a_large_slow_upload_is_carried_over_by_the_move(land):
    land.make(100)
    upload = Upload(land, "/files/slow", 200)
    upload.send_until(lambda: upload.sent == 80)
    wave = land.wave()
    upload.send_until(lambda: land.home(0) == "sg", wait=0.05, most=150)
    assert 80 <= upload.sent <= 150, "the move was to come in the middle"
    upload.send_until(lambda: False, wait=0.01)
    assert upload.answer() == (200, b"")
    land.wait_done(wave)
    for region in (land.target, land.source):
        client = s3.Client(region.s3, land.accounts[0], land.tls)
        status, body = client.request("GET", "/files/slow")
        assert status == 200 and hashlib.sha256(body).digest() == upload.digest.digest()
    land.check(land.target, land.source)


def test_a_multipart_upload_moves_with_its_account(land):
    land.make(100)
    client = s3.Client(land.source.s3, land.accounts[0], land.tls)
    status, body = client.request("POST", "/files/parts", query="uploads=")
    assert status == 200, body
    upload = body.decode().partition("<UploadId>")[2].partition("<")[0]
    parts = [random.Random(i).randbytes(6 * MIB) for i in range(4)]

    def put(number):
        status, body = client.request("PUT", "/files/parts", parts[number - 1],
                                      f"partNumber={number}&uploadId={upload}")
        assert status == 200, body

    put(1)
    put(3)
    land.wait_done(land.wave())
    put(2)                                  # asked of the old home, carried out at the new one
    client = s3.Client(land.target.s3, land.accounts[0], land.tls)
    put(4)
    etags = [hashlib.md5(part).hexdigest() for part in parts]
    listed = "".join(f"<Part><PartNumber>{i}</PartNumber><ETag>{etag}</ETag></Part>"
                     for i, etag in enumerate(etags, 1))
    complete = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    status, body = client.request("POST", "/files/parts", complete, f"uploadId={upload}")
    assert status == 200 and b"<Error>" not in body, body
    land.contents[0]["/files/parts"] = b"".join(parts)
    land.check(land.target, land.source)
