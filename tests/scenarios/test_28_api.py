"""What else the S3 API has: settings with one value, ACLs, pages of buckets, attributes, parts, checksums."""
import base64
import datetime
import hashlib
import random
import socket
import zlib

import pytest
import requests
from botocore.exceptions import ClientError

from domicile import Plain, Region, code_of

MIB = 1 << 20


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    one = Region(tmp_path_factory.mktemp("api")).start()
    yield one
    one.stop()


@pytest.fixture
def account(region):
    return region.account()


@pytest.fixture
def s3(region, account):
    client = region.client(account)
    client.create_bucket(Bucket="photos")
    return client


@pytest.fixture
def plain(region, account):
    return Plain(region, account)


def refused(call, **words):
    words = {"Bucket": "photos", **words}
    with pytest.raises(ClientError) as why:
        call(**words)
    return why.value.response["ResponseMetadata"]["HTTPStatusCode"], why.value.response["Error"]["Code"]


# --- settings ---

ENFORCED = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
BLOCKED = {name: True for name in ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")}
SEALED = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]}


def test_settings_with_one_value_are_told_and_can_be_set_to_it(s3):
    def both(name, argument, value, answer=None):
        getattr(s3, "put_" + name)(Bucket="photos", **{argument: value})
        got = getattr(s3, "get_" + name)(Bucket="photos")
        got.pop("ResponseMetadata")
        assert (got if answer is None else got[answer]) == value
        with pytest.raises(ClientError, match="NoSuchBucket"):
            getattr(s3, "put_" + name)(Bucket="not-there", **{argument: value})
        with pytest.raises(ClientError, match="NoSuchBucket"):
            getattr(s3, "get_" + name)(Bucket="not-there")

    both("bucket_ownership_controls", "OwnershipControls", ENFORCED, "OwnershipControls")
    both("public_access_block", "PublicAccessBlockConfiguration", BLOCKED, "PublicAccessBlockConfiguration")
    both("bucket_encryption", "ServerSideEncryptionConfiguration", SEALED, "ServerSideEncryptionConfiguration")
    both("bucket_request_payment", "RequestPaymentConfiguration", {"Payer": "BucketOwner"}, None)
    both("bucket_notification_configuration", "NotificationConfiguration", {}, None)
    both("bucket_logging", "BucketLoggingStatus", {}, None)
    s3.put_bucket_accelerate_configuration(Bucket="photos", AccelerateConfiguration={"Status": "Suspended"})
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket="photos")
    assert s3.get_bucket_policy_status(Bucket="photos")["PolicyStatus"] == {"IsPublic": False}
    for call in (s3.delete_bucket_ownership_controls, s3.delete_bucket_encryption, s3.delete_bucket_policy,
                 s3.delete_bucket_website, s3.delete_bucket_replication):
        call(Bucket="photos")
        assert refused(call, Bucket="not-there") == (404, "NoSuchBucket")
    assert s3.get_bucket_ownership_controls(Bucket="photos")["OwnershipControls"] == ENFORCED


def test_other_values_of_those_settings_are_refused(s3, plain):
    other = {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    kms = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "k"}}]}
    topic = {"TopicConfigurations": [{"TopicArn": "arn:aws:sns:a:1:b", "Events": ["s3:ObjectCreated:*"]}]}
    to = {"LoggingEnabled": {"TargetBucket": "photos", "TargetPrefix": "log/"}}
    for call, words in ((s3.put_bucket_ownership_controls, {"OwnershipControls": other}),
                        (s3.put_public_access_block, {"PublicAccessBlockConfiguration": {"BlockPublicAcls": True}}),
                        (s3.put_public_access_block,
                         {"PublicAccessBlockConfiguration": {**BLOCKED, "IgnorePublicAcls": False}}),
                        (s3.delete_public_access_block, {}),
                        (s3.put_bucket_encryption, {"ServerSideEncryptionConfiguration": kms}),
                        (s3.put_bucket_request_payment, {"RequestPaymentConfiguration": {"Payer": "Requester"}}),
                        (s3.put_bucket_notification_configuration, {"NotificationConfiguration": topic}),
                        (s3.put_bucket_logging, {"BucketLoggingStatus": to})):
        assert refused(call, **words) == (501, "NotImplemented"), words
    assert s3.get_public_access_block(Bucket="photos")["PublicAccessBlockConfiguration"] == BLOCKED
    for body in (b"", b"<a/>", b"<OwnershipControls>"):
        status, _, answer = plain.request("PUT", "/photos", "ownershipControls=", body)
        assert (status, code_of(answer)) == (400, "MalformedXML")


# --- ACLs ---

