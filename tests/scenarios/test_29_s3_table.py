"""docs/s3.md says what there is of S3: this test asks for each row, and for what has none."""
import pathlib
import re

import botocore.session
import pytest

from domicile import ROOT, Plain, Region, code_of

DOC = (ROOT / "docs" / "s3.md").read_text()


def section(name):
    return DOC.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def rows(text, cells):
    """The cells of each row of a table with so many."""
    for line in text.splitlines():
        row = [cell.strip() for cell in line.strip().strip("|").split(" | ")] if line.startswith("| ") else []
        if len(row) == cells and not set(line) <= set("|- "):
            yield [cell.removesuffix(" |").strip() for cell in row]


def operations():
    for names, requests, answer, notes in rows(section("Operations"), 4):
        for request in re.findall(r"`((?:GET|HEAD|PUT|POST|DELETE) /[^`]*)`", requests):
            yield names, request, "x-amz-copy-source" in requests, answer, notes


OPERATIONS = list(operations())
HEADERS = [(re.findall(r"`([^`]+)`|([A-Z][A-Za-z0-9-]+)", names), answer, notes)
           for names, answer, notes in rows(section("Headers"), 3)]
HEADERS = [([(a or b).lower() for a, b in names], answer, notes) for names, answer, notes in HEADERS]
# What the reference has besides that botocore of Debian 12 does not know.
NEWER = ["x-amz-bucket-namespace", "x-amz-checksum-md5", "x-amz-checksum-sha512", "x-amz-checksum-xxhash128",
         "x-amz-checksum-xxhash3", "x-amz-checksum-xxhash64", "x-amz-client-token", "x-amz-create-session-mode",
         "x-amz-if-match-initiated-time", "x-amz-optional-object-attributes", "x-amz-rename-source",
         "x-amz-rename-source-if-match", "x-amz-rename-source-if-modified-since", "x-amz-rename-source-if-none-match",
         "x-amz-rename-source-if-unmodified-since", "x-amz-transition-default-minimum-object-size"]
MODEL = botocore.session.get_session().get_service_model("s3")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    region = Region(tmp_path_factory.mktemp("table")).start()
    client = Plain(region, region.account())
    assert client.request("PUT", "/bucket")[0] == 200 and client.request("PUT", "/bucket/key", "", b"kept")[0] == 200
    yield client
    region.stop()


@pytest.mark.parametrize("names,request_line,is_copy,answer,notes", OPERATIONS, ids=[f"{o[0]}-{o[1]}" for o in OPERATIONS])
def test_an_operation_is_answered_as_the_table_says(plain, names, request_line, is_copy, answer, notes):
    method, _, target = request_line.partition(" ")
    path, _, query = target.partition("?")
    path = {"/": "/", "/b": "/bucket", "/b/k": "/bucket/key"}[path]
    query = "&".join(sorted(word if "=" in word else word + "=" for word in query.split("&") if word))
    if request_line == "DELETE /b":
        path = "/not-there"
    status, _, body = plain.request(method, path, query, **({"x_amz_copy_source": "/bucket/key"} if is_copy else {}))
    if answer == "refused":
        assert (status, code_of(body)) == (501, "NotImplemented")
    elif answer == "empty":
        assert f"{status} `{code_of(body)}`" in notes
    elif answer == "not applicable":
        assert status == 405
    else:
        assert answer in ("yes", "as it is") and status not in (405, 500, 501, 503), body
    assert plain.request("GET", "/bucket/key")[0] in (200, 404)
    if answer != "yes" or method not in ("PUT", "DELETE"):
        plain.request("PUT", "/bucket/key", "", b"kept")


def test_every_operation_of_the_program_is_in_the_table():
    table = (ROOT / "src" / "front" / "s3.c").read_text()
    level = {"ROOT": "/", "BUCKET": "/b", "KEY": "/b/k"}
    told = {(r.partition("=")[0] if "=" in r and "?list-type" in r else r, c) for _, r, c, a, _ in OPERATIONS
            if a in ("yes", "as it is", "empty")}
    told = {(re.sub(r"partNumber=1&uploadId=0|uploadId=0", "uploadId", r), c) for r, c in told}
    found = re.findall(r'\{ "([A-Z]+)", LEVEL_(\w+), (NULL|"[^"]+")(.*?)\}', table, re.S)
    assert len(found) > 60
    for method, where, query, rest in found:
        line = f"{method} {level[where]}" + ("" if query == "NULL" else "?" + query.strip('"'))
        assert (line, "is_copy" in rest) in told, line


