"""Operations that read all that an account has, so that two states can't look alike."""


def audit(account, user, at, number):
    """They are numbered from NUMBER on."""
    ops = [{"op": "list_buckets"}]
    for name, bucket in account.buckets.items():
        here = {"bucket": name}
        ops += [{**here, "op": op} for op in ("get_versioning", "get_bucket_tags", "get_lock", "get_cors", "get_lifecycle",
                                               "list_uploads")]
        ops += [{**here, "op": "list_versions", "url": True}, {**here, "op": "list_objects", "list": 2, "url": True}]
        ops += [{**here, "op": "list_parts", "key": upload.key, "upload": i} for i, upload in bucket.uploads.items()]
        for key, versions in bucket.keys.items():
            for v in versions:
                named = {**here, "key": key, "version": v.id}
                ops += [{**named, "op": "get_object", "checksum_mode": True}, {**named, "op": "get_tags"}]
    return [{"id": number + i, "user": user, "at": at, **op} for i, op in enumerate(ops)]