def test_an_acl_says_that_the_owner_has_full_control_and_can_be_set_to_that(s3, account):
    s3.put_object(Bucket="photos", Key="k", Body=b"x", ACL="bucket-owner-full-control")
    for get, put, words in ((s3.get_bucket_acl, s3.put_bucket_acl, {"Bucket": "photos"}),
                            (s3.get_object_acl, s3.put_object_acl, {"Bucket": "photos", "Key": "k"})):
        acl = get(**words)
        assert [(g["Grantee"]["ID"], g["Permission"]) for g in acl["Grants"]] == [(account["account"], "FULL_CONTROL")]
        for canned in ("private", "bucket-owner-full-control"):
            put(ACL=canned, **words)
        put(AccessControlPolicy={"Owner": acl["Owner"], "Grants": acl["Grants"]}, **words)
        reader = {"Grantee": {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AllUsers"},
                  "Permission": "READ"}
        for more in ({"ACL": "public-read"}, {"GrantRead": "id=1"},
                     {"AccessControlPolicy": {"Owner": acl["Owner"], "Grants": [*acl["Grants"], reader]}},
                     {"AccessControlPolicy": {"Owner": acl["Owner"], "Grants": [reader]}},
                     {"AccessControlPolicy": {"Owner": acl["Owner"], "Grants": []}}):
            assert refused(put, **words, **more) == (400, "AccessControlListNotSupported"), more
        missing = {**words, list(words)[-1]: "not-there"}
        code = "NoSuchKey" if "Key" in words else "NoSuchBucket"
        assert refused(put, ACL="private", **missing) == (404, code)
        assert refused(get, **missing) == (404, code)
    assert refused(s3.put_object, Key="k", Body=b"y", ACL="public-read") == (400, "AccessControlListNotSupported")
    assert refused(s3.create_bucket, Bucket="open", ACL="public-read") == (400, "InvalidBucketAclWithObjectOwnership")
    assert refused(s3.create_bucket, Bucket="open", ObjectOwnership="ObjectWriter") == (501, "NotImplemented")
    s3.create_bucket(Bucket="closed", ObjectOwnership="BucketOwnerEnforced", ACL="private")
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"x"


@pytest.mark.parametrize("body,code", [
    (b"", "MissingSecurityHeader"), (b"<a/>", "MalformedACLError"), (b"<AccessControlPolicy>", "MalformedACLError"),
    (b"<AccessControlPolicy/>", "MalformedACLError"),
    (b"<AccessControlPolicy><Owner><ID>else</ID></Owner></AccessControlPolicy>", "AccessControlListNotSupported")])
def test_what_is_no_acl_is_refused(s3, plain, body, code):
    status, _, answer = plain.request("PUT", "/photos", "acl=", body)
    assert (status, code_of(answer)) == (400, code)


def test_the_owner_that_a_client_expects_is_compared(s3, account):
    s3.put_object(Bucket="photos", Key="k", Body=b"x", ExpectedBucketOwner=account["account"])
    words = {"Key": "k", "ExpectedBucketOwner": "123456789012"}
    for call, more in ((s3.get_object, {}), (s3.put_object, {"Body": b"y"}), (s3.delete_object, {}),
                       (s3.get_object_acl, {})):
        assert refused(call, **words, **more) == (403, "AccessDenied")
    assert refused(s3.copy_object, Key="l", CopySource="photos/k", ExpectedSourceBucketOwner="1" * 12) == \
        (403, "AccessDenied")
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"x"


# --- buckets in pages ---

def test_buckets_come_in_pages_and_by_prefix(s3, plain):
    names = ["photos", *("b-%02d" % i for i in range(7)), "backup-a", "backup-b"]
    for name in names[1:]:
        s3.create_bucket(Bucket=name)

    def page(query):
        status, _, body = plain.request("GET", "/", query)
        assert status == 200, body
        text = body.decode()
        return [p.partition("</Name>")[0] for p in text.split("<Name>")[1:]], \
            text.partition("<ContinuationToken>")[2].partition("</ContinuationToken>")[0]

    assert page("") == (sorted(names), "")
    seen, token = [], ""
    for pages in range(1, 10):
        got, token = page("max-buckets=3" + (f"&continuation-token={token}" if token else ""))
        seen += got
        if not token:
            break
    assert seen == sorted(names) and pages == 4
    assert page("prefix=b-")[0] == names[1:8] and page("prefix=nothing") == ([], "")
    assert page("max-buckets=1&prefix=backup-")[0] == ["backup-a"]
    for query, times in (("", 0), ("prefix=b-", 7), ("max-buckets=2", 2), ("bucket-region=sg", len(names))):
        assert plain.request("GET", "/", query)[2].count(b"<BucketRegion>sg</BucketRegion>") == times, query
    assert page("bucket-region=sg")[0] == sorted(names) and page("bucket-region=elsewhere") == ([], "")
    for query in ("max-buckets=0", "max-buckets=x", "continuation-token=%21"):
        status, _, body = plain.request("GET", "/", query)
        assert (status, code_of(body)) == (400, "InvalidArgument"), query


# --- checksums of objects in parts, and parts by themselves ---

ALGORITHMS = {"CRC32": lambda b: zlib.crc32(b).to_bytes(4, "big"), "SHA1": lambda b: hashlib.sha1(b).digest(),
              "SHA256": lambda b: hashlib.sha256(b).digest()}
PIECES = [random.Random(n).randbytes(size) for n, size in enumerate((5 * MIB, 5 * MIB + 3, 7))]


def b64(data):
    return base64.b64encode(data).decode()


def upload(s3, key="parts", numbers=(1, 2, 3), pieces=PIECES, begin=None, part=None, done=None, named=True):
    """Complete an upload of PIECES; the checksum that each part's answer had goes into the list if NAMED."""
    words = {"Bucket": "photos", "Key": key}
    upload_id = s3.create_multipart_upload(**words, **(begin or {}))["UploadId"]
    parts = []
    for number, piece in zip(numbers, pieces):
        answer = s3.upload_part(UploadId=upload_id, PartNumber=number, Body=piece, **words, **(part or {}))
        sums = {n: v for n, v in answer.items() if n.startswith("Checksum")} if named else {}
        parts.append({"PartNumber": number, "ETag": answer["ETag"], **sums})
    listed = s3.list_parts(UploadId=upload_id, **words)
    return s3.complete_multipart_upload(UploadId=upload_id, MultipartUpload={"Parts": parts}, **words,
                                        **(done or {})), listed, upload_id


def header(answer, name):
    return answer["ResponseMetadata"]["HTTPHeaders"].get(name)


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_an_object_in_parts_has_a_composite_checksum(s3, algorithm):
    digest = ALGORITHMS[algorithm]
    expected = b64(digest(b"".join(map(digest, PIECES)))) + "-3"
    name = "Checksum" + algorithm
    how = {"ChecksumAlgorithm": algorithm}
    for key, part, named in (("sent", how, True), ("found", {}, False)):
        made, listed, _ = upload(s3, key, begin=how, part=part, done={name: expected}, named=named)
        assert made[name] == expected
        assert listed["ChecksumAlgorithm"] == algorithm
        assert [p[name] for p in listed["Parts"]] == [b64(digest(piece)) for piece in PIECES]
        for call in (s3.head_object, s3.get_object):
            answer = call(Bucket="photos", Key=key, ChecksumMode="ENABLED")
            assert answer[name] == expected and header(answer, "x-amz-checksum-type") == "COMPOSITE"
            assert name not in call(Bucket="photos", Key=key)
            assert header(call(Bucket="photos", Key=key), "x-amz-checksum-algorithm") is None
        second = s3.head_object(Bucket="photos", Key=key, PartNumber=2, ChecksumMode="ENABLED")
        assert second[name] == b64(digest(PIECES[1]))
    copy = s3.copy_object(Bucket="photos", Key="copy", CopySource="photos/sent")["CopyObjectResult"]
    assert copy[name] == b64(digest(b"".join(PIECES)))
    assert s3.head_object(Bucket="photos", Key="copy", ChecksumMode="ENABLED")[name] == copy[name]


def test_a_crc_of_the_whole_comes_from_those_of_the_parts(s3, plain):
    whole = b64(zlib.crc32(b"".join(PIECES)).to_bytes(4, "big"))
    status, _, body = plain.request("POST", "/photos/full", "uploads=", x_amz_checksum_algorithm="CRC32",
                                    x_amz_checksum_type="FULL_OBJECT")
    assert status == 200
    upload_id = body.decode().partition("<UploadId>")[2].partition("<")[0]
    words = {"Bucket": "photos", "Key": "full", "UploadId": upload_id}
    etags = [s3.upload_part(PartNumber=n, Body=piece, ChecksumAlgorithm="CRC32", **words)["ETag"]
             for n, piece in enumerate(PIECES, 1)]
    parts = {"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]}
    assert refused(s3.complete_multipart_upload, MultipartUpload=parts, ChecksumCRC32="AAAAAA==", **words) == \
        (400, "BadDigest")
    assert refused(s3.complete_multipart_upload, MultipartUpload=parts, ChecksumSHA1=b64(bytes(20)), **words) == \
        (400, "InvalidRequest")
    assert s3.complete_multipart_upload(MultipartUpload=parts, ChecksumCRC32=whole, **words)["ChecksumCRC32"] == whole
    head = s3.head_object(Bucket="photos", Key="full", ChecksumMode="ENABLED")
    assert head["ChecksumCRC32"] == whole and header(head, "x-amz-checksum-type") == "FULL_OBJECT"
    again = s3.complete_multipart_upload(MultipartUpload=parts, **words)
    assert again["ETag"] == head["ETag"]


def test_what_would_be_lost_of_an_upload_is_refused(s3, plain):
    words = {"Bucket": "photos", "Key": "k"}
    upload_id = s3.create_multipart_upload(**words)["UploadId"]
    etag = s3.upload_part(PartNumber=1, Body=b"x", UploadId=upload_id, **words)["ETag"]
    status, _, body = plain.request("DELETE", "/photos/k", f"uploadId={upload_id}",
                                    x_amz_if_match_initiated_time="Wed, 21 Oct 2015 07:28:00 GMT")
    assert (status, code_of(body)) == (501, "NotImplemented")
    part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag><ChecksumSHA512>eA==</ChecksumSHA512></Part>"
    listed = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
    status, _, body = plain.request("POST", "/photos/k", f"uploadId={upload_id}", listed)
    assert (status, code_of(body)) == (400, "MalformedXML")
    assert len(s3.list_parts(UploadId=upload_id, **words)["Parts"]) == 1
    for kind in ("MD5", "SHA512", "XXHASH3", "XXHASH64", "XXHASH128"):
        status, _, body = plain.request("POST", "/photos/k", "uploads=", x_amz_checksum_algorithm=kind)
        assert (status, code_of(body)) == (400, "InvalidRequest"), kind
    status, _, body = plain.request("PUT", "/regional", x_amz_bucket_namespace="account-regional")
    assert (status, code_of(body)) == (501, "NotImplemented")


def test_a_checksum_that_is_announced_has_to_be_there(s3, plain):
    def put(**headers):
        status, _, body = plain.request("PUT", "/photos/k", "", b"x", x_amz_sdk_checksum_algorithm="CRC32", **headers)
        return status, code_of(body)

    assert put() == (400, "InvalidRequest")
    assert put(x_amz_checksum_crc32=b64(zlib.crc32(b"x").to_bytes(4, "big"))) == (200, "")
    tags = b"<Tagging><TagSet></TagSet></Tagging>"
    status, _, body = plain.request("PUT", "/photos/k", "tagging=", tags, x_amz_sdk_checksum_algorithm="SHA1")
    assert (status, code_of(body)) == (400, "InvalidRequest")
    s3.delete_object(Bucket="photos", Key="k")


def test_checksums_that_do_not_fit_together_are_refused(s3, plain):
    for algorithm, kind in (("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE"), ("CRC32", "HALF"), ("MD5", "COMPOSITE")):
        status, _, body = plain.request("POST", "/photos/k", "uploads=", x_amz_checksum_algorithm=algorithm,
                                        x_amz_checksum_type=kind)
        assert (status, code_of(body)) == (400, "InvalidRequest"), (algorithm, kind)
    words = {"Bucket": "photos", "Key": "k"}
    words["UploadId"] = s3.create_multipart_upload(ChecksumAlgorithm="SHA1", **words)["UploadId"]
    status, _, body = plain.request("PUT", "/photos/k", f"partNumber=1&uploadId={words['UploadId']}", b"x",
                                    x_amz_checksum_crc32=b64(zlib.crc32(b"x").to_bytes(4, "big")))
    assert (status, code_of(body)) == (400, "InvalidRequest")
    etag = s3.upload_part(PartNumber=1, Body=b"x", ChecksumAlgorithm="SHA1", **words)["ETag"]

    def complete(part=None, **more):
        parts = {"Parts": [{"PartNumber": 1, "ETag": etag, **(part or {})}]}
        return refused(s3.complete_multipart_upload, MultipartUpload=parts, **words, **more)

    assert complete({"ChecksumSHA1": b64(hashlib.sha1(b"y").digest())}) == (400, "InvalidPart")
    assert complete({"ChecksumCRC32": "AAAAAA=="}) == (400, "InvalidPart")
    assert complete({"ChecksumSHA1": "none"}) == (400, "MalformedXML")
    assert complete(ChecksumSHA1=b64(hashlib.sha1(b"x").digest()) + "-1") == (400, "BadDigest")
    for none in ("none", "-1", b64(b"x") + "-1", b64(bytes(200))):
        assert complete(ChecksumSHA1=none) == (400, "InvalidRequest"), none
    status, _, body = plain.request(
        "POST", "/photos/k", f"uploadId={words['UploadId']}",
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        .encode(), x_amz_mp_object_size="2")
    assert (status, code_of(body)) == (400, "InvalidRequest")
    assert refused(s3.head_object, Key="k") == (404, "404")


def test_a_copied_part_has_the_uploads_checksum(s3):
    s3.put_object(Bucket="photos", Key="source", Body=PIECES[0] + PIECES[2])
    words = {"Bucket": "photos", "Key": "copied"}
    words["UploadId"] = s3.create_multipart_upload(ChecksumAlgorithm="SHA256", **words)["UploadId"]
    ranges = f"bytes=0-{5 * MIB - 1}", f"bytes={5 * MIB}-{5 * MIB + 6}"
    parts = []
    for n, span in enumerate(ranges, 1):
        made = s3.upload_part_copy(PartNumber=n, CopySource="photos/source", CopySourceRange=span, **words)["CopyPartResult"]
        parts.append({"PartNumber": n, "ETag": made["ETag"], "ChecksumSHA256": made["ChecksumSHA256"]})
    assert [p["ChecksumSHA256"] for p in parts] == [b64(hashlib.sha256(p).digest()) for p in (PIECES[0], PIECES[2])]
    made = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **words)
    assert made["ChecksumSHA256"].endswith("-2")


def test_a_copy_gets_the_checksum_it_asks_for(s3):
    s3.put_object(Bucket="photos", Key="k", Body=PIECES[0], ChecksumAlgorithm="CRC32")
    for algorithm in ALGORITHMS:
        made = s3.copy_object(Bucket="photos", Key="copy", CopySource="photos/k", ChecksumAlgorithm=algorithm)
        expected = b64(ALGORITHMS[algorithm](PIECES[0]))
        assert made["CopyObjectResult"]["Checksum" + algorithm] == expected
        head = s3.head_object(Bucket="photos", Key="copy", ChecksumMode="ENABLED")
        assert {n: v for n, v in head.items() if n.startswith("Checksum")} == {"Checksum" + algorithm: expected}


def test_a_part_can_be_read_by_its_number(s3):
    upload(s3, numbers=(1, 2, 9))
    s3.put_object(Bucket="photos", Key="whole", Body=b"whole")
    s3.put_object(Bucket="photos", Key="empty", Body=b"")
    for number, piece, start in ((1, PIECES[0], 0), (2, PIECES[1], 5 * MIB), (9, PIECES[2], 10 * MIB + 3)):
        got = s3.get_object(Bucket="photos", Key="parts", PartNumber=number)
        assert got["Body"].read() == piece and got["PartsCount"] == 3 and got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["ContentRange"] == f"bytes {start}-{start + len(piece) - 1}/{10 * MIB + 10}"
        head = s3.head_object(Bucket="photos", Key="parts", PartNumber=number)
        assert (head["ContentLength"], head["PartsCount"], head["ETag"]) == (len(piece), 3, got["ETag"])
    one = s3.get_object(Bucket="photos", Key="whole", PartNumber=1)
    assert one["Body"].read() == b"whole" and "PartsCount" not in one and one["ContentRange"] == "bytes 0-4/5"
    assert s3.get_object(Bucket="photos", Key="empty", PartNumber=1)["Body"].read() == b""
    for key, number in (("parts", 3), ("parts", 10), ("whole", 2)):
        assert refused(s3.get_object, Key=key, PartNumber=number) == (416, "InvalidPartNumber")
    for number in (0, 10001):
        assert refused(s3.get_object, Key="parts", PartNumber=number) == (400, "InvalidArgument")
    assert refused(s3.get_object, Key="parts", PartNumber=1, Range="bytes=0-1") == (400, "InvalidRequest")
    assert refused(s3.get_object, Key="not-there", PartNumber=1) == (404, "NoSuchKey")
    assert refused(s3.get_object, Key="parts", PartNumber=1, IfMatch='"0"') == (412, "PreconditionFailed")


EVERYTHING = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


def test_attributes_are_told_as_far_as_they_are_asked_for(s3):
    made, _, _ = upload(s3, begin={"ChecksumAlgorithm": "SHA256"}, part={"ChecksumAlgorithm": "SHA256"})
    s3.put_object(Bucket="photos", Key="whole", Body=b"whole", ChecksumAlgorithm="SHA1")

    def attributes(key, names=EVERYTHING, **more):
        answer = s3.get_object_attributes(Bucket="photos", Key=key, ObjectAttributes=names, **more)
        assert answer.pop("LastModified") == s3.head_object(Bucket="photos", Key=key)["LastModified"]
        answer.pop("ResponseMetadata")
        return answer

    got = attributes("parts")
    assert got["ETag"] == made["ETag"].strip('"') and got["Checksum"] == {"ChecksumSHA256": made["ChecksumSHA256"]}
    assert got["StorageClass"] == "STANDARD" and got["ObjectSize"] == 10 * MIB + 10
    parts = got["ObjectParts"]
    assert parts["TotalPartsCount"] == 3 and not parts["IsTruncated"] and parts["MaxParts"] == 1000
    assert [(p["PartNumber"], p["Size"]) for p in parts["Parts"]] == [(n, len(p)) for n, p in enumerate(PIECES, 1)]
    assert parts["Parts"][2]["ChecksumSHA256"] == b64(hashlib.sha256(PIECES[2]).digest())
    page = attributes("parts", ["ObjectParts"], MaxParts=1, PartNumberMarker=1)
    assert page == {"ObjectParts": {"IsTruncated": True, "MaxParts": 1, "PartNumberMarker": 1, "NextPartNumberMarker": 2,
                                    "TotalPartsCount": 3, "Parts": [parts["Parts"][1]]}}
    whole = attributes("whole")
    assert "ObjectParts" not in whole and whole["Checksum"] == {"ChecksumSHA1": b64(hashlib.sha1(b"whole").digest())}
    assert attributes("whole", ["ObjectSize"]) == {"ObjectSize": 5}
    assert refused(s3.get_object_attributes, Key="whole", ObjectAttributes=["Colour"]) == (400, "InvalidArgument")
    assert refused(s3.get_object_attributes, Key="not-there", ObjectAttributes=["ETag"]) == (404, "NoSuchKey")


def test_attributes_and_parts_are_those_of_a_version(s3):
    s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    upload(s3, "k")
    first = s3.head_object(Bucket="photos", Key="k")["VersionId"]
    s3.put_object(Bucket="photos", Key="k", Body=b"second")
    marker = s3.delete_object(Bucket="photos", Key="k")["VersionId"]
    old = s3.get_object_attributes(Bucket="photos", Key="k", VersionId=first, ObjectAttributes=["ObjectParts"])
    assert old["ObjectParts"]["TotalPartsCount"] == 3 and old["VersionId"] == first
    assert s3.get_object(Bucket="photos", Key="k", VersionId=first, PartNumber=3)["Body"].read() == PIECES[2]
    assert refused(s3.get_object_attributes, Key="k", ObjectAttributes=["ETag"]) == (404, "NoSuchKey")
    assert refused(s3.get_object_attributes, Key="k", VersionId=marker, ObjectAttributes=["ETag"]) == \
        (405, "MethodNotAllowed")


def test_an_upload_goes_on_with_its_checksum_where_its_account_moves(region):
    account = region.account()
    here = region.client(account)
    here.create_bucket(Bucket="photos")
    words = {"Bucket": "photos", "Key": "moved"}
    words["UploadId"] = here.create_multipart_upload(ChecksumAlgorithm="SHA256", **words)["UploadId"]
    parts = []

    def add(number, piece):
        made = here.upload_part(PartNumber=number, Body=piece, ChecksumAlgorithm="SHA256", **words)
        parts.append({"PartNumber": number, "ETag": made["ETag"], "ChecksumSHA256": made["ChecksumSHA256"]})

    add(1, PIECES[0])
    other = Region(region.folder, "hk", "HK", beside=region).start()
    try:
        region.wait_wave(region.wave_to(other))
        add(2, PIECES[2])
        made = here.complete_multipart_upload(MultipartUpload={"Parts": parts}, **words)
        digest = ALGORITHMS["SHA256"]
        assert made["ChecksumSHA256"] == b64(digest(digest(PIECES[0]) + digest(PIECES[2]))) + "-2"
        got = other.client(account).get_object(Bucket="photos", Key="moved", PartNumber=2, ChecksumMode="ENABLED")
        assert got["Body"].read() == PIECES[2] and got["ChecksumSHA256"] == b64(digest(PIECES[2]))
    finally:
        other.stop()


# --- uploads in pages ---

def test_uploads_come_in_pages_and_fold(s3, plain):
    keys = ["a/1", "a/2", "a/3", "b", "b", "c d/x", "c d/y", "e&<"]
    ids = [s3.create_multipart_upload(Bucket="photos", Key=key)["UploadId"] for key in keys]

    def walk(**words):
        seen, folded, pages = [], [], 0
        while True:
            page = s3.list_multipart_uploads(Bucket="photos", **words)
            seen += [(u["Key"], u["UploadId"]) for u in page.get("Uploads", [])]
            folded += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
            pages += 1
            if not page["IsTruncated"]:
                return seen, folded, pages
            words.update(KeyMarker=page["NextKeyMarker"], UploadIdMarker=page["NextUploadIdMarker"])

    everything = sorted(zip(keys, ids))
    assert walk() == (everything, [], 1)
    assert walk(MaxUploads=3) == (everything, [], 3)
    assert walk(MaxUploads=1)[0] == everything
    for most, pages in ((1, 5), (2, 3), (1000, 1)):
        assert walk(Delimiter="/", MaxUploads=most) == ([u for u in everything if "/" not in u[0]], ["a/", "c d/"], pages)
    assert walk(Prefix="a/", MaxUploads=2) == (everything[:3], [], 2)
    assert walk(Prefix="c d/", Delimiter="/")[0] == everything[5:7]
    assert walk(Prefix="nothing") == ([], [], 1)
    assert walk(MaxUploads=0) == ([], [], 1)
    status, _, body = plain.request("GET", "/photos", "encoding-type=url&prefix=c%20d&uploads=")
    assert status == 200 and b"<Key>c%20d/x</Key>" in body and b"<Prefix>c%20d</Prefix>" in body
    for query in ("encoding-type=xml&uploads=", "max-uploads=x&uploads="):
        status, _, body = plain.request("GET", "/photos", query)
        assert (status, code_of(body)) == (400, "InvalidArgument")


def test_parts_come_in_pages_in_whatever_order_they_went(s3):
    words = {"Bucket": "photos", "Key": "k"}
    words["UploadId"] = s3.create_multipart_upload(**words)["UploadId"]
    numbers = [7, 10000, 1, 30, 2]
    for number in numbers:
        s3.upload_part(PartNumber=number, Body=b"%d" % number, **words)
    seen, marker = [], 0
    while True:
        page = s3.list_parts(MaxParts=2, PartNumberMarker=marker, **words)
        seen += [p["PartNumber"] for p in page["Parts"]]
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
    assert seen == sorted(numbers)
    none = s3.list_parts(MaxParts=0, **words)
    assert none["MaxParts"] == 0 and not none["IsTruncated"] and "Parts" not in none


# --- what requests say ---

def test_writing_on_condition(s3, plain):
    def put(body=b"x", path="/photos/k", **headers):
        status, _, answer = plain.request("PUT", path, "", body, **headers)
        return status, code_of(answer)

    assert put(if_match="*") == put(if_match='"0"') == (404, "NoSuchKey")
    assert put(path="/not-there/k", if_match="*") == (404, "NoSuchBucket")
    assert put(if_none_match="*") == (200, "") and put(if_none_match="*") == (412, "PreconditionFailed")
    assert put(if_match='"0"') == (412, "PreconditionFailed") and put(if_match="*") == (200, "")
    s3.delete_object(Bucket="photos", Key="k")
    words = {"Bucket": "photos", "Key": "k"}
    upload_id = s3.create_multipart_upload(**words)["UploadId"]
    etag = s3.upload_part(UploadId=upload_id, PartNumber=1, Body=b"x", **words)["ETag"]
    done = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    for header, expected in (("if_match", (404, "NoSuchKey")), ("if_none_match", (200, ""))):
        status, _, answer = plain.request("POST", "/photos/k", f"uploadId={upload_id}", done.encode(), **{header: "*"})
        assert (status, code_of(answer)) == expected


DAYS = [("RFC 1123", "%a, %d %b %Y %H:%M:%S GMT"), ("RFC 850", "%A, %d-%b-%y %H:%M:%S GMT"), ("asctime", "%a %b %e %H:%M:%S %Y"),
        ("ISO 8601", "%Y-%m-%dT%H:%M:%SZ"), ("with milliseconds", "%Y-%m-%dT%H:%M:%S.000Z")]


@pytest.mark.parametrize("form", [form for _, form in DAYS], ids=[name for name, _ in DAYS])
def test_a_date_counts_in_each_of_its_forms(s3, plain, form):
    s3.put_object(Bucket="photos", Key="k", Body=b"x")
    now = s3.head_object(Bucket="photos", Key="k")["LastModified"]
    before, after = ((now + datetime.timedelta(days=days)).strftime(form) for days in (-1, 1))
    for header, value, expected in (("if_modified_since", before, 200), ("if_modified_since", after, 304),
                                    ("if_unmodified_since", before, 412), ("if_unmodified_since", after, 200),
                                    ("if_modified_since", "yesterday", 200), ("if_unmodified_since", "", 200)):
        assert plain.request("GET", "/photos/k", **{header: value})[0] == expected, (header, value)


def test_the_checksum_of_an_xml_body_is_compared(s3, plain):
    s3.put_object(Bucket="photos", Key="k", Body=b"x")
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    right, wrong = (b64(hashlib.sha256(b).digest()) for b in (body, b"other"))
    for headers, code in (({"x_amz_checksum_sha256": wrong}, "BadDigest"),
                          ({"x_amz_checksum_sha256": "none"}, "InvalidRequest"),
                          ({"x_amz_checksum_sha256": right, "x_amz_checksum_crc32": "AAAAAA=="}, "InvalidRequest"),
                          ({"content_md5": b64(bytes(16))}, "BadDigest")):
        status, _, answer = plain.request("POST", "/photos", "delete=", body, **headers)
        assert (status, code_of(answer)) == (400, code), headers
        assert s3.head_object(Bucket="photos", Key="k")
    assert plain.request("POST", "/photos", "delete=", body, x_amz_checksum_sha256=right)[0] == 200
    assert refused(s3.head_object, Key="k") == (404, "404")


def test_listings_tell_which_checksum_there_is(plain, s3):
    s3.put_object(Bucket="photos", Key="a", Body=b"x", ChecksumAlgorithm="SHA1")
    upload(s3, "b", begin={"ChecksumAlgorithm": "SHA256"}, part={"ChecksumAlgorithm": "SHA256"})
    s3.put_object(Bucket="photos", Key="c", Body=b"x")
    plain.request("POST", "/photos/d", "uploads=", x_amz_checksum_algorithm="CRC64NVME")
    s3.create_multipart_upload(Bucket="photos", Key="e")
    told = "<ChecksumAlgorithm>{}</ChecksumAlgorithm><ChecksumType>{}</ChecksumType>"
    for query in ("", "list-type=2", "versions="):
        listed = plain.request("GET", "/photos", query)[2].decode()
        assert listed.count("<ChecksumType>") == 2
        assert listed.index(told.format("SHA1", "FULL_OBJECT")) < listed.index(told.format("SHA256", "COMPOSITE"))
    listed = plain.request("GET", "/photos", "uploads=")[2].decode()
    assert told.format("CRC64NVME", "FULL_OBJECT") in listed and listed.count("<ChecksumType>") == 1


def test_errors_name_what_they_are_about(plain, s3):
    for method, path, elements in (("GET", "/none", "<BucketName>none</BucketName>"), ("GET", "/photos/a%26b", "<Key>a&amp;b</Key>"),
                                   ("PUT", "/photos", "<BucketName>photos</BucketName>")):
        assert elements in plain.request(method, path)[2].decode()


def test_a_key_of_the_customers_is_refused_on_reading(plain, s3):
    s3.put_object(Bucket="photos", Key="k", Body=b"x")
    key = {"x_amz_server_side_encryption_customer_algorithm": "AES256"}
    status, _, answer = plain.request("GET", "/photos/k", **key)
    assert (status, code_of(answer)) == (400, "InvalidRequest")
    assert plain.request("HEAD", "/photos/k", **key)[0] == 400
    assert plain.request("GET", "/photos/none", **key)[0] == 404


def test_every_answer_about_data_says_that_it_is_encrypted(s3):
    words, answers = {"Bucket": "photos", "Key": "k"}, []
    answers += [s3.put_object(Body=b"x", **words), s3.get_object(**words), s3.head_object(**words)]
    answers.append(s3.copy_object(Bucket="photos", Key="copy", CopySource="photos/k"))
    begun = s3.create_multipart_upload(**words)
    part = {**words, "UploadId": begun["UploadId"]}
    done = [s3.upload_part(PartNumber=1, Body=bytes(5 * MIB), **part),
            s3.upload_part_copy(PartNumber=2, CopySource="photos/copy", **part)]
    listed = [{"PartNumber": 1, "ETag": done[0]["ETag"]}, {"PartNumber": 2, "ETag": done[1]["CopyPartResult"]["ETag"]}]
    answers += [begun, *done, s3.complete_multipart_upload(MultipartUpload={"Parts": listed}, **part)]
    assert [a.get("ServerSideEncryption") for a in answers] == ["AES256"] * len(answers)
    etag = s3.head_object(**words)["ETag"]
    with pytest.raises(ClientError) as why:
        s3.get_object(IfNoneMatch=etag, **words)
    assert "x-amz-server-side-encryption" not in why.value.response["ResponseMetadata"]["HTTPHeaders"]


def test_a_copy_onto_itself_may_change_what_makes_no_difference(s3):
    words = {"Bucket": "photos", "Key": "k", "CopySource": "photos/k"}
    s3.put_object(Bucket="photos", Key="k", Body=b"x", Metadata={"a": "b"})
    assert refused(s3.copy_object, **words) == (400, "InvalidRequest")
    for change in ({"StorageClass": "STANDARD_IA"}, {"ServerSideEncryption": "AES256"}):
        s3.copy_object(**words, **change)
        assert s3.head_object(Bucket="photos", Key="k")["Metadata"] == {"a": "b"}


@pytest.mark.parametrize("source", ["photos%2Fa%20b%2Fc", "%2fphotos%2fa%20b%2fc", "/photos/a%20b%2Fc", "photos/a%20b/c"])
def test_a_copys_source_may_be_encoded_as_a_whole(s3, plain, source):
    s3.put_object(Bucket="photos", Key="a b/c", Body=b"x")
    assert plain.request("PUT", "/photos/copy", x_amz_copy_source=source)[0] == 200
    assert s3.get_object(Bucket="photos", Key="copy")["Body"].read() == b"x"


def test_chunks_without_a_length_need_one(plain, s3):
    status, _, body = plain.request("PUT", "/photos/k", x_amz_content_sha256="STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    assert (status, code_of(body)) == (411, "MissingContentLength")


MISSPELT = [
    ("PUT", "k", "retention=", b"<ObjectRetention><Mode>COMPLIANCE</Mode><RetainUntilDate>2090-01-01T00:00:00Z</RetainUntilDate>"
                               b"</ObjectRetention>"),
    ("PUT", "k", "retention=", b"<retention/>"),
    ("PUT", "k", "retention=", b"<Retention><mode>COMPLIANCE</mode></Retention>"),
    ("PUT", "k", "retention=", b"<Retention><Mode>COMPLIANCE</Mode><Mode>GOVERNANCE</Mode><RetainUntilDate>2090-01-01T00:00:00Z"
                               b"</RetainUntilDate></Retention>"),
    ("PUT", "k", "legal-hold=", b"<Hold><Status>OFF</Status></Hold>"),
    ("PUT", "", "object-lock=", b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule/>"
                                b"</ObjectLockConfiguration>"),
    ("PUT", "", "object-lock=", b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
                                b"<mode>GOVERNANCE</mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>"),
    ("PUT", "", "object-lock=", b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><DefaultRetention><Mode>"
                                b"GOVERNANCE</Mode><Days>1</Days></DefaultRetention></ObjectLockConfiguration>"),
    ("PUT", "k", "tagging=", b"<Tagging><TagSet><tag><Key>a</Key><Value>b</Value></tag></TagSet></Tagging>"),
    ("PUT", "", "versioning=", b"<VersioningConfiguration><Status>Enabled</Status><Status>Suspended</Status>"
                               b"</VersioningConfiguration>"),
    ("POST", "", "delete=", b"<Delete><Object><Key>k</Key><VersionID>x</VersionID></Object></Delete>"),
    ("POST", "", "delete=", b"<Delete><Object><Key>k</Key><Key>k</Key></Object></Delete>"),
    ("POST", "", "delete=", b"<Delete><Quiet>yes</Quiet><Object><Key>k</Key></Object></Delete>"),
]


@pytest.mark.parametrize("method, key, query, body", MISSPELT)
def test_a_body_with_what_does_not_belong_there_changes_nothing(s3, plain, method, key, query, body):
    words = {"Bucket": "backup", "Key": "k"}
    s3.create_bucket(Bucket="backup", ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 3}}
    s3.put_object_lock_configuration(Bucket="backup", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule})
    version = s3.put_object(Body=b"x", Tagging="a=b", ObjectLockLegalHoldStatus="ON", **words)["VersionId"]
    until = s3.get_object_retention(**words)["Retention"]["RetainUntilDate"]
    status, _, answer = plain.request(method, f"/backup/{key}", query, body, x_amz_bypass_governance_retention="true",
                                      content_md5=base64.b64encode(hashlib.md5(body).digest()).decode())
    assert (status, code_of(answer)) == (400, "MalformedXML")
    head = s3.head_object(**words)
    assert (head["VersionId"], head["ObjectLockRetainUntilDate"], head["ObjectLockLegalHoldStatus"]) == (version, until, "ON")
    assert s3.get_object_lock_configuration(Bucket="backup")["ObjectLockConfiguration"]["Rule"] == rule
    assert s3.get_object_tagging(**words)["TagSet"] == [{"Key": "a", "Value": "b"}]
    assert s3.get_bucket_versioning(Bucket="backup")["Status"] == "Enabled"


