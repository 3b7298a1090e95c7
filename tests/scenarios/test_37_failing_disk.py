"""Promises no-loss and gone on a disk that fails for a while: the torture's library makes it so."""
import http.client
import os
import sys
import threading
import time

import pytest

from test_31_move_links import Place, wait_for
import s3
from world import BUILD, Failure

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torture"))
from disk import Disk

SHIM = os.path.join(BUILD, "tests", "torture", "libtorture_shim.so")


@pytest.fixture
def place(tmp_path, request):
    if not os.path.exists(SHIM):
        pytest.skip("built without the library")
    made = Place(tmp_path, rtt_ms=getattr(request, "param", None))
    yield made
    made.stop()


def on_failing_disk(region, **environment):
    """Start the region anew over a disk that can fail."""
    disk = Disk(os.path.join(region.dir, "..", region.name + ".page"))
    region.stop()
    region.start(LD_PRELOAD=SHIM, TORTURE_PAGE=disk.path, TORTURE_FOLDER=region.dir, **environment)
    return disk


def nothing_arrived(place):
    try:
        return not any(place.arrived(i) for i in range(3))
    except Failure:                         # the disk still fails
        return False


@pytest.mark.parametrize("order", ["full_until", "errors_until"])
def test_an_arrival_that_could_not_be_given_up_is_given_up_later(place, order):
    disk = on_failing_disk(place.target, DOMICILE_STOP_AT="target.taken")
    wave = place.move()
    place.target.wait_stopped()
    place.source.cli("wave", "cancel", wave)
    place.source.kill()
    disk.order_for(order, 600)
    place.target.go_on()
    wait_for(lambda: "move.give_up" in place.target.logged())
    disk.heal()
    place.source.start()
    wait_for(lambda: nothing_arrived(place))
    place.wait_done(place.move())
    place.check(place.target, place.source)


def test_an_erasure_that_finds_the_disk_full_rests_between_its_tries(place):
    disk = on_failing_disk(place.source, DOMICILE_STOP_AT="eraser.records")
    wave = place.move()
    place.source.wait_stopped()
    disk.order_for("full_until", 600)
    place.source.go_on()
    wait_for(lambda: "erase.compact" in place.source.logged())
    time.sleep(4)
    disk.heal()
    place.wait_done(wave)
    place.check(place.target, place.source)
    assert place.source.logged().count("erase.compact") <= 8


@pytest.mark.parametrize("place", [0], indirect=True)
@pytest.mark.parametrize("method, body", [("PUT", b"mine"), ("PUT", b""), ("DELETE", None)])
def test_a_write_whose_home_was_killed_is_not_passed_on_twice(place, method, body):
    """Done twice, a creation would be refused though it took place, and a deletion take away what came after it."""
    disk = on_failing_disk(place.source)
    there = s3.Client(place.target.s3, place.accounts[1], place.tls)
    here = s3.Client(place.source.s3, place.accounts[1], place.tls)
    key, answers = "/files/once", []
    if method == "DELETE":
        assert here.request("PUT", key, b"before")[0] == 200
    assert there.request("GET", "/files/none")[0] == 404    # a connection that is kept
    place.lines.order("delay", "peer", value=2400)          # the end of it is heard when the home is back
    disk.order("slow_us", 20_000_000)
    disk.order_for("slow_until", 600)

    def write():
        connection = http.client.HTTPSConnection(*there.address, timeout=120, context=place.tls)
        connection.request(method, key, body,
                           {**there._headers(method, key, ""), **({"If-None-Match": "*"} if method == "PUT" else {})})
        answers.append(connection.getresponse().status)
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    wait_for(lambda: disk.counts()["slow_syncs"])           # done, and not yet answered
    place.source.kill()
    disk.heal()
    place.source.start()
    here.close()
    if method == "DELETE":
        assert here.request("PUT", key, b"after")[0] == 200
    writer.join(120)
    assert answers == [503]
    assert here.request("GET", key) == (200, body if method == "PUT" else b"after")
