"""Requests that reach a region which is not the account's home, and uploads whose account moves meanwhile."""
import contextlib
import hashlib
import http.client
import random

import pytest
from botocore.exceptions import ClientError

from domicile import Plain, Region, files_below

MIB = 1 << 20


@pytest.fixture
def pair(tmp_path):
    home = Region(tmp_path, "cn-bj", "CN").start()
    other = Region(tmp_path, "sg", "SG", beside=home).start()
    yield home, other
    other.stop()
    home.stop()


class SlowPut:
    """A PUT in ten pieces over the listener without TLS."""

    def __init__(self, region, account, path, kind, data):
        self.plain = Plain(region, account)
        signer = self.plain.signer()
        if kind == "chunked":
            headers = signer.headers("PUT", path, payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD", x_amz_meta_a="1",
                                     x_amz_decoded_content_length=str(len(data)))
            pieces = [data[at:at + 65536] for at in range(0, len(data), 65536)]
            data = signer.chunked(headers["Authorization"].rpartition("=")[2], pieces)
        else:
            payload = hashlib.sha256(data).hexdigest() if kind == "hash" else "UNSIGNED-PAYLOAD"
            headers = signer.headers("PUT", path, payload=payload, x_amz_meta_a="1")
        self.data = data
        self.connection = http.client.HTTPConnection(self.plain.host, timeout=60)
        self.connection.putrequest("PUT", path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**headers, "Content-Length": len(data)}.items():
            self.connection.putheader(name, value)
        self.connection.endheaders()

    def send(self, first, last):
        for i in range(first, last):
            self.connection.send(self.data[len(self.data) * i // 10:len(self.data) * (i + 1) // 10])

    def answer(self):
        answer = self.connection.getresponse()
        return answer.status, answer.read()


def test_an_object_without_a_length_is_refused_at_any_region(pair):
    account = pair[0].account("MY")
    pair[0].client(account).create_bucket(Bucket="lengths")

    def put(region, path):
        plain = Plain(region, account)
        connection = http.client.HTTPConnection(plain.host, timeout=60)
        connection.putrequest("PUT", path, skip_host=True, skip_accept_encoding=True)
        for name, value in plain.signer().headers("PUT", path).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()

    for region in pair:
        status, answer = put(region, "/lengths/k")
        assert (status, b"MissingContentLength" in answer) == (411, True), (region.name, status)
        assert Plain(region, account).request("GET", "/lengths/k")[0] == 404
        assert put(region, f"/made-in-{region.name}")[0] == 200


def test_headers_of_the_connection_may_be_signed_at_any_region(pair):
    account = pair[0].account("MY")
    pair[0].client(account).create_bucket(Bucket="signed")
    for region in pair:
        plain = Plain(region, account)
        for body in (b"small", bytes(3 * MIB)):
            for name, value in (("Expect", "100-continue"), ("Connection", "close"), ("TE", "trailers")):
                status, _, answer = plain.request("PUT", "/signed/k", "", body, **{name: value})
                assert status == 200, (region.name, name, answer)
        assert plain.request("GET", "/signed/k", "", Connection="close", TE="trailers")[2] == body
        headers = plain.signer().headers("GET", "/signed/k", Connection="close")
        status, _, answer = plain.send("GET", "/signed/k", {**headers, "Connection": "keep-alive"})
        assert (status, b"SignatureDoesNotMatch" in answer) == (403, True), region.name


@pytest.mark.parametrize("kind", ["hash", "unsigned", "chunked"])
@pytest.mark.parametrize("size", [20000, 200000, 9 * MIB])
def test_an_upload_goes_on_at_the_new_home(pair, kind, size):
    home, other = pair
    account, data = home.account("MY"), random.Random(size).randbytes(size)
    home.client(account).create_bucket(Bucket="slow")
    upload = SlowPut(home, account, "/slow/upload", kind, data)
    upload.send(0, 5)
    wave = home.wave_to(other)
    home.wait_home(account, "sg")
    upload.send(5, 10)
    assert upload.answer() == (200, b"")
    assert home.wait_wave(wave)["items"]["erased"] == 1
    for region in (home, other):
        got = region.client(account).get_object(Bucket="slow", Key="upload")
        assert got["Body"].read() == data and got["Metadata"] == {"a": "1"}


def store_bytes(region):
    total = 0
    for file in files_below(region.config.parent / "store"):
        with contextlib.suppress(FileNotFoundError):        # it has just been erased
            total += file.stat().st_size
    return total


def test_what_comes_after_the_move_is_not_stored_at_the_old_home(pair):
    home, other = pair
    account, data = home.account("MY"), random.Random(1).randbytes(60 * MIB)
    home.client(account).create_bucket(Bucket="slow")
    upload = SlowPut(home, account, "/slow/upload", "unsigned", data)
    upload.send(0, 1)
    home.wave_to(other)
    home.wait_home(account, "sg")
    before = store_bytes(home)
    upload.send(1, 9)
    assert store_bytes(home) < before + 10 * MIB
    upload.send(9, 10)
    assert upload.answer() == (200, b"")
    assert other.client(account).get_object(Bucket="slow", Key="upload")["Body"].read() == data


def test_a_body_that_is_wrong_is_refused_after_a_move_too(pair):
    home, other = pair
    account, data = home.account("MY"), random.Random(1).randbytes(9 * MIB)
    home.client(account).create_bucket(Bucket="slow")
    upload = SlowPut(home, account, "/slow/upload", "hash", data)
    upload.data = data[:-1] + bytes([data[-1] ^ 1])
    upload.send(0, 5)
    home.wave_to(other)
    home.wait_home(account, "sg")
    upload.send(5, 10)
    status, body = upload.answer()
    assert status == 400 and b"XAmzContentSHA256Mismatch" in body
    assert "Contents" not in other.client(account).list_objects_v2(Bucket="slow")


def use(s3, bucket):
    """A round trip of everything."""
    s3.create_bucket(Bucket=bucket)
    for size in (0, 10, 40000, 9 * MIB):
        data, key = random.Random(size).randbytes(size), f"k/{size} é+"
        s3.put_object(Bucket=bucket, Key=key, Body=data, Metadata={"m": "1"})
        got = s3.get_object(Bucket=bucket, Key=key)
        assert got["Body"].read() == data and got["Metadata"] == {"m": "1"}
        assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == size
        if size:
            part = s3.get_object(Bucket=bucket, Key=key, Range="bytes=5-99")
            assert part["Body"].read() == data[5:100]
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    upload = {"Bucket": bucket, "Key": "parts"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    parts = [{"PartNumber": n, "ETag": s3.upload_part(**upload, PartNumber=n, Body=b"p" * 6 * MIB)["ETag"]} for n in (1, 2)]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    listed = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert len(listed) == 6
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="none")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in listed]})
    s3.delete_bucket(Bucket=bucket)


