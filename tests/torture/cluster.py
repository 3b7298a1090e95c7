"""Three regions and the directory, every line between them through a relay, the shim below each."""
import os
import signal
import socket
import subprocess
import time
import urllib.request

from disk import Disk
from schedule import COUNTRIES, DIRECTORY, JURISDICTION, NODES, REGIONS, links
from world import BUILD, DOMICILE, RELAY, Failure, Region, run

SHIM = os.path.join(BUILD, "tests", "torture", "libtorture_shim.so")

# Small, so that all of it is used: vaults are closed, tables written and compacted.
WORDS = {"vaults_open": "64", "vaults_memory": "16 MiB", "engine_cache": "4 MiB",
         "engine_write_buffer": "1 MiB", "hold": "8 s", "workers": "128"}


class Node(Region):
    """One process. What Region does with commands and files, this inherits."""

    def __init__(self, cluster, name, port):
        self.name, self.port, self.process = name, port, None
        self.dir = os.path.join(cluster.dir, name)
        self.conf = os.path.join(self.dir, "region.conf")
        words = ["--directory-only"] if name == DIRECTORY else [
            "--directory-at", f"{DIRECTORY}=127.0.0.1:{cluster.ports[name, DIRECTORY, 'peer']}"]
        run(DOMICILE, "region", "init", self.dir, "--region", name, "--jurisdiction", JURISDICTION[name],
            "--ca", cluster.ca_dir, "--port-base", port, *words)
        self.metrics = self.word("metrics_listen")
        self.disk = Disk(os.path.join(cluster.dir, f"{name}.page"))

    def launch(self):
        environment = {**os.environ, "LD_PRELOAD": SHIM, "TORTURE_PAGE": self.disk.path, "TORTURE_FOLDER": self.dir}
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = subprocess.Popen([DOMICILE, "serve", "--config", self.conf], stderr=log,
                                            stdin=subprocess.DEVNULL, env=environment)

    def wait_ready(self, timeout=120):
        """Whether it serves; not if it ended instead."""
        end = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < end:
            try:
                urllib.request.urlopen(f"http://{self.metrics}/healthz", timeout=5).read()
                return True
            except OSError:
                time.sleep(0.03)
        return False

    def is_up(self):
        return self.process is not None and self.process.poll() is None

    def terminate(self, timeout=90):
        """Stop in order; the exit status, or None if it did not end."""
        self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)


class Cluster:
    def __init__(self, folder, port, distances):
        self.dir, self.ca_dir, self.distances = folder, os.path.join(folder, "ca"), distances
        self.control_path = os.path.join(folder, "relay.sock")
        self.ports = {line: port + 100 + i for i, line in enumerate(links())}
        run(DOMICILE, "ca", "init", self.ca_dir)
        self.ca = os.path.join(self.ca_dir, "ca.pem")
        self.nodes = {name: Node(self, name, port + 10 * i) for i, name in enumerate(NODES)}
        for node in self.nodes.values():
            self.configure(node)
        self.relay, self.control = None, None
        self.others = []                # processes that end with it
        self.start_relay()

    def configure(self, node):
        """Its own regions.conf, in which the others are at the ends of its lines."""
        with open(os.path.join(self.ca_dir, "regions.conf")) as f:
            text = f.read()
        for (source, target, kind), port in self.ports.items():
            if source == node.name and target != DIRECTORY:
                address = self.nodes[target].word(f"{kind}_listen")
                text = text.replace(f"\n{kind} = {address}\n", f"\n{kind} = 127.0.0.1:{port}\n")
        for i, country in enumerate(COUNTRIES):
            order = REGIONS[i % 3:] + REGIONS[:i % 3]
            text += f"\n[policy {country}]\nregions = {', '.join(order)}\ntransit = proxy\n"
        path = os.path.join(node.dir, "regions.conf")
        with open(path, "w") as f:
            f.write(text)
        with open(node.conf) as f:
            lines = [f"regions = {path}\n" if line.startswith("regions = ") else line for line in f]
        if node.name != DIRECTORY:
            lines += [f"{word} = {value}\n" for word, value in WORDS.items()]
        with open(node.conf, "w") as f:
            f.writelines(lines)

    def start_relay(self):
        pairs = [f"127.0.0.1:{port}={self.nodes[line[1]].word(line[2] + '_listen')}:{self.distances[line]}"
                 for line, port in self.ports.items()]
        self.relay = subprocess.Popen([RELAY, "--control", self.control_path, *pairs],
                                      stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        self.control = socket.socket(socket.AF_UNIX)
        for _ in range(200):
            try:
                self.control.connect(self.control_path)
                return
            except OSError:
                time.sleep(0.02)
        raise Failure("the relay did not start")

    def order(self, word, line, value=""):
        """An order to the relay about one line. One thread at a time."""
        self.control.sendall(f"{word} {self.ports[line]} {value}".strip().encode() + b"\n")
        answer = self.control.recv(200)
        if answer != b"ok\n":
            raise Failure(f"relay: {word} {line} {value}: {answer}")

    def start(self):
        for node in self.nodes.values():
            node.launch()
            if not node.wait_ready():
                raise Failure(f"{node.name} did not start; see {node.dir}/log")

    def users_at(self, region):
        """The address that users reach REGION by."""
        return "127.0.0.1", self.ports["users", region, "s3"]

    def stop(self):
        for node in self.nodes.values():
            if node.is_up():
                node.go_on()
                node.kill()
        for process in [*self.others, self.relay]:
            process.terminate()
            process.wait()
