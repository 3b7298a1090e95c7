"""Tags of objects and buckets, as boto3, raw requests and a move see them."""
import pytest
from botocore.exceptions import ClientError

from domicile import Plain, Region, code_of

MIB = 1 << 20


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    one = Region(tmp_path_factory.mktemp("tags")).start()
    yield one
    one.stop()


@pytest.fixture
def s3(region):
    client = region.client(region.account())
    client.create_bucket(Bucket="photos")
    return client


def refused(call, **words):
    with pytest.raises(ClientError) as why:
        call(Bucket="photos", **words)
    return why.value.response["ResponseMetadata"]["HTTPStatusCode"], why.value.response["Error"]["Code"]


def tag_set(**tags):
    return {"TagSet": [{"Key": k, "Value": v} for k, v in tags.items()]}


def tags(s3, key="k", **words):
    answer = s3.get_object_tagging(Bucket="photos", Key=key, **words)
    return {t["Key"]: t["Value"] for t in answer["TagSet"]}


def count(s3, key="k", **words):
    head = s3.head_object(Bucket="photos", Key=key, **words)
    assert "x-amz-tagging" not in head["ResponseMetadata"]["HTTPHeaders"]
    return head["ResponseMetadata"]["HTTPHeaders"].get("x-amz-tagging-count")


def test_tags_come_go_and_change_nothing_else(s3):
    s3.put_object(Bucket="photos", Key="k", Body=b"body", ContentType="text/x", Metadata={"m": "1"},
                  ChecksumAlgorithm="SHA256")
    before = s3.head_object(Bucket="photos", Key="k", ChecksumMode="ENABLED")
    assert tags(s3) == {} and count(s3) is None
    s3.put_object_tagging(Bucket="photos", Key="k", Tagging=tag_set(colour="red", place="a b/é+=@", empty=""))
    assert tags(s3) == {"colour": "red", "place": "a b/é+=@", "empty": ""} and count(s3) == "3"
    s3.put_object_tagging(Bucket="photos", Key="k", Tagging=tag_set(colour="blue"))
    assert tags(s3) == {"colour": "blue"} and count(s3) == "1"
    got = s3.get_object(Bucket="photos", Key="k")
    assert got["Body"].read() == b"body" and got["TagCount"] == 1
    s3.delete_object_tagging(Bucket="photos", Key="k")
    s3.delete_object_tagging(Bucket="photos", Key="k")
    assert tags(s3) == {} and count(s3) is None
    after = s3.head_object(Bucket="photos", Key="k", ChecksumMode="ENABLED")
    for name in ("ETag", "LastModified", "ContentType", "Metadata", "ContentLength", "ChecksumSHA256"):
        assert after[name] == before[name]


def test_tags_come_with_objects_large_and_small_and_with_uploads(s3):
    for key, body in (("small", b"x"), ("large", bytes(3 * MIB))):
        s3.put_object(Bucket="photos", Key=key, Body=body, Tagging="a=1&b+c=d%20e")
        assert tags(s3, key) == {"a": "1", "b c": "d e"} and count(s3, key) == "2"
    s3.put_object(Bucket="photos", Key="small", Body=b"y")
    assert tags(s3, "small") == {}
    words = {"Bucket": "photos", "Key": "parts"}
    upload = s3.create_multipart_upload(Tagging="part=yes", **words)["UploadId"]
    etag = s3.upload_part(UploadId=upload, PartNumber=1, Body=b"1", **words)["ETag"]
    s3.complete_multipart_upload(UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}, **words)
    assert tags(s3, "parts") == {"part": "yes"}


@pytest.mark.parametrize("metadata", ["COPY", "REPLACE"])
def test_a_copy_has_its_sources_tags_or_its_own(s3, metadata):
    s3.put_object(Bucket="photos", Key="k", Body=b"x", Tagging="from=source", Metadata={"m": "old"})
    words = {"Bucket": "photos", "CopySource": "photos/k", "MetadataDirective": metadata, "Metadata": {"m": "new"}}
    kept = {"m": "old" if metadata == "COPY" else "new"}
    for key, more, expected in (("same", {}, {"from": "source"}),
                                ("copied", {"TaggingDirective": "COPY", "Tagging": "own=1"}, {"from": "source"}),
                                ("own", {"TaggingDirective": "REPLACE", "Tagging": "own=1"}, {"own": "1"}),
                                ("none", {"TaggingDirective": "REPLACE"}, {})):
        s3.copy_object(Key=key, **words, **more)
        assert tags(s3, key) == expected and s3.head_object(Bucket="photos", Key=key)["Metadata"] == kept
    assert refused(s3.copy_object, Key="x", CopySource="photos/k", TaggingDirective="MOVE") == (400, "InvalidArgument")


