"""Object lock: what boto3 sees, and a backup that an attacker with the user's keys can't destroy."""
import datetime
import os
import subprocess

import pytest
from botocore.exceptions import ClientError

from domicile import Region


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    one = Region(tmp_path_factory.mktemp("lock")).start()
    yield one
    one.stop()


@pytest.fixture
def account(region):
    return region.account()


@pytest.fixture
def s3(region, account):
    client = region.client(account)
    client.create_bucket(Bucket="backup", ObjectLockEnabledForBucket=True)
    return client


def later(days):
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(days=days)


def status_of(call, **words):
    with pytest.raises(ClientError) as why:
        call(**words)
    return why.value.response["ResponseMetadata"]["HTTPStatusCode"], why.value.response["Error"]["Code"]


def refused(call, **words):
    return status_of(call, **words)[1]


def lock_by_default(s3, mode, days=1):
    s3.put_object_lock_configuration(Bucket="backup", ObjectLockConfiguration={
        "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, "Days": days}}})


def test_a_bucket_for_locks_has_versions_and_a_default(s3):
    assert s3.get_bucket_versioning(Bucket="backup")["Status"] == "Enabled"
    found = s3.get_object_lock_configuration(Bucket="backup")["ObjectLockConfiguration"]
    assert found == {"ObjectLockEnabled": "Enabled"}
    lock_by_default(s3, "GOVERNANCE", 7)
    found = s3.get_object_lock_configuration(Bucket="backup")["ObjectLockConfiguration"]
    assert found["Rule"] == {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 7}}
    version = s3.put_object(Bucket="backup", Key="k", Body=b"x")["VersionId"]
    head = s3.head_object(Bucket="backup", Key="k")
    assert head["ObjectLockMode"] == "GOVERNANCE"
    assert abs(head["ObjectLockRetainUntilDate"] - later(7)) < datetime.timedelta(minutes=5)
    assert refused(s3.delete_object, Bucket="backup", Key="k", VersionId=version) == "AccessDenied"
    s3.delete_object(Bucket="backup", Key="k", VersionId=version, BypassGovernanceRetention=True)
    answer = refused(s3.put_bucket_versioning, Bucket="backup", VersioningConfiguration={"Status": "Suspended"})
    assert answer == "InvalidBucketState"


def test_retention_and_hold_of_one_version(s3):
    words = {"Bucket": "backup", "Key": "k"}
    until = later(3)
    first = s3.put_object(Body=b"1", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until, **words)["VersionId"]
    second = s3.put_object(Body=b"2", ObjectLockLegalHoldStatus="ON", **words)["VersionId"]
    got = s3.get_object_retention(VersionId=first, **words)["Retention"]
    assert got == {"Mode": "COMPLIANCE", "RetainUntilDate": until}
    assert refused(s3.get_object_retention, **words) == "NoSuchObjectLockConfiguration"
    assert refused(s3.get_object_legal_hold, VersionId=first, **words) == "NoSuchObjectLockConfiguration"
    assert "ObjectLockLegalHoldStatus" not in s3.head_object(VersionId=first, **words)
    assert s3.get_object_legal_hold(**words)["LegalHold"]["Status"] == "ON"
    shorter = {"Mode": "COMPLIANCE", "RetainUntilDate": later(1)}
    assert refused(s3.put_object_retention, VersionId=first, Retention=shorter, BypassGovernanceRetention=True,
                   **words) == "AccessDenied"
    for version in (first, second):
        assert refused(s3.delete_object, VersionId=version, BypassGovernanceRetention=True, **words) == "AccessDenied"
    answer = s3.delete_objects(Bucket="backup", Delete={"Objects": [{"Key": "k", "VersionId": v} for v in (first, second)]})
    assert [e["Code"] for e in answer["Errors"]] == ["AccessDenied", "AccessDenied"]
    s3.put_object_legal_hold(VersionId=second, LegalHold={"Status": "OFF"}, **words)
    assert s3.get_object_legal_hold(**words)["LegalHold"]["Status"] == "OFF"
    assert s3.head_object(**words)["ObjectLockLegalHoldStatus"] == "OFF"
    s3.delete_object(VersionId=second, **words)
    assert s3.get_object(**words)["Body"].read() == b"1"


@pytest.mark.parametrize("rule", [{"Days": 0}, {"Days": 10 ** 6}, {"Years": 0}, {"Years": 1000}])
def test_a_default_that_is_no_time_is_refused(s3, rule):
    words = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", **rule}}}
    assert status_of(s3.put_object_lock_configuration, Bucket="backup", ObjectLockConfiguration=words) == (400, "InvalidArgument")


def test_a_mode_changes_by_bypass_and_answers_are_s3s(s3):
    words = {"Bucket": "backup", "Key": "k"}
    version = s3.put_object(Body=b"1", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=later(3), **words)["VersionId"]
    strict = {"Mode": "COMPLIANCE", "RetainUntilDate": later(4)}
    assert status_of(s3.put_object_retention, Retention=strict, **words) == (403, "AccessDenied")
    assert status_of(s3.delete_object, VersionId=version, **words) == (403, "AccessDenied")
    s3.put_object_retention(Retention=strict, BypassGovernanceRetention=True, **words)
    marker = s3.delete_object(**words)["VersionId"]
    hold = {"Status": "ON"}
    assert status_of(s3.put_object_legal_hold, VersionId=marker, LegalHold=hold, **words) == (405, "MethodNotAllowed")
    assert status_of(s3.get_object_retention, VersionId=marker, **words) == (405, "MethodNotAllowed")
    assert status_of(s3.get_object_legal_hold, VersionId="x", **words) == (400, "InvalidArgument")


def test_uploads_in_parts_and_copies_are_locked(s3):
    words = {"Bucket": "backup", "Key": "parts"}
    upload = s3.create_multipart_upload(ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=later(2), **words)["UploadId"]
    tag = s3.upload_part(PartNumber=1, UploadId=upload, Body=b"part", **words)["ETag"]
    done = s3.complete_multipart_upload(UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]}, **words)
    copy = s3.copy_object(Bucket="backup", Key="copy", CopySource="backup/parts", ObjectLockLegalHoldStatus="ON")
    for key, version in (("parts", done["VersionId"]), ("copy", copy["VersionId"])):
        assert refused(s3.delete_object, Bucket="backup", Key=key, VersionId=version) == "AccessDenied"


