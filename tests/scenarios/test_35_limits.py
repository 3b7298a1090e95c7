"""Limits: what is too much is refused early and counted, the rest is served, and it ends by itself.

One node each, with small limits. Connections come from several addresses of the loopback network.
"""
import concurrent.futures
import contextlib
import os
import resource
import socket
import subprocess
import threading
import time

import pytest

import domicile
from domicile import Plain, Region, code_of, read_all, tls_context

MIB = 1 << 20


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A function that starts a node with lines in its region.conf, and so many FILES that it may open."""
    made = []

    def start(lines="", files=None):
        region = Region(tmp_path)
        with open(region.config, "a") as f:
            f.write(lines)
        made.append(region)
        if files:
            limited = tmp_path / "domicile"
            limited.write_text(f'#!/bin/sh\nulimit -n {files}\nexec {domicile.DOMICILE} "$@"\n')
            limited.chmod(0o755)
            monkeypatch.setattr(domicile, "DOMICILE", limited)
        region.start()
        monkeypatch.undo()
        return region

    try:
        yield start
    finally:
        for region in made:
            assert region.is_up(), region.log()
            region.stop()


def account_of(region):
    account = region.account()
    user = Plain(region, account)
    assert user.request("PUT", "/files")[0] == 200
    return user


@contextlib.contextmanager
def connections(port, n, source="127.0.0.1"):
    made = []
    try:
        for _ in range(n):
            made.append(socket.create_connection(("127.0.0.1", port), 60, (source, 0)))
        yield made
    finally:
        for one in made:
            one.close()


def metrics(region):
    import urllib.request
    port = region.port + 3
    return urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode()


def metric(region, name):
    for line in metrics(region).splitlines():
        if line.startswith(f"{name} "):
            return int(line.split()[1])
    raise AssertionError(name)


def refused(region, why):
    return metric(region, f'domicile_refused_total{{why="{why}"}}')


def soon(check, timeout=60):
    """What CHECK says, once that is true."""
    end = time.monotonic() + timeout
    while not (said := check()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return said


def is_answered(user, status):
    try:
        return user.request("GET", "/files")[0] == status
    except OSError:
        return False


def cpu_s(region):
    with open(f"/proc/{region.process.pid}/stat") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_too_many_connections_are_told_so_and_operators_get_in(node):
    region = node("connections = 40\n")
    user = account_of(region)
    with connections(region.plain_port, 40):
        soon(lambda: is_answered(user, 503))        # once all of them were seen
        status, headers, body = user.request("GET", "/files")
        assert (status, code_of(body)) == (503, "SlowDown")
        assert headers["Retry-After"] and headers["Connection"].lower() == "close"
        assert refused(region, "connections") >= 1
        assert region.home(user.account) == "sg"
    soon(lambda: is_answered(user, 200))


def test_one_address_does_not_take_the_places_of_others(node):
    import http.client
    import ssl
    region = node("connections = 40\nconnections_per_address = 10\n")
    tls = ssl.create_default_context(cafile=str(region.ca))

    def ask(source):
        client = http.client.HTTPSConnection("127.0.0.1", region.port, timeout=60, context=tls,
                                             source_address=(source, 0))
        try:
            client.request("GET", "/")
            return client.getresponse().status
        except OSError:                         # one too many that was slow
            return 0
        finally:
            client.close()

    assert ask("127.0.0.2") == 403              # it is not signed, but served
    with connections(region.port, 10, "127.0.0.2"):
        soon(lambda: ask("127.0.0.2") == 503)   # once all of them were seen
        assert ask("127.0.0.3") == 403
    soon(lambda: ask("127.0.0.2") == 403)


def test_ten_thousand_idle_connections_keep_nobody_out(node):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(10000, most[1] // 4)           # if no more files may be open here
    resource.setrlimit(resource.RLIMIT_NOFILE, (most[1], most[1]))
    try:
        region = node("connections = 12000\nclient_timeout = 600s\n")
        user = account_of(region)
        with connections(region.plain_port, wanted):
            soon(lambda: metric(region, "domicile_http_connections") >= wanted)
            began = time.monotonic()
            for i in range(20):
                assert user.request("PUT", f"/files/{i}", body=b"x")[0] == 200
                assert user.request("GET", f"/files/{i}")[2] == b"x"
            assert time.monotonic() - began < 60
            assert refused(region, "connections") == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)


def slow_upload(region, user, path):
    """A connection with a body that never gets on."""
    head = user.signer().headers("PUT", path, payload="UNSIGNED-PAYLOAD")
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    one = socket.create_connection(("127.0.0.1", region.plain_port), 60)
    one.sendall(f"PUT {path} HTTP/1.1\r\n{lines}Content-Length: {MIB}\r\n\r\nx".encode())
    return one


def dripping(one, stop):
    """A byte now and then, until it is STOPped or the node does not take it."""
    with contextlib.suppress(OSError):
        while not stop.wait(0.2):
            one.sendall(b"y")


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
def test_a_body_that_stops_or_trickles_is_told_so(node, over_tls):
    region = node("client_timeout = 3s\n")
    user = account_of(region)
    user.host = f"127.0.0.1:{region.port if over_tls else region.plain_port}"
    bodies = [(*body, trickles) for trickles in (False, True) for body in (
        ("PUT", "/files/large", MIB, "x"), ("PUT", "/files/small", 1000, "x"), ("POST", "/files?delete", 1000, "<"),
        ("GET", "/files", 100, ""), ("PUT", "/nowhere/large", 5 * MIB, "x"))]

    def told(method, path, size, first, trickles):
        bare, _, query = path.partition("?")
        head = user.signer().headers(method, bare, f"{query}=" if query else "", payload="UNSIGNED-PAYLOAD")
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        with contextlib.ExitStack() as stack:
            one = stack.enter_context(socket.create_connection(user.host.split(":"), 60))
            if over_tls:
                one = stack.enter_context(tls_context(region).wrap_socket(one, server_hostname="127.0.0.1"))
            one.sendall(f"{method} {path} HTTP/1.1\r\n{lines}Content-Length: {size}\r\n\r\n{first}".encode())
            stop = threading.Event()
            drips = threading.Thread(target=dripping, args=(one, stop))
            if trickles:
                drips.start()
            answer = read_all(one)
            stop.set()
            if trickles:
                drips.join()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n"), (path, trickles, answer)
        assert b"\r\nConnection: close" in head and f"\r\nContent-Length: {len(body)}".encode() in head
        assert code_of(body) == "RequestTimeout" and f"<Resource>{bare}</Resource>".encode() in body

    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        list(pool.map(lambda body: told(*body), bodies))
    assert refused(region, "slow") == len(bodies)
    user.host = f"127.0.0.1:{region.plain_port}"
    assert b"<Contents>" not in user.request("GET", "/files")[2]
    assert user.request("PUT", "/files/large", body=bytes(3 * MIB))[0] == 200


def test_times_and_ceilings_that_can_not_be_are_told(tmp_path):
    region = Region(tmp_path)
    for line, text in (("client_timeout = 10ms", "client_timeout"), ("client_timeout = soon", "client_timeout"),
                       ("headers = 1 GiB", "headers"), ("headers = 0", "headers")):
        with open(region.config) as f:
            kept = f.read()
        with open(region.config, "a") as f:
            f.write(line + "\n")
        done = subprocess.run([domicile.DOMICILE, "serve", "--config", region.config], capture_output=True, text=True, timeout=60)
        assert done.returncode == 3 and text in done.stderr, done.stderr
        with open(region.config, "w") as f:
            f.write(kept)


def test_slow_uploads_leave_workers_to_others(node):
    region = node("workers = 8\n")
    user = account_of(region)
    with contextlib.ExitStack() as stack:
        for i in range(30):
            stack.enter_context(slow_upload(region, user, f"/files/slow-{i}"))
        soon(lambda: metric(region, "domicile_http_queued") >= 20)
        for _ in range(2):
            began = time.monotonic()
            other = account_of(region)          # its vaults are not open yet: a worker's work
            assert other.request("PUT", "/files/a", body=bytes(30000))[0] == 200
            assert other.request("GET", "/files/a")[0] == 200
            assert time.monotonic() - began < 50    # they may be so for a minute
    # Those in the way are gone: it is the next one's turn.
    assert user.request("PUT", "/files/large", body=bytes(3 * MIB))[0] == 200


def test_forms_of_nobody_take_no_workers(node):
    """Who sends a form is said in it. Nobody's must not keep large uploads of others waiting."""
    region = node("workers = 8\n")
    user = account_of(region)
    head = (f"POST /files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {MIB}\r\n\r\n"
            "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n").encode()
    with connections(region.plain_port, 50) as held:
        for one in held:
            one.sendall(head)
        soon(lambda: metric(region, "domicile_http_memory_bytes") >= 50 << 15)
        assert metric(region, "domicile_http_queued") == 0
        assert metric(region, "domicile_http_memory_bytes") < 4 * MIB
        assert user.request("PUT", "/files/large", body=bytes(3 * MIB))[0] == 200


