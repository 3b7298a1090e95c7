"""Waves back and forth all the time, and their end."""
import collections
import os
import threading
import time

from schedule import REGIONS, Wave, hot_waves, waves
from world import Failure

ENDED = ("done", "cancelled")
AS_THEY_ARE_S = 30      # before they are cancelled at the end


class Mover(threading.Thread):
    """Sends waves off from one region, the next when the last has ended or has taken long enough."""

    def __init__(self, cluster, seed, source, stopping, longest=20):
        super().__init__(daemon=True)
        self.cluster, self.plan, self.stopping, self.longest = cluster, waves(seed, source), stopping, longest
        self.planned, self.cancelled = 0, 0
        self.unsure = []                # planned, and then a node was away: such a wave holds its accounts

    def run(self):
        for wave in self.plan:
            try:
                self.give_up(self.cluster.nodes[wave.via])
                self.send(wave)
            except (Failure, ValueError, KeyError):     # a node that is away; the next wave then
                pass
            if self.stopping.wait(wave.rest):
                return

    def give_up(self, via):
        while self.unsure:
            if via.json("wave", "status", self.unsure[0])["state"] not in ENDED:
                via.cli("wave", "cancel", self.unsure[0])
                self.cancelled += 1
            self.unsure.pop(0)

    def words(self, wave):
        """Which accounts, and how."""
        return ["--countries", ",".join(wave.countries), *wave.words]

    def send(self, wave):
        via, words = self.cluster.nodes[wave.via], self.words(wave)
        if not words:
            return
        plan = via.json("wave", "plan", "--from", wave.source, "--to", wave.target, *words)
        one = plan["wave"]["id"]
        self.planned += 1
        self.unsure.append(one)
        via.cli("wave", "run", one)
        if wave.then:
            self.stopping.wait(wave.after)
            via.cli("wave", wave.then, one)
            if wave.then == "cancel":
                self.cancelled += 1
            if wave.then == "pause":
                self.stopping.wait(wave.after)
                via.cli("wave", "resume", one)
        self.unsure.pop()
        end = time.monotonic() + self.longest
        while not self.stopping.wait(0.3) and via.json("wave", "status", one)["state"] not in ENDED:
            if time.monotonic() > end:
                via.cli("wave", "cancel", one)
                self.cancelled += 1
                return


class Remover(threading.Thread):
    """Removes some accounts for good while they are used and moved."""

    def __init__(self, cluster, plan, accounts, origin, stopping):
        super().__init__(daemon=True)
        self.cluster, self.plan, self.accounts = cluster, plan, accounts
        self.origin, self.stopping = origin, stopping
        self.asked = {}                 # which -> when (ns) it was first asked for
        self.removed = set()

    def run(self):
        for at, which, via in self.plan:
            if self.stopping.wait(max(0, self.origin + at - time.monotonic())):
                return
            self.asked[which] = time.monotonic_ns()
            self.remove(which, via)

    def remove(self, which, via):
        """False: it could not be done now. That there is no such account any more is as good."""
        try:
            self.cluster.nodes[via].cli("account", "remove", self.accounts[which]["account"], "--yes")
        except Failure as problem:
            if "exit 5\n" not in str(problem):
                return False
        self.removed.add(which)
        return True

    def finish(self, patience=30):
        """Those that could not be removed when it was their time; those that can't be now."""
        end = time.monotonic() + patience
        for which in sorted(self.asked.keys() - self.removed):
            while not self.remove(which, REGIONS[0]) and time.monotonic() < end:
                time.sleep(0.3)
        return sorted(self.asked.keys() - self.removed)


class HotMover(Mover):
    """Moves those of the hot accounts that live at one region, one such wave after the other."""

    def __init__(self, cluster, seed, accounts, stopping):
        super().__init__(cluster, seed, "hot", stopping, 10)
        self.accounts, self.list = accounts, os.path.join(cluster.dir, "hot")
        self.plan = (Wave(a, b, [], [], None, 0, a, 0.05) for a, b in hot_waves(seed))

    def words(self, wave):
        via = self.cluster.nodes[wave.via]
        listed = via.json("account", "list", "--home", wave.source)
        here = {one["account"] for one in (listed["accounts"] if isinstance(listed, dict) else listed)}
        with open(self.list, "w") as f:
            f.writelines(a + "\n" for a in self.accounts if a in here)
        return ["--accounts", self.list] if here & set(self.accounts) else None


def start(cluster, seed, hot, stopping):
    movers = [Mover(cluster, seed, source, stopping) for source in REGIONS] + [HotMover(cluster, seed, hot, stopping)]
    for mover in movers:
        mover.start()
    return movers


def all_waves(cluster):
    return cluster.nodes[REGIONS[0]].json("wave", "list")


def last_moves(cluster, n):
    """The last N waves that are done and have moved somebody."""
    node, out = cluster.nodes[REGIONS[0]], []
    for wave in sorted(all_waves(cluster), key=lambda w: w["finished_ms"], reverse=True):
        if len(out) < n and wave["state"] == "done" and node.json("wave", "status", wave["id"])["items"].get("erased"):
            out.append(wave)
    return out


def reason_of(node, wave):
    status = node.json("wave", "status", wave["id"])
    items = {state: n for state, n in status["items"].items() if n}
    return f"{wave['id']} from {wave['from']} to {wave['to']} {items} {[r['reason'] for r in status['reasons']]}"


def cancel(node, wave):
    try:
        node.cli("wave", "cancel", wave["id"])
    except Failure:         # it has just ended
        pass


def settle(cluster, patience, say):
    """Wait until no wave is under way; for a while as they are, then cancelled; one that may only be slow is at once.
    Those that did not end."""
    node, began, is_cancelled = cluster.nodes[REGIONS[0]], time.monotonic(), False
    for wave in all_waves(cluster):
        if wave["bytes_per_s"] and wave["state"] not in ENDED + ("planned",):
            cancel(node, wave)
    while True:
        left = [w for w in all_waves(cluster) if w["state"] not in ENDED + ("planned",)]
        for wave in left if not is_cancelled else ():
            if wave["state"] == "paused":
                node.cli("wave", "resume", wave["id"])
        if not left or time.monotonic() > began + patience:
            return left
        if not is_cancelled and time.monotonic() > began + AS_THEY_ARE_S:
            is_cancelled = True
            say(f"{len(left)} waves are cancelled, since they did not end: " +
                ", ".join(reason_of(node, wave) for wave in left))
            for wave in left:
                cancel(node, wave)
        time.sleep(0.3)


def tally(cluster):
    """How the accounts of all waves ended, the reasons why some were put off, and the longest pause."""
    items, reasons, pause = collections.Counter(), collections.Counter(), 0
    for wave in all_waves(cluster):
        if wave["state"] == "planned":
            continue
        status = cluster.nodes[REGIONS[0]].json("wave", "status", wave["id"])
        items.update({state: n for state, n in status["items"].items() if n})
        reasons.update(r["reason"] for r in status["reasons"])
        pause = max(pause, status["pause_us"]["max"])
    return dict(items), reasons, pause / 1e6
