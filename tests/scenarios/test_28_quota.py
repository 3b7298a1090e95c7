"""What an account may keep: real clients at the limit, and moves to a region with another one."""
import hashlib
import json
import os
import random
import subprocess

import pytest
from botocore.exceptions import ClientError

from domicile import Plain, Region, code_of

MIB = 1 << 20


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quota")
    one = Region(folder, "cn-bj", "CN").start()
    two = Region(folder, "sg", "SG", beside=one)
    with open(two.config, "a") as conf:
        conf.write("\nquota_bytes = 1 MiB\nquota_objects = 1000\naccount_buckets = 2\n")
    two.start()
    yield one, two
    two.stop()
    one.stop()


def account(region):
    return region.account("CN")


def quota(region, who, *words):
    return json.loads(region.command("account", "quota", who["account"], "--json", *words))["quota"]


def show(region, who):
    return json.loads(region.command("account", "show", who["account"]))


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert answer["Error"]["Code"] == "QuotaExceeded", answer
    return answer["Error"]["Message"]


def test_a_client_is_told_and_what_is_there_stays(pair):
    region = pair[0]
    who = account(region)
    s3 = region.client(who)
    s3.create_bucket(Bucket="photos")
    assert quota(region, who) == []
    assert quota(region, who, "--bytes", "1MiB", "--objects", 3) == [
        {"service": "all", "bytes": MIB, "objects": 3}]
    body = random.Random(1).randbytes(MIB)
    s3.put_object(Bucket="photos", Key="a", Body=body[:MIB - 10])
    assert "1048576 bytes in all services" in refused(s3.put_object, Bucket="photos", Key="b", Body=b"x" * 11)
    s3.put_object(Bucket="photos", Key="b", Body=b"x" * 10)
    s3.put_object(Bucket="photos", Key="a", Body=body[:MIB - 10])       # in its own place
    refused(s3.copy_object, Bucket="photos", Key="c", CopySource="photos/a")
    s3.put_object(Bucket="photos", Key="empty", Body=b"")
    refused(s3.create_multipart_upload, Bucket="photos", Key="c")       # the fourth object
    s3.delete_object(Bucket="photos", Key="empty")
    upload = s3.create_multipart_upload(Bucket="photos", Key="c")["UploadId"]
    refused(s3.upload_part, Bucket="photos", Key="c", UploadId=upload, PartNumber=1, Body=b"x")
    s3.abort_multipart_upload(Bucket="photos", Key="c", UploadId=upload)
    assert s3.get_object(Bucket="photos", Key="a")["Body"].read() == body[:MIB - 10]
    shown = show(region, who)
    assert shown["quota"] == [{"service": "all", "bytes": MIB, "objects": 3}]
    files = [v for v in shown["vaults"] if v["service"] == "files"][0]
    assert (files["objects"], files["bytes"]) == (2, MIB)
    s3.delete_object(Bucket="photos", Key="b")
    s3.put_object(Bucket="photos", Key="c", Body=b"y" * 10)
    assert quota(region, who, "--none") == []
    s3.put_object(Bucket="photos", Key="large", Body=body)