def test_a_bucket_for_locks_is_asked_for_in_words_of_s3(s3, plain):
    status, _, answer = plain.request("PUT", "/backup", x_amz_bucket_object_lock_enabled="yes")
    assert (status, code_of(answer)) == (400, "InvalidArgument")
    assert refused(s3.head_bucket, Bucket="backup")[0] == 404


def test_a_storage_class_is_one_of_s3s_and_makes_no_difference(s3):
    s3.put_object(Bucket="photos", Key="k", Body=b"x", StorageClass="DEEP_ARCHIVE")
    assert s3.list_objects_v2(Bucket="photos")["Contents"][0]["StorageClass"] == "STANDARD"
    for call, words in ((s3.put_object, {"Body": b"y"}), (s3.create_multipart_upload, {}),
                        (s3.copy_object, {"CopySource": "photos/k"})):
        assert refused(call, Key="k", StorageClass="ATTIC", **words) == (400, "InvalidStorageClass")
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"x"


def test_presigned_urls_do_what_they_say_and_nothing_else(region, s3):
    def send(url, method, **words):
        return requests.request(method, url, verify=str(region.ca), timeout=60, **words)

    s3.put_object(Bucket="photos", Key="k", Body=b"body")
    words = {"Bucket": "photos", "Key": "k"}
    head = s3.generate_presigned_url("head_object", words)
    assert send(head, "HEAD").headers["Content-Length"] == "4" and send(head, "GET").status_code == 403
    get = s3.generate_presigned_url("get_object", {**words, "ResponseContentType": "text/x", "Range": "bytes=1-2"})
    assert send(get, "GET", headers={"Range": "bytes=1-2"}).content == b"od"
    assert send(get, "GET").status_code == 403       # what was signed has to be there
    plain_get = s3.generate_presigned_url("get_object", words)
    assert send(plain_get, "GET").content == b"body"
    for more in ("&response-content-type=text/x", "&versionId=null", "&partNumber=1"):
        assert send(plain_get + more, "GET").status_code == 403
    begin = s3.generate_presigned_url("create_multipart_upload", words, HttpMethod="POST")
    upload_id = send(begin, "POST").text.partition("<UploadId>")[2].partition("<")[0]
    part = s3.generate_presigned_url("upload_part", {**words, "UploadId": upload_id, "PartNumber": 1})
    etag = send(part, "PUT", data=b"new").headers["ETag"]
    done = s3.generate_presigned_url("complete_multipart_upload", {**words, "UploadId": upload_id}, HttpMethod="POST")
    listed = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    assert send(done, "POST", data=listed).status_code == 200
    assert send(plain_get, "GET").content == b"new"
    delete = s3.generate_presigned_url("delete_object", words)
    assert send(delete, "GET").status_code == 403 and send(delete, "DELETE").status_code == 204
    assert send(plain_get, "GET").status_code == 404


def test_a_refusal_comes_before_the_body(plain, region, s3):
    def ask(path, **extra):
        headers = plain.signer().headers("PUT", path, "", "UNSIGNED-PAYLOAD", **extra)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        with socket.create_connection(("127.0.0.1", region.plain_port), 20) as c:
            c.sendall(f"PUT {path} HTTP/1.1\r\n{lines}Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n".encode())
            first = c.recv(4096)
            if b" 100 " not in first.partition(b"\r\n")[0]:
                return first
            c.sendall(bytes(100000))
            return c.recv(4096)

    assert b" 404 " in ask("/not-there/k").partition(b"\r\n")[0]
    assert b" 501 " in ask("/photos/k", x_amz_server_side_encryption="aws:kms").partition(b"\r\n")[0]
    assert b" 200 " in ask("/photos/k").partition(b"\r\n")[0]
    assert s3.head_object(Bucket="photos", Key="k")["ContentLength"] == 100000
