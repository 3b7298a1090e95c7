"""The processes of a scenario, an S3 client for it, and requests signed by hand."""
import datetime
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("DOMICILE_BUILD", ROOT / "build"))
DOMICILE = BUILD / "domicile"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def run(*words):
    """A command's standard output; its failure shows what it said."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stderr[-3000:]}"
    return done.stdout


given_ports = set()


def free_ports(n):
    """The first of N ports in a row that nobody uses, nor has been given: a node may be down for a while."""
    while True:
        base = random.randrange(20000, 30000)
        ports, held = range(base, base + n), []
        if given_ports.intersection(ports):
            continue
        try:
            for port in ports:
                held.append(socket.create_server(("127.0.0.1", port)))
            given_ports.update(ports)
            return base
        except OSError:
            continue
        finally:
            for one in held:
                one.close()


def wait_until(true, what="it did not come about", seconds=60):
    """Until TRUE() is; WHAT, a text or a function, tells that it never was."""
    until = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < until, what() if callable(what) else what
        time.sleep(0.05)
    return found


def files_below(folder):
    """All that are there now; folders may come and go meanwhile."""
    return [pathlib.Path(where, name) for where, _, names in os.walk(folder) for name in names]


def contents(folder):
    """(path, content) of every file below FOLDER, but for zeros at the end of one: a store's ballast is 64 MiB of them,
    and looking for many things in it takes long."""
    for path in files_below(folder):
        try:
            if path.is_file():
                yield path, path.read_bytes().rstrip(b"\0") + b"\0"
        except FileNotFoundError:       # the store has just removed it
            pass


class Region:
    """A region of one node in FOLDER. It serves the directory, unless it is BESIDE another that does."""

    def __init__(self, folder, name="sg", jurisdiction="SG", beside=None, options=()):
        self.folder, self.name, self.process = pathlib.Path(folder), name, None
        self.ca = self.folder / "ca" / "ca.pem"
        self.config = self.folder / name / "region.conf"
        self.port = free_ports(5)
        directory = ["--directory"]
        if beside:
            directory = ["--directory-at", f"{beside.name}=127.0.0.1:{beside.port + 1}"]
        else:
            run(DOMICILE, "ca", "init", self.folder / "ca")
        run(DOMICILE, "region", "init", self.folder / name, "--region", name, "--jurisdiction", jurisdiction,
            "--ca", self.folder / "ca", "--port-base", self.port, "--s3-plain", *directory, *options)
        if beside:
            beside.reload()
        self.url = f"https://127.0.0.1:{self.port}"
        self.plain_port = self.port + 4

    def start(self):
        with open(self.log_path(), "ab") as log:
            before = log.tell()
            self.process = subprocess.Popen([DOMICILE, "serve", "--config", self.config], stderr=log,
                                            stdin=subprocess.DEVNULL)
        def is_ready():                                         # every listener is there
            assert self.process.poll() is None, self.log()
            return b" info ready " in self.log_path().read_bytes()[before:]
        wait_until(is_ready, self.log, 120)
        return self

    def reload(self):
        """Have region.conf and regions.conf read again, and wait until they were."""
        def times():
            return self.log_path().read_text(errors="replace").count(" info reload ")
        before = times()
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: times() > before, self.log)

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return
        self.process.send_signal(how)
        status = self.process.wait(60)
        self.process = None
        assert status in (0, -how), self.log()

    def log_path(self):
        return self.folder / f"{self.name}.log"

    def log(self):
        return self.log_path().read_text(errors="replace")[-6000:]

    def command(self, *words):
        return run(DOMICILE, *words, "--config", self.config)

    def refused(self, why):
        """How often something was refused for want of WHY."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port + 3}/metrics", timeout=60) as answer:
            return int(re.search(rf'domicile_refused_total{{why="{why}"}} (\d+)', answer.read().decode())[1])

    def account(self, country="SG", grant="files,backup"):
        made = json.loads(self.command("account", "create", "--country", country, "--grant", grant, "--json"))
        return made[0] if isinstance(made, list) else made

    def client(self, account, **options):
        import boto3
        from botocore.config import Config
        config = Config(signature_version="s3v4", s3={"addressing_style": "path"},
                        retries={"max_attempts": 0}, **options)
        return boto3.client("s3", endpoint_url=self.url, region_name=self.name, verify=str(self.ca),
                            aws_access_key_id=account["access_key"],
                            aws_secret_access_key=account["secret_key"], config=config)

    def home(self, account):
        return json.loads(self.command("account", "show", account["account"], "--json"))["home"]

    def wave_to(self, target):
        """Set all accounts here off to another region; the wave's id."""
        plan = json.loads(self.command("wave", "plan", "--from", self.name, "--to", target.name, "--json"))
        wave = plan["wave"]["id"] if isinstance(plan["wave"], dict) else plan["wave"]
        self.command("wave", "run", wave)
        return wave

    def wait_home(self, account, name):
        wait_until(lambda: self.home(account) == name, self.log)

    def wait_wave(self, wave):
        """Until it is done; what was put off rests longer each time."""
        status = {}

        def is_done():
            status.update(json.loads(self.command("wave", "status", wave, "--json")))
            return status["state"] == "done"
        wait_until(is_done, lambda: f"{status}\n{self.log()}", 180)
        return status

    def is_up(self):
        return self.process is not None and self.process.poll() is None


