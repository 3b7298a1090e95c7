"""Lifecycle rules, as boto3, aws and s3cmd set them; what is due goes, also across moves and kills. A day is a second."""
import datetime
import os
import signal
import subprocess
import urllib.request

import pytest
from botocore.exceptions import ClientError

from domicile import Region, wait_until

MIDNIGHT = datetime.datetime(2031, 4, 9, tzinfo=datetime.timezone.utc)


def short_days(region):
    with open(region.config, "a") as conf:
        conf.write("lifecycle_day = 1s\n")
    return region


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    one = short_days(Region(tmp_path_factory.mktemp("lifecycle"))).start()
    yield one
    one.stop()


@pytest.fixture
def s3(region):
    client = region.client(region.account())
    client.create_bucket(Bucket="photos")
    return client


def rule(name="rule", **words):
    words.setdefault("Filter", {"Prefix": ""})
    return {"ID": name, "Status": "Enabled", **words}


def put_rules(s3, *rules):
    s3.put_bucket_lifecycle_configuration(Bucket="photos", LifecycleConfiguration={"Rules": list(rules)})


def refused(call, **words):
    with pytest.raises(ClientError) as why:
        call(Bucket="photos", **words)
    return why.value.response["ResponseMetadata"]["HTTPStatusCode"], why.value.response["Error"]["Code"]


def keys(s3):
    return [o["Key"] for o in s3.list_objects_v2(Bucket="photos").get("Contents", [])]


def versions(s3):
    page = s3.list_object_versions(Bucket="photos")
    return [(v["Key"], v["IsLatest"]) for v in page.get("Versions", [])], \
           [(m["Key"], m["IsLatest"]) for m in page.get("DeleteMarkers", [])]


def test_rules_come_back_as_they_were_put(s3):
    days = {"Expiration": {"Days": 3650}}
    rules = [
        rule("all", **days),
        rule("empty", Filter={}, **days),
        rule("prefix", Filter={"Prefix": "logs/é&<"}, **days),
        rule("tag", Filter={"Tag": {"Key": "k", "Value": "a b=c"}}, **days),
        rule("over", Filter={"ObjectSizeGreaterThan": 500}, **days),
        rule("under", Filter={"ObjectSizeLessThan": 500}, **days),
        rule("and", Filter={"And": {"Prefix": "p", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}],
                                    "ObjectSizeGreaterThan": 1, "ObjectSizeLessThan": 9}}, **days),
        rule("date", Expiration={"Date": MIDNIGHT}),
        rule("markers", Expiration={"ExpiredObjectDeleteMarker": True}),
        rule("noncurrent", NoncurrentVersionExpiration={"NoncurrentDays": 4000, "NewerNoncurrentVersions": 7}),
        rule("uploads", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 4000}),
        rule("several", NoncurrentVersionExpiration={"NoncurrentDays": 4000},
             AbortIncompleteMultipartUpload={"DaysAfterInitiation": 4000}, **days),
        {**rule("off", **days), "Status": "Disabled"},
    ]
    assert refused(s3.get_bucket_lifecycle_configuration) == (404, "NoSuchLifecycleConfiguration")
    put_rules(s3, *rules)
    assert s3.get_bucket_lifecycle_configuration(Bucket="photos")["Rules"] == rules
    kept = rule("kept", NoncurrentVersionExpiration={"NoncurrentDays": 4000})
    put_rules(s3, {**kept, "Expiration": {"ExpiredObjectDeleteMarker": False}})
    assert s3.get_bucket_lifecycle_configuration(Bucket="photos")["Rules"] == [kept]
    put_rules(s3, {k: v for k, v in rules[0].items() if k != "ID"})
    made = s3.get_bucket_lifecycle_configuration(Bucket="photos")["Rules"]
    assert len(made) == 1 and len(made[0]["ID"]) == 32
    s3.delete_bucket_lifecycle(Bucket="photos")
    s3.delete_bucket_lifecycle(Bucket="photos")
    assert refused(s3.get_bucket_lifecycle_configuration) == (404, "NoSuchLifecycleConfiguration")
    old = {"ID": "old", "Prefix": "logs/", "Status": "Enabled", "Expiration": {"Days": 3650}}
    s3.put_bucket_lifecycle(Bucket="photos", LifecycleConfiguration={"Rules": [old]})
    assert s3.get_bucket_lifecycle(Bucket="photos")["Rules"] == [old]


