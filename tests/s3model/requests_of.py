"""Operations as requests. Symbols are replaced by what they stand for just before, see values.py."""
from xml.sax.saxutils import escape

import cors
import lifecycle
from forms import Form
from sums import sum_header
from values import content, http_date, iso_date
from wire import Request, quote

CONDITIONS = {"if_match": "If-Match", "if_none_match": "If-None-Match", "if_modified_since": "If-Modified-Since",
              "if_unmodified_since": "If-Unmodified-Since"}


def xml_text(text):
    return escape(text, {"\r": "&#13;"})


def conditions(op, prefix="", header_prefix=""):
    said = {}
    for name, header in CONDITIONS.items():
        value = op.get(prefix + name)
        if value is not None:
            date = iso_date if op["id"] % 3 == 0 else http_date
            said[header_prefix + header] = date(value) if isinstance(value, int) else value
    return said


def tag_header(tags):
    return "&".join(f"{quote(k)}={quote(v)}" for k, v in tags)


def tag_body(tags):
    listed = "".join(f"<Tag><Key>{xml_text(k)}</Key><Value>{xml_text(v)}</Value></Tag>" for k, v in tags)
    return f"<Tagging><TagSet>{listed}</TagSet></Tagging>".encode()


def locked(op):
    """The headers that speak of locks."""
    asked = op.get("lock") or {}
    said = {"mode": asked.get("mode"), "retain-until-date": asked.get("until"), "legal-hold": asked.get("hold")}
    headers = {"x-amz-object-lock-" + name: value for name, value in said.items() if value}
    if op.get("bypass"):
        headers["x-amz-bypass-governance-retention"] = "true"
    return headers


def written(op):
    """The headers of a request that makes an object."""
    headers = {**op.get("headers", {}), **locked(op)}
    if op.get("tags"):
        headers["x-amz-tagging"] = tag_header(op["tags"])
    return {**headers, **conditions(op)}


def claimed(op):
    """The headers that say what the body is."""
    headers = {"Content-MD5": op["md5"]} if op.get("md5") else {}
    return {**headers, **sum_header(op.get("checksum"))}


def with_body(op, method, args, headers):
    headers, trailer = {**headers, **claimed(op)}, None
    if op.get("checksum") and op.get("payload", "hash").endswith("trailer"):
        [trailer] = sum_header(op["checksum"]).items()
        del headers[trailer[0]]
    return Request(method, op["bucket"], op["key"], args, headers, content(*op["data"]), op.get("payload", "hash"),
                   trailer)


def version(op):
    return {"versionId": op["version"]} if op.get("version") is not None else {}


def listed(op, **arguments):
    args = {"encoding-type": "url"} if op.get("url") else {}
    for name, field in {"prefix": "prefix", "delimiter": "delimiter", **arguments}.items():
        if op.get(field) is not None:
            args[name.replace("_", "-")] = op[field]
    return args


def source(op):
    value = f"/{quote(op['from_bucket'])}/{quote(op['from_key'], '/')}"
    if op.get("from_version"):
        value += f"?versionId={op['from_version']}"
    return {"x-amz-copy-source": value, **conditions(op, "from_", "x-amz-copy-source-")}


# --- one for each operation ---

def list_buckets(op):
    return Request("GET")


def create_bucket(op):
    tags = tag_body(op["tags"]).decode().replace("TagSet", "Tags") if op.get("tags") else ""
    body = tags.replace("Tagging", "CreateBucketConfiguration").encode()
    return Request("PUT", op["bucket"], headers={"x-amz-bucket-object-lock-enabled": "true"} if op.get("locking") else {},
                   body=body)


def head_bucket(op):
    return Request("HEAD", op["bucket"])


def delete_bucket(op):
    return Request("DELETE", op["bucket"])


def put_versioning(op):
    body = f"<VersioningConfiguration><Status>{op['status']}</Status></VersioningConfiguration>".encode()
    return Request("PUT", op["bucket"], args={"versioning": ""}, body=body)


def get_versioning(op):
    return Request("GET", op["bucket"], args={"versioning": ""})


