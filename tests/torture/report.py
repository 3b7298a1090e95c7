"""What a run has done and found, for people and as JSON."""
import collections
import json
import threading


class Report:
    def __init__(self, seed, folder):
        self.seed, self.folder, self.lock = seed, folder, threading.Lock()
        self.violations = []                            # (promise, what)
        self.figures = {}

    def violation(self, promise, what):
        with self.lock:
            self.violations.append((promise, what))

    def as_json(self):
        return json.dumps({"seed": self.seed, "folder": self.folder, **self.figures,
                           "violations": [{"promise": p, "what": w} for p, w in self.violations]}, indent=1)

    def lines(self):
        f = self.figures
        yield f"seed {self.seed}, {f['seconds']} s of it, {f['accounts']} accounts"
        yield "faults: " + (", ".join(f"{kind} {n}" for kind, n in sorted(f["faults"].items())) or "none")
        yield f"nodes that gave up on a failing disk and were started again: {f['gave_up']}"
        yield f"files torn by power cuts: {f['torn']}; " + ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in
                                                                     sorted(f["disks"].items()))
        yield f"accounts removed: {f['removed']}; objects that were damaged at the end: {f['rotten']}"
        yield "operations: " + str(sum(n for kinds in f["operations"].values() for n in kinds.values()))
        for op, kinds in sorted(f["operations"].items()):
            yield f"  {op}: " + ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items()))
        yield f"moves: {f['moves']} ({f['waves']} waves, {f['waves_cancelled']} cancelled); accounts of waves: " + \
            ", ".join(f"{state} {n}" for state, n in sorted(f["items"].items()))
        yield f"longest pause of a move {f['pause_s']:.2f} s, longest time an account took no writes " \
              f"{f['unwritable_s']:.1f} s, longest answer {f['answer_s']:.1f} s"
        yield f"quiet for {f['quiet_s']:.0f} s: {f['quiet_operations']} operations, {f['quiet_failures']} failed"
        yield f"keys: {f['keys']} histories checked; verified accounts: {f['verified']}"
        for promise, what in self.violations[:40]:
            yield f"VIOLATION {promise}: {what}"
        yield f"violations: {len(self.violations)}"


def operations(records, outcome):
    out = collections.defaultdict(collections.Counter)
    for r in records:
        out[r["op"]][outcome(r)] += 1
    return out
