"""Buckets that keep versions, as boto3, aws and a move see them."""
import pytest
from botocore.exceptions import ClientError

from domicile import Region


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    one = Region(tmp_path_factory.mktemp("versions")).start()
    yield one
    one.stop()


@pytest.fixture
def s3(region):
    client = region.client(region.account())
    client.create_bucket(Bucket="photos")
    return client


def enable(s3, status="Enabled"):
    s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": status})


def refused(call, **words):
    with pytest.raises(ClientError) as why:
        call(**words)
    return why.value.response


def put(s3, body, key="k"):
    return s3.put_object(Bucket="photos", Key=key, Body=body).get("VersionId")


def get(s3, version=None, key="k"):
    words = {"VersionId": version} if version else {}
    return s3.get_object(Bucket="photos", Key=key, **words)["Body"].read()


def listed(s3, **words):
    """(key, version, whether it is the latest, whether a marker) in order."""
    found = []
    for page in s3.get_paginator("list_object_versions").paginate(Bucket="photos", **words):
        both = [(v, False) for v in page.get("Versions", [])] + [(v, True) for v in page.get("DeleteMarkers", [])]
        found += [(v["Key"], v["VersionId"], v["IsLatest"], marker) for v, marker in both]
    return found


def test_a_bucket_without_versions_says_nothing_of_them(s3):
    assert "Status" not in s3.get_bucket_versioning(Bucket="photos")
    assert put(s3, b"a") is None
    assert "VersionId" not in s3.head_object(Bucket="photos", Key="k")
    assert get(s3, "null") == b"a"
    assert listed(s3) == [("k", "null", True, False)]


def test_what_is_overwritten_or_deleted_is_kept_and_comes_back(s3):
    put(s3, b"before")
    enable(s3)
    assert s3.get_bucket_versioning(Bucket="photos")["Status"] == "Enabled"
    first, second = put(s3, b"first"), put(s3, bytes(50000))
    assert get(s3) == bytes(50000) and get(s3, first) == b"first" and get(s3, "null") == b"before"
    gone = s3.delete_object(Bucket="photos", Key="k")
    assert gone["DeleteMarker"] is True
    answer = refused(s3.get_object, Bucket="photos", Key="k")
    assert answer["Error"]["Code"] == "NoSuchKey"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"
    answer = refused(s3.get_object, Bucket="photos", Key="k", VersionId=gone["VersionId"])
    assert answer["Error"]["Code"] == "MethodNotAllowed" and answer["ResponseMetadata"]["HTTPStatusCode"] == 405
    assert answer["ResponseMetadata"]["HTTPHeaders"]["allow"] == "DELETE"
    assert "Contents" not in s3.list_objects_v2(Bucket="photos")
    assert refused(s3.delete_bucket, Bucket="photos")["Error"]["Code"] == "BucketNotEmpty"
    back = s3.delete_object(Bucket="photos", Key="k", VersionId=gone["VersionId"])
    assert back["DeleteMarker"] is True and get(s3) == bytes(50000)
    s3.delete_object(Bucket="photos", Key="k", VersionId=second)
    assert get(s3) == b"first"
    assert refused(s3.get_object, Bucket="photos", Key="k", VersionId=second)["Error"]["Code"] == "NoSuchVersion"
    assert [v[1] for v in listed(s3)] == [first, "null"]
    for version in (first, "null"):
        s3.delete_object(Bucket="photos", Key="k", VersionId=version)
    s3.delete_bucket(Bucket="photos")


def test_a_suspended_bucket_replaces_its_null_version_alone(s3):
    enable(s3)
    first = put(s3, b"first")
    enable(s3, "Suspended")
    assert put(s3, b"a") == "null" and put(s3, b"b") == "null"
    assert get(s3) == b"b" and get(s3, first) == b"first"
    assert s3.delete_object(Bucket="photos", Key="k")["VersionId"] == "null"
    assert sorted(v[1] for v in listed(s3)) == sorted([first, "null"])
    s3.delete_object(Bucket="photos", Key="k", VersionId="null")
    assert get(s3) == b"first"


def test_copies_and_parts_have_versions_too(s3):
    enable(s3)
    first = put(s3, b"first")
    put(s3, b"second")
    copy = s3.copy_object(Bucket="photos", Key="copy", CopySource={"Bucket": "photos", "Key": "k", "VersionId": first})
    assert copy["CopySourceVersionId"] == first and get(s3, copy["VersionId"], "copy") == b"first"
    s3.copy_object(Bucket="photos", Key="k", CopySource={"Bucket": "photos", "Key": "k", "VersionId": first})
    assert get(s3) == b"first" and len(listed(s3, Prefix="k")) == 3
    upload = s3.create_multipart_upload(Bucket="photos", Key="k")["UploadId"]
    words = {"Bucket": "photos", "Key": "k", "UploadId": upload}
    tag = s3.upload_part_copy(PartNumber=1, CopySource={"Bucket": "photos", "Key": "k", "VersionId": first}, **words)
    done = s3.complete_multipart_upload(
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag["CopyPartResult"]["ETag"]}]}, **words)
    assert get(s3, done["VersionId"]) == b"first"
    marker = s3.delete_object(Bucket="photos", Key="k")["VersionId"]
    answer = refused(s3.copy_object, Bucket="photos", Key="x",
                     CopySource={"Bucket": "photos", "Key": "k", "VersionId": marker})
    assert answer["Error"]["Code"] == "InvalidRequest"