def test_what_is_no_tag_is_refused_and_changes_nothing(s3):
    s3.put_object(Bucket="photos", Key="k", Body=b"kept", Tagging="kept=yes")
    eleven = {"k%d" % i: "v" for i in range(11)}
    for bad in (eleven, {"k" * 129: ""}, {"k": "v" * 257}, {"aws:k": "v"}, {"k": "a<b"}):
        assert refused(s3.put_object_tagging, Key="k", Tagging=tag_set(**bad)) == (400, "InvalidTag"), bad
    twice = {"TagSet": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}
    assert refused(s3.put_object_tagging, Key="k", Tagging=twice) == (400, "InvalidTag")
    for text, code in (("a=1&a=2", "InvalidTag"), ("a=%zz", "InvalidArgument"), ("&".join(eleven), "InvalidTag")):
        assert refused(s3.put_object, Key="k", Body=b"new", Tagging=text) == (400, code), text
        assert refused(s3.create_multipart_upload, Key="k", Tagging=text) == (400, code), text
    assert tags(s3) == {"kept": "yes"} and s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"kept"
    for call in (s3.get_object_tagging, s3.delete_object_tagging):
        assert refused(call, Key="nobody's") == (404, "NoSuchKey")
    assert refused(s3.put_object_tagging, Key="nobody's", Tagging=tag_set(a="1")) == (404, "NoSuchKey")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.put_object_tagging(Bucket="not-there", Key="k", Tagging=tag_set(a="1"))


@pytest.mark.parametrize("body", [b"", b"<Tagging/>", b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
                                  b"<Tagging><TagSet><Tag><Key>a</Key><Key>b</Key><Value/></Tag></TagSet></Tagging>",
                                  b"<Tagging><TagSet>", b"<a/>"])
def test_what_is_no_tagging_is_malformed(region, body):
    plain = Plain(region, region.account())
    assert plain.request("PUT", "/photos")[0] == 200 and plain.request("PUT", "/photos/k", "", b"x")[0] == 200
    for path in ("/photos/k", "/photos"):
        status, _, answer = plain.request("PUT", path, "tagging=", body)
        assert status == 400 and b"<Code>MalformedXML</Code>" in answer


def test_the_most_that_fits_is_kept_whole(s3):
    most = {("%d" % i) + "=" * 127: "€" * 256 for i in range(10)}
    s3.put_object(Bucket="photos", Key="k", Body=b"", Metadata={"m": "x" * 2000})
    s3.put_object_tagging(Bucket="photos", Key="k", Tagging=tag_set(**most))
    assert tags(s3) == most and count(s3) == "10"
    s3.copy_object(Bucket="photos", Key="copy", CopySource="photos/k")
    assert tags(s3, "copy") == most


def test_each_version_has_its_own_tags(s3):
    s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    first, second = (s3.put_object(Bucket="photos", Key="k", Body=b, Tagging="n=" + b)["VersionId"] for b in "12")
    assert tags(s3) == {"n": "2"} and tags(s3, VersionId=first) == {"n": "1"}
    answer = s3.put_object_tagging(Bucket="photos", Key="k", VersionId=first, Tagging=tag_set(n="one"))
    assert answer["VersionId"] == first
    assert s3.put_object_tagging(Bucket="photos", Key="k", Tagging=tag_set(n="two"))["VersionId"] == second
    assert tags(s3, VersionId=first) == {"n": "one"} and tags(s3, VersionId=second) == {"n": "two"}
    marker = s3.delete_object(Bucket="photos", Key="k")["VersionId"]
    assert refused(s3.get_object_tagging, Key="k") == (404, "NoSuchKey")
    assert refused(s3.put_object_tagging, Key="k", Tagging=tag_set(a="1")) == (404, "NoSuchKey")
    for call, more in ((s3.get_object_tagging, {}), (s3.put_object_tagging, {"Tagging": tag_set(a="1")})):
        assert refused(call, Key="k", VersionId=marker, **more) == (405, "MethodNotAllowed")
    assert refused(s3.get_object_tagging, Key="k", VersionId="0" * 16) == (404, "NoSuchVersion")
    assert s3.delete_object_tagging(Bucket="photos", Key="k", VersionId=first)["VersionId"] == first
    assert tags(s3, VersionId=first) == {} and tags(s3, VersionId=second) == {"n": "two"}


