"""Requests a second of an account and of an address: who asks too often is told, and others are served."""
import http.client
import json
import time
import urllib.request

from domicile import Plain, Region, code_of, tls_context, wait_until
from test_23_follow import SlowPut


def started(folder, words):
    region = Region(folder)
    with open(region.config, "a") as conf:
        conf.write(words)
    return region.start()


def worker_threads(region):
    with urllib.request.urlopen(f"http://127.0.0.1:{region.port + 3}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("domicile_http_workers "))


def test_an_account_that_asks_too_often_waits_and_others_do_not(tmp_path):
    region = started(tmp_path, "\naccount_rate = 1\naccount_burst = 10\n")
    try:
        often, other = region.account(), region.account()
        answers, began = [], time.monotonic()
        while sum(a[0] != 200 for a in answers) < 5 and len(answers) < 300:
            answers.append(Plain(region, often).request("GET", "/"))
        assert 10 <= sum(a[0] == 200 for a in answers) <= 11 + time.monotonic() - began
        late = [a for a in answers if a[0] != 200]
        assert late and all(a[0] == 503 and code_of(a[2]) == "SlowDown" and a[1]["Retry-After"] == "1" for a in late)
        assert Plain(region, other).request("GET", "/")[0] == 200
        # Only who has the secret is counted: nobody can use up another's.
        wrong = dict(other, secret_key="x" * 40)
        assert all(Plain(region, wrong).request("GET", "/")[0] == 403 for _ in range(20))
        assert Plain(region, other).request("GET", "/")[0] == 200
        assert region.refused("account-rate") == len(late)
        shown = json.loads(region.command("account", "show", often["account"]))
        assert shown["rate"] == {"requests_per_s": 1, "burst": 10}
    finally:
        region.stop()


def test_an_address_that_asks_too_often_is_told_on_the_connection_that_it_has(tmp_path):
    region = started(tmp_path, "\naddress_rate = 1\naddress_burst = 8\n")
    try:
        account = region.account()
        host = f"127.0.0.1:{region.port}"
        connection = http.client.HTTPSConnection("127.0.0.1", region.port, context=tls_context(region), timeout=60)
        signer = Plain(region, account).signer()
        signer.host = host
        statuses = []
        while (503, "SlowDown") not in statuses and len(statuses) < 300:
            connection.request("GET", "/", headers=signer.headers("GET", "/"))
            answer = connection.getresponse()
            statuses.append((answer.status, code_of(answer.read())))
            assert connection.sock is not None                  # it was kept
        assert statuses[:8] == [(200, "")] * 8 and (503, "SlowDown") in statuses
        assert Plain(region, account).request("GET", "/")[0] == 200     # through a proxy of this host
        assert region.refused("address-rate") == statuses.count((503, "SlowDown"))
        assert "1 requests/s an address" in region.command("region", "status")
    finally:
        region.stop()


def test_a_request_that_follows_its_account_counts_once_and_others_count_at_the_new_home(tmp_path):
    home = started(tmp_path, "\naccount_rate = 1\naccount_burst = 100\n")
    other = Region(tmp_path, "us-va", "US", beside=home)
    with open(other.config, "a") as conf:
        conf.write("\naccount_rate = 1\naccount_burst = 3\n")
    other.start()
    try:
        account = home.account()
        plain = Plain(home, account)
        assert plain.request("PUT", "/files")[0] == 200
        uploads = [SlowPut(home, account, f"/files/{i}", "unsigned", bytes(200_000)) for i in range(20)]
        for one in uploads:
            one.send(0, 5)
        # Each has begun here, where it counts.
        wait_until(lambda: worker_threads(home) >= len(uploads))
        wave = home.wave_to(other)
        home.wait_home(account, "us-va")
        for one in uploads:
            one.send(5, 10)
        assert [one.answer() for one in uploads] == [(200, b"")] * len(uploads)
        assert other.refused("account-rate") == 0
        # What is new counts there, wherever it comes in.
        answers = []
        for plain in (Plain(home, account), Plain(other, account)) * 100:
            headers = plain.signer().headers("GET", "/files/1")
            answers.append(plain.send("GET", "/files/1", {**headers, "x-domicile-counted": "1"}))     # no user can say so
            if len(answers) >= 10 and answers[-1][0] == 503:
                break
        assert {a[0] for a in answers} == {200, 503}
        assert other.refused("account-rate") == sum(a[0] == 503 for a in answers)
        assert home.refused("account-rate") == 0
        assert home.wait_wave(wave)["items"]["erased"] == 1
    finally:
        other.stop()
        home.stop()
