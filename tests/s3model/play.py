"""Carries operations out on two regions and on the model, and compares every answer."""
import copy
import json
import signal
import threading
import time

import keys
import requests_of
from audit import audit
from model import Account
from values import Names, Unknown
from wire import Broken, Line, tree

# Headers of an answer that are compared: these, x-amz-* and access-control-*.
COMPARED = {"etag", "last-modified", "content-type", "cache-control", "content-disposition", "content-encoding",
            "content-language", "expires", "content-range", "content-length", "accept-ranges", "location"}
NOT_COMPARED = {"x-amz-request-id", "x-amz-id-2"}
AUDITS_FROM = 100_000_000              # their operations have these numbers
RESOLVED = ("version", "from_version", "upload", "token", "version_marker", "upload_marker")


class Difference(Exception):
    """The node did not answer as the model."""

    def __init__(self, op, said):
        super().__init__(f"{json.dumps(op, ensure_ascii=True)}\n  " + "\n  ".join(said))
        self.op, self.said = op, said


class Player:
    """Fresh accounts at REGIONS, the first of which they live in."""

    def __init__(self, regions, users=2, with_keys=True):
        self.regions, self.lines = regions, [Line(region.plain_port) for region in regions]
        self.users = [regions[0].account() for _ in range(users)]
        self.names = [Names() for _ in self.users]
        self.accounts = [Account(user["account"], names) for user, names in zip(self.users, self.names)]
        self.keys = keys.made(regions, self.users) if with_keys else []
        self.wave = None
        self.audits = 0
        self.cuts = {"answered": 0, "carried out": 0, "not carried out": 0}

    def close(self):
        self.do_arrive()
        for line in self.lines:
            line.close()

    # --- one operation ---

    def play(self, op):
        """Carry it out and compare the answer; True if it could be sent."""
        if hasattr(self, "do_" + op["op"]):
            return getattr(self, "do_" + op["op"])(op)
        try:
            op, request, wanted = self.prepare(op)
        except Unknown:
            return False
        before = time.time()
        answer = self.lines[op["at"]].send(self.signer(op), request)
        self.compare(op, request, wanted, answer, before)
        if op["op"] == "create_upload":
            time.sleep(0.001)           # uploads of a key are listed in the order of their milliseconds
        return True

    def prepare(self, op):
        """(OP with its times, the request, what is expected); the model has changed then."""
        names = self.names[op["user"]]
        op = self.with_times(op, names)
        wanted = self.accounts[op["user"]].expect(copy.deepcopy(op))
        said = self.resolved(op, names)
        for field in ("bucket", "from_bucket"):
            if field in said:
                said[field] = self.accounts[op["user"]].address(op, said[field])
        request = getattr(requests_of, op["op"])(said)
        request.link = request.link or op.get("link")
        if op.get("origin"):
            request.headers["Origin"] = op["origin"]
        return op, request, wanted

    def signer(self, op):
        return self.keys[op["user"]][op["as"]] if op.get("as") else self.users[op["user"]]

    def compare(self, op, request, wanted, answer, before):
        names = self.names[op["user"]]
        names.between[str(op["id"])] = (before, time.time())
        if said := differences(names, request, wanted, answer):
            raise Difference(op, said)

    @staticmethod
    def with_times(op, names):
        """With seconds for [symbol, more]. Every symbol has to be known; @v0 and the like are nowhere on purpose."""
        op = dict(op)
        for name, value in op.items():
            if name.endswith("_since") and isinstance(value, list):
                op[name] = names.seconds(value[0]) + value[1]
        for named in [op.get(name) for name in RESOLVED] + [one.get("version") for one in op.get("objects", [])]:
            if named and named[0] == "@" and named[2:] != "0" and not names.knows(named):
                raise Unknown(named)
        return op

    @staticmethod
    def resolved(op, names):
        said = {name: names.resolve(value) if name in RESOLVED else value for name, value in op.items()}
        if "objects" in said:
            said["objects"] = [{**one, "version": names.resolve(one.get("version"))} for one in said["objects"]]
        return said

    # --- what happens to the regions ---

    def do_move(self, op):
        """Set the accounts off to region op["to"]."""
        self.do_arrive()
        home, target = self.regions[1 - op["to"]], self.regions[op["to"]]
        if home.home(self.users[0]) == target.name:
            return
        path = home.folder / "moving"
        path.write_text("".join(user["account"] + "\n" for user in self.users))
        wave = json.loads(home.command("wave", "plan", "--from", home.name, "--to", target.name, "--accounts", path,
                                       "--json"))["wave"]
        wave = wave["id"] if isinstance(wave, dict) else wave
        home.command("wave", "run", wave)
        self.wave = (home, wave)

    def do_arrive(self, op=None):
        """Wait until they are there."""
        if self.wave:
            self.wave[0].wait_wave(self.wave[1])
        self.wave = None

    def do_restart(self, op):
        """Kill a region without warning and start it again."""
        self.regions[op["at"]].stop(signal.SIGKILL)
        self.start_again(op["at"])
        self.do_audit(op)

    def start_again(self, at):
        self.regions[at].start()
        for line in self.lines:
            line.close()

    def do_audit(self, op):
        """Compare all that there is."""
        for user, account in enumerate(self.accounts):
            for one in audit(account, user, op.get("at", 0), self.number()):
                self.play(one)

    def number(self):
        self.audits += 1
        return AUDITS_FROM + 100_000 * self.audits

    def do_cut(self, op):
        """Kill a region in the middle of an operation, which then has happened as a whole or not at all."""
        of, user = op["of"], op["of"]["user"]
        was = copy.deepcopy(self.accounts[user])
        try:
            of, request, wanted = self.prepare(of)
        except Unknown:
            return False
        before, answer = time.time(), self.send_and_kill(of, request, op)
        self.start_again(op["at"])
        if answer and answer.status < 500:
            self.cuts["answered"] += 1
            self.compare(of, request, wanted, answer, before)
        else:
            self.names[user].between[str(of["id"])] = (before, time.time())
            self.find_out(of, user, was)
        self.do_audit(op)
        return True

    def send_and_kill(self, of, request, op):
        """The answer, if there was time for one."""
        def kill():
            time.sleep(op["after_ms"] / 1000)
            self.regions[op["at"]].stop(signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            return self.lines[of["at"]].send(self.signer(of), request)
        except Broken:
            return None
        finally:
            killer.join()

    def find_out(self, of, user, was):
        """Whether OF was carried out: the account is as the model now, or as it WAS."""
        after = copy.deepcopy(self.accounts[user])
        try:
            for one in audit(after, user, of["at"], self.number()):
                self.play(one)
            self.cuts["carried out"] += 1
            return
        except Difference as difference:
            first = difference
        between = self.names[user].between
        self.accounts[user], self.names[user] = was, was.known
        was.known.between = between
        try:
            for one in audit(was, user, of["at"], self.number()):
                self.play(one)
        except Difference as second:
            raise Difference(of, ["cut off, and neither as if it had been carried out:", *first.said,
                                  "nor as if it had not:", *second.said]) from None
        self.cuts["not carried out"] += 1


def differences(names, request, wanted, answer):
    if wanted.status != answer.status:
        return [f"status {wanted.status} ({wanted.code}) expected, got {answer.status}: {answer.body[:500]!r}"]
    said = names.differences(wanted.headers, compared_headers(wanted, answer), "header")
    if request.method == "HEAD" or answer.status in (204, 304):
        return said
    if answer.status >= 300:
        return said + names.differences(wanted.code, answer.code(), "code")
    if wanted.xml is not None:
        return said + names.differences(wanted.xml, tree(answer.body))
    return said + names.differences(wanted.body, answer.body, "body")


def compared_headers(wanted, answer):
    found = {name: value for name, value in answer.headers.items()
             if (name in COMPARED or name.startswith(("x-amz-", "access-control-"))) and name not in NOT_COMPARED}
    # How long an answer is and which form it has is compared only where it is an object.
    for name in ("content-length", "content-type"):
        if name not in wanted.headers:
            found.pop(name, None)
    return found
