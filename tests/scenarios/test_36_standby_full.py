"""A region and its standby fill their disks to the end, and are emptied: the standby follows all the way.

Each store lies on a small tmpfs, which only root can mount.
"""
import os
import shutil
import subprocess

import botocore.exceptions
import pytest

from domicile import wait_until
from test_36_standby import make_pair, set_words, wait_shipped     # noqa: F401 (a fixture)


@pytest.fixture
def small():
    """Puts a folder on a small file system of its own."""
    mounted = []

    def mount(folder):
        aside = f"{folder}.aside"
        had = os.path.exists(folder)
        if had:
            os.rename(folder, aside)
        os.mkdir(folder)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", folder], stderr=subprocess.PIPE,
                              text=True)
        if done.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        if had:
            shutil.copytree(aside, folder, dirs_exist_ok=True)
    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def is_put(client, key):
    try:
        client.put_object(Bucket="things", Key=key, Body=os.urandom(200_000))
        return True
    except botocore.exceptions.ClientError as e:
        assert e.response["Error"]["Code"] == "InsufficientStorage"
        return False


def test_a_full_standby_follows_when_room_is_made(small, pair):
    if os.geteuid():
        pytest.skip("only root can mount a tmpfs")
    p = pair(engine_write_buffer="1MiB", scrub="off")
    set_words(p.standby, engine_write_buffer="1MiB")
    for store in (p.folder / "sg" / "store", p.standby.config.parent / "store"):
        small(store)
    p.region.start()
    p.standby.follow()
    wait_shipped(p.region)
    client, n = p.region.client(p.region.account()), 0
    client.create_bucket(Bucket="things")
    with pytest.raises(botocore.exceptions.ClientError) as full:
        for n in range(400):
            client.put_object(Bucket="things", Key=f"{n}", Body=os.urandom(200_000))
    assert full.value.response["Error"]["Code"] == "InsufficientStorage"
    for i in range(n):
        client.delete_object(Bucket="things", Key=f"{i}")
    wait_shipped(p.region)
    wait_until(lambda: is_put(client, "after"))         # it looks now and then how much room there is
    wait_shipped(p.region)
