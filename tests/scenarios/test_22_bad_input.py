"""What no well-meaning client sends. After each the process is up and what was stored is intact."""
import datetime
import hashlib
import os
import random
import socket
import threading
import time
import urllib.parse

import pytest

from domicile import Plain, Region, code_of, read_all, spoiled, tls_context

KEPT = {"kept/small": b"small", "kept/large": random.Random(1).randbytes(300000)}


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    one = Region(tmp_path_factory.mktemp("bad")).start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def account(region):
    return region.account()


@pytest.fixture(scope="module")
def stored(region, account):
    one = Plain(region, account)
    assert one.request("PUT", "/safe")[0] == 200
    for key, data in KEPT.items():
        assert one.request("PUT", f"/safe/{key}", body=data)[0] == 200
    return one


@pytest.fixture
def plain(region, stored):
    yield stored
    assert region.is_up(), region.log()
    for key, data in KEPT.items():
        status, _, body = stored.request("GET", f"/safe/{key}")
        assert status == 200 and body == data
    listed = stored.request("GET", "/safe", "list-type=2")[2].decode()
    assert listed.count("<Contents>") == len(KEPT), listed


def answers(plain, expected, *arguments, **named):
    """The request is refused with one of EXPECTED (code or status)."""
    status, _, body = plain.request(*arguments, **named)
    assert 400 <= status < 600 and (code_of(body) in expected or status in expected), (status, body[:300])


# --- XML ---

BAD_XML = [
    b"", b" ", b"x", b"<", b"<Delete>", b"<Delete></Wrong>", b"<Delete/>trailing", b"\0" * 100, b"\xff\xfe<\0D\0",
    b"<Delete></Delete>", b"<Other><Object><Key>kept/small</Key></Object></Other>",
    b"<Delete><Object></Object></Delete>", b"<Delete><Object><Key></Key></Object></Delete>",
    b"<!DOCTYPE Delete [<!ENTITY a 'kept/small'>]><Delete><Object><Key>&a;</Key></Object></Delete>",
    b"<!DOCTYPE Delete SYSTEM 'file:///etc/passwd'><Delete><Object><Key>kept/small</Key></Object></Delete>",
    b"<!DOCTYPE l [<!ENTITY a '" + b"x" * 1000 + b"'>" +
    b"".join(b"<!ENTITY %c '%s'>" % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9)) +
    b"]><Delete><Object><Key>&j;</Key></Object></Delete>",
    b"<?evil instruction?><Delete><Object><Key>kept/small</Key></Object></Delete>",
    b"<a>" * 100000, b"<a>" * 50 + b"</a>" * 50,
    b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>",
    b"<Delete><Object><Key>" + b"k" * 1000000 + b"</Key></Object>",
    b"<Delete xmlns='" + b"n" * 500000 + b"'>",
    b"<Delete><Object><Key>kept/small\xff</Key></Object></Delete>",
]


@pytest.mark.parametrize("body", BAD_XML, ids=range(len(BAD_XML)))
def test_xml_that_is_none(plain, body):
    answers(plain, ["MalformedXML"], "POST", "/safe", "delete=", body)
    upload = plain.request("POST", "/safe/parts", "uploads=")[2].decode().partition("<UploadId>")[2][:32]
    answers(plain, ["MalformedXML"], "POST", "/safe/parts", f"uploadId={upload}", body)
    if body.strip():
        answers(plain, ["MalformedXML", "BucketAlreadyOwnedByYou"], "PUT", "/safe", body=body)
    assert plain.request("DELETE", "/safe/parts", f"uploadId={upload}")[0] == 204


def test_a_body_that_is_too_large_for_its_kind(plain):
    huge = b"<Delete>" + b" " * (3 << 20) + b"</Delete>"
    for arguments in (("POST", "/safe", "delete=", huge), ("PUT", "/new-one", "", huge), ("GET", "/safe", "", huge)):
        status, _, body = plain.request(*arguments)
        assert (status, code_of(body)) == (400, "MaxMessageLengthExceeded")
    assert b"new-one" not in plain.request("GET", "/")[2]