@pytest.mark.parametrize("words, code", [
    ({"Expiration": {"Days": 0}}, "InvalidArgument"),
    ({"Expiration": {"Days": -1}}, "MalformedXML"),
    ({"Expiration": {"Days": 1, "Date": MIDNIGHT}}, "MalformedXML"),
    ({"Expiration": {}}, "MalformedXML"),
    ({"Expiration": {"ExpiredObjectDeleteMarker": False}}, "InvalidRequest"),
    ({"Expiration": {"Date": MIDNIGHT + datetime.timedelta(hours=1)}}, "InvalidArgument"),
    ({"Expiration": {"Days": 1}, "Status": "enabled"}, "MalformedXML"),
    ({"Expiration": {"Days": 1}, "ID": "x" * 256}, "InvalidArgument"),
    ({"Expiration": {"Days": 1}, "Prefix": "a"}, "MalformedXML"),
    ({"Expiration": {"Days": 1}, "Filter": {"Prefix": "a", "Tag": {"Key": "k", "Value": "v"}}}, "MalformedXML"),
    ({"Expiration": {"Days": 1}, "Filter": {"And": {"ObjectSizeGreaterThan": 5, "ObjectSizeLessThan": 5}}},
     "InvalidRequest"),
    ({"Expiration": {"ExpiredObjectDeleteMarker": True}, "Filter": {"Tag": {"Key": "k", "Value": "v"}}},
     "InvalidRequest"),
    ({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}, "Filter": {"ObjectSizeLessThan": 5}},
     "InvalidRequest"),
    ({"NoncurrentVersionExpiration": {"NewerNoncurrentVersions": 5}}, "MalformedXML"),
    ({}, "InvalidRequest"),
])
def test_what_is_no_rule_is_refused_and_changes_nothing(s3, words, code):
    put_rules(s3, rule("kept", Expiration={"Days": 3650}))
    configuration = {"Rules": [{**rule("bad"), **words}]}
    assert refused(s3.put_bucket_lifecycle_configuration, LifecycleConfiguration=configuration) == (400, code)
    assert [r["ID"] for r in s3.get_bucket_lifecycle_configuration(Bucket="photos")["Rules"]] == ["kept"]


def test_a_transition_and_the_same_id_twice_are_refused(s3):
    one = rule("same", Expiration={"Days": 1})
    cold = rule("cold", Transitions=[{"Days": 1, "StorageClass": "GLACIER"}])
    put = s3.put_bucket_lifecycle_configuration
    assert refused(put, LifecycleConfiguration={"Rules": [one, one]}) == (400, "InvalidArgument")
    assert refused(put, LifecycleConfiguration={"Rules": [cold]}) == (501, "NotImplemented")
    assert refused(put, LifecycleConfiguration={"Rules": []}) == (400, "MalformedXML")
    many = [rule(f"{i}", Expiration={"Days": 3650}) for i in range(1001)]
    put_rules(s3, *many[:1000])
    assert refused(put, LifecycleConfiguration={"Rules": many}) == (400, "InvalidRequest")


def test_what_is_due_goes_and_nothing_else(s3):
    for key in ("logs/a", "logs/b", "kept"):
        s3.put_object(Bucket="photos", Key=key, Body=bytes(100000))
    s3.put_object(Bucket="photos", Key="tagged", Body=b"x", Tagging="gone=yes")
    upload = s3.create_multipart_upload(Bucket="photos", Key="upload")["UploadId"]
    s3.upload_part(Bucket="photos", Key="upload", UploadId=upload, PartNumber=1, Body=b"x")
    put_rules(s3, rule("logs", Filter={"Prefix": "logs/"}, Expiration={"Days": 1}),
              rule("tags", Filter={"Tag": {"Key": "gone", "Value": "yes"}}, Expiration={"Days": 1}),
              rule("uploads", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}))
    wait_until(lambda: keys(s3) == ["kept"])
    wait_until(lambda: "Uploads" not in s3.list_multipart_uploads(Bucket="photos"))
    assert s3.get_object(Bucket="photos", Key="kept")["Body"].read() == bytes(100000)


