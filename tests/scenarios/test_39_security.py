"""What an attacker tries: the process around a node, TLS, certificates, requests with two meanings,
and other people's data. docs/security.md says what is promised.
"""
import contextlib
import datetime
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from domicile import DOMICILE, Plain, Region, code_of, contents, read_all, spoiled, wait_until

SECRET_WORDS = {"bucket": "zanzibar-bucket", "key": "zanzibar-object-key", "meta": "zanzibar-metadata",
                "content": "zanzibar-content " * 4}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sec")
    home = Region(folder, "cn-bj", "CN").start()
    other = Region(folder, "sg", "SG", beside=home).start()
    yield home, other
    other.stop()
    home.stop()


@pytest.fixture(scope="module")
def kept(pair):
    """An account at home with two objects, and one that is nobody's friend."""
    home, _ = pair
    mine, thief = home.account("CN"), home.account("CN")
    plain = Plain(home, mine)
    assert plain.request("PUT", "/safe")[0] == 200
    assert plain.request("PUT", "/safe/kept", body=b"kept")[0] == 200
    return mine, thief


@pytest.fixture
def intact(pair, kept):
    """Afterwards both nodes are up, and the object is as it was, through either."""
    yield
    for region in pair:
        assert region.is_up(), region.log()
        assert Plain(region, kept[0]).request("GET", "/safe/kept")[2] == b"kept"


# --- the process ---

