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
from domicile import DOMICILE, Region, free_ports, run

LEASE = 2.0


class Directory:
    """A node that does nothing but serve the directory."""

    def __init__(self, folder):
        self.folder, self.name, self.process = folder, "dir", None
        self.port = free_ports(5)
        self.config = folder / "dir" / "region.conf"
        run(DOMICILE, "ca", "init", folder / "ca")
        run(DOMICILE, "region", "init", folder / "dir", "--region", "dir", "--jurisdiction", "SG",
            "--ca", folder / "ca", "--port-base", self.port, "--directory-only")

    def start(self):
        with open(self.folder / "dir.log", "ab") as log:
            self.process = subprocess.Popen([DOMICILE, "serve", "--config", self.config], stderr=log,
                                            stdin=subprocess.DEVNULL)
        wait_port(self.port + 1)
        return self

    def stop(self, how=signal.SIGTERM):
        if self.process:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None


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
                                            stdin=subprocess.DEVNULL)

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


def wait_until(true, what, seconds=30):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if true():
            return
        time.sleep(0.05)
    raise AssertionError(what)


def wait_shipped(region, seconds=60):
    def shipped():
        standby = status(region)["standby"]
        return standby["connected"] and not standby["copying"] and standby["lag_versions"] == 0
    wait_until(shipped, "the standby does not come after", seconds)


class Pair:
    """A directory, a region sg and its standby, whose links the test may cut."""

    def __init__(self, folder, **words):
        self.folder = folder
        self.directory = Directory(folder).start()
        self.region = Region.__new__(Region)
        region = self.region
        region.folder, region.name, region.process = folder, "sg", None
        region.ca = folder / "ca" / "ca.pem"
        region.config = folder / "sg" / "region.conf"
        region.port = free_ports(5)
        self.links = {}
        run(DOMICILE, "region", "init", folder / "sg", "--region", "sg", "--jurisdiction", "SG",
            "--ca", folder / "ca", "--port-base", region.port, "--s3-plain",
            "--directory-at", f"dir=127.0.0.1:{self.link('directory', self.directory.port + 1)}")
        region.url, region.plain_port = f"https://127.0.0.1:{region.port}", region.port + 4
        self.directory.process.send_signal(signal.SIGHUP)
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
            if one.process and one.process.poll() is None:
                one.process.send_signal(signal.SIGCONT)
                one.process.kill()
                one.process.wait(30)
        for link in self.links.values():
            link.close()


@pytest.fixture(name="pair")
def make_pair(tmp_path):
    made = []

    def make(**words):
        made.append(Pair(tmp_path, **words))
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