def test_a_bucket_has_tags_too(s3):
    assert refused(s3.get_bucket_tagging) == (404, "NoSuchTagSet")
    fifty = {"k%d" % i: "v %d" % i for i in range(50)}
    s3.put_bucket_tagging(Bucket="photos", Tagging=tag_set(**fifty))
    assert s3.get_bucket_tagging(Bucket="photos")["TagSet"] == tag_set(**fifty)["TagSet"]
    assert refused(s3.put_bucket_tagging, Tagging=tag_set(more="1", **fifty)) == (400, "InvalidTag")
    s3.delete_bucket_tagging(Bucket="photos")
    assert refused(s3.get_bucket_tagging) == (404, "NoSuchTagSet")
    s3.put_bucket_tagging(Bucket="photos", Tagging=tag_set(a="1"))
    s3.delete_bucket(Bucket="photos")
    s3.create_bucket(Bucket="photos")
    assert refused(s3.get_bucket_tagging) == (404, "NoSuchTagSet")
    for call, more in ((s3.get_bucket_tagging, {}), (s3.delete_bucket_tagging, {}),
                       (s3.put_bucket_tagging, {"Tagging": tag_set(a="1")})):
        with pytest.raises(ClientError, match="NoSuchBucket"):
            call(Bucket="not-there", **more)


def test_a_bucket_is_made_with_its_tags_or_not_at_all(region):
    account = region.account()
    s3, plain = region.client(account), Plain(region, account)

    def make(bucket, tags, **headers):
        listed = "".join(f"<Tag><Key>{k}</Key><Value>{v}</Value></Tag>" for k, v in tags)
        body = ("<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>"
                f"<Tags>{listed}</Tags></CreateBucketConfiguration>")
        status, _, answer = plain.request("PUT", f"/{bucket}", "", body.encode(), **headers)
        return status, code_of(answer) if status != 200 else None

    assert make("tagged", [("a", "1"), ("b", "2")]) == (200, None)
    assert s3.get_bucket_tagging(Bucket="tagged")["TagSet"] == tag_set(a="1", b="2")["TagSet"]
    assert make("locked", [("a", "1")], x_amz_bucket_object_lock_enabled="true") == (200, None)
    assert s3.get_bucket_tagging(Bucket="locked")["TagSet"] == tag_set(a="1")["TagSet"]
    assert make("plain", []) == (200, None)
    with pytest.raises(ClientError, match="NoSuchTagSet"):
        s3.get_bucket_tagging(Bucket="plain")
    assert make("other", [("a", "1"), ("a", "2")]) == (400, "InvalidTag")
    assert make("other", [("a", "!")]) == (400, "InvalidTag")
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["locked", "plain", "tagged"]


def test_tags_move_with_their_account(region):
    account = region.account()
    here = region.client(account)
    here.create_bucket(Bucket="photos")
    here.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    first = here.put_object(Bucket="photos", Key="k", Body=b"1", Tagging="n=1")["VersionId"]
    here.put_object(Bucket="photos", Key="k", Body=bytes(MIB), Tagging="n=2")
    here.put_bucket_tagging(Bucket="photos", Tagging=tag_set(of="bucket"))
    other = Region(region.folder, "hk", "HK", beside=region).start()
    try:
        region.wait_wave(region.wave_to(other))
        there = other.client(account)
        for s3 in (there, here):  # at home, and passed on
            assert tags(s3) == {"n": "2"} and tags(s3, VersionId=first) == {"n": "1"}
            assert s3.get_bucket_tagging(Bucket="photos")["TagSet"] == tag_set(of="bucket")["TagSet"]
        here.put_object_tagging(Bucket="photos", Key="k", Tagging=tag_set(n="three"))
        assert tags(there) == {"n": "three"}
    finally:
        other.stop()
