"""Lifecycle rules in the model: how they are kept, and when an answer says that an object goes.

They are years away or about keys that never are, so nothing goes during a run.
"""
import calendar
import re
import time

from things import Expected
from values import http_date
from wire import quote

DAY_S = 86400
ACTIONS = ("days", "date", "markers", "noncurrent", "abort")


def filter_elements(rule):
    """{tag: values} of a rule's filter: And around several conditions."""
    said = {"Prefix": [rule["prefix"]]} if rule["prefix"] is not None else {}
    if rule["old"]:
        return said
    if rule["tags"]:
        said["Tag"] = [{"Key": [k], "Value": [v]} for k, v in rule["tags"]]
    for name, tag in (("over", "ObjectSizeGreaterThan"), ("under", "ObjectSizeLessThan")):
        if rule[name] is not None:
            said[tag] = [str(rule[name])]
    several = sum(map(len, said.values())) > 1
    return {"Filter": [{"And": [said]} if several else said or ""]}


def elements(rule):
    """{tag: values} of a rule, as XML has it."""
    expiration = {"Days": [str(rule["days"])]} if rule["days"] is not None else {}
    if rule["date"]:
        expiration["Date"] = [rule["date"]]
    if rule["markers"]:
        expiration["ExpiredObjectDeleteMarker"] = ["true"]
    noncurrent = dict(zip(("NoncurrentDays", "NewerNoncurrentVersions"), [[str(n)] for n in rule["noncurrent"] or []]))
    said = {"ID": [rule["id"]], **filter_elements(rule), "Status": [rule["status"]] if rule["status"] else [],
            "Expiration": [expiration] if expiration else [],
            "NoncurrentVersionExpiration": [noncurrent] if noncurrent else [],
            "AbortIncompleteMultipartUpload": [{"DaysAfterInitiation": [str(rule["abort"])]}] if rule["abort"] else [],
            "Transition": [{"Days": ["1"], "StorageClass": ["GLACIER"]}] if rule.get("transition") else []}
    return {tag: values for tag, values in said.items() if values}


def covers(rule, key, v):
    return (key.startswith(rule["prefix"] or "") and all(tag in v.tags for tag in rule["tags"])
            and (rule["over"] is None or len(v.body) > rule["over"])
            and (rule["under"] is None or len(v.body) < rule["under"]))


def refusal(rule):
    if rule.get("transition"):
        return 501, "NotImplemented"
    if rule["days"] == 0:
        return 400, "InvalidArgument"
    if rule["status"] not in ("Enabled", "Disabled"):
        return 400, "MalformedXML"
    if rule["over"] is not None and rule["under"] is not None and rule["over"] >= rule["under"]:
        return 400, "InvalidRequest"
    if not any(rule[name] for name in ACTIONS):
        return 400, "InvalidRequest"
    if (rule["markers"] or rule["abort"]) and (rule["tags"] or rule["over"] is not None or rule["under"] is not None):
        return 400, "InvalidRequest"
    return None


class Lifecycle:
    """What an account does with rules; a part of model.Account."""

    def put_lifecycle(self, op):
        for rule in op["rules"]:
            if why := refusal(rule):
                raise Expected(*why)
        if len({rule["id"] for rule in op["rules"]}) < len(op["rules"]):
            raise Expected(400, "InvalidArgument")
        self.bucket(op).rules = op["rules"]
        return Expected(200)

    def get_lifecycle(self, op):
        rules = self.bucket(op).rules
        if rules is None:
            raise Expected(404, "NoSuchLifecycleConfiguration")
        return Expected(200, xml={"LifecycleConfiguration": {"Rule": [elements(rule) for rule in rules]}})

    def delete_lifecycle(self, op):
        self.bucket(op).rules = None
        return Expected(204)

    def expiry(self, bucket, key, v):
        """The header of an answer about V, which counts while it is current."""
        rules = [rule for rule in bucket.rules or [] if rule["status"] == "Enabled" and covers(rule, key, v)
                 and (rule["days"] or rule["date"])]
        if not rules or bucket.keys[key][0] is not v:
            return {}
        return {"x-amz-expiration": lambda text: self.is_expiry(text, rules, v)}

    def made_at(self, it):
        """When a version or an upload was, as far as it is known."""
        return self.known.real.get(it.time, time.time())

    def is_expiry(self, text, rules, v):
        """The rule that comes first, and when."""
        made = self.made_at(v)
        due = [(ends(rule, made), i) for i, rule in enumerate(rules)]
        at, first = min(due)
        found = re.fullmatch('expiry-date="(.*)", rule-id="(.*)"', text)
        return bool(found) and found.groups() == (http_date(at), quote(rules[first]["id"]))

    def upload_end(self, bucket, upload):
        """The headers of an answer about an upload that a rule gives up."""
        rules = [rule for rule in bucket.rules or [] if rule["status"] == "Enabled" and rule["abort"]
                 and upload.key.startswith(rule["prefix"] or "")]
        if not rules:
            return {}
        first = min(rules, key=lambda rule: rule["abort"])
        return {"x-amz-abort-date": lambda text: text == http_date(after_days(self.made_at(upload), first["abort"])),
                "x-amz-abort-rule-id": quote(first["id"])}


def after_days(made, days):
    return (int(made) // DAY_S + days + 1) * DAY_S


def ends(rule, made):
    if rule["date"]:
        return calendar.timegm(time.strptime(rule["date"], "%Y-%m-%dT%H:%M:%S.000Z"))
    return after_days(made, rule["days"])
