#!/usr/bin/python3
"""Measure, beside what a user would take instead and beside what the machine itself allows, in one run.

    ./run bench [http] [radosgw] [list] [moves] [pause] [memory] [--seconds S] [--json FILE]

Figures vary from machine to machine: read the ratios.
"""
import argparse
import concurrent.futures
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "demo")]
from others import Absent, Minio, Nginx, Radosgw
from world import BUILD, Failure, World, run

LOAD, BARE = os.path.join(BUILD, "bench", "load"), os.path.join(BUILD, "bench", "bare")
RESULTS = {}


def say(text=""):
    print(text, flush=True)


def load(*words):
    done = subprocess.run([LOAD, *[str(w) for w in words]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=1800)
    if not done.stdout:
        raise Failure(f"load {words}: {done.stderr.decode()}")
    return json.loads(done.stdout)


class Bench:
    def __init__(self, options):
        self.options = options
        self.dir = tempfile.mkdtemp(prefix="domicile-bench-", dir=options.dir)
        self.world = World(self.dir, options.port)
        self.others = []

    def close(self):
        for other in self.others:
            other.close()
        self.world.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def accounts(self, region, country, n):
        made = region.json("account", "create", "--country", country, "--grant", "files,backup", "--count", n)
        return made if isinstance(made, list) else made["accounts"]

    def rss(self, region):
        with open(f"/proc/{region.process.pid}/status") as f:
            return int(next(line for line in f if line.startswith("VmRSS")).split()[1]) / 1024

    def accounts_file(self, accounts, name):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            json.dump(accounts, f)
        return path

    # --- HTTP ---

    def start_others(self, region):
        """Beside nginx, whatever was asked for or is there."""
        kinds = [Nginx] + ([Radosgw] if "radosgw" in self.options.parts else []) + ([Minio] if shutil.which("minio") else [])
        for n, kind in enumerate(kinds):
            try:
                self.others.append(kind(self.dir, self.options.port + 80 + 2 * n, region, self.world.ca))
            except Absent as e:
                say(f"  {e}")

    def http(self):
        bare = json.loads(run(BARE, self.dir))
        RESULTS["bare"] = bare
        say("The machine, one core: " + ", ".join(f"{k} {v}" for k, v in bare.items()))
        region = self.world.add_region("cn-bj", "CN", relays=False, words=["--s3-plain"])
        accounts = self.accounts(region, "CN", 64)
        words = ["--ca", self.world.ca, "--accounts", self.accounts_file(accounts, "http.json")]
        one = ["--ca", self.world.ca, "--accounts", self.accounts_file(accounts[:1], "one.json")]
        ours = {"https": f"https://127.0.0.1:{region.s3[1]}", "http": "http://" + region.word("s3_plain_listen")}
        self.start_others(region)
        # every small object is there, so that what is read at random was written
        load("fill", "--url", ours["https"], *words, "--bucket", "bench", "--name", "s4096-", "--objects", 64,
             "--size", 4096)
        for other in self.others:
            if other.signs:
                load("fill", "--url", other.urls["http"], *other.words, "--bucket", "bench", "--objects", 1)
            # as many there as our accounts have together
            load("put", "--url", other.urls["http"], *other.words, "--bucket", "bench", "--name", "s4096-",
                 "--objects", 4096, "--size", 4096, "--each", "--connections", 16)
        say(f"{'':24}{'Domicile':>14}" + "".join(f"{o.name:>14}{'ratio':>7}" for o in self.others)
            + "   p50 / p99 in us, then as well")
        RESULTS["http"] = []
        rows = [(verb, 4096, c) for verb in ("put", "get") for c in (1, 16, 64)]
        rows += [(verb, 1 << 20, c) for verb in ("put", "get") for c in (1, 16, 64)]
        rows += [(verb, 256 << 20, 1) for verb in ("put", "get")]
        for scheme in ("http", "https"):
            for verb, size, connections in rows:
                # the same few accounts for large objects, so that what is read was written
                self.http_row(scheme, verb, size, connections, ours, words if size < 1 << 20 else one, bare)
        self.world.stop()

    def http_row(self, scheme, verb, size, connections, ours, words, bare):
        objects = {4096: 64, 1 << 20: 16}.get(size, 1)
        seconds = self.options.seconds * (1 if size < 100 << 20 else 2)

        def measure(url, words, objects):
            return load(verb, "--url", url, *words, "--objects", objects, "--size", size, "--connections", connections,
                        "--seconds", seconds, "--name", f"s{size}-", "--bucket", "bench")

        a = measure(ours[scheme], words, objects)
        figure, unit = ("per_s", "/s") if size < 1 << 20 else ("mb_per_s", "MB/s")
        name = f"{scheme:5} {verb} {size >> 10:>6} KiB x{connections}"
        text, times = f"{name:24}{a[figure]:>9.0f} {unit:4}", [f"{a['p50_us']} / {a['p99_us']}"]
        row = {"row": name, "Domicile": a}
        for other in self.others:
            if scheme not in other.urls:
                text += f"{'-':>14}{'':>7}"
                continue
            b = row[other.name] = measure(other.urls[scheme], other.words, 4096 if size == 4096 else objects)
            text += f"{b[figure]:>9.0f} {unit:4}{a[figure] / b[figure] if b[figure] else 0:>7.2f}"
            times.append(f"{other.name} {b['p50_us']} / {b['p99_us']}" + (f" FAILED {b['failed']}" if b["failed"] else ""))
        note = f"; {a[figure] / bare['md5_mb_s']:.0%} of MD5 alone" if verb == "put" and size >= 1 << 20 else ""
        if verb == "put" and connections == 1 and size == 4096:
            note = f"; one fdatasync: {bare['fdatasync_4k_us']:.0f} us"
        failed = f" FAILED {a['failed']}" if a["failed"] else ""
        say(text + "   " + "; ".join(times) + failed + note)
        RESULTS["http"].append(row)

    # --- listings ---

    def list(self):
        """A bucket of many keys, in folders of 1,000."""
        keys = self.options.keys
        region = self.world.add_region("cn-bj", "CN", relays=False)
        base = ["--url", f"https://127.0.0.1:{region.s3[1]}", "--ca", self.world.ca, "--accounts",
                self.accounts_file(self.accounts(region, "CN", 1), "list.json"), "--bucket", "bench", "--name", "d",
                "--folder", 1000, "--size", 16]
        load("fill", *base, "--objects", 1)
        put = load("put", *base, "--objects", keys, "--each", "--connections", 32)
        say(f"A bucket of {keys:,} keys in folders of 1,000: written at {put['per_s']:.0f}/s over 32 connections")
        result = RESULTS["list"] = {"keys": keys, "put": put}
        for what, words in (("1,000 keys", []), ("1,000 folders", ["--folded"])):
            first = load("list", *base, *words, "--objects", 1, "--connections", 1, "--seconds", self.options.seconds)
            other = load("list", *base, *words, "--objects", keys, "--connections", 1, "--seconds", self.options.seconds)
            result[what] = {"first": first, "any": other}
            say(f"  {what}: the first page p50 {first['p50_us'] / 1000:.1f} ms, p99 {first['p99_us'] / 1000:.1f}; any page "
                f"p50 {other['p50_us'] / 1000:.1f} ms, p99 {other['p99_us'] / 1000:.1f}"
                + (f"; FAILED {first['failed'] + other['failed']}" if first["failed"] + other["failed"] else ""))
        result["rss_mb"] = self.rss(region)
        say(f"  memory of the node: {result['rss_mb']:.0f} MB")
        self.world.stop()

    # --- moves ---

    def two_regions(self):
        source = self.world.add_region("cn-bj", "CN", relays=False)
        return source

    def wave(self, source, target, accounts=None, words=()):
        if accounts:
            path = os.path.join(self.dir, "list")
            with open(path, "w") as f:
                f.write("".join(a["account"] + "\n" for a in accounts))
            words = [*words, "--accounts", path]
        plan = source.json("wave", "plan", "--from", source.name, "--to", target.name, *words)
        wave = plan["wave"] if isinstance(plan["wave"], str) else plan["wave"]["id"]
        start = time.monotonic()
        source.cli("wave", "run", wave)
        moved = None
        while True:
            status = source.json("wave", "status", wave)
            items = status["items"]
            if moved is None and not items.get("waiting", 0) + items.get("moving", 0) + items.get("put-off", 0):
                moved = time.monotonic() - start
            if status["state"] == "done":
                return status, moved, time.monotonic() - start
            time.sleep(0.05)

    def rclone(self, source, target, a, b):
        e = {"PATH": os.environ["PATH"], "HOME": self.dir, "RCLONE_CONFIG": os.path.join(self.dir, "none"),
             "RCLONE_CA_CERT": self.world.ca}
        for name, region, account in (("A", source, a), ("B", target, b)):
            e.update({f"RCLONE_CONFIG_{name}_TYPE": "s3", f"RCLONE_CONFIG_{name}_PROVIDER": "Other",
                      f"RCLONE_CONFIG_{name}_ACCESS_KEY_ID": account["access_key"],
                      f"RCLONE_CONFIG_{name}_SECRET_ACCESS_KEY": account["secret_key"],
                      f"RCLONE_CONFIG_{name}_ENDPOINT": f"https://127.0.0.1:{region.s3[1]}"})
        run("rclone", "sync", "A:mail", "B:mail", "--transfers", "8", "--checkers", "8", env=e)

    def moves(self):
        source = self.two_regions()
        n, objects = self.options.moved, 20
        small = self.accounts(source, "MY", n)
        path = self.accounts_file(small, "small.json")
        load("fill", "--url", f"https://127.0.0.1:{source.s3[1]}", "--ca", self.world.ca, "--accounts", path,
             "--bucket", "mail", "--objects", objects, "--size", 2048, "--connections", 16)
        large = self.accounts(source, "MY", 1)
        one = self.accounts_file(large, "large.json")
        load("fill", "--url", f"https://127.0.0.1:{source.s3[1]}", "--ca", self.world.ca, "--accounts", one,
             "--bucket", "mail", "--objects", 4, "--size", 256 << 20, "--connections", 1)
        target = self.world.add_region("sg", "SG", relays=False)
        say(f"Moves, {n} accounts of {objects} objects of 2 KiB; one account of 1 GiB")
        some = small[:self.options.rclone_accounts]
        spare = self.accounts(target, "SG", len(some) + 1)
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda ab: self.rclone(source, target, *ab), zip(some, spare)))
        rate = len(some) / (time.monotonic() - start)
        start = time.monotonic()
        self.rclone(source, target, large[0], spare[-1])
        rclone_mb = 1024 * 1.048576 / (time.monotonic() - start)
        status, moved, erased = self.wave(source, target, small)
        ours = n / moved
        say(f"  small accounts: {ours:.0f} accounts/s, {status['bytes'] / moved / 1e6:.0f} MB/s (erased and compacted after "
            f"{erased:.1f} s); rclone sync, 4 at a time: {rate:.1f} accounts/s; ratio {ours / rate:.0f}")
        big, took, _ = self.wave(source, target, large)
        pipe = self.tls_pipe()
        mb = big["bytes"] / took / 1e6
        say(f"  one account of 1 GiB: {mb:.0f} MB/s; rclone sync: {rclone_mb:.0f} MB/s, ratio {mb / rclone_mb:.2f}; TLS pipe "
            f"(socat) into a synced file: {pipe:.0f} MB/s, ratio {mb / pipe:.2f}")
        RESULTS["moves"] = {"accounts_per_s": ours, "rclone_accounts_per_s": rate, "large_mb_s": mb,
                            "rclone_large_mb_s": rclone_mb, "tls_pipe_mb_s": pipe, "erased_s": erased}
        self.world.stop()

    def tls_pipe(self):
        """1 GiB through TLS into a file that is synced at the end: the physical limit."""
        region, port = self.world.regions["sg"], self.options.port + 90
        out = os.path.join(self.dir, "pipe")
        e = f"cert={region.path('tls_cert')},key={region.path('tls_key')},verify=0"
        server = subprocess.Popen(["socat", "-b", "262144", "-u", f"OPENSSL-LISTEN:{port},bind=127.0.0.1,reuseaddr,{e}",
                                   f"OPEN:{out},creat,trunc,wronly"])
        time.sleep(0.5)
        source = os.path.join(self.dir, "source")
        with open(source, "wb") as f:
            block = random.randbytes(1 << 20)
            for _ in range(1024):
                f.write(block)
        os.sync()
        start = time.monotonic()
        run("socat", "-b", "262144", "-u", f"OPEN:{source},rdonly", f"OPENSSL:127.0.0.1:{port},verify=0")
        server.wait()
        fd = os.open(out, os.O_RDWR)
        os.fsync(fd)
        os.close(fd)
        rate = 1024 * 1.048576 / (time.monotonic() - start)
        os.unlink(source)
        os.unlink(out)
        return rate

    # --- pause ---

    def pause(self):
        source = self.two_regions()
        accounts = self.accounts(source, "MY", 1)
        path = self.accounts_file(accounts, "hot.json")
        load("fill", "--url", f"https://127.0.0.1:{source.s3[1]}", "--ca", self.world.ca, "--accounts", path, "--bucket",
             "bench", "--objects", 40, "--size", 1024)
        target = self.world.add_region("sg", "SG", relays=False)
        here, there, server, client = source, target, [], []
        for _ in range(self.options.pauses):
            result = {}
            def write():
                result.update(load("put", "--url", f"https://127.0.0.1:{here.s3[1]}", "--ca", self.world.ca, "--accounts",
                                   path, "--bucket", "bench", "--objects", 40, "--size", 1024, "--connections", 4, "--rate",
                                   200, "--seconds", 4))
            writer = threading.Thread(target=write)
            writer.start()
            time.sleep(1)
            status, _, _ = self.wave(here, there)
            writer.join()
            if result["failed"]:
                say(f"  FAILED requests: {result['failed']}")
            pause = status.get("pause_us") or status["pause"]
            server.append(pause["max"] / 1000)
            client.append(result["max_us"] / 1000)
            here, there = there, here
        q = lambda v, p: sorted(v)[min(len(v) - 1, int(len(v) * p))]
        say(f"Pause of an account under 200 writes/s, {len(client)} moves on loopback, as the client saw it: p50 "
            f"{statistics.median(client):.1f} ms, p99 {q(client, .99):.1f}, max {max(client):.1f}; between fence and release: p50 "
            f"{statistics.median(server):.1f}, p99 {q(server, .99):.1f}, max {max(server):.1f}")
        RESULTS["pause"] = {"client_ms": client, "gate_ms": server}
        self.world.stop()

    # --- memory ---

    def memory(self):
        region = self.world.add_region("cn-bj", "CN", relays=False)
        empty = self.rss(region)
        accounts = []
        for _ in range(10):
            accounts += self.accounts(region, "CN", 1000)
        made = self.rss(region)
        path = self.accounts_file(accounts[:1000], "open.json")
        load("fill", "--url", f"https://127.0.0.1:{region.s3[1]}", "--ca", self.world.ca, "--accounts", path, "--bucket", "bench",
             "--objects", 5, "--size", 2048)
        opened = self.rss(region)
        with open(os.path.join(self.dir, "metrics"), "w") as f:
            f.write(run("curl", "-s", f"http://{region.metrics}/metrics"))
        say(f"Memory: {empty:.0f} MB empty, {made:.0f} MB with 10,000 accounts, {opened:.0f} MB with 1,000 of them open and written to")
        one = self.accounts_file(accounts[-1:], "large.json")
        words = ["--url", f"https://127.0.0.1:{region.s3[1]}", "--ca", self.world.ca, "--accounts", one, "--bucket", "bench"]
        size = self.options.large << 30
        load("fill", *words, "--objects", 1, "--size", size)
        put = self.rss(region)
        load("get", *words, "--objects", 1, "--size", size, "--connections", 1, "--seconds", 0.1)
        got = self.rss(region)
        say(f"  {put:.0f} MB after an object of {self.options.large} GiB was written, {got:.0f} MB after it was read")
        RESULTS["memory"] = {"empty_mb": empty, "accounts_mb": made, "open_mb": opened, "put_mb": put, "get_mb": got}
        self.world.stop()


