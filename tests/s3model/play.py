"""Carries operations out on two regions and on the model, and compares every answer."""
import copy
import json
import time

import requests_of
from model import Account
from values import Names, Unknown
from wire import Line, tree

# Headers of an answer that are compared: these, and x-amz-*.
COMPARED = {"etag", "last-modified", "content-type", "cache-control", "content-disposition", "content-encoding",
            "content-language", "expires", "content-range", "content-length", "accept-ranges", "location"}
NOT_COMPARED = {"x-amz-request-id", "x-amz-id-2"}
RESOLVED = ("version", "from_version", "upload", "token", "version_marker", "upload_marker")


class Difference(Exception):
    """The node did not answer as the model."""

    def __init__(self, op, said):
        super().__init__(f"{json.dumps(op, ensure_ascii=True)}\n  " + "\n  ".join(said))
        self.op, self.said = op, said


class Player:
    """Fresh accounts at REGIONS, the first of which they live in."""

    def __init__(self, regions, users=2):
        self.regions, self.lines = regions, [Line(region.plain_port) for region in regions]
        self.users = [regions[0].account() for _ in range(users)]
        self.names = [Names() for _ in self.users]
        self.accounts = [Account(user["account"], names) for user, names in zip(self.users, self.names)]
        self.wave = None

    def close(self):
        self.do_arrive()
        for line in self.lines:
            line.close()

    # --- one operation ---

    def play(self, op):
        if hasattr(self, "do_" + op["op"]):
            return getattr(self, "do_" + op["op"])(op)
        names = self.names[op["user"]]
        try:
            op = self.with_times(op, names)
            wanted = self.accounts[op["user"]].expect(copy.deepcopy(op))
        except Unknown:
            return None
        request = getattr(requests_of, op["op"])(self.resolved(op, names))
        before = time.time()
        answer = self.lines[op["at"]].send(self.users[op["user"]], request)
        names.between[str(op["id"])] = (before, time.time())
        if said := differences(names, request, wanted, answer):
            raise Difference(op, said)
        if op["op"] == "create_upload":
            time.sleep(0.001)           # uploads of a key are listed in the order of their milliseconds
        return answer

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
        self.lines[op["at"]].close()
        self.regions[op["at"]].stop(9)
        self.regions[op["at"]].start()
        for line in self.lines:
            line.close()


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
             if (name in COMPARED or name.startswith("x-amz-")) and name not in NOT_COMPARED}
    # How long an answer is and which form it has is compared only where it is an object.
    for name in ("content-length", "content-type"):
        if name not in wanted.headers:
            found.pop(name, None)
    return found
