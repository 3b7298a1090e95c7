"""What web pages need: rules about their origins."""
import re
import urllib.parse

import pytest
from botocore.exceptions import ClientError

from domicile import Plain, Region, code_of

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
