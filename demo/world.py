"""The processes of the demo: a CA, regions, and the relay that makes them far apart."""
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("DOMICILE_BUILD", os.path.join(ROOT, "build"))
DOMICILE = os.path.join(BUILD, "domicile")
RELAY = os.path.join(BUILD, "relay")

# Round trips in milliseconds between the users of a market and a region.
MARKETS = ["CN", "IN", "ID", "MY", "PH", "SG", "HK", "TW"]
RTT_MS = {
    "cn-bj": {"CN": 12, "IN": 350, "ID": 180, "MY": 120, "PH": 100, "SG": 90, "HK": 45, "TW": 60},
    "sg": {"CN": 90, "IN": 60, "ID": 20, "MY": 10, "PH": 45, "SG": 3, "HK": 40, "TW": 55},
    "in-mum": {"CN": 160, "IN": 5, "ID": 85, "MY": 70, "PH": 110, "SG": 60, "HK": 95, "TW": 110},
}


def unit_environment():
    """What a node is started with by contrib's unit."""
    with open(os.path.join(ROOT, "contrib", "domicile@.service")) as f:
        return dict(line.strip().split("=", 2)[1:] for line in f if line.startswith("Environment="))


class Failure(Exception):
    """A claim of the demo that did not hold, or a command that failed."""


def run(*words, **options):
    """A command's standard output; Failure with what it said if it fails."""
    done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if done.returncode:
        raise Failure(f"{' '.join(str(w) for w in words)}: exit {done.returncode}\n"
                      f"{done.stderr.decode(errors='replace')[-3000:]}")
    return done.stdout.decode()


class Region:
    def __init__(self, world, name, jurisdiction, port, words):
        self.world, self.name, self.port = world, name, port
        self.dir = os.path.join(world.dir, name)
        self.conf = os.path.join(self.dir, "region.conf")
        self.process = None
        run(DOMICILE, "region", "init", self.dir, "--region", name, "--jurisdiction", jurisdiction,
            "--ca", world.ca_dir, "--port-base", port, *words)
        self.s3 = ("127.0.0.1", int(self.word("s3_listen").rsplit(":", 1)[1]))
        self.metrics = self.word("metrics_listen")

    def word(self, name):
        with open(self.conf) as f:
            for line in f:
                word, _, value = line.partition("=")
                if word.strip() == name:
                    return value.strip()
        raise Failure(f"{self.conf} has no {name}")

    def path(self, name):
        return os.path.join(self.dir, self.word(name))

    def start(self, **environment):
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = subprocess.Popen([DOMICILE, "serve", "--config", self.conf], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env={**unit_environment(), **os.environ, **environment})
        for _ in range(2400):
            if self.process.poll() is not None:
                raise Failure(f"{self.name} ended at once; see {self.dir}/log")
            try:
                urllib.request.urlopen(f"http://{self.metrics}/healthz", timeout=5).read()
                return self
            except OSError:
                time.sleep(0.05)
        raise Failure(f"{self.name} did not get ready; see {self.dir}/log")

    def logged(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as f:
            return f.read()

    def wait_stopped(self, timeout=60):
        """Until the process has stopped itself (SIGSTOP) at a step."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            with open(f"/proc/{self.process.pid}/stat") as f:
                if f.read().rsplit(")", 1)[1].split()[0] == "T":
                    return
            time.sleep(0.02)
        raise Failure(f"{self.name} did not reach its step")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def reload(self, timeout=60):
        """Have region.conf and regions.conf read again, and wait until they were."""
        before, end = self.logged().count(" info reload "), time.monotonic() + timeout
        self.process.send_signal(signal.SIGHUP)
        while self.logged().count(" info reload ") == before:
            if time.monotonic() > end:
                raise Failure(f"{self.name} did not read its files again; see {self.dir}/log")
            time.sleep(0.02)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def cli(self, *words):
        return run(DOMICILE, *words, "--config", self.conf)

    def json(self, *words):
        return json.loads(self.cli(*words, "--json"))

    def files_bytes(self):
        total = 0
        for folder, _, names in os.walk(os.path.join(self.dir, "store")):
            for name in names:
                try:
                    total += os.path.getsize(os.path.join(folder, name))
                except FileNotFoundError:
                    pass
        return total


class World:
    def __init__(self, folder, port):
        self.dir, self.port = folder, port
        self.ca_dir = os.path.join(folder, "ca")
        self.regions = {}
        self.relays = {}            # (region, market) -> address
        self.relay_processes = []
        run(DOMICILE, "ca", "init", self.ca_dir)
        self.ca = os.path.join(self.ca_dir, "ca.pem")

    def add_region(self, name, jurisdiction, relays=True, words=()):
        n = len(self.regions)
        if n == 0:
            directory = ["--directory"]
        else:
            first = next(iter(self.regions.values()))
            directory = ["--directory-at", f"{first.name}={first.word('peer_listen')}"]
        region = Region(self, name, jurisdiction, self.port + 10 * n, [*directory, *words])
        for other in self.regions.values():
            other.reload()
        self.regions[name] = region.start()
        if relays:
            self.add_relays(region)
        return region

    def add_relays(self, region):
        pairs, port = [], self.port + 100 + 10 * len(self.relay_processes)
        for i, market in enumerate(MARKETS):
            self.relays[region.name, market] = ("127.0.0.1", port + i)
            pairs.append(f"127.0.0.1:{port + i}=127.0.0.1:{region.s3[1]}:{RTT_MS[region.name][market]}")
        with open(os.path.join(region.dir, "relay.log"), "ab") as log:
            process = subprocess.Popen([RELAY, *pairs], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.relay_processes.append(process)

    def pids(self):
        """Of all that runs."""
        return [p.pid for p in [r.process for r in self.regions.values()] + self.relay_processes
                if p and p.poll() is None]

    def stop(self):
        for region in self.regions.values():
            region.stop()
        for process in self.relay_processes:
            process.terminate()
            process.wait()