def put_object(op):
    return with_body(op, "PUT", {}, written(op))


def post_object(op):
    form = Form(op["bucket"], {"key": op["key"], **written({**op, "tags": None}), **claimed(op)}, op["filename"],
                content(*op["data"]), op.get("range"), op.get("trouble"))
    for field, value in (("success_action_status", op.get("status")), ("success_action_redirect", op.get("redirect")),
                         ("tagging", tag_body(op["tags"]).decode() if op.get("tags") else None)):
        if value is not None:
            form.fields[field] = value
    request = Request("POST", op["bucket"])
    request.form = form
    return request


def copy_object(op):
    headers = {**written(op), **source(op)}
    if op.get("directive"):
        headers["x-amz-metadata-directive"] = op["directive"]
    if op.get("tag_directive"):
        headers["x-amz-tagging-directive"] = op["tag_directive"]
    if op.get("sum"):
        headers["x-amz-checksum-algorithm"] = op["sum"].upper()
    return Request("PUT", op["bucket"], op["key"], headers=headers)


def get_object(op, method="GET"):
    headers = conditions(op)
    if op.get("range") is not None:
        headers["Range"] = op["range"]
    if op.get("checksum_mode"):
        headers["x-amz-checksum-mode"] = "ENABLED"
    args = {"response-" + name: value for name, value in op.get("response", {}).items()}
    return Request(method, op["bucket"], op["key"], {**args, **version(op)}, headers)


def head_object(op):
    return get_object(op, "HEAD")


def delete_object(op):
    return Request("DELETE", op["bucket"], op["key"], version(op), {**conditions(op), **locked(op)})


def delete_objects(op):
    body = "<Delete>" + ("<Quiet>true</Quiet>" if op.get("quiet") else "")
    for one in op["objects"]:
        body += f"<Object><Key>{xml_text(one['key'])}</Key>"
        body += f"<VersionId>{one['version']}</VersionId>" if one.get("version") else ""
        body += f"<ETag>{xml_text(one['if_match'])}</ETag>" if one.get("if_match") else ""
        body += "</Object>"
    return Request("POST", op["bucket"], args={"delete": ""}, headers=locked(op), body=(body + "</Delete>").encode())


def get_tags(op):
    return Request("GET", op["bucket"], op["key"], {"tagging": "", **version(op)})


def put_tags(op):
    return Request("PUT", op["bucket"], op["key"], {"tagging": "", **version(op)}, body=tag_body(op["tags"]))


def delete_tags(op):
    return Request("DELETE", op["bucket"], op["key"], {"tagging": "", **version(op)})


def get_bucket_tags(op):
    return Request("GET", op["bucket"], args={"tagging": ""})


def put_bucket_tags(op):
    return Request("PUT", op["bucket"], args={"tagging": ""}, body=tag_body(op["tags"]))


def delete_bucket_tags(op):
    return Request("DELETE", op["bucket"], args={"tagging": ""})


def create_upload(op):
    headers = written(op)
    if op.get("sum"):
        headers["x-amz-checksum-algorithm"] = op["sum"][0].upper()
    if op.get("sum") and op["sum"][1]:
        headers["x-amz-checksum-type"] = op["sum"][1]
    return Request("POST", op["bucket"], op["key"], {"uploads": ""}, headers)


def of_part(op):
    return {"partNumber": op["number"], "uploadId": op["upload"]}


def upload_part(op):
    return with_body(op, "PUT", of_part(op), {})


def copy_part(op):
    headers = source(op)
    if op.get("range"):
        headers["x-amz-copy-source-range"] = "bytes={}-{}".format(*op["range"])
    return Request("PUT", op["bucket"], op["key"], of_part(op), headers)


def complete_upload(op):
    parts = ""
    for number, etag, *checksum in op["parts"]:
        parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{xml_text(etag)}</ETag>"
        parts += "".join(f"<Checksum{kind.upper()}>{text}</Checksum{kind.upper()}>" for kind, text in checksum) + "</Part>"
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    return Request("POST", op["bucket"], op["key"], {"uploadId": op["upload"]}, conditions(op), body)