def test_any_region_takes_any_request(pair):
    home, other = pair
    account = home.account("MY")
    use(home.client(account), "at-home")
    use(other.client(account), "from-afar")         # known from the directory
    home.wait_wave(home.wave_to(other))
    use(home.client(account), "left-behind")        # known from the forwarding address
    use(other.client(account), "at-home")
    assert home.client(account).list_buckets()["Buckets"] == []


def test_an_old_home_finds_one_that_moved_on_while_the_one_between_is_gone(pair, tmp_path):
    home, other = pair
    third = Region(tmp_path, "us", "US", beside=home)
    other.reload()
    third.start()
    try:
        account = home.account("MY")
        client = home.client(account)
        client.create_bucket(Bucket="far")
        home.wait_wave(home.wave_to(other))
        other.wait_wave(other.wave_to(third))
        assert home.home(account) == "us"
        other.stop()
        client.put_object(Bucket="far", Key="small", Body=b"x")
        big = random.Random(1).randbytes(3 * MIB)
        client.put_object(Bucket="far", Key="big", Body=big)     # found before, so its body goes there at once
        assert client.get_object(Bucket="far", Key="big")["Body"].read() == big
        assert third.client(account).get_object(Bucket="far", Key="small")["Body"].read() == b"x"
    finally:
        third.stop()


def test_an_account_that_moved_while_suspended_is_resumed_for_its_old_home_too(pair):
    home, other = pair
    account = home.account("MY")
    client = home.client(account)
    client.create_bucket(Bucket="bucket")
    home.command("account", "suspend", account["account"])
    home.wait_wave(home.wave_to(other))
    for region in pair:
        with pytest.raises(ClientError, match="AccessDenied"):
            region.client(account).list_buckets()
    home.command("account", "resume", account["account"])
    for region in pair:
        assert region.client(account).list_buckets()["Buckets"][0]["Name"] == "bucket"


def test_a_region_that_was_struck_from_the_file_is_refused(pair):
    home, other = pair
    account = home.account("MY")
    path = home.folder / "ca" / "regions.conf"
    text = path.read_text()
    client = other.client(account)
    assert client.list_buckets()["Buckets"] == []
    path.write_text(text.replace("\n[region sg]\n", "\n[region hk]\n"))
    home.reload()
    with pytest.raises(ClientError):
        client.list_buckets()
    assert "sg is not among the regions" in home.log_path().read_text()
    path.write_text(text)
    home.reload()
    assert client.list_buckets()["Buckets"] == []


def test_operators_of_a_region_that_may_not_are_refused_by_the_others(pair):
    home, other = pair
    account = home.account("MY")
    path = home.folder / "ca" / "regions.conf"
    path.write_text(path.read_text().replace("\n[region sg]\n", "\n[region sg]\noperator = no\n"))
    home.reload()
    for words in (("account", "remove", account["account"], "--yes"), ("account", "suspend", account["account"]),
                  ("wave", "plan", "--from", "cn-bj", "--to", "sg")):
        with pytest.raises(AssertionError, match="sg may not change"):
            other.command(*words)
    assert home.client(account).list_buckets()["Buckets"] == []
    assert "account.operate" in home.log() and "caller=sg" in home.log()