def main():
    p = argparse.ArgumentParser(prog="./run bench", description=__doc__.split("\n\n")[0])
    p.add_argument("parts", nargs="*", default=[], help="http, radosgw (a column more in http), list, moves, pause, memory "
                   "(all but radosgw)")
    p.add_argument("--seconds", type=float, default=3, help="for each row of http (3)")
    p.add_argument("--keys", type=int, default=1000000, help="in the bucket of list (1000000)")
    p.add_argument("--large", type=int, default=5, metavar="GIB", help="the object of memory (5)")
    p.add_argument("--moved", type=int, default=2000, help="small accounts in a move (2000)")
    p.add_argument("--rclone-accounts", type=int, default=40, help="of them also synced by rclone (40)")
    p.add_argument("--pauses", type=int, default=10, help="moves of the busy account (10)")
    p.add_argument("--port", type=int, default=8300)
    p.add_argument("--dir", help="on which disk (TMPDIR)")
    p.add_argument("--json", metavar="FILE", help="write the figures there")
    options = p.parse_args()
    known = ["http", "list", "moves", "pause", "memory"]
    for part in options.parts:
        if part not in [*known, "radosgw"]:
            p.error(f"there is no part {part}")
    for part in known:
        if options.parts and part not in ["http" if p == "radosgw" else p for p in options.parts]:
            continue
        bench = Bench(options)
        try:
            getattr(bench, part)()
        finally:
            bench.close()
    if options.json:
        with open(options.json, "w") as f:
            json.dump(RESULTS, f, indent=1)


if __name__ == "__main__":
    main()
