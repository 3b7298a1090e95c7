"""Pages of the model's listings: everything sorted, folded, cut."""
from sums import kind_elements, upload_elements
from things import Expected
from values import Echo, sym
from wire import quote, stand_in

MOST = 1000


def is_xml(c):
    return c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000"


def put_name(text, is_url):
    """A key as a listing has it: percent-encoded where asked, else with references for what XML can't say."""
    if is_url:
        return quote(text, "/")
    return "".join(c if is_xml(c) else stand_in(ord(c)) for c in text)


def echo_name(text):
    """A key as an answer has it to whom has named it: without what XML can't say."""
    return "".join(c if is_xml(c) else "\ufffd" for c in text)


def in_order(keys):
    return sorted(keys, key=str.encode)


def fold(key, prefix, delimiter):
    """The common prefix that stands for KEY, or None."""
    at = key.find(delimiter, len(prefix)) if delimiter else -1
    return key[:at + len(delimiter)] if at >= 0 else None


def most_of(op):
    most = MOST if op.get("max") is None else op["max"]
    return min(most, MOST)


def is_after(a, b):
    return a.encode() > b.encode()


def cut(keys, op, after):
    """(what a page tells: (name, whether it is a prefix), whether there is more) of all KEYS."""
    prefix, delimiter, most, told = op.get("prefix", ""), op.get("delimiter", ""), most_of(op), []
    for key in in_order(k for k in keys if k.startswith(prefix) and is_after(k, after)):
        folded = fold(key, prefix, delimiter)
        if folded is not None and not is_after(folded, after) or (folded, True) in told:
            continue
        if len(told) == most:
            return told, most > 0
        told.append((key, False) if folded is None else (folded, True))
    return told, False


def common(told, is_url):
    prefixes = [{"Prefix": [put_name(name, is_url)]} for name, is_prefix in told if is_prefix]
    return {"CommonPrefixes": prefixes} if prefixes else {}


def head(op, is_url, names):
    """What every listing says of its request: {tag: (argument, whether it is there when it was not given)}."""
    said = {"EncodingType": ["url"]} if is_url else {}
    for tag, (argument, always) in names.items():
        if op.get(argument) or always:
            said[tag] = [put_name(op.get(argument, ""), is_url)]
    return said


def page(account, op):
    """ListObjects, version op["list"]."""
    is_url, is_v2, after = bool(op.get("url")), op["list"] == 2, op.get("after", "")
    if is_v2 and op.get("token"):
        if op["token"] not in account.tokens:
            raise Expected(400, "InvalidArgument")
        after = account.tokens[op["token"]]
    bucket = account.bucket(op)
    keys = [key for key in bucket.keys if account.current(bucket, key)]
    told, more = cut(keys, op, after)
    result = {"Name": [op["bucket"]], "MaxKeys": [str(most_of(op))], "IsTruncated": ["true" if more else "false"],
              **head(op, is_url, {"Prefix": ("prefix", True), "Delimiter": ("delimiter", False)}), **common(told, is_url)}
    objects = [about_object(account, bucket, key, is_url, not is_v2 or op.get("owner"))
               for key, is_prefix in told if not is_prefix]
    if objects:
        result["Contents"] = objects
    if not is_v2:
        result.update(head(op, is_url, {"Marker": ("after", True)}))
        return {**result, "NextMarker": [put_name(told[-1][0], is_url)]} if more else result
    result.update(head(op, is_url, {"StartAfter": ("after", False)}), KeyCount=[str(len(told))])
    if op.get("token"):
        result["ContinuationToken"] = [Echo(op["token"])]
    if more:
        token = sym("t", op["id"])
        account.tokens[token] = told[-1][0]
        result["NextContinuationToken"] = [token]
    return result


def about_object(account, bucket, key, is_url, with_owner):
    v = account.current(bucket, key)
    said = {"Key": [put_name(key, is_url)], "LastModified": [v.time], "ETag": [f'"{v.etag}"'],
            "Size": [str(len(v.body))], "StorageClass": ["STANDARD"], **kind_elements(v.checksum)}
    return {**said, "Owner": [account.owner()]} if with_owner else said


