"""Steady readers and writers: each client writes values that nobody else writes, remembers what was
acknowledged, reads it back at random and compares."""
import random
import threading
import time

from s3 import Client


class Steady(threading.Thread):
    """One user's device. `account` has credentials; `address()` says where it connects now."""

    def __init__(self, account, address, tls, pause):
        super().__init__(daemon=True)
        self.account, self.address, self.tls, self.pause = account, address, tls, pause
        self.random = random.Random(account["account"])
        self.acked = {}             # key -> value
        self.maybe = {}             # key -> values whose fate is not known
        self.requests = self.failed = 0
        self.failures = []
        self.reads_ms = []
        self.stopping = threading.Event()

    def run(self):
        client, at, serial = None, None, 0
        while not self.stopping.is_set():
            now = self.address(self.account)
            if now != at:
                if client:
                    client.close()
                client, at = Client(now, self.account, self.tls), now
            serial += 1
            key = f"/notes/{self.random.randrange(20)}"
            try:
                if serial % 2:
                    self.write(client, key, f"{self.account['account']} {serial} {self.random.random()}")
                else:
                    self.read(client, key)
            except OSError as problem:
                self.fail(f"{key}: {problem!r}")
                client.close()
            self.stopping.wait(self.pause)

    def fail(self, text):
        self.failed += 1
        self.failures.append(text)

    def write(self, client, key, value):
        self.requests += 1
        self.maybe.setdefault(key, []).append(value)
        status, body = client.request("PUT", key, value.encode())
        if status == 200:
            self.acked[key], self.maybe[key] = value, []
        else:
            self.fail(f"PUT {key}: {status} {body[:200]!r}")

    def read(self, client, key):
        if key not in self.acked:
            return
        self.requests += 1
        start = time.monotonic()
        status, body = client.request("GET", key)
        self.reads_ms.append((time.monotonic() - start) * 1000)
        if status != 200:
            self.fail(f"GET {key}: {status} {body[:200]!r}")
        elif body.decode() != self.acked[key] and body.decode() not in self.maybe.get(key, []):
            self.fail(f"GET {key}: {body!r} is not what was written, {self.acked[key]!r}")

    def stop(self):
        self.stopping.set()


def check_all(clients, address, tls):
    """Read every acknowledged value again: (how many, list of what is wrong)."""
    wrong, n = [], 0
    for c in clients:
        reader = Client(address(c.account), c.account, tls)
        for key in list(c.acked):
            n += 1
            for _ in range(5):          # the owner may be writing this very key
                before = c.acked[key]
                status, body = reader.request("GET", key)
                good = status == 200 and body.decode() in [before, c.acked[key]] + c.maybe.get(key, [])
                if good:
                    break
            if not good:
                wrong.append(f"{c.account['account']} {key}: {status} {body[:80]!r}, not {before!r}")
        reader.close()
    return n, wrong
