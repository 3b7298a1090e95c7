"""The S3 operations: how requests are signed, what their bodies are compared with, and who may."""
import base64
import hashlib
import hmac
import time
import urllib.parse
import zlib

import pytest
import requests
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from domicile import Plain, code_of
from test_20_s3 import MIB, account, bucket, plain, read, refused, region, s3, some_bytes


# --- signatures ---

def test_metadata_in_the_query_of_a_presigned_url_are_kept(region, account, s3, bucket):
    """As SDKs for JavaScript, Go, Ruby and PHP write it."""
    keys = Credentials(account["access_key"], account["secret_key"])

    def put(query, **headers):
        request = AWSRequest("PUT", f"{region.url}/{bucket}/linked?{query}", headers=headers)
        S3SigV4QueryAuth(keys, "s3", region.name, 60).add_auth(request)
        answer = requests.put(request.url, b"x", headers=headers, verify=str(region.ca))
        return answer.status_code, code_of(answer.content)

    assert put("X-Amz-Meta-Colour=sky%20blue&x-amz-meta-n=1", **{"x-amz-meta-n": "2"}) == (200, "")
    assert s3.head_object(Bucket=bucket, Key="linked")["Metadata"] == {"colour": "sky blue", "n": "2"}
    assert put("x-amz-meta-a=" + "b" * 3000) == (400, "MetadataTooLarge")
    for bad in ("x-amz-meta-a=b%0ax-amz-meta-c:d", "x-amz-meta-a%3a=b", "x-amz-meta-a%0d=b", "x-amz-meta-a=%01"):
        assert put(bad) == (400, "InvalidArgument"), bad
    assert s3.head_object(Bucket=bucket, Key="linked")["Metadata"] == {"colour": "sky blue", "n": "2"}


def test_presigned_urls(region, s3, bucket):
    url = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "pre signed/ä"}, ExpiresIn=60)
    assert requests.put(url, data=b"from a link", verify=region.ca).status_code == 200
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "pre signed/ä",
                                                   "ResponseContentType": "text/z"}, ExpiresIn=60)
    answer = requests.get(url, verify=region.ca)
    assert answer.content == b"from a link" and answer.headers["Content-Type"] == "text/z"
    other = url[:-1] + ("0" if url[-1] != "0" else "1")
    assert code_of(requests.get(other, verify=region.ca).content) == "SignatureDoesNotMatch"
    assert code_of(requests.get(url.replace("ResponseContentType", "x").replace("text%2Fz", "text%2Fq"),
                                verify=region.ca).content) == "SignatureDoesNotMatch"
    assert code_of(requests.delete(url, verify=region.ca).content) == "SignatureDoesNotMatch"


def streaming(plain, path, pieces, declared=None):
    """A PUT with signed chunks: the headers, the body, and what signed both."""
    signer = plain.signer()
    length = sum(map(len, pieces)) if declared is None else declared
    headers = signer.headers("PUT", path, payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                             Content_Encoding="aws-chunked,gzip", x_amz_decoded_content_length=str(length))
    return headers, signer.chunked(headers["Authorization"].rpartition("=")[2], pieces)


@pytest.mark.parametrize("sizes", [[], [1], [65536, 100], [65536] * 40 + [17], [8192] * 3, [3 * MIB]])
def test_chunks_that_are_signed_one_by_one(plain, s3, bucket, sizes):
    pieces = [some_bytes(size, i) for i, size in enumerate(sizes)]
    headers, body = streaming(plain, f"/{bucket}/chunks", pieces)
    status, _, answer = plain.send("PUT", f"/{bucket}/chunks", headers, body)
    assert status == 200, answer
    got = s3.get_object(Bucket=bucket, Key="chunks")
    assert got["Body"].read() == b"".join(pieces) and got["ContentEncoding"] == "gzip"


@pytest.mark.parametrize("size", [100, 300000])
def test_chunks_that_are_not_as_signed_leave_nothing(plain, s3, bucket, size):
    s3.put_object(Bucket=bucket, Key="chunks", Body=b"before")
    pieces = [some_bytes(size), some_bytes(size, 2)]
    headers, body = streaming(plain, f"/{bucket}/chunks", pieces)
    at = body.index(pieces[1])
    spoiled = body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]
    cut = body[:body.rindex(b"0;chunk-signature")]
    for wrong, codes in ((spoiled, ["SignatureDoesNotMatch"]), (cut, ["IncompleteBody", "InvalidRequest"]),
                         (body + b"x", ["InvalidRequest"])):
        status, _, answer = plain.send("PUT", f"/{bucket}/chunks", headers, wrong)
        assert status in (400, 403) and code_of(answer) in codes
    headers, body = streaming(plain, f"/{bucket}/chunks", pieces, declared=size)
    assert code_of(plain.send("PUT", f"/{bucket}/chunks", headers, body)[2]) in ("IncompleteBody", "InvalidRequest")
    assert read(s3, bucket, "chunks") == b"before"


