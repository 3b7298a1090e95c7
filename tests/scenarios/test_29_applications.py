"""Application keys: one key acts for many accounts, for those that granted the service, where it was granted; and each
use is in the log, without names."""
import json
import signal
import time

import pytest
import requests
from botocore.exceptions import ClientError

from domicile import Plain, Region, code_of, wait_until


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("applications")
    home = Region(folder, "cn-bj", "CN").start()
    other = Region(folder, "sg", "SG", beside=home).start()
    yield home, other
    other.stop()
    home.stop()


def grant(region, *words, services="files"):
    return json.loads(region.command("app", "key", "create", "mail", "--services", services, "--expires", "+1h", *words,
                                     "--json"))


def acting(region, key, account, **options):
    """A client that names ACCOUNT in the header."""
    client = region.client(key, **options)
    client.meta.events.register("before-sign.s3", lambda request, **_:
                                request.headers.add_header("x-domicile-account", account["account"]))
    return client


def refused(call, **words):
    with pytest.raises(ClientError) as why:
        call(**words)
    return why.value.response["Error"]["Code"]


def uses(region, key):
    lines = [line for line in region.log_path().read_text().splitlines() if " application.use " in line]
    return [dict(word.split("=", 1) for word in line.split()[3:]) for line in lines if key["access_key"] in line]


def test_an_application_acts_for_accounts_that_granted_its_service(pair):
    home, other = pair
    accounts = [home.account("CN"), home.account("CN")]
    key = grant(home)
    for i, account in enumerate(accounts):
        client = acting(home, key, account)
        client.create_bucket(Bucket="private-bucket")
        client.put_object(Bucket="private-bucket", Key="private-key", Body=f"{i}".encode())
        client.head_object(Bucket="private-bucket", Key="private-key")
    for i, account in enumerate(accounts):
        assert home.client(account).get_object(Bucket="private-bucket", Key="private-key")["Body"].read() == f"{i}".encode()
        named = f"{account['account']}.private-bucket"
        for region in pair:                     # the other passes it on
            client = region.client(key)
            assert client.get_object(Bucket=named, Key="private-key")["Body"].read() == f"{i}".encode()
            assert client.list_objects_v2(Bucket=named)["KeyCount"] == 1
            assert acting(region, key, account).list_buckets()["Buckets"][0]["Name"] == "private-bucket"
        client = other.client(key)
        client.put_object(Bucket=named, Key="large", Body=bytes(300_000))
        client.copy_object(Bucket=named, Key="copy", CopySource=f"{named}/private-key")
        assert refused(client.copy_object, Bucket=named, Key="copy", CopySource="private-bucket/private-key") == "InvalidArgument"
        strange = f"{accounts[1 - i]['account']}.private-bucket/private-key"
        assert refused(client.copy_object, Bucket=named, Key="copy", CopySource=strange) == "InvalidArgument"
    bare = home.account("CN", grant="")
    for account, bucket in ((bare, "photos"), (accounts[0], "backup")):
        assert refused(acting(home, key, account).create_bucket, Bucket=bucket) == "AccessDenied"

    lines = uses(home, key)
    assert {line["account"] for line in lines} == {a["account"] for a in [*accounts, bare]}
    put = next(line for line in lines if line["method"] == "PUT" and line["what"] == "object")
    assert put["service"] == "files" and put["status"] == "200" and put["in"] == "1"
    assert {line["out"] for line in lines if line["method"] == "HEAD"} == {"0"}
    assert {line["out"] for line in lines if (line["method"], line["what"]) == ("GET", "object")} == {"1"}
    assert [line["status"] for line in lines if line["account"] == bare["account"]] == ["403"]
    assert not uses(other, key)
    assert "private-" not in home.log_path().read_text() + other.log_path().read_text()
    # The owner can be told; also where it lives elsewhere.
    shown = wait_until(lambda: json.loads(other.command("account", "show", accounts[0]["account"])).get("applications"),
                       "it was not noted")
    assert [a["key"] for a in shown] == [key["access_key"]]
    assert "applications" not in json.loads(home.command("account", "show", home.account("CN")["account"]))
    listed = {k["key"]: k for k in json.loads(home.command("app", "key", "list", "--json"))}
    assert listed[key["access_key"]]["uses"] == len(lines)


