"""Carries out the schedule's faults, each in a thread of its own, and remembers when each was active."""
import collections
import json
import threading
import time

from rot import Rot
from schedule import NODES, Fault

DISK_KINDS = ("power", "full", "low", "write-error", "short-write", "sync-error")
# A node may give up (and be started again) when its disk fails; for so long after that it is not counted.
DISK_EXCUSE_S = 20


class Monkey:
    def __init__(self, cluster, folder, origin):
        self.cluster, self.origin = cluster, origin
        self.locks = {name: threading.Lock() for name in NODES}     # held while a process is down on purpose
        self.relay_lock, self.note_lock = threading.Lock(), threading.Lock()
        self.log = open(folder + "/faults.jsonl", "w", buffering=1)
        self.injected, self.active, self.periods = collections.Counter(), {}, []
        self.disk_trouble = {name: 0 for name in NODES}             # when it last had some
        self.violations, self.gave_up, self.threads = [], [], []
        self.lines = collections.Counter()                          # (order that undoes it, line) -> how many hold it
        self.stopping = threading.Event()
        self.torn = 0                                               # files that a power cut changed
        self.rotten = Rot()

    # --- what was active when ---

    def begin(self):
        with self.note_lock:
            key = object()
            self.active[key] = time.monotonic()
        return key

    def end(self, key, fault, detail=None):
        now = time.monotonic()
        with self.note_lock:
            began = self.active.pop(key)
            self.periods.append((began, now))
            self.log.write(json.dumps({"kind": fault.kind, "target": fault.target, "value": fault.value,
                                       "planned": round(fault.at, 3), "began": round(began - self.origin, 3),
                                       "ended": round(now - self.origin, 3), "detail": detail}) + "\n")

    def quiet(self, until, grace):
        """[(from, until)], monotonic seconds, in which no fault was active nor had been for GRACE seconds."""
        out, at = [], self.origin + grace
        for began, ended in sorted(self.periods):
            if began > at:
                out.append((at, began))
            at = max(at, ended + grace)
        return out + ([(at, until)] if until > at else [])

    # --- running the schedule ---

    def run(self, faults):
        """Begin each at its time; returns when all have ended."""
        watcher = threading.Thread(target=self.watch, daemon=True)
        watcher.start()
        for fault in faults:
            if self.stopping.wait(max(0, self.origin + fault.at - time.monotonic())):
                break
            thread = threading.Thread(target=self.inflict, args=(fault,), daemon=True)
            thread.start()
            self.threads.append(thread)
        for thread in self.threads:
            thread.join(120)

    def inflict(self, fault):
        act = getattr(self, fault.kind.replace("-", "_"))
        if fault.kind in DISK_KINDS:
            self.disk_trouble[fault.target] = float("inf")
        key, detail = self.begin(), None
        self.injected[fault.kind] += 1
        try:
            detail = act(fault)
        except Exception as problem:        # of the torture itself: it must not pass for a quiet run
            self.violations.append(f"the torture failed at {fault}: {problem!r}")
        finally:
            if fault.kind in DISK_KINDS:
                self.disk_trouble[fault.target] = time.monotonic()
            self.end(key, fault, detail)

    def rest(self, fault):
        self.stopping.wait(fault.seconds)

    # --- processes ---

    def bring_up(self, node):
        """Start a node that is down, again and again while its disk fails. With its lock held."""
        end = time.monotonic() + 180
        while True:
            node.launch()
            if node.wait_ready():
                return
            status = node.process.poll()
            if status is None:
                node.kill()
            if not self.is_excused(node) or time.monotonic() > end:
                self.violations.append(f"{node.name} did not start: exit {status}: {last_line(node)}")
            if time.monotonic() > end:
                return
            time.sleep(0.3)

    def down(self, fault, how):
        node = self.cluster.nodes[fault.target]
        with self.locks[node.name]:
            detail = how(node)
            self.rest(fault)
            self.bring_up(node)
        return detail

    def kill(self, fault):
        return self.down(fault, lambda node: node.kill())

    def power(self, fault):
        def how(node):
            node.kill()
            done = node.disk.power_cut(fault.value)
            self.torn += len(done)
            return done
        return self.down(fault, how)

    def term(self, fault):
        def how(node):
            status = node.terminate()
            if status not in (0, None) and not self.is_excused(node):
                self.violations.append(f"{node.name} ended with {status} when it was asked to stop")
            if status is None:
                self.violations.append(f"{node.name} did not stop in time")
        return self.down(fault, how)

    def freeze(self, fault):
        node = self.cluster.nodes[fault.target]
        with self.locks[node.name]:
            if node.is_up():
                node.freeze()
                self.rest(fault)
                node.go_on()

    def is_excused(self, node):
        return time.monotonic() - self.disk_trouble[node.name] < DISK_EXCUSE_S

    def watch(self):
        """Start what ended by itself. Only a failing disk is a reason for that."""
        while not self.stopping.wait(0.1):
            for node in self.cluster.nodes.values():
                if node.process and node.process.poll() is not None and self.locks[node.name].acquire(blocking=False):
                    try:
                        if node.process.poll() is not None:
                            self.ended_by_itself(node)
                    finally:
                        self.locks[node.name].release()

    def ended_by_itself(self, node):
        what = f"{node.name} ended by itself: exit {node.process.returncode}: {last_line(node)}"
        (self.gave_up if self.is_excused(node) else self.violations).append(what)
        key = self.begin()
        self.bring_up(node)
        self.end(key, Fault(time.monotonic() - self.origin, "gave up", node.name, 0, None), what)

    # --- lines ---

    def on_lines(self, fault, order, undo, value=""):
        with self.relay_lock:
            for line in fault.target:
                self.lines[undo, line] += 1
                self.cluster.order(order, line, value)
        self.rest(fault)
        with self.relay_lock:
            for line in fault.target:
                self.lines[undo, line] -= 1
                if not self.lines[undo, line]:
                    word, _, value = undo.partition(" ")
                    self.cluster.order(word, line, value or (self.cluster.distances[line] if word == "delay" else ""))

    def cut(self, fault):
        self.on_lines(fault, "cut", "heal")

    def stall(self, fault):
        self.on_lines(fault, "stall", "heal")

    def far(self, fault):
        self.on_lines(fault, "delay", "delay", f"{fault.value:.1f}")

    def slow(self, fault):
        self.on_lines(fault, "limit", "limit 0", fault.value)

    users_cut, users_far = cut, far

    # --- disks and clocks ---

    def disk(self, fault):
        return self.cluster.nodes[fault.target].disk

    def full(self, fault):
        self.disk(fault).order("full_is_told", 0)
        self.disk(fault).order_for("full_until", fault.seconds)
        self.rest(fault)

    def low(self, fault):
        self.disk(fault).order("full_is_told", 1)
        self.disk(fault).order_for("full_until", fault.seconds)
        self.rest(fault)

    def write_error(self, fault):
        self.disk(fault).order("errors_one_in", fault.value)
        self.disk(fault).order_for("errors_until", fault.seconds)
        self.rest(fault)

    def short_write(self, fault):
        self.disk(fault).order("short_writes", fault.value)

    def sync_error(self, fault):
        self.disk(fault).order("sync_errors", fault.value)
        end = time.monotonic() + 3          # so many are to come; a node at rest has none
        before = self.disk(fault).counts()["failed_syncs"]
        while time.monotonic() < end and self.disk(fault).counts()["failed_syncs"] < before + fault.value:
            time.sleep(0.05)
        self.disk(fault).order("sync_errors", 0)

    def slow_sync(self, fault):
        self.disk(fault).order("slow_us", fault.value * 1000)
        self.disk(fault).order_for("slow_until", fault.seconds)
        self.rest(fault)

    def rot(self, fault):
        return self.rotten.strike(self.cluster.nodes[fault.target], fault.value)

    def clock(self, fault):
        self.disk(fault).order("clock_ns", int(fault.value * 1e9))
        self.rest(fault)
        self.disk(fault).order("clock_ns", 0)

    def disk_counts(self):
        total = collections.Counter()
        for node in self.cluster.nodes.values():
            total.update(node.disk.counts())
        return {name: n for name, n in total.items() if name not in ("slots", "writes", "syncs")}

    # --- the end ---

    def heal(self):
        """Nothing is wrong any more, and every node serves."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(120)
        for line in self.cluster.distances:             # what follows takes less time so
            self.cluster.order("delay", line, 0)
        for node in self.cluster.nodes.values():
            node.disk.heal()
        for node in self.cluster.nodes.values():
            with self.locks[node.name]:
                if not node.is_up():
                    self.bring_up(node)
        self.log.close()


def last_line(node):
    with open(node.dir + "/log", "rb") as f:
        f.seek(0, 2)
        f.seek(max(0, f.tell() - 600))
        return f.read().decode(errors="replace").strip().rpartition("\n")[2]