def status(pid, task=None):
    path = f"/proc/{pid}/task/{task}/status" if task else f"/proc/{pid}/status"
    with open(path) as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def is_confined(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError):        # a thread that has ended
            it = status(pid, task)
            assert it["Seccomp"] == "2" and it["NoNewPrivs"] == "1", it
            assert all(int(it[name], 16) == 0 for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")), it
    with open(f"/proc/{pid}/limits") as f:
        assert re.search(r"Max core file size +0 +0 ", f.read())


def test_every_thread_of_a_node_is_confined(pair, intact):
    for region in pair:
        is_confined(region.process.pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_node_that_root_starts_runs_as_its_user():
    folder = tempfile.mkdtemp(prefix="domicile-user-", dir="/tmp")
    try:
        os.chmod(folder, 0o755)
        one = Region(folder, "sg", "SG")
        with open(one.config, "a") as f:
            f.write("user = nobody\n")
        with open(one.log_path(), "ab") as log:
            done = subprocess.run([DOMICILE, "serve", "--config", one.config], stderr=log, timeout=120)
        assert done.returncode != 0                         # its keys are root's
        shutil.chown(folder, "nobody")
        subprocess.run(["chown", "-R", "nobody:nogroup", folder], check=True)
        one.start()
        it = status(one.process.pid)
        nobody = str(shutil._get_uid("nobody"))
        assert it["Uid"].split() == [nobody] * 4 and not it["Groups"].strip(), it
        is_confined(one.process.pid)
        plain = Plain(one, one.account())
        assert plain.request("PUT", "/files")[0] == 200
        assert plain.request("PUT", "/files/a", body=b"a" * 300000)[0] == 200
        one.reload()
        one.stop()
        with open(one.config, "a") as f:
            f.write("user = no-such-user\n")
        done = subprocess.run([DOMICILE, "serve", "--config", one.config], capture_output=True, text=True, timeout=120)
        assert done.returncode == 3 and "no such user" in done.stderr
    finally:
        with contextlib.suppress(NameError, AssertionError):
            one.stop(signal.SIGKILL)
        shutil.rmtree(folder)


def has_landlock():
    import ctypes
    return ctypes.CDLL(None).syscall(444, None, 0, 1) >= 2


@pytest.mark.skipif(not has_landlock(), reason="the kernel has no Landlock")
def test_a_node_reads_no_file_that_is_not_its_business(tmp_path):
    one = Region(tmp_path / "region", "sg", "SG") if (tmp_path / "region").mkdir() is None else None
    one.start()
    regions = one.ca.parent / "regions.conf"
    outside = tmp_path / "outside"
    outside.mkdir()

    def reload():
        before = len(one.log_path().read_text())
        one.process.send_signal(signal.SIGHUP)
        return wait_until(lambda: (said := one.log_path().read_text()[before:]).count(" reload ") and said, one.log)

    fresh = regions.with_suffix(".new")
    shutil.copy(regions, fresh)
    os.rename(fresh, regions)                               # as `region init` replaces it
    assert " info reload " in reload()
    shutil.move(regions, outside / "regions.conf")
    regions.symlink_to(outside / "regions.conf")
    assert "ermission denied" in reload()
    one.stop()


# --- secrets ---

def test_secrets_and_personal_data_are_nowhere_in_the_clear(pair, intact):
    home, other = pair
    account = home.account("MY")
    for region in pair:
        plain = Plain(region, account)
        bucket, key = SECRET_WORDS["bucket"] + region.name, SECRET_WORDS["key"]
        assert plain.request("PUT", f"/{bucket}")[0] == 200
        assert plain.request("PUT", f"/{bucket}/{key}", body=SECRET_WORDS["content"].encode(),
                             x_amz_meta_a=SECRET_WORDS["meta"])[0] == 200
        assert plain.request("GET", f"/{bucket}", f"prefix={key}")[0] == 200
        assert plain.request("GET", f"/{bucket}/{key}-none")[0] == 404
        assert plain.request("PUT", f"/{bucket}/{key}", body=b"x", payload="0" * 64)[0] == 400
        bad = plain.signer().headers("GET", f"/{bucket}/{key}")
        bad["Authorization"] = spoiled(bad["Authorization"])
        assert plain.send("GET", f"/{bucket}/{key}", bad)[0] == 403
        assert plain.send("GET", f"/{bucket}/%zz{key}", bad)[0] == 400
    wave = home.wave_to(other)
    home.wait_wave(wave)
    words = [account["secret_key"].encode(), b"zanzibar"]
    for region in pair:
        port = region.config.read_text().partition("metrics_listen = ")[2].split()[0]
        metrics = urllib.request.urlopen(f"http://{port}/metrics", timeout=60).read()
        texts = {"metrics": metrics}
        for name in ("cmdline", "environ"):
            with open(f"/proc/{region.process.pid}/{name}", "rb") as f:
                texts[name] = f.read()
        texts.update((str(path), content) for path, content in contents(region.config.parent.parent))
        region_key = re.search(rb"^1 ([0-9a-f]{64})$", texts[str(region.config.parent / "region.key")], re.M)[1]
        sign_key = texts[str(region.config.parent / "sign.key")].strip(b"\n\0")
        for where, text in texts.items():
            for word in words + [region_key, sign_key]:
                if not where.endswith(("region.key", "sign.key")):
                    assert word not in text, where
    assert "zanzibar" not in other.command("account", "show", account["account"], "--json")
    back = other.wave_to(home)                              # as the other tests expect it
    other.wait_wave(back)


# --- TLS ---

def handshake(port, **change):
    """What was agreed on, or None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(change.get("ciphers", "ALL:@SECLEVEL=0"))
    context.minimum_version = change.get("least", ssl.TLSVersion.TLSv1)
    context.maximum_version = change.get("most", ssl.TLSVersion.MAXIMUM_SUPPORTED)
    try:
        with socket.create_connection(("127.0.0.1", port), 60) as plain:
            with context.wrap_socket(plain, server_hostname="sg") as secure:
                return secure.version(), secure.cipher()[0], secure.compression()
    except (ssl.SSLError, ConnectionError):
        return None


def test_no_old_version_and_no_weak_cipher(pair, intact):
    _, region = pair
    v = ssl.TLSVersion
    s3, peer, stream = region.port, region.port + 1, region.port + 2
    for port in (s3, peer, stream):
        assert handshake(port)[0] == "TLSv1.3" and handshake(port)[2] is None
        for most in (v.TLSv1, v.TLSv1_1):
            assert handshake(port, most=most) is None
    for port in (peer, stream):
        assert handshake(port, most=v.TLSv1_2) is None
    assert handshake(s3, least=v.TLSv1_2, most=v.TLSv1_2)[1].startswith("ECDHE-")
    for weak in ("AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "NULL",
                 "CAMELLIA", "3DES", "RC4", "aNULL", "PSK", "kRSA"):
        with contextlib.suppress(ssl.SSLError):             # this client does not know it either
            assert handshake(s3, ciphers=f"{weak}:@SECLEVEL=0", most=v.TLSv1_2) is None, weak


def test_no_session_tickets_and_no_renegotiation(pair, intact):
    _, region = pair
    said = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{region.port}", "-tls1_2"], input=b"R\n",
                          capture_output=True, timeout=120).stdout
    assert b"session ticket" not in said and b"Compression: NONE" in said
    assert b"Secure Renegotiation IS supported" in said     # RFC 5746: it can't be forced on others


# --- certificates ---

def certificate(region, name, folder, names=None, days=(-1, 10), purposes=None, own_ca=False):
    """A context with a certificate that is wrong in one way."""
    with open(region.ca, "rb") as f:
        ca = x509.load_pem_x509_certificate(f.read())
    with open(region.ca.parent / "ca.key", "rb") as f:
        ca_key = serialization.load_pem_private_key(f.read(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.utcnow()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = purposes or [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    made = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject if own_ca else ca.subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names or [name]]), False)
            .add_extension(x509.ExtendedKeyUsage(usage), False)
            .sign(key if own_ca else ca_key, hashes.SHA256()))
    path = os.path.join(folder, "wrong.pem")
    with open(path, "wb") as f:
        f.write(made.public_bytes(serialization.Encoding.PEM))
        f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.NoEncryption()))
    return path


SERVER, CLIENT = [ExtendedKeyUsageOID.SERVER_AUTH], [ExtendedKeyUsageOID.CLIENT_AUTH]
WRONG = {"self-signed": {"own_ca": True}, "over": {"days": (-20, -10)}, "not-yet": {"days": (10, 20)},
         "no-region": {"name": "ghost"}, "names-differ": {"names": ["other"]}, "not-a-name": {"name": "CN BJ"}}


def certificate_of(region, folder, change, **more):
    change = {**change, **more}
    return certificate(region, change.pop("name", "cn-bj"), folder, **change)


def ping(port, pem):
    """What the peer port answers to a call with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(pem)
    try:
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 60)) as secure:
            secure.sendall(b"POST /peer/v1/region/ping HTTP/1.1\r\nHost: sg\r\nContent-Length: 2\r\n"
                           b"Connection: close\r\n\r\n{}")
            return read_all(secure)
    except (ssl.SSLError, ConnectionError):
        return b""


