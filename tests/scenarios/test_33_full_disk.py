"""Promise no-loss on a full disk: writes are refused clearly, the rest goes on, space mends all.

The store of one region lies on a small tmpfs, which only root can mount.
"""
import errno
import os
import random
import re
import subprocess
import time
import urllib.request

import pytest

import test_30_move                         # for the path to the demo's helpers
import s3
from world import Region, World

MIB = 1 << 20
PORT = [28500]
SIZE = 40 * MIB


class SmallRegion(Region):
    """A region whose store is a tmpfs of SIZE."""

    def __init__(self, world, name, jurisdiction, directory):
        super().__init__(world, name, jurisdiction, world.port + 10 * len(world.regions), directory)
        self.store = os.path.join(self.dir, "store")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", self.store],
                              capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
        with open(self.conf, "a") as f:     # the last four of these are kept for deleting
            f.write("engine_write_buffer = 1 MiB\n")
        for other in world.regions.values():
            other.reload()
        world.regions[name] = self.start()

    def free(self):
        about = os.statvfs(self.store)
        return about.f_bavail * about.f_bsize

    def asked(self, what):
        return urllib.request.urlopen(f"http://{self.metrics}/{what}", timeout=60).read().decode()

    def metric(self, name):
        for line in self.asked("metrics").splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
        raise AssertionError(name)

    def wait_noticed(self, word, timeout=60):
        """Until the node has noticed that there is no space ("low") or some ("room"), for records and for chunks. It
        looks at each disk now and then, not for every request."""
        end = time.monotonic() + timeout
        while True:
            self.asked("healthz")
            seen = {what: said for said, what in re.findall(r" disk\.(low|room) what=(\w+)", self.logged())}
            if seen == {"records": word, "chunks": word}:
                break
            assert time.monotonic() < end, seen
            time.sleep(0.05)
        assert f'"full":{"true" if word == "low" else "false"}' in self.asked("healthz")

    def ballast(self, keep=0):
        """Take all space but KEEP bytes, from outside."""
        with open(os.path.join(self.store, "ballast"), "wb") as f:
            while True:
                try:
                    return os.posix_fallocate(f.fileno(), 0, self.free() - keep)
                except OSError as e:        # the node has just taken some of it
                    assert e.errno == errno.ENOSPC

    def drop_ballast(self):
        os.remove(os.path.join(self.store, "ballast"))


