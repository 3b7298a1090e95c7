"""A region and its standby: what was shipped is there, one of the two serves, what is erased is gone at both."""
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from test_00_relay import Relay
from domicile import DOMICILE, Region, contents, files_below, free_ports, run, wait_until

LEASE = 4.0


class Directory(Region):
    """A node that does nothing but serve the directory."""

    def __init__(self, folder):                 # pylint: disable=super-init-not-called
        self.folder, self.name, self.process = folder, "dir", None
        self.port = free_ports(5)
        self.config = folder / "dir" / "region.conf"
        run(DOMICILE, "ca", "init", folder / "ca")
        run(DOMICILE, "region", "init", folder / "dir", "--region", "dir", "--jurisdiction", "SG",
            "--ca", folder / "ca", "--port-base", self.port, "--directory-only")

class Standby(Region):
    """A standby of REGION; after promote() it is the region."""

    def __init__(self, region, directory):      # pylint: disable=super-init-not-called
        self.folder, self.name, self.process = region.folder, region.name, None
        self.place = f"{region.name}-standby"
        self.ca = region.ca
        self.config = self.folder / self.place / "region.conf"
        self.port = free_ports(5)
        self.region, self.directory = region, directory
        run(DOMICILE, "region", "init", self.folder / self.place, "--standby-of", region.name,
            "--ca", self.folder / "ca", "--port-base", self.port, "--s3-plain",
            "--directory-at", f"dir=127.0.0.1:{directory.port + 1}")
        self.url = f"https://127.0.0.1:{self.port}"
        self.plain_port = self.port + 4

    def follow(self):
        self.launch()
        wait_port(self.port + 2)
        return self

    def launch(self):
        with open(self.log_path(), "ab") as log:
            self.process = subprocess.Popen([DOMICILE, "serve", "--config", self.config], stderr=log,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def log_path(self):
        return self.folder / f"{self.place}.log"

    def put_keys(self):
        for name in ("region.key", "sign.key"):
            shutil.copy(self.folder / self.name / name, self.folder / self.place / name)

    def promote(self):
        self.put_keys()
        return run(DOMICILE, "region", "promote", "--config", self.config)


def wait_port(port, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"nobody listens at {port}")


def set_words(region, **words):
    with open(region.config, "a", encoding="utf-8") as conf:
        for word, value in words.items():
            conf.write(f"{word} = {value}\n")


def status(region):
    return json.loads(region.command("region", "status", "--json"))


def wait_shipped(region, seconds=180):
    def shipped():
        standby = status(region)["standby"]
        return standby["connected"] and not standby["copying"] and standby["lag_versions"] == 0
    wait_until(shipped, "the standby does not come after", seconds)


class Pair:
    """A directory, a region sg and its standby, whose links the test may cut."""

    def __init__(self):
        self.directory = self.region = self.standby = None
        self.links = {}

    def make(self, folder, **words):
        self.folder = folder
        self.directory = Directory(folder)
        self.directory.start()
        self.region = Region.__new__(Region)
        region = self.region
        region.folder, region.name, region.process = folder, "sg", None
        region.ca = folder / "ca" / "ca.pem"
        region.config = folder / "sg" / "region.conf"
        region.port = free_ports(5)
        run(DOMICILE, "region", "init", folder / "sg", "--region", "sg", "--jurisdiction", "SG",
            "--ca", folder / "ca", "--port-base", region.port, "--s3-plain",
            "--directory-at", f"dir=127.0.0.1:{self.link('directory', self.directory.port + 1)}")
        region.url, region.plain_port = f"https://127.0.0.1:{region.port}", region.port + 4
        self.directory.reload()
        self.standby = Standby(region, self.directory)
        set_words(region, standby=f"127.0.0.1:{self.link('standby', self.standby.port + 2)}",
                  standby_lease=f"{int(LEASE * 1000)}ms", **words)

    def link(self, name, to):
        control = self.folder / f"link-{name}"
        control.mkdir()
        self.links[name] = Relay(control, to, 0)
        return self.links[name].port

    def order(self, word, *names):
        """`stall`, `cut` or `heal` links."""
        for name in names:
            assert self.links[name].order(f"{word} {self.links[name].port}") == "ok"

    def close(self):
        for one in (self.region, self.standby, self.directory):
            if one and one.process and one.process.poll() is None:
                one.process.send_signal(signal.SIGCONT)
                one.process.kill()
                one.process.wait(60)
        for link in self.links.values():
            link.close()


@pytest.fixture(name="pair")
def make_pair(tmp_path):
    made = []

    def make(**words):
        made.append(Pair())
        made[0].make(tmp_path, **words)
        return made[0]
    yield make
    for one in made:
        one.close()


def put_all(client, objects):
    for key, body in objects.items():
        client.put_object(Bucket="photos", Key=key, Body=body)


def check_all(client, objects):
    for key, body in objects.items():
        assert client.get_object(Bucket="photos", Key=key)["Body"].read() == body, key


def some_objects(prefix, n=20):
    return {f"{prefix}/{i}": os.urandom(1000 if i % 4 else 200_000) for i in range(n)}


def test_promoted_standby_has_what_was_shipped(pair):
    p = pair()
    p.region.start()
    account = p.region.account()
    client = p.region.client(account)
    client.create_bucket(Bucket="photos")
    before = some_objects("before")
    put_all(client, before)
    p.standby.follow()                                          # a full copy
    wait_shipped(p.region)
    during = some_objects("during")
    put_all(client, during)
    client.delete_object(Bucket="photos", Key="before/4")
    before.pop("before/4")
    wait_shipped(p.region)

    p.region.stop(signal.SIGKILL)
    p.standby.stop()
    p.standby.promote()
    p.standby.start()
    client = p.standby.client(account)
    check_all(client, before | during)
    client.put_object(Bucket="photos", Key="after", Body=b"after")

    # The former node comes back, and sees that it is the region no more.
    failed = subprocess.run([DOMICILE, "serve", "--config", p.region.config], capture_output=True, text=True,
                            timeout=60, check=False)
    assert failed.returncode == 10, failed.stderr
    assert "was promoted" in failed.stderr


class Writer(threading.Thread):
    """Puts small objects one after the other; knows which were acknowledged, and when."""

    def __init__(self, region, account):
        super().__init__(daemon=True)
        self.client = region.client(account, connect_timeout=10, read_timeout=20)
        self.acked, self.refused, self.stopping = {}, 0, threading.Event()
        self.last_ack = self.began_last = 0.0   # when the last that was acknowledged was so, and when it was begun

    def run(self):
        n = 0
        while not self.stopping.is_set():
            key, body = f"w/{n}", os.urandom(700 if n % 10 else 90_000)
            n += 1
            began = time.monotonic()
            try:
                self.client.put_object(Bucket="photos", Key=key, Body=body)
                self.last_ack, self.began_last = time.monotonic(), began
                self.acked[key] = body
            except Exception:                   # pylint: disable=broad-exception-caught
                self.refused += 1
                time.sleep(0.02)

    def stop(self):
        self.stopping.set()
        self.join(60)
        assert not self.is_alive()


def begin(p):
    """An account with a bucket in a region whose standby follows, and somebody who writes."""
    p.region.start()
    p.standby.follow()
    wait_shipped(p.region)
    account = p.region.account()
    p.region.client(account).create_bucket(Bucket="photos")
    writer = Writer(p.region, account)
    writer.start()
    wait_until(lambda: len(writer.acked) > 20, "nothing is written")
    return account, writer


def test_a_node_that_is_cut_off_stops_before_its_standby_begins(pair):
    p = pair()
    account, writer = begin(p)

    # Either of the two is enough to go on.
    for name in ("directory", "standby"):
        p.order("stall", name)
        time.sleep(LEASE + 1)
        refused, until = writer.refused, time.monotonic()
        wait_until(lambda: writer.began_last > until, f"without {name} nothing is written")
        assert writer.refused == refused, f"without {name} {writer.refused - refused} were refused"
        p.order("cut", name)
        p.order("heal", name)
        wait_shipped(p.region)
        p.region.account()                      # the directory is reached again

    p.order("stall", "directory", "standby")
    p.standby.stop()
    p.standby.promote()
    promoted = time.monotonic()
    p.standby.start()
    client = p.standby.client(account)
    client.put_object(Bucket="photos", Key="new", Body=b"new")
    time.sleep(1)
    assert writer.began_last < promoted, "acknowledged by two nodes"
    wait_until(lambda: writer.refused, "not answered, rather than refused")
    with pytest.raises(Exception, match="SlowDown|503"):
        p.region.client(account).get_object(Bucket="photos", Key="w/0")
    assert "NOT SERVING: neither the directory" in p.region.command("region", "status")
    # When the lines are back it knows for sure.
    p.order("cut", "directory", "standby")
    p.order("heal", "directory", "standby")
    wait_until(lambda: "standby.promoted" in p.region.log_path().read_text(), "the former node has not noticed")
    assert "NOT SERVING: another node was promoted" in p.region.command("region", "status")
    with pytest.raises(Exception, match="SlowDown|503"):
        p.region.client(account).get_object(Bucket="photos", Key="w/0")
    writer.stop()
    assert writer.began_last < promoted
    client.get_object(Bucket="photos", Key="new")


def test_a_node_that_stood_still_answers_nothing_when_it_wakes(pair):
    p = pair()
    account, writer = begin(p)
    p.region.process.send_signal(signal.SIGSTOP)
    p.standby.stop()
    p.standby.promote()
    p.standby.start()
    # The writer's request has been waiting in the node, or in its socket, all the time.
    woken = time.monotonic()
    p.region.process.send_signal(signal.SIGCONT)
    wait_until(lambda: writer.refused > 3, "nothing is refused")
    writer.stop()
    assert writer.last_ack < woken, "acknowledged after it woke"
    p.standby.client(account).put_object(Bucket="photos", Key="new", Body=b"new")


def test_an_idle_line_is_not_given_up_with_a_long_lease(pair):
    p = pair()
    conf = p.region.config.read_text()
    p.region.config.write_text(conf.replace(f"standby_lease = {int(LEASE * 1000)}ms", "standby_lease = 600s"))
    p.region.start()
    p.standby.follow()
    wait_shipped(p.region)
    heard = [0]

    def is_heard_again():
        heard.append(status(p.standby)["follows"]["heard_ms"])
        return heard[-1] < heard[-2] and heard[-2] > 5000
    wait_until(is_heard_again, "the standby hears nothing", 150)


def test_with_standby_wait_nothing_acknowledged_is_lost(pair):
    p = pair(standby_wait="yes")
    account, writer = begin(p)
    reader = p.region.client(p.region.account(), read_timeout=60)
    reader.create_bucket(Bucket="holidays")
    # While the standby is away nothing is acknowledged, and what it has is read.
    p.standby.stop(signal.SIGKILL)
    refused = writer.refused
    wait_until(lambda: writer.refused > refused, "nothing is refused")
    acked = len(writer.acked)
    reader.list_objects_v2(Bucket="holidays")
    with pytest.raises(Exception, match="SlowDown|503"):
        reader.put_object(Bucket="holidays", Key="x", Body=b"x")
    refused = subprocess.run([DOMICILE, "account", "create", "--country", "SG", "--config", p.region.config],
                             capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode == 9 and "standby" in refused.stderr, refused.stderr
    assert len(writer.acked) == acked
    p.standby.follow()
    wait_until(lambda: len(writer.acked) > acked + 20, "nothing is written")
    p.region.stop(signal.SIGKILL)
    writer.stop()
    p.standby.stop(signal.SIGKILL)
    p.standby.promote()
    p.standby.start()
    check_all(p.standby.client(account), writer.acked)


def test_either_may_be_killed_at_any_time_and_the_standby_goes_on(pair):
    p = pair()
    account, writer = begin(p)
    for turn in range(6):
        victim = p.standby if turn % 2 else p.region
        time.sleep(0.2 + 0.17 * turn)
        victim.stop(signal.SIGKILL)
        if turn == 3:                                   # it falls behind, and that is to be seen
            wait_until(lambda: status(p.region)["standby"]["lag_versions"] > 10, "no lag")
            wait_until(lambda: status(p.region)["standby"]["lag_ms"] > 1000, "no lag")
        if victim is p.region:
            victim.start()
        else:
            victim.follow()
    writer.stop()
    wait_shipped(p.region)
    assert "copy" not in p.region.log().partition("standby.resumes")[2], "copied once more, for no reason"
    p.region.stop(signal.SIGKILL)
    p.standby.stop(signal.SIGKILL)
    p.standby.promote()
    p.standby.start()
    check_all(p.standby.client(account), writer.acked)


def holds(folder, samples):
    """Which of the sealed records lie in some file below FOLDER."""
    files = [content for _, content in contents(folder)]
    return [one for one in samples if any(one in content for content in files)]


def holds_most(folder, samples):
    """RocksDB cuts those that go over the end of a block of its log."""
    return len(holds(folder, samples)) > 0.6 * len(samples)


def test_what_leaves_is_gone_at_the_standby_before_it_is_called_erased(pair):
    p = pair()
    p.region.start()
    account = p.region.account()
    client = p.region.client(account)
    client.create_bucket(Bucket="photos")
    put_all(client, some_objects("mine"))
    p.standby.follow()
    wait_shipped(p.region)
    store = p.standby.config.parent / "store"
    shown = json.loads(p.region.command("region", "sample", account["account"], "--json"))
    samples = [bytes.fromhex(text) for text in find_hex(shown)]
    assert holds_most(store, samples)
    chunks = list((store / "chunks").rglob("?" * 32))
    assert chunks

    away = Region.__new__(Region)
    away.folder, away.name, away.process, away.ca = p.folder, "in-mum", None, p.region.ca
    away.port = free_ports(5)
    away.config, away.plain_port = p.folder / "in-mum" / "region.conf", away.port + 4
    run(DOMICILE, "region", "init", p.folder / "in-mum", "--region", "in-mum", "--jurisdiction", "IN",
        "--ca", p.folder / "ca", "--port-base", away.port, "--s3-plain",
        "--directory-at", f"dir=127.0.0.1:{p.directory.port + 1}")
    for one in (p.directory, p.region):
        one.reload()
    try:
        away.start()
        p.order("stall", "standby")
        wave = p.region.wave_to(away)
        wait_until(lambda: "erase.standby" in p.region.log() or item(p.region, wave) == "moved", "it does not move")
        time.sleep(2)
        assert item(p.region, wave) == "moved", "called erased while the standby has it"
        assert holds_most(store, samples)
        p.order("cut", "standby")
        p.order("heal", "standby")
        p.region.wait_wave(wave)
        assert item(p.region, wave) == "erased"
        assert not holds(store, samples)
        assert not [path for path in files_below(store / "chunks") if len(path.name) == 32]
    finally:
        away.stop()


@pytest.mark.parametrize("step", [None, "remove.recorded", "eraser.compacted"])
def test_a_removed_account_is_in_no_file_of_the_node_or_its_standby(pair, monkeypatch, step):
    p = pair()
    if step:
        monkeypatch.setenv("DOMICILE_STOP_AT", step)
    p.region.start()
    monkeypatch.delenv("DOMICILE_STOP_AT", raising=False)
    p.standby.follow()
    wait_shipped(p.region)
    account, other = p.region.account(), p.region.account()
    kept = some_objects("kept", 4)
    for one, objects in ((account, some_objects("mine", 8)), (other, kept)):
        client = p.region.client(one)
        client.create_bucket(Bucket="photos")
        put_all(client, objects)
    wait_shipped(p.region)
    stores = [p.folder / "sg" / "store", p.standby.config.parent / "store"]
    shown = json.loads(p.region.command("region", "sample", account["account"], "--json"))
    samples = [bytes.fromhex(text) for text in find_hex(shown)]
    assert all(holds_most(store, samples) for store in stores)
    with subprocess.Popen([DOMICILE, "account", "remove", account["account"], "--yes", "--config", p.region.config],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as remove:
        if step:
            wait_until(lambda: f"step={step}" in p.region.log(), "it does not come to the step")
            p.region.stop(signal.SIGKILL)
            p.region.start()
        assert remove.wait(60) == 0 or step
    wait_until(lambda: not any(holds(store, samples) for store in stores), "its records are still there", 180)
    check_all(p.region.client(other), kept)


def item(region, wave):
    return json.loads(region.command("wave", "items", wave, "--json"))[0]["state"]


def find_hex(shown):
    """Every hexadecimal text in it that is long enough to be a record's."""
    if isinstance(shown, dict):
        shown = list(shown.values())
    if isinstance(shown, list):
        return [text for one in shown for text in find_hex(one)]
    is_record = isinstance(shown, str) and len(shown) >= 48 and not set(shown) - set("0123456789abcdef")
    return [shown] if is_record else []
