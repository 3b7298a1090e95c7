"""Peers that lie: who may speak to a region's stream and peer ports, and what they may say there.

A region that runs nothing but this file has a certificate of the common CA, or a wrong one, and
speaks the protocols byte by byte. Whatever it does, the process stays up, accounts work, and what
it sent is erased.
"""
import base64
import contextlib
import datetime
import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import socket
import ssl
import struct
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import test_30_move                         # for the path to the demo's helpers
import s3
from world import DOMICILE, World, run

PORT = 27500
PROFILE = 1


class Member:
    """A region's folder: a certificate and a signing key, and nobody behind them."""

    def __init__(self, folder, name, ca, port):
        self.name, self.dir, self.ca = name, os.path.join(folder, name), os.path.join(ca, "ca.pem")
        run(DOMICILE, "region", "init", self.dir, "--region", name, "--jurisdiction", "US",
            "--ca", ca, "--port-base", port, "--directory-at", "cn-bj=127.0.0.1:1")
        with open(os.path.join(self.dir, "sign.key")) as f:
            self.sign_key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(f.read())[:32])

    def context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(os.path.join(self.dir, "tls.pem"),
                                os.path.join(self.dir, "tls.key"))
        return context

    def call(self, region, op, arguments):
        """(status, answer) of a call at REGION's peer port."""
        body = arguments if isinstance(arguments, bytes) else json.dumps(arguments)
        host, port = region.word("peer_listen").rsplit(":", 1)
        with contextlib.closing(http.client.HTTPSConnection(host, int(port), timeout=60,
                                                            context=self.context())) as connection:
            connection.request("POST", "/peer/v1/" + op, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()


class Site:
    def __init__(self, folder):
        self.world = World(folder, PORT)
        self.cn, self.sg = [self.world.add_region(name, place, relays=False)
                            for name, place in (("cn-bj", "CN"), ("sg", "SG"))]
        shutil.copytree(self.world.ca_dir, os.path.join(folder, "ca-copy"))
        run(DOMICILE, "ca", "init", os.path.join(folder, "ca-other"))
        self.known = Member(folder, "us-or", self.world.ca_dir, PORT + 40)
        self.unknown = Member(folder, "ghost", os.path.join(folder, "ca-copy"), PORT + 50)
        os.mkdir(os.path.join(folder, "other"))
        self.foreign = Member(os.path.join(folder, "other"), "us-or",
                              os.path.join(folder, "ca-other"), PORT + 60)
        self.tls = s3.context(self.world.ca)
        self.account = self.cn.json("account", "create", "--country", "SG", "--grant", "files")
        if isinstance(self.account, list):
            self.account = self.account[0]
        for region in (self.cn, self.sg):
            region.reload()
        client = s3.Client(self.sg.s3, self.account, self.tls)
        assert client.request("PUT", "/files")[0] == 200
        assert client.request("PUT", "/files/a", b"mine")[0] == 200
        wave = self.cn.json("wave", "plan", "--from", "cn-bj", "--to", "sg")["wave"]["id"]
        self.cn.cli("wave", "run", wave, "--watch")

    def check(self):
        """Both processes are up, and an account that nobody touched works."""
        for region in (self.cn, self.sg):
            assert region.process.poll() is None, region.logged()[-3000:]
            client = s3.Client(region.s3, self.account, self.tls)
            assert client.request("PUT", "/files/b", b"more")[0] == 200
            assert client.request("GET", "/files/a") == (200, b"mine")
            client.close()

    def place(self, home="us-or"):
        """An account that the directory has at a region without anybody behind it."""
        account = secrets.token_bytes(16)
        rows = [[account.hex(), home, "US", 1, 0, 0]]
        status, body = self.known.call(self.cn, "directory/add", {"rows": rows})
        assert status == 200, body
        return account

    def home(self, account):
        return self.sg.json("account", "show", account.hex())["home"]

    def address(self, kind):
        host, port = self.sg.word(kind + "_listen").rsplit(":", 1)
        return host, int(port)

    def logs(self, pattern, before):
        """Wait for a line that came after BEFORE characters of sg's log."""
        for _ in range(2400):
            if re.search(pattern, self.sg.logged()[before:]):
                return
            time.sleep(0.025)
        raise AssertionError(f"no '{pattern}' in: {self.sg.logged()[before:]}")

    def is_erased(self, account):
        for _ in range(2400):
            if not self.sg.json("region", "sample", account.hex())["records"]:
                return
            time.sleep(0.025)
        raise AssertionError("an arrival was left behind")


@pytest.fixture(scope="module")
def the_site(tmp_path_factory):
    made = Site(str(tmp_path_factory.mktemp("bad")))
    yield made
    made.world.stop()


@pytest.fixture
def site(the_site):
    yield the_site
    the_site.check()


# --- who may connect ---

PING = b"POST /peer/v1/region/ping HTTP/1.1\r\nHost: sg\r\nContent-Length: 2\r\n\r\n{}"


def connect(site, context, port):
    return context.wrap_socket(socket.create_connection(site.address(port), 60))


def refused_with(connection):
    """Whether the server ended it: an alert, a reset or the end, and not a byte of data."""
    connection.settimeout(60)
    try:
        return connection.recv(100) == b""
    except (ssl.SSLError, ConnectionError):
        return True


@pytest.mark.parametrize("port", ["stream", "peer"])
def test_a_certificate_of_another_authority_is_refused(site, port):
    before = len(site.sg.logged())
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        with connect(site, site.foreign.context(), port) as connection:
            if port == "peer":
                connection.sendall(PING)
                assert connection.recv(100)[:12] in (b"", b"HTTP/1.1 403")
            else:
                assert refused_with(connection)
    site.logs(r"(stream.refused|http.peer).*(issuer|trust|certificate)", before)


@pytest.mark.parametrize("port", ["stream", "peer"])
def test_nobody_is_refused(site, port):
    before = len(site.sg.logged())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        with connect(site, context, port) as connection:
            if port == "peer":
                connection.sendall(PING)
                assert connection.recv(100)[:12] in (b"", b"HTTP/1.1 403")
            else:
                assert refused_with(connection)
    if port == "stream":
        site.logs("stream.refused.*ertificate", before)


@pytest.mark.parametrize("port", ["stream", "peer"])
@pytest.mark.parametrize("what", ["http", "zeros", "a long hello"])
def test_garbage_instead_of_tls_is_refused(site, port, what):
    garbage = {"http": b"GET / HTTP/1.1\r\n\r\n", "zeros": bytes(4000),
               "a long hello": b"\x16\x03\x01\xff\xff" + bytes(70000)}[what]
    before = len(site.sg.logged())
    with socket.create_connection(site.address(port), 60) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    if port == "stream":
        site.logs("stream.refused", before)


def test_a_region_that_is_in_no_regions_file_is_refused(site):
    before = len(site.sg.logged())
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        with connect(site, site.unknown.context(), "stream") as connection:
            assert refused_with(connection)
    site.logs("stream.refused.*ghost", before)
    assert site.unknown.call(site.sg, "region/ping", {})[0] == 403
    site.logs("http.peer.*ghost", before)


# --- what may be said on a stream ---

def u32(n):
    return struct.pack(">I", n)


def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return u32(len(s)) + s


def opening(account, epoch=1, attempt=0, country="US", services=1 << PROFILE):
    return account + struct.pack(">QQ", epoch, attempt) + text(country) + u32(services) + b"\0"


def section(account, items, epoch=1, attempt=0, service=PROFILE):
    return account + struct.pack(">QQB", epoch, attempt, service) + text(items)


def zstd(plain):
    """A frame of zstd whose blocks are not compressed."""
    parts = [plain[i:i + 65536] for i in range(0, len(plain), 65536)] or [b""]
    blocks = b"".join(struct.pack("<I", (i == len(parts) - 1) | len(part) << 3)[:3] + part
                      for i, part in enumerate(parts))
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(plain)) + blocks