def test_answers_say_when_an_object_goes_and_why(s3):
    def said(answer):
        return answer.get("Expiration")
    words = {"Bucket": "photos", "Key": "logs/k"}
    assert said(s3.put_object(Body=b"x", **words)) is None and said(s3.head_object(**words)) is None
    put_rules(s3, rule("later", Expiration={"Date": MIDNIGHT + datetime.timedelta(days=1)}),
              rule("the logs, é", Filter={"Prefix": "logs/"}, Expiration={"Date": MIDNIGHT}),
              rule("tagged", Filter={"Tag": {"Key": "a", "Value": "b"}},
                   Expiration={"Date": MIDNIGHT - datetime.timedelta(days=1)}))
    logs = 'expiry-date="Wed, 09 Apr 2031 00:00:00 GMT", rule-id="the%20logs%2C%20%C3%A9"'
    tagged = 'expiry-date="Tue, 08 Apr 2031 00:00:00 GMT", rule-id="tagged"'
    other = 'expiry-date="Thu, 10 Apr 2031 00:00:00 GMT", rule-id="later"'
    assert said(s3.head_object(**words)) == said(s3.get_object(**words)) == logs
    assert said(s3.put_object(Body=b"x", **words)) == logs
    assert said(s3.put_object(Body=bytes(100000), Tagging="a=b", **words)) == tagged == said(s3.get_object(**words))
    copied = s3.copy_object(Bucket="photos", Key="copy", CopySource="photos/logs/k", TaggingDirective="REPLACE")
    assert said(copied) == other
    upload = s3.create_multipart_upload(Tagging="a=b", **words)["UploadId"]
    etag = s3.upload_part(UploadId=upload, PartNumber=1, Body=b"1", **words)["ETag"]
    done = s3.complete_multipart_upload(UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}, **words)
    assert said(done) == said(s3.head_object(**words)) == tagged
    s3.delete_bucket_lifecycle(Bucket="photos")
    assert said(s3.head_object(**words)) is None


def test_answers_say_when_an_upload_is_given_up_and_why(s3):
    """The days of this region are short, but there are many of them."""
    words = {"Bucket": "photos", "Key": "logs/k"}

    def said(answer):
        return answer.get("AbortDate"), answer.get("AbortRuleId")
    begun = s3.create_multipart_upload(**words)
    words["UploadId"] = begun["UploadId"]
    assert said(begun) == said(s3.list_parts(**words)) == (None, None)
    put_rules(s3, rule("later", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 3650 * 86400 // 2}),
              rule("the logs, é", Filter={"Prefix": "logs/"}, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 86400}),
              {**rule("off", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 8640}), "Status": "Disabled"})
    date, by = said(s3.list_parts(**words))
    assert by == "the%20logs%2C%20%C3%A9" and date > datetime.datetime.now(datetime.timezone.utc)
    assert said(s3.create_multipart_upload(Bucket="photos", Key="logs/k"))[1] == by
    assert said(s3.create_multipart_upload(Bucket="photos", Key="k"))[1] == "later"
    s3.delete_bucket_lifecycle(Bucket="photos")
    assert said(s3.list_parts(**words)) == (None, None)


def test_a_date_that_is_past_is_for_all_that_comes(s3):
    put_rules(s3, rule(Expiration={"Date": datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)}))
    for _ in range(2):
        s3.put_object(Bucket="photos", Key="k", Body=b"x")
        wait_until(lambda: keys(s3) == [])


def test_versions_go_down_to_the_last_marker(s3):
    s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    for i in range(4):
        s3.put_object(Bucket="photos", Key="k", Body=b"%d" % i)
    s3.delete_object(Bucket="photos", Key="gone")
    put_rules(s3, rule("old", NoncurrentVersionExpiration={"NoncurrentDays": 1, "NewerNoncurrentVersions": 1}))
    wait_until(lambda: versions(s3) == ([("k", True), ("k", False)], [("gone", True)]))
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"3"
    put_rules(s3, rule("all", Expiration={"Days": 1}, NoncurrentVersionExpiration={"NoncurrentDays": 1}))
    wait_until(lambda: versions(s3) == ([], []))


def test_what_is_locked_stays(region):
    s3 = region.client(region.account())
    s3.create_bucket(Bucket="backup", ObjectLockEnabledForBucket=True)
    for key in ("held", "loose"):
        s3.put_object(Bucket="backup", Key=key, Body=b"x", **({"ObjectLockLegalHoldStatus": "ON"} if key == "held" else {}))
    s3.put_bucket_lifecycle_configuration(Bucket="backup", LifecycleConfiguration={"Rules": [
        rule("all", Expiration={"Days": 1}, NoncurrentVersionExpiration={"NoncurrentDays": 1})]})

    def left():
        page = s3.list_object_versions(Bucket="backup")
        return [v["Key"] for v in page.get("Versions", [])], [m["Key"] for m in page.get("DeleteMarkers", [])]
    wait_until(lambda: left() == (["held"], ["held"]))


