"""The S3 operations: how answers come over TLS."""
import re
import socket
import ssl
import subprocess
import time
import urllib.request

import pytest

from test_20_s3 import account, bucket, region, s3, some_bytes


def presigned(region, s3, bucket, key, content, headers="", **kept):
    """KEY with CONTENT, and a request for it as it goes over a connection."""
    s3.put_object(Bucket=bucket, Key=key, Body=content, **kept)
    target = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}).removeprefix(region.url)
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{region.port}\r\n{headers}\r\n".encode()


class OverTls:
    """A connection that takes little at once."""

    def __init__(self, region):
        self.rest = b""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", region.port))
        sock.settimeout(60)
        self.tls = ssl.create_default_context(cafile=str(region.ca)).wrap_socket(sock, server_hostname="localhost")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tls.close()

    def answer(self, got=b""):
        """The body of the next answer, of which GOT has come."""
        got = self.rest + got
        while b"\r\n\r\n" not in got:
            got += self.some()
        self.head, _, got = got.partition(b"\r\n\r\n")
        assert self.head.startswith(b"HTTP/1.1 200 ")
        n = int(re.search(rb"content-length: (\d+)", self.head.lower())[1])
        while len(got) < n:
            got += self.some()
        self.rest = got[n:]
        return got[:n]

    def some(self):
        some = self.tls.recv(1 << 16)
        assert some, "the connection ended in an answer"
        return some


def filled(request, size, n):
    """REQUEST with N more headers and SIZE bytes in all."""
    each, rest = divmod(size - len(request), n)
    lines = [f"x-fill-{i:02}: ".encode().ljust(each - 2 + (rest if not i else 0), b"f") + b"\r\n" for i in range(n)]
    return request[:-2] + b"".join(lines) + b"\r\n"


def answered(region):
    with urllib.request.urlopen(f"http://127.0.0.1:{region.port + 3}/metrics", timeout=30) as answer:
        found = re.search(r'_requests_total\{method="GET",status="2xx"\} (\d+)', answer.read().decode())
    return int(found[1]) if found else 0


def wait_until_none_is_answered(region):
    """But for those that ask how many were."""
    end = time.monotonic() + 60
    now, last = answered(region), None
    while last is None or now > last + 1:
        assert time.monotonic() < end
        time.sleep(0.5)
        last, now = now, answered(region)
    return now


def test_a_small_answer_is_one_record(region, s3, bucket):
    content = some_bytes(4096)
    request = presigned(region, s3, bucket, "small", content)
    with OverTls(region) as user:
        for _ in range(3):
            user.tls.sendall(request)
            got = user.tls.recv(1 << 16)        # what one record holds
            assert got.endswith(b"\r\n\r\n" + content)


@pytest.mark.parametrize("size", [4096, 30000])
def test_answers_that_wait_for_their_client_are_whole(region, s3, bucket, size):
    content = some_bytes(size)
    request, n = presigned(region, s3, bucket, "waits", content), (12 << 20) // size
    with OverTls(region) as user:
        before = answered(region)
        user.tls.sendall(request * n)
        assert wait_until_none_is_answered(region) < before + n     # the sockets hold no more
        for _ in range(n):
            assert user.answer() == content


def test_a_client_may_want_records_that_are_smaller_than_the_headers(region, s3, bucket):
    content = some_bytes(30000)
    request = presigned(region, s3, bucket, "small-records", content, "Connection: close\r\n")
    got = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{region.port}", "-tls1_3", "-maxfraglen", "512",
                          "-quiet", "-ign_eof"], input=request, capture_output=True, timeout=60).stdout
    assert got.startswith(b"HTTP/1.1 200 ") and got.endswith(b"\r\n\r\n" + content)


def test_a_request_and_its_answer_may_both_have_the_largest_heads(region, s3, bucket):
    content, kept = some_bytes(4096), {"ContentDisposition": "d" * 3000, "CacheControl": "c" * 2900,
                                         "Metadata": {"m": "m" * 2000}}
    request = presigned(region, s3, bucket, "described", content, **kept)
    with OverTls(region) as user:
        for _ in range(2):
            user.tls.sendall(filled(request, 16 << 10, 99))
            assert user.answer() == content and b"d" * 3000 in user.head and b"c" * 2900 in user.head
        user.tls.sendall(request.replace(b"GET ", b"HEAD ", 1))     # another signature: no body, but headers
        assert user.tls.recv(1 << 16).startswith(b"HTTP/1.1 403 ")
    with OverTls(region) as user:
        user.tls.sendall(filled(request, 17 << 10, 99))
        assert b"<Code>RequestHeaderSectionTooLarge</Code>" in user.tls.recv(1 << 16)
