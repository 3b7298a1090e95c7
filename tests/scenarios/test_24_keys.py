"""Several access keys an account: what each may, and that a revoked or expired one is dead, wherever the account is."""
import json
import threading
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

from domicile import DOMICILE, Region, run, tls_context, wait_until


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    home = Region(folder, "cn-bj", "CN").start()
    other = Region(folder, "sg", "SG", beside=home).start()
    yield home, other
    other.stop()
    home.stop()


def make_key(region, account, *limits):
    made = json.loads(region.command("account", "key", "create", account["account"], *limits, "--json"))
    assert made["account"] == account["account"]
    return made


def keys_of(region, account):
    return {k["access_key"]: k for k in json.loads(region.command("account", "key", "list", account["account"], "--json"))}


def refused(call, **words):
    with pytest.raises(ClientError) as why:
        call(**words)
    return why.value.response["Error"]["Code"]


def link_status(region, url):
    try:
        with urllib.request.urlopen(url, context=tls_context(region)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_limited_key_does_what_it_may_and_nothing_else(pair):
    home, _ = pair
    account = home.account("CN")
    owner = home.client(account)
    for bucket in ("photos", "letters"):
        owner.create_bucket(Bucket=bucket)
    owner.create_bucket(Bucket="backup", ObjectLockEnabledForBucket=True)
    for key in ("2030/a", "2031/a"):
        owner.put_object(Bucket="photos", Key=key, Body=key.encode())
    owner.put_object(Bucket="letters", Key="k", Body=b"private")

    reader = home.client(make_key(home, account, "--read-only"))
    assert reader.get_object(Bucket="letters", Key="k")["Body"].read() == b"private"
    assert len(reader.list_buckets()["Buckets"]) == 3
    assert refused(reader.put_object, Bucket="letters", Key="k", Body=b"x") == "AccessDenied"
    assert refused(reader.delete_object, Bucket="letters", Key="k") == "AccessDenied"
    assert refused(reader.create_bucket, Bucket="mine") == "AccessDenied"

    files = home.client(make_key(home, account, "--service", "files"))
    assert [b["Name"] for b in files.list_buckets()["Buckets"]] == ["letters", "photos"]
    assert refused(files.list_objects_v2, Bucket="backup") == "AccessDenied"

    one = home.client(make_key(home, account, "--bucket", "photos"))
    assert [b["Name"] for b in one.list_buckets()["Buckets"]] == ["photos"]
    assert one.list_objects_v2(Bucket="photos")["KeyCount"] == 2
    assert refused(one.get_object, Bucket="letters", Key="k") == "AccessDenied"
    assert refused(one.copy_object, Bucket="photos", Key="k", CopySource="letters/k") == "AccessDenied"
    assert refused(one.copy_object, Bucket="letters", Key="a", CopySource="photos/2031/a") == "AccessDenied"

    below = home.client(make_key(home, account, "--bucket", "photos", "--prefix", "2031/"))
    assert below.list_objects_v2(Bucket="photos", Prefix="2031/")["KeyCount"] == 1
    for prefix in ("", "2030/", "203"):
        assert refused(below.list_objects_v2, Bucket="photos", Prefix=prefix) == "AccessDenied"
        assert refused(below.list_objects, Bucket="photos", Prefix=prefix) == "AccessDenied"
        assert refused(below.list_object_versions, Bucket="photos", Prefix=prefix) == "AccessDenied"
        assert refused(below.list_multipart_uploads, Bucket="photos", Prefix=prefix) == "AccessDenied"
    below.put_object(Bucket="photos", Key="2031/b", Body=b"b")
    below.copy_object(Bucket="photos", Key="2031/c", CopySource="photos/2031/b")
    assert refused(below.copy_object, Bucket="photos", Key="2031/d", CopySource="photos/2030/a") == "AccessDenied"
    assert refused(below.get_object, Bucket="photos", Key="2030/a") == "AccessDenied"
    assert refused(below.put_bucket_versioning, Bucket="photos", VersioningConfiguration={"Status": "Enabled"}) == "AccessDenied"
    upload = below.create_multipart_upload(Bucket="photos", Key="2031/parts")["UploadId"]
    below.upload_part(Bucket="photos", Key="2031/parts", UploadId=upload, PartNumber=1, Body=b"x")
    words = {"Bucket": "photos", "UploadId": upload, "PartNumber": 2, "CopySource": "photos/2030/a"}
    assert refused(below.upload_part_copy, Key="2031/parts", **words) == "AccessDenied"
    assert refused(below.create_multipart_upload, Bucket="photos", Key="2030/parts") == "AccessDenied"
    done = below.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": "2030/a"}, {"Key": "2031/b"}]})
    assert [e["Code"] for e in done["Errors"]] == ["AccessDenied"] and done["Deleted"][0]["Key"] == "2031/b"
    left = {o["Key"] for o in owner.list_objects_v2(Bucket="photos")["Contents"]}
    assert left == {"2030/a", "2031/a", "2031/c"}


def test_governance_is_cut_short_with_an_unlimited_key_only(pair):
    home, _ = pair
    account = home.account("CN")
    owner = home.client(account)
    owner.create_bucket(Bucket="backup", ObjectLockEnabledForBucket=True)
    owner.put_object_lock_configuration(Bucket="backup", ObjectLockConfiguration={
        "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}})
    version = owner.put_object(Bucket="backup", Key="k", Body=b"x")["VersionId"]
    words = {"Bucket": "backup", "Key": "k", "VersionId": version, "BypassGovernanceRetention": True}
    assert refused(home.client(make_key(home, account, "--bucket", "backup")).delete_object, **words) == "AccessDenied"
    home.client(make_key(home, account, "--expires", "+1h")).delete_object(**words)


def test_a_legal_hold_is_taken_away_with_an_unlimited_key_only(pair):
    home, _ = pair
    account = home.account("CN")
    owner = home.client(account)
    owner.create_bucket(Bucket="backup", ObjectLockEnabledForBucket=True)
    version = owner.put_object(Bucket="backup", Key="k", Body=b"x")["VersionId"]
    words = {"Bucket": "backup", "Key": "k", "VersionId": version}
    limited = home.client(make_key(home, account, "--bucket", "backup", "--prefix", "k"))
    for _ in range(2):                          # there is none; there is one
        limited.put_object_legal_hold(LegalHold={"Status": "ON"}, **words)
    assert refused(limited.put_object_legal_hold, LegalHold={"Status": "OFF"}, **words) == "AccessDenied"
    assert refused(limited.delete_object, **words) == "AccessDenied"
    assert owner.get_object_legal_hold(**words)["LegalHold"]["Status"] == "ON"
    owner.put_object_legal_hold(LegalHold={"Status": "OFF"}, **words)
    limited.put_object_legal_hold(LegalHold={"Status": "OFF"}, **words)
    limited.delete_object(**words)


def usable_until_soon(home, account):
    """A key that has been used, and its client; with more time on a machine that is too busy for little."""
    for seconds in (2, 8, 30):
        key = make_key(home, account, "--expires", f"+{seconds}s")
        client = home.client(key)
        try:
            client.put_object(Bucket="photos", Key="k", Body=b"x")
            return key, client
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ExpiredToken" and seconds < 30


def test_an_expired_key_and_its_links_are_refused(pair):
    home, _ = pair
    account = home.account("CN")
    home.client(account).create_bucket(Bucket="photos")
    key, client = usable_until_soon(home, account)
    link = client.generate_presigned_url("get_object", {"Bucket": "photos", "Key": "k"}, ExpiresIn=3600)
    wait_until(lambda: link_status(home, link) != 200, "it does not expire")
    assert link_status(home, link) == 400
    assert refused(client.get_object, Bucket="photos", Key="k") == "ExpiredToken"
    assert keys_of(home, account)[key["access_key"]]["expired"]


def test_a_revoked_key_and_its_links_are_dead_in_every_region(pair):
    home, other = pair
    account = home.account("CN")
    home.client(account).create_bucket(Bucket="photos")
    key = make_key(other, account)              # asked of a region that is not its home
    there = other.client(key)
    there.put_object(Bucket="photos", Key="k", Body=b"x")
    link = there.generate_presigned_url("get_object", {"Bucket": "photos", "Key": "k"})
    assert link_status(other, link) == 200
    other.command("account", "key", "revoke", account["account"], key["access_key"])
    assert link_status(other, link) == 403
    for client in (there, home.client(key)):
        assert refused(client.get_object, Bucket="photos", Key="k") == "InvalidAccessKeyId"
    assert home.client(account).get_object(Bucket="photos", Key="k")["Body"].read() == b"x"
    limited = make_key(home, account, "--bucket", "photos", "--prefix", "private-name")
    assert "private-name" not in other.command("account", "key", "list", account["account"])
    assert "private-name" in home.command("account", "key", "list", account["account"])
    assert limited["access_key"] in keys_of(other, account)
    assert "private-name" not in home.log_path().read_text() + other.log_path().read_text()


def test_keys_move_with_their_account_and_are_revoked_while_it_moves(pair):
    home, other = pair
    account = home.account("MY")
    owner = home.client(account)
    owner.create_bucket(Bucket="photos")
    for i in range(20):
        owner.put_object(Bucket="photos", Key=f"2031/{i}", Body=bytes(200_000))
    below = make_key(home, account, "--bucket", "photos", "--prefix", "2031/", "--read-only")
    doomed = [make_key(home, account) for _ in range(8)]
    clients = [home.client(key) for key in doomed]
    for client in clients:
        client.head_bucket(Bucket="photos")     # remembered
    wave = home.wave_to(other)
    alive = []

    def revoke_all():
        for key, client, region in zip(doomed, clients, [home, other] * 4):
            region.command("account", "key", "revoke", account["account"], key["access_key"])
            try:
                client.head_bucket(Bucket="photos")
                alive.append(key)
            except ClientError as error:
                assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403

    thread = threading.Thread(target=revoke_all)
    thread.start()
    home.wait_wave(wave)
    thread.join(180)
    assert not thread.is_alive() and not alive
    assert home.home(account) == other.name
    for region in pair:
        assert set(keys_of(region, account)) == {account["access_key"], below["access_key"]}
        for key in (doomed[0], doomed[-1]):
            assert refused(region.client(key).list_objects_v2, Bucket="photos") == "InvalidAccessKeyId"
        reader = region.client(below)
        assert reader.get_object(Bucket="photos", Key="2031/7")["ContentLength"] == 200_000
        assert refused(reader.put_object, Bucket="photos", Key="2031/7", Body=b"") == "AccessDenied"
        assert refused(reader.list_objects_v2, Bucket="photos") == "AccessDenied"


def test_wrong_commands_say_what_is_wrong(pair):
    home, _ = pair
    account = home.account("CN")

    def fails(*words):
        with pytest.raises(AssertionError) as why:
            home.command("account", "key", *words)
        return str(why.value)

    assert "--prefix needs --bucket" in fails("create", account["account"], "--prefix", "a")
    assert "expired already" in fails("create", account["account"], "--expires", "2020-01-01T00:00Z")
    assert "no such account" in fails("list", "0" * 32)
    assert "no such key" in fails("revoke", account["account"], "DM" + "0" * 36)
    assert "exit 5" in fails("revoke", account["account"], account["access_key"][:-4] + "xxxx")
    assert "account key create ID" in run(DOMICILE, "account", "key", "--help")
