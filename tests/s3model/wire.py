"""Signed requests over one connection to a node, and XML as plain Python."""
import hashlib
import http.client
import pathlib
import socket
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenarios"))
from domicile import Signer

EXPECT_FROM = 32 << 10                  # larger bodies wait for 100 Continue
CHUNK = 100_000


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

    def __init__(self, method, bucket=None, key=None, args=None, headers=None, body=b"", payload="hash"):
        self.method, self.args, self.headers, self.body, self.payload = method, args or {}, headers or {}, body, payload
        self.path = "/" + (quote(bucket) if bucket is not None else "") + ("/" + quote(key, "/") if key is not None else "")

    def query(self):
        return "&".join(f"{quote(name)}={quote(str(value))}" for name, value in self.args.items())


def quote(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-_.~")


def tree(data):
    """{root: {tag: [text or {tag: [...]}, ...]}} without namespaces and attributes; None: not XML."""
    try:
        root = ElementTree.fromstring(data)
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
        signer, query = Signer(account, self.host), request.query()
        extra, body = dict(request.headers), request.body
        payload = {"hash": hashlib.sha256(body).hexdigest(), "unsigned": "UNSIGNED-PAYLOAD",
                   "chunked": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}[request.payload]
        if request.payload == "chunked":
            extra["x-amz-decoded-content-length"] = str(len(body))
        headers = signer.headers(request.method, request.path, query, payload, **extra)
        if request.payload == "chunked":
            seed = headers["Authorization"].rpartition("Signature=")[2]
            body = signer.chunked(seed, [body[i:i + CHUNK] for i in range(0, len(body), CHUNK)])
        if body or request.method in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        if len(body) > EXPECT_FROM:
            headers["Expect"] = "100-continue"
        target = f"{request.path}?{query}" if query else request.path
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{request.method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"), body

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
