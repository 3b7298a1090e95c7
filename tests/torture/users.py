"""Clients that write unique values and record every answer: one process, many threads.

	users.py SETUP.json NUMBER OUT

Each line of OUT is one operation: its times (of CLOCK_MONOTONIC, in ns), what was asked and what was
answered; history.py reads it. A request is never repeated: what became of it would not be known.
"""
import http.client
import json
import re
import sys
import threading
import time
import urllib.parse

import content
import s3
from schedule import HOT, REGIONS, stream

KIB, MIB = 1 << 10, 1 << 20
BUCKETS = ("files", "backup-a")         # a vault each
KEYS_EACH = 3                           # in each bucket
PART = 5 * MIB                          # of an upload in two parts; the other is smaller
TIMEOUT_S = 15


def keys_of(bucket):
    return [f"{bucket}/k{i}" for i in range(KEYS_EACH)]


class Connection(s3.Client):
    """Of one thread to one region, for all accounts."""

    def __init__(self, address, tls):
        super().__init__(address, {"access_key": "", "secret_key": ""}, tls, TIMEOUT_S)
        self.signing_keys = {}

    def act_for(self, account):
        self.key, self.secret = account["access_key"], account["secret_key"]
        self.signing = self.signing_keys.get(self.key, (None, None))

    def once(self, method, path, body=None, query="", headers=None):
        """(status, etag, body), or (None, None, why) if there was no answer. *Sent* in it: a little may have been."""
        sent = False
        try:
            if self.connection is None:
                self.connection = http.client.HTTPSConnection(*self.address, timeout=self.timeout, context=self.tls)
                self.connection.connect()
            signed = self._headers(method, path, query)
            self.signing_keys[self.key] = self.signing
            sent = True
            self.connection.request(method, urllib.parse.quote(path) + (f"?{query}" if query else ""), body,
                                    {**signed, **(headers or {})})
            answer = self.connection.getresponse()
            return answer.status, (answer.headers["ETag"] or "").strip('"'), answer.read()
        except (OSError, http.client.HTTPException) as problem:
            self.close()
            return None, None, ("sent " if sent else "") + type(problem).__name__


