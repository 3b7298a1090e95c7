"""Promise gone has a bound: clients that draw out what they began before a move hold no erasure for long."""
import contextlib
import random
import socket
import threading

import pytest

from domicile import Plain, Region, read_all

MIB = 1 << 20


@pytest.fixture
def pair(tmp_path):
    here = Region(tmp_path, "cn-bj", "CN")
    with open(here.config, "a") as f:
        f.write("linger = 2s\n")
    here.start()
    there = Region(tmp_path, "sg", "SG", beside=here).start()
    try:
        yield here, there
        assert here.is_up() and there.is_up()
    finally:
        there.stop()
        here.stop()


def begun(user, method, path, length, headers):
    """A connection with the head of a request whose body is still to come."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()),
             f"Content-Length: {length}"]
    connection = socket.create_connection(("127.0.0.1", user.region.plain_port), 60)
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
    return connection


def begin(user, method, path, body=b""):
    return begun(user, method, path, len(body), user.signer().headers(method, path, payload="UNSIGNED-PAYLOAD"))


def begin_chunks(user, path, pieces):
    """A PUT of PIECES as signed chunks: the connection, and its body."""
    signer = user.signer()
    headers = signer.headers("PUT", path, payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                             x_amz_decoded_content_length=str(sum(len(piece) for piece in pieces)))
    body = signer.chunked(headers["Authorization"].rpartition("=")[2], pieces)
    return begun(user, "PUT", path, len(body), headers), body


class Slow:
    """Goes on with a connection bit by bit, until HURRY or it is broken off."""

    def __init__(self, hurry, connection, body=None):
        self.connection, self.hurry, self.body, self.at = connection, hurry, body, 0
        if body:
            self.send(2 * MIB)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def send(self, n):
        self.connection.sendall(self.body[self.at:self.at + n])
        self.at += n

    def run(self):
        with contextlib.suppress(OSError):
            while not self.hurry.wait(0.1):
                if self.body:
                    self.send(1024)
                elif not (piece := self.connection.recv(16384)):
                    return
                else:
                    self.at += len(piece)

    def finish(self):
        self.thread.join(60)
        assert not self.thread.is_alive()
        if self.body:
            with contextlib.suppress(OSError):
                self.send(len(self.body))
        return read_all(self.connection)


def test_slow_clients_hold_no_erasure_and_ask_again(pair):
    here, there = pair
    user, hurry = Plain(here, here.account("CN")), threading.Event()
    large, carried = (random.Random(i).randbytes(24 * MIB) for i in range(2))
    assert user.request("PUT", "/files")[0] == 200
    assert user.request("PUT", "/files/large", body=large)[0] == 200
    reading = Slow(hurry, begin(user, "GET", "/files/large"))
    carrying = Slow(hurry, begin(user, "PUT", "/files/carried", carried), carried)
    broken = Slow(hurry, *begin_chunks(user, "/files/broken", [bytes(64 << 10)] * 384))
    assert here.wait_wave(here.wave_to(there))["items"]["erased"] == 1
    hurry.set()
    assert len(reading.finish()) + reading.at < len(large)
    assert carrying.finish().startswith(b"HTTP/1.1 200 ")
    assert not broken.finish().startswith(b"HTTP/1.1 200 ")
    for region in pair:
        user = Plain(region, user.account)
        assert user.request("GET", "/files/large")[2] == large
        assert user.request("GET", "/files/carried")[2] == carried
        assert user.request("GET", "/files/broken")[0] == 404
