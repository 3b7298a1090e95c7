"""The relay, on which the distance in every later scenario rests."""
import contextlib
import hashlib
import os
import pathlib
import select
import socket
import struct
import subprocess
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("DOMICILE_BUILD", ROOT / "build"))


class EchoServer:
    """Sends back what it gets, and the end of the stream too."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.echo, args=[connection], daemon=True).start()

    @staticmethod
    def echo(connection):
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := connection.recv(1 << 18):
                connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Relay:
    def __init__(self, directory, target_port, rtt_ms):
        self.path = str(directory / "control")
        self.process = subprocess.Popen(
            [BUILD / "relay", "--control", self.path,
             f"127.0.0.1:0=127.0.0.1:{target_port}:{rtt_ms}"],
            stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def order(self, line):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(60)
            control.connect(self.path)
            control.sendall(line.encode() + b"\n")
            return control.makefile().readline().strip()

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def close(self):
        self.process.terminate()
        assert self.process.wait(60) == 0
        assert not os.path.exists(self.path)


@pytest.fixture
def echo():
    server = EchoServer()
    yield server
    server.close()


@pytest.fixture
def relay(echo, tmp_path):
    started = []

    def start(rtt_ms, target_port=None):
        started.append(Relay(tmp_path, target_port or echo.port, rtt_ms))
        return started[-1]

    yield start
    for one in started:
        one.close()


def receive(connection, size):
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        assert part, "the stream ended early"
        data += part
    return data


def echo_ms(connection, text=b"hello"):
    began = time.monotonic()
    connection.sendall(text)
    assert receive(connection, len(text)) == text
    return (time.monotonic() - began) * 1000


def between(least_ms, most_ms, measure):
    """It never takes less, and not always more: a busy machine adds to it, now and then."""
    until = time.monotonic() + 60
    while (took := measure()) >= most_ms:
        assert time.monotonic() < until, took
    assert took >= least_ms


def test_without_a_delay_an_echo_is_quick(relay):
    with relay(0).connect() as connection:
        between(0, 20, lambda: echo_ms(connection))


def test_the_first_echo_takes_two_round_trips_and_the_next_one_each(relay):
    line = relay(100)

    def first():
        with line.connect() as connection:
            return echo_ms(connection)
    between(199, 290, first)
    with line.connect() as connection:
        echo_ms(connection)
        for _ in range(3):
            between(99, 190, lambda: echo_ms(connection))


def test_a_connection_that_was_idle_pays_one_round_trip(relay):
    line = relay(60)

    def idle():
        with line.connect() as connection:
            time.sleep(0.1)
            return echo_ms(connection)
    between(59, 115, idle)


def test_the_delay_can_be_changed(relay):
    far = relay(0)
    with far.connect() as connection:
        assert far.order(f"delay {far.port} 80") == "ok"
        echo_ms(connection)
        between(79, 155, lambda: echo_ms(connection))
        assert far.order(f"delay {far.port} 0") == "ok"
        between(0, 40, lambda: echo_ms(connection))


def test_fifty_megabytes_arrive_whole_and_faster_than_the_delay_alone_would_let_them(relay):
    payload = os.urandom(1 << 20) * 50
    came = hashlib.sha256()
    with relay(100).connect() as connection:
        began = time.monotonic()

        def send():
            connection.sendall(payload)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while part := connection.recv(1 << 20):
            came.update(part)
        sender.join()
    assert came.digest() == hashlib.sha256(payload).digest()
    assert time.monotonic() - began < 60        # with windows of 64 KiB it were 80 s


def test_the_answer_still_comes_after_the_end_of_the_question(relay):
    with relay(40).connect() as connection:
        connection.sendall(b"last words")
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection, 10) == b"last words"
        assert connection.recv(1) == b""


def test_a_cut_resets_and_refuses_and_heals(relay):
    line = relay(20)
    with line.connect() as connection:
        echo_ms(connection)
        assert line.order(f"cut {line.port}") == "ok"
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionRefusedError):
        line.connect()
    assert line.order(f"cut {line.port}") == "ok"
    assert line.order(f"heal {line.port}") == "ok"
    with line.connect() as connection:
        echo_ms(connection)


def test_a_stall_keeps_the_connection_and_loses_nothing(relay):
    line = relay(10)
    with line.connect() as connection:
        echo_ms(connection)
        assert line.order(f"stall {line.port}") == "ok"
        connection.sendall(b"patience")
        assert not select.select([connection], [], [], 0.3)[0]
        assert line.order(f"heal {line.port}") == "ok"
        assert receive(connection, 8) == b"patience"


def test_a_limit_holds_in_each_direction(relay):
    line = relay(0)
    assert line.order(f"limit {line.port} 1000000") == "ok"
    with line.connect() as connection:
        began = time.monotonic()
        threading.Thread(target=connection.sendall, args=[bytes(500_000)], daemon=True).start()
        receive(connection, 500_000)
        assert 0.4 < time.monotonic() - began
        assert line.order(f"limit {line.port} 0") == "ok"
        began = time.monotonic()
        threading.Thread(target=connection.sendall, args=[bytes(40_000_000)], daemon=True).start()
        receive(connection, 40_000_000)
        assert time.monotonic() - began < 35    # at the limit it were 40 s


def test_a_reset_travels_to_the_other_side(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = Relay(tmp_path, listener.getsockname()[1], 40)
        client = line.connect()
        server, _ = listener.accept()
        client.sendall(b"x")
        assert receive(server, 1) == b"x"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        server.settimeout(60)
        with pytest.raises(ConnectionResetError):
            server.recv(1)
        server.close()
        line.close()


def test_a_target_that_is_away_resets_the_client(relay):
    with socket.socket() as away:
        away.bind(("127.0.0.1", 0))             # and nobody listens
        with relay(20, away.getsockname()[1]).connect() as connection:
            with pytest.raises(ConnectionResetError):
                connection.recv(1)


def test_a_thousand_connections_at_once(relay):
    line = relay(50)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(line.connect()) for _ in range(1000)]
        for number, connection in enumerate(connections):
            connection.sendall(b"%08d" % number)
        for number, connection in enumerate(connections):
            assert receive(connection, 8) == b"%08d" % number


def test_a_wrong_order_is_answered_and_harmless(relay):
    line = relay(0)
    for order in ["", "delay", "delay 1 5", f"delay {line.port} much", f"cut {line.port} 5",
                  f"dance {line.port}", f"limit {line.port} -", "x" * 600]:
        assert line.order(order).startswith("error"), order
    with line.connect() as connection:
        echo_ms(connection)