def rows_of_versions(account, bucket, op):
    """(key, version's place) of all that comes after the markers, in order."""
    prefix, after, marker = op.get("prefix", ""), op.get("after", ""), op.get("version_marker")
    rows = []
    for key in in_order(k for k in bucket.keys if k.startswith(prefix)):
        versions = bucket.keys[key]
        if is_after(key, after):
            rows += [(key, i) for i in range(len(versions))]
        elif key == after and marker:
            rows += [(key, i) for i, v in enumerate(versions) if v.order < order_of(account, versions, marker)]
    return rows


def order_of(account, versions, marker):
    """When the version was made that MARKER names. Of a null version that is gone since nothing is known: after all."""
    if marker == "null":
        return next((v.order for v in versions if v.id == "null"), float("inf"))
    return account.orders[marker]


def page_of_versions(account, op):
    is_url, after, bucket = bool(op.get("url")), op.get("after", ""), account.bucket(op)
    told, more, most = [], False, most_of(op)
    for key, i in rows_of_versions(account, bucket, op):
        folded = fold(key, op.get("prefix", ""), op.get("delimiter", ""))
        if folded is not None and not is_after(folded, after) or (folded, True) in told:
            continue
        if len(told) == most:
            more = most > 0
            break
        told.append(((key, i), False) if folded is None else (folded, True))
    result = {"Name": [op["bucket"]], "MaxKeys": [str(most)], "IsTruncated": ["true" if more else "false"],
              "VersionIdMarker": [Echo(op.get("version_marker") or "")],
              **head(op, is_url, {"Prefix": ("prefix", True), "KeyMarker": ("after", True),
                                  "Delimiter": ("delimiter", False)}), **common(told, is_url)}
    for (key, i) in [row for row, is_prefix in told if not is_prefix]:
        v = bucket.keys[key][i]
        said = {"Key": [put_name(key, is_url)], "VersionId": [v.id or "null"], "LastModified": [v.time],
                "IsLatest": ["false" if i else "true"], "Owner": [account.owner()]}
        if not v.is_marker:
            said.update(ETag=[f'"{v.etag}"'], Size=[str(len(v.body))], StorageClass=["STANDARD"],
                        **kind_elements(v.checksum))
        result.setdefault("DeleteMarker" if v.is_marker else "Version", []).append(said)
    if more:
        last, is_prefix = told[-1]
        result["NextKeyMarker"] = [put_name(last if is_prefix else last[0], is_url)]
        if not is_prefix:
            result["NextVersionIdMarker"] = [bucket.keys[last[0]][last[1]].id]
    return result


def page_of_uploads(account, op):
    """In order of keys, and of one key in the order that they were begun."""
    is_url, after, bucket = bool(op.get("url")), op.get("after", ""), account.bucket(op)
    prefix, delimiter, marker = op.get("prefix", ""), op.get("delimiter", ""), op.get("upload_marker")
    rows = []
    for key in in_order({u.key for u in bucket.uploads.values()}):
        ids = [i for i, u in bucket.uploads.items() if u.key == key]
        if not key.startswith(prefix) or is_after(after, key):
            continue
        if key == after:
            ids = [i for i in ids if marker and account.orders[i] > account.orders[marker]]
        rows += [(key, i) for i in ids]
    told, more = [], False
    for key, i in rows:
        folded = fold(key, prefix, delimiter)
        if folded is not None and not is_after(folded, after) or (folded, True) in told:
            continue
        if len(told) == most_of(op):
            more = most_of(op) > 0
            break
        told.append(((key, i), False) if folded is None else (folded, True))
    result = {"Bucket": [op["bucket"]], "MaxUploads": [str(most_of(op))], "IsTruncated": ["true" if more else "false"],
              "UploadIdMarker": [Echo(marker or "")],
              **head(op, is_url, {"Prefix": ("prefix", True), "KeyMarker": ("after", True),
                                  "Delimiter": ("delimiter", False)}), **common(told, is_url)}
    uploads = [{"Key": [put_name(key, is_url)], "UploadId": [i], "Initiator": [account.owner()],
                "Owner": [account.owner()], "StorageClass": ["STANDARD"], "Initiated": [bucket.uploads[i].time],
                **upload_elements(bucket.uploads[i].checksum)}
               for key, i in [row for row, is_prefix in told if not is_prefix]]
    if uploads:
        result["Upload"] = uploads
    if more:
        last, is_prefix = told[-1]
        result["NextKeyMarker"] = [put_name(last if is_prefix else last[0], is_url)]
        result["NextUploadIdMarker"] = ["" if is_prefix else last[1]]
    return result