def test_bodies_that_take_too_much_memory_are_refused_before_they_come(node):
    region = node("requests_memory = 16 MiB\n")
    user = account_of(region)
    with contextlib.ExitStack() as stack:
        for i in range(30):
            stack.enter_context(slow_upload(region, user, f"/files/slow-{i}"))
        soon(lambda: refused(region, "memory") > 0)
        head = user.signer().headers("PUT", "/files/a", payload="UNSIGNED-PAYLOAD")
        status, headers, body = user.send("PUT", "/files/a", {**head, "Content-Length": str(MIB)})
        assert (status, code_of(body)) == (503, "SlowDown") and headers["Retry-After"]
        assert user.request("GET", "/files")[0] == 200
    soon(lambda: metric(region, "domicile_http_memory_bytes") < MIB)
    assert user.request("PUT", "/files/a", body=bytes(MIB))[0] == 200


def flood(region, stop, answers):
    """Heads that never end, one after the other, until the node ends each."""
    while not stop.is_set():
        answer = b""
        with socket.create_connection(("127.0.0.1", region.plain_port), 60) as one:
            try:
                one.sendall(b"GET /files HTTP/1.1\r\nHost: x\r\n")
                for i in range(1 << 16):        # more than the sockets take in by themselves
                    one.sendall(f"x-{i}: {'y' * 250}\r\n".encode())
                answers.append("took all of it")
            except OSError:                     # closed, with or without an answer that got through
                pass
            with contextlib.suppress(OSError):
                answer = one.recv(100)
        answers.append(answer[:12].decode() or "closed")