def greeting(port, pem):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(pem)
    try:
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 60)) as secure:
            return secure.recv(4)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_what_these_certificates_would_do_if_nothing_were_wrong(pair, intact, tmp_path):
    _, region = pair
    pem = certificate_of(region, tmp_path, {})
    assert ping(region.port + 1, pem).startswith(b"HTTP/1.1 200") and greeting(region.port + 2, pem) == b"DOM1"


@pytest.mark.parametrize("wrong", [*WRONG, "server-only"])
def test_a_caller_with_a_wrong_certificate_is_refused(pair, intact, tmp_path, wrong):
    _, region = pair
    pem = certificate_of(region, tmp_path, WRONG.get(wrong, {"purposes": SERVER}))
    assert ping(region.port + 1, pem)[:12] in (b"", b"HTTP/1.1 403")
    assert greeting(region.port + 2, pem) == b""


class Impostor:
    """Where a region should be, someone else listens."""

    def __init__(self, port, pem):
        self.heard = b""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem)
        self.listener = socket.create_server(("127.0.0.1", port))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with contextlib.suppress(ssl.SSLError, OSError):
                    connection.settimeout(60)
                    with self.context.wrap_socket(connection, server_side=True) as secure:
                        self.heard += secure.recv(4096)
                        secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(60)


@pytest.mark.parametrize("wrong", [None, *WRONG, "client-only"])
def test_a_wrong_server_hears_nothing(pair, intact, kept, tmp_path, wrong):
    """The home is away and someone else has its address: what is passed on does not reach them."""
    home, other = pair
    home.stop()
    change = {} if wrong is None else WRONG.get(wrong, {"purposes": CLIENT})
    impostor = Impostor(home.port + 1, certificate_of(other, tmp_path, change))
    try:
        answer = Plain(other, kept[0]).request("GET", "/safe/kept")
        if wrong is None:
            assert impostor.heard                           # the test would see it
        else:
            assert answer[0] >= 500 and not impostor.heard, (answer, impostor.heard)
    finally:
        impostor.stop()
        home.start()
    wait_until(lambda: Plain(other, kept[0]).request("GET", "/safe/kept")[0] == 200, other.log)