PAGE = (b"not a database at all ".ljust(60, b".") + u32(2)).ljust(4096, b".")      # of tables of version 2
VAULT = text(b"V" + struct.pack(">QI", 1, 1)) + text(b"P" + struct.pack(">IQ", 1, 1) + PAGE)
ROOT = hashlib.sha256(b"domicile root 1" + struct.pack(">BQII", PROFILE, 1, 1, 1) +
                      hashlib.sha256(PAGE).digest() + u32(0)).hexdigest()


LEASE = u32(2000)


def now():
    return datetime.datetime.utcnow().isoformat(timespec="milliseconds") + "Z"


def statement(of, **change):
    said = {"account": of.hex(), "from": "us-or", "to": "sg", "epoch": 2, "attempt": 0,
            "time": now(), "root": ROOT, "version": 1, **change}
    return ("domicile move 1\naccount {account}\nfrom {from}\nto {to}\nepoch {epoch}\n"
            "attempt {attempt}\ntime {time}\n"
            "vault profile version {version} root {root}\n").format(**said).encode()


class Stream:
    """A stream to sg that says whatever it is told to."""

    def __init__(self, site, member):
        self.unit = 7
        self.member = member
        self.socket = connect(site, member.context(), "stream")
        assert self.exactly(4) == b"DOM1"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def exactly(self, n):
        data = b""
        while len(data) < n:
            piece = self.socket.recv(n - len(data))
            if not piece:
                raise EOFError(data)
            data += piece
        return data

    def frame(self, kind, payload):
        self.socket.sendall(u32(len(payload) + 1) + kind + payload)

    def receive(self):
        size = struct.unpack(">I", self.exactly(4))[0]
        frame = self.exactly(size)
        return frame[:1], frame[1:]

    def open(self, *accounts, **change):
        self.frame(b"O", u32(self.unit) + text("0" * 16) + u32(len(accounts)) +
                   b"".join(opening(a, **change) for a in accounts))

    def data(self, sections, unit=None):
        self.frame(b"Z", u32(unit or self.unit) + u32(len(sections)) + zstd(sections))

    def seal(self, account, said, key=None, root=None, role="sent", items=1):
        root = root or hashlib.sha256(b"\0" + said).hexdigest()
        note = (f"domicile batch 1\n{role}\nregion {self.member.name}\nsize {items}\nroot {root}\n"
                f"time {now()}\n").encode()
        signature = (key or self.member.sign_key).sign(note)
        self.frame(b"S", u32(self.unit) + LEASE + u32(items) + (account + text(said)) * items +
                   text(note) + signature)

    def verdicts(self, want):
        kind, payload = self.receive()
        assert kind == want, payload
        unit, n = struct.unpack(">II", payload[:8])
        assert unit == self.unit
        kinds, texts, at = [], [], 8
        for _ in range(n):
            size = struct.unpack(">I", payload[at + 1:at + 5])[0]
            kinds.append(payload[at])
            texts.append(payload[at + 5:at + 5 + size].decode())
            at += 5 + size
        return kinds, texts

    def arrive(self, account):
        """Up to where everything of the account is there."""
        self.open(account)
        assert self.verdicts(b"o") == ([0], [""])
        self.data(section(account, VAULT))
        self.frame(b"Q", u32(self.unit))
        assert self.verdicts(b"q") == ([0], [""])

    def failed(self):
        """What the destination said before it ended the stream."""
        kind, payload = self.receive()
        assert kind == b"f", (kind, payload)
        with pytest.raises(EOFError):
            self.exactly(1)
        return payload[4:].decode()


