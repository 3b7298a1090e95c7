"""A rotation of the region key under load, with a wave running, and under kill -9 at each of its steps.

Afterwards everything that was acknowledged is read, new arrivals have the new key, and a copy of the store from
before opens for nobody, beside the new key file.
"""
import json
import os
import shutil
import subprocess
import time

import pytest

from test_30_move import Pair, Writer, s3       # which finds demo's modules
from world import DOMICILE, Failure

STEPS = ["recorded", "added", "vault:2", "wrapped", "destroyed", "compacted"]


def generations(region):
    """Those in the key file."""
    with open(region.path("region_key")) as f:
        return [int(line.split()[0]) for line in f if line[0].isdigit()]


def key(region):
    return region.json("region", "status")["key"]


def wait_rotated(region, generation):
    for _ in range(1200):
        status = key(region)
        if status["state"] == "idle":
            break
        time.sleep(0.1)
    assert (status["state"], status["generation"], status["generations"]) == ("idle", generation, 1), status
    assert generations(region) == [generation]
    assert os.path.getsize(os.path.join(region.dir, "region.key.new")) == 0


@pytest.fixture
def pair(tmp_path):
    pair = Pair(tmp_path, 7700)
    try:
        yield pair
    finally:
        pair.world.stop()


def test_killed_at_every_step_it_goes_on_by_itself(pair):
    source, generation = pair.source, 1
    writer = Writer(pair)
    writer.start()
    for step in STEPS:
        source.kill()
        source.start(DOMICILE_STOP_AT=f"rotate.{step}")
        command = subprocess.Popen([DOMICILE, "region", "rotate-key", "--config", source.conf],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        source.wait_stopped()
        source.kill()
        command.wait(120)
        source.start()
        generation += 1
        wait_rotated(source, generation)
    writer.stop()
    assert writer.acked
    pair.check(source, pair.target, writer)


def test_under_load_while_a_wave_runs(pair):
    writer = Writer(pair)
    writer.start()
    wave = pair.move()
    for region in (pair.source, pair.target):
        region.cli("region", "rotate-key")
        wait_rotated(region, 2)
    pair.wait_done(wave)
    writer.stop()
    assert writer.acked and writer.refused == []
    pair.check(pair.target, pair.source, writer)


def test_a_copy_of_the_store_from_before_opens_for_nobody(pair, tmp_path):
    source = pair.source
    removed = source.json("account", "create", "--country", "MY", "--grant", "files,backup", "--count", 1)
    removed = (removed["accounts"] if isinstance(removed, dict) else removed)[0]
    client = s3.Client(source.s3, removed, pair.tls)
    assert client.request("PUT", "/gone", None)[0] == 200 and client.request("PUT", "/gone/a", b"x")[0] == 200
    client.close()
    store, copy = os.path.join(source.dir, "store"), tmp_path / "copy"
    source.kill()
    shutil.copytree(store, copy)
    source.start()
    source.cli("account", "remove", removed["account"], "--yes")
    source.cli("region", "rotate-key")
    wait_rotated(source, 2)
    pair.check(source, pair.target)

    source.kill()
    shutil.rmtree(store)
    shutil.copytree(copy, store)
    started = subprocess.run([DOMICILE, "serve", "--config", source.conf], capture_output=True, text=True, timeout=120)
    assert started.returncode == 5, started
    assert "no vault of the store opens" in started.stderr
    assert "generation 1 of the region key is destroyed" in started.stderr


def test_a_key_file_that_cant_be_written_leaves_all_as_it_was(pair):
    source = pair.source
    os.remove(os.path.join(source.dir, "region.key.new"))
    os.mkdir(os.path.join(source.dir, "region.key.new"))       # in the way
    with pytest.raises(Failure) as refused:
        source.cli("region", "rotate-key")
    assert "region.key.new" in str(refused.value)
    assert generations(source) == [1] and key(source)["state"] == "idle"
    os.rmdir(os.path.join(source.dir, "region.key.new"))
    source.kill()
    source.start()
    lines = source.cli("region", "rotate-key", "--json").splitlines()
    assert json.loads(lines[-1])["state"] == "idle"
    wait_rotated(source, 2)
    pair.check(source, pair.target)
