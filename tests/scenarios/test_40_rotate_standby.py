"""A region rotates its key while a standby follows. At every step either of the two may die, and whichever is left, or
promoted, opens everything.
"""
import os
import shutil
import signal
import subprocess

import pytest

from domicile import DOMICILE, wait_until
from test_36_standby import (Writer, begin, check_all, make_pair, put_all, some_objects, status, wait_shipped)     # noqa: F401
from test_42_damaged_files import told, wait_stopped

STEPS = ["recorded", "added", "vault:2", "wrapped", "followed", "destroyed", "compacted"]


def key_file(node):
    return node.config.parent / "region.key"


def generations(node):
    return [int(line.split()[0]) for line in key_file(node).read_text().splitlines() if line[0].isdigit()]


def rotate(region):
    done = subprocess.run([DOMICILE, "region", "rotate-key", "--config", region.config], capture_output=True, text=True,
                          timeout=300, check=False)
    return done.returncode, done.stderr


def give_key(p):
    """Asks for a rotation, which makes the new key, and copies that to the standby."""
    before = generations(p.region)
    code, why = rotate(p.region)
    assert code == 7 and "copy region.key.new to the standby" in why, (code, why)
    assert generations(p.region) == before and status(p.region)["key"]["state"] == "idle"
    shutil.copy(f"{key_file(p.region)}.new", key_file(p.standby))
    assert generations(p.standby) == before + [before[-1] + 1]


def wait_rotated(node, generation):
    wait_until(lambda: status(node)["key"]["state"] == "idle" and generations(node) == [generation], "it rotates on and on",
               180)
    assert os.path.getsize(f"{key_file(node)}.new") == 0


def stop_at(p, step):
    """The region's node stands still at STEP of a rotation."""
    p.region.stop()
    os.environ["DOMICILE_STOP_AT"] = f"rotate.{step}"
    p.region.start()
    del os.environ["DOMICILE_STOP_AT"]
    wait_shipped(p.region)
    with subprocess.Popen([DOMICILE, "region", "rotate-key", "--config", p.region.config], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as command:
        wait_stopped(p.region.process.pid)
        p.region.stop(signal.SIGKILL)
        command.wait(120)


def promote(p, old_key=None):
    """Not with OLD_KEY."""
    p.standby.stop()
    shutil.copy(p.region.config.parent / "sign.key", p.standby.config.parent / "sign.key")
    if old_key:
        key = key_file(p.standby).read_bytes()
        key_file(p.standby).write_bytes(old_key)
        done = subprocess.run([DOMICILE, "region", "promote", "--config", p.standby.config], capture_output=True, text=True,
                              timeout=300, check=False)
        assert done.returncode == 5 and "newest region.key" in done.stderr and "generation" in done.stderr, done
        assert "promoting = no" in (p.standby.config.parent / "store" / "standby").read_text()
        key_file(p.standby).write_bytes(key)
    subprocess.run([DOMICILE, "region", "promote", "--config", p.standby.config], check=True, timeout=300)
    p.standby.start()


def test_under_load(pair):
    p = pair()
    account, writer = begin(p)
    old_key = key_file(p.region).read_bytes()
    give_key(p)
    code, why = rotate(p.region)
    assert code == 0, why
    wait_rotated(p.region, 2)
    late = p.region.account()
    p.region.client(late).create_bucket(Bucket="photos")
    writer.stop()
    assert writer.acked and not writer.refused
    check_all(p.region.client(account), writer.acked)
    wait_shipped(p.region)
    p.region.stop(signal.SIGKILL)
    promote(p, old_key)                                 # its generation opens nothing any more
    check_all(p.standby.client(account), writer.acked)
    p.standby.client(late).list_objects_v2(Bucket="photos")
    wait_rotated(p.standby, 2)                          # what was left in its copy of the key


def test_killed_at_every_step_both_go_on(pair):
    p, objects = pair(), some_objects("a", 8)
    p.region.start()
    p.standby.follow()
    wait_shipped(p.region)
    account = p.region.account()
    p.region.client(account).create_bucket(Bucket="photos")
    put_all(p.region.client(account), objects)
    for generation, step in enumerate(STEPS, 2):
        give_key(p)
        stop_at(p, step)
        p.standby.stop(signal.SIGKILL)
        p.region.start()
        if step in STEPS[1:4]:                          # without the standby the old key stays
            wait_until(lambda: status(p.region)["key"]["trouble"], "it does not wait")
            assert generations(p.region) == [generation - 1, generation]
        p.standby.follow()
        wait_rotated(p.region, generation)
        check_all(p.region.client(account), objects)
        assert told(p.region, "key.rotated") if step != "compacted" else True


@pytest.mark.parametrize("step", ["planned:1", "added", "vault:2", "followed", "destroyed"])
def test_promoted_at_a_step_it_opens_everything(pair, step):
    p, objects = pair(), some_objects("a", 8)
    p.region.start()
    p.standby.follow()
    accounts = [p.region.account() for _ in range(3)]
    for account in accounts:
        p.region.client(account).create_bucket(Bucket="photos")
        put_all(p.region.client(account), objects)
    wait_shipped(p.region)
    old_key = key_file(p.region).read_bytes()
    give_key(p)
    stop_at(p, step)
    promote(p, old_key if step != "planned:1" else None)
    for account in accounts:
        check_all(p.standby.client(account), objects)
    wait_rotated(p.standby, 2)
    for account in accounts:
        check_all(p.standby.client(account), objects)
