#!/usr/bin/python3
"""Measure, beside what a user would take instead and beside what the machine itself allows, in one run.

    ./run bench [http] [moves] [pause] [memory] [--seconds S] [--json]

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
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "demo"))
import s3
from world import BUILD, Failure, World, run

LOAD, BARE = os.path.join(BUILD, "bench", "load"), os.path.join(BUILD, "bench", "bare")
RESULTS = {}


def say(text=""):
    print(text, flush=True)


def load(*words):
    done = subprocess.run([LOAD, *[str(w) for w in words]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    if not done.stdout:
        raise Failure(f"load {words}: {done.stderr.decode()}")
    return json.loads(done.stdout)


class Bench:
    def __init__(self, options):
        self.options = options
        self.dir = tempfile.mkdtemp(prefix="domicile-bench-", dir=options.dir)
        self.world = World(self.dir, options.port)
        self.nginx = None

    def close(self):
        if self.nginx:
            self.nginx.terminate()
            self.nginx.wait()
        self.world.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def accounts(self, region, country, n):
        made = region.json("account", "create", "--country", country, "--grant", "files,backup", "--count", n)
        return made if isinstance(made, list) else made["accounts"]

    def accounts_file(self, accounts, name):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            json.dump(accounts, f)
        return path

    # --- HTTP ---

    def start_nginx(self, region):
        folder = os.path.join(self.dir, "nginx")
        os.makedirs(os.path.join(folder, "www", "bench"))
        plain, tls = self.options.port + 80, self.options.port + 81
        with open(os.path.join(folder, "nginx.conf"), "w") as f:
            f.write(f"""
worker_processes 2; pid {folder}/pid; error_log {folder}/error.log; daemon off; user root;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000;
  client_max_body_size 1g; client_body_buffer_size 64k; client_body_temp_path {folder}/tmp;
  open_file_cache max=10000; open_file_cache_valid 60s;
  server {{
    listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl;
    ssl_certificate {region.path('tls_cert')}; ssl_certificate_key {region.path('tls_key')};
    root {folder}/www;
    location / {{ dav_methods PUT DELETE; create_full_put_path on; }}
  }}
}}""")
        self.nginx = subprocess.Popen(["nginx", "-c", os.path.join(folder, "nginx.conf")], stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        return {"http": f"http://127.0.0.1:{plain}", "https": f"https://127.0.0.1:{tls}"}

    def http(self):
        bare = json.loads(run(BARE, self.dir))
        RESULTS["bare"] = bare
        say("The machine, one core: " + ", ".join(f"{k} {v}" for k, v in bare.items()))
        region = self.world.add_region("cn-bj", "CN", relays=False, words=["--s3-plain"])
        accounts = self.accounts(region, "CN", 64)
        path = self.accounts_file(accounts, "http.json")
        ours = {"https": f"https://127.0.0.1:{region.s3[1]}", "http": "http://" + region.word("s3_plain_listen")}
        theirs = self.start_nginx(region)
        signed = ["--ca", self.world.ca, "--accounts", path]
        # every small object is there, so that what is read at random was written
        load("fill", "--url", ours["https"], *signed, "--bucket", "bench", "--name", "s4096-", "--objects", 64,
             "--size", 4096)
        say(f"{'':26}{'Domicile':>12}{'nginx':>12}{'ratio':>8}   p50 / p99 of Domicile, us")
        RESULTS["http"] = []
        rows = [("put", 4096, 64, c) for c in (1, 16, 64)] + [("get", 4096, 64, c) for c in (1, 16, 64)]
        rows += [("put", 1 << 20, 16, c) for c in (1, 16)] + [("get", 1 << 20, 16, c) for c in (1, 16)]
        rows += [("put", 256 << 20, 1, 1), ("get", 256 << 20, 1, 1)]
        for scheme in ("http", "https"):
            for verb, size, objects, connections in rows:
                self.http_row(scheme, verb, size, objects, connections, ours, theirs, signed, path, bare)
        self.world.stop()

    def http_row(self, scheme, verb, size, objects, connections, ours, theirs, signed, path, bare):
        seconds = self.options.seconds if size < 100 << 20 else self.options.seconds * 2
        common = ["--objects", objects, "--size", size, "--connections", connections, "--seconds", seconds,
                  "--name", f"s{size}-", "--bucket", "bench"]
        # the same few accounts for large objects, so that what is read was written
        if size >= 1 << 20:
            with open(path) as f:
                signed = signed[:3] + [self.accounts_file(json.load(f)[:1], "one.json")]
        a = load(verb, "--url", ours[scheme], *signed, *common)
        b = load(verb, "--url", theirs[scheme], "--ca", self.world.ca, *common) if scheme == "https" else \
            load(verb, "--url", theirs[scheme], *common)
        unit, x, y = ("/s", a["per_s"], b["per_s"]) if size < 1 << 20 else ("MB/s", a["mb_per_s"], b["mb_per_s"])
        name = f"{scheme:5} {verb} {size >> 10:>6} KiB x{connections}"
        note = f"   {x / bare['md5_mb_s']:.0%} of MD5 alone" if verb == "put" and size >= 1 << 20 else ""
        if verb == "put" and connections == 1 and size == 4096:
            note = f"   one fdatasync: {bare['fdatasync_4k_us']:.0f} us"
        failed = f"   FAILED {a['failed']}" if a["failed"] else ""
        say(f"{name:26}{x:>8.0f} {unit:4}{y:>8.0f} {unit:4}{x / y if y else 0:>6.2f}   {a['p50_us']} / {a['p99_us']}{note}{failed}")
        RESULTS["http"].append({"row": name, "domicile": a, "nginx": b})

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
        rss = lambda: int(next(l for l in open(f"/proc/{region.process.pid}/status") if l.startswith("VmRSS")).split()[1]) / 1024
        empty = rss()
        accounts = []
        for _ in range(10):
            accounts += self.accounts(region, "CN", 1000)
        made = rss()
        path = self.accounts_file(accounts[:1000], "open.json")
        load("fill", "--url", f"https://127.0.0.1:{region.s3[1]}", "--ca", self.world.ca, "--accounts", path, "--bucket", "bench",
             "--objects", 5, "--size", 2048)
        opened = rss()
        with open(os.path.join(self.dir, "metrics"), "w") as f:
            f.write(run("curl", "-s", f"http://{region.metrics}/metrics"))
        say(f"Memory: {empty:.0f} MB empty, {made:.0f} MB with 10,000 accounts, {opened:.0f} MB with 1,000 of them open and written to")
        RESULTS["memory"] = {"empty_mb": empty, "accounts_mb": made, "open_mb": opened}
        self.world.stop()


def main():
    p = argparse.ArgumentParser(prog="./run bench", description=__doc__.split("\n\n")[0])
    p.add_argument("parts", nargs="*", default=[], help="http, moves, pause, memory (all)")
    p.add_argument("--seconds", type=float, default=3, help="for each row of http (3)")
    p.add_argument("--moved", type=int, default=2000, help="small accounts in a move (2000)")
    p.add_argument("--rclone-accounts", type=int, default=40, help="of them also synced by rclone (40)")
    p.add_argument("--pauses", type=int, default=10, help="moves of the busy account (10)")
    p.add_argument("--port", type=int, default=8300)
    p.add_argument("--dir", help="on which disk (TMPDIR)")
    p.add_argument("--json", metavar="FILE", help="write the figures there")
    options = p.parse_args()
    for part in options.parts or ["http", "moves", "pause", "memory"]:
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