def drip(held, stop):
    """Heads that go on byte by byte, on many connections."""
    for one in held:
        one.sendall(b"GET /files HTTP/1.1\r\nHost: x\r\nx-slow: ")
    while not stop.wait(0.1):
        for one in held:
            with contextlib.suppress(OSError):
                one.sendall(b"y")


def resident(region):
    with open(f"/proc/{region.process.pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_heads_that_flood_or_drip_keep_nobody_out(node):
    region = node()
    user = account_of(region)
    before, stop, answers = resident(region), threading.Event(), []
    with connections(region.plain_port, 300) as held:
        hostile = [threading.Thread(target=flood, args=(region, stop, answers)) for _ in range(4)]
        hostile.append(threading.Thread(target=drip, args=(held, stop)))
        for one in hostile:
            one.start()
        try:
            soon(lambda: len(answers) >= 8)
            for i in range(30):
                body = str(i).encode() * 2000
                assert user.request("PUT", f"/files/{i}", body=body)[0] == 200
                assert user.request("GET", f"/files/{i}")[2] == body
        finally:
            stop.set()
            for one in hostile:
                one.join()
    assert set(answers) <= {"HTTP/1.1 431", "closed"}  # the answer is lost where more was on its way
    assert resident(region) - before < 128 * MIB
    assert region.is_up(), region.log()


def test_few_descriptors_are_shared_out_at_the_start(node):
    region = node(files=512)
    assert "limits.connections" in region.log()
    user = account_of(region)
    with connections(region.plain_port, 250):
        # More than that wait outside.
        soon(lambda: metric(region, "domicile_http_connections") >= 100)
        assert region.home(user.account) == "sg"
        assert refused(region, "files") == 0
    soon(lambda: is_answered(user, 200))
    assert user.request("PUT", "/files/a", body=bytes(3 * MIB))[0] == 200


def test_without_descriptors_what_runs_goes_on_and_operators_get_in(node):
    import http.client
    region = node()
    user = account_of(region)
    assert user.request("PUT", "/files/a", body=b"x")[0] == 200
    kept = http.client.HTTPConnection(user.host, timeout=60)
    path = "/files/a"

    def ask():
        kept.request("GET", path, headers=user.signer().headers("GET", path))
        answer = kept.getresponse()
        return answer.status, answer.read()

    assert ask() == (200, b"x")
    pid, whole = region.process.pid, resource.prlimit(region.process.pid, resource.RLIMIT_NOFILE)
    taken = max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (taken, whole[1]))
    with connections(region.plain_port, 30):
        soon(lambda: refused(region, "files") > 0)
        before = cpu_s(region)
        time.sleep(1)
        assert cpu_s(region) - before < 0.5
        assert ask() == (200, b"x")
        assert region.home(user.account) == "sg"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, whole)
    soon(lambda: is_answered(user, 200))
    assert region.log().count("connections have to wait") in (1, 2)     # not each time that it tries
    kept.close()


