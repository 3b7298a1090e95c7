"""Random operations. The generator looks at the model, so that most of them meet something, and some nothing.

An operation is a dict that JSON can carry: "id" (its number), "op" (its name), "user" and "at" (which account, which
region is asked), and its arguments. Content is [seed, size]; ids of versions and uploads and tokens are symbols.
"""
import base64
import hashlib

from forms import FILENAME, TROUBLES, key_of
from keys import KEYS, LISTING
from locks import PAST
from pages import is_xml
from sums import KINDS, SLOW, SLOW_MAX, checksum_of
from values import content

BUCKETS = ["photos", "a.b-c", "backup", "backup-1"]
LOCKING = ["locked", "backup-2"]
NO_BUCKETS = ["nobody", "Photos", "a..b", "ab"]
WORDS = ["a", "b", "B", "ab", "a b", "+", "a+b", "%", "%2F", "%zz", "&", "<x>", "\"'", "é", "e\u0301", "日本", "हि", "🏠", "ü" * 20, "\x01",
         "\x7f", "\n", "\r", "\t", "..", ".", "", "~", "\\", "?", "?versionId=null", "#", "=", ";", "*", ":", "null", "\ufffd", "\u2028", "\uffff",
         "0", "-", "_", "!", "(", "{x}", "|", "^", "`", "$", ",", "@", "@v1", " ", "k" * 300, "uploads", "acl", "\U0010fffd"]
SMALL = [0, 0, 1, 2, 10, 100, 1000, 5000]
EDGES = [32767, 32768, 32769, 65535, 65536, 65537, 100000, 200001]
LARGE = [(4 << 20) - 1, 4 << 20, (4 << 20) + 1, (5 << 20) - 1, 5 << 20, (5 << 20) + 7]
HEADERS = {"content-type": ["text/plain", "application/x-\"odd\"; charset=utf-8"], "cache-control": ["max-age=5", "no-store"],
           "content-disposition": ['attachment; filename="a b.txt"'], "content-encoding": ["gzip"],
           "content-language": ["de, en"], "expires": ["Wed, 21 Oct 2026 07:28:00 GMT", "never"],
           "x-amz-meta-colour": ["blue", "", "a=b;c&d"], "x-amz-meta-long": ["x" * 1000], "x-amz-meta-a.b-c": ["1"],
           "x-amz-meta-" + "n" * 70: ["long"], "x-amz-meta-" + "n" * 600: ["longer"]}
TAG_WORDS = ["a", "b", "A", "x y", "+", "=", "k@e:y/", "ü", "", "v" * 100]
ORIGINS = ["https://app.example.com", "https://example.com", "http://localhost:8080", "null"]
RESPONSE = {"content-type": "image/x-a", "cache-control": "no-cache", "content-disposition": 'inline; filename="a;b"',
            "content-encoding": "br", "content-language": "zh", "expires": "0"}
RANGES = ["bytes=0-0", "bytes=0-", "bytes=1-5", "bytes=-1", "bytes=-0", "bytes=-999999", "bytes=5-4", "bytes=999999-",
          "bytes=32767-32768", "bytes=65535-65536", "bytes=4194303-4194304", "bytes=0-999999", "bytes=a-b", "bytes=", "lines=1-2",
          "bytes=0-1,3-4"]

WEIGHTS = {
    "put_object": 22, "get_object": 16, "head_object": 5, "delete_object": 9, "copy_object": 7, "delete_objects": 3,
    "list_objects": 14, "list_versions": 7, "create_upload": 5, "upload_part": 9, "copy_part": 3, "complete_upload": 5,
    "abort_upload": 2, "list_parts": 3, "list_uploads": 4, "get_tags": 2, "put_tags": 3, "delete_tags": 1,
    "create_bucket": 3, "delete_bucket": 2, "head_bucket": 1, "list_buckets": 1, "put_versioning": 2,
    "get_versioning": 1, "get_bucket_tags": 1, "put_bucket_tags": 1, "delete_bucket_tags": 0.5,
    "put_lifecycle": 1.5, "get_lifecycle": 0.5,
    "delete_lifecycle": 0.4, "put_cors": 1, "get_cors": 0.5, "delete_cors": 0.3, "preflight": 2, "post_object": 3, "put_lock": 0.7, "get_lock": 0.3, "put_retention": 1.5, "get_retention": 0.7, "put_hold": 1.5, "get_hold": 0.7,
}

