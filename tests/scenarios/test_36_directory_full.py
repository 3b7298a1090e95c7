"""A full disk under the directory, and under the log: what needs it is refused clearly, the rest goes on."""
import errno
import os
import subprocess

import pytest

import domicile
from domicile import Plain, Region

KIB = 1 << 10


class Small:
    """A tmpfs that can be filled."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder],
                              capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")

    def fill(self):
        with open(self.folder / "ballast", "wb") as f:
            while True:
                about = os.statvfs(self.folder)
                try:
                    return os.posix_fallocate(f.fileno(), 0, about.f_bavail * about.f_bsize)
                except OSError as e:        # the node has just taken some of it
                    assert e.errno == errno.ENOSPC

    def empty(self):
        os.remove(self.folder / "ballast")


@pytest.fixture
def small(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a tmpfs")
    made = Small(tmp_path / "small")
    try:
        yield made
    finally:
        subprocess.run(["umount", "-l", made.folder], stderr=subprocess.DEVNULL)


@pytest.fixture
def region(tmp_path, small):
    made = Region(tmp_path)
    text = made.config.read_text()
    lines = [line for line in text.splitlines() if not line.startswith("directory")]
    made.config.write_text("\n".join([*lines, f"directory = {small.folder}/directory.sqlite"]) + "\n")
    made.log_path = lambda: small.folder / "log"
    made.start()
    try:
        yield made
    finally:
        made.stop()


def refused(region):
    """What making accounts says once there is no space."""
    for _ in range(300):
        done = subprocess.run([domicile.DOMICILE, "account", "create", "--country", "SG", "--config",
                               region.config], capture_output=True, text=True)
        if done.returncode:
            return done.returncode, done.stderr
    raise AssertionError("the disk did not get full")


def test_a_directory_and_a_log_without_space_stop_nobody_who_is_served(region, small):
    account = region.account()
    user = Plain(region, account)
    assert user.request("PUT", "/files")[0] == 200
    for _ in range(2):
        small.fill()
        status, why = refused(region)
        assert status == 13 and "no space left" in why, (status, why)
        assert user.request("PUT", "/files/a", body=b"x")[0] == 200
        assert user.request("GET", "/files/a")[0] == 200
        assert region.home(account) == "sg"
        small.empty()
        later = region.account()
        assert region.home(later) == "sg"
    small.fill()
    region.stop(9)                          # and it begins with neither
    region.start()
    assert user.request("GET", "/files/a")[0] == 200
    assert region.home(later) == "sg"
    small.empty()
    assert region.home(region.account()) == "sg"