# --- requests with two meanings ---

def signed(plain, method, path, payload="UNSIGNED-PAYLOAD", **extra):
    headers = plain.signer().headers(method, path, payload=payload, **extra)
    return "".join(f"{k}: {v}\r\n" for k, v in headers.items())


def smuggling(hidden):
    """(headers, body): in each HIDDEN is a request to one reader and a part of the body to another."""
    n, chunked = len(hidden), b"0\r\n\r\n" + hidden
    size = f"Content-Length: {len(chunked)}\r\n"
    te = "Transfer-Encoding: chunked\r\n"
    yield size + te, chunked
    yield te + size, chunked
    for spelling in ("Transfer-Encoding : chunked", "Transfer-Encoding:\tchunked", "Transfer-Encoding: xchunked",
                     "Transfer-Encoding: chunked, identity", "Transfer-Encoding: identity, chunked",
                     "Transfer-Encoding: \"chunked\"", "Transfer-Encoding:\x0bchunked", "Transfer-Encoding: chunked\x00",
                     "Transfer-Encoding:\r\n chunked", "X: y\nTransfer-Encoding: chunked", "\tTransfer-Encoding: chunked",
                     "Transfer_Encoding: chunked", "transfer-encoding: chunked\r\nTransfer-Encoding: identity"):
        yield size + spelling + "\r\n", chunked
    for length in (f"+{n}", f"-{n}", f" {n} {n}", f"0, {n}", f"0x{n:x}", f"{n}a", f"{2**64 + n}", f"{n}\x00", f"{n}\r\n 0"):
        yield f"Content-Length: {length}\r\n", hidden
    yield f"Content-Length: 0\r\nContent-Length: {n}\r\n", hidden
    yield f"Content-Length: {n}\r\nContent-Length: 0\r\n", hidden
    yield f"Content-Length : {n}\r\n", hidden
    yield "Content-Length: 0\r\nConnection: content-length\r\n", hidden[:0]
    for first in (b"-0\r\n\r\n", b"0x0\r\n\r\n", b"1\r\nx0\r\n\r\n", b"10000000000000000\r\n", b"1\r\n\n0\r\n\r\n", b" 0\r\n\r\n"):
        yield te, first + hidden
    for folded in ("Content-Length: {0}\r\n 0\r\n", "Content-Length:\r\n {0}\r\n", "Content-Length: {0}\r\n\t\r\n",
                   "Content-Length: 0\r\n {0}\r\nX: y\r\n", "X: y\r\n Content-Length: {0}\r\n"):
        yield folded.format(n), hidden


def test_no_request_hides_in_another_here_or_further_on(pair, intact, kept):
    """The one that is hidden would delete an object. Through the other region it would be hidden on a
    connection that requests of all accounts share."""
    for region in pair:
        plain = Plain(region, kept[0])
        hidden = (f"DELETE /safe/kept HTTP/1.1\r\n{signed(plain, 'DELETE', '/safe/kept')}\r\n").encode()
        foreign = hidden.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nx-domicile-decoded: 1\r\nx-domicile-hops: 1\r\n", 1)
        for number, (headers, body) in enumerate([*smuggling(hidden), *smuggling(foreign)]):
            head = f"PUT /safe/outer HTTP/1.1\r\n{signed(plain, 'PUT', '/safe/outer')}{headers}\r\n"
            with socket.create_connection(("127.0.0.1", region.plain_port), 60) as connection:
                with contextlib.suppress(OSError):
                    connection.sendall(head.encode("latin-1") + body)
                    connection.shutdown(socket.SHUT_WR)
                connection.settimeout(0.5)
                read_all(connection)
            if number % 4 == 3:
                assert plain.request("GET", "/safe/kept")[2] == b"kept", (region.name, number, headers)
        assert plain.request("GET", "/safe/kept")[2] == b"kept", region.name
        plain.request("DELETE", "/safe/outer")


def answered(plain, request):
    """The answer to it, and what else comes soon after."""
    with socket.create_connection(("127.0.0.1", plain.region.plain_port), 60) as connection:
        connection.sendall(request)
        answer = b""
        while not (whole := re.search(rb"(?s)content-length: *(\d+).*?\r\n\r\n(.*)", answer, re.I)) or \
                len(whole[2]) < int(whole[1]):
            piece = connection.recv(65536)
            if not piece:
                break
            answer += piece
        connection.settimeout(0.3)
        return answer + read_all(connection)