def test_bad_locks_are_refused(s3):
    s3.create_bucket(Bucket="plain")
    words = {"Bucket": "backup", "Key": "k", "Body": b""}
    assert refused(s3.put_object, ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=later(-1), **words) == "InvalidArgument"
    assert refused(s3.put_object, ObjectLockMode="STRICT", ObjectLockRetainUntilDate=later(1), **words) == "InvalidArgument"
    assert refused(s3.put_object, ObjectLockMode="COMPLIANCE", **words) == "InvalidArgument"
    assert refused(s3.put_object, Bucket="plain", Key="k", Body=b"", ObjectLockLegalHoldStatus="ON") == "InvalidRequest"
    assert refused(s3.get_object_lock_configuration, Bucket="plain") == "ObjectLockConfigurationNotFoundError"
    assert refused(lambda: lock_by_default(s3, "GOVERNANCE", 0)) == "InvalidArgument"
    assert refused(s3.put_object_lock_configuration, Bucket="plain",
                   ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}) == "InvalidBucketState"
    assert "Versions" not in s3.list_object_versions(Bucket="backup")


def restic(region, account, folder, *words):
    done = subprocess.run(
        ["restic", "--cacert", region.ca, "--cache-dir", folder / "cache", *words], capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "AWS_ACCESS_KEY_ID": account["access_key"],
             "AWS_SECRET_ACCESS_KEY": account["secret_key"], "RESTIC_PASSWORD": "p",
             "RESTIC_REPOSITORY": f"s3:{region.url}/backup"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_backup_survives_who_has_the_keys_and_destroys_everything(region, account, s3, tmp_path):
    lock_by_default(s3, "COMPLIANCE", 30)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one").write_text("dear friend" * 9999)
    restic(region, account, tmp_path, "init")
    restic(region, account, tmp_path, "backup", tmp_path / "letters")
    kept = s3.list_object_versions(Bucket="backup")["Versions"]

    for page in s3.get_paginator("list_object_versions").paginate(Bucket="backup"):     # the attacker
        everything = [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in page["Versions"]]
        s3.delete_objects(Bucket="backup", BypassGovernanceRetention=True, Delete={"Objects": everything})
    for version in kept:
        s3.put_object(Bucket="backup", Key=version["Key"], Body=b"pay")
        s3.delete_object(Bucket="backup", Key=version["Key"])
    assert "Contents" not in s3.list_objects_v2(Bucket="backup")

    locked = {v["VersionId"] for v in kept if not v["Key"].startswith("locks/")}
    for version in s3.list_object_versions(Bucket="backup")["Versions"]:               # the user again
        if version["VersionId"] in locked:
            s3.copy_object(Bucket="backup", Key=version["Key"], CopySource={
                "Bucket": "backup", "Key": version["Key"], "VersionId": version["VersionId"]})
    restic(region, account, tmp_path, "check", "--read-data", "--no-lock")
    restic(region, account, tmp_path, "restore", "latest", "--no-lock", "--target", tmp_path / "back")
    assert list((tmp_path / "back").rglob("one"))[0].read_text() == "dear friend" * 9999