def is_answered_or_closed(one):
    one.setblocking(False)
    try:
        one.recv(1)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.skipif(any(word in str(domicile.BUILD) for word in ("-asan", "-tsan")),
                    reason="the sanitizers' own memory can't be limited: they end the process")
def test_a_node_without_memory_refuses_and_recovers(node):
    region = node("requests_memory = 4 GiB\n")         # more than there will be
    user = account_of(region)
    assert user.request("PUT", "/files/a", body=bytes(MIB))[0] == 200
    pid = region.process.pid
    with open(f"/proc/{pid}/statm") as f:
        size = int(f.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    whole = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (size, whole[1]))
    with contextlib.ExitStack() as stack:               # half a MiB each, at least
        held = [stack.enter_context(slow_upload(region, user, f"/files/slow-{i}")) for i in range(500)]
        soon(lambda: any([is_answered_or_closed(one) for one in held]))
        assert region.is_up(), region.log()
    soon(lambda: is_answered(user, 200))                # with no more memory than before
    answers = []                                        # the uploads are still being taken down: 503 until then
    soon(lambda: answers.append(user.request("GET", "/files/a")) or answers[-1][0] == 200)
    assert {answer[0] for answer in answers} <= {200, 503} and answers[-1][2] == bytes(MIB)
    soon(lambda: answers.append(user.request("PUT", "/files/after", body=b"x")) or answers[-1][0] == 200)
    assert {answer[0] for answer in answers} <= {200, 503}
    assert region.is_up(), region.log()


def begun(user, method, path, length=0):
    """A connection with the head of a request whose body is still to come."""
    headers = user.signer().headers(method, path, payload="UNSIGNED-PAYLOAD")
    connection = socket.create_connection(("127.0.0.1", user.region.plain_port), 60)
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), f"Content-Length: {length}"]
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
    return connection


def draw_out(step, hurry):
    """Go on with a request as slowly as nobody would wait for, until it is broken off."""
    with contextlib.suppress(OSError):
        while step():
            hurry.wait(0.1)


def test_an_account_is_removed_while_its_requests_are_drawn_out(node):
    region, hurry = node(), threading.Event()
    user = account_of(region)
    assert user.request("PUT", "/files/large", body=b"x" * (24 * MIB))[0] == 200
    reads, writes = begun(user, "GET", "/files/large"), begun(user, "PUT", "/files/slow", 24 * MIB)
    threads = [threading.Thread(target=draw_out, args=(step, hurry), daemon=True)
               for step in (lambda: reads.recv(16384), lambda: writes.send(b"x" * 16384))]
    for thread in threads:
        thread.start()
    soon(lambda: metric(region, "domicile_http_memory_bytes") > 0)
    assert all(thread.is_alive() for thread in threads)
    region.command("account", "remove", user.account["account"], "--yes")
    hurry.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
