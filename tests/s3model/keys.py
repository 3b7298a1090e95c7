"""Keys other than an account's first: what they may do, in the model, and how they are made.

An operation is signed with the one that its "as" names.
"""
import json

from forms import key_of
from things import Expected

KEYS = {"reader": {"read_only": True}, "files": {"service": "files"}, "backup": {"service": "backup"},
        "one": {"bucket": "photos"}, "part": {"bucket": "photos", "prefix": "a"}, "revoked": {},
        "app": {"service": "files"}, "app-path": {"service": "files"}}
# What each operation touches, as s3.md tells it; all others a key.
BUCKET = {"head_bucket", "get_versioning", "get_lock"}
SETTINGS = {"create_bucket", "delete_bucket", "put_versioning", "put_lock", "get_bucket_tags", "put_bucket_tags",
            "delete_bucket_tags", "put_cors", "get_cors", "delete_cors",
            "put_lifecycle", "get_lifecycle", "delete_lifecycle"}
LISTING = {"list_objects", "list_versions", "list_uploads"}
READING = ("get_", "head_", "list_")


def service_of(bucket):
    return "backup" if bucket == "backup" or bucket.startswith("backup-") else "files"


def has_bucket(key, bucket):
    may = KEYS[key]
    return may.get("bucket", bucket) == bucket and may.get("service", service_of(bucket)) == service_of(bucket)


def may_touch(op):
    may, name, prefix = KEYS[op["as"]], op["op"], KEYS[op["as"]].get("prefix", "")
    if may.get("read_only") and not name.startswith(READING):
        return False
    if name == "list_buckets":
        return True
    if not has_bucket(op["as"], op["bucket"]):
        return False
    if "from_bucket" in op and not (has_bucket(op["as"], op["from_bucket"]) and op["from_key"].startswith(prefix)):
        return False
    if name in SETTINGS:
        return not prefix
    if name in LISTING:
        return op.get("prefix", "").startswith(prefix)
    return name in BUCKET or name == "delete_objects" or op["key"].startswith(prefix)


class Keys:
    """What an account's keys may do; a part of model.Account."""

    def must_be_known(self, op):
        if op.get("as") == "revoked":
            raise Expected(403, "InvalidAccessKeyId")
        if op.get("as") == "app-path" and op["op"] == "list_buckets":
            raise Expected(400, "InvalidRequest")

    def must_be_allowed(self, op):
        if "filename" in op:
            op = {**op, "key": key_of(op)}
        if op.get("as") and not may_touch(op):
            raise Expected(403, "AccessDenied")

    def address(self, op, bucket):
        """The bucket as the request names it."""
        return f"{self.id}.{bucket}" if op.get("as") == "app-path" else bucket


def made(regions, users):
    """{name: key} of each of USERS, from nodes of REGIONS."""
    words = ["app", "key", "create", "model", "--services", "files", "--expires", "+1d", "--json"]
    application = json.loads(regions[0].command(*words))
    path = regions[0].folder / "application"
    path.touch(0o600)
    path.write_text(f"{application['access_key']} {application['secret_key']}\n")
    for region in regions[1:]:
        region.command(*words, "--import", path)
    return [keys_of(regions[0], user, application) for user in users]


def keys_of(region, user, application):
    keys = {"app": {**application, "for": user["account"]}, "app-path": application}
    for name, may in KEYS.items():
        if name not in keys:
            limits = [word for limit, value in may.items()
                      for word in (["--read-only"] if limit == "read_only" else ["--" + limit, value])]
            keys[name] = json.loads(region.command("account", "key", "create", user["account"], *limits, "--json"))
    region.command("account", "key", "revoke", user["account"], keys["revoked"]["access_key"])
    return keys