@pytest.mark.parametrize("headers", [
    "Connection: x-amz-date\r\n", "Connection: authorization, x-amz-content-sha256\r\n", "Connection: close, content-length\r\n",
    "TE: trailers, chunked\r\nConnection: TE\r\n", "Trailer: Authorization\r\n", "Upgrade: h2c\r\nConnection: Upgrade\r\n",
    "Keep-Alive: timeout=99999\r\n", "Proxy-Connection: keep-alive\r\n", "Max-Forwards: 0\r\n", "X-HTTP-Method-Override: DELETE\r\n",
    "x-domicile-from: cn-bj\r\nx-domicile-hops: 1\r\n", "x-domicile-length: 99\r\n", "x-domicile-id: ../../x\r\n",
    "Forwarded: host=evil\r\n", "X-Original-URL: /safe/other\r\n"], ids=range(15))
def test_headers_for_one_connection_do_not_change_what_is_passed_on(pair, intact, kept, headers):
    for region in pair:
        plain = Plain(region, kept[0])
        request = (f"GET /safe/kept HTTP/1.1\r\n{signed(plain, 'GET', '/safe/kept')}{headers}\r\n").encode()
        answer = answered(plain, request)
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400", b"HTTP/1.1 403")), answer[:300]
        if answer.startswith(b"HTTP/1.1 200"):
            assert answer.endswith(b"\r\n\r\nkept") and answer.count(b"HTTP/1.1") == 1


# --- names ---

