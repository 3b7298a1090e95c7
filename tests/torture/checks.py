"""What has to be true once nothing is wrong any more: one home, nothing elsewhere, all of it whole."""
import collections
import concurrent.futures
import glob
import json
import os
import re
import subprocess
import time

import content
import s3
import users
from history import WRITES
from schedule import REGIONS
from world import DOMICILE, Failure

FORGED = 11                             # exit code of a scrub that has found something
CHUNK, SMALL = 4 << 20, 32 << 10        # of content.h: what is larger than SMALL is cut into chunks


def told(node, *words, ends_with):
    """The JSON of a command, the last line of it, also if it says with ENDS_WITH that it found something bad."""
    done = subprocess.run([DOMICILE, *words, "--json", "--config", node.conf], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode not in (0, ends_with):
        raise Failure(f"{words}: exit {done.returncode}\n{done.stderr.decode(errors='replace')[-3000:]}")
    return json.loads(done.stdout.decode() if ends_with == 1 else done.stdout.decode().splitlines()[-1])


def chunks_of(size, is_of_parts):
    """How many files an object of SIZE needs."""
    pieces = [users.PART, size - users.PART] if is_of_parts else [size]
    return sum(-(-piece // CHUNK) for piece in pieces if piece > SMALL)


class Checks:
    def __init__(self, cluster, accounts, report, removed=(), rotten=()):
        self.cluster, self.accounts, self.report, self.removed = cluster, accounts, report, removed
        self.rotten, self.unreadable = rotten, set()    # account ids; (account number, key)
        self.living = [n for n in range(len(accounts)) if n not in removed]
        self.tls = s3.context(cluster.ca)
        self.sizes = collections.Counter()              # (account, service) -> chunks that its objects need

    def each(self, act, items):
        """ACT of all items, four at a time."""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return list(pool.map(act, items))

    def line(self, region, account):
        line = users.Connection(self.cluster.users_at(region), self.tls)
        line.act_for(account)
        return line

    # --- objects ---

    def read_all(self, out, regions=REGIONS):
        """Every key of every account by every region, as records."""
        def read(what):
            number, region = what
            line, found = self.line(region, self.accounts[number]), []
            for bucket in users.BUCKETS:
                for key in users.keys_of(bucket):
                    found.append(self.read(line, number, region, key))
            line.close()
            return found
        for found in self.each(read, [(n, r) for n in self.living for r in regions]):
            for record in found:
                out.write(json.dumps(record) + "\n")
                if record["status"] in (200, 404):
                    continue
                number, _, key = record["key"].partition("/")
                if self.accounts[int(number)]["account"] in self.rotten:
                    self.unreadable.add((int(number), key))
                else:
                    self.report.violation("unreadable", f"{record['key']} by {record['via']} after all was healed: "
                                                        f"{record['status']} {record['why']}")

    def read(self, line, number, region, key):
        for attempt in range(3 if (number, key) in self.unreadable else 40):
            began = time.monotonic_ns()
            status, etag, body = line.once("GET", "/" + key)
            if status in (200, 404):
                break
            time.sleep(0.25)
        record = {"user": -1, "op": "get", "key": f"{number}/{key}", "via": region, "began": began,
                  "ended": time.monotonic_ns(), "status": status, "why": users.text(status, body)}
        if status == 200:
            record["value"] = content.number_of(body)
            if region == REGIONS[-1]:
                self.sizes[number, key.split("/")[0]] += chunks_of(len(body), "-" in etag)
        return record

    def abort_uploads(self):
        def abort(number):
            line = self.line(REGIONS[0], self.accounts[number])
            for bucket in users.BUCKETS:
                status, _, body = line.once("GET", "/" + bucket, query="uploads=")
                for upload in re.findall(r"<Upload>(.*?)</Upload>", body.decode(), re.S) if status == 200 else []:
                    key, = re.findall("<Key>(.*?)</Key>", upload)
                    name, = re.findall("<UploadId>(.*?)</UploadId>", upload)
                    line.once("DELETE", f"/{bucket}/{key}", query=f"uploadId={name}")
            line.close()
        self.each(abort, self.living)

    # --- homes and residue ---

    def homes(self):
        listed = self.cluster.nodes[REGIONS[0]].json("account", "list")
        listed = listed["accounts"] if isinstance(listed, dict) else listed
        return {one["account"]: one["home"] for one in listed}

    def records_at(self, region, account):
        return self.cluster.nodes[region].json("region", "sample", account)["records"]

    def one_home(self, patience):
        """Every account has its records at its home and none elsewhere; erasing may take a while."""
        end, homes = time.monotonic() + patience, self.homes()
        for number, account in enumerate(self.accounts):
            home = homes.get(account["account"])
            if (home is not None) if number in self.removed else home not in REGIONS:
                self.report.violation("one-home", f"{account['account']} has home {home}"
                                                  f"{' though it was removed' if number in self.removed else ''}")
        todo = [(r, a["account"]) for a in self.accounts for r in REGIONS]
        while True:
            found = self.each(lambda what: (what, bool(self.records_at(*what))), todo)
            todo = [(r, a) for (r, a), has in found if has != (homes.get(a) == r)]
            if not todo or time.monotonic() > end:
                break
            time.sleep(0.5)
        for region, account in todo:
            if homes.get(account) == region:
                self.report.violation("no-loss", f"{account}: no records at its home {region}")
            else:
                self.report.violation("gone", f"{account}: records at {region}, its home is {homes.get(account)}")
        return homes

    def chunks(self, homes, patience):
        """Files of chunks at homes alone, and as many as the objects there need."""
        services = {"files": "2", "backup-a": "3"}
        wanted = {}
        for (number, bucket), n in self.sizes.items():
            account = self.accounts[number]["account"]
            wanted[homes[account], f"{account}.{services[bucket]}"] = n
        end = time.monotonic() + patience
        while True:
            found = collections.Counter()
            for region in REGIONS:
                for path in glob.glob(os.path.join(self.cluster.nodes[region].dir, "store/chunks/*/*/*")):
                    found[region, path.split("/")[-2]] += 1
            wrong = {k: (found[k], wanted.get(k, 0)) for k in found.keys() | wanted if found[k] != wanted.get(k, 0)}
            if not wrong or time.monotonic() > end:
                break
            time.sleep(0.5)
        for (region, vault), (has, needs) in sorted(wrong.items()):
            self.report.violation("gone" if has > needs else "no-loss",
                                  f"{vault} at {region} (home {homes.get(vault.split('.')[0])}): {has} files of chunks, "
                                  f"its objects need {needs}")

    # --- waves and nodes ---

    def verify(self, waves):
        """What the last waves have moved, read again and compared with what was signed."""
        total = collections.Counter()
        for wave in waves:
            try:
                answer = told(self.cluster.nodes[wave["from"]], "wave", "verify", wave["id"], ends_with=1)
            except Failure as problem:
                self.report.violation("provable", f"wave verify {wave['id']}: {problem}")
                continue
            total.update({k: answer[k] for k in ("same", "changed", "left", "bad", "unknown")})
            for item in answer["items"]:
                if item["result"] == "unknown" or item["result"] == "bad" and item["account"] not in self.rotten:
                    self.report.violation("no-loss", f"wave verify {wave['id']}: {item}")
        return dict(total)

    def scrub(self):
        """Every record and chunk of every region, read again: {account id: what is damaged}."""
        found = collections.defaultdict(list)
        for region in REGIONS:
            try:
                answer = told(self.cluster.nodes[region], "region", "scrub", "--now", "--rate", "1GiB", ends_with=FORGED)
            except Failure as problem:
                self.report.violation("no-loss", f"region scrub at {region}: {problem}")
                continue
            for damage in answer["damages"]:
                found[damage["account"]].append({**damage, "at": region})
        return found

    def cure(self, out):
        """The scrub finds what can't be read, all of it and nothing else; then its owner removes it."""
        found, lost = self.scrub(), collections.Counter(self.accounts[n]["account"] for n, _ in self.unreadable)
        for account in found.keys() | lost:
            if lost[account] > len(found[account]) or not lost[account] or account not in self.rotten:
                self.report.violation("no-loss", f"{account}: {lost[account]} objects can't be read, the scrub found "
                                                 f"{found[account] or 'nothing'}")
        for number, key in sorted(self.unreadable):
            line = self.line(REGIONS[0], self.accounts[number])
            began = time.monotonic_ns()
            status, _, why = line.once("DELETE", "/" + key)
            line.close()
            out.write(json.dumps({"user": -1, "op": "delete", "key": f"{number}/{key}", "via": REGIONS[0], "began": began,
                                  "ended": time.monotonic_ns(), "status": status, "why": users.text(status, why)}) + "\n")
            if status != 204:
                self.report.violation("no-outage", f"{number}/{key} is damaged and can't be removed: {status} {why}")
        n, self.unreadable, self.rotten = len(self.unreadable), set(), ()
        return n

    def is_whole(self):
        for account, damages in self.scrub().items():
            self.report.violation("no-loss", f"{account}: {damages}")

    def restart_all(self):
        for node in self.cluster.nodes.values():
            status = node.terminate()
            if status != 0:
                self.report.violation("restart", f"{node.name} ended with {status} when it was asked to stop")
        for node in self.cluster.nodes.values():
            node.launch()
            if not node.wait_ready():
                self.report.violation("restart", f"{node.name} did not start again")
