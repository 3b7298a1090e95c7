"""What web pages need: rules about their origins, uploads from forms, buckets as names."""
import base64
import datetime
import hashlib
import http.client
import json
import random
import re
import socket
import urllib.parse

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from domicile import Plain, Region, Signer, code_of, hmac_sha256, tls_context, wait_until

MIB = 1 << 20
PAGE = "https://app.example.com"
RULES = {"CORSRules": [
    {"ID": "app", "AllowedOrigins": ["https://*.example.com"], "AllowedMethods": ["GET", "PUT"],
     "AllowedHeaders": ["content-*", "x-amz-*"], "ExposeHeaders": ["ETag", "x-amz-version-id"], "MaxAgeSeconds": 300},
    {"AllowedOrigins": ["*"], "AllowedMethods": ["HEAD"]},
]}


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    one = Region(tmp_path_factory.mktemp("web")).start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def account(region):
    return region.account()


@pytest.fixture(scope="module")
def client(region, account):
    return region.client(account)


@pytest.fixture
def s3(client):
    client.create_bucket(Bucket="photos")
    yield client
    for one in client.list_objects_v2(Bucket="photos").get("Contents", []):
        client.delete_object(Bucket="photos", Key=one["Key"])
    client.delete_bucket(Bucket="photos")


@pytest.fixture
def plain(region, account):
    return Plain(region, account)


def refused(call, **words):
    with pytest.raises(ClientError) as why:
        call(Bucket="photos", **words)
    return why.value.response["ResponseMetadata"]["HTTPStatusCode"], why.value.response["Error"]["Code"]


def presigned(s3, operation="put_object", key="k", **words):
    """Path and query of a presigned URL."""
    url = urllib.parse.urlsplit(s3.generate_presigned_url(operation, {"Bucket": "photos", "Key": key, **words}))
    return f"{url.path}?{url.query}", url.netloc