def test_a_key_that_is_too_long_is_told_apart(plain):
    body = f"<Delete><Object><Key>{'k' * 1025}</Key></Object><Object><Key>free</Key></Object></Delete>".encode()
    status, _, answer = plain.request("POST", "/safe", "delete=", body)
    assert status == 200 and b"<Deleted><Key>free</Key></Deleted>" in answer and b"<Error>" in answer


# --- signatures ---

def hours(n):
    return datetime.datetime.utcnow() + datetime.timedelta(hours=n)


def test_a_clock_that_is_wrong(plain):
    for n in (-1, 1, -24 * 365, 24 * 365 * 10):
        answers(plain, ["RequestTimeTooSkewed", "AccessDenied"], "PUT", "/safe/skewed", body=b"x",
                signer=plain.signer(now=hours(n)))
    assert plain.request("GET", "/safe", signer=plain.signer(now=hours(0.2)))[0] == 200


def presigned(plain, method, path, expires, now=None, **changes):
    signer = plain.signer(now=now)
    query = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{signer.key}/{signer.scope}",
             "X-Amz-Date": signer.time, "X-Amz-Expires": str(expires), "X-Amz-SignedHeaders": "host"}
    query.update(changes)
    text = urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote)
    signature, _ = signer.signature(method, path, text, {"Host": plain.host}, "UNSIGNED-PAYLOAD")
    return f"{path}?{text}&X-Amz-Signature={signature}"


def test_a_link_that_is_over_or_never_was(plain):
    def get(target):
        status, _, body = plain.send("GET", target, {"Host": plain.host})
        return status, code_of(body)

    path = "/safe/kept/small"
    assert get(presigned(plain, "GET", path, 60))[0] == 200
    assert get(presigned(plain, "GET", path, 60, now=hours(-1)))[0] == 403
    assert get(presigned(plain, "GET", path, 60, now=hours(2)))[0] == 403
    for expires in (604801, -1, "x", "", 0, "99999999999999999999999"):
        assert get(presigned(plain, "GET", path, expires))[0] in (400, 403), expires
    good = presigned(plain, "GET", path, 60)
    for change in (("Expires=60", "Expires=600"), ("kept/small", "kept/large"), ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders="),
                   ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=NONE"), ("X-Amz-Signature=", "X-Amz-Signature=0"),
                   ("X-Amz-Signature=", "X-Nothing=")):
        assert get(good.replace(*change))[0] in (400, 403), change
    assert get(good + "&versionId=null&delete=")[0] in (400, 403, 501)
    assert get(good + "&response-content-type=text/html")[0] == 403


