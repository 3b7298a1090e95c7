"""Signed requests over one connection to a node, and XML as plain Python."""
import datetime
import hashlib
import hmac
import http.client
import pathlib
import re
import socket
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))
from domicile import Signer

EXPECT_FROM = 32 << 10                  # larger bodies wait for 100 Continue
CHUNK = 100_000
PAYLOADS = {"unsigned": "UNSIGNED-PAYLOAD", "chunked": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "trailer": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "signed-trailer": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"}


class Broken(Exception):
    """The node closed the connection before it had answered."""


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, {name.lower(): value for name, value in headers}, body

    def code(self):
        root = tree(self.body)
        return root["Error"]["Code"][0] if root and "Error" in root else None


class Request:
    """What is sent: all but who signs it and where it goes."""

    def __init__(self, method, bucket=None, key=None, args=None, headers=None, body=b"", payload="hash", trailer=None):
        self.method, self.args, self.headers, self.body = method, args or {}, headers or {}, body
        self.payload, self.trailer = payload, trailer   # how the body is signed; (name, value) that follows it
        self.form = None                # forms.Form, which is the body
        self.is_bare = False            # not signed at all
        self.link = None                # {"age", "expires"}: a presigned URL, so many seconds old
        self.path = "/" + (quote(bucket) if bucket is not None else "") + ("/" + quote(key, "/") if key is not None else "")

    def query(self):
        return "&".join(f"{quote(name)}={quote(str(value))}" for name, value in self.args.items())


def quote(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-_.~")


def stand_in(code):
    """What is read for a reference to a character that XML can't have: one that no key has."""
    return chr(0xf0000 + code)


def tree(data):
    """{root: {tag: [text or {tag: [...]}, ...]}} without namespaces and attributes; None: not XML."""
    try:
        root = ElementTree.fromstring(re.sub(rb"&#x([0-9a-f]+);", lambda m: stand_in(int(m[1], 16)).encode(), data))
    except ElementTree.ParseError:
        return None
    return {tag_of(root): content(root)}


def tag_of(element):
    return element.tag.rpartition("}")[2]


def content(element):
    if not len(element):
        return element.text or ""
    children = {}
    for child in element:
        children.setdefault(tag_of(child), []).append(content(child))
    return children


def whose(key):
    """An application says whose account it is about."""
    return {"x-domicile-account": key["for"]} if "for" in key else {}


def in_chunks(signer, seed, request):
    """The body as the chunks that its payload says; SEED is the signature of the headers."""
    pieces = [request.body[i:i + CHUNK] for i in range(0, len(request.body), CHUNK)]
    line = "{}:{}".format(*request.trailer) if request.trailer else ""
    if request.payload == "trailer":
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        return body + f"0\r\n{line}\r\n\r\n".encode()
    body = signer.chunked(seed, pieces)
    if request.payload == "chunked":
        return body
    before = body.rstrip().rpartition(b"=")[2].decode()
    digest = hashlib.sha256(f"{line}\n".encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256-TRAILER\n{signer.time}\n{signer.scope}\n{before}\n{digest}"
    signature = hmac.new(signer.signing_key(), text.encode(), hashlib.sha256).hexdigest()
    return body[:-2] + f"{line}\r\nx-amz-trailer-signature:{signature}\r\n\r\n".encode()


class Line:
    """A connection that is kept open and made anew where the node has closed it in order."""

    def __init__(self, port):
        self.host, self.port, self.socket = f"127.0.0.1:{port}", port, None

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    def send(self, account, request):
        """The node's answer. Broken: there was none."""
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port), 30)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            return self.exchange(*self.head_and_body(account, request), request.method)
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise Broken(repr(e)) from e

    def head_and_body(self, account, request):
        if request.form:
            content_type, body = request.form.encoded(account, self.host)
            headers, query = {"Host": self.host, "Content-Type": content_type, **request.headers}, ""
        elif request.is_bare:
            headers, query, body = {"Host": self.host, **request.headers}, "", b""
        else:
            headers, query, body = (self.linked if request.link else self.signed)(account, request)
        if body or request.method in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        if len(body) > EXPECT_FROM:
            headers["Expect"] = "100-continue"
        target = f"{request.path}?{query}" if query else request.path
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{request.method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"), body

    def signed(self, account, request):
        """(headers, query, body), signed in the headers."""
        signer, query = Signer(account, self.host), request.query()
        extra, body = {**request.headers, **whose(account)}, request.body
        payload = PAYLOADS.get(request.payload) or hashlib.sha256(body).hexdigest()
        if payload.startswith("STREAMING"):
            extra["x-amz-decoded-content-length"] = str(len(body))
        if request.trailer:
            extra["x-amz-trailer"] = request.trailer[0]
        headers = signer.headers(request.method, request.path, query, payload, **extra)
        if payload.startswith("STREAMING"):
            body = in_chunks(signer, headers["Authorization"].rpartition("Signature=")[2], request)
        return headers, query, body

    def linked(self, account, request):
        """(headers, query, body), signed in the URL."""
        now = datetime.datetime.utcnow() - datetime.timedelta(seconds=request.link["age"])
        signer, headers = Signer(account, self.host, now=now), {"Host": self.host, **request.headers, **whose(account)}
        said = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{signer.key}/{signer.scope}",
                "X-Amz-Date": signer.time, "X-Amz-Expires": str(request.link["expires"]),
                "X-Amz-SignedHeaders": ";".join(sorted(name.lower() for name in headers))}
        query = "&".join([request.query()] * bool(request.args) + [f"{name}={quote(value)}" for name, value in said.items()])
        signature, _ = signer.signature(request.method, request.path, query, headers, "UNSIGNED-PAYLOAD")
        return headers, f"{query}&X-Amz-Signature={signature}", request.body

    def exchange(self, head, body, method):
        if len(body) > EXPECT_FROM:
            self.socket.sendall(head)
            if self.may_continue():
                self.socket.sendall(body)
        else:
            self.socket.sendall(head + body)
        answer = http.client.HTTPResponse(self.socket, method=method)
        answer.begin()
        try:
            got = Answer(answer.status, answer.getheaders(), answer.read())
            closes = answer.will_close
        finally:
            answer.close()
        if closes or (len(body) > EXPECT_FROM and got.status >= 300):
            self.close()
        return got

    def may_continue(self):
        start = b""
        while not start.endswith(b"\r\n"):
            start = self.socket.recv(1000, socket.MSG_PEEK)
            if not start:
                raise ConnectionResetError("closed before an answer")
            if not start.startswith(b"HTTP/1.1 100"[:len(start)]):
                return False
        self.socket.recv(start.index(b"\r\n\r\n") + 4)
        return True