def test_what_these_tests_say_is_right_where_nothing_is_wrong_with_it(site):
    account = site.place()
    with Stream(site, site.known) as stream:
        stream.arrive(account)
        stream.seal(account, statement(account))
        assert stream.verdicts(b"d") == ([0], [""])
    status, body = site.known.call(site.cn, "directory/find", {"ids": account.hex()})
    assert status == 200 and json.loads(body)["rows"][0][1] == "sg"


@pytest.mark.parametrize("bytes_sent", [b"\0\0", u32(100) + b"O" + bytes(10)], ids=["head", "body"])
def test_a_frame_that_is_cut_off_leaves_nothing(site, bytes_sent):
    account, before = site.place(), len(site.sg.logged())
    with Stream(site, site.known) as stream:
        stream.arrive(account)
        assert site.sg.json("region", "sample", account.hex())["records"]
        stream.socket.sendall(bytes_sent)
        stream.socket.unwrap().close()
    site.logs("move.stream.*us-or.*within a frame", before)
    site.is_erased(account)


@pytest.mark.parametrize("length", [0, (8 << 20) + 2, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_frame_of_impossible_length_ends_the_stream(site, length):
    account, before = site.place(), len(site.sg.logged())
    with Stream(site, site.known) as stream:
        stream.arrive(account)
        stream.socket.sendall(u32(length) + b"Z" * 100)
        assert refused_with(stream.socket)
    site.logs("move.stream.*us-or.*impossible length", before)
    site.is_erased(account)


def malformed(account):
    """Frames that are wrong by themselves, after an account has arrived."""
    good, wave = u32(7), text("0" * 16)
    return {
        "an unknown type": (b"?", good),
        "a type of answers": (b"d", good),
        "another unit": (b"Q", u32(8)),
        "a short OPEN": (b"O", good + wave + u32(1) + bytes(5)),
        "an OPEN of nobody": (b"O", good + wave + u32(0)),
        "an OPEN of too many": (b"O", good + wave + u32(129) + opening(account) * 129),
        "an OPEN with a long name": (b"O", good + text("0" * 400) + u32(1) + opening(account)),
        "an OPEN of one account twice": (b"O", good + wave + u32(2) + opening(account) * 2),
        "an OPEN of no services": (b"O", good + wave + u32(1) + opening(account, services=99)),
        "data that is no zstd": (b"Z", good + u32(100) + b"nonsense"),
        "data that says it is huge": (b"Z", good + u32(0xFFFFFFFF) + zstd(b"")),
        "data that says it is shorter": (b"Z", good + u32(3) + zstd(section(account, VAULT))),
        "a short section": (b"Z", good + u32(9) + zstd(bytes(9))),
        "another account": (b"Z", data_of(section(secrets.token_bytes(16), VAULT))),
        "another epoch": (b"Z", data_of(section(account, VAULT, epoch=2))),
        "another attempt": (b"Z", data_of(section(account, VAULT, attempt=1))),
        "a service that was not opened": (b"Z", data_of(section(account, VAULT, service=2))),
        "no service": (b"Z", data_of(section(account, VAULT, service=77))),
        "the region's own records": (b"Z", data_of(section(account, VAULT, service=0))),
        "a SEAL without a note": (b"S", good + LEASE + u32(1) + account + text(statement(account))),
        "a SEAL of nobody": (b"S", good + LEASE + u32(0) + text("x") + bytes(64)),
        "a short DROP": (b"X", good + u32(1) + bytes(3)),
        "LEARNED with something more": (b"L", good + b"more"),
    }


def data_of(sections):
    return u32(7) + u32(len(sections)) + zstd(sections)


@pytest.mark.parametrize("what", malformed(bytes(16)))
def test_a_malformed_frame_ends_the_stream_and_erases_the_arrival(site, what):
    account, before = site.place(), len(site.sg.logged())
    with Stream(site, site.known) as stream:
        stream.arrive(account)
        stream.frame(*malformed(account)[what])
        assert stream.failed()
    site.logs("warn move.refused.*us-or", before)
    site.is_erased(account)
    assert site.home(account) == "us-or"


@pytest.mark.parametrize("kind", [b"Z", b"m", b"Q", b"S", b"L", b"X"])
def test_nothing_is_taken_before_it_was_opened(site, kind):
    account, before = site.place(), len(site.sg.logged())
    with Stream(site, site.known) as stream:
        if kind == b"S":
            stream.seal(account, statement(account))
        else:
            stream.frame(kind, {b"Z": data_of(section(account, VAULT)), b"m": bytes(1000),
                                b"X": u32(7) + u32(0)}.get(kind, u32(7)))
        assert stream.failed()
    site.logs("warn move.refused.*us-or", before)
    site.is_erased(account)


@pytest.mark.parametrize("what", ["items out of order", "no items", "a page twice", "half a page"])
def test_items_that_do_not_fit_are_refused_and_erased(site, what):
    account, page = site.place(), VAULT[4 + 13:]
    items = {"items out of order": page + VAULT, "no items": text(b"?" * 9),
             "a page twice": VAULT + page, "half a page": VAULT[:-2000]}[what]
    with Stream(site, site.known) as stream:
        stream.open(account)
        assert stream.verdicts(b"o") == ([0], [""])
        stream.data(section(account, items))
        stream.frame(b"Q", u32(7))
        kinds, texts = stream.verdicts(b"q")
        assert kinds[0] and texts[0]
        stream.seal(account, statement(account))        # as if nothing had been said
        assert "not arriving" in stream.failed()
    site.is_erased(account)
    assert site.home(account) == "us-or"


# --- sealing ---

def sealed(site, account, **how):
    """What came of a SEAL: FAILED's text or the account's verdict."""
    with Stream(site, site.known) as stream:
        stream.arrive(account)
        said = how.pop("said", {})
        stream.seal(account, statement(account, **said), **how)
        kind, payload = stream.receive()
    site.is_erased(account)
    assert site.home(account) == "us-or"
    assert kind in b"fd"
    return (payload if kind == b"f" else payload[13:]).decode(errors="replace")


def test_a_seal_with_a_wrong_signature_is_refused(site):
    before = len(site.sg.logged())
    assert "signed" in sealed(site, site.place(), key=Ed25519PrivateKey.generate())
    site.logs("warn move.refused.*the seal of us-or", before)


def test_a_seal_over_something_else_is_refused(site):
    for how in ({"root": "ab" * 32}, {"role": "received"}, {"role": "erased"}):
        assert "for something else" in sealed(site, site.place(), **how)


def test_a_seal_that_names_an_account_twice_is_refused(site):
    account, said = site.place(), {"time": "2031-01-01T00:00:00.000Z"}
    leaf = hashlib.sha256(b"\0" + statement(account, **said)).digest()
    root = hashlib.sha256(b"\1" + leaf + leaf).hexdigest()
    assert "not arriving" in sealed(site, account, said=said, root=root, items=2)


@pytest.mark.parametrize("said, why", [
    ({"root": "cd" * 32}, "content root of profile differs"), ({"version": 9}, "version 1, not 9"),
    ({"to": "cn-bj"}, "another move"), ({"from": "cn-bj"}, "another move"),
    ({"epoch": 3}, "another move"), ({"attempt": 1}, "another move"),
    ({"account": "0" * 32}, "another move"), ({"time": "soon"}, "not a move statement"),
], ids=["root", "version", "to", "from", "epoch", "attempt", "account", "time"])
def test_a_statement_that_is_not_true_is_refused(site, said, why):
    assert why in sealed(site, site.place(), said=said)


# --- accounts of others ---

def test_an_account_comes_from_its_home_only(site):
    """Least of all is it passed on to whoever says that it were on its way."""
    other = site.cn.json("account", "create", "--country", "CN", "--grant", "files")
    other = other[0] if isinstance(other, list) else other
    account = bytes.fromhex(other["account"])
    with Stream(site, site.known) as stream:
        stream.open(account, country="CN")
        kinds, texts = stream.verdicts(b"o")
        assert kinds[0] and "the directory has it at cn-bj" in texts[0]
        client = s3.Client(site.sg.s3, other, site.tls)
        assert client.request("PUT", "/files")[0] == 200
        assert client.request("PUT", "/files/a", b"1")[0] == 200
        stream.data(section(account, VAULT))
        stream.frame(b"Q", u32(7))
        assert stream.verdicts(b"q")[0][0]
    assert client.request("GET", "/files/a") == (200, b"1")
    site.is_erased(account)


@pytest.mark.parametrize("change", [{"epoch": 9}, {"attempt": 9}, {"country": "SG"}])
def test_an_account_comes_as_it_is_in_the_directory(site, change):
    account = site.place()
    with Stream(site, site.known) as stream:
        stream.open(account, **change)
        assert "epoch 1, attempt 0, country US" in stream.verdicts(b"o")[1][0]
    site.is_erased(account)


def test_an_account_that_lives_here_does_not_arrive(site):
    with Stream(site, site.known) as stream:
        stream.open(bytes.fromhex(site.account["account"]), country="SG")
        kinds, texts = stream.verdicts(b"o")
        assert kinds[0] and "here" in texts[0]


# --- the peer port ---

@pytest.mark.parametrize("op, arguments, status", [
    ("directory/swap", "swap", 403),
    ("directory/add", {"rows": [["0" * 32, "sg", "SG", 1, 0, 0]]}, 403),
    ("directory/find", {"ids": "xyz"}, 400), ("directory/find", {"ids": "0" * 32 * 1025}, 413),
    ("directory/drop_everything", {}, 404), ("nothing/at_all", {}, 404),
    ("directory/find", b"not json", 400), ("directory/find", b"[" * 100000, 400),
    ("move/verify", {"accounts": 5}, 400), ("account/show", {}, 400),
], ids=range(10))
def test_a_region_speaks_for_itself_only_and_in_good_form(site, op, arguments, status):
    if arguments == "swap":                 # somebody else's account, to somebody else
        arguments = {"swaps": [[site.account["account"], 1, 0, "sg", 2, 0, "cn-bj", "0" * 64]]}
    got, body = site.known.call(site.cn, op, arguments)
    assert got == status, body