NAMES = ["../kept", "..%2fkept", "%2e%2e/%2e%2e/kept", "./kept", "a//kept", "/kept", "a/../../thief/x", "..", "%2e", "a%0d%0ab",
         "a%0aX-Evil:%201", "%c0%ae%c0%ae%2fkept", "%ff%fe", "%00", "a%00/../kept", "%25%32%65", "%5c..%5c", "~root", "a" * 1024,
         "a" * 1025, "/".join(["a"] * 500), "%f0%9f%8f%a0", "%ed%a0%80", "a%3fdelete", "a%23b", "%3Cscript%3E", "%26lt;"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_key_is_itself_or_refused(pair, intact, kept, name):
    for region in pair:
        plain = Plain(region, kept[0])
        assert plain.request("PUT", "/names")[0] in (200, 409)
        wrote, headers, _ = plain.request("PUT", f"/names/{name}", body=name.encode())
        assert wrote in (200, 400, 403), wrote
        assert "X-Evil" not in headers
        listed = plain.request("GET", "/names")[2]
        assert listed.count(b"<Contents>") == (wrote == 200) and b"<script>" not in listed and b"\r\nX-Evil" not in listed
        if wrote == 200:
            assert plain.request("GET", f"/names/{name}")[2] == name.encode()
            assert plain.request("DELETE", f"/names/{name}")[0] == 204


PATHS = ["/../metrics", "/%2e%2e/v1/account/list", "//", "/..", "/peer/v1/directory/find", "/v1/account/create", "/metrics/../healthz",
         "/.well-known/../safe/kept", "/%2fsafe/kept", "/safe%2fkept", "/safe/../safe/kept", "/%00", "/" + "a/" * 4000]


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_no_path_leads_to_another_listener_or_account(pair, intact, kept, path):
    home, _ = pair
    plain = Plain(home, kept[1])
    assert plain.request("GET", path)[0] in (400, 403, 404, 414, 431, 501) or path == "//"
    metrics = int(home.config.read_text().partition("metrics_listen = ")[2].split()[0].rsplit(":", 1)[1])
    for address in (("127.0.0.1", metrics), str(home.config.parent / "admin.sock")):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        with socket.socket(family) as connection:
            connection.connect(address)
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            connection.settimeout(60)
            assert re.match(rb"HTTP/1.1 4\d\d", read_all(connection)), path


# --- other people's data ---

def test_a_stranger_gets_nothing(pair, intact, kept):
    mine, thief = kept
    home, _ = pair
    owner = Plain(home, mine)
    assert owner.request("PUT", "/parts")[0] in (200, 409)
    upload = owner.request("POST", "/parts/p", "uploads=")[2].decode().partition("<UploadId>")[2].partition("<")[0]
    for region in pair:
        them = Plain(region, thief)
        assert them.request("GET", "/safe/kept")[0] == 404
        assert them.request("GET", "/safe")[0] == 404
        assert them.request("DELETE", "/safe/kept")[0] == 404
        assert b"safe" not in them.request("GET", "/")[2]
        assert them.request("PUT", "/loot")[0] in (200, 409)
        assert them.request("PUT", "/loot/x", x_amz_copy_source="/safe/kept")[0] == 404
        assert them.request("PUT", "/loot/x", f"partNumber=1&uploadId={upload}", b"x")[0] == 404
        assert them.request("GET", "/loot/x", f"uploadId={upload}")[0] == 404
        assert them.request("PUT", "/safe")[0] in (200, 409)    # names of buckets are each account's own
        assert b"kept" not in them.request("GET", "/safe")[2]
        assert them.request("DELETE", "/safe")[0] in (204, 404)
        mixed = {**thief, "access_key": mine["access_key"]}
        status, _, body = Plain(region, mixed).request("GET", "/safe/kept")
        assert (status, code_of(body)) == (403, "SignatureDoesNotMatch")
        for key in ("", "x", mine["access_key"][:-1], mine["access_key"] + "0", mine["account"], "%2e%2e/x"):
            assert Plain(region, {**mine, "access_key": key}).request("GET", "/safe/kept")[0] in (400, 403)
        signer = owner.signer(service="ec2")
        signer.host = Plain(region, mine).host
        assert Plain(region, mine).request("GET", "/safe/kept", signer=signer)[0] in (400, 403)


def test_a_signature_is_for_one_request(pair, intact, kept):
    for region in pair:
        plain = Plain(region, kept[0])
        good = plain.signer().headers("GET", "/safe/kept")
        assert plain.send("GET", "/safe/kept", good)[0] == 200
        for method, path in (("DELETE", "/safe/kept"), ("PUT", "/safe/kept"), ("GET", "/safe/other"), ("GET", "/safe/kept?acl"),
                             ("GET", "/safe//kept"), ("GET", "/safe/./kept"), ("HEAD", "/safe/kept")):
            assert plain.send(method, path, good)[0] in (400, 403), (method, path)
        without = dict(good)
        without["Authorization"] = re.sub("SignedHeaders=host;", "SignedHeaders=", good["Authorization"])
        assert plain.send("GET", "/safe/kept", without)[0] in (400, 403)
        assert plain.send("GET", "/safe/kept", {**good, "Host": "evil"})[0] == 403
        assert plain.request("PUT", "/safe/kept", body=b"stolen", payload=hashlib.sha256(b"other").hexdigest())[0] == 400


# --- JSON ---

ODD_JSON = [b"", b"{", b"[]", b"null", b"5", b'"x"', b"[" * 100000, b'{"a":' * 100000, b'{"country":' + b"9" * 5000 + b"}",
            b'{"country": 1e999}', b'{"country": {}}', b'{"country": []}', b'{"country": "SG", "country": "CN", "count": "x"}',
            b'{"country": "\\ud800"}', b'{"country": "S\\u0000G"}', b'{"count": -1, "country": "SG"}',
            b'{"count": 99999999999999999999, "country": "SG"}', b'{"country": "\xff\xfe"}', b"\xef\xbb\xbf{}",
            b'{"ids": 5}', b'{"accounts": [[[]]]}', b'{"account": "' + b"0" * 100000 + b'"}']


@pytest.mark.parametrize("body", ODD_JSON, ids=range(len(ODD_JSON)))
def test_json_that_is_odd_is_refused(pair, intact, body):
    home, _ = pair
    for path in ("account/create", "account/show", "wave/plan", "region/sample", "directory/find"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(home.config.parent / "admin.sock"))
            connection.sendall(f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                               f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            connection.settimeout(60)
            assert re.match(rb"HTTP/1.1 4\d\d", read_all(connection)), (path, body[:60])


def test_nothing_of_all_this_is_a_fault_of_ours(pair, intact):
    for region in pair:
        log = region.log_path().read_text(errors="replace")
        for word in ("Sanitizer", "runtime error", "kind=internal", "Assertion"):
            assert word not in log, log[-3000:]