# --- checksums ---

def b64(digest):
    return base64.b64encode(digest).decode()


def crc32(data):
    return b64(zlib.crc32(data).to_bytes(4, "big"))


def trailed(plain, path, pieces, value=None, signed=False, line=None, query="", **extra):
    """A PUT whose CRC-32, or VALUE, follows its body; LINE instead of the trailer's line."""
    signer = plain.signer()
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" if signed else "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    headers = signer.headers("PUT", path, query, payload=kind, Content_Encoding="aws-chunked",
                             x_amz_decoded_content_length=str(sum(map(len, pieces))),
                             x_amz_trailer="x-amz-checksum-crc32", **extra)
    value = crc32(b"".join(pieces)) if value is None else value
    line = f"x-amz-checksum-crc32:{value}\r\n" if line is None else line
    if not signed:
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
        return headers, body + b"0\r\n" + line.encode() + b"\r\n"
    body = signer.chunked(headers["Authorization"].rpartition("=")[2], pieces)[:-2]
    last = body[-66:-2].decode()
    digest = hashlib.sha256(line.replace("\r", "").encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256-TRAILER\n{signer.time}\n{signer.scope}\n{last}\n{digest}"
    signature = hmac.new(signer.signing_key(), text.encode(), hashlib.sha256).hexdigest()
    return headers, body + line.encode() + f"x-amz-trailer-signature:{signature}\r\n\r\n".encode()


def checksum_of(plain, path, **extra):
    """(checksum, its kind) that GET and HEAD answer."""
    seen = set()
    for method in ("GET", "HEAD"):
        status, headers, _ = plain.request(method, path, x_amz_checksum_mode="ENABLED", **extra)
        assert status in (200, 206)
        seen.add((headers["x-amz-checksum-crc32"], headers["x-amz-checksum-type"]))
    assert len(seen) == 1
    return seen.pop()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("sizes", [[], [1], [65536, 100], [8192] * 3, [3 * MIB], [65536] * 40 + [17]])
def test_a_checksum_after_the_body(plain, s3, bucket, sizes, signed):
    pieces = [some_bytes(size, i) for i, size in enumerate(sizes)]
    data, path = b"".join(pieces), f"/{bucket}/trailed"
    status, headers, answer = plain.send("PUT", path, *trailed(plain, path, pieces, signed=signed))
    assert status == 200, answer
    assert headers["x-amz-checksum-crc32"] == crc32(data)
    got = s3.get_object(Bucket=bucket, Key="trailed")
    assert got["Body"].read() == data and "ContentEncoding" not in got
    assert checksum_of(plain, path) == (crc32(data), "FULL_OBJECT")
    assert "x-amz-checksum-crc32" not in plain.request("GET", path)[1]
    if data:
        assert checksum_of(plain, path, Range="bytes=0-0") == (None, None)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("size", [100, 300000])
def test_a_trailer_that_is_wrong_leaves_nothing(plain, s3, bucket, size, signed):
    s3.put_object(Bucket=bucket, Key="trailed", Body=b"before")
    pieces, path = [some_bytes(size)], f"/{bucket}/trailed"
    for change, codes in (({"value": crc32(b"other")}, ["BadDigest"]),
                          ({"value": "short"}, ["InvalidRequest"]), ({"value": ""}, ["InvalidRequest"]),
                          ({"line": ""}, ["MalformedTrailerError"]),
                          ({"line": "x-amz-checksum-sha1:AAAA\r\n"}, ["MalformedTrailerError"]),
                          ({"value": "A" * 4000}, ["MalformedTrailerError"])):
        status, _, answer = plain.send("PUT", path, *trailed(plain, path, pieces, signed=signed, **change))
        assert status == 400 and code_of(answer) in codes, (change, answer)
    headers, body = trailed(plain, path, pieces, signed=signed)
    for wrong in (body[:body.index(b"x-amz-checksum")], body + b"x"):
        status, _, answer = plain.send("PUT", path, headers, wrong)
        assert (status, code_of(answer)) == (400, "MalformedTrailerError")
    if signed:
        body = body.replace(b"trailer-signature:", b"trailer-signature:" + b"0" * 64 + b"\r\n")
        assert code_of(plain.send("PUT", path, headers, body)[2]) == "SignatureDoesNotMatch"
    for name in ("x-amz-meta-a", "x-amz-checksum-md4"):
        headers = plain.signer().headers("PUT", path, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
                                         x_amz_decoded_content_length="0", x_amz_trailer=name)
        assert code_of(plain.send("PUT", path, headers, b"0\r\n\r\n")[2]) == "InvalidRequest"
    assert read(s3, bucket, "trailed") == b"before"


@pytest.mark.parametrize("size", [0, 100, 300000])
def test_a_checksum_before_the_body(plain, s3, bucket, size):
    body, path = some_bytes(size), f"/{bucket}/summed"
    right = {"crc32": crc32(body), "sha1": b64(hashlib.sha1(body).digest()), "sha256": b64(hashlib.sha256(body).digest())}
    for name, value in right.items():
        status, headers, _ = plain.request("PUT", path, body=body, **{f"x_amz_checksum_{name}": value})
        assert status == 200 and headers[f"x-amz-checksum-{name}"] == value
        assert headers["x-amz-checksum-type"] == "FULL_OBJECT"
        _, headers, got = plain.request("GET", path, x_amz_checksum_mode="ENABLED")
        assert got == body and headers[f"x-amz-checksum-{name}"] == value
    for change, code in (({"x_amz_checksum_crc32": crc32(b"other")}, "BadDigest"),
                         ({"x_amz_checksum_crc32c": right["crc32"]}, "BadDigest" if size else None),
                         ({"x_amz_checksum_crc64nvme": "AAAAAAAAAAE="}, "BadDigest"),
                         ({"x_amz_checksum_sha256": b64(hashlib.sha256(b"other").digest())}, "BadDigest"),
                         ({"x_amz_checksum_sha1": right["sha256"]}, "InvalidRequest"),
                         ({"x_amz_checksum_crc32": "!"}, "InvalidRequest"),
                         ({"x_amz_checksum_md4": "AAAA"}, "InvalidRequest"),
                         ({f"x_amz_checksum_{k}": v for k, v in right.items()}, "InvalidRequest")):
        if code:
            status, _, answer = plain.request("PUT", path, body=body, **change)
            assert (status, code_of(answer)) == (400, code), change
    assert read(s3, bucket, "summed") == body


def test_a_copy_has_the_checksum_of_its_source(plain, bucket):
    path = f"/{bucket}/original"
    assert plain.send("PUT", path, *trailed(plain, path, [b"original"]))[0] == 200
    for directive in ("COPY", "REPLACE"):
        status, _, answer = plain.request("PUT", f"/{bucket}/same", x_amz_copy_source=path, x_amz_meta_a="1",
                                          x_amz_metadata_directive=directive)
        assert status == 200, answer
        assert checksum_of(plain, f"/{bucket}/same") == (crc32(b"original"), "FULL_OBJECT")


def test_parts_with_checksums(plain, s3, bucket):
    path = f"/{bucket}/summed-parts"
    begin = {"x_amz_checksum_algorithm": "CRC32", "x_amz_checksum_type": "COMPOSITE"}
    assert code_of(plain.request("POST", path, "uploads=", **{**begin, "x_amz_checksum_algorithm": "MD4"})[2]) == \
        "InvalidRequest"
    _, _, answer = plain.request("POST", path, "uploads=", **begin)
    upload = answer.decode().partition("<UploadId>")[2].partition("<")[0]
    parts, listed = [some_bytes(5 * MIB, 1), b"tail"], ""
    for number, data in enumerate(parts, 1):
        query = f"partNumber={number}&uploadId={upload}"
        wrong = trailed(plain, path, [data], value=crc32(b"other"), query=query)
        assert code_of(plain.send("PUT", f"{path}?{query}", *wrong)[2]) == "BadDigest"
        status, headers, answer = plain.send("PUT", f"{path}?{query}", *trailed(plain, path, [data], query=query))
        assert status == 200, answer
        assert headers["x-amz-checksum-crc32"] == crc32(data)
        listed += f"<Part><PartNumber>{number}</PartNumber><ETag>{headers['ETag']}</ETag>" \
                  f"<ChecksumCRC32>{crc32(data)}</ChecksumCRC32></Part>"
    body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    bad = body.replace(crc32(b"tail").encode(), b"tail")
    assert code_of(plain.request("POST", path, f"uploadId={upload}", body=bad)[2]) == "MalformedXML"
    status, _, answer = plain.request("POST", path, f"uploadId={upload}", body=body)
    assert status == 200, answer
    assert read(s3, bucket, "summed-parts") == b"".join(parts)
    digests = b"".join(base64.b64decode(crc32(data)) for data in parts)
    assert checksum_of(plain, path) == (crc32(digests) + "-2", "COMPOSITE")


@pytest.mark.parametrize("size", [100, 300000])
def test_a_body_that_is_not_as_claimed_leaves_nothing(plain, s3, bucket, size):
    s3.put_object(Bucket=bucket, Key="claimed", Body=b"before")
    body = some_bytes(size)
    path = f"/{bucket}/claimed"
    status, _, answer = plain.request("PUT", path, body=body, payload=hashlib.sha256(b"other").hexdigest())
    assert (status, code_of(answer)) == (400, "XAmzContentSHA256Mismatch")
    for md5, code in (("AAAAAAAAAAAAAAAAAAAAAA==", "BadDigest"), ("short", "InvalidDigest"), ("", "InvalidDigest")):
        status, _, answer = plain.request("PUT", path, body=body, Content_MD5=md5)
        assert (status, code_of(answer)) == (400, code), md5
    assert read(s3, bucket, "claimed") == b"before"
    assert plain.request("PUT", path, body=body, payload="UNSIGNED-PAYLOAD")[0] == 200
    assert read(s3, bucket, "claimed") == body


# --- who may ---

def test_accounts_do_not_see_each_other(region, s3, bucket):
    other = region.client(region.account())
    s3.put_object(Bucket=bucket, Key="mine", Body=b"mine")
    assert other.list_buckets()["Buckets"] == []
    assert refused(other.get_object, Bucket=bucket, Key="mine") == (404, "NoSuchBucket")
    other.create_bucket(Bucket=bucket)
    other.put_object(Bucket=bucket, Key="mine", Body=b"theirs")
    assert read(s3, bucket, "mine") == b"mine"


def test_a_service_that_was_not_granted_is_closed(region):
    s3 = region.client(region.account(grant="files"))
    s3.create_bucket(Bucket="allowed")
    with pytest.raises(ClientError, match="backup") as caught:
        s3.create_bucket(Bucket="backup-closed")
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    assert refused(s3.put_object, Bucket="backup-closed", Key="k", Body=b"") == (403, "AccessDenied")


def test_strangers_are_refused(region, account, plain, bucket):
    for path in ("/", f"/{bucket}", f"/{bucket}/plain"):
        status, _, body = plain.send("GET", path, {"Host": plain.host})
        assert (status, code_of(body)) == (403, "AccessDenied")
    for key in ("AKIAIOSFODNN7EXAMPLE", account["access_key"][:-1] + "x", "DM" + "0" * 36, ""):
        stranger = Plain(region, {"access_key": key, "secret_key": "s"})
        status, _, body = stranger.request("GET", "/")
        assert status in (400, 403) and code_of(body) in ("InvalidAccessKeyId", "AuthorizationHeaderMalformed")
    thief = Plain(region, {**account, "secret_key": "guessed"})
    assert code_of(thief.request("GET", "/")[2]) == "SignatureDoesNotMatch"


def test_a_suspended_account_is_refused_until_it_is_resumed(region):
    account = region.account()
    s3 = region.client(account)
    s3.create_bucket(Bucket="paused")
    region.command("account", "suspend", account["account"])
    for call, arguments in ((s3.list_buckets, {}), (s3.put_object, {"Bucket": "paused", "Key": "k", "Body": b""})):
        with pytest.raises(ClientError, match="suspended") as caught:
            call(**arguments)
        assert caught.value.response["Error"]["Code"] == "AccessDenied"
    region.command("account", "resume", account["account"])
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["paused"]


def test_an_error_says_what_and_where(plain, bucket):
    status, headers, body = plain.request("GET", f"/{bucket}/no%20such")
    text = body.decode()
    assert status == 404 and headers["Content-Type"] == "application/xml"
    assert "<Code>NoSuchKey</Code>" in text and f"<Resource>/{bucket}/no%20such</Resource>" in text
    assert f"<RequestId>{headers['x-amz-request-id']}</RequestId>" in text and "<HostId>sg</HostId>" in text
