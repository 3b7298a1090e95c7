"""What the users have recorded, as operations on registers; and what in it is wrong by itself.

An answer counts as *yes* (it happened), *no* (it did not) or *lost* (nobody knows). Only what can be
nothing else is a no: a request that was never sent, and refusals of the request itself.
"""
import collections
import json

import linear

YES, NO, LOST = "yes", "no", "lost"
WRITES = ("put", "create", "replace", "delete", "complete")
# Accounts, buckets and uploads are there before anybody uses them and stay; all requests are well-formed.
WRONG = ("NoSuchBucket", "NoSuchUpload", "InvalidPart", "InvalidAccessKeyId", "AccessDenied", "SignatureDoesNotMatch",
         "RequestTimeTooSkewed")


def load(paths):
    """All records by the time they began. A line that a killed process left unfinished is no record."""
    records = []
    for path in paths:
        with open(path) as f:
            for line in f:
                if line.endswith("\n"):
                    records.append(json.loads(line))
    return sorted(records, key=lambda r: r["began"])


def outcome(r):
    status, op = r["status"], r["op"]
    if status in (200, 204):
        return YES
    if status is None:
        return LOST if (r.get("why") or "").startswith("sent") else NO
    if status == 404 and op in ("get", "head"):
        return YES
    return LOST if status >= 500 or status == 409 else NO


def wrong(r):
    """Why this answer should never be given, or None."""
    if r["op"] == "get" and r.get("value") == -1:
        return "an object was read that nobody has written whole"
    if r["status"] and r["status"] >= 400 and r.get("why") in WRONG:
        return f"{r['op']} was answered {r['status']} {r['why']}"
    if r["status"] and 400 <= r["status"] < 500 and r["status"] not in (404, 412):
        return f"{r['op']} was answered {r['status']} {r.get('why')}"
    return None


class Values:
    """Numbers of writes by their ETag."""

    def __init__(self, records):
        self.by_etag = {r["etag"]: r["value"] for r in records if r["op"] in WRITES and r.get("etag")}

    def of(self, etag):
        return self.by_etag.get(etag, f"etag {etag}")


def operation(r, values):
    """The record of one key as an operation, or None: it tells nothing."""
    said, op, end = outcome(r), r["op"], r["ended"]
    if op in ("get", "head"):
        if said != YES or r.get("value") == -1:
            return None
        found = None if r["status"] == 404 else r["value"] if op == "get" else values.of(r["etag"])
        return linear.read(r["began"], end, found, r)
    if op not in WRITES:
        return None
    if op in ("create", "replace"):
        expected = None if op == "create" else values.of(r["seen"])
        if said == NO:
            return linear.refusal(r["began"], end, expected, r) if r["status"] in (412, 404) else None
        return linear.swap(r["began"], end if said == YES else linear.NEVER, expected, r["value"], r)
    if said == NO:
        return None
    return linear.write(r["began"], end if said == YES else linear.NEVER, None if op == "delete" else r["value"], r)


def registers(records):
    """key -> its operations. A listing is a read of each key."""
    values, out = Values(records), collections.defaultdict(list)
    for r in records:
        if r["op"] == "list":
            account = r["key"].split("/")[0]
            for key in r["keys"] if r["status"] == 200 else ():
                etag = r["found"].get(key)
                found = values.of(etag) if etag else None
                out[f"{account}/{key}"].append(linear.read(r["began"], r["ended"], found, r))
        elif op := operation(r, values):
            out[r["key"]].append(op)
    return out


def without(records, removed):
    """Without what came of accounts since their removal was asked for."""
    return [r for r in records if r["ended"] < removed.get(int(r["key"].split("/")[0]), linear.NEVER)]


def failed(r):
    """Whether the service did not do what it was asked, and not because of what was asked."""
    return r["status"] is None or r["status"] >= 500


def waits(records):
    """(longest time in which an account took none of its writes, longest single answer), in s.

    The former from the first refused write to the last one before the next that was taken: users
    don't write all the time, so it is a lower bound.
    """
    since, longest, single = {}, 0, 0
    for r in sorted((r for r in records if r["op"] in WRITES), key=lambda r: r["ended"]):
        account = r["key"].split("/")[0]
        single = max(single, r["ended"] - r["began"])
        if not failed(r):
            since.pop(account, None)
            continue
        longest = max(longest, r["ended"] - since.setdefault(account, r["began"]))
    return longest / 1e9, single / 1e9
