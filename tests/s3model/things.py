"""What the model is made of: answers, buckets, versions, uploads."""
import hashlib

NO_LOCK = {"mode": None, "until": None, "hold": None}


class Expected(Exception):
    """An answer; raised where nothing is changed."""

    def __init__(self, status, code=None, headers=None, body=b"", xml=None):
        super().__init__(code or status)
        self.status, self.code, self.headers, self.body, self.xml = status, code, headers or {}, body, xml


class Version:
    def __init__(self, time, body=b"", etag=None, headers=None, tags=None, checksum=None, is_marker=False):
        self.id, self.time, self.body, self.headers, self.tags = None, time, body, headers or {}, tags or []
        self.etag = etag or hashlib.md5(body).hexdigest()
        self.checksum, self.is_marker, self.lock = checksum, is_marker, NO_LOCK


class Upload:
    def __init__(self, key, time, headers, tags, lock=None, checksum=None):
        self.key, self.time, self.headers, self.tags, self.lock = key, time, headers, tags, lock
        self.checksum = checksum        # that its object shall have: [kind, whether of the whole]
        self.parts = {}                 # number -> (time, body, checksum)


class Bucket:
    def __init__(self, time):
        self.time, self.versioning, self.tags = time, None, None
        self.cors, self.rules = None, None              # of pages; of its lifecycle
        self.has_lock, self.default = False, None       # made for locks; {"mode", "days" or "years"}
        self.keys = {}                  # key -> its versions, the newest first
        self.uploads, self.completed = {}, {}
