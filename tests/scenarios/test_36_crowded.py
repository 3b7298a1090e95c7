"""Connections that show no region's certificate keep no region out: neither a node from its standby nor a move."""
import socket
import threading
import time

from domicile import Region, wait_until
from test_36_standby import make_pair, wait_shipped        # noqa: F401 (a fixture)


class Crowd:
    """Keeps up as many connections to a port as it gets, from the address that regions have here, and says nothing on
    them."""

    def __init__(self, port, n=80):
        self.port, self.stopping, self.taken = port, threading.Event(), 0
        self.threads = [threading.Thread(target=self.hold, daemon=True) for _ in range(n)]

    def hold(self):
        while not self.stopping.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as one:
                    self.taken += 1
                    one.settimeout(5)
                    one.recv(1)
            except OSError:
                pass
            time.sleep(0.01)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        wait_until(lambda: self.taken >= 80)
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)


def lines(region, what):
    return [line for line in region.log_path().read_text().splitlines() if f" {what} " in line]


def test_a_standby_is_followed_all_the_same(pair):
    p = pair(standby_wait="yes")
    began = time.monotonic()
    p.standby.follow()
    with Crowd(p.standby.port + 2) as crowd:
        p.region.start()
        wait_shipped(p.region)
        client = p.region.client(p.region.account())
        client.create_bucket(Bucket="things")               # is acknowledged by the standby, too
        wait_until(lambda: crowd.taken > 80 and lines(p.standby, "stream.crowded"))
    minutes = (time.monotonic() - began) // 60 + 2          # that were begun
    assert len(lines(p.standby, "stream.crowded")) <= 10 * minutes
    assert len(lines(p.standby, "stream.refused")) <= 10 * minutes


def test_accounts_move_all_the_same(tmp_path):
    source = Region(tmp_path, "cn-bj", "CN").start()
    target = Region(tmp_path, "sg", "SG", beside=source).start()
    try:
        source.client(source.account()).create_bucket(Bucket="things")
        with Crowd(target.port + 2) as crowd:
            assert source.wait_wave(source.wave_to(target))["items"]["erased"] == 1
            wait_until(lambda: crowd.taken > 80 and lines(target, "stream.crowded"))
    finally:
        source.stop()
        target.stop()