def test_every_operation_of_the_reference_has_a_row():
    told = set(re.findall(r"\b[A-Z][A-Za-z0-9]+\b", section("Operations")))
    assert set(MODEL.operation_names) <= told


def test_every_header_of_the_reference_has_a_row():
    told = {name.rstrip("*") for names, _, _ in HEADERS for name in names}
    assert set(NEWER) <= told
    for operation in MODEL.operation_names:
        shape = MODEL.operation_model(operation).input_shape
        for member in shape.members.values() if shape else ():
            name = member.serialization.get("name", "").lower()
            if member.serialization.get("location") in ("header", "headers"):
                assert name in told or name.startswith("x-amz-fwd-"), name


@pytest.mark.parametrize("name", [n for names, answer, _ in HEADERS if answer == "refused" for n in names])
def test_a_header_that_is_refused_changes_nothing(plain, name):
    plain.request("PUT", "/bucket/key", "", b"kept")
    method = "DELETE" if "x-amz-if-match" in name else "PUT"
    status, _, body = plain.request(method, "/bucket/key", "", b"" if method == "DELETE" else b"new", **{name: "1"})
    assert (status, code_of(body)) == (501, "NotImplemented")
    assert plain.request("GET", "/bucket/key")[2] == b"kept"


@pytest.mark.parametrize("name", [n for names, answer, _ in HEADERS if answer in ("ignored", "as it is") for n in names])
def test_a_header_that_is_ignored_or_fixed(plain, name):
    fixed = {"x-amz-acl": "private", "x-amz-server-side-encryption": "AES256", "x-amz-storage-class": "GLACIER",
             "x-amz-bucket-namespace": "global"}
    status, _, body = plain.request("PUT", "/bucket/key", "", b"kept", **{name: fixed.get(name, "1")})
    if name.startswith("x-amz-grant-"):
        assert (status, code_of(body)) == (400, "AccessControlListNotSupported")
    else:
        assert status == 200, body


def codes_given():
    """The codes in the program: of refusals, of kinds of errors, and what operations call missing."""
    patterns = (r's3_(?:refuse|error)\([^;"]*?\d+,\s*"(\w+)"', r'(?:code|missing|reason) = "([A-Z]\w+)"',
                r'\{ \d{3}, "(\w+)"', r'(?:[?:]|return|reason,)\s+"([A-Z][a-z]\w*[A-Z]\w+)"')
    files = [*(ROOT / "src" / "front").glob("s3*.c"), ROOT / "src" / "front" / "forward.c",
             *(ROOT / "src" / "service").glob("files_multipart*.c")]
    text = "\n".join(pathlib.Path(f).read_text() for f in files)
    found = {code for pattern in patterns for code in re.findall(pattern, text)}
    return {code for code in found if re.fullmatch(r"[A-Z][a-zA-Z0-9]*[a-z][A-Z0-9][A-Za-z0-9]*", code)}


def test_every_code_has_a_row_and_every_row_a_code():
    given, _, never = section("Errors").partition("Never given")
    codes = re.compile(r"`([A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*)`")
    told = set(codes.findall(given)) - {"Retry"}
    names = {"AccessControlPolicy", "CompleteMultipartUploadResult", "CopyObjectResult", "CopyPartResult", "DeleteMarker",
             "BucketOwnerEnforced", "VersionId", "ListVersionsResult"}       # elements, not codes
    assert sorted(codes_given() - names - told) == []
    source = "\n".join(f.read_text() for f in (ROOT / "src").rglob("*.c"))
    assert not [code for code in told if f'"{code}"' not in source]
    assert not [code for code in codes.findall(never) if f'"{code}"' in source and code not in told]