def test_uses_are_logged_whatever_the_log_level(pair):
    home, _ = pair
    account, key = home.account("CN"), grant(home)
    before = home.config.read_text()
    home.config.write_text(before + "log_level = error\n")
    client = acting(home, key, account)
    try:
        home.process.send_signal(signal.SIGHUP)
        for used in range(1, 20):               # it is read again at some time soon
            client.list_buckets()
            assert len(uses(home, key)) == used
            time.sleep(0.1)
    finally:
        home.config.write_text(before)
        home.reload()


def test_limits_of_an_application(pair):
    home, _ = pair
    account, backup = home.account("CN"), grant(home, services="backup")
    owner = home.client(account)
    owner.create_bucket(Bucket="photos")
    owner.create_bucket(Bucket="backup", ObjectLockEnabledForBucket=True)
    owner.put_object_lock_configuration(Bucket="backup", ObjectLockConfiguration={
        "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}})
    client = acting(home, backup, account)
    assert [b["Name"] for b in client.list_buckets()["Buckets"]] == ["backup"]
    assert refused(client.list_objects_v2, Bucket="photos") == "AccessDenied"
    version = client.put_object(Bucket="backup", Key="k", Body=b"x")["VersionId"]
    assert refused(client.delete_object, Bucket="backup", Key="k", VersionId=version,
                   BypassGovernanceRetention=True) == "AccessDenied"

    reader = acting(home, grant(home, "--read-only", services="files,backup"), account)
    assert reader.get_object(Bucket="backup", Key="k")["Body"].read() == b"x"
    assert refused(reader.put_object, Bucket="backup", Key="k", Body=b"") == "AccessDenied"
    abroad = acting(home, grant(home, "--countries", "IN,ID"), account)
    assert refused(abroad.list_objects_v2, Bucket="photos") == "AccessDenied"

    key = grant(home)
    client = acting(home, key, account)
    home.command("account", "suspend", account["account"])
    assert refused(client.list_objects_v2, Bucket="photos") == "AccessDenied"
    home.command("account", "resume", account["account"])
    client.list_objects_v2(Bucket="photos")


def test_who_is_meant_has_to_be_said_and_signed(pair):
    home, _ = pair
    account, key = home.account("CN"), grant(home)
    home.client(account).create_bucket(Bucket="photos")
    plain = Plain(home, key)
    assert code_of(plain.request("GET", "/")[2]) == "InvalidRequest"
    assert code_of(plain.request("GET", "/photos")[2]) == "InvalidRequest"
    assert code_of(plain.request("GET", f"/{account['account']}")[2]) == "InvalidRequest"
    assert code_of(plain.request("GET", f"/{account['account']}.")[2]) in ("InvalidRequest", "InvalidBucketName")
    assert code_of(plain.request("GET", "/photos", x_domicile_account="x")[2]) == "InvalidArgument"
    assert plain.request("GET", "/photos", x_domicile_account=account["account"])[0] == 200
    headers = plain.signer().headers("GET", "/photos")
    headers["x-domicile-account"] = account["account"]          # by someone else than the key's owner
    assert code_of(plain.send("GET", "/photos", headers)[2]) == "AccessDenied"
    nobody = "0" * 32
    assert code_of(plain.request("GET", "/photos", x_domicile_account=nobody)[2]) == "AccessDenied"
    wrong = Plain(home, {**key, "secret_key": "x" * 43})
    assert code_of(wrong.request("GET", "/photos", x_domicile_account=account["account"])[2]) == "SignatureDoesNotMatch"
    unknown = Plain(home, {**key, "access_key": "DA" + "0" * 32})
    assert code_of(unknown.request("GET", "/photos", x_domicile_account=account["account"])[2]) == "InvalidAccessKeyId"
    # To an account's own key such a bucket is one like others.
    assert refused(home.client(account).list_objects_v2, Bucket=f"{account['account']}.photos") == "NoSuchBucket"


def test_a_page_may_ask_before_it_uses_a_link_of_an_application(pair):
    """The account is in the bucket's name, or in a header that the question does not have; then any page may send."""
    home, other = pair
    account, key, page = home.account("CN"), grant(home), "https://page.example"
    owner, named = home.client(account), f"{account['account']}.photos"
    owner.create_bucket(Bucket="photos")
    owner.put_bucket_cors(Bucket="photos", CORSConfiguration={
        "CORSRules": [{"AllowedOrigins": [page], "AllowedMethods": ["PUT", "GET"], "AllowedHeaders": ["content-*"]}]})

    def ask(url, method, origin=page, headers="content-type"):
        answer = requests.options(url, verify=home.ca, headers={
            "Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers})
        return answer.status_code, answer.headers.get("Access-Control-Allow-Origin")

    for region in pair:
        url = region.client(key).generate_presigned_url("put_object", {"Bucket": named, "Key": "k"})
        assert ask(url, "PUT") == (200, page)
        assert ask(url, "DELETE")[0] == ask(url, "PUT", "https://other.example")[0] == 403
        assert ask(url, "PUT", headers="x-other")[0] == 403
        assert ask(url.replace(account["account"], "0" * 32), "PUT")[0] == 403
        answer = requests.put(url, data=b"of a page", verify=home.ca, headers={"Origin": page})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, page)
        url = acting(region, key, account).generate_presigned_url("get_object", {"Bucket": "photos", "Key": "k"})
        assert "x-domicile-account" in url
        for origin in (page, "https://other.example"):
            assert ask(url, "GET", origin, "x-domicile-account") == (200, origin)
        for origin, allowed in ((page, page), ("https://other.example", None)):
            answer = requests.get(url, verify=home.ca, headers={"Origin": origin, "x-domicile-account": account["account"]})
            assert (answer.content, answer.headers.get("Access-Control-Allow-Origin")) == (b"of a page", allowed)


def test_a_key_counts_where_it_was_granted_and_is_revoked_everywhere(pair, tmp_path):
    home, other = pair
    account = home.account("MY")
    home.client(account).create_bucket(Bucket="photos")
    key = grant(home)
    acting(home, key, account).put_object(Bucket="photos", Key="k", Body=b"x")
    home.wait_wave(home.wave_to(other))
    assert home.home(account) == other.name
    for region in pair:                 # nobody has granted it there
        assert refused(acting(region, key, account).get_object, Bucket="photos", Key="k") == "InvalidAccessKeyId"
    (tmp_path / "key").write_text(f"{key['access_key']}\t{key['secret_key']}\n")
    assert grant(other, "--import", tmp_path / "key") == {**key, "region": other.name}
    for region in pair:
        assert acting(region, key, account).get_object(Bucket="photos", Key="k")["Body"].read() == b"x"
    link = acting(home, key, account).generate_presigned_url("get_object", {"Bucket": f"{account['account']}.photos", "Key": "k"})
    assert key["secret_key"] not in link

    told = home.command("app", "key", "revoke", key["access_key"])
    assert told.split() == [other.name, "revoked", home.name, "revoked"]
    for region in pair:
        assert refused(acting(region, key, account).get_object, Bucket="photos", Key="k") == "InvalidAccessKeyId"

    # One that is down meanwhile asks by itself.
    key = grant(home)
    (tmp_path / "key").write_text(f"{key['access_key']} {key['secret_key']}")
    grant(other, "--import", tmp_path / "key")
    other.stop()
    told = home.command("app", "key", "revoke", key["access_key"])
    assert f"{home.name}\trevoked" in told and f"{other.name}\t" in told and f"{other.name}\trevoked" not in told
    other.start()
    wait_until(lambda: "revoked_ms" in next(k for k in json.loads(other.command("app", "key", "list", "--json"))
                                            if k["key"] == key["access_key"]), "it is not revoked")
    assert refused(acting(other, key, account).get_object, Bucket="photos", Key="k") == "InvalidAccessKeyId"


def test_wrong_commands_say_what_is_wrong(pair, tmp_path):
    home, _ = pair

    def fails(*words):
        with pytest.raises(AssertionError) as why:
            home.command("app", "key", *words)
        return str(why.value)

    assert "--expires" in fails("create", "mail", "--services", "files")
    assert "two capital letters" in fails("create", "mail", "--services", "files", "--expires", "+1h", "--countries", "in")
    assert "files, backup or both" in fails("create", "mail", "--services", "messages", "--expires", "+1h")
    (tmp_path / "key").write_text("DA0 x")
    assert "no application key" in fails("create", "m", "--services", "files", "--expires", "+1h", "--import", tmp_path / "key")
    assert "no region that could be asked" in fails("revoke", "DA" + "0" * 32)
    key = grant(home)["access_key"]
    assert "revoke it" in fails("remove", key)
    home.command("app", "key", "revoke", key)
    assert "30 days" in fails("remove", key)
    assert "no application key" in fails("remove", "DA" + "0" * 32)
    assert home.command("app", "key", "list").count("\tmail\t")
