"""Pages of other origins in the model: a bucket's rules, what every answer says by them, and preflights."""
from things import Expected

METHODS = {"GET": ("get_", "list_"), "HEAD": ("head_",), "POST": ("delete_objects", "complete_", "create_upload", "post_"),
           "DELETE": ("delete_", "abort_")}
TAGS = {"id": "ID", "origins": "AllowedOrigin", "methods": "AllowedMethod", "headers": "AllowedHeader",
        "exposed": "ExposeHeader", "age": "MaxAgeSeconds"}


def method_of(op):
    """PUT is what all others are."""
    found = [method for method, starts in METHODS.items() if op["op"].startswith(starts)]
    return "POST" if "POST" in found else found[0] if found else "PUT"


def fits(pattern, text):
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == text
    return len(text) >= len(before) + len(after) and text.startswith(before) and text.endswith(after)


def said_by(rule, origin, method, headers):
    """What the answer says if RULE fits, or None."""
    first = next((pattern for pattern in rule["origins"] if fits(pattern, origin)), None)
    asked = headers.replace(",", " ").lower().split() if headers else []
    if first is None or method not in rule["methods"] or not all(
            any(fits(pattern.lower(), name) for pattern in rule["headers"]) for name in asked):
        return None
    said = {"allow-origin": first} if first == "*" else {"allow-origin": origin, "allow-credentials": "true"}
    said["allow-methods"] = ", ".join(rule["methods"])
    if headers:
        said["allow-headers"] = headers
    if rule["exposed"]:
        said["expose-headers"] = ", ".join(rule["exposed"])
    if rule["age"] is not None:
        said["max-age"] = str(rule["age"])
    return prefixed(said)


def prefixed(said):
    return {"access-control-" + name: value for name, value in said.items()}


def elements(rule):
    """{tag: [text]} as XML has a rule."""
    listed = {tag: rule[name] if isinstance(rule[name], list) else [rule[name]] for name, tag in TAGS.items()}
    return {tag: [str(value) for value in values if value is not None] for tag, values in listed.items()}


class Cors:
    """What an account does about pages; a part of model.Account."""

    def rules_say(self, name, *question):
        """The headers of an answer about bucket NAME."""
        bucket = self.buckets.get(name)
        said = [said_by(rule, *question) for rule in (bucket.cors or [])] if bucket else []
        return next((one for one in said if one), {})

    def page_headers(self, op):
        if not op.get("origin") or "bucket" not in op:
            return {}
        return self.rules_say(op["bucket"], op["origin"], method_of(op), None)

    def put_cors(self, op):
        for rule in op["rules"]:
            if any(pattern.count("*") > 1 for pattern in rule["origins"]) or "PATCH" in rule["methods"]:
                raise Expected(400, "InvalidRequest")
        if not all(rule["origins"] and rule["methods"] for rule in op["rules"]):
            raise Expected(400, "MalformedXML")
        self.bucket(op).cors = op["rules"]
        return Expected(200)

    def get_cors(self, op):
        rules = self.bucket(op).cors
        if rules is None:
            raise Expected(404, "NoSuchCORSConfiguration")
        return Expected(200, xml={"CORSConfiguration": {"CORSRule": [
            {tag: values for tag, values in elements(rule).items() if values} for rule in rules]}})

    def delete_cors(self, op):
        self.bucket(op).cors = None
        return Expected(204)

    def preflight(self, op):
        """Of a presigned URL by the rules; of anything else it says that the page may send."""
        if op["is_linked"]:
            said = self.rules_say(op["bucket"], op["asks_from"], op["method"], op.get("headers"))
            if not said:
                raise Expected(403, "AccessForbidden")
            return Expected(200, headers=said)
        said = {"allow-origin": op["asks_from"], "allow-methods": op["method"], "max-age": "60"}
        if op.get("headers"):
            said["allow-headers"] = op["headers"]
        return Expected(200, headers=prefixed(said))