def test_a_large_body_is_refused_before_it_comes(pair):
    region = pair[0]
    who = account(region)
    region.client(who).create_bucket(Bucket="photos")
    quota(region, who, "--service", "files", "--bytes", "100KiB")
    plain = Plain(region, who)
    body = b"z" * (50 * MIB)
    head = plain.signer().headers("PUT", "/photos/k", payload=hashlib.sha256(body).hexdigest(), Expect="100-continue")
    head["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    answer = plain.raw(f"PUT /photos/k HTTP/1.1\r\n{lines}\r\n".encode(), 60)
    assert answer.startswith(b"HTTP/1.1 403 ") and code_of(answer) == "QuotaExceeded", answer


def test_rclone_says_why_and_goes_on_once_there_is_more(pair, tmp_path):
    region = pair[0]
    who = account(region)
    (tmp_path / "tree").mkdir()
    for i in range(3):
        (tmp_path / "tree" / str(i)).write_bytes(random.Random(i).randbytes(MIB))
    env = dict(PATH=os.environ["PATH"], HOME=str(tmp_path), RCLONE_CONFIG="/dev/null", RCLONE_CONFIG_HOME_TYPE="s3",
               RCLONE_CONFIG_HOME_PROVIDER="Other", RCLONE_CONFIG_HOME_ENDPOINT=region.url,
               RCLONE_CONFIG_HOME_ACCESS_KEY_ID=who["access_key"], RCLONE_CA_CERT=str(region.ca),
               RCLONE_CONFIG_HOME_SECRET_ACCESS_KEY=who["secret_key"])

    def rclone(*words):
        return subprocess.run(["rclone", *words], env=env, capture_output=True, text=True, timeout=300)

    assert rclone("mkdir", "home:backup-pc").returncode == 0
    quota(region, who, "--service", "backup", "--bytes", "2MiB")
    done = rclone("sync", str(tmp_path / "tree"), "home:backup-pc/tree", "--retries", "1")
    assert done.returncode != 0 and "QuotaExceeded: the account may keep 2097152 bytes in backup" in done.stderr
    quota(region, who, "--service", "backup", "--bytes", "10MiB")
    assert rclone("sync", str(tmp_path / "tree"), "home:backup-pc/tree").returncode == 0
    assert rclone("check", "--download", str(tmp_path / "tree"), "home:backup-pc/tree").returncode == 0


def test_a_move_takes_the_limits_along_and_arrives_over_them(pair):
    here, there = pair
    own, other = account(here), account(here)
    body = random.Random(3).randbytes(2 * MIB)
    for who in (own, other):
        s3 = here.client(who)
        s3.create_bucket(Bucket="photos")
        s3.put_object(Bucket="photos", Key="a", Body=body)
    quota(here, own, "--bytes", "3MiB")
    status = here.wait_wave(here.wave_to(there))
    assert here.home(own) == here.home(other) == "sg", status
    assert quota(here, own)[0] == {"service": "all", "bytes": 3 * MIB, "objects": 1000}     # asked at the new home
    s3 = there.client(own)
    s3.put_object(Bucket="photos", Key="b", Body=body[:MIB])
    refused(s3.put_object, Bucket="photos", Key="c", Body=b"x")
    s3 = here.client(other)                                         # the new home has a default that is less
    assert s3.get_object(Bucket="photos", Key="a")["Body"].read() == body
    assert "1048576" in refused(s3.put_object, Bucket="photos", Key="b", Body=b"x")
    s3.put_object(Bucket="photos", Key="a", Body=body[:MIB + 1])    # less than there was
    refused(s3.put_object, Bucket="photos", Key="b", Body=b"x")
    s3.delete_object(Bucket="photos", Key="a")
    s3.put_object(Bucket="photos", Key="b", Body=b"x")
    quota(here, other, "--none")
    s3.put_object(Bucket="photos", Key="a", Body=body)


def test_an_account_keeps_the_buckets_it_has_and_makes_no_more_than_it_may(pair):
    here, there = pair
    who = account(here)
    s3 = here.client(who)
    for bucket in ("a-1", "a-2", "a-3"):
        s3.create_bucket(Bucket=bucket)
    assert here.wait_wave(here.wave_to(there)) and here.home(who) == "sg"
    s3.put_object(Bucket="a-3", Key="k", Body=b"x")
    plain = Plain(here, who)
    for bucket, status, code in [("a-1", 409, "BucketAlreadyOwnedByYou"), ("a-4", 400, "TooManyBuckets"),
                                 ("backup-1", 200, ""), ("backup-2", 200, ""), ("backup-3", 400, "TooManyBuckets")]:
        answer = plain.request("PUT", f"/{bucket}")
        assert (answer[0], code_of(answer[2])) == (status, code), bucket
    s3.delete_bucket(Bucket="a-1")
    assert code_of(plain.request("PUT", "/a-4")[2]) == "TooManyBuckets"
    s3.delete_bucket(Bucket="a-2")
    s3.create_bucket(Bucket="a-4")
    assert there.refused("buckets") == 3
    assert json.loads(there.command("region", "status", "--json"))["limits"]["account_buckets"] == 2