def test_completing_again_tells_the_version_and_looks_at_the_parts(s3):
    enable(s3)
    words = {"Bucket": "photos", "Key": "k"}
    upload = s3.create_multipart_upload(**words, ChecksumAlgorithm="CRC32")["UploadId"]
    part = s3.upload_part(**words, UploadId=upload, PartNumber=1, Body=b"content", ChecksumAlgorithm="CRC32")

    def complete(etag=part["ETag"], number=1, **more):
        return s3.complete_multipart_upload(
            **words, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": number, "ETag": etag}]}, **more)

    def told(answer):
        return {name: answer.get(name) for name in ("ETag", "VersionId", "ChecksumCRC32", "ChecksumType")}

    first = complete()
    assert first["VersionId"] and first["ChecksumCRC32"]
    assert told(complete()) == told(first)
    assert told(complete(ChecksumCRC32=first["ChecksumCRC32"])) == told(first)
    put(s3, b"newer")
    assert told(complete()) == told(first)
    for wrong in ('"' + "1" * 32 + '"', '"x"'):
        assert refused(complete, etag=wrong)["Error"]["Code"] == "InvalidPart"
    assert refused(complete, ChecksumCRC32="AAAAAA==-1")["Error"]["Code"] == "BadDigest"
    assert refused(complete, ChecksumSHA1="A" * 27 + "=")["Error"]["Code"] == "InvalidRequest"
    s3.delete_object(**words, VersionId=first["VersionId"])
    assert told(complete()) == {**dict.fromkeys(told(first)), "ETag": first["ETag"]}


def test_many_are_removed_at_once_by_key_and_by_version(s3):
    enable(s3)
    versions = [put(s3, b"%d" % i) for i in range(3)]
    answer = s3.delete_objects(Bucket="photos", Delete={"Objects": [
        {"Key": "k", "VersionId": versions[0]}, {"Key": "k"}, {"Key": "k", "VersionId": "nonsense"}]})
    gone, marker = sorted(answer["Deleted"], key=lambda d: "DeleteMarker" in d)
    assert gone["VersionId"] == versions[0] and marker["DeleteMarker"] is True
    assert answer["Errors"][0]["Code"] == "InvalidArgument"
    left = {v[1] for v in listed(s3)}
    assert left == {versions[1], versions[2], marker["DeleteMarkerVersionId"]}


def test_pages_of_versions_have_all_of_them_once(s3):
    enable(s3)
    made = [(key, put(s3, b"x", key)) for key in ("a", "a/1", "b", "c+d %") for _ in range(5)]
    s3.delete_object(Bucket="photos", Key="b")
    found = listed(s3, PaginationConfig={"PageSize": 3})
    assert sorted(v[:2] for v in found if not v[3]) == sorted(made) and len(found) == 21
    assert sum(v[2] for v in found) == 4
    page = s3.list_object_versions(Bucket="photos", Delimiter="/")
    assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["a/"]
    assert len(page["Versions"]) == 15 and not page["IsTruncated"]


def test_pages_that_are_removed_as_they_come_have_all_of_them(s3):
    enable(s3)
    put(s3, b"1")
    put(s3, b"2")
    enable(s3, "Suspended")
    put(s3, b"null")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket="photos", PaginationConfig={"PageSize": 1}):
        s3.delete_object(Bucket="photos", Key="k", VersionId=page["Versions"][0]["VersionId"])
    assert listed(s3) == []


def test_removing_on_condition_keeps_what_it_does_not_fit(region, s3):
    tag = s3.put_object(Bucket="photos", Key="k", Body=b"a")["ETag"]

    def on_condition(value):
        def add(request, **_):
            request.headers["If-Match"] = value
        s3.meta.events.register("before-sign.s3.DeleteObject", add, unique_id="condition")
        try:
            s3.delete_object(Bucket="photos", Key="k")
        finally:
            s3.meta.events.unregister("before-sign.s3.DeleteObject", unique_id="condition")
    answer = refused(on_condition, value='"0"')
    assert answer["Error"]["Code"] == "PreconditionFailed" and get(s3) == b"a"
    on_condition(tag)
    assert refused(s3.get_object, Bucket="photos", Key="k")["Error"]["Code"] == "NoSuchKey"


def test_bad_settings_are_refused(s3):
    for status in ("enabled", "Off"):
        answer = refused(s3.put_bucket_versioning, Bucket="photos", VersioningConfiguration={"Status": status})
        assert answer["Error"]["Code"] == "MalformedXML"
    answer = refused(s3.put_bucket_versioning, Bucket="photos",
                     VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"})
    assert answer["Error"]["Code"] == "NotImplemented"
    assert "Status" not in s3.get_bucket_versioning(Bucket="photos")


def test_versions_move_with_their_account(region, tmp_path):
    account = region.account()
    here = region.client(account)
    here.create_bucket(Bucket="photos")
    enable(here)
    versions = [put(here, bytes([i]) * (i * 30000 + 1)) for i in range(4)]
    marker = here.delete_object(Bucket="photos", Key="k")["VersionId"]
    other = Region(region.folder, "hk", "HK", beside=region).start()
    try:
        region.wait_wave(region.wave_to(other))
        there = other.client(account)
        assert [v[1] for v in listed(there) if not v[3]] == versions[::-1]
        for i, version in enumerate(versions):
            assert get(there, version) == bytes([i]) * (i * 30000 + 1)
        there.delete_object(Bucket="photos", Key="k", VersionId=marker)
        assert get(there) == bytes([3]) * 90001
    finally:
        other.stop()
