"""Object lock in the model: a bucket's default, retention and legal hold of versions.

A lock lasts until a time that an operation names (decades from now), or until some days after the operation that wrote
the version: the symbol "@d12.7" for seven days after operation 12. So none ends during a run.
"""
from things import NO_LOCK, Expected
from values import Sym, sym

DAYS_A_YEAR = 365
PAST = "2001-02-03T04:05:06Z"
HEADER = "x-amz-object-lock-"


def time_text(until):
    """As an answer has it."""
    return until if isinstance(until, Sym) else until.removesuffix("Z") + ".000Z"


def is_shorter(until, than):
    """A time that was named is later than any that a default leads to."""
    if until is None or than is None:
        return until != than and until is None
    return (not isinstance(until, Sym), until) < (not isinstance(than, Sym), than)


class Locks:
    """What an account does with locks; a part of model.Account."""

    def asked_lock(self, op):
        """The lock that a write asks for, or None."""
        asked = op.get("lock")
        if asked is None:
            return None
        if (asked.get("mode") is None) != (asked.get("until") is None) or asked.get("until") == PAST:
            raise Expected(400, "InvalidArgument")
        return {"mode": asked.get("mode"), "until": asked.get("until"), "hold": asked.get("hold")}

    def lock_of_write(self, bucket, asked, op):
        """Of what is written now: what is asked for, else the bucket's default."""
        if not bucket.has_lock:
            if asked:
                raise Expected(400, "InvalidRequest")
            return NO_LOCK
        lock = asked or NO_LOCK
        if lock["mode"] or not bucket.default:
            return lock
        days = bucket.default.get("days") or bucket.default["years"] * DAYS_A_YEAR
        return {**lock, "mode": bucket.default["mode"], "until": sym("d", op["id"], days)}

    def lock_headers(self, v):
        said = {}
        if v.lock["mode"]:
            said = {HEADER + "mode": v.lock["mode"], HEADER + "retain-until-date": time_text(v.lock["until"])}
        return {**said, HEADER + "legal-hold": v.lock["hold"]} if v.lock["hold"] else said

    def must_be_removable(self, v, bypass):
        mode = v.lock["mode"]
        if v.lock["hold"] == "ON" or mode and not (bypass and mode == "GOVERNANCE"):
            raise Expected(403, "AccessDenied")

    # --- the bucket's default ---

    def put_lock(self, op):
        default = op["default"]
        if default and not (default.get("days") or default.get("years")):
            raise Expected(400, "InvalidArgument")
        bucket = self.bucket(op)
        if bucket.versioning != "Enabled":
            raise Expected(409, "InvalidBucketState")
        bucket.has_lock, bucket.default = True, default
        return Expected(200)

    def get_lock(self, op):
        bucket = self.bucket(op)
        if not bucket.has_lock:
            raise Expected(404, "ObjectLockConfigurationNotFoundError")
        said = {"ObjectLockEnabled": ["Enabled"]}
        if bucket.default:
            rule = {name.capitalize(): [str(value)] for name, value in bucket.default.items()}
            said["Rule"] = [{"DefaultRetention": [rule]}]
        return Expected(200, xml={"ObjectLockConfiguration": said})

    # --- one version ---

    def lockable(self, op):
        bucket, v = self.there(op)
        if not bucket.has_lock:
            raise Expected(400, "InvalidRequest")
        if v.is_marker:
            raise Expected(405, "MethodNotAllowed")
        return v

    def put_retention(self, op):
        to = self.asked_lock(op)
        v = self.lockable(op)
        now = v.lock["mode"]
        if (now and (to["mode"] != now or is_shorter(to["until"], v.lock["until"]))
                and not (now == "GOVERNANCE" and op.get("bypass") and not op.get("as"))):
            raise Expected(403, "AccessDenied")
        v.lock = {**v.lock, "mode": to["mode"], "until": to["until"]}
        return Expected(200)

    def get_retention(self, op):
        v = self.lockable(op)
        if not v.lock["mode"]:
            raise Expected(404, "NoSuchObjectLockConfiguration")
        return Expected(200, xml={"Retention": {"Mode": [v.lock["mode"]],
                                                "RetainUntilDate": [time_text(v.lock["until"])]}})

    def put_hold(self, op):
        v = self.lockable(op)
        if v.lock["hold"] == "ON" and op["hold"] == "OFF" and op.get("as"):
            raise Expected(403, "AccessDenied")
        v.lock = {**v.lock, "hold": op["hold"]}
        return Expected(200)

    def get_hold(self, op):
        hold = self.lockable(op).lock["hold"]
        if not hold:
            raise Expected(404, "NoSuchObjectLockConfiguration")
        return Expected(200, xml={"LegalHold": {"Status": [hold]}})
