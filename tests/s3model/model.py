"""S3 as it should be: one account's buckets in memory, and what every request has to be answered with.

Simple rather than fast: a key is a list of its versions, the newest first; a listing sorts all of them each time. What S3
leaves open is as docs/s3.md says. An operation is a dict (see generate.py); its "op" names the method here that expects
the answer, and the function in requests.py that makes the request.
"""
import base64
import hashlib
import re

from cors import Cors
from forms import Forms
from keys import Keys, has_bucket
from lifecycle import Lifecycle
from locks import Locks
from pages import echo_name, page, page_of_uploads, page_of_versions
from parts import check_parts, etag_of_parts
from sums import (can_be, checksum_of, form_of, is_full, part_sum, put_headers, sum_elements, sum_header, sum_of_parts,
                  upload_elements)
from things import Bucket, Expected, Upload, Version
from values import Echo, content, sym

BUCKET_NAME = re.compile(r"(?!xn--)(?!\d+\.\d+\.\d+\.\d+$)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
VERSION_ID = re.compile(r"null|@.*|[0-7][0-9a-f]{15}")
META_MAX = 2048


def quoted(etag):
    return f'"{etag}"'


# What reads or writes the bytes of an object.
OF_DATA = {"put_object", "post_object", "get_object", "head_object", "copy_object", "create_upload", "upload_part", "copy_part",
           "complete_upload"}


def body_of(op):
    return content(*op["data"])


def etags_of(text):
    """Those a condition names, without their quotes."""
    return [one.strip().removeprefix("W/").strip('"') for one in text.split(",")]


def names(text, etag):
    return any(one in ("*", etag) for one in etags_of(text))


class Account(Cors, Forms, Keys, Lifecycle, Locks):
    def __init__(self, identity, known):
        self.id, self.known, self.buckets, self.tokens = identity, known, {}, {}
        self.made, self.orders = 0, {}  # of versions and uploads, also of those that have gone

    def expect(self, op):
        said = self.page_headers(op)    # by the rules that are there before
        try:
            answer = self.carry_out(op)
        except Expected as refusal:
            answer = refusal
        if answer.code != "AuthorizationQueryParametersError":      # then it is not looked further
            answer.headers = {**answer.headers, **said}
        return answer

    def carry_out(self, op):
        if op.get("link") and not 1 <= op["link"]["expires"] <= 604800:
            raise Expected(400, "AuthorizationQueryParametersError")
        self.must_be_known(op)
        if op.get("link") and not -900 <= op["link"]["age"] <= op["link"]["expires"]:
            raise Expected(403, "AccessDenied")
        self.must_be_allowed(op)
        answer = getattr(self, op["op"])(op)
        if op["op"] in OF_DATA and answer.status < 300:
            answer.headers = {**answer.headers, "x-amz-server-side-encryption": "AES256"}
        return answer

    # --- what there is ---

    def bucket(self, op, name="bucket"):
        if op[name] not in self.buckets:
            raise Expected(404, "NoSuchBucket")
        return self.buckets[op[name]]

    def find(self, op, bucket_name="bucket", key="key", version="version"):
        """The version that a request names, or the current one."""
        named = op.get(version)
        if named is not None and not VERSION_ID.fullmatch(named):
            raise Expected(400, "InvalidArgument")
        bucket = self.bucket(op, bucket_name)
        versions = bucket.keys.get(op[key], [])
        if named is None:
            if not versions:
                raise Expected(404, "NoSuchKey")
            if versions[0].is_marker:
                raise Expected(404, "NoSuchKey", {"x-amz-delete-marker": "true", "x-amz-version-id": versions[0].id})
            return bucket, versions[0]
        for one in versions:
            if one.id == named:
                return bucket, one
        raise Expected(404, "NoSuchVersion")

    def there(self, *where):
        """The same for what only has to be there: where it is not, a delete marker is not spoken of."""
        try:
            return self.find(*where)
        except Expected as refusal:
            raise Expected(refusal.status, refusal.code) from None

    def object(self, op):
        bucket, v = self.find(op)
        if v.is_marker:
            raise Expected(405, "MethodNotAllowed", {"x-amz-delete-marker": "true", "x-amz-version-id": v.id,
                                                     "last-modified": v.time})
        return bucket, v

    def current(self, bucket, key):
        versions = bucket.keys.get(key)
        return versions[0] if versions and not versions[0].is_marker else None

    def id_headers(self, bucket, v):
        return {"x-amz-version-id": v.id} if bucket.versioning else {}

    # --- buckets ---

    def list_buckets(self, op):
        made = [{"Name": [name], "CreationDate": [b.time]} for name, b in sorted(self.buckets.items())
                if "as" not in op or has_bucket(op["as"], name)]
        return Expected(200, xml={"ListAllMyBucketsResult": {
            "Owner": [self.owner()], "Buckets": [{"Bucket": made} if made else ""]}})

    def create_bucket(self, op):
        if not BUCKET_NAME.fullmatch(op["bucket"]):
            raise Expected(400, "InvalidBucketName")
        if op["bucket"] in self.buckets:
            raise Expected(409, "BucketAlreadyOwnedByYou")
        bucket = self.buckets[op["bucket"]] = Bucket(sym("m", op["id"]))
        bucket.tags = op.get("tags")
        if op.get("locking"):
            bucket.has_lock, bucket.versioning = True, "Enabled"
        return Expected(200, headers={"location": "/" + op["bucket"]})

    def head_bucket(self, op):
        self.bucket(op)
        return Expected(200, headers={"x-amz-bucket-region": lambda region: region in ("sg", "hk")})

    def delete_bucket(self, op):
        if self.bucket(op).keys:
            raise Expected(409, "BucketNotEmpty")
        del self.buckets[op["bucket"]]
        return Expected(204)

    def put_versioning(self, op):
        if op["status"] not in ("Enabled", "Suspended"):
            raise Expected(400, "MalformedXML")
        bucket = self.bucket(op)
        if bucket.has_lock and op["status"] != "Enabled":
            raise Expected(409, "InvalidBucketState")
        bucket.versioning = op["status"]
        return Expected(200)

    def get_versioning(self, op):
        status = self.bucket(op).versioning
        return Expected(200, xml={"VersioningConfiguration": {"Status": [status]} if status else ""})

    # --- writing objects ---

    def number(self, thing):
        """In which order things were made: numbers of operations don't tell, those that are cut off have high ones."""
        self.made += 1
        self.orders[thing.id] = thing.order = self.made

    def put_version(self, bucket, op, v, i=None):
        """On top of the key's versions, as the bucket's versioning wants it."""
        versions = bucket.keys.setdefault(op["key"], [])
        v.id = sym("v", op["id"], i) if bucket.versioning == "Enabled" else "null"
        if v.id == "null":
            versions[:] = [one for one in versions if one.id != "null"]
        self.number(v)
        versions.insert(0, v)

    def kept_headers(self, op):
        headers = op.get("headers", {})
        meta = sum(len(name) - 11 + len(value) for name, value in headers.items() if name.startswith("x-amz-meta-"))
        if meta > META_MAX:
            raise Expected(400, "MetadataTooLarge")
        return dict(headers)

    def must_meet(self, op, now):
        """The conditions of a write."""
        if op.get("if_match") is not None:
            if now is None:
                raise Expected(404, "NoSuchKey")
            if not names(op["if_match"], now.etag):
                raise Expected(412, "PreconditionFailed")
        if op.get("if_none_match") is not None and now and names(op["if_none_match"], now.etag):
            raise Expected(412, "PreconditionFailed")

    def check_claims(self, op, body):
        if op.get("md5") and base64.b64decode(op["md5"]) != hashlib.md5(body).digest():
            raise Expected(400, "BadDigest")
        checksum = op.get("checksum")
        if checksum and checksum[1] != checksum_of(checksum[0], body):
            raise Expected(400, "BadDigest")
        return checksum

    def put_object(self, op):
        headers, body = self.kept_headers(op), body_of(op)
        bucket = self.bucket(op)
        checksum = self.check_claims(op, body)
        asked = self.asked_lock(op)
        self.must_meet(op, self.current(bucket, op["key"]))
        v = Version(sym("m", op["id"]), body, headers=headers, tags=op.get("tags"), checksum=checksum)
        v.lock = self.lock_of_write(bucket, asked, op)
        self.put_version(bucket, op, v)
        return Expected(200, headers={"etag": quoted(v.etag), **self.id_headers(bucket, v), **put_headers(checksum),
                                      **self.expiry(bucket, op["key"], v)})

    def source(self, op):
        """What is copied; its conditions hold."""
        bucket, v = self.there(op, "from_bucket", "from_key", "from_version")
        if v.is_marker:
            raise Expected(400, "InvalidRequest")
        if self.condition(op, v, "from_"):
            raise Expected(412, "PreconditionFailed")
        return bucket, v

    def copy_object(self, op):
        replaces = op.get("directive") == "REPLACE"
        if not replaces and not op.get("from_version") and (op["bucket"], op["key"]) == (op["from_bucket"], op["from_key"]):
            raise Expected(400, "InvalidRequest")
        headers = self.kept_headers(op) if replaces else None
        from_bucket, source = self.source(op)
        asked, bucket = self.asked_lock(op), self.bucket(op)
        self.must_meet(op, self.current(bucket, op["key"]))
        lock = self.lock_of_write(bucket, asked, op)
        checksum, kind = source.checksum, op.get("sum")
        if kind or checksum and form_of(checksum) == "COMPOSITE":
            kind = kind or checksum[0]
            checksum = [kind, checksum_of(kind, source.body)]
        retags = op.get("tag_directive") == "REPLACE"
        v = Version(sym("m", op["id"]), source.body, headers=dict(source.headers) if headers is None else headers,
                    tags=op.get("tags") if retags else source.tags, checksum=checksum)
        v.lock = lock
        source_id = self.id_headers(from_bucket, source).get("x-amz-version-id")
        self.put_version(bucket, op, v)
        answer = {**self.id_headers(bucket, v), **self.expiry(bucket, op["key"], v)}
        if source_id:
            answer["x-amz-copy-source-version-id"] = source_id
        return Expected(200, headers=answer,
                        xml={"CopyObjectResult": {"LastModified": [v.time], "ETag": [quoted(v.etag)],
                                                  **sum_elements(v.checksum)}})

    # --- reading objects ---

    def condition(self, op, v, prefix=""):
        """0, or 412 or 304."""
        match, none_match = op.get(prefix + "if_match"), op.get(prefix + "if_none_match")
        since, unmodified = op.get(prefix + "if_modified_since"), op.get(prefix + "if_unmodified_since")
        if match is not None:
            if not names(match, v.etag):
                return 412
        elif unmodified is not None and self.known.seconds(v.time) > unmodified:
            return 412
        if none_match is not None:
            return 304 if names(none_match, v.etag) else 0
        return 304 if since is not None and self.known.seconds(v.time) <= since else 0

    def get_object(self, op, is_head=False):
        bucket, v = self.object(op)
        status = self.condition(op, v)
        if status == 304:
            raise Expected(304, headers={"etag": quoted(v.etag), "last-modified": v.time, "content-length": str(len(v.body))})
        if status:
            raise Expected(status, "PreconditionFailed")
        answer = {"etag": quoted(v.etag), "last-modified": v.time, "accept-ranges": "bytes",
                  "content-type": "binary/octet-stream", **v.headers, **self.id_headers(bucket, v),
                  **self.lock_headers(v), **self.expiry(bucket, op["key"], v)}
        for name, value in op.get("response", {}).items():
            answer[name] = value
        if v.tags:
            answer["x-amz-tagging-count"] = str(len(v.tags))
        status, body = self.ranged(op, v, answer)
        if v.checksum and op.get("checksum_mode") and op.get("range") is None:
            answer.update(sum_header(v.checksum))
            answer["x-amz-checksum-type"] = form_of(v.checksum)
        answer["content-length"] = str(len(body))
        return Expected(status, headers=answer, body=b"" if is_head else body)

    def head_object(self, op):
        return self.get_object(op, is_head=True)

    def ranged(self, op, v, answer):
        size = len(v.body)
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", op.get("range") or "")
        first, last = found.groups() if found else ("", "")
        if not first and not last or first and last and int(last) < int(first):
            return 200, v.body          # none, or one that can't be read
        if not first:
            first, last = max(0, size - int(last)), size - 1 if int(last) else -1
        first, last = int(first), min(int(last) if last != "" else size - 1, size - 1)
        if first >= size or last < first:
            raise Expected(416, "InvalidRange", {"content-range": f"bytes */{size}"})
        answer["content-range"] = f"bytes {first}-{last}/{size}"
        return 206, v.body[first:last + 1]

    # --- removing ---

    def remove(self, bucket, op, i=None):
        """Of op's key: (the version gone or the marker made, whether that is a marker)."""
        named, key = op.get("version"), op["key"]
        versions = bucket.keys.get(key, [])
        if named is None and bucket.versioning:
            marker = Version(sym("m", op["id"], i), is_marker=True)
            self.put_version(bucket, op, marker, i)
            return marker.id, True
        if named is None:
            bucket.keys.pop(key, None)
            return None, False
        gone = [one for one in versions if one.id == named]
        for one in gone:
            self.must_be_removable(one, op.get("bypass") and not op.get("as"))
        versions[:] = [one for one in versions if one.id != named]
        if not versions:
            bucket.keys.pop(key, None)
        return Echo(named), any(one.is_marker for one in gone)

    def check_removal(self, bucket, op):
        now = self.current(bucket, op["key"])
        if op.get("if_match") is not None and (now is None or not names(op["if_match"], now.etag)):
            raise Expected(412, "PreconditionFailed")
        if op.get("version") is not None and not VERSION_ID.fullmatch(op["version"]):
            raise Expected(400, "InvalidArgument")

    def delete_object(self, op):
        bucket = self.bucket(op)
        self.check_removal(bucket, op)
        version, is_marker = self.remove(bucket, op)
        answer = {"x-amz-version-id": version} if version else {}
        if is_marker:
            answer["x-amz-delete-marker"] = "true"
        return Expected(204, headers=answer)

    def delete_objects(self, op):
        bucket = self.bucket(op)
        deleted, errors = [], []
        for i, one in enumerate(op["objects"]):
            one = {**op, "op": "", "if_match": None, "version": None, **one, "bucket": op["bucket"]}
            said = {"Key": [one["key"]], **({"VersionId": [Echo(one["version"])]} if one.get("version") else {})}
            try:
                self.must_be_allowed(one)
                self.check_removal(bucket, one)
                version, is_marker = self.remove(bucket, one, i)
            except Expected as refusal:
                errors.append({**said, "Code": [refusal.code], "Message": [lambda text: text]})
                continue
            if is_marker:
                said.update({"DeleteMarker": ["true"], "DeleteMarkerVersionId": [version]})
            deleted.append(said)
        lists = {"Deleted": [] if op.get("quiet") else deleted, "Error": errors}
        return Expected(200, xml={"DeleteResult": {tag: said for tag, said in lists.items() if said} or ""})

    # --- tags ---

    def tagging(self, tags):
        return {"Tagging": {"TagSet": [{"Tag": [{"Key": [k], "Value": [v]} for k, v in tags]} if tags else ""]}}

    def get_tags(self, op):
        bucket, v = self.object(op)
        return Expected(200, headers=self.id_headers(bucket, v), xml=self.tagging(v.tags))

    def tagged(self, op, tags, status):
        if len(tags) > 10 or len(dict(tags)) < len(tags):
            raise Expected(400, "InvalidTag")
        bucket, v = self.there(op)
        if v.is_marker:
            raise Expected(405, "MethodNotAllowed")
        v.tags = tags
        return Expected(status, headers=self.id_headers(bucket, v))

    def put_tags(self, op):
        return self.tagged(op, op["tags"], 200)

    def delete_tags(self, op):
        return self.tagged(op, [], 204)

    def get_bucket_tags(self, op):
        tags = self.bucket(op).tags
        if tags is None:
            raise Expected(404, "NoSuchTagSet")
        return Expected(200, xml=self.tagging(tags))

    def put_bucket_tags(self, op):
        self.bucket(op).tags = op["tags"]
        return Expected(200)

    def delete_bucket_tags(self, op):
        self.bucket(op).tags = None
        return Expected(204)

    # --- uploads in parts ---

    def upload(self, op):
        bucket = self.bucket(op)
        upload = bucket.uploads.get(op["upload"])
        if upload is None or upload.key != op["key"]:
            raise Expected(404, "NoSuchUpload")
        return bucket, upload

    def create_upload(self, op):
        wanted = None
        if op.get("sum"):
            wanted = [op["sum"][0], is_full(*op["sum"])]
            if not can_be(*wanted):
                raise Expected(400, "InvalidRequest")
        headers, asked = self.kept_headers(op), self.asked_lock(op)
        bucket, upload_id = self.bucket(op), sym("u", op["id"])
        self.lock_of_write(bucket, asked, op)
        upload = Upload(op["key"], sym("m", op["id"]), headers, op.get("tags"), asked, wanted)
        bucket.uploads[upload_id], upload.id = upload, upload_id
        self.number(upload)
        said = {"x-amz-checksum-algorithm": wanted[0].upper(),
                "x-amz-checksum-type": upload_elements(wanted)["ChecksumType"][0]} if wanted else {}
        return Expected(200, headers={**said, **self.upload_end(bucket, upload)}, xml={"InitiateMultipartUploadResult": {
            "Bucket": [op["bucket"]], "Key": [echo_name(op["key"])], "UploadId": [upload_id]}})

    def upload_part(self, op):
        if not 1 <= op["number"] <= 10000:
            raise Expected(400, "InvalidArgument")
        body = body_of(op)
        _, upload = self.upload(op)
        wanted = upload.checksum
        if wanted and op.get("checksum") and op["checksum"][0] != wanted[0]:
            raise Expected(400, "InvalidRequest")
        checksum = self.check_claims(op, body)
        if wanted:
            checksum = [wanted[0], checksum_of(wanted[0], body)]
        upload.parts[op["number"]] = (sym("m", op["id"]), body, checksum)
        return Expected(200, headers={"etag": quoted(hashlib.md5(body).hexdigest()), **sum_header(checksum)})

    def copy_part(self, op):
        if not 1 <= op["number"] <= 10000:
            raise Expected(400, "InvalidArgument")
        from_bucket, source = self.source(op)
        body = source.body
        if op.get("range"):
            first, last = op["range"]
            if last < first or last >= len(body):
                raise Expected(400, "InvalidArgument")
            body = body[first:last + 1]
        _, upload = self.upload(op)
        time = sym("m", op["id"])
        checksum = upload.checksum and [upload.checksum[0], checksum_of(upload.checksum[0], body)]
        upload.parts[op["number"]] = (time, body, checksum)
        answer = self.id_headers(from_bucket, source)
        if answer:
            answer = {"x-amz-copy-source-version-id": answer["x-amz-version-id"]}
        return Expected(200, headers=answer, xml={"CopyPartResult": {
            "LastModified": [time], "ETag": [quoted(hashlib.md5(body).hexdigest())], **part_sum(checksum)}})

    def completed(self, op, etag, version, checksum=None):
        answer = {"Location": [lambda text: text], "Bucket": [op["bucket"]], "Key": [echo_name(op["key"])],
                  "ETag": [quoted(etag)], **sum_elements(checksum)}
        return Expected(200, headers=version, xml={"CompleteMultipartUploadResult": answer})

    def complete_upload(self, op):
        if not op["parts"]:
            raise Expected(400, "MalformedXML")
        numbers = [number for number, *_ in op["parts"]]
        if any(b <= a for a, b in zip(numbers, numbers[1:])):
            raise Expected(400, "InvalidPartOrder")
        bucket = self.bucket(op)
        if bucket.completed.get(op["upload"], (None,))[0] == op["key"]:
            return self.complete_again(op, bucket)
        _, upload = self.upload(op)
        self.must_meet(op, self.current(bucket, op["key"]))
        refusal, body, etag = check_parts(upload.parts, op["parts"])
        if refusal:
            raise Expected(400, refusal)
        checksum = None
        if upload.checksum:
            checksum = sum_of_parts(*upload.checksum, [upload.parts[n][1] for n in numbers])
        v = Version(sym("m", op["id"]), body, etag, upload.headers, upload.tags, checksum)
        v.lock = self.lock_of_write(bucket, upload.lock, op)
        self.put_version(bucket, op, v)
        del bucket.uploads[op["upload"]]
        bucket.completed[op["upload"]] = (op["key"], etag, v.time, [[n, tag] for n, tag, *_ in op["parts"]])
        return self.completed(op, etag, {**self.id_headers(bucket, v), **self.expiry(bucket, op["key"], v)}, checksum)

    def complete_again(self, op, bucket):
        _, etag, time, _ = bucket.completed[op["upload"]]
        if etag_of_parts(etag for _, etag, *_ in op["parts"]) != etag:
            raise Expected(400, "InvalidPart")
        for v in bucket.keys.get(op["key"], []):
            if v.time == time:
                said = {**self.id_headers(bucket, v), **self.expiry(bucket, op["key"], v)}
                return self.completed(op, etag, said, v.checksum)
        return self.completed(op, etag, {})

    def abort_upload(self, op):
        bucket, _ = self.upload(op)
        del bucket.uploads[op["upload"]]
        return Expected(204)

    # --- listing ---

    def owner(self):
        return {"ID": [self.id], "DisplayName": [self.id]}

    def list_parts(self, op):
        after, most = op.get("after", 0), op.get("max")
        most = min(1000 if most is None else most, 1000)
        bucket, upload = self.upload(op)
        numbers = sorted(n for n in upload.parts if n > after) if most else []
        told = numbers[:most]
        result = {
            "Bucket": [op["bucket"]], "Key": [echo_name(op["key"])], "UploadId": [Echo(op["upload"])],
            "Initiator": [self.owner()], "Owner": [self.owner()], "StorageClass": ["STANDARD"],
            **upload_elements(upload.checksum), "PartNumberMarker": [str(after)], "MaxParts": [str(most)],
            "IsTruncated": ["true" if len(numbers) > most else "false"]}
        if len(numbers) > most:
            result["NextPartNumberMarker"] = [str(told[-1])]
        if told:
            result["Part"] = [{"PartNumber": [str(n)], "LastModified": [upload.parts[n][0]],
                               "ETag": [quoted(hashlib.md5(upload.parts[n][1]).hexdigest())],
                               "Size": [str(len(upload.parts[n][1]))], **part_sum(upload.parts[n][2])} for n in told]
        return Expected(200, headers=self.upload_end(bucket, upload), xml={"ListPartsResult": result})

    def list_uploads(self, op):
        return Expected(200, xml={"ListMultipartUploadsResult": page_of_uploads(self, op)})

    def list_objects(self, op):
        return Expected(200, xml={"ListBucketResult": page(self, op)})

    def list_versions(self, op):
        if op.get("version_marker") and not op.get("after"):
            raise Expected(400, "InvalidArgument")
        return Expected(200, xml={"ListVersionsResult": page_of_versions(self, op)})