@pytest.fixture
def world(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a tmpfs")
    PORT[0] += 40
    made = World(str(tmp_path), PORT[0])
    try:
        yield made
    finally:
        made.stop()
        for name in os.listdir(tmp_path):
            subprocess.run(["umount", os.path.join(tmp_path, name, "store")],
                           stderr=subprocess.DEVNULL)


def account_of(region, country="CN"):
    made = region.json("account", "create", "--country", country, "--grant", "files")
    return made[0] if isinstance(made, list) else made


class User:
    """One account; knows what was acknowledged."""

    def __init__(self, world, region, account):
        self.account = account["account"]
        self.client, self.kept = s3.Client(region.s3, account, s3.context(world.ca)), {}
        assert self.client.request("PUT", "/files")[0] == 200

    def put(self, key, size):
        """The error's text, or None."""
        value = random.Random(f"{key}{size}").randbytes(size)
        status, body = self.client.request("PUT", key, value)
        if status == 200:
            self.kept[key] = value
            return None
        assert status in (503, 507) and b"space" in body, (status, body)
        return body.decode()

    def fill(self, size, most):
        """Write until it is refused; the refusal."""
        for i in range(most):
            why = self.put(f"/files/{size}-{i}", size)
            if why:
                return why
        raise AssertionError("the disk did not get full")

    def delete(self, n):
        for key in sorted(self.kept)[:n]:
            assert self.client.request("DELETE", key)[0] == 204
            del self.kept[key]

    def check(self):
        for key, value in self.kept.items():
            assert self.client.request("GET", key) == (200, value)

    def put_soon(self, key, size, timeout=60):
        end = time.monotonic() + timeout
        while why := self.put(key, size):
            assert time.monotonic() < end, why
            time.sleep(0.2)


@pytest.mark.parametrize("size", [2 * MIB, 20000])
def test_a_full_disk_refuses_writes_until_there_is_room_and_loses_nothing(world, size):
    region = SmallRegion(world, "cn-bj", "CN", ["--directory"])
    user = User(world, region, account_of(region))
    for _ in range(2):
        region.ballast(10 * MIB)
        user.fill(size, SIZE // size + 10)
        region.drop_ballast()
        user.put_soon(f"/files/{size}-after", size)
        user.check()
        user.delete(len(user.kept) - 1)
    region.kill()
    region.start()
    user.check()


@pytest.mark.parametrize("size", [10, 50000, 2 * MIB])
def test_a_full_disk_is_named_in_the_answer(world, size):
    region = SmallRegion(world, "cn-bj", "CN", ["--directory"])
    user = User(world, region, account_of(region))
    user.put("/files/a", 10)
    region.ballast()
    region.wait_noticed("low")
    status, body = user.client.request("PUT", "/files/b", bytes(size))
    assert status in (503, 507) and b"space" in body


def test_reads_deletes_and_erasures_go_on_while_the_disk_is_full(world):
    region = SmallRegion(world, "cn-bj", "CN", ["--directory"])
    user, other = [User(world, region, account_of(region)) for _ in range(2)]
    for key in "abc":
        user.put(f"/files/{key}", 10)
        other.put(f"/files/{key}", 3 * MIB)
    region.ballast(2 * MIB)                 # little, but not nothing
    user.fill(10, 1000)
    region.stop()                           # nothing is open or remembered
    region.start()
    user.check()
    other.check()
    assert user.client.request("HEAD", "/files/a")[0] == 200
    other.delete(1)
    other.check()
    region.cli("account", "remove", other.account, "--yes")
    assert region.json("region", "sample", other.account)["records"] == []
    # Those 6 MiB are room enough for others.
    user.put_soon("/files/late", 10)
    user.check()


@pytest.mark.parametrize("anew", [False, True])
def test_deletes_and_erasures_go_on_where_other_programs_took_every_byte(world, anew):
    region = SmallRegion(world, "cn-bj", "CN", ["--directory"])
    kept = os.path.join(region.store, "engine", "ballast")
    user, other, third = [User(world, region, account_of(region)) for _ in range(3)]
    for key in "abc":
        user.put(f"/files/{key}", 10)
        other.put(f"/files/{key}", 20000)
        third.put(f"/files/{key}", 100000)
    assert os.path.getsize(kept) == 4 * MIB
    if anew:
        region.kill()
        for one in user, other, third:
            one.client.close()
    region.ballast()
    if anew:
        region.start()
    region.wait_noticed("low")
    assert user.put("/files/d", 10)
    user.delete(2)
    other.delete(2)
    region.cli("account", "remove", third.account, "--yes")
    assert region.json("region", "sample", third.account)["records"] == []
    assert user.put("/files/d", 10)
    user.check()
    other.check()
    assert not os.path.exists(kept)
    region.drop_ballast()
    user.put_soon("/files/late", 10)
    end = time.monotonic() + 60             # there is room for it again
    while not os.path.exists(kept):
        user.put("/files/late", 10)
        assert time.monotonic() < end
        time.sleep(0.2)
    user.check()
    assert region.logged().count("disk.ballast given=") == 1


def test_a_delete_marker_leaves_the_reserve_to_what_makes_room(world):
    region = SmallRegion(world, "cn-bj", "CN", ["--directory"])
    user = User(world, region, account_of(region))
    ask = user.client.request
    assert ask("PUT", "/files", b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
               "versioning=")[0] == 200
    user.put("/files/a", 3 * MIB)
    version = re.search(b"<VersionId>(.+?)<", ask("GET", "/files", query="versions=")[1])[1].decode()
    both = f"<Delete><Object><Key>a</Key></Object><Object><Key>a</Key><VersionId>{version}</VersionId></Object></Delete>"
    region.ballast(2 * MIB)
    user.fill(10, 1000)
    before = region.metric('domicile_refused_total{why="disk"}')
    status, body = ask("DELETE", "/files/a")
    assert status == 507 and b"InsufficientStorage" in body
    user.check()
    status, body = ask("POST", "/files", both.encode(), "delete=")
    assert status == 200 and body.count(b"<Error>") == 1 and b"InsufficientStorage" in body, body
    assert body.count(b"<Deleted>") == 1
    assert region.metric('domicile_refused_total{why="disk"}') == before + 2
    assert ask("GET", "/files/a")[0] == 404
    region.drop_ballast()
    user.put_soon("/files/b", 10)
    assert ask("DELETE", "/files/b")[0] == 204


def test_reads_go_on_on_a_disk_without_any_space_and_writes_once_there_is_some(world):
    region = SmallRegion(world, "cn-bj", "CN", ["--directory"])
    users = [User(world, region, account_of(region)) for _ in range(3)]
    for size, user in zip((10, 50000, 3 * MIB), users):
        user.put("/files/a", size)
    region.kill()                           # its log is to be read again
    region.ballast()
    region.start()
    for user in users:
        user.check()
        status, body = user.client.request("PUT", "/files/b", b"x")
        assert status == 507 and b"InsufficientStorage" in body
        user.check()
    region.wait_noticed("low")
    assert region.metric('domicile_refused_total{why="disk"}') == 3
    assert region.metric("domicile_store_free_bytes") == 0
    region.drop_ballast()
    for user in users:
        user.put_soon("/files/b", 10)
        user.check()
    region.wait_noticed("room")
    assert region.metric("domicile_store_free_bytes") > 0
    assert region.logged().count("disk.low") == 2       # once of records, once of chunks
    assert region.logged().count("disk.room") == 2


def plan(source, target):
    wave = source.json("wave", "plan", "--from", source.name, "--to", target.name)["wave"]["id"]
    source.cli("wave", "run", wave)
    return wave


def wait_items(region, wave, state, timeout=180):
    end = time.monotonic() + timeout
    while (status := region.json("wave", "status", wave))["items"][state] != 1:
        assert time.monotonic() < end, f"{status}\n{region.logged()[-2000:]}"
        time.sleep(0.1)
    return status


@pytest.mark.parametrize("keep", [0, 8 * MIB])
def test_a_move_to_a_full_disk_is_put_off_and_says_so(world, keep):
    source = world.add_region("cn-bj", "CN", relays=False)
    account = account_of(source)
    directory = ["--directory-at", f"cn-bj={source.word('peer_listen')}"]
    target = SmallRegion(world, "sg", "SG", directory)
    user = User(world, source, account)
    for i in range(5):
        user.put(f"/files/{i}", 3 * MIB)
    target.ballast(keep)
    wave = plan(source, target)
    status = wait_items(source, wave, "put-off")
    assert "space" in status["reasons"][0]["reason"], status
    assert source.json("account", "show", account["account"])["home"] == "cn-bj"
    user.put("/files/late", 100)
    user.check()
    target.drop_ballast()
    source.cli("wave", "retry", wave)
    wait_items(source, wave, "erased")
    user.check()
    assert source.json("region", "sample", account["account"])["records"] == []


@pytest.mark.parametrize("keep", [0, 3 * MIB])
def test_a_move_from_a_full_disk_loses_nothing_and_makes_room(world, keep):
    target = world.add_region("sg", "SG", relays=False)
    directory = ["--directory-at", f"sg={target.word('peer_listen')}"]
    source = SmallRegion(world, "cn-bj", "CN", directory)
    with open(os.path.join(world.ca_dir, "regions.conf"), "a") as f:
        f.write("\n[policy CN]\nregions = cn-bj, sg\n")
    source.reload()
    target.reload()
    account = account_of(source)
    user = User(world, source, account)
    for i in range(3):
        user.put(f"/files/{i}", 3 * MIB)
    source.ballast(keep)
    user.fill(10, 1000)
    wave = plan(source, target)
    wait_items(source, wave, "erased")
    user.check()
    user.put_soon("/files/late", 10)
