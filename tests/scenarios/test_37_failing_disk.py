"""Promises no-loss and gone on a disk that fails for a while: the torture's library makes it so."""
import os
import sys

import pytest

from test_31_move_links import Place, wait_for
from world import BUILD, Failure

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torture"))
from disk import Disk

SHIM = os.path.join(BUILD, "tests", "torture", "libtorture_shim.so")


@pytest.fixture
def place(tmp_path):
    if not os.path.exists(SHIM):
        pytest.skip("built without the library")
    made = Place(tmp_path)
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
    disk.order_for(order, 1.5)
    place.target.go_on()
    wait_for(lambda: "move.give_up" in place.target.logged())
    place.source.start()
    wait_for(lambda: nothing_arrived(place))
    place.wait_done(place.move())
    place.check(place.target, place.source)
