#!/usr/bin/python3
"""The main job, on real data: accounts of eight markets move from one data centre to another while their
owners go on reading and writing. Every claim that is printed was checked; exit 0 only if all hold.

    ./run demo [--keep] [--json] [--accounts N] [--dir DIR]
"""
import argparse
import glob
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import clients as steady
import s3
from world import BUILD, DOMICILE, MARKETS, ROOT, RTT_MS, Failure, World, run

MARKERS = ["domicile-demo-plaintext-canary", "holiday-in-goa"]


class Report:
    """What is said: lines for people, or one JSON object at the end."""

    def __init__(self, as_json):
        self.as_json, self.out, self.start = as_json, {"claims": []}, time.monotonic()

    def say(self, text=""):
        if not self.as_json:
            print(f"{time.monotonic() - self.start:6.1f} s  {text}" if text else "", flush=True)

    def title(self, text):
        self.say()
        self.say(f"== {text}")

    def claim(self, holds, text, detail=""):
        self.out["claims"].append({"claim": text, "holds": bool(holds), "detail": detail})
        self.say(f"{'  ok  ' if holds else ' FAIL '} {text}{': ' + detail if detail else ''}")
        if not holds:
            raise Failure(f"{text}: {detail}")


def size_text(n):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024


class Demo:
    def __init__(self, options, report):
        self.options, self.report = options, report
        self.world = World(options.dir, options.port)
        self.accounts = []          # every generated and real one: credentials and country
        self.clients = []
        self.home_address = {}      # account -> region whose address its devices use
        self.samples = {}

    # --- the story's beginning: everyone in Beijing ---

    def begin(self):
        say = self.report.say
        self.report.title("One data centre: cn-bj. Users in eight markets.")
        self.bj = self.world.add_region("cn-bj", "CN")
        self.tls = s3.context(self.world.ca)
        per_market = max(1, self.options.accounts // len(MARKETS))
        start = time.monotonic()
        for country in MARKETS:
            made = self.bj.json("account", "create", "--country", country, "--grant", "files,backup",
                                "--count", per_market)
            made = made if isinstance(made, list) else made["accounts"]
            for account in made:
                account["country"] = country
                self.home_address[account["account"]] = "cn-bj"
            self.accounts += made
        say(f"{len(self.accounts)} accounts signed up in {time.monotonic() - start:.1f} s")
        random.Random(7).shuffle(self.accounts)
        self.real_work()
        self.fill()

    def environment(self, account, region):
        return {"PATH": os.environ["PATH"], "HOME": self.options.dir,
                "AWS_ACCESS_KEY_ID": account["access_key"],
                "AWS_SECRET_ACCESS_KEY": account["secret_key"], "AWS_DEFAULT_REGION": "us-east-1",
                "RESTIC_REPOSITORY": f"s3:https://127.0.0.1:{region.s3[1]}/backup",
                "RESTIC_PASSWORD": "correct horse", "RESTIC_CACERT": self.world.ca,
                "SSL_CERT_FILE": self.world.ca,     # for a restic that does not know RESTIC_CACERT
                "RESTIC_CACHE_DIR": os.path.join(self.options.dir, "restic-cache"),
                "RCLONE_CONFIG_HOME_TYPE": "s3", "RCLONE_CONFIG_HOME_PROVIDER": "Other",
                "RCLONE_CONFIG_HOME_ENV_AUTH": "true",
                "RCLONE_CONFIG_HOME_ENDPOINT": f"https://127.0.0.1:{region.s3[1]}",
                "RCLONE_CA_CERT": self.world.ca, "RCLONE_CONFIG": os.path.join(self.options.dir, "none")}

    def pick_files(self):
        """Real files found on this machine, some megabytes of them."""
        folder = os.path.join(self.options.dir, "photos")
        os.makedirs(folder)
        total = 0
        for path in sorted(glob.glob("/usr/share/doc/*/*") + glob.glob("/usr/lib/python3*/*.py") +
                           glob.glob("/usr/lib/x86_64-linux-gnu/lib[a-g]*.so.*")):
            if total > self.options.real_mib << 20:
                break
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) < 8 << 20:
                name = path.strip("/").replace("/", "__")
                shutil.copyfile(path, os.path.join(folder, name))
                total += os.path.getsize(path)
        for marker in MARKERS:
            with open(os.path.join(folder, f"{marker}.txt"), "w") as f:
                f.write(f"{marker}\n" * 2000)
        return folder, total

    def real_work(self):
        self.photos, size = self.pick_files()
        take = lambda country: next(a for a in self.accounts if a["country"] == country)
        self.restic = [take("IN"), take("ID")]
        self.rclone = [take("IN"), take("MY")]
        for account in self.restic:
            e = self.environment(account, self.bj)
            run("restic", "init", "--quiet", env=e)
            run("restic", "backup", "--quiet", self.photos, env=e)
        for account in self.rclone:
            run("rclone", "mkdir", "home:holiday-in-goa", env=self.environment(account, self.bj))
            run("rclone", "copy", self.photos, "home:holiday-in-goa/photos", "--transfers", "8",
                env=self.environment(account, self.bj))
        self.report.say(f"real restic backups of {len(self.restic)} accounts and rclone folders of "
                        f"{len(self.rclone)}: {size_text(size)} of this machine's files each")

    def fill(self):
        path = os.path.join(self.options.dir, "accounts.json")
        with open(path, "w") as f:
            json.dump(self.accounts, f)
        start = time.monotonic()
        done = json.loads(run(os.path.join(BUILD, "bench", "load"), "fill", "--url",
                              f"https://127.0.0.1:{self.bj.s3[1]}", "--ca", self.world.ca, "--accounts",
                              path, "--bucket", "mail", "--objects", self.options.objects, "--size", 2048,
                              "--connections", 16))
        took = time.monotonic() - start
        self.report.say(f"{done['requests']} durable objects written to {len(self.accounts)} accounts in "
                        f"{took:.1f} s ({done['requests'] / took:.0f}/s)")
        self.report.claim(done["failed"] == 0, "every object of the generated accounts was stored")

    # --- clients that never stop ---

    def address(self, account):
        return self.world.relays[self.home_address[account["account"]], account["country"]]

    def start_clients(self):
        for country in MARKETS:
            mine = [a for a in self.accounts if a["country"] == country and a not in self.restic + self.rclone]
            for account in mine[:self.options.clients // len(MARKETS)]:
                first = s3.Client((self.bj.s3), account, self.tls)
                status, _ = first.request("PUT", "/notes")
                first.close()
                if status != 200:
                    raise Failure(f"creating a bucket: {status}")
                client = steady.Steady(account, self.address, self.tls, 0.05)
                client.start()
                self.clients.append(client)
        self.report.say(f"{len(self.clients)} devices of these markets read and write from now on, each as far "
                        "away as it is")

    def traffic(self):
        return sum(c.requests for c in self.clients), sum(c.failed for c in self.clients)

    # --- before a move: what to look for afterwards ---

    def take_samples(self, region, accounts):
        out = []
        for account in accounts:
            raw = bytes.fromhex(account["account"])
            for record in region.json("region", "sample", account["account"])["records"]:
                data = bytes.fromhex(record["hex"])
                # A record's last bytes are ciphertext and tag; never those that hold the account's id.
                for at in (len(data) - 16, len(data) - 48, len(data) - 80):
                    window = data[at:at + 16] if at >= 0 else b""
                    if len(window) == 16 and raw[:8] not in data[max(0, at - 16):at + 32] \
                            and window.count(0) < 2 and b"\n" not in window and b"\0" not in window:
                        out.append((f"{record['service']} {record['kind']}", window))
            chunks = os.path.join(region.dir, "store", "chunks", account["account"][:2])
            for path in glob.glob(os.path.join(chunks, account["account"] + ".*", "*"))[:6]:
                with open(path, "rb") as f:
                    data = f.read()
                for at in (64, len(data) // 2, len(data) - 32):
                    window = data[at:at + 16]
                    if len(window) == 16 and b"\n" not in window and b"\0" not in window:
                        out.append(("chunk", window))
        return out

    def search(self, region, windows):
        """How many of the byte strings occur in any file of the region's store, logs included."""
        patterns = os.path.join(self.options.dir, "patterns")
        with open(patterns, "wb") as f:
            f.write(b"\n".join(windows) + b"\n")
        done = subprocess.run(["grep", "-r", "-a", "-o", "-h", "-F", "-f", patterns, region.dir],
                              stdout=subprocess.PIPE, env={"LC_ALL": "C", "PATH": os.environ["PATH"]})
        os.unlink(patterns)
        return len(set(done.stdout.split(b"\n")) & set(windows))

    # --- a wave ---

    def wave(self, title, source, target, countries):
        report = self.report
        report.title(title)
        mine = [a for a in self.accounts
                if (a["country"] in countries if isinstance(countries, list) else a["country"] != "CN")]
        selection = ",".join(countries) if isinstance(countries, list) else "!CN"
        real = [a for a in self.restic + self.rclone if a in mine]
        probes = real + random.Random(1).sample(mine, min(20, len(mine)))
        samples = self.take_samples(source, probes)
        windows = [w for _, w in samples]
        found = self.search(source, windows)
        report.claim(found >= len(set(windows)) * 0.6, f"before: sealed samples are found in the files of {source.name}",
                     f"{found} of {len(set(windows))}")
        report.claim(self.search(source, [m.encode() for m in MARKERS]) == 0,
                     "known plaintext is in no file even now")
        dry = source.json("wave", "plan", "--from", source.name, "--to", target.name, "--countries", selection,
                          "--dry-run")
        report.say(f"dry run: {dry['accounts']} accounts")
        plan = source.json("wave", "plan", "--from", source.name, "--to", target.name, "--countries", selection,
                           "--deadline", "+1h")
        wave = plan["wave"] if isinstance(plan["wave"], str) else plan["wave"]["id"]
        before, start = self.traffic(), time.monotonic()
        source.cli("wave", "run", wave)
        moved_after = self.watch(source, wave, start)
        erased_after = time.monotonic() - start
        after = self.traffic()
        self.wave_result(source, target, wave, len(mine), moved_after, erased_after, after[0] - before[0],
                         after[1] - before[1])
        self.settle_clients(mine, target)
        self.after_wave(source, target, wave, mine, probes, windows)

    def watch(self, region, wave, start):
        """Show the wave until it is done; seconds until the last account was served by its new home."""
        words = [DOMICILE, "wave", "watch", wave, "--config", region.conf]
        watching = subprocess.Popen(words, stdout=subprocess.PIPE if self.report.as_json else None,
                                    stderr=subprocess.PIPE)
        moved_after = None
        while moved_after is None and watching.poll() is None:
            items = region.json("wave", "status", wave)["items"]
            if not items["waiting"] + items["moving"] + items["put-off"]:
                moved_after = time.monotonic() - start
            time.sleep(0.1)
        _, errors = watching.communicate(timeout=90)
        if watching.returncode:
            raise Failure(f"wave watch: exit {watching.returncode}: {errors.decode()[-1000:]}")
        return moved_after or time.monotonic() - start

    def wave_result(self, source, target, wave, accounts, moving, erased, served, failed):
        report = self.report
        status = source.json("wave", "status", wave)
        pause = status["pause_us"]
        total = status["bytes"]
        report.say(f"{accounts} accounts, {size_text(total)} in {moving:.1f} s: {accounts / moving:.0f} accounts/s, "
                   f"{total / moving / 1e6:.1f} MB/s; erased at the old home, compacted and looked for again after "
                   f"{erased:.1f} s")
        report.say(f"requests served meanwhile: {served}, failed: {failed}")
        report.say("write pause: p50 %.1f ms, p99 %.1f ms, max %.1f ms (round trip between the regions %.2f ms)" %
                   (*(pause[k] / 1000 for k in ("p50", "p99", "max")), status["round_trip_us"] / 1000))
        report.out.setdefault("waves", []).append({
            "from": source.name, "to": target.name, "accounts": accounts, "bytes": total, "seconds": moving,
            "served": served, "failed": failed, "pause_us": pause})
        report.claim(status["items"].get("erased", 0) == accounts, "every account of the wave moved and was erased at the old home",
                     f"{status['items'].get('erased', 0)} of {accounts}")
        failures = [f for c in self.clients for f in c.failures]
        report.claim(not failures, "no request failed", "; ".join(failures[:3]))

    def settle_clients(self, accounts, target):
        """DNS has changed: the devices now go to the new home's address."""
        for account in accounts:
            self.home_address[account["account"]] = target.name
        time.sleep(1)

    def after_wave(self, source, target, wave, mine, probes, windows):
        report = self.report
        n, wrong = steady.check_all(self.clients, lambda account: self.world.regions[
            self.home_address[account["account"]]].s3, self.tls)
        report.claim(not wrong, f"all {n} acknowledged writes of the devices are there", "; ".join(wrong[:3]))
        for account in self.restic:
            if account in mine:
                run("restic", "check", "--read-data", "--quiet", env=self.environment(account, target))
        for account in self.rclone:
            if account in mine:
                run("rclone", "check", self.photos, "home:holiday-in-goa/photos", "--download",
                    env=self.environment(account, target))
        report.claim(True, "restic check --read-data and rclone check --download pass at the new home")
        verified = target.json("wave", "verify", wave)
        report.claim(verified["bad"] == 0, "wave verify: content roots recomputed from storage, integrity_check",
                     f"{verified['same']} the same, {verified['changed']} written to since, {verified['bad']} bad")
        left = self.search(source, windows + [m.encode() for m in MARKERS])
        report.claim(left == 0, f"in the files of {source.name} nothing is left: no key, record, chunk or plaintext",
                     f"{left} of {len(set(windows))} samples")
        chunks = [a for a in mine if glob.glob(os.path.join(source.dir, "store", "chunks", a["account"][:2],
                                                            a["account"] + ".*", "*"))]
        report.claim(not chunks, "not one chunk file of a moved account")
        shown = source.json("account", "show", mine[0]["account"])
        report.say(f"what {source.name} still knows of account {mine[0]['account'][:8]}…: it lives in "
                   f"{shown['home']}, epoch {shown['epoch']}")
        self.certificate(source, probes[0])

    def certificate(self, source, account):
        trust = os.path.join(self.options.dir, "trust")
        os.makedirs(trust, exist_ok=True)
        source.cli("trust", trust)
        path = os.path.join(self.options.dir, f"certificate-{source.name}.json")
        source.cli("certificate", account["account"], "--output", path)
        run(DOMICILE, "verify", path, "--trust", trust)
        with open(path) as f:
            text = f.read()
        at = text.index("root ") + 10
        forged = path + ".forged"
        with open(forged, "w") as f:
            f.write(text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1:])
        refused = subprocess.run([DOMICILE, "verify", forged, "--trust", trust], stderr=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
        self.report.claim(refused.returncode != 0, "the certificate verifies offline, and is refused after one byte is changed",
                          refused.stderr.decode().strip()[:150])

    # --- what it was for ---

    def wait_of_india(self, when):
        account = next(c.account for c in self.clients if c.account["country"] == "IN")
        client = s3.Client(self.address(account), account, self.tls)
        times = []
        client.request("GET", "/notes", query="")
        for _ in range(5):
            start = time.monotonic()
            status, _ = client.request("GET", "/notes")
            times.append((time.monotonic() - start) * 1000)
            if status != 200:
                raise Failure(f"GET: {status}")
        client.close()
        ms = statistics.median(times)
        self.report.out.setdefault("india_ms", {})[when] = ms
        self.report.say(f"a user in India waits {ms:.0f} ms for a small read {when}")
        return ms

    def go(self):
        self.begin()
        self.start_clients()
        time.sleep(1.5)
        first = self.wait_of_india("from Beijing")
        sg = self.world.add_region("sg", "SG")
        self.wave("Wave 1: everyone who is not in China moves to Singapore", self.bj, sg, "!CN")
        second = self.wait_of_india("from Singapore")
        mum = self.world.add_region("in-mum", "IN")
        self.wave("Wave 2: in-mum opens; India's accounts move there", sg, mum, ["IN"])
        third = self.wait_of_india("from Mumbai")
        self.report.title("Result")
        self.report.claim(third < second < first, "the service is faster than before",
                          f"India: {first:.0f} ms, then {second:.0f} ms, now {third:.0f} ms")
        for client in self.clients:
            client.stop()
        for client in self.clients:
            client.join(10)
        requests, failed = self.traffic()
        n, wrong = steady.check_all(self.clients, lambda account: self.world.regions[
            self.home_address[account["account"]]].s3, self.tls)
        self.report.claim(failed == 0 and not wrong, f"{requests} requests in all, none failed; {n} acknowledged "
                          "writes, all there", "; ".join(wrong[:3]))


def main():
    p = argparse.ArgumentParser(prog="./run demo", description=__doc__.split("\n\n")[0])
    p.add_argument("--keep", action="store_true", help="leave the regions running, and say where")
    p.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    p.add_argument("--accounts", type=int, default=3000, help="generated accounts (3000)")
    p.add_argument("--objects", type=int, default=10, help="objects in each of them (10)")
    p.add_argument("--clients", type=int, default=48, help="devices that read and write throughout (48)")
    p.add_argument("--real-mib", type=int, default=24, help="of this machine's files, for each real account (24)")
    p.add_argument("--port", type=int, default=7100, help="first of about 150 loopback ports (7100)")
    p.add_argument("--dir", help="folder for everything (a new one under /tmp)")
    options = p.parse_args()
    made = options.dir is None
    options.dir = options.dir or tempfile.mkdtemp(prefix="domicile-demo-")
    os.makedirs(options.dir, exist_ok=True)
    report, demo, problem = Report(options.json), None, None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        demo = Demo(options, report)
        demo.go()
    except (Failure, subprocess.TimeoutExpired, OSError, KeyError, ValueError) as e:
        problem = f"{type(e).__name__}: {e}" if not isinstance(e, Failure) else str(e)
    finally:
        if demo:
            for client in demo.clients:
                client.stop()
            if not (options.keep and sys.exc_info()[0] is None):
                demo.world.stop()
    report.out.update(ok=problem is None, seconds=round(time.monotonic() - report.start, 1), problem=problem)
    if problem or not made or options.keep:
        report.out["folder"] = options.dir
    if options.keep and demo:
        report.out["pids"] = demo.world.pids()
    if options.json:
        print(json.dumps(report.out, indent=1))
    elif problem:
        print(f"\nDEMO FAILED: {problem}\nLogs are in {options.dir}/<region>/log", file=sys.stderr)
    else:
        report.say(f"all {len(report.out['claims'])} claims hold")
    if options.keep and demo:
        report.say(f"left running; folder {options.dir}; try: {DOMICILE} directory status --config "
                   f"{options.dir}/cn-bj/region.conf")
        report.say(f"end it: kill {' '.join(map(str, report.out['pids']))}")
    elif made and not problem:
        shutil.rmtree(options.dir, ignore_errors=True)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