def vaults_with_rules(region):
    with urllib.request.urlopen(f"http://127.0.0.1:{region.port + 3}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("domicile_lifecycle_vaults ")), None)


def test_rules_go_with_the_account_and_are_kept_at_its_new_home(tmp_path):
    one = short_days(Region(tmp_path, "cn-bj", "CN"))
    with open(one.folder / "regions.conf", "a") as conf:
        conf.write("[policy *]\nregions = cn-bj, sg\n")
    one.start()
    two = short_days(Region(tmp_path, "sg", "SG", beside=one)).start()
    try:
        accounts = [one.account("IN") for _ in range(2)]
        clients = [one.client(a) for a in accounts]
        for s3 in clients:
            s3.create_bucket(Bucket="photos")
            for key in ("logs/a", "kept"):
                s3.put_object(Bucket="photos", Key=key, Body=b"x")
        put_rules(clients[0], rule("tags", Filter={"Tag": {"Key": "gone", "Value": "yes"}}, Expiration={"Days": 1}))
        wait_until(lambda: vaults_with_rules(one) == 1)
        one.wait_wave(one.wave_to(two))
        for s3, account in zip(clients, accounts):
            assert one.home(account) == "sg" and keys(s3) == ["kept", "logs/a"]
            s3.put_object_tagging(Bucket="photos", Key="logs/a", Tagging={"TagSet": [{"Key": "gone", "Value": "yes"}]})
        # Nobody has told the new home that there are rules.
        wait_until(lambda: keys(clients[0]) == ["kept"])
        assert keys(clients[1]) == ["kept", "logs/a"]
        wait_until(lambda: (vaults_with_rules(one), vaults_with_rules(two)) == (0, 1))
    finally:
        two.stop()
        one.stop()


def test_a_kill_in_between_leaves_the_rest_to_the_next_start(tmp_path):
    region = short_days(Region(tmp_path)).start()
    try:
        s3 = region.client(region.account())
        s3.create_bucket(Bucket="photos")
        for i in range(300):
            s3.put_object(Bucket="photos", Key=f"{i:03}", Body=b"x")
        s3.put_object(Bucket="photos", Key="kept", Body=b"x")
        put_rules(s3, *[rule(f"{i}", Filter={"Prefix": f"{i}"}, Expiration={"Days": 1}) for i in range(3)])
        wait_until(lambda: len(keys(s3)) < 301)
        region.stop(signal.SIGKILL)
        region.start()
        wait_until(lambda: keys(s3) == ["kept"])
    finally:
        region.stop()


def test_aws_and_s3cmd_set_and_show_rules(region, tmp_path):
    account = region.account()
    s3 = region.client(account)
    s3.create_bucket(Bucket="photos")
    env = {**os.environ, "AWS_ACCESS_KEY_ID": account["access_key"], "AWS_SECRET_ACCESS_KEY": account["secret_key"],
           "AWS_DEFAULT_REGION": "sg", "AWS_CA_BUNDLE": str(region.ca)}

    def client(*words):
        done = subprocess.run(words, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr
    aws = ["aws", "--endpoint-url", region.url, "s3api"]
    client(*aws, "put-bucket-lifecycle-configuration", "--bucket", "photos", "--lifecycle-configuration",
           '{"Rules": [{"ID": "by-aws", "Filter": {"Prefix": "a/"}, "Status": "Enabled", "Expiration": {"Days": 4000}}]}')
    (tmp_path / "s3cfg").write_text(f"[default]\naccess_key = {account['access_key']}\n"
                                    f"secret_key = {account['secret_key']}\nhost_base = 127.0.0.1:{region.port}\n"
                                    f"host_bucket = 127.0.0.1:{region.port}\nca_certs_file = {region.ca}\n")
    s3cmd = ["s3cmd", "-c", str(tmp_path / "s3cfg")]
    assert "by-aws" in client(*s3cmd, "getlifecycle", "s3://photos")
    client(*s3cmd, "expire", "s3://photos", "--expiry-days=4000", "--expiry-prefix=b/")
    rules = s3.get_bucket_lifecycle_configuration(Bucket="photos")["Rules"]
    assert [r["Expiration"] for r in rules] == [{"Days": 4000}]
    (tmp_path / "rules.xml").write_text(
        "<LifecycleConfiguration><Rule><ID>by-s3cmd</ID><Prefix>c/</Prefix><Status>Enabled</Status>"
        "<Expiration><Days>4000</Days></Expiration></Rule></LifecycleConfiguration>")
    client(*s3cmd, "setlifecycle", str(tmp_path / "rules.xml"), "s3://photos")
    assert [r["ID"] for r in s3.get_bucket_lifecycle_configuration(Bucket="photos")["Rules"]] == ["by-s3cmd"]
    client(*s3cmd, "dellifecycle", "s3://photos")
    assert refused(s3.get_bucket_lifecycle_configuration) == (404, "NoSuchLifecycleConfiguration")
