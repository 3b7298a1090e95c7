"""The S3 operations, as boto3 uses them and, where it can't, by hand."""
import concurrent.futures
import datetime
import hashlib
import random
import re
import signal
import time
import urllib.parse
import zlib

import pytest
import requests
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from domicile import Plain, Region, code_of

MIB = 1 << 20


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    one = Region(tmp_path_factory.mktemp("s3")).start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def account(region):
    return region.account()


@pytest.fixture(scope="module")
def s3(region, account):
    return region.client(account)


@pytest.fixture(scope="module")
def plain(region, account):
    return Plain(region, account)


@pytest.fixture(scope="module")
def bucket(s3):
    s3.create_bucket(Bucket="things", CreateBucketConfiguration={"LocationConstraint": "sg"})
    return "things"


def some_bytes(n, seed=1):
    return random.Random(seed).randbytes(n)


def refused(call, **arguments):
    """(status, code) of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def read(s3, bucket, key, **arguments):
    return s3.get_object(Bucket=bucket, Key=key, **arguments)["Body"].read()


# --- buckets ---

def test_buckets_are_made_found_listed_and_removed(s3):
    s3.create_bucket(Bucket="one.two-three")
    s3.create_bucket(Bucket="backup-pc", CreateBucketConfiguration={"LocationConstraint": "anywhere"})
    assert s3.head_bucket(Bucket="one.two-three")["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == "sg"
    assert s3.get_bucket_location(Bucket="one.two-three")["LocationConstraint"] == "sg"
    names = [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert names == sorted(names) and {"one.two-three", "backup-pc"} <= set(names)
    made = [b["CreationDate"] for b in s3.list_buckets()["Buckets"]]
    assert all(abs(datetime.datetime.now(datetime.timezone.utc) - m) < datetime.timedelta(minutes=5) for m in made)
    assert refused(s3.create_bucket, Bucket="one.two-three") == (409, "BucketAlreadyOwnedByYou")
    s3.put_object(Bucket="backup-pc", Key="k", Body=b"x")
    assert refused(s3.delete_bucket, Bucket="backup-pc") == (409, "BucketNotEmpty")
    s3.delete_object(Bucket="backup-pc", Key="k")
    for name in ("one.two-three", "backup-pc"):
        s3.delete_bucket(Bucket=name)
        assert refused(s3.head_bucket, Bucket=name) == (404, "404")
        assert refused(s3.delete_bucket, Bucket=name) == (404, "NoSuchBucket")


@pytest.mark.parametrize("name", ["ab", "A-B-C", "a_b_c", "-abc", "abc-", "a..b", "a.-b", "a-.b", "192.168.0.1", "x" * 63 + "y"])
def test_a_bucket_name_is_as_s3_wants_it(plain, name):
    status, _, body = plain.request("PUT", f"/{name}")
    assert (status, code_of(body)) == (400, "InvalidBucketName")


def test_what_a_bucket_does_not_have_is_said_as_clients_expect(s3, bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    grants = s3.get_bucket_acl(Bucket=bucket)["Grants"]
    assert [g["Permission"] for g in grants] == ["FULL_CONTROL"]
    for call, code in (
            (s3.get_bucket_policy, "NoSuchBucketPolicy"),
            (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
            (s3.get_bucket_tagging, "NoSuchTagSet"),
            (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
            (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
            (s3.get_bucket_website, "NoSuchWebsiteConfiguration")):
        assert refused(call, Bucket=bucket) == (404, code)
        assert refused(call, Bucket="not-there") == (404, "NoSuchBucket")
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)


def test_what_is_not_implemented_is_named(s3, bucket):
    with pytest.raises(ClientError, match="accelerate"):
        s3.put_bucket_accelerate_configuration(Bucket=bucket, AccelerateConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="plain", Body=b"1")
    for call, arguments in (
            (s3.get_object_torrent, {"Key": "plain"}),
            (s3.put_object, {"Key": "plain", "ServerSideEncryption": "aws:kms"}),
            (s3.put_object, {"Key": "plain", "SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"k" * 32})):
        assert refused(call, Bucket=bucket, **arguments) == (501, "NotImplemented"), arguments
    assert read(s3, bucket, "plain") == b"1"


# --- objects ---

SIZES = [0, 1, 4096, 32767, 32768, 32769, 65536, 65537, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB + 12345]


@pytest.mark.parametrize("size", SIZES)
def test_an_object_comes_back_as_it_went_in(s3, bucket, size):
    data = some_bytes(size, size)
    digest = hashlib.md5(data).hexdigest()
    assert s3.put_object(Bucket=bucket, Key=f"size/{size}", Body=data)["ETag"] == f'"{digest}"'
    answer = s3.get_object(Bucket=bucket, Key=f"size/{size}")
    assert answer["Body"].read() == data
    assert answer["ETag"] == f'"{digest}"' and answer["ContentLength"] == size
    assert answer["AcceptRanges"] == "bytes" and answer["ContentType"] == "binary/octet-stream"
    head = s3.head_object(Bucket=bucket, Key=f"size/{size}")
    assert head["ContentLength"] == size and head["ETag"] == f'"{digest}"'
    assert head["LastModified"] == answer["LastModified"]


def test_a_key_is_replaced_and_removed(s3, bucket):
    for data in (b"first", some_bytes(5 * MIB), b"", b"last"):
        s3.put_object(Bucket=bucket, Key="again", Body=data)
        assert read(s3, bucket, "again") == data
    s3.delete_object(Bucket=bucket, Key="again")
    assert refused(s3.get_object, Bucket=bucket, Key="again") == (404, "NoSuchKey")
    assert refused(s3.head_object, Bucket=bucket, Key="again") == (404, "404")
    s3.delete_object(Bucket=bucket, Key="again")
    for call, arguments in ((s3.get_object, {}), (s3.delete_object, {}), (s3.put_object, {"Body": b"x"}),
                            (s3.put_object, {"Body": b"x" * 100000})):
        assert refused(call, Bucket="not-there", Key="k", **arguments) == (404, "NoSuchBucket")


ODD_KEYS = ["../../etc/passwd", "./a", "a//b", "/leading", "trailing/", "//", ".", "..", "a b", "a+b", "a%2Fb", "%",
            "a?b=c&d", "#", "a=b", "tab\there", "new\nline", "\x01\x7f", "quote\"'<>&;", "日本語/हिन्दी/🏠", "é", "e\u0301",
            "\ufffd", "*", "~", "null", "k" * 1024, "ü" * 512, "\u2028", "a\\b", "$(x)`y`", "%s%n", "' OR 1=1 --"]


@pytest.mark.parametrize("key", ODD_KEYS, ids=range(len(ODD_KEYS)))
def test_any_key_is_just_a_key(s3, bucket, key):
    body = key.encode()
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    assert read(s3, bucket, key) == body
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(body)
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)["Contents"]
    assert [o["Key"] for o in listed] == [key]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    assert read(s3, bucket, "copy") == body
    s3.delete_object(Bucket=bucket, Key=key)
    assert refused(s3.get_object, Bucket=bucket, Key=key) == (404, "NoSuchKey")


def test_a_key_that_is_none_is_refused(s3, plain, bucket):
    assert refused(s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"") == (400, "KeyTooLongError")
    for path in ("%00", "a%00b", "%ff", "%c0%af", "%ed%a0%80", "%", "%zz"):
        status, _, body = plain.request("PUT", f"/{bucket}/{path}", body=b"x")
        assert status == 400 and code_of(body) in ("InvalidURI", "InvalidArgument"), path


def test_headers_and_metadata_are_kept(s3, bucket):
    kept = {"ContentType": "text/plain; charset=utf-8", "CacheControl": "max-age=5", "ContentLanguage": "en",
            "ContentDisposition": 'attachment; filename="a.txt"', "ContentEncoding": "gzip",
            "Expires": datetime.datetime(2040, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)}
    meta = {"colour": "blue", "long": "x" * 500, "sign": "a:b;c=d, \"e\"", "empty": "", "n" * 600: "long name"}
    s3.put_object(Bucket=bucket, Key="dressed", Body=b"clothes", Metadata=meta, **kept)
    for call in (s3.get_object, s3.head_object):
        answer = call(Bucket=bucket, Key="dressed")
        assert answer["Metadata"] == meta
        assert {name: answer[name] for name in kept} == kept
    other = s3.get_object(Bucket=bucket, Key="dressed", ResponseContentType="image/png",
                          ResponseCacheControl="no-store", ResponseContentDisposition="inline",
                          ResponseContentEncoding="identity", ResponseContentLanguage="de",
                          ResponseExpires=datetime.datetime(2041, 1, 1))
    assert other["ContentType"] == "image/png" and other["CacheControl"] == "no-store"
    assert other["ContentDisposition"] == "inline" and other["ContentLanguage"] == "de"
    assert other["ContentEncoding"] == "identity" and other["Expires"].year == 2041
    assert refused(s3.put_object, Bucket=bucket, Key="dressed", Body=b"", Metadata={"big": "x" * 3000}) == \
        (400, "MetadataTooLarge")
    assert read(s3, bucket, "dressed") == b"clothes"


def test_a_tab_in_a_header_is_kept(plain, s3, bucket):
    headers = plain.signer().headers("PUT", f"/{bucket}/tab", payload="UNSIGNED-PAYLOAD")
    kept = {"Content-Disposition": "attachment;\tfilename=a", "Content-Type": "text/plain;\tcharset=utf-8"}
    assert plain.send("PUT", f"/{bucket}/tab", {**headers, **kept}, b"x")[0] == 200
    head = s3.head_object(Bucket=bucket, Key="tab")
    assert (head["ContentDisposition"], head["ContentType"]) == tuple(kept.values())


def test_acl_of_an_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="owned", Body=b"")
    assert s3.get_object_acl(Bucket=bucket, Key="owned")["Grants"][0]["Permission"] == "FULL_CONTROL"
    assert refused(s3.get_object_acl, Bucket=bucket, Key="nobody's") == (404, "NoSuchKey")


# --- ranges and conditions ---

@pytest.mark.parametrize("size", [1000, 9 * MIB])
def test_ranges(s3, bucket, size):
    data = some_bytes(size)
    s3.put_object(Bucket=bucket, Key="ranged", Body=data)
    edges = [0, 1, 499, size // 2, size - 2, size - 1] + [e for e in (65535, 65536, 4 * MIB - 1, 4 * MIB) if e < size]
    for first in edges:
        for last in edges:
            if last < first:
                continue
            answer = s3.get_object(Bucket=bucket, Key="ranged", Range=f"bytes={first}-{last}")
            assert answer["Body"].read() == data[first:last + 1]
            assert answer["ContentRange"] == f"bytes {first}-{last}/{size}"
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert read(s3, bucket, "ranged", Range="bytes=-10") == data[-10:]
    assert read(s3, bucket, "ranged", Range=f"bytes=-{size + 5}") == data
    assert read(s3, bucket, "ranged", Range=f"bytes={size - 7}-") == data[-7:]
    assert read(s3, bucket, "ranged", Range=f"bytes=10-{size * 9}") == data[10:]
    assert read(s3, bucket, "ranged", Range=f"bytes=10-{10 ** 20}") == data[10:]
    assert read(s3, bucket, "ranged", Range=f"bytes=-{10 ** 20}") == data
    for ignored in ("bytes=5-4", "bytes=0-1,3-4", "lines=1-2", "bytes=x"):
        answer = s3.get_object(Bucket=bucket, Key="ranged", Range=ignored)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200 and answer["Body"].read() == data
    for outside in (f"bytes={size}-", "bytes=-0", f"bytes={size * 2}-{size * 3}"):
        assert refused(s3.get_object, Bucket=bucket, Key="ranged", Range=outside) == (416, "InvalidRange")
    head = s3.head_object(Bucket=bucket, Key="ranged", Range="bytes=0-9")
    assert head["ContentLength"] == 10 and head["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_conditions_of_a_read(plain, s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="watched", Body=b"still")["ETag"]
    when = s3.head_object(Bucket=bucket, Key="watched")["LastModified"]
    before, after = when - datetime.timedelta(hours=1), when + datetime.timedelta(hours=1)
    for fine in ({"IfMatch": etag}, {"IfMatch": "*"}, {"IfNoneMatch": '"x"'}, {"IfModifiedSince": before},
                 {"IfUnmodifiedSince": when}, {"IfMatch": etag, "IfUnmodifiedSince": before},
                 {"IfNoneMatch": '"x"', "IfModifiedSince": after}):
        assert read(s3, bucket, "watched", **fine) == b"still"
    for failing in ({"IfMatch": '"x"'}, {"IfUnmodifiedSince": before}, {"IfMatch": '"x"', "IfUnmodifiedSince": after}):
        assert refused(s3.get_object, Bucket=bucket, Key="watched", **failing) == (412, "PreconditionFailed")
        assert refused(s3.head_object, Bucket=bucket, Key="watched", **failing)[0] == 412
    for same in ({"IfNoneMatch": etag}, {"IfNoneMatch": "*"}, {"IfModifiedSince": when},
                 {"IfNoneMatch": etag, "IfModifiedSince": before}):
        assert refused(s3.get_object, Bucket=bucket, Key="watched", **same)[0] == 304
        assert refused(s3.head_object, Bucket=bucket, Key="watched", **same)[0] == 304
    for method in ("GET", "HEAD"):
        status, headers, body = plain.request(method, f"/{bucket}/watched", If_None_Match=etag)
        assert (status, headers["Content-Length"], headers["ETag"], body) == (304, "5", etag, b"")


def test_conditions_of_a_write(plain, s3, bucket):
    def put(body, **condition):
        status, _, answer = plain.request("PUT", f"/{bucket}/guarded", body=body, **condition)
        return status, code_of(answer)

    assert put(b"0", If_Match="*") == (404, "NoSuchKey")
    assert put(b"1", If_None_Match="*") == (200, "")
    assert put(b"2", If_None_Match="*") == (412, "PreconditionFailed")
    assert read(s3, bucket, "guarded") == b"1"
    etag = s3.head_object(Bucket=bucket, Key="guarded")["ETag"]
    assert put(b"3" * 100000, If_Match='"x"') == (412, "PreconditionFailed")
    assert put(b"3" * 100000, If_Match=etag) == (200, "")
    assert put(b"4", If_Match=etag) == (412, "PreconditionFailed")
    assert read(s3, bucket, "guarded") == b"3" * 100000
    status, _, answer = plain.request("DELETE", f"/{bucket}/guarded", If_Match='"x"')
    assert (status, code_of(answer)) == (412, "PreconditionFailed")
    assert read(s3, bucket, "guarded") == b"3" * 100000


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
def test_no_condition_is_left_out(region, plain, s3, bucket, name):
    """ETags on reading may be a list; in headers of their own, or on writing, all but one would not be looked at."""
    etag = s3.put_object(Bucket=bucket, Key="many", Body=b"1")["ETag"]
    held, missed = (200, 412) if name == "If-Match" else (304, 200)
    assert plain.request("GET", f"/{bucket}/many", **{name: f'"x", {etag}'})[0] == held
    assert plain.request("GET", f"/{bucket}/many", **{name: '"x", "y"'})[0] == missed
    for method, values in (("GET", ['"x"', etag]), ("PUT", ['"x"', etag]), ("PUT", [f'"x", {etag}'])):
        headers = plain.signer().headers(method, f"/{bucket}/many")
        lines = "".join(f"{k}: {v}\r\n" for k, v in [*headers.items(), *((name, value) for value in values)])
        answer = plain.raw(f"{method} /{bucket}/many HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode(), 30)
        assert answer.startswith(b"HTTP/1.1 400 ") and code_of(answer) == "InvalidArgument", answer
    assert read(s3, bucket, "many") == b"1"


# --- copies ---

@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_copies(s3, bucket, size):
    data = some_bytes(size, 3)
    s3.put_object(Bucket=bucket, Key="original", Body=data, ContentType="text/x", Metadata={"a": "1"})
    source = {"Bucket": bucket, "Key": "original"}
    etag = s3.head_object(**source)["ETag"]
    assert s3.copy_object(Bucket=bucket, Key="copied", CopySource=source)["CopyObjectResult"]["ETag"] == etag
    copied = s3.get_object(Bucket=bucket, Key="copied")
    assert copied["Body"].read() == data and copied["ContentType"] == "text/x" and copied["Metadata"] == {"a": "1"}
    s3.copy_object(Bucket=bucket, Key="copied", CopySource=source, MetadataDirective="REPLACE",
                   ContentType="text/y", Metadata={"b": "2"})
    copied = s3.head_object(Bucket=bucket, Key="copied")
    assert copied["ContentType"] == "text/y" and copied["Metadata"] == {"b": "2"}
    s3.delete_object(**source)
    assert read(s3, bucket, "copied") == data

    s3.create_bucket(Bucket="backup-copies")        # another service, so another vault and key
    s3.copy_object(Bucket="backup-copies", Key="far", CopySource=f"/{bucket}/copied")
    assert read(s3, "backup-copies", "far") == data
    s3.delete_object(Bucket="backup-copies", Key="far")
    s3.delete_bucket(Bucket="backup-copies")

    own = {"Bucket": bucket, "Key": "copied"}
    assert refused(s3.copy_object, **own, CopySource=own) == (400, "InvalidRequest")
    s3.copy_object(**own, CopySource=own, MetadataDirective="REPLACE", Metadata={"c": "3"})
    assert s3.head_object(**own)["Metadata"] == {"c": "3"} and read(s3, bucket, "copied") == data


def test_copies_are_refused_where_they_should_be(s3, bucket):
    s3.put_object(Bucket=bucket, Key="from", Body=b"from")
    etag = s3.head_object(Bucket=bucket, Key="from")["ETag"]
    s3.put_object(Bucket=bucket, Key="to", Body=b"to")

    def copy(source=f"{bucket}/from", **arguments):
        return refused(s3.copy_object, Bucket=bucket, Key="to", CopySource=source, **arguments)

    assert copy(f"{bucket}/nothing") == (404, "NoSuchKey")
    assert copy("not-there/nothing") == (404, "NoSuchBucket")
    assert copy("from") == (400, "InvalidArgument")
    assert copy(f"{bucket}/from?versionId=x") == (400, "InvalidArgument")
    assert copy(f"{bucket}/from?versionId=0123456789abcdef") == (404, "NoSuchVersion")
    assert copy(MetadataDirective="PERHAPS") == (400, "InvalidArgument")
    past, future = datetime.datetime(2020, 1, 1), datetime.datetime(2040, 1, 1)
    for failing in ({"CopySourceIfMatch": '"x"'}, {"CopySourceIfNoneMatch": etag},
                    {"CopySourceIfModifiedSince": future}, {"CopySourceIfUnmodifiedSince": past}):
        assert copy(**failing) == (412, "PreconditionFailed")
    assert read(s3, bucket, "to") == b"to"
    s3.copy_object(Bucket=bucket, Key="to", CopySource=f"{bucket}/from", CopySourceIfMatch=etag,
                   CopySourceIfUnmodifiedSince=past)
    assert read(s3, bucket, "to") == b"from"


# --- listing ---

@pytest.fixture(scope="module")
def shelf(s3):
    """A bucket with a known order of keys."""
    s3.create_bucket(Bucket="shelf")
    keys = sorted([f"{a}/{b}/{n}" for a in "abc" for b in "xy" for n in range(3)] +
                  ["a", "a0", "b.", "z z", "é/1", "é/2", "日/1"], key=str.encode)
    for key in keys:
        s3.put_object(Bucket="shelf", Key=key, Body=b"")
    return keys


def folded(keys, prefix, delimiter):
    contents, prefixes = [], []
    for key in keys:
        if not key.startswith(prefix):
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            contents.append(key)
        elif key[:at + len(delimiter)] not in prefixes:
            prefixes.append(key[:at + len(delimiter)])
    return contents, prefixes


@pytest.mark.parametrize("version", ["list_objects", "list_objects_v2"])
@pytest.mark.parametrize("page", [1, 2, 3, 1000])
@pytest.mark.parametrize("prefix,delimiter", [("", ""), ("", "/"), ("a", "/"), ("a/", "/"), ("a/x/", "/"), ("é", "/"),
                                              ("", "x/"), ("nothing", "/"), ("", "a")])
def test_pages_of_a_list_have_everything_once(s3, shelf, version, page, prefix, delimiter):
    contents, prefixes = [], []
    for one in s3.get_paginator(version).paginate(Bucket="shelf", Prefix=prefix, Delimiter=delimiter,
                                                  PaginationConfig={"PageSize": page}):
        here = [o["Key"] for o in one.get("Contents", [])]
        folds = [p["Prefix"] for p in one.get("CommonPrefixes", [])]
        assert len(here) + len(folds) <= page
        contents += here
        prefixes += folds
    assert (contents, prefixes) == folded(shelf, prefix, delimiter)


def test_a_list_says_what_it_was_asked(s3, shelf):
    one = s3.list_objects_v2(Bucket="shelf", MaxKeys=2, StartAfter="a/x/1", FetchOwner=True)
    assert [o["Key"] for o in one["Contents"]] == [k for k in shelf if k.encode() > b"a/x/1"][:2]
    assert one["KeyCount"] == 2 and one["MaxKeys"] == 2 and one["IsTruncated"] and one["StartAfter"] == "a/x/1"
    assert all(o["Owner"]["ID"] and o["Size"] == 0 and o["ETag"] for o in one["Contents"])
    assert "Owner" not in s3.list_objects_v2(Bucket="shelf", MaxKeys=1)["Contents"][0]
    none = s3.list_objects_v2(Bucket="shelf", MaxKeys=0)
    assert none["KeyCount"] == 0 and not none["IsTruncated"] and "Contents" not in none
    assert s3.list_objects_v2(Bucket="shelf", MaxKeys=5000)["MaxKeys"] == 1000
    assert refused(s3.list_objects_v2, Bucket="shelf", ContinuationToken="~~") == (400, "InvalidArgument")
    assert refused(s3.list_objects_v2, Bucket="shelf", MaxKeys=-1) == (400, "InvalidArgument")
    for version in (s3.list_objects, s3.list_objects_v2):
        assert refused(version, Bucket="not-there") == (404, "NoSuchBucket")
        assert refused(version, Bucket="not-there", MaxKeys=0) == (404, "NoSuchBucket")


def test_a_listing_without_encoding_tells_names_that_xml_cannot_hold_apart(s3, plain):
    s3.create_bucket(Bucket="controls")
    keys = ["\x01", "\x02", "\x1f\r", "\uffff"]
    for key in keys:
        s3.put_object(Bucket="controls", Key=key, Body=b"")
    for query in ("", "list-type=2", "versions="):
        text = plain.request("GET", "/controls", query)[2]
        assert re.findall(rb"<Key>(.*?)</Key>", text) == [b"&#x1;", b"&#x2;", b"&#x1f;&#13;", b"&#xffff;"]
    assert [o["Key"] for o in s3.list_objects(Bucket="controls")["Contents"]] == keys
    s3.create_multipart_upload(Bucket="controls", Key="\x01")     # whose answer has to be XML for boto3
    for key in keys:
        s3.delete_object(Bucket="controls", Key=key)


def test_many_keys_go_at_once(s3, bucket):
    keys = [f"heap/{i}" for i in range(1000)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=key.encode()), keys))
    some = [{"Key": key} for key in keys[:3]] + [{"Key": "was never there"}]
    gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": some})
    assert [d["Key"] for d in gone["Deleted"]] == [s["Key"] for s in some] and "Errors" not in gone
    rest = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True})
    assert "Deleted" not in rest and "Errors" not in rest
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket, Prefix="heap/")
    assert refused(s3.delete_objects, Bucket="not-there", Delete={"Objects": some}) == (404, "NoSuchBucket")
    many = [{"Key": str(i)} for i in range(1001)]
    assert refused(s3.delete_objects, Bucket=bucket, Delete={"Objects": many}) == (400, "MalformedXML")
    odd = [{"Key": key} for key in ODD_KEYS if "\x01" not in key]
    for one in odd:
        s3.put_object(Bucket=bucket, Key=one["Key"], Body=b"")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": odd, "Quiet": True})
    for one in odd:
        assert refused(s3.head_object, Bucket=bucket, Key=one["Key"])[0] == 404


# --- multipart ---

def test_an_object_in_parts(s3, bucket):
    parts = [some_bytes(5 * MIB, 11), some_bytes(6 * MIB, 12), b"tail"]
    begun = s3.create_multipart_upload(Bucket=bucket, Key="assembled", ContentType="x/y", Metadata={"m": "1"})
    upload = {"Bucket": bucket, "Key": "assembled", "UploadId": begun["UploadId"]}
    done = []
    for number, data in ((3, parts[2]), (1, parts[0]), (7, parts[1]), (7, parts[1])):
        etag = s3.upload_part(**upload, PartNumber=number, Body=data)["ETag"]
        assert etag == f'"{hashlib.md5(data).hexdigest()}"'
    done = [{"PartNumber": n, "ETag": f'"{hashlib.md5(d).hexdigest()}"'} for n, d in ((1, parts[0]), (7, parts[1]))]
    listed = s3.list_parts(**upload)
    assert [(p["PartNumber"], p["Size"]) for p in listed["Parts"]] == [(1, 5 * MIB), (3, 4), (7, 6 * MIB)]
    first = s3.list_parts(**upload, MaxParts=2)
    assert first["IsTruncated"] and first["NextPartNumberMarker"] == 3
    assert [p["PartNumber"] for p in s3.list_parts(**upload, PartNumberMarker=3)["Parts"]] == [7]
    uploads = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [(u["Key"], u["UploadId"]) for u in uploads] == [("assembled", begun["UploadId"])]
    assert refused(s3.get_object, Bucket=bucket, Key="assembled") == (404, "NoSuchKey")

    answer = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
    digests = b"".join(hashlib.md5(d).digest() for d in parts[:2])
    assert answer["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-2"'
    assert answer["Bucket"] == bucket and answer["Key"] == "assembled"
    assert answer["Location"] == f"{s3.meta.endpoint_url}/{bucket}/assembled"
    whole = s3.get_object(Bucket=bucket, Key="assembled")
    assert whole["Body"].read() == parts[0] + parts[1]
    assert whole["ContentType"] == "x/y" and whole["Metadata"] == {"m": "1"}
    assert read(s3, bucket, "assembled", Range=f"bytes={5 * MIB - 3}-{5 * MIB + 2}") == parts[0][-3:] + parts[1][:3]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    again = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
    assert again["ETag"] == answer["ETag"]


def test_parts_that_do_not_fit_are_refused(s3, bucket):
    begun = s3.create_multipart_upload(Bucket=bucket, Key="misfit")
    upload = {"Bucket": bucket, "Key": "misfit", "UploadId": begun["UploadId"]}
    small = [{"PartNumber": n, "ETag": s3.upload_part(**upload, PartNumber=n, Body=b"x")["ETag"]} for n in (1, 2)]

    def complete(parts, **other):
        return refused(s3.complete_multipart_upload, **{**upload, **other}, MultipartUpload={"Parts": parts})

    assert complete(small) == (400, "EntityTooSmall")
    assert complete(small[::-1]) == (400, "InvalidPartOrder")
    assert complete([small[0], small[0]]) == (400, "InvalidPartOrder")
    assert complete([{"PartNumber": 1, "ETag": '"x"'}]) == (400, "InvalidPart")
    assert complete([{"PartNumber": 9, "ETag": small[0]["ETag"]}]) == (400, "InvalidPart")
    assert complete(small, UploadId="0" * 32) == (404, "NoSuchUpload")
    assert complete(small, Bucket="not-there") == (404, "NoSuchBucket")
    for number in (0, 10001):
        assert refused(s3.upload_part, **upload, PartNumber=number, Body=b"") == (400, "InvalidArgument")
    assert refused(s3.upload_part, **{**upload, "UploadId": "nonsense"}, PartNumber=1, Body=b"x") == \
        (404, "NoSuchUpload")
    s3.abort_multipart_upload(**upload)
    assert refused(s3.abort_multipart_upload, **upload) == (404, "NoSuchUpload")
    assert refused(s3.list_parts, **upload) == (404, "NoSuchUpload")
    assert refused(s3.get_object, Bucket=bucket, Key="misfit") == (404, "NoSuchKey")


def test_parts_are_copied_from_objects(s3, bucket):
    data = some_bytes(11 * MIB, 21)
    s3.put_object(Bucket=bucket, Key="quarry", Body=data)
    begun = s3.create_multipart_upload(Bucket=bucket, Key="statue")
    upload = {"Bucket": bucket, "Key": "statue", "UploadId": begun["UploadId"]}
    ranges = [(0, 5 * MIB - 1), (5 * MIB, 5 * MIB + 9)]
    done = []
    for number, (first, last) in enumerate(ranges, 1):
        result = s3.upload_part_copy(**upload, PartNumber=number, CopySource=f"{bucket}/quarry",
                                     CopySourceRange=f"bytes={first}-{last}")["CopyPartResult"]
        assert result["ETag"] == f'"{hashlib.md5(data[first:last + 1]).hexdigest()}"'
        done.append({"PartNumber": number, "ETag": result["ETag"]})
    for wrong in (f"bytes=0-{11 * MIB}", "bytes=5-4", "bytes=-5", "bytes=5-", "0-5"):
        assert refused(s3.upload_part_copy, **upload, PartNumber=3, CopySource=f"{bucket}/quarry",
                       CopySourceRange=wrong) == (400, "InvalidArgument")
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
    assert read(s3, bucket, "statue") == data[:5 * MIB + 10]


def test_uploads_are_listed_in_pages(s3, bucket):
    begun = {s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]: key
             for key in ("u/1", "u/1", "u/2", "u/v/3", "w")}
    found = []
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix="u/",
                                                                    PaginationConfig={"PageSize": 1}):
        found += [(u["UploadId"], u["Key"]) for u in page.get("Uploads", [])]
    assert dict(found) == {i: k for i, k in begun.items() if k != "w"} and len(found) == 4
    folds = s3.list_multipart_uploads(Bucket=bucket, Prefix="u/", Delimiter="/")
    assert [p["Prefix"] for p in folds["CommonPrefixes"]] == ["u/v/"] and len(folds["Uploads"]) == 3
    pages = list(s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Delimiter="/",
                                                                     PaginationConfig={"PageSize": 1}))
    told = [u["Key"] for page in pages for u in page.get("Uploads", [])]
    told += [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]
    assert sorted(told) == ["u/", "w"]          # each once, however many uploads a prefix stands for
    for upload, key in begun.items():
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)


def test_uploads_of_a_key_are_listed_as_they_were_begun(s3, bucket):
    begun = []
    for _ in range(6):
        begun.append(s3.create_multipart_upload(Bucket=bucket, Key="often")["UploadId"])
        time.sleep(0.002)                       # their order is that of milliseconds
    assert [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == begun
    for upload in begun:
        s3.abort_multipart_upload(Bucket=bucket, Key="often", UploadId=upload)


# --- much ---

class Generated:
    """Bytes that are made as they are read, so that the test needs no memory for them."""

    def __init__(self, size):
        self.size, self.at, self.digest = size, 0, hashlib.sha256()
        self.block = some_bytes(MIB, 5)

    def __len__(self):
        return self.size

    def __iter__(self):
        return iter(lambda: self.read(MIB), b"")

    def read(self, n=-1):
        n = self.size - self.at if n is None or n < 0 else min(n, self.size - self.at)
        out = bytearray()
        while n:
            start = self.at % MIB
            piece = self.block[start:start + n]
            out += piece
            self.at += len(piece)
            n -= len(piece)
        self.digest.update(out)
        return bytes(out)


def test_200_megabytes_in_one_request_and_in_parts(region, s3, bucket):
    size = 200 * MIB
    url = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "whole"})
    source = Generated(size)
    answer = requests.put(url, data=source, verify=region.ca)
    assert answer.status_code == 200, answer.text
    parts = Generated(size)
    s3.upload_fileobj(parts, bucket, "in parts", Config=TransferConfig(multipart_chunksize=16 * MIB, max_concurrency=4))
    for key in ("whole", "in parts"):
        digest, body = hashlib.sha256(), s3.get_object(Bucket=bucket, Key=key)["Body"]
        for piece in body.iter_chunks(MIB):
            digest.update(piece)
        assert digest.digest() == source.digest.digest()
        s3.delete_object(Bucket=bucket, Key=key)


def at_once(call, things):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return list(pool.map(call, things))


def test_2000_small_ones_survive_a_restart(region, account, bucket):
    keys = [f"small/{i % 50}/{i}" for i in range(2000)]
    s3 = region.client(account, max_pool_connections=16)
    at_once(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=key.encode() * 7), keys)
    region.stop()
    region.start()
    s3 = region.client(account, max_pool_connections=16)
    assert at_once(lambda key: read(s3, bucket, key), keys) == [key.encode() * 7 for key in keys]
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="small/")
    assert sorted(keys) == [o["Key"] for page in pages for o in page["Contents"]]


def test_what_was_acknowledged_survives_a_kill(region, account, bucket):
    acked = []

    def put(i):
        key = f"small/killed/{i}"
        body = key.encode() * (7 if i % 20 else 20000)
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=body)
        except (BotoCoreError, ClientError):
            return
        acked.append((key, body))
        if len(acked) in (300, 600, 900):
            region.process.kill()

    for n in range(3):
        s3 = region.client(account, max_pool_connections=16)
        at_once(put, range(n * 1000, n * 1000 + 1000))
        region.stop(signal.SIGKILL)
        region.start()
    assert len(acked) >= 900
    s3 = region.client(account, max_pool_connections=16)
    assert at_once(lambda one: read(s3, bucket, one[0]) == one[1], acked) == [True] * len(acked)


def test_the_log_has_no_name_of_a_user(region, account, bucket):
    log = region.log_path().read_text(errors="replace")
    for secret in (account["secret_key"], bucket + "/", "assembled", "small/", "dressed", "colour",
                   urllib.parse.quote("日本語")):
        assert secret not in log