def abort_upload(op):
    return Request("DELETE", op["bucket"], op["key"], {"uploadId": op["upload"]})


def list_parts(op):
    args = {"uploadId": op["upload"]}
    for name, field in (("part-number-marker", "after"), ("max-parts", "max")):
        if op.get(field) is not None:
            args[name] = op[field]
    return Request("GET", op["bucket"], op["key"], args)


def list_uploads(op):
    args = listed(op, max_uploads="max", key_marker="after", upload_id_marker="upload_marker")
    return Request("GET", op["bucket"], args={"uploads": "", **args})


def list_objects(op):
    if op["list"] == 1:
        return Request("GET", op["bucket"], args=listed(op, max_keys="max", marker="after"))
    args = listed(op, max_keys="max", start_after="after", continuation_token="token")
    if op.get("owner"):
        args["fetch-owner"] = "true"
    return Request("GET", op["bucket"], args={"list-type": "2", **args})


def list_versions(op):
    args = listed(op, max_keys="max", key_marker="after", version_id_marker="version_marker")
    return Request("GET", op["bucket"], args={"versions": "", **args})


# --- locks ---

def put_lock(op):
    default = op["default"]
    rule = "".join(f"<{name.capitalize()}>{value}</{name.capitalize()}>" for name, value in (default or {}).items())
    rule = f"<Rule><DefaultRetention>{rule}</DefaultRetention></Rule>" if default else ""
    body = f"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
    return Request("PUT", op["bucket"], args={"object-lock": ""}, body=body.encode())


def get_lock(op):
    return Request("GET", op["bucket"], args={"object-lock": ""})


def put_retention(op):
    lock = op["lock"]
    body = f"<Mode>{lock['mode']}</Mode><RetainUntilDate>{lock['until']}</RetainUntilDate>" if lock else ""
    return Request("PUT", op["bucket"], op["key"], {"retention": "", **version(op)}, locked({**op, "lock": None}),
                   f"<Retention>{body}</Retention>".encode())


def get_retention(op):
    return Request("GET", op["bucket"], op["key"], {"retention": "", **version(op)})


def put_hold(op):
    return Request("PUT", op["bucket"], op["key"], {"legal-hold": "", **version(op)},
                   body=f"<LegalHold><Status>{op['hold']}</Status></LegalHold>".encode())


def get_hold(op):
    return Request("GET", op["bucket"], op["key"], {"legal-hold": "", **version(op)})


# --- pages ---

def elements_of(said):
    """XML of {tag: [text or the same again]}."""
    return "".join(f"<{tag}>{xml_text(one) if isinstance(one, str) else elements_of(one)}</{tag}>"
                   for tag, values in said.items() for one in values)


def put_cors(op):
    body = elements_of({"CORSConfiguration": [{"CORSRule": [cors.elements(rule) for rule in op["rules"]]}]})
    return Request("PUT", op["bucket"], args={"cors": ""}, body=body.encode())


def get_cors(op):
    return Request("GET", op["bucket"], args={"cors": ""})


def delete_cors(op):
    return Request("DELETE", op["bucket"], args={"cors": ""})


def preflight(op):
    headers = {"Origin": op["asks_from"], "Access-Control-Request-Method": op["method"]}
    if op.get("headers"):
        headers["Access-Control-Request-Headers"] = op["headers"]
    request = Request("OPTIONS", op["bucket"], op["key"], headers=headers)
    request.is_bare, request.link = not op["is_linked"], {"age": 0, "expires": 60} if op["is_linked"] else None
    return request


# --- lifecycle ---

def put_lifecycle(op):
    rules = [lifecycle.elements(rule) for rule in op["rules"]]
    return Request("PUT", op["bucket"], args={"lifecycle": ""},
                   body=elements_of({"LifecycleConfiguration": [{"Rule": rules}]}).encode())


def get_lifecycle(op):
    return Request("GET", op["bucket"], args={"lifecycle": ""})


def delete_lifecycle(op):
    return Request("DELETE", op["bucket"], args={"lifecycle": ""})