WRITES = {"put_object", "copy_object", "delete_object", "delete_objects", "upload_part", "copy_part", "complete_upload",
          "create_upload", "abort_upload", "put_tags", "put_versioning", "delete_bucket",
          "put_lifecycle", "delete_lifecycle", "put_cors", "delete_cors", "post_object", "put_lock", "put_retention", "put_hold"}


class Generator:
    def __init__(self, rng, accounts):
        self.rng, self.accounts = rng, accounts
        words = [w for w in WORDS if w] + [w for w in WORDS if len(w) < 3]
        self.keys = [k for k in {"/".join(rng.choices(WORDS, k=rng.choice([1, 1, 2, 2, 3]))) for _ in range(30)} if k]
        self.keys = sorted(self.keys) + ["k" * 1024, "a/b/c", "a/b/d", "a/", "a"]
        self.ends = sorted({k[:rng.randrange(len(k)) + 1] for k in self.keys}) + words[:5]
        self.past_uploads = []          # (bucket, key, symbol) of some, also of those that are over

    def chance(self, p):
        return self.rng.random() < p

    def one(self, number):
        """The next operation."""
        user = self.rng.randrange(len(self.accounts))
        self.account = self.accounts[user]
        name = self.rng.choices(list(WEIGHTS), WEIGHTS.values())[0]
        op = {"id": number, "op": name, "user": user, "at": self.rng.randrange(2)}
        getattr(self, name)(op)
        if name != "preflight" and self.chance(0.05):
            op["origin"] = self.rng.choice(ORIGINS)
        if self.chance(0.12) and not op.get("trouble") and name != "preflight":
            self.sign_as(op)
        return op

    def sign_as(self, op):
        """One that may not do everything."""
        op["as"] = self.rng.choice([name for name in KEYS if name != "app" or op["op"] != "post_object"])
        is_plain = "photos" in self.account.buckets and not {"md5", "checksum", "lock"} & op.keys()
        if op["as"] == "part" and "bucket" in op and is_plain and self.chance(0.8):
            op["bucket"] = "photos"
            if op["op"] in LISTING:
                op["prefix"] = self.rng.choice(["a", "ab", "a/"])

    def write(self, number):
        """The next operation that changes something."""
        while True:
            op = self.one(number)
            if op["op"] in WRITES:
                return op

    # --- names ---

    def bucket(self, op, field="bucket"):
        there = list(self.account.buckets)
        choice = self.rng.random()
        op[field] = self.rng.choice(there) if there and choice < 0.96 else self.rng.choice(
            BUCKETS if choice < 0.98 else NO_BUCKETS)
        return self.account.buckets.get(op[field])

    def key(self, op, field="key", bucket="bucket", there=0.8):
        """One that is there, or any."""
        b = self.account.buckets.get(op[bucket])
        op[field] = self.rng.choice(list(b.keys)) if b and b.keys and self.chance(there) else self.rng.choice(self.keys)
        return b.keys.get(op[field], []) if b else []

    def version(self, op, versions, p=0.25, field="version"):
        """Perhaps one of these, or another that there may or may not be."""
        if not self.chance(p):
            return
        ids = [v.id for v in versions] + ["null"]
        op[field] = self.rng.choice(["@v0", "nonsense"]) if self.chance(0.1) else self.rng.choice(ids)

    def object(self, op, there=0.8):
        self.bucket(op)
        return self.key(op, there=there)

    # --- what is written ---

    def data(self, op, may_lie, large=0.03):
        """Content. MAY_LIE: nothing else is wrong about the operation, for which of two faults is told is open."""
        choice = self.rng.random()
        size = self.rng.choice(LARGE if choice < large else EDGES if choice < 0.2 else SMALL)
        op["data"] = [self.rng.randrange(3 if size > 1 << 20 else 1000), size]
        self.payload(op)
        self.claims(op, may_lie)

    def payload(self, op):
        choice = self.rng.random()
        if choice < 0.15:
            op["payload"] = "unsigned"
        elif choice < 0.3 and op["data"][1]:
            op["payload"] = "chunked"
        elif choice < 0.4:
            op["payload"] = self.rng.choice(["trailer", "signed-trailer"])

    def claims(self, op, may_lie):
        body = content(*op["data"])
        other = content(1, 77) if may_lie and self.chance(0.2) else body
        is_trailed = op.get("payload", "").endswith("trailer")
        if self.chance(0.1) and not is_trailed:
            op["md5"] = base64.b64encode(hashlib.md5(other).digest()).decode()
        elif is_trailed or self.chance(0.15):
            kind = self.rng.choice([kind for kind in KINDS if kind not in SLOW or len(body) <= SLOW_MAX])
            op["checksum"] = [kind, checksum_of(kind, other)]

    def link(self, op):
        """Perhaps as a presigned URL, which may be too old or from a time to come."""
        if not self.chance(0.08):
            return
        op["link"] = {"age": self.rng.choice([0, 5, 60, 60, -60]), "expires": self.rng.choice([3600, 604800])}
        if op.get("payload") in ("chunked", "trailer", "signed-trailer"):
            del op["payload"]
        if self.chance(0.2):
            op["link"] = self.rng.choice([{"age": 100, "expires": 10}, {"age": 700000, "expires": 604800},
                                          {"age": -2000, "expires": 100}, {"age": 0, "expires": 604801},
                                          {"age": 0, "expires": 0}])

    def headers(self, op):
        if self.chance(0.3):
            names = self.rng.sample(sorted(HEADERS), self.rng.randrange(1, 4))
            op["headers"] = {name: self.rng.choice(HEADERS[name]) for name in names}
            if self.chance(0.03) and not {"md5", "checksum"} & op.keys():
                op["headers"]["x-amz-meta-much"] = "y" * 2048
        if self.chance(0.2):
            op["tags"] = self.tags()

    def tags(self, most=4):
        words = self.rng.sample([w for w in TAG_WORDS if w], self.rng.randrange(most))
        return [[word, self.rng.choice(TAG_WORDS)] for word in words]

    def etag(self, versions, of_all=False):
        """Of the current object, another, or any."""
        now = versions[0] if versions and not versions[0].is_marker else None
        some = ['"' + "0" * 32 + '"', "*", '"x"']
        return f'"{now.etag}"' if now and self.chance(0.6) else self.rng.choice(some)

    def write_condition(self, op, versions):
        if self.chance(0.1):
            op["if_match"] = self.etag(versions)
        elif self.chance(0.1):
            op["if_none_match"] = "*"

    def read_condition(self, op, versions, prefix="", p=0.2):
        if not self.chance(p):
            return
        for name in self.rng.sample(["if_match", "if_none_match", "since", "unmodified"], self.rng.choice([1, 1, 2])):
            if name.startswith("if"):
                op[prefix + name] = self.etag(versions)
            elif versions and self.account.known.knows(versions[0].time):
                now = self.account.known.seconds(versions[0].time)
                full = "if_modified_since" if name == "since" else "if_unmodified_since"
                op[prefix + full] = [versions[0].time, self.rng.choice([-100, -1, 0, 1, 100])]
                assert now

    # --- operations ---

    def list_buckets(self, op):
        pass

    def create_bucket(self, op):
        op["locking"] = self.chance(0.3)
        op["bucket"] = self.rng.choice(NO_BUCKETS[1:] if self.chance(0.1) else LOCKING if op["locking"] else BUCKETS)
        if self.chance(0.3):
            op["tags"] = self.tags() or None

    def head_bucket(self, op):
        self.bucket(op)

    def delete_bucket(self, op):
        self.bucket(op)

    def put_versioning(self, op):
        self.bucket(op)
        op["status"] = self.rng.choice(["Enabled", "Enabled", "Suspended", "Off"])

    def get_versioning(self, op):
        self.bucket(op)

    def put_object(self, op):
        versions = self.object(op, there=0.5)
        self.data(op, op["bucket"] in self.account.buckets)
        self.headers(op)
        self.write_condition(op, versions)
        self.lock(op)
        self.link(op)

    def post_object(self, op):
        versions = self.object(op, there=0.5)
        op["filename"] = self.rng.choice(["a", "photo 1.jpg", "é.txt", "C:\\dir\\x", "a/b/c"])
        if self.chance(0.3):
            op["key"] = self.rng.choice([FILENAME, "a/" + FILENAME, FILENAME + FILENAME])
            bucket = self.account.buckets.get(op["bucket"])
            versions = bucket.keys.get(key_of(op), []) if bucket else []
        self.data(op, op["bucket"] in self.account.buckets)
        op.pop("payload", None)
        self.headers(op)
        self.write_condition(op, versions)
        self.lock(op)
        op["status"] = self.rng.choice([None, None, "200", "201", "204", "404"])
        if self.chance(0.1):
            op["redirect"] = self.rng.choice(["https://app.example.com/done", "http://a.example/?x=y"])
        if self.chance(0.1):
            op["trouble"] = self.rng.choice(sorted(TROUBLES))
        if self.chance(0.2) and op["bucket"] in self.account.buckets and "md5" not in op and "checksum" not in op:
            size = op["data"][1]
            op["range"] = self.rng.choice([[0, size], [size, size], [size + 1, size + 10], [0, max(0, size - 1)]])

    def source(self, op):
        self.bucket(op, "from_bucket")
        versions = self.key(op, "from_key", "from_bucket", there=0.9)
        self.version(op, versions, field="from_version")
        self.read_condition(op, versions, "from_", p=0.1)
        return versions

    def copy_object(self, op):
        self.source(op)
        self.object(op, there=0.3)
        if self.chance(0.3):
            op["directive"] = self.rng.choice(["COPY", "REPLACE"])
            self.headers(op)
            op.pop("tags", None)
        if self.chance(0.2):
            op["tag_directive"] = self.rng.choice(["COPY", "REPLACE"])
            op["tags"] = self.tags()
        self.lock(op)
        if self.chance(0.1):
            op["sum"] = self.copied_sum(op)

    def copied_sum(self, op):
        """The kind of a checksum that a copy shall have; a slow one only of a small source."""
        b = self.account.buckets.get(op["from_bucket"])
        largest = max((len(v.body) for v in b.keys.get(op["from_key"], [])), default=0) if b else 0
        return self.rng.choice([kind for kind in KINDS if kind not in SLOW or largest <= SLOW_MAX])

    def get_object(self, op):
        versions = self.object(op, there=0.9)
        self.version(op, versions)
        self.read_condition(op, versions)
        if self.chance(0.3):
            op["range"] = self.rng.choice(RANGES)
        if self.chance(0.1):
            names = self.rng.sample(sorted(RESPONSE), self.rng.randrange(1, 4))
            op["response"] = {name: RESPONSE[name] for name in names}
        op["checksum_mode"] = self.chance(0.3)
        self.link(op)

    def head_object(self, op):
        self.get_object(op)

    def delete_object(self, op):
        versions = self.object(op)
        self.version(op, versions, 0.4)
        op["bypass"] = self.chance(0.2)
        if self.chance(0.05) and not op.get("version"):
            op["if_match"] = self.etag(versions)
        self.link(op)

    def delete_objects(self, op):
        self.bucket(op)
        op["objects"], op["quiet"], op["bypass"] = [], self.chance(0.2), self.chance(0.2)
        for _ in range(self.rng.randrange(1, 6)):
            one = {"bucket": op["bucket"]}
            versions = self.key(one)
            self.version(one, versions, 0.4)
            if all(map(is_xml, one["key"])):
                op["objects"].append(one)
        if not op["objects"]:
            op["objects"] = [{"bucket": op["bucket"], "key": "a"}]

    def get_tags(self, op):
        self.version(op, self.object(op))

    def put_tags(self, op):
        self.version(op, self.object(op))
        op["tags"] = self.tags()
        if self.chance(0.1):
            op["tags"] = [[f"k{i}", "v"] for i in range(11)] if self.chance(0.5) else [["a", "1"], ["a", "2"]]

    def delete_tags(self, op):
        self.version(op, self.object(op))

    def get_bucket_tags(self, op):
        self.bucket(op)

    def put_bucket_tags(self, op):
        self.bucket(op)
        op["tags"] = self.tags()

    def delete_bucket_tags(self, op):
        self.bucket(op)

    # --- pages ---

    def some(self, of, least=0, most=3):
        return self.rng.sample(of, self.rng.randint(least, min(most, len(of))))

    def put_cors(self, op):
        self.bucket(op)
        op["rules"] = [{"id": self.rng.choice([None, "a", "<b>"]),
                        "origins": self.some([*ORIGINS, "*", "https://*.example.com", "http://*"], 1),
                        "methods": self.some(["GET", "HEAD", "PUT", "POST", "DELETE"], 1),
                        "headers": self.some(["*", "x-amz-*", "Content-Type", "*-md5"]),
                        "exposed": self.some(["ETag", "x-amz-version-id"]), "age": self.rng.choice([None, 0, 300])}
                       for _ in range(self.rng.randint(1, 3))]
        if self.chance(0.1):
            field, value = self.rng.choice([("origins", []), ("methods", []), ("methods", ["PATCH"]), ("origins", ["*:*"])])
            op["rules"][0][field] = value

    def get_cors(self, op):
        self.bucket(op)

    def delete_cors(self, op):
        self.bucket(op)

    def preflight(self, op):
        self.object(op)
        op["asks_from"], op["is_linked"] = self.rng.choice(ORIGINS), self.chance(0.7)
        op["method"] = self.rng.choice(["GET", "PUT", "POST", "DELETE"])
        if self.chance(0.5):
            op["headers"] = self.rng.choice(["x-amz-date,content-type", "Content-MD5", "authorization, x-amz-date"])

    # --- lifecycle ---

    def rule(self, name):
        """One of what is years away, except for delete markers of keys that never are."""
        action = self.rng.choice(["days", "days", "date", "markers", "noncurrent", "abort"])
        rule = {"id": name, "status": "Enabled" if self.chance(0.8) else "Disabled", "old": self.chance(0.2),
                "prefix": self.rng.choice([None, "", "a", "a/", self.rng.choice(self.ends)]), "tags": [], "over": None,
                "under": None, "days": None, "date": None, "markers": False, "noncurrent": None, "abort": None}
        if rule["prefix"] is None or not all(map(is_xml, rule["prefix"])):
            rule["prefix"] = "" if rule["old"] else None
        if not rule["old"] and action not in ("markers", "abort") or self.chance(0.05):
            rule["tags"] = self.tags(most=3) if self.chance(0.3) else []
            rule["over"], rule["under"] = self.rng.choice([None, 0, 5]), self.rng.choice([None, 5, 2000])
        rule[action] = {"days": self.rng.choice([3650, 4000, 9999]), "date": self.rng.choice(["2050-01-01", "2060-02-29"])
                        + "T00:00:00.000Z", "markers": True, "noncurrent": self.rng.choice([[3650], [4000, 7]]),
                        "abort": 4000}[action]
        if action == "markers":
            rule["prefix"] = "never/" + (rule["prefix"] or "")
        if rule["old"]:
            rule.update(tags=[], over=None, under=None)
        return rule

    def put_lifecycle(self, op):
        self.bucket(op)
        op["rules"] = [self.rule(self.rng.choice(["one", "two", "3 <&>", "ü"]) + str(i))
                       for i in range(self.rng.randint(1, 3))]
        if self.chance(0.1):
            field, value = self.rng.choice([("days", 0), ("status", "enabled"), ("transition", True), ("id", None)])
            op["rules"][-1][field] = op["rules"][0]["id"] if field == "id" else value

    def get_lifecycle(self, op):
        self.bucket(op)

    def delete_lifecycle(self, op):
        self.bucket(op)

    # --- locks ---

    def retention(self):
        return {"mode": self.rng.choice(["GOVERNANCE", "GOVERNANCE", "COMPLIANCE"]),
                "until": self.rng.choice(["2050-01-02T03:04:05Z", "2060-01-02T03:04:05Z", "2070-01-02T03:04:05Z"])}

    def lock(self, op):
        """Perhaps one that a write asks for. A wrong one only where nothing else is wrong."""
        bucket = self.account.buckets.get(op["bucket"])
        if not bucket or not self.chance(0.2 if bucket.has_lock else 0.01) or "x-amz-meta-much" in op.get("headers", {}):
            return
        asked = op["lock"] = self.retention() if self.chance(0.7) else {}
        if not asked or self.chance(0.3):
            asked["hold"] = self.rng.choice(["ON", "OFF"])
        if self.chance(0.1) and "mode" in asked and "md5" not in op and "checksum" not in op:
            asked[self.rng.choice(["mode", "until"])] = None
        elif self.chance(0.1) and "mode" in asked and "md5" not in op and "checksum" not in op:
            asked["until"] = PAST

    def lockable(self, op):
        """Mostly in a bucket for locks."""
        there = [name for name, b in self.account.buckets.items() if b.has_lock]
        if not there or self.chance(0.1):
            return self.version(op, self.object(op), 0.5)
        op["bucket"] = self.rng.choice(there)
        return self.version(op, self.key(op, there=0.95), 0.5)

    def put_lock(self, op):
        bucket = self.bucket(op)
        if bucket and bucket.versioning == "Enabled" and not bucket.has_lock and op["bucket"] != "backup-1":
            op["bucket"] = LOCKING[0]   # some buckets remain without
        op["default"] = None
        if self.chance(0.6):
            op["default"] = {"mode": self.rng.choice(["GOVERNANCE", "GOVERNANCE", "COMPLIANCE"]),
                             self.rng.choice(["days", "years"]): self.rng.choice([1, 2, 7, 7, 0])}

    def get_lock(self, op):
        self.bucket(op)

    def put_retention(self, op):
        self.lockable(op)
        op["lock"] = {} if self.chance(0.2) else self.retention()
        op["bypass"] = self.chance(0.4)
        if op["lock"] and self.chance(0.05):
            op["lock"]["until"] = PAST

    def get_retention(self, op):
        self.lockable(op)

    def put_hold(self, op):
        self.lockable(op)
        op["hold"] = self.rng.choice(["ON", "OFF", "OFF"])

    def get_hold(self, op):
        self.lockable(op)

    # --- parts ---

    def create_upload(self, op):
        self.object(op, there=0.3)
        self.headers(op)
        self.lock(op)
        if self.chance(0.4) and op["bucket"] in self.account.buckets and not op.get("lock"):
            kind = self.rng.choice(["crc32", "crc32", "sha1", "sha256", *SLOW])
            op["sum"] = [kind, self.rng.choice([None, "FULL_OBJECT", "COMPOSITE"])]
        self.past_uploads = [*self.past_uploads[-20:], (op["user"], op["bucket"], op["key"], f"@u{op['id']}")]

    def upload(self, op):
        """One that is under way, or was, or is another key's, or never was."""
        now = [(name, u.key, i) for name, b in self.account.buckets.items() for i, u in b.uploads.items()]
        past = [(b, key, i) for user, b, key, i in self.past_uploads if user == op["user"]]
        if now and self.chance(0.9):
            op["bucket"], op["key"], op["upload"] = self.rng.choice(now[-8:])
        elif past and self.chance(0.6):
            op["bucket"], op["key"], op["upload"] = self.rng.choice(past)
        else:
            self.object(op)
            op["upload"] = self.rng.choice([i for _, _, i in now + past] + ["@u0", "x"])
        bucket = self.account.buckets.get(op["bucket"])
        found = bucket.uploads.get(op["upload"]) if bucket else None
        return found if found and found.key == op["key"] else None

    def upload_part(self, op):
        upload = self.upload(op)
        op["number"] = self.rng.choice([1, 1, 2, 2, 3, 7, 10000, 0, 10001] if self.chance(0.2) else [1, 2, 3, 5])
        self.data(op, upload and 1 <= op["number"] <= 10000, large=0.25)
        wanted = upload.checksum if upload else None
        if wanted and wanted[0] in SLOW and op["data"][1] > SLOW_MAX:
            op["data"] = [0, 5 << 20 if self.chance(0.3) else 100]
            op.pop("checksum", None), op.pop("md5", None)
            op["payload"] = "hash"
        elif wanted and op.get("checksum") and self.chance(0.9):
            op["checksum"] = [wanted[0], checksum_of(wanted[0], content(*op["data"]))]
        self.link(op)

    def copy_part(self, op):
        upload = self.upload(op)
        op["number"] = self.rng.choice([1, 2, 3, 4])
        versions = self.source(op)
        if upload and upload.checksum and upload.checksum[0] in SLOW:
            op["range"] = [0, self.rng.randrange(100)]
            return
        if self.chance(0.5):
            size = len(versions[0].body) if versions else 10
            first = self.rng.randrange(size + 1)
            op["range"] = [first, first + self.rng.randrange(size + 2)]

    def complete_again(self, op):
        """One of those completed last; the server remembers 100."""
        done = [(name, key, i, parts) for name, b in self.account.buckets.items()
                for i, (key, _, _, parts) in b.completed.items()][-20:]
        if done:
            op["bucket"], op["key"], op["upload"], parts = self.rng.choice(done)
            op["parts"] = [list(one) for one in parts]
        return bool(done)

    def complete_upload(self, op):
        if not (self.chance(0.2) and self.complete_again(op)):
            self.complete_parts(op)
        if self.chance(0.15):
            self.spoil(op["parts"])
        bucket = self.account.buckets.get(op["bucket"])
        self.write_condition(op, bucket.keys.get(op["key"], []) if bucket else [])

    def complete_parts(self, op):
        upload = self.upload(op)
        there = sorted(upload.parts.items()) if upload else []
        if self.chance(0.3):
            there = [one for one in there if self.chance(0.7)]
        if there and self.chance(0.7):  # all but the last have to be large
            there = [one for one in there[:-1] if len(one[1][1]) >= 5 << 20] + there[-1:]
        op["parts"] = [[n, f'"{hashlib.md5(body).hexdigest()}"', *([checksum] if checksum and self.chance(0.5) else [])]
                       for n, (_, body, checksum) in there]

    def spoil(self, parts):
        choice = self.rng.randrange(5)
        if choice == 0:
            self.rng.shuffle(parts)
        elif choice == 1 and parts:
            self.rng.choice(parts)[1] = '"' + "1" * 32 + '"'
        elif choice == 2 and parts:
            parts.append(list(parts[-1]))
        elif choice == 3 and parts:
            parts[0][2:] = [["sha1", checksum_of("sha1", b"other")]]
        else:
            parts.append([9000, "2" * 32])

    def abort_upload(self, op):
        self.upload(op)

    def list_parts(self, op):
        self.upload(op)
        if self.chance(0.5):
            op["max"] = self.rng.choice([1, 1, 2, 3, 0, 1000, 5000])
        if self.chance(0.4):
            op["after"] = self.rng.choice([0, 1, 2, 3, 9999])

    # --- listings ---

    def listing(self, op):
        self.bucket(op)
        if self.chance(0.5):
            op["prefix"] = self.rng.choice(self.ends)
        if self.chance(0.5):
            op["delimiter"] = self.rng.choice(["/", "/", "/", "a", "b/", "%", "é"])
        if self.chance(0.5):
            op["max"] = self.rng.choice([1, 1, 2, 3, 5, 1000, 0, 2000])
        if self.chance(0.3):
            op["after"] = self.rng.choice(self.ends + self.keys)
        op["url"] = self.chance(0.5)

    def list_objects(self, op):
        self.listing(op)
        op["list"] = self.rng.choice([1, 2, 2])
        if op["list"] == 1:
            return
        op["owner"] = self.chance(0.2)
        tokens = list(self.account.tokens)
        if tokens and self.chance(0.3):
            op["token"] = self.rng.choice(tokens[-5:] + ["@t0"])

    def list_versions(self, op):
        self.listing(op)
        bucket = self.account.buckets.get(op["bucket"])
        if bucket and bucket.keys and self.chance(0.4):
            op["after"] = self.rng.choice(list(bucket.keys))
            op["version_marker"] = self.rng.choice(bucket.keys[op["after"]]).id

    def list_uploads(self, op):
        self.listing(op)
        bucket = self.account.buckets.get(op["bucket"])
        if bucket and bucket.uploads and self.chance(0.4):
            op["upload_marker"], upload = self.rng.choice(list(bucket.uploads.items()))
            op["after"] = upload.key