def test_authorizations_that_are_malformed(plain):
    good = plain.signer().headers("GET", "/safe")
    value = good["Authorization"]
    wrongs = ["", "x", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 ", "Basic YTpi", "AWS a:b", value[:-1], value + "0",
              value.replace("Signature=", "Signature=zz"), value.replace("Credential=", ""), value.replace("/s3/", "/ec2/"),
              value.replace("/aws4_request", ""), value.replace("/", "//", 1), value.replace("SignedHeaders=host;", "SignedHeaders="),
              value.replace("Signature", "Sig"), value + "," + value, value * 50, value.replace("us-east-1", "u" * 5000),
              "AWS4-HMAC-SHA256 Credential=" + "/" * 3000, value.replace("SignedHeaders=", "SignedHeaders=" + "a;" * 2000),
              value.replace("host", "ho\tst"), "AWS4-HMAC-SHA256 Credential=%s, SignedHeaders=%s, Signature=%s"]
    for wrong in wrongs:
        status, _, body = plain.send("GET", "/safe", {**good, "Authorization": wrong})
        assert status in (400, 403, 431), (wrong[:80], status)
    for name in ("x-amz-date", "x-amz-content-sha256"):
        assert plain.send("GET", "/safe", {k: v for k, v in good.items() if k != name})[0] in (400, 403)
    for date in ("", "now", "20260101", "99999999T999999Z", "2026-01-01T00:00:00Z", "x" * 3000):
        assert plain.send("GET", "/safe", {**good, "x-amz-date": date})[0] in (400, 403)
    for payload in ("", "x", "z" * 64, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-FOREVER", "a" * 63):
        assert plain.request("PUT", "/safe/none", body=b"x", payload=payload)[0] in (400, 403, 411, 501)
    both = presigned(plain, "GET", "/safe", 60)
    assert plain.send("GET", both, good)[0] in (400, 403)


def test_a_header_that_was_not_signed(plain):
    headers = plain.signer().headers("PUT", "/safe/sly", payload=hashlib.sha256(b"x").hexdigest())
    for extra in ({"x-amz-meta-sly": "1"}, {"x-amz-copy-source": "/safe/kept/small"}):
        status, _, body = plain.send("PUT", "/safe/sly", {**headers, **extra}, b"x")
        assert status in (400, 403), body


def test_no_one_but_a_region_may_say_that_a_body_is_decoded(plain):
    signer = plain.signer()
    headers = signer.headers("PUT", "/safe/sly", payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                             x_amz_decoded_content_length="5")
    for extra in ({"x-domicile-decoded": "1"}, {"x-domicile-decoded": "1", "x-domicile-hops": "1", "x-domicile-from": "sg"}):
        assert plain.send("PUT", "/safe/sly", {**headers, **extra}, b"bytes")[0] in (400, 403)


# --- lengths and numbers ---

def test_numbers_that_are_none(plain):
    for query in ("max-keys=x", "max-keys=-1", "max-keys=", "max-keys=1e3", "max-keys=99999999999999999999",
                  "list-type=3", "list-type=", "list-type=2&continuation-token=%21", "encoding-type=json",
                  "list-type=2&continuation-token=" + "A" * 5000):
        answers(plain, ["InvalidArgument"], "GET", "/safe", query)
    for query in ("partNumber=0&uploadId=x", "partNumber=x&uploadId=x", "partNumber=&uploadId=x", "uploadId=x",
                  "partNumber=10001&uploadId=x", "partNumber=-1&uploadId=x"):
        answers(plain, ["InvalidArgument"], "PUT", "/safe/part", query, b"x")
    for upload in ("", "x", "%00", "%27", "0" * 32, "../..", "f" * 3000):
        answers(plain, ["NoSuchUpload", "InvalidArgument", "InvalidURI", 400, 414], "PUT", "/safe/part",
                f"partNumber=1&uploadId={upload}", b"x")


def test_queries_that_are_odd(plain):
    for query in ("prefix=%ff", "prefix=%00", "delimiter=%ff%fe", "marker=" + "%C3%A9" * 600, "prefix=%25&delimiter=%25",
                  "list-type=2&start-after=%F0%9F%8F%A0", "&&&", "==&=", "a=%", "a=%zz", "a=1&a=2&a=3",
                  "&".join(f"a{i}=1" for i in range(200))):
        status = plain.request("GET", "/safe", query)[0]
        assert status in (200, 400, 403), query


@pytest.mark.parametrize("length", ["-1", "x", "", "1e3", "0x10", "18446744073709551616", "99999999999999999999999", "+5",
                                    "5, 6", "5 5"])
def test_content_lengths_that_are_none(plain, length):
    headers = plain.signer().headers("PUT", "/safe/length", payload="UNSIGNED-PAYLOAD")
    text = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    answer = plain.raw(f"PUT /safe/length HTTP/1.1\r\n{text}Content-Length: {length}\r\n\r\nbytes".encode())
    assert not answer.startswith(b"HTTP/1.1 2")


def test_an_object_that_says_it_is_enormous(plain):
    for length in (5 * 2**30 + 1, 2**40, 2**63 - 1, 2**64 - 2):
        headers = plain.signer().headers("PUT", "/safe/enormous", payload="UNSIGNED-PAYLOAD")
        text = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        answer = plain.raw(f"PUT /safe/enormous HTTP/1.1\r\n{text}Content-Length: {length}\r\n\r\nbytes".encode())
        assert not answer.startswith(b"HTTP/1.1 2"), answer[:200]


@pytest.mark.parametrize("size", [10, 200000])
def test_a_body_that_breaks_off_leaves_nothing(plain, size):
    body = os.urandom(size)
    headers = plain.signer().headers("PUT", "/safe/broken", payload=hashlib.sha256(body).hexdigest())
    text = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    head = f"PUT /safe/broken HTTP/1.1\r\n{text}Content-Length: {size}\r\n\r\n".encode()
    for sent in (0, 1, size // 2, size - 1):
        answer = plain.raw(head + body[:sent])
        assert not answer.startswith(b"HTTP/1.1 2")
        assert plain.request("GET", "/safe/broken")[0] == 404


def test_headers_that_are_too_large(plain):
    for extra in ({"x-amz-meta-a": "x" * 3000}, {f"x-amz-meta-{i}": "x" * 100 for i in range(60)},
                  {"Content-Type": "x" * 9000}, {"x-amz-meta-" + "n" * 3000: "1"}):
        headers = plain.signer().headers("PUT", "/safe/heavy", payload=hashlib.sha256(b"x").hexdigest(), **extra)
        status, _, _ = plain.send("PUT", "/safe/heavy", headers, b"x")
        assert status in (400, 403), status
    for path, headers in (("/safe", {"x-long": "x" * (17 << 10)}), (f"/safe?prefix={'x' * (17 << 10)}", {}),
                          ("/safe", {f"x-{i}": "x" for i in range(101)})):
        status, _, body = plain.send("GET", path, {"Host": "x", **headers})
        assert (status, code_of(body)) == (400, "RequestHeaderSectionTooLarge")
    answer = plain.raw(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"b" * 200000 + b"\r\n\r\n")
    assert not answer.startswith(b"HTTP/1.1 2")
    answer = plain.raw(b"GET / HTTP/1.1\r\n" + b"".join(b"H%d: v\r\n" % i for i in range(20000)) + b"\r\n")
    assert not answer.startswith(b"HTTP/1.1 2")
    answer = plain.raw(b"GET /" + b"a" * 200000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert not answer.startswith(b"HTTP/1.1 2")


def test_header_values_do_not_become_headers(plain):
    for value in ("a%0d%0aX-Evil: 1", "a%0aX-Evil: 1", "a%0dX-Evil: 1"):
        status, headers, body = plain.request("GET", "/safe/kept/small", f"response-content-type={value.replace(' ', '%20').replace(':', '%3A')}")
        assert "X-Evil" not in headers and (status != 200 or body == KEPT["kept/small"])


# --- raw bytes ---

RAW = [b"", b"\r\n" * 1000, b"\0" * 1000, b"GET", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
       b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET http://other/safe HTTP/1.1\r\nHost: x\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
       b"CONNECT other:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
       b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n",
       b"GET / HTTP/1.1\r\nHost x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
       b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", b"A" * 100000,
       b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
       b"PUT /safe/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
       b"GET / HTTP/0.9\r\n\r\n", b"get / http/1.1\r\nhost: x\r\n\r\n", b"GET /peer/v1/account/create HTTP/1.1\r\nHost: x\r\n\r\n",
       b"POST /v1/account/create HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"]


@pytest.mark.parametrize("data", RAW, ids=range(len(RAW)))
def test_bytes_that_are_no_request(plain, data):
    answer = plain.raw(data)
    assert b" 200 " not in answer.split(b"\r\n")[0]


def test_a_target_with_a_host_is_signed_like_any_other(plain):
    """RFC 9112, 3.2.2: as an HTTP proxy is asked. The host is the target's, whatever the header says."""
    headers = plain.signer().headers("GET", "/safe/kept/small")
    target = f"http://{plain.host}/safe/kept/small"
    assert plain.send("GET", target, headers)[::2] == (200, KEPT["kept/small"])
    assert plain.send("GET", target, {**headers, "Host": "other"})[::2] == (200, KEPT["kept/small"])
    for other in ("http://other/safe/kept/small", f"http://{plain.host}/safe/kept/large"):
        status, _, body = plain.send("GET", other, headers)
        assert (status, code_of(body)) == (403, "SignatureDoesNotMatch")
    status, _, body = plain.send("GET", f"http://me@{plain.host}/safe/kept/small", headers)
    assert (status, code_of(body)) == (400, "InvalidArgument")


def smuggled(plain, extra, body):
    """A signed PUT whose end is in doubt, with another request hidden in its body."""
    headers = plain.signer().headers("PUT", "/safe/outer", payload="UNSIGNED-PAYLOAD")
    text = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    return f"PUT /safe/outer HTTP/1.1\r\n{text}{extra}\r\n".encode() + body


def test_no_request_hides_in_another(plain):
    inner = plain.signer().headers("DELETE", "/safe/kept/small")
    hidden = ("DELETE /safe/kept/small HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in inner.items()) +
              "\r\n").encode()
    size = len(hidden)
    chunked = b"0\r\n\r\n" + hidden
    for extra, body in ((f"Content-Length: {len(chunked)}\r\nTransfer-Encoding: chunked\r\n", chunked),
                        (f"Transfer-Encoding: chunked\r\nContent-Length: {len(chunked)}\r\n", chunked),
                        (f"Content-Length: 0\r\nContent-Length: {size}\r\n", hidden),
                        (f"Content-Length: {size}\r\nContent-Length: 0\r\n", hidden),
                        (f"Content-Length : {size}\r\n", hidden),
                        (f"Content-Length: {size}\r\nTransfer-Encoding: identity\r\n", hidden),
                        (f"Content-Length: {size}\r\nTransfer-Encoding: xchunked\r\n", hidden),
                        (f"Content-Length: {size}\r\nTransfer-Encoding:\tchunked\r\n", chunked),
                        (f"Content-Length: {size}\r\nTransfer-Encoding: chunked, identity\r\n", chunked)):
        plain.raw(smuggled(plain, extra, body))
        assert plain.request("GET", "/safe/kept/small")[0] == 200, extra
        plain.request("DELETE", "/safe/outer")


def test_a_refused_body_is_not_read_as_a_request(plain):
    inner = plain.signer().headers("DELETE", "/safe/kept/small")
    hidden = ("DELETE /safe/kept/small HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in inner.items()) +
              "\r\n").encode()
    for path in ("/safe/outer", "/not-there/outer", "/safe/a%00b"):
        for padding in (0, 100000):
            body = hidden + b" " * padding
            headers = plain.signer().headers("PUT", path, payload="UNSIGNED-PAYLOAD")
            headers["Authorization"] = spoiled(headers["Authorization"])
            text = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
            plain.raw(f"PUT {path} HTTP/1.1\r\n{text}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert plain.request("GET", "/safe/kept/small")[0] == 200


def test_the_listener_with_tls_survives_nonsense(region, plain):
    for data in RAW + [b"\x16\x03\x01\xff\xff" + b"\x01" * 70000, b"\x80\x2e\x01\x00\x02"]:
        with socket.create_connection(("127.0.0.1", region.port), 60) as connection:
            try:
                connection.sendall(data)
            except OSError:
                pass
            connection.settimeout(1)
            read_all(connection)
    with socket.create_connection(("127.0.0.1", region.port), 60) as connection:
        with tls_context(region).wrap_socket(connection, server_hostname="127.0.0.1") as secure:
            assert secure.version() in ("TLSv1.2", "TLSv1.3")
            secure.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b" 403 " in read_all(secure).split(b"\r\n")[0]


def test_the_peer_listener_wants_a_certificate(region, plain):
    import ssl
    context = tls_context(region)
    with socket.create_connection(("127.0.0.1", region.port + 1), 60) as connection:
        try:
            with context.wrap_socket(connection, server_hostname="127.0.0.1") as secure:
                secure.sendall(b"GET /safe HTTP/1.1\r\nHost: x\r\nx-domicile-decoded: 1\r\n\r\n")
                answer = read_all(secure)
        except (ssl.SSLError, OSError):
            answer = b""
    assert not answer.startswith(b"HTTP/1.1 2")


def test_slow_and_idle_connections_do_not_stop_others(region, plain):
    idle = [socket.create_connection(("127.0.0.1", region.plain_port), 60) for _ in range(200)]
    for one in idle[::2]:
        one.sendall(b"PUT /safe/slow HTTP/1.1\r\nHost: x\r\nContent-")
    start = time.monotonic()
    for _ in range(20):
        assert plain.request("GET", "/safe/kept/small")[0] == 200
    assert time.monotonic() - start < 40        # they may be so for a minute
    for one in idle:
        one.close()


def test_clients_that_go_away_in_the_middle_of_an_answer(region, plain):
    headers = plain.signer().headers("GET", "/safe/kept/large")
    text = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", region.plain_port), 60) as connection:
            connection.sendall(f"GET /safe/kept/large HTTP/1.1\r\n{text}\r\n".encode())
            connection.recv(100)


def test_random_requests_from_many_threads(region, plain):
    """Signed requests with random parts; none may bring the process down or change what is kept."""
    seed = int(os.environ.get("SEED", "7"))

    def play(number):
        dice = random.Random(seed * 100 + number)
        paths = ["/", "/safe", "/safe/kept/small", "/safe/r/%d" % number, "/none/x", "/safe/%zz", "/safe/" + "k" * 1030, "*"]
        queries = ["", "acl=", "uploads=", "uploadId=1", "partNumber=1&uploadId=" + "0" * 32, "list-type=2&max-keys=1",
                   "delimiter=/", "versions=", "tagging=", "x-id=a"]
        headers = [{}, {"Range": "bytes=1-"}, {"Range": "bytes=9-1"}, {"If-Match": '"x"'}, {"If-None-Match": "*"},
                   {"x-amz-copy-source": "/safe/kept/small"}, {"x-amz-copy-source": "////"}, {"Content-MD5": "?"},
                   {"x-amz-copy-source-range": "bytes=0-0"}, {"If-Modified-Since": "never"}]
        for _ in range(150):
            method = dice.choice(["GET", "HEAD", "POST", "PUT", "OPTIONS", "PATCH"])
            path, query = dice.choice(paths), dice.choice(queries)
            if method == "PUT" and "kept" in path:
                path = paths[3]
            body = dice.choice([b"", b"<a/>", b"x" * 40000]) if method in ("PUT", "POST") else b""
            status, _, _ = plain.request(method, path, query, body, **dice.choice(headers))
            assert 200 <= status < 600 and status != 500, (method, path, query, status)

    failures = []

    def guarded(number):
        try:
            play(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=[n]) for n in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failures, failures[0]
    for n in range(6):
        plain.request("DELETE", f"/safe/r/{n}")


def test_nothing_of_all_this_is_a_fault_of_ours(region, plain):
    log = region.log_path().read_text(errors="replace")
    for word in ("ERROR: AddressSanitizer", "runtime error", "kind=internal", "Assertion", " error "):
        assert word not in log, log[-3000:]