def preflight(plain, host, target, origin=PAGE, method="PUT", headers=None):
    asked = {"Host": host, "Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    return plain.send("OPTIONS", target, asked)


def allowed(headers):
    """What an answer says about other origins."""
    return {name.lower()[15:]: value for name, value in headers.items() if name.lower().startswith("access-control-")}


APP = {"allow-origin": PAGE, "allow-credentials": "true", "allow-methods": "GET, PUT",
       "expose-headers": "ETag, x-amz-version-id", "max-age": "300"}


def test_rules_come_and_go(s3):
    assert refused(s3.get_bucket_cors) == (404, "NoSuchCORSConfiguration")
    s3.put_bucket_cors(Bucket="photos", CORSConfiguration=RULES)
    assert s3.get_bucket_cors(Bucket="photos")["CORSRules"] == RULES["CORSRules"]
    s3.put_bucket_cors(Bucket="photos", CORSConfiguration={"CORSRules": RULES["CORSRules"][1:]})
    assert s3.get_bucket_cors(Bucket="photos")["CORSRules"] == RULES["CORSRules"][1:]
    s3.delete_bucket_cors(Bucket="photos")
    s3.delete_bucket_cors(Bucket="photos")
    assert refused(s3.get_bucket_cors) == (404, "NoSuchCORSConfiguration")
    with pytest.raises(ClientError) as why:
        s3.put_bucket_cors(Bucket="nowhere", CORSConfiguration=RULES)
    assert why.value.response["Error"]["Code"] == "NoSuchBucket"


@pytest.mark.parametrize("rule, code", [
    ({"AllowedOrigins": ["*"], "AllowedMethods": ["PATCH"]}, "InvalidRequest"),
    ({"AllowedOrigins": ["http*://*"], "AllowedMethods": ["GET"]}, "InvalidRequest"),
    ({"AllowedOrigins": [], "AllowedMethods": ["GET"]}, "MalformedXML"),
])
def test_rules_that_can_not_be_are_refused(s3, rule, code):
    s3.put_bucket_cors(Bucket="photos", CORSConfiguration=RULES)
    assert refused(s3.put_bucket_cors, CORSConfiguration={"CORSRules": [rule]}) == (400, code)
    assert refused(s3.put_bucket_cors, CORSConfiguration={"CORSRules": RULES["CORSRules"] * 51}) == \
        (400, "InvalidRequest")
    assert refused(s3.put_bucket_cors, CORSConfiguration={"CORSRules": [
        {"AllowedOrigins": [f"https://{i:0100}" for i in range(600)], "AllowedMethods": ["GET"]}]}) == \
        (400, "MaxMessageLengthExceeded")
    assert s3.get_bucket_cors(Bucket="photos")["CORSRules"] == RULES["CORSRules"]


def test_an_answer_says_who_may_read_it(s3, plain):
    s3.put_bucket_cors(Bucket="photos", CORSConfiguration=RULES)
    for method, origin, expected in (
            ("PUT", PAGE, APP), ("GET", PAGE, APP), ("GET", "https://example.com", {}), ("DELETE", PAGE, {}),
            ("HEAD", "null", {"allow-origin": "*", "allow-methods": "HEAD"})):
        status, headers, _ = plain.request(method, "/photos/k", Origin=origin)
        assert status < 400 or (method, status) == ("HEAD", 404)
        assert allowed(headers) == expected, (method, origin)
        assert ("Origin" in (headers["Vary"] or "")) == bool(expected)
    assert allowed(plain.request("PUT", "/photos/k")[1]) == {}


def test_a_page_can_read_why_it_was_refused(s3, plain):
    s3.put_bucket_cors(Bucket="photos", CORSConfiguration=RULES)
    status, headers, body = plain.request("GET", "/photos/none", Origin=PAGE)
    assert (status, code_of(body), allowed(headers)) == (404, "NoSuchKey", APP)
    target, host = presigned(s3, "get_object")
    status, headers, body = plain.send("GET", target.replace("/k?", "/x?"), {"Host": host, "Origin": PAGE})
    assert (status, code_of(body), allowed(headers)) == (403, "SignatureDoesNotMatch", APP)


def test_a_preflight_of_a_presigned_url_is_answered_by_the_rules(s3, plain):
    target, host = presigned(s3)
    status, headers, body = preflight(plain, host, target)
    assert (status, code_of(body), allowed(headers)) == (403, "AccessForbidden", {})
    s3.put_bucket_cors(Bucket="photos", CORSConfiguration=RULES)
    status, headers, body = preflight(plain, host, target, headers="content-type,X-Amz-Meta-a")
    assert status == 200 and not body
    assert allowed(headers) == APP | {"allow-headers": "content-type,X-Amz-Meta-a"}
    for words in ({"origin": "https://example.com"}, {"method": "DELETE"}, {"headers": "authorization"}):
        assert preflight(plain, host, target, **words)[0] == 403, words
    part, host = presigned(s3, "upload_part", UploadId="u", PartNumber=1)
    assert preflight(plain, host, part)[0] == 200
    assert preflight(plain, host, target.replace("/photos/", "/nowhere/"))[0] == 403
    assert preflight(plain, host, re.sub("X-Amz-Credential=[^&]*", "X-Amz-Credential=DOMnobody", target))[0] == 403


def test_a_preflight_that_names_no_account_lets_the_page_send(s3, plain):
    """It tells nothing, and what the page sends then has to be signed; what it may read the rules decide."""
    status, headers, _ = preflight(plain, plain.host, "/photos/k", headers="authorization,x-amz-date")
    assert status == 200 and allowed(headers) == {
        "allow-origin": PAGE, "allow-methods": "PUT", "allow-headers": "authorization,x-amz-date", "max-age": "60"}
    assert allowed(plain.request("PUT", "/photos/k", Origin=PAGE)[1]) == {}
    for asked in ({"Origin": PAGE}, {"Access-Control-Request-Method": "PUT"}):
        status, _, body = plain.send("OPTIONS", "/photos/k", {"Host": plain.host, **asked})
        assert (status, code_of(body)) == (400, "BadRequest")


# --- forms ---

def form(s3, region, to="k", content=b"content", fields=None, conditions=None, name="a.txt", **words):
    """Post what boto3 signs for a browser's form; the answer."""
    conditions = [{k: v} for k, v in (fields or {}).items()] if conditions is None else conditions
    post = s3.generate_presigned_post("photos", to, Fields=fields, Conditions=conditions, ExpiresIn=600)
    return send_form(region, post, content, name, **words)


def send_form(region, post, content=b"content", name="a.txt", drop=(), **more):
    data = {k: v for k, v in {**post["fields"], **more}.items() if k not in drop}
    return requests.post(post["url"], data=data, files={"file": (name, content)}, verify=str(region.ca),
                         allow_redirects=False, headers={"Origin": PAGE}, timeout=60)


def sign_policy(region, account, policy, **fields):
    """A form with a policy of its own making."""
    signer = Signer(account, "")
    fields = {"key": "k", "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": f"{signer.key}/{signer.scope}",
              "x-amz-date": signer.time, **fields}
    if not isinstance(policy, bytes):
        policy = json.dumps(policy).encode()
    fields["policy"] = base64.b64encode(policy).decode()
    fields["x-amz-signature"] = hmac_sha256(signer.signing_key(), fields["policy"]).hex()
    return {"url": f"{region.url}/photos", "fields": fields}


def policy(*conditions, hours=1):
    until = datetime.datetime.utcnow() + datetime.timedelta(hours=hours)
    return {"expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "conditions": conditions}


ANY = [["starts-with", f"${name}", ""] for name in ("key", "x-amz-algorithm", "x-amz-credential", "x-amz-date")]


@pytest.mark.parametrize("size", [0, 1, 70_000, 3 * MIB + 1])
def test_a_form_uploads_its_file(region, s3, size):
    content = random.Random(size).randbytes(size)
    answer = form(s3, region, content=content, fields={
        "Content-Type": "text/x", "x-amz-meta-a": "é b", "Cache-Control": "no-store", "acl": "private",
        "tagging": "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Location"].endswith("/photos/k")
    got = s3.get_object(Bucket="photos", Key="k")
    assert got["Body"].read() == content and answer.headers["ETag"] == got["ETag"]
    assert (got["ContentType"], got["CacheControl"], got["TagCount"]) == ("text/x", "no-store", 1)
    assert got["Metadata"] == {"a": "Ã© b"} or got["Metadata"] == {"a": "é b"}


def test_a_form_says_what_it_wants_for_an_answer(region, s3):
    answer = form(s3, region, "a/${filename}", fields={"success_action_status": "201"}, name="C:\\dir\\é &.txt")
    key = "a/é &.txt"
    etag = s3.head_object(Bucket="photos", Key=key)["ETag"]
    location = f"{region.url}/photos/a/%C3%A9%20%26.txt"
    assert answer.status_code == 201 and answer.headers["Location"] == location
    for element in (f"<Location>{location}</Location>", "<Bucket>photos</Bucket>", "<Key>a/é &amp;.txt</Key>",
                    f"<ETag>{etag.replace(chr(34), '&quot;')}</ETag>"):
        assert element in answer.content.decode()
    assert form(s3, region, fields={"success_action_status": "200"}).status_code == 200
    assert form(s3, region, fields={"success_action_status": "404"}).status_code == 204
    answer = form(s3, region, key, fields={"success_action_redirect": "https://app.example.com/done?a=b"})
    assert answer.status_code == 303 and answer.headers["Location"] == (
        "https://app.example.com/done?a=b&bucket=photos&key=a%2F%C3%A9%20%26.txt&etag=" + etag.replace('"', "%22"))
    assert form(s3, region, fields={"redirect": "javascript:alert(1)"}).status_code == 204


def test_a_form_may_name_what_a_put_may(region, s3):
    key, name = "a\r\n\x7f\tb", "x-amz-meta-" + "n" * 1000
    answer = form(s3, region, key, conditions=[["starts-with", "$" + name, ""]], **{name: "v"})
    assert answer.status_code == 204, answer.content
    assert s3.head_object(Bucket="photos", Key=key)["Metadata"] == {"n" * 1000: "v"}


def test_an_answer_to_a_form_can_be_read_by_the_rules(region, s3):
    assert not allowed(form(s3, region).headers)
    s3.put_bucket_cors(Bucket="photos", CORSConfiguration={
        "CORSRules": [{"AllowedOrigins": [PAGE], "AllowedMethods": ["POST"]}]})
    assert allowed(form(s3, region).headers)["allow-origin"] == PAGE
    answer = form(s3, region, conditions=[["content-length-range", 0, 1]])
    assert answer.status_code == 400 and allowed(answer.headers)["allow-origin"] == PAGE


@pytest.mark.parametrize("conditions, more, answer", [
    ([["content-length-range", 7, 7]], {}, (204, "")),
    ([["content-length-range", 8, 9]], {}, (400, "EntityTooSmall")),
    ([["content-length-range", 0, 6]], {}, (400, "EntityTooLarge")),
    ([["starts-with", "$x-amz-meta-a", "b"]], {"x-amz-meta-a": "bc"}, (204, "")),
    ([["STARTS-with", "$X-Amz-Meta-A", "b"]], {"x-amz-meta-a": "c"}, (403, "AccessDenied")),
    ([["eq", "$x-amz-meta-a", "b"]], {"x-amz-meta-a": "bc"}, (403, "AccessDenied")),
    ([["eq", "$x-amz-meta-a", "b"]], {}, (403, "AccessDenied")),
    ([], {"x-amz-meta-a": "b"}, (403, "AccessDenied")),
    ([], {"x-ignore-a": "b\n"}, (204, "")),
    ([], {"key": "other"}, (403, "AccessDenied")),
    ([], {"x-amz-signature": "0" * 64}, (403, "SignatureDoesNotMatch")),
    ([], {"x-amz-signature": "0"}, (400, "InvalidArgument")),
    ([], {"x-amz-credential": "DOMnobody/20310409/r/s3/aws4_request"}, (400, "InvalidArgument")),
    ([{"acl": "public-read"}], {"acl": "public-read"}, (400, "AccessControlListNotSupported")),
    ([["starts-with", "$x-amz-meta-a", ""]], {"x-amz-meta-a": "b\nc: d"}, (400, "InvalidArgument")),
    ([["starts-with", "$x-amz-checksum-crc32", ""]], {"x-amz-checksum-crc32": "AAAAAA=="}, (400, "BadDigest")),
    ([["starts-with", "$If-None-Match", ""]], {"If-None-Match": "*"}, (412, "PreconditionFailed")),
])
def test_a_form_may_do_what_its_policy_lets_it(region, s3, conditions, more, answer):
    s3.put_object(Bucket="photos", Key="k", Body=b"before")
    got = form(s3, region, conditions=conditions, **more)
    assert (got.status_code, code_of(got.content)) == answer
    assert (s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"before") == (answer[0] != 204)


@pytest.mark.parametrize("drop", ["key", "policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date",
                                  "x-amz-signature"])
def test_a_form_that_lacks_a_field_is_refused(region, s3, drop):
    answer = form(s3, region, drop=[drop])
    assert (answer.status_code, code_of(answer.content)) == \
        ((403, "AccessDenied") if drop == "policy" else (400, "InvalidArgument"))


def test_a_policy_is_for_its_bucket_and_its_time(region, account, s3):
    def post(text, **fields):
        answer = send_form(region, sign_policy(region, account, text, **fields))
        return answer.status_code, code_of(answer.content)
    assert post(policy({"bucket": "photos"}, *ANY)) == (204, "")
    assert post(policy({"BUCKET": "photos"}, *ANY), KEY="k2", key=None) == (204, "")
    assert post(policy(*ANY)) == (403, "AccessDenied")
    assert post(policy({"bucket": "other"}, *ANY)) == (403, "AccessDenied")
    assert post(policy({"bucket": "photos"}, *ANY), bucket="other") == (403, "AccessDenied")
    assert post(policy({"bucket": "photos"}, *ANY, hours=-1)) == (403, "AccessDenied")
    for text in (b"", b"{", b"[]", {}, {**policy(), "expiration": "tomorrow"}, {**policy(), "conditions": None},
                 policy(["eq", "key", "k"]), policy(["like", "$key", "k"]), policy(["content-length-range", -1, 0]),
                 policy(["content-length-range", 0]), policy({"key": 1}), policy("key")):
        assert post(text) == (400, "InvalidPolicyDocument"), text


def test_a_form_that_can_not_be_read_in_one_way_is_refused(plain, s3):
    def post(body, content_type="multipart/form-data; boundary=b"):
        headers = {"Host": plain.host, "Content-Type": content_type}
        status, _, answer = plain.send("POST", "/photos", headers, body.encode())
        return status, code_of(answer)
    field = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    file = '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--'
    malformed = (400, "MalformedPOSTRequest")
    assert post(file) == (403, "AccessDenied")
    assert post(field.format("key", "k") + "--b--") == (400, "InvalidArgument")
    assert post(field.format("key", "k") * 2 + file) == malformed
    assert post(file.replace("name=", "title=", 1)) == malformed
    assert post("no form") == malformed
    assert post(field.format("key", "k")[:-4]) == (400, "IncompleteBody")
    assert post(field.format("a", "k" * 33000) + file) == (400, "MaxPostPreDataLengthExceededError")
    assert post(file, "multipart/form-data") == malformed
    assert plain.request("POST", "/photos", "", b"x")[0] == 412
    assert plain.send("POST", "/photos", {"Host": plain.host}, b"x")[0] == 403


def test_a_form_that_ends_in_its_file_leaves_nothing(region, plain, s3):
    post = s3.generate_presigned_post("photos", "short", ExpiresIn=600)
    body, content_type = requests.models.RequestEncodingMixin._encode_files(
        {"file": ("a", b"x" * 100_000)}, post["fields"])
    for cut in (2, 40, 5000):
        status, _, answer = plain.send("POST", "/photos", {"Host": plain.host, "Content-Type": content_type}, body[:-cut])
        assert (status, code_of(answer)) == ((400, "MalformedPOSTRequest") if cut > 2 else (204, ""))
        if cut == 2:        # all but the last line's end
            s3.delete_object(Bucket="photos", Key="short")
    assert "Contents" not in s3.list_objects_v2(Bucket="photos")


class SlowForm:
    """A form over the listener without TLS, in ten pieces."""

    def __init__(self, region, s3, key, content):
        post = s3.generate_presigned_post("photos", key, ExpiresIn=600)
        self.body, content_type = requests.models.RequestEncodingMixin._encode_files(
            {"file": ("a", content)}, post["fields"])
        self.connection = http.client.HTTPConnection("127.0.0.1", region.plain_port, timeout=60)
        self.connection.putrequest("POST", "/photos")
        self.connection.putheader("Content-Type", content_type)
        self.connection.putheader("Content-Length", str(len(self.body)))
        self.connection.endheaders()

    def send(self, first, last):
        for i in range(first, last):
            self.connection.send(self.body[len(self.body) * i // 10:len(self.body) * (i + 1) // 10])

    def answer(self):
        answer = self.connection.getresponse()
        return answer.status, answer.read()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_large_form_that_is_refused_is_told_why(region, account, scheme):
    large = 300 * MIB
    head = ('--b\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n'
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n').encode()
    connection = (http.client.HTTPConnection("127.0.0.1", region.plain_port, timeout=60) if scheme == "http" else
                  http.client.HTTPSConnection("127.0.0.1", region.port, timeout=60, context=tls_context(region)))
    connection.putrequest("POST", "/photos")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", str(len(head) + large))
    connection.endheaders(head)
    with pytest.raises(OSError):
        for _ in range(large // MIB):
            connection.send(bytes(MIB))
    answer = connection.getresponse()
    assert (answer.status, code_of(answer.read()), answer.getheader("Connection")) == (403, "AccessDenied", "close")
    connection.close()


def test_a_form_beyond_the_quota_is_refused_before_its_file_has_come(region):
    account = region.account()
    s3 = region.client(account)
    s3.create_bucket(Bucket="photos")
    region.command("account", "quota", account["account"], "--bytes", "1MiB")

    before, slow = region.refused("quota"), SlowForm(region, s3, "k", bytes(2 * MIB))
    slow.send(0, 1)
    wait_until(lambda: region.refused("quota") > before, region.log)
    assert region.refused("quota") == before + 1
    slow.send(1, 10)
    status, body = slow.answer()
    assert (status, code_of(body)) == (403, "QuotaExceeded")
    post = s3.generate_presigned_post("photos", "k", Conditions=[["content-length-range", 0, 1000]], ExpiresIn=600)
    answer = send_form(region, post, bytes(2 * MIB))
    assert (answer.status_code, code_of(answer.content)) == (400, "EntityTooLarge")
    assert form(s3, region, content=bytes(MIB)).status_code == 204
    assert form(s3, region, "other", content=b"x").status_code == 403


def test_pages_follow_a_move(tmp_path):
    home = Region(tmp_path, "cn-bj", "CN").start()
    other = Region(tmp_path, "sg", "SG", beside=home).start()
    try:
        account = home.account("MY")
        s3, there = home.client(account), other.client(account)
        s3.create_bucket(Bucket="photos")
        s3.put_bucket_cors(Bucket="photos", CORSConfiguration=RULES)
        contents = {f"{size}": random.Random(size).randbytes(size) for size in (100, 20_000, 9 * MIB)}
        slow = {key: SlowForm(home, s3, key, content) for key, content in contents.items()}
        for one in slow.values():
            one.send(0, 5)
        wave = home.wave_to(other)
        home.wait_home(account, "sg")
        for one in slow.values():
            one.send(5, 10)
            assert one.answer() == (204, b"")
        assert home.wait_wave(wave)["items"]["erased"] == 1
        assert form(s3, home, "late", contents["20000"]).status_code == 204
        for key, content in [*contents.items(), ("late", contents["20000"])]:
            assert there.get_object(Bucket="photos", Key=key)["Body"].read() == content, key
        target, host = presigned(s3)
        plain = Plain(home, account)
        assert allowed(preflight(plain, host, target)[1]) == APP
        assert preflight(plain, host, target, origin="https://example.com")[0] == 403
        assert allowed(plain.request("GET", "/photos/late", Origin=PAGE)[1]) == APP
    finally:
        other.stop()
        home.stop()


def test_a_form_of_an_application_is_for_the_account_that_it_was_signed_for(region, account, s3):
    made = json.loads(region.command("app", "key", "create", "mail", "--services", "files", "--expires", "+1h", "--json"))
    victim = region.account()
    region.client(victim).create_bucket(Bucket="photos")
    application = region.client({**account, **made})

    def post(bucket, at):
        form = application.generate_presigned_post(bucket, "k", ExpiresIn=600)
        return send_form(region, {**form, "url": f"{region.url}/{at}"})
    mine, other = f"{account['account']}.photos", f"{victim['account']}.photos"
    answer = post(mine, mine)
    assert answer.status_code == 204 and answer.headers["Location"] == f"{region.url}/{mine}/k", answer.content
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"content"
    for bucket, at in ((mine, other), ("photos", mine), ("photos", other)):
        assert post(bucket, at).status_code == 403
    assert post(mine, "photos").status_code == 400
    assert "Contents" not in region.client(victim).list_objects_v2(Bucket="photos")


# --- buckets as names ---

def request_to(plain, host, method, path, body=b""):
    signer = Signer(plain.account, host)
    headers = signer.headers(method, path, "", hashlib.sha256(body).hexdigest())
    return plain.send(method, path, headers, body)


def test_a_bucket_may_be_a_name(tmp_path, monkeypatch):
    home = Region(tmp_path, "cn-bj", "CN", options=["--s3-domain", "s3.example.test"]).start()
    other = Region(tmp_path, "sg", "SG", beside=home).start()
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *words, **more: look_up(
        "127.0.0.1" if str(host).endswith("example.test") else host, *words, **more))
    try:
        account = home.account("MY")
        s3 = boto3.client("s3", endpoint_url=f"https://s3.example.test:{home.port}", region_name="cn-bj",
                          verify=str(home.ca), aws_access_key_id=account["access_key"],
                          aws_secret_access_key=account["secret_key"],
                          config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))
        s3.create_bucket(Bucket="photos", CreateBucketConfiguration={"LocationConstraint": "cn-bj"})
        s3.put_object(Bucket="photos", Key="a/b c", Body=b"content")
        assert s3.get_object(Bucket="photos", Key="a/b c")["Body"].read() == b"content"
        assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["photos"]
        url = s3.generate_presigned_url("get_object", {"Bucket": "photos", "Key": "a/b c"})
        assert url.startswith(f"https://photos.s3.example.test:{home.port}/a/b%20c?")
        assert requests.get(url, verify=str(home.ca), timeout=60).content == b"content"
        answer = form(s3, home, "by-form", fields={"success_action_status": "201"})
        location = f"https://photos.s3.example.test:{home.port}/by-form"
        assert answer.status_code == 201 and answer.headers["Location"] == location
        in_path = home.client(account)
        assert {o["Key"] for o in in_path.list_objects_v2(Bucket="photos")["Contents"]} == {"a/b c", "by-form"}
        here, there = Plain(home, account), Plain(other, account)
        for plain in (here, there):         # any region knows every domain, and passes the name on
            assert request_to(plain, "photos.s3.example.test", "GET", "/a/b%20c")[2] == b"content"
            assert request_to(plain, "photos.s3.example.test:1", "PUT", "/k", b"x" * 100_000)[0] == 200
            assert request_to(plain, "s3.example.test", "GET", "/photos/by-form")[2] == b"content"
            assert code_of(request_to(plain, "none.s3.example.test", "GET", "/k")[2]) == "NoSuchBucket"
            assert code_of(request_to(plain, "x" * 64 + ".s3.example.test", "GET", "/k")[2]) == "InvalidBucketName"
            assert request_to(plain, "s3.example.test.evil", "GET", "/k")[0] == 404
        regions = home.folder / "ca" / "regions.conf"
        regions.write_text(regions.read_text().replace("transit = proxy", "transit = redirect"))
        other.reload()
        status, headers, _ = request_to(there, "photos.s3.example.test", "GET", "/a/b%20c")
        assert (status, headers["Location"]) == (307, f"https://photos.s3.example.test:{home.port}/a/b%20c")
        assert request_to(there, there.host, "GET", "/photos/k")[1]["Location"] == f"{home.url}/photos/k"
    finally:
        other.stop()
        home.stop()