# --- requests by hand: what no client would send ---

def hmac_sha256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Signer:
    """Signature Version 4, with each of its parts open to being wrong."""

    def __init__(self, account, host, region="us-east-1", now=None, service="s3"):
        self.key, self.secret = account["access_key"], account["secret_key"]
        self.host, self.region, self.service = host, region, service
        self.now = now or datetime.datetime.utcnow()
        self.time, self.date = self.now.strftime("%Y%m%dT%H%M%SZ"), self.now.strftime("%Y%m%d")
        self.scope = f"{self.date}/{region}/{service}/aws4_request"

    def signing_key(self):
        key = ("AWS4" + self.secret).encode()
        for word in (self.date, self.region, self.service, "aws4_request"):
            key = hmac_sha256(key, word)
        return key

    def signature(self, method, path, query, headers, payload):
        names = sorted(headers, key=str.lower)
        pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
        canonical_query = "&".join(f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}"
                                   for k, v in pairs)
        lines = "".join(f"{name.lower()}:{' '.join(str(headers[name]).split())}\n" for name in names)
        signed = ";".join(name.lower() for name in names)
        canonical = f"{method}\n{path}\n{canonical_query}\n{lines}\n{signed}\n{payload}"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{self.time}\n{self.scope}\n{digest}"
        return hmac.new(self.signing_key(), text.encode(), hashlib.sha256).hexdigest(), signed

    def headers(self, method, path, query="", payload=EMPTY_SHA256, **extra):
        """All headers of a request; PATH and QUERY as they are sent."""
        headers = {"Host": self.host, "x-amz-date": self.time, "x-amz-content-sha256": payload}
        headers.update({name.replace("_", "-"): value for name, value in extra.items()})
        signature, signed = self.signature(method, path, query, headers, payload)
        headers["Authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.key}/{self.scope}, "
                                    f"SignedHeaders={signed}, Signature={signature}")
        return headers

    def chunked(self, seed, pieces):
        """PIECES as a body of signed chunks; SEED is the signature of the headers."""
        body, before = b"", seed
        for piece in [*pieces, b""]:
            text = (f"AWS4-HMAC-SHA256-PAYLOAD\n{self.time}\n{self.scope}\n{before}\n{EMPTY_SHA256}\n"
                    f"{hashlib.sha256(piece).hexdigest()}")
            before = hmac.new(self.signing_key(), text.encode(), hashlib.sha256).hexdigest()
            body += f"{len(piece):x};chunk-signature={before}\r\n".encode() + piece + b"\r\n"
        return body


def spoiled(signature):
    return signature[:-1] + ("0" if signature[-1] != "0" else "1")


class Plain:
    """Requests over the listener without TLS, signed by hand."""

    def __init__(self, region, account):
        self.region, self.account = region, account
        self.host = f"127.0.0.1:{region.plain_port}"

    def signer(self, **options):
        return Signer(self.account, self.host, **options)

    def send(self, method, path, headers, body=b""):
        """(status, headers, body) of a request with exactly these headers; status 0 if the server
        closed before it had read all of the body."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if "Content-Length" not in headers and (body or method in ("PUT", "POST")):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (BrokenPipeError, ConnectionResetError):
            return 0, {}, b""
        finally:
            connection.close()

    def request(self, method, path, query="", body=b"", signer=None, **extra):
        payload = extra.pop("payload", hashlib.sha256(body).hexdigest())
        headers = (signer or self.signer()).headers(method, path, query, payload, **extra)
        return self.send(method, f"{path}?{query}" if query else path, headers, body)

    def raw(self, data, timeout=1):
        """Whatever comes back for these bytes, until the server closes or is silent for TIMEOUT s."""
        with socket.create_connection(("127.0.0.1", self.region.plain_port), 60) as connection:
            connection.settimeout(timeout)
            try:
                connection.sendall(data)
            except OSError:         # refused before the end; there may be an answer all the same
                pass
            return read_all(connection)


def read_all(connection):
    answer = b""
    try:
        while piece := connection.recv(65536):
            answer += piece
    except OSError:
        pass
    return answer


def tls_context(region):
    return ssl.create_default_context(cafile=str(region.ca))


def code_of(xml):
    """The Code of an S3 error."""
    text = xml.decode(errors="replace")
    return text.partition("<Code>")[2].partition("</Code>")[0]