class User(threading.Thread):
    """Does one thing after the other. What it does follows from the seed and its number."""

    def __init__(self, setup, number, out):
        super().__init__(daemon=True)
        self.setup, self.number, self.out = setup, number, out
        self.draw, self.count, self.known = stream(setup["seed"], f"user {number}"), 0, {}
        tls = s3.context(setup["ca"])
        self.lines = {r: Connection(tuple(setup["addresses"][r]), tls) for r in REGIONS}

    def run(self):
        while time.monotonic() < self.setup["until"]:
            self.step()
            time.sleep(self.draw.expovariate(1 / self.setup["pause"]))

    def step(self):
        d, accounts = self.draw, self.setup["accounts"]
        hot = d.random() < 0.4
        which = d.randrange(min(HOT, len(accounts))) if hot else d.randrange(len(accounts))
        bucket, region, act = d.choice(BUCKETS), d.choice(REGIONS), d.random()
        key, size, is_large = d.choice(keys_of(bucket)), self.size(), which % 10 == 3 and d.random() < 0.05
        self.line, self.via = self.lines[region], region
        self.line.act_for(accounts[which])
        self.which, self.key = which, f"{which}/{key}"
        if hot and act < 0.1:           # without rest, so that some are inside when a move comes
            for _ in range(d.randint(3, 10)):
                self.put(d.choice(keys_of(bucket)), 100)
        elif act < 0.40:
            self.put(key, d.randint(4 * MIB, 9 * MIB) if is_large else size)
        elif act < 0.405 or (is_large and act < 0.7):
            self.multipart(key)
        elif act < 0.48:
            self.delete(key)
        elif act < 0.53:
            self.create(key, size)
        elif act < 0.57:
            self.replace(key, size)
        elif act < 0.62:
            self.list(bucket)
        elif act < 0.66:
            self.read("HEAD", key)
        else:
            self.read("GET", key)

    def size(self):
        d = self.draw
        return d.choice([d.randint(12, 200), d.randint(200, 4000), d.randint(12, 30000) if d.random() < 0.5 else 300,
                         d.randint(33 * KIB, 300 * KIB) if d.random() < 0.2 else 100])

    def note(self, op, began, status, **more):
        self.out(json.dumps({"user": self.number, "op": op, "key": self.key, "via": self.via, "began": began,
                             "ended": time.monotonic_ns(), "status": status, **more}) + "\n")

    def ask(self, method, path, body=None, query="", headers=None):
        """(when it began, status, etag, body or why)"""
        began = time.monotonic_ns()
        return (began, *self.line.once(method, "/" + path, body, query, headers))

    def next_number(self):
        self.count += 1
        return self.number * 10_000_000 + self.count

    def write(self, op, key, size, headers=None, **more):
        number = self.next_number()
        body = content.make(number, size)
        began, status, etag, why = self.ask("PUT", key, body, "", headers)
        self.note(op, began, status, value=number, etag=content.etag([body]), why=text(status, why), **more)
        if status == 200:
            self.known[self.key] = etag

    def put(self, key, size):
        self.key = f"{self.which}/{key}"
        self.write("put", key, size)

    def create(self, key, size):
        """Only if it is not there."""
        self.write("create", key, size, {"If-None-Match": "*"})

    def replace(self, key, size):
        """Only if it is what this user saw last."""
        seen = self.known.get(self.key)
        if not seen:
            self.read("HEAD", key)
            return
        self.write("replace", key, size, {"If-Match": f'"{seen}"'}, seen=seen)

    def delete(self, key):
        began, status, _, why = self.ask("DELETE", key)
        self.note("delete", began, status, why=text(status, why))

    def read(self, method, key):
        began, status, etag, body = self.ask(method, key)
        if method == "GET" and status == 200:
            self.note("get", began, status, value=content.number_of(body))
        else:
            self.note(method.lower(), began, status, etag=etag, why=text(status, body))
        if status == 200:
            self.known[self.key] = etag

    def list(self, bucket):
        began, status, _, body = self.ask("GET", bucket, query="list-type=2")
        found = {}
        if status == 200:
            for entry in re.findall(r"<Contents>(.*?)</Contents>", body.decode(), re.S):
                name, = re.findall("<Key>(.*?)</Key>", entry)
                etag, = re.findall("<ETag>(.*?)</ETag>", entry)
                found[f"{bucket}/{name}"] = etag.replace("&quot;", "").strip('"')
        self.key = self.key.split("/")[0] + "/" + bucket
        self.note("list", began, status, found=found, keys=keys_of(bucket), why=text(status, body))

    def multipart(self, key):
        number = self.next_number()
        body = content.make(number, PART + self.draw.randint(64 * KIB, MIB))
        parts = [body[:PART], body[PART:]]
        began, status, _, answer = self.ask("POST", key, query="uploads=")
        if status != 200:
            self.note("begin-upload", began, status, why=text(status, answer))
            return
        upload = re.findall("<UploadId>(.*?)</UploadId>", answer.decode())[0]
        listed = ""
        for i, part in enumerate(parts, 1):
            began, status, etag, answer = self.ask("PUT", key, part, f"partNumber={i}&uploadId={upload}")
            if status != 200:
                self.note("part", began, status, why=text(status, answer))
                return
            listed += f"<Part><PartNumber>{i}</PartNumber><ETag>{etag}</ETag></Part>"
        listed = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        began, status, _, answer = self.ask("POST", key, listed, f"uploadId={upload}")
        if status == 200 and b"<Error>" in answer:
            status = 500
        self.note("complete", began, status, value=number, etag=content.etag(parts), why=text(status, answer))


def text(status, body):
    """Why it failed, shortly."""
    if status in (200, 204):
        return None
    if isinstance(body, str):
        return body
    return body.decode(errors="replace").partition("<Code>")[2].partition("</Code>")[0]


def main():
    with open(sys.argv[1]) as f:
        setup = json.load(f)
    lock = threading.Lock()
    with open(sys.argv[3], "w", buffering=1) as f:
        def out(line):
            with lock:
                f.write(line)
        first = int(sys.argv[2]) * setup["threads"]
        users = [User(setup, first + i, out) for i in range(setup["threads"])]
        for user in users:
            user.start()
        for user in users:
            user.join()


if __name__ == "__main__":
    main()
