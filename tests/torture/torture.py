"""Torture: accounts that move back and forth while everything below them fails, and a check of it all.

docs/torture.md says what it does. The seed decides what is done and when; what comes of it is up to
the machine as well, so the same seed finds the same bug often, not always.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "demo"))

import history
import linear
import moves
import report as reports
import users
from checks import Checks
from cluster import Cluster
from monkey import Monkey
from schedule import COUNTRIES, HOT, REGIONS, distances, faults, removals

GRACE_S = 10                            # after the last fault everything has to work again


def arguments():
    p = argparse.ArgumentParser(prog="./run torture", description="Break everything below three regions and check "
                                "that no promise is broken. Exits with 0 if none was.")
    p.add_argument("--minutes", type=float, default=5, help="how long faults and moves go on (5)")
    p.add_argument("--seed", default=None, help="the schedule's seed; a run prints its own")
    p.add_argument("--accounts", type=int, default=None, help="how many (300; 90 in less than two minutes)")
    p.add_argument("--users", type=int, default=16, help="threads that read and write (16)")
    p.add_argument("--port-base", type=int, default=28000)
    p.add_argument("--folder", help="an empty folder for everything (a new one in $TMPDIR)")
    p.add_argument("--keep", action="store_true", help="keep the folder also if nothing was violated")
    p.add_argument("--schedule", action="store_true", help="print the faults of this seed, one a line, and do nothing")
    p.add_argument("--json", action="store_true", help="print the report as JSON")
    return p.parse_args()


BEGAN = time.monotonic()


def say(text):
    print(f"{time.monotonic() - BEGAN:6.1f} {text}", file=sys.stderr, flush=True)


def make_accounts(cluster, count):
    """COUNT of them, of all countries in turn, with their buckets."""
    made = []
    for i, country in enumerate(COUNTRIES):
        n = len(range(i, count, len(COUNTRIES)))
        if n:
            answer = cluster.nodes[REGIONS[0]].json("account", "create", "--country", country,
                                                    "--grant", "files,backup", "--count", n)
            made.append(answer if isinstance(answer, list) else [answer])
    accounts = [one for group in zip(*made) for one in group]

    def buckets(account):
        line = users.Connection(cluster.users_at(account["region"]), checks.tls)
        line.act_for(account)
        for bucket in users.BUCKETS:
            status, _, why = line.once("PUT", "/" + bucket)
            assert status == 200, why
        line.close()

    checks = Checks(cluster, accounts, None)
    checks.each(buckets, accounts)
    return accounts


class Users:
    """The processes of the users."""

    def __init__(self, cluster, args, accounts, until):
        self.folder = cluster.dir
        threads = max(1, args.users // 2)
        setup = {"seed": args.seed, "ca": cluster.ca, "accounts": accounts, "until": until, "threads": threads,
                 "pause": 0.06, "addresses": {r: cluster.users_at(r) for r in REGIONS}}
        path = os.path.join(self.folder, "users.json")
        with open(path, "w") as f:
            json.dump(setup, f)
        self.outs = [os.path.join(self.folder, f"history-{i}.jsonl") for i in range(2)]
        environment = {**os.environ, "PYTHONPATH": os.path.join(HERE, "..", "..", "demo")}
        self.processes = [subprocess.Popen([sys.executable, os.path.join(HERE, "users.py"), path, str(i), out],
                                           env=environment) for i, out in enumerate(self.outs)]

    def count(self):
        """Operations so far, roughly: the bytes tell."""
        return sum(os.path.getsize(out) for out in self.outs if os.path.exists(out)) // 190

    def wait(self, report):
        for process in self.processes:
            try:
                if process.wait(120):
                    report.violation("torture", f"a process of users ended with {process.returncode}")
            except subprocess.TimeoutExpired:
                process.kill()
                report.violation("torture", "a process of users did not end")


def progress(monkey, people, movers, origin, seconds, stopping):
    while not stopping.wait(5):
        now = time.monotonic() - origin
        say(f"  {now:4.0f} s of {seconds:.0f}: {sum(monkey.injected.values())} faults, about {people.count()} operations, "
            f"{sum(m.planned for m in movers)} waves")


def run(cluster, args, report):
    seconds = args.minutes * 60
    cluster.start()
    accounts = make_accounts(cluster, args.accounts)
    with open(os.path.join(cluster.dir, "accounts.json"), "w") as f:
        json.dump(accounts, f)
    say(f"{len(accounts)} accounts are there")
    origin = time.monotonic()
    stopping = threading.Event()
    monkey = Monkey(cluster, cluster.dir, origin)
    people = Users(cluster, args, accounts, origin + seconds)
    cluster.others += people.processes
    movers = moves.start(cluster, args.seed, [a["account"] for a in accounts[:HOT]], stopping)
    doomed = range(args.accounts - args.accounts // 10, args.accounts)
    remover = moves.Remover(cluster, removals(args.seed, seconds, doomed), accounts, origin, stopping)
    remover.start()
    teller = threading.Thread(target=progress, args=(monkey, people, movers, origin, seconds, stopping), daemon=True)
    teller.start()
    monkey.run(faults(args.seed, seconds))
    monkey.stopping.wait(max(0, origin + seconds - time.monotonic()))
    quiet = monkey.quiet(origin + seconds, GRACE_S)
    people.wait(report)
    stopping.set()
    for thread in [*movers, remover]:
        thread.join(30)
    say("all is healed; waiting for the waves to end")
    monkey.heal()
    for what in monkey.violations:
        report.violation("runs", what)
    report.figures.update(seconds=round(seconds), accounts=len(accounts), faults=dict(monkey.injected),
                          gave_up=len(monkey.gave_up), torn=monkey.torn,
                          disks=monkey.disk_counts(), waves=sum(m.planned for m in movers),
                          waves_cancelled=sum(m.cancelled for m in movers))
    check(cluster, accounts, people, quiet, report, remover, monkey.rotten)


def check(cluster, accounts, people, quiet, report, remover, rotten):
    for wave in moves.settle(cluster, 180, say):
        report.violation("waves", f"a wave did not end: {wave}")
    for which in remover.finish():          # now that none is moving
        report.violation("gone", f"{accounts[which]['account']} can't be removed")
    report.figures["removed"] = len(remover.removed)
    checks = Checks(cluster, accounts, report, remover.removed, rotten.struck)
    say("reading everything by every region")
    checks.abort_uploads()
    last = os.path.join(cluster.dir, "history-last.jsonl")
    with open(last, "w") as f:
        checks.read_all(f)
    say("looking for homes and residue")
    homes = checks.one_home(120)
    report.figures["verified"] = checks.verify(moves.last_moves(cluster, 6))
    with open(last, "a") as f:
        report.figures["rotten"] = checks.cure(f)
    items, reasons, pause = moves.tally(cluster)
    say("starting every node again")
    checks.restart_all()
    sizes, checks.sizes = checks.sizes, collections.Counter()
    with open(last, "a") as f:
        checks.read_all(f, REGIONS[:1])
    checks.sizes = sizes
    checks.chunks(homes, 120)
    checks.is_whole()
    records = history.without(history.load([*people.outs, last]), remover.asked)
    say(f"checking {len(records)} records")
    report.figures.update(items=items, moves=items.get("erased", 0), pause_s=pause, put_off=dict(reasons.most_common(20)))
    judge(records, quiet, report, lambda r: r["op"] == "get" and
          rotten.excuses(accounts[int(r["key"].split("/")[0])]["account"], r["ended"]))


def explain(what):
    key, ops = what
    found = linear.explain(ops)
    return key, found and [f"{op.about['began']}-{op.about['ended']} {op.about['op']} by {op.about['via']} "
                           f"value={op.about.get('value')} status={op.about['status']} {op.about.get('why') or ''}"
                           f" user={op.about['user']}" for op in found]


def judge(records, quiet, report, is_excused):
    """The history by itself."""
    registers = history.registers(records)
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        for key, found in pool.map(explain, registers.items(), chunksize=50):
            if found:
                report.violation("no-loss", f"{key} is not linearizable:\n    " + "\n    ".join(found))
    for r in records:
        if why := history.wrong(r):
            report.violation("answers", f"{r['key']} by {r['via']}: {why}")
    inside = [r for r in records if r["user"] >= 0 and
              any(a * 1e9 <= r["began"] and r["ended"] <= b * 1e9 for a, b in quiet)]
    bad = [r for r in inside if history.failed(r) and not is_excused(r)]
    for r in bad:
        report.violation("no-outage", f"{r['op']} {r['key']} by {r['via']} at {r['began']}: {r['status']} {r.get('why')} "
                                      "although nothing was wrong")
    unwritable, answer = history.waits(records)
    report.figures.update(
        operations=reports.operations(records, history.outcome), keys=len(registers), unwritable_s=unwritable,
        answer_s=answer, quiet_s=sum(b - a for a, b in quiet), quiet_operations=len(inside), quiet_failures=len(bad))


def main():
    args = arguments()
    args.seed = str(args.seed if args.seed is not None else time.time_ns() % 1_000_000)
    args.accounts = args.accounts or (90 if args.minutes < 2 else 300)
    if args.schedule:
        for fault in faults(args.seed, args.minutes * 60):
            print(json.dumps(fault._asdict()))
        return 0
    folder = args.folder or tempfile.mkdtemp(prefix="torture-")
    os.makedirs(folder, exist_ok=True)
    again = f"./run torture --minutes {args.minutes:g} --seed {args.seed} --accounts {args.accounts} --users {args.users}"
    say(f"torture: seed {args.seed}, {args.minutes:g} minutes, in {folder}\nthe same again: {again}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))       # and stop what was started
    report = reports.Report(args.seed, folder)
    cluster = Cluster(folder, args.port_base, distances(args.seed))
    try:
        run(cluster, args, report)
    finally:
        cluster.stop()
    with open(os.path.join(folder, "report.json"), "w") as f:
        f.write(report.as_json() + "\n")
    print(report.as_json() if args.json else "\n".join(report.lines()))
    if report.violations:
        say(f"logs, histories and stores are in {folder}; the same schedule again: {again}")
        return 1
    if not args.keep and not args.folder:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
