"""What else the S3 API has: settings with one value, ACLs, pages of buckets, attributes, parts, checksums."""
import pytest
from botocore.exceptions import ClientError

from domicile import Plain, Region, code_of


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
    assert page("bucket-region=sg")[0] == sorted(names) and page("bucket-region=elsewhere") == ([], "")
    for query in ("max-buckets=0", "max-buckets=x", "continuation-token=%21"):
        status, _, body = plain.request("GET", "/", query)
        assert (status, code_of(body)) == (400, "InvalidArgument"), query
