"""Operating a node: making regions, starting, stopping, reloading, accounts, plans, and what is refused."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "demo"))
import s3
from world import DOMICILE

PORT = [24000]
BAD, MISSING, EXISTS, DENIED, BUSY, STALE, FORGED, PEER = 3, 5, 6, 7, 9, 10, 11, 15
NOBODY = "0" * 32


def domicile(*words, code=0):
    """Standard output of a command that has to end with CODE; with another than 0, what it said."""
    done = subprocess.run([DOMICILE, *map(str, words)], capture_output=True, text=True, timeout=180,
                          env={k: v for k, v in os.environ.items() if k != "DOMICILE_CONFIG"})
    assert done.returncode == code, f"{words}: exit {done.returncode}: {done.stderr}{done.stdout}"
    return done.stderr if code else done.stdout


class Node:
    def __init__(self, folder, name="cn-bj", jurisdiction="CN", ca=None, directory=("--directory",)):
        PORT[0] += 10
        self.name, self.port, self.process = name, PORT[0], None
        self.ca = ca or os.path.join(folder, "ca")
        self.dir = os.path.join(folder, name)
        self.conf = os.path.join(self.dir, "region.conf")
        self.log = os.path.join(folder, name + ".log")
        if not ca:
            domicile("ca", "init", self.ca)
        domicile("region", "init", self.dir, "--region", name, "--jurisdiction", jurisdiction, "--ca", self.ca,
                 "--port-base", self.port, *directory)
        self.s3 = ("127.0.0.1", self.port)

    def start(self):
        with open(self.log, "ab") as log:
            self.began = log.tell()
            self.process = subprocess.Popen([DOMICILE, "serve", "--config", self.conf], stderr=log)
        self.wait_logged(" ready ")
        return self

    def logged(self):
        with open(self.log) as f:
            f.seek(self.began)
            return f.read()

    def wait_logged(self, text, times=1):
        for _ in range(2400):
            if self.logged().count(text) >= times:
                return
            assert self.process.poll() is None, self.logged()
            time.sleep(0.025)
        raise AssertionError(f"no '{text}' in: {self.logged()}")

    def refuses_to_start(self, code):
        return domicile("serve", "--config", self.conf, code=code)

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(60) if self.process else 0

    def cli(self, *words, code=0):
        return domicile(*words, "--config", self.conf, code=code)

    def json(self, *words):
        return json.loads(self.cli(*words, "--json"))

    def create(self, country="CN", *words):
        return self.json("account", "create", "--country", country, "--grant", "files,backup", *words)

    def client(self, account):
        return s3.Client(self.s3, account, s3.context(os.path.join(self.ca, "ca.pem")), 60)

    def edit(self, file, old, new):
        with open(file) as f:
            text = f.read()
        assert old in text
        with open(file, "w") as f:
            f.write(text.replace(old, new, 1))

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port + 3}{path}", timeout=60) as answer:
            return answer.headers, answer.read().decode()

    def call(self, method, path, body):
        """A raw call on the admin socket: status and JSON."""
        connection = http.client.HTTPConnection("node", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(60)
        connection.sock.connect(os.path.join(self.dir, "admin.sock"))
        connection.request(method, path, body)
        answer = connection.getresponse()
        found = answer.status, answer.headers.get("content-type"), json.loads(answer.read())
        connection.close()
        return found


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    n = Node(str(tmp_path_factory.mktemp("n"))).start()
    yield n
    assert n.stop() == 0


@pytest.fixture
def fresh(tmp_path):
    n = Node(str(tmp_path))
    yield n
    n.stop()


def mode(*path):
    return stat.S_IMODE(os.stat(os.path.join(*path)).st_mode)


# --- making regions ---


def test_keys_are_made_for_their_owner_alone(fresh):
    for secret in ("region.key", "sign.key", "tls.key"):
        assert mode(fresh.dir, secret) == 0o600
    assert mode(fresh.ca, "ca.key") == 0o600
    assert mode(fresh.dir) == 0o700


def test_what_is_there_is_never_made_anew(fresh, tmp_path):
    with open(os.path.join(fresh.dir, "sign.key")) as f:
        before = f.read()
    again = ["region", "init", fresh.dir, "--region", "cn-bj", "--jurisdiction", "CN", "--ca", fresh.ca, "--directory"]
    assert "is there already" in domicile(*again, code=EXISTS)
    again[2] = str(tmp_path / "other")
    assert "[region cn-bj]" in domicile(*again, code=EXISTS)
    assert not os.path.exists(again[2])
    domicile("ca", "init", fresh.ca, code=EXISTS)
    with open(os.path.join(fresh.dir, "sign.key")) as f:
        assert f.read() == before


def test_regions_made_at_once_all_get_into_the_regions_file(tmp_path):
    ca = str(tmp_path / "ca")
    domicile("ca", "init", ca)
    makers = [threading.Thread(target=domicile, args=[
        "region", "init", tmp_path / f"r{i}", "--region", f"r{i}", "--jurisdiction", "SG", "--ca", ca, "--directory",
        "--port-base", 7400 + 10 * i])
        for i in range(6)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    with open(os.path.join(ca, "regions.conf")) as f:
        text = f.read()
    for i in range(6):
        assert f"[region r{i}]" in text
    assert sorted(re.search(r"^regions = (.*)$", text, re.M).group(1).split(", ")) == [f"r{i}" for i in range(6)]


def test_a_region_gets_no_ports_that_another_has(tmp_path):
    ca = tmp_path / "ca"
    domicile("ca", "init", ca)

    def init(name, *words, code=0):
        return domicile("region", "init", tmp_path / name, "--jurisdiction", "SG", "--ca", ca, "--region", name,
                        *words, code=code)

    init("bj", "--directory")
    away = ["--directory-at", "bj=127.0.0.1:7401"]
    for words in ([], ["--port-base", 7396], ["--port-base", 7404]):
        said = init("sg", *away, *words, code=EXISTS)
        assert "[region bj] has ports 7400 to 7404 of 127.0.0.1 already" in said and "--port-base 7410" in said
    assert not os.path.exists(tmp_path / "sg")
    assert "has ports" in domicile("region", "init", tmp_path / "standby", "--standby-of", "bj", "--ca", ca, *away,
                                   code=EXISTS)
    init("sg", *away, "--port-base", 7405)
    init("far", *away, "--host", "10.0.0.9")
    assert "--port-base 7415" in init("us", *away, "--port-base", 7409, code=EXISTS)


@pytest.mark.parametrize("words", [
    ["--region", "Not_Good"], ["--jurisdiction", "China"], ["--port-base", "70000"], ["--listen", "nowhere"],
    ["--directory-at", "x=y:1"], ["--host", "a b"]])
def test_a_region_that_can_not_be_is_refused_before_anything_is_made(tmp_path, words):
    domicile("ca", "init", tmp_path / "ca")
    given = {"--region": "sg", "--jurisdiction": "SG", **dict([words])}
    flat = [w for pair in given.items() for w in pair]
    domicile("region", "init", tmp_path / "sg", "--ca", tmp_path / "ca", "--directory", *flat, code=2)
    assert not os.path.exists(tmp_path / "sg")


# --- serving ---


def test_a_node_tells_its_health(node):
    headers, body = node.get("/healthz")
    health = json.loads(body)
    assert headers["content-type"] == "application/json"
    assert health["status"] == "ok" and health["region"] == "cn-bj" and health["directory"] == "here"


def test_metrics_follow_the_exposition_format_and_name_nobody(node):
    account = node.create()[0]
    client = node.client(account)
    assert client.request("PUT", "/photos")[0] == 200
    assert client.request("PUT", "/photos/goa", b"sea")[0] == 200
    headers, body = node.get("/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    line = re.compile(r'^(# (HELP|TYPE) \S+ .*|[a-z_]+(\{[^{}]*\})? [-+0-9.e]+)$')
    assert [x for x in body.splitlines() if not line.match(x)] == []
    assert re.search(r"^domicile_vaults_open [1-9]", body, re.M)
    assert re.search(r"^domicile_store_bytes [0-9]+$", body, re.M)
    for personal in (account["account"], account["access_key"], "photos", "goa"):
        assert personal not in body and personal not in node.logged()


def test_the_ports_are_in_the_ready_line(node):
    assert f"s3={node.port} " in node.logged() and f"peer={node.port + 1} " in node.logged()


def test_status_commands_answer(node):
    assert node.json("region", "status")["region"] == "cn-bj"
    assert node.json("directory", "status")["served_by"] == "this node"
    assert "cn-bj" in node.cli("region", "status") and "directory" in node.cli("directory", "status")


# --- accounts ---


def test_an_account_is_made_shown_suspended_resumed_and_removed(node):
    account = node.create("CN")[0]
    number = account["account"]
    assert account["region"] == "cn-bj"
    client = node.client(account)
    assert client.request("PUT", "/box")[0] == 200
    assert client.request("PUT", "/box/k", b"mine")[0] == 200
    shown = node.json("account", "show", number)
    assert shown["home"] == "cn-bj" and shown["epoch"] == 1
    assert number in node.cli("account", "list")
    node.cli("account", "suspend", number)
    assert client.request("GET", "/box/k")[0] == 403
    assert [a for a in node.json("account", "list") if a["account"] == number][0]["suspended"]
    node.cli("account", "resume", number)
    assert client.request("GET", "/box/k") == (200, b"mine")
    assert "--yes" in node.cli("account", "remove", number, code=2)
    node.cli("account", "remove", number, "--yes")
    node.cli("account", "show", number, code=MISSING)
    assert client.request("GET", "/box/k")[0] == 403
    assert number not in node.cli("account", "list")


def test_many_accounts_are_made_and_listed_in_pieces(node, tmp_path):
    path = tmp_path / "accounts"
    node.cli("account", "create", "--country", "TW", "--count", 450, "--output", path)
    assert mode(path) == 0o600
    made = [line.split("\t") for line in path.read_text().splitlines()]
    assert len({a[0] for a in made}) == 450 and all(len(a) == 4 and len(a[3]) == 40 for a in made)
    listed = {a["account"] for a in node.json("account", "list", "--country", "TW")}
    assert listed == {a[0] for a in made}


def test_secrets_are_never_written_over_or_made_for_a_file_that_can_not_be(node, tmp_path):
    path = tmp_path / "accounts"
    path.write_text("the only copy")
    create = ["account", "create", "--country", "LA", "--output"]
    node.cli(*create, path, code=EXISTS)
    node.cli(*create, tmp_path / "none" / "accounts", code=MISSING)
    assert path.read_text() == "the only copy"
    node.cli(*create, tmp_path / "new", "--grant", "photos", code=BAD)
    assert not os.path.exists(tmp_path / "new")
    assert node.json("account", "list", "--country", "LA") == []


def test_a_service_that_was_not_granted_is_refused(node):
    account = node.json("account", "create", "--country", "CN", "--grant", "backup")[0]
    client = node.client(account)
    assert client.request("PUT", "/backup-mine")[0] == 200
    status, body = client.request("PUT", "/photos")
    assert status == 403 and b"grant" in body.lower()
    consent = node.json("account", "consent", account["account"])
    assert [one["service"] for one in consent] == ["profile", "backup"]
    receipt = consent[1]["receipt"]
    assert receipt["principal"] == account["account"] and receipt["jurisdiction"] == "CN" and receipt["notice"]
    assert receipt["storage_location"]["region"] == "cn-bj" and receipt["retention"]


@pytest.mark.parametrize("words, code", [
    (["account", "create", "--country", "cn"], BAD),
    (["account", "create", "--country", "CN", "--grant", "photos"], BAD),
    (["account", "create", "--country", "CN", "--count", "0"], 2),
    (["account", "show", "me"], BAD),
    (["account", "show", NOBODY], MISSING),
    (["account", "consent", NOBODY], MISSING),
    (["account", "suspend", NOBODY], MISSING),
    (["account", "remove", NOBODY, "--yes"], MISSING),
    (["certificate", NOBODY], MISSING),
    (["wave", "status", "0" * 16], MISSING),
    (["wave", "run", "0" * 16], MISSING),
    (["wave", "plan", "--from", "cn-bj", "--to", "mars"], MISSING),
    (["wave", "plan", "--from", "cn-bj", "--to", "cn-bj"], BAD),
    (["wave", "plan", "--from", "cn-bj", "--to", "sg", "--rate", "fast"], 2),
    (["wave", "plan", "--from", "cn-bj", "--to", "sg", "--deadline", "soon"], 2),
    (["account", "list", "--home", "mars"], MISSING),
    (["account", "list", "--country", "china"], BAD),
    (["wave", "list", "--from", "mars"], MISSING),
    (["wave", "fly"], 2),
])
def test_what_can_not_be_ends_with_its_exit_code(node, words, code):
    assert node.cli(*words, code=code).startswith("domicile: ")


def test_a_node_that_is_away_is_said_to_be(fresh):
    assert "domicile serve --config" in fresh.cli("account", "list", code=PEER)
    assert "DOMICILE_CONFIG" in domicile("account", "list", code=2)


# --- the calls themselves ---


def test_calls_refuse_what_they_do_not_know(node):
    for path, body, status, kind in [
            ("/v1/account/list", '{"homes": "x"}', 400, "bad"),
            ("/v1/account/list", '{"limit": 100000}', 400, "bad"),
            ("/v1/account/list", '{"limit": "1"}', 400, "bad"),
            ("/v1/account/list", '[]', 400, "bad"),
            ("/v1/account/list", '{"home": "a", "home": "b"}', 400, "bad"),
            ("/v1/account/list", '{', 400, "bad"),
            ("/v1/account/show", '{}', 400, "bad"),
            ("/v1/account/create", '{"country": "CN", "count": 1000000}', 400, "bad"),
            ("/v1/nothing", '{}', 404, "missing"),
            ("/peer/v1/directory/find", '{}', 404, "missing")]:
        found, kind_of_answer, problem = node.call("POST", path, body)
        assert (found, kind_of_answer, problem["kind"]) == (status, "application/problem+json", kind), path
        assert problem["detail"] and problem["id"]
    assert node.call("GET", "/v1/account/list", None)[0] == 400


def test_a_body_that_is_too_big_is_refused(node):
    try:
        status, _, _ = node.call("POST", "/v1/account/list", '{"home": "' + "x" * (3 << 20) + '"}')
        assert status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass                # refused before all of it was sent
    assert node.call("POST", "/v1/account/list", '{"limit": 1}')[0] == 200


def test_the_admin_socket_is_the_owners_alone(node):
    assert mode(node.dir, "admin.sock") == 0o600


# --- configuration ---


@pytest.mark.parametrize("old, new, says", [
    ("region = cn-bj\n", "region = cn-bj\nhodl = 3 s\n", "hodl"),
    ("region = cn-bj\n", "region = sg\n", "region sg"),
    ("jurisdiction = CN\n", "jurisdiction = SG\n", "jurisdiction"),
    ("store = store\n", "", "store"),
    ("peer_listen", "# peer_listen", "peer_listen"),
    ("directory = directory.sqlite", "directory_at = nonsense", "directory_at"),
    ("# hold = 30 s ", "hold = 3 weeks ", "hold"),
    ("# s3_plain_listen = 127.0.0.1", "s3_plain_listen = 0.0.0.0", "loopback"),
])
def test_a_wrong_configuration_is_refused_and_named(fresh, old, new, says):
    fresh.edit(fresh.conf, old, new)
    assert says in fresh.refuses_to_start(BAD)


@pytest.mark.parametrize("old, new, says", [
    ("[region cn-bj]", "[region cn-bj]\ncolour = red", "colour"),
    ("sign = ", "sign = AAAA", "sign"),
    ("transit = proxy", "transit = perhaps", "transit = perhaps: expected proxy or redirect"),
    ("peer = 127.0.0.1:", "peer = 127.0.0.1-", "peer = 127.0.0.1-"),
    ("[policy *]", "[policy India]", "[policy India]: a country"),
    ("s3 = https", "# s3 = https", "s3"),
])
def test_a_wrong_regions_file_is_refused_and_named(fresh, old, new, says):
    path = os.path.join(fresh.ca, "regions.conf")
    with open(path) as f:       # the example in the comments has the same words
        head, tail = f.read().split("\n\n", 1)
    with open(path, "w") as f:
        f.write(head + "\n\n" + tail.replace(old, new, 1))
    said = fresh.refuses_to_start(BAD)
    assert says in said and said.count("regions.conf") == 1


@pytest.mark.parametrize("key", ["region.key", "sign.key", "tls.key"])
def test_a_key_that_others_can_read_is_refused(fresh, key):
    os.chmod(os.path.join(fresh.dir, key), 0o644)
    said = fresh.refuses_to_start(DENIED)
    assert key in said and "chmod 600" in said


@pytest.mark.parametrize("key", ["region.key", "sign.key", "tls.key", "ca.pem"])
def test_a_missing_key_is_named(fresh, key):
    os.unlink(os.path.join(fresh.dir, key))
    assert key in fresh.refuses_to_start(MISSING)


def test_another_regions_key_is_refused_and_the_right_one_opens_all(fresh):
    fresh.start()
    account = fresh.create()[0]
    assert fresh.stop() == 0
    right, other = os.path.join(fresh.dir, "region.key"), Node(os.path.dirname(fresh.dir), "sg", "SG", fresh.ca)
    os.rename(right, right + ".right")
    shutil.copy2(os.path.join(other.dir, "region.key"), right)
    said = fresh.refuses_to_start(FORGED)
    assert right in said and "no vault of the store opens" in said
    os.rename(right + ".right", right)
    fresh.start()
    assert fresh.client(account).request("GET", "/")[0] == 200


def test_a_second_directory_is_noted(fresh):
    again = ("region", "init", os.path.join(os.path.dirname(fresh.dir), "sg"), "--region", "sg", "--jurisdiction", "SG",
             "--ca", fresh.ca, "--port-base", str(fresh.port + 10), "--directory")
    done = subprocess.run([DOMICILE, *again], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "exactly one node keeps the directory" in done.stderr, done
    assert "directory_at" in done.stderr


def test_two_processes_can_not_have_one_store(fresh):
    fresh.start()
    for said in (fresh.refuses_to_start(BUSY), fresh.cli("region", "reconcile", code=BUSY)):
        assert "store/engine: another process has it, such as the node" in said
    assert json.loads(fresh.get("/healthz")[1])["status"] == "ok"
    fresh.create()


@pytest.mark.parametrize("at, word", enumerate(["s3_listen", "peer_listen", "stream_listen", "metrics_listen"]))
def test_a_port_that_is_taken_is_named_with_its_word(fresh, at, word):
    with socket.create_server(("127.0.0.1", fresh.port + at)):
        assert f"{word}: 127.0.0.1:{fresh.port + at}: another process has this port" in fresh.refuses_to_start(BUSY)


# --- signals ---


def test_reloading_follows_the_policy_and_keeps_the_old_one_on_an_error(fresh):
    regions = os.path.join(fresh.ca, "regions.conf")
    fresh.start()
    fresh.create("IN")
    with open(regions, "a") as f:
        f.write("\n[policy IN]\nregions = in-mum\n")
    fresh.signal(signal.SIGHUP)
    fresh.wait_logged(" reload ")
    assert "in-mum" in fresh.cli("account", "create", "--country", "IN", code=DENIED)
    fresh.wait_logged(" policy.unknown ")       # it may be a region that comes later, or a slip
    assert fresh.json("region", "status")["policy_unknown"] == "in-mum [policy IN]"
    assert "no section for regions that it names: in-mum [policy IN]\n" in fresh.cli("region", "status")
    fresh.create("CN")
    with open(regions, "a") as f:
        f.write("\n[policy CN]\nregions = mars, \ncolour = red\n")
    fresh.signal(signal.SIGHUP)
    fresh.wait_logged("nothing has changed")
    fresh.create("CN")
    fresh.cli("account", "create", "--country", "IN", code=DENIED)


def test_the_log_level_follows_a_reload(fresh):
    fresh.start()
    fresh.edit(fresh.conf, "# log_level = info ", "log_level = error ")
    regions = os.path.join(fresh.ca, "regions.conf")
    with open(regions) as f:
        before = f.read()
    for text, code in ((before + "\n[policy IN]\nregions = in-mum\n", DENIED), (before, 0)):
        with open(regions, "w") as f:
            f.write(text)
        fresh.signal(signal.SIGHUP)
        wait_for(lambda: ends_with(code, "account", "create", "--country", "IN", "--config", fresh.conf))
    assert " reload " not in fresh.logged()


def ends_with(code, *words):
    return subprocess.run([DOMICILE, *words], capture_output=True, timeout=180).returncode == code


def wait_for(true, timeout=60):
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def slow_put(client, path, size, parts, go_on, found):
    """A PUT whose body stops after the first of its parts until it may GO_ON."""
    def body():
        for i in range(parts):
            yield bytes([i]) * (size // parts)
            go_on.wait(60)

    connection = http.client.HTTPSConnection(*client.address, timeout=60, context=client.tls)
    headers = client._headers("PUT", path, "")
    headers["Content-Length"] = str(size)
    connection.request("PUT", path, body(), headers)
    found.append(connection.getresponse().status)
    connection.close()


def test_a_request_that_is_inside_ends_before_the_node_does(fresh):
    fresh.start()
    account = fresh.create()[0]
    client = fresh.client(account)
    assert client.request("PUT", "/box")[0] == 200
    client.close()
    found, go_on = [], threading.Event()
    sender = threading.Thread(target=slow_put, args=[client, "/box/slow", 1 << 20, 8, go_on, found])
    sender.start()
    wait_for(lambda: re.search(r"^domicile_http_memory_bytes \d{6}", fresh.get("/metrics")[1], re.M))
    fresh.signal(signal.SIGTERM)
    fresh.wait_logged(" stopping ")
    go_on.set()
    sender.join(60)
    assert found == [200]
    assert fresh.process.wait(60) == 0
    assert " stopped " in fresh.logged()
    fresh.start()
    status, body = fresh.client(account).request("GET", "/box/slow")
    assert status == 200 and body == b"".join(bytes([i]) * (1 << 17) for i in range(8))


def test_stopping_is_quick_when_nothing_is_inside(fresh):
    took = []
    while not took or min(took) >= 5:           # those inside have 10 s; a busy machine takes its time, too
        fresh.start()
        client = fresh.client(fresh.create()[0])
        client.request("GET", "/")              # a kept connection that is idle
        began = time.monotonic()
        assert fresh.stop() == 0
        took.append(time.monotonic() - began)
        assert len(took) < 5, took


def test_killed_and_started_again_everything_acknowledged_is_there(fresh):
    fresh.start()
    accounts = fresh.create("CN", "--count", 20)
    for i, account in enumerate(accounts):
        client = fresh.client(account)
        assert client.request("PUT", "/box")[0] == 200
        assert client.request("PUT", "/box/k", b"%d" % i)[0] == 200
    fresh.process.kill()
    fresh.process.wait()
    fresh.start()
    for i, account in enumerate(accounts):
        assert fresh.client(account).request("GET", "/box/k") == (200, b"%d" % i)


# --- several nodes ---


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("t"))
    first = Node(folder)
    second = Node(folder, "sg", "SG", first.ca, ["--directory-at", f"cn-bj=127.0.0.1:{first.port + 1}"])
    first.start()
    second.start()
    yield first, second
    assert second.stop() == 0
    assert first.stop() == 0


def test_accounts_can_be_managed_at_any_node(two):
    first, second = two
    account = second.create("CN")[0]
    assert account["region"] == "cn-bj"         # the first that policy prefers, though sg was asked
    assert second.json("account", "show", account["account"])["home"] == "cn-bj"
    client = second.client(account)
    assert client.request("PUT", "/box")[0] == 200
    assert client.request("PUT", "/box/k", b"far")[0] == 200
    assert first.client(account).request("GET", "/box/k") == (200, b"far")
    assert "\nfiles\tgranted 2" in second.cli("account", "consent", account["account"])
    second.cli("account", "suspend", account["account"])
    assert first.client(account).request("GET", "/box/k")[0] == 403
    second.cli("account", "resume", account["account"])
    second.cli("account", "remove", account["account"], "--yes")
    first.cli("account", "show", account["account"], code=MISSING)


def test_a_wave_is_planned_dry_and_for_real_and_cancelled(two, tmp_path):
    first, second = two
    for country, n in (("IN", 5), ("ID", 3), ("CN", 2)):
        first.create(country, "--count", n)
    dry = second.json("wave", "plan", "--from", "cn-bj", "--to", "sg", "--countries", "!CN", "--dry-run",
                      "--rate", "1MiB")
    assert dry["accounts"] == 8 and dry["by_country"] == {"IN": 5, "ID": 3}
    assert dry["estimated_bytes"] > 0 and dry["dry_run"]
    assert second.json("wave", "list") == []
    said = second.cli("wave", "plan", "--from", "cn-bj", "--to", "sg", "--countries", "IN", "--dry-run")
    assert "accounts  5" in said
    wave = second.cli("wave", "plan", "--from", "cn-bj", "--to", "sg", "--countries", "IN,ID", "--deadline",
                      "+2h", "--rate", "1MiB", "--accounts-per-second", 3, "--streams", 2,
                      "--quiet", "08:00-20:30").strip()
    assert re.fullmatch("[0-9a-f]{16}", wave)
    assert first.cli("wave", "list").endswith("\trate 1.0 MiB/s\t3 accounts/s\tstreams 2\tquiet 08:00-20:30\n")
    status = first.json("wave", "status", wave)
    assert status["state"] == "planned" and status["accounts"] == 8 and status["items"]["waiting"] == 8
    assert len(first.json("wave", "items", wave)) == 8
    first.cli("wave", "plan", "--from", "cn-bj", "--to", "sg", "--countries", "IN", code=EXISTS)
    assert "is planned and can't be paused" in first.cli("wave", "pause", wave, code=STALE)
    first.cli("wave", "cancel", wave)
    assert first.json("wave", "status", wave)["state"] == "cancelled"
    first.cli("wave", "run", wave, code=STALE)
    assert first.cli("wave", "cancel", wave, code=STALE) == f"domicile: wave {wave} is cancelled already\n"
    first.cli("wave", "watch", wave, code=1)
    one = first.create("IN")[0]["account"]
    path = tmp_path / "list"
    path.write_text(f"# one\n{one}\tcn-bj\n\n")
    listed = first.json("wave", "plan", "--from", "cn-bj", "--to", "sg", "--accounts", path, "--dry-run")
    assert listed["accounts"] == 1
    path.write_text(f"{one}\nrubbish\n")
    assert "line 2" in first.cli("wave", "plan", "--from", "cn-bj", "--to", "sg", "--accounts", path, code=BAD)
    path.write_text(f"{one}\n{NOBODY}\n")
    first.cli("wave", "plan", "--from", "cn-bj", "--to", "sg", "--accounts", path, code=MISSING)


def test_a_country_that_nobody_is_of_is_told(two):
    first, second = two
    first.create("VN")
    plan = ["wave", "plan", "--from", "cn-bj", "--to", "sg", "--countries"]
    said = first.cli(*plan, "XX", code=MISSING)
    assert "countries XX: nobody in cn-bj" in said and "VN" in said
    first.cli(*plan, "XX", "--dry-run", code=MISSING)
    first.cli(*plan, "VN,xx", code=BAD)
    back = ["wave", "plan", "--from", "sg", "--to", "cn-bj"]
    assert not second.json("account", "list", "--home", "sg", "--country", "VN")
    second.cli(*back, "--countries", "VN", code=MISSING)
    assert first.json(*plan, "VN,XX", "--dry-run")["absent_countries"] == ["XX"]
    done = subprocess.run([DOMICILE, *plan, "!NC", "--dry-run", "--config", first.conf], capture_output=True, text=True)
    assert done.returncode == 0 and "note: no account in cn-bj is of NC" in done.stderr
    done = subprocess.run([DOMICILE, "account", "list", "--country", "XX", "--config", first.conf],
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no accounts of XX\n")


def test_a_wave_against_the_policy_is_refused(two):
    first, second = two
    path = os.path.join(first.ca, "regions.conf")
    first.create("HK", "--count", 2)
    with open(path, "a") as f:
        f.write("\n[policy HK]\nregions = cn-bj\n")
    for n in two:
        n.signal(signal.SIGHUP)
        n.wait_logged(" reload ")
    said = second.cli("wave", "plan", "--from", "cn-bj", "--to", "sg", "--countries", "HK", code=DENIED)
    assert "HK" in said


def test_a_wave_is_run_watched_verified_and_certified(two, tmp_path):
    first, second = two
    accounts = first.create("PH", "--count", 12)
    for account in accounts[:4]:
        client = first.client(account)
        assert client.request("PUT", "/box")[0] == 200
        assert client.request("PUT", "/box/k", account["account"].encode() * 5000)[0] == 200
    wave = second.cli("wave", "plan", "--from", "cn-bj", "--to", "sg", "--countries", "PH").strip()
    watched = second.cli("wave", "run", wave, "--watch")
    assert "12 of 12 accounts moved" in watched and "pause p50" in watched and "round trip" in watched
    status = first.json("wave", "status", wave)
    assert status["state"] == "done" and status["items"]["erased"] == 12 and status["bytes"] > 0
    verified = first.json("wave", "verify", wave)
    assert verified["bad"] == 0 and verified["unknown"] == 0 and len(verified["items"]) == 12
    assert second.cli("wave", "verify", wave).count("\n") == 12
    for account in accounts[:4]:
        assert first.client(account).request("GET", "/box/k") == (200, account["account"].encode() * 5000)
        assert first.json("account", "show", account["account"])["home"] == "sg"
    trust, path = tmp_path / "trust", tmp_path / "certificate.json"
    second.cli("trust", trust)
    first.cli("certificate", accounts[0]["account"], "--output", path)
    proof = json.loads(domicile("verify", path, "--trust", trust, "--json"))
    assert proof["account"] == accounts[0]["account"] and proof["to"] == "sg" and proof["is_erased"]
    assert "signed by both" in domicile("verify", path, "--trust", trust)
    path.write_text(path.read_text().replace("to sg", "to in"))
    assert domicile("verify", path, "--trust", trust, code=11)


def test_a_node_may_serve_only_the_directory(tmp_path):
    folder = str(tmp_path)
    central = Node(folder, "central", "SG", None, ["--directory-only"])
    region = Node(folder, "sg", "SG", central.ca, ["--directory-at", f"central=127.0.0.1:{central.port + 1}"])
    central.start()
    region.start()
    try:
        account = central.create("SG")[0]
        assert account["region"] == "sg"
        assert region.client(account).request("PUT", "/box")[0] == 200
        assert central.json("directory", "status")["accounts"] == [{"home": "sg", "country": "SG", "accounts": 1}]
        # Serving goes on without it.
        central.stop()
        assert region.client(account).request("PUT", "/box/k", b"x")[0] == 200
        region.stop()
        region.start()
        assert region.client(account).request("GET", "/box/k") == (200, b"x")
        region.cli("account", "list", code=PEER)
        # What the directory may have got to know or not is settled once it answers.
        region.cli("account", "create", "--country", "SG", code=PEER)
        region.wait_logged("left half made")
        central.start()
        region.wait_logged("accounts.recover done")
        assert central.json("directory", "status")["accounts"] == [{"home": "sg", "country": "SG", "accounts": 1}]
    finally:
        assert region.stop() == 0
        assert central.stop() == 0
