"""A small S3 client over one kept connection: Signature V4 and nothing else, so that hundreds of them
cost little. The real clients of the demo are restic and rclone."""
import datetime
import hashlib
import hmac
import http.client
import socket
import ssl
import urllib.parse


def context(ca):
    c = ssl.create_default_context(cafile=ca)
    c.check_hostname = False        # users come through relays at 127.0.0.1
    return c


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Client:
    def __init__(self, address, credentials, tls, timeout=60):
        self.address, self.tls, self.timeout = address, tls, timeout
        self.key, self.secret = credentials["access_key"], credentials["secret_key"]
        self.connection = None
        self.signing = (None, None)

    def _signing_key(self, date):
        if self.signing[0] != date:
            key = ("AWS4" + self.secret).encode()
            for word in (date, "us-east-1", "s3", "aws4_request"):
                key = _hmac(key, word)
            self.signing = (date, key)
        return self.signing[1]

    def _headers(self, method, path, query):
        now = datetime.datetime.utcnow()
        time, date = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        host = "%s:%d" % self.address
        scope = f"{date}/us-east-1/s3/aws4_request"
        canonical = (f"{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n"
                     f"x-amz-date:{time}\n\nhost;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD")
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = hmac.new(self._signing_key(date),
                             f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}".encode(),
                             hashlib.sha256).hexdigest()
        return {"Host": host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": time,
                "Authorization": f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders="
                                 f"host;x-amz-content-sha256;x-amz-date, Signature={signature}"}

    def request(self, method, path, body=None, query=""):
        """(status, body). A kept connection that the server has closed meanwhile is opened again."""
        path = urllib.parse.quote(path)
        for attempt in (0, 1):
            fresh = self.connection is None
            if fresh:
                self.connection = http.client.HTTPSConnection(*self.address, timeout=self.timeout,
                                                              context=self.tls)
                self.connection.connect()
                self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self.connection.request(method, path + (f"?{query}" if query else ""), body,
                                        self._headers(method, path, query))
                answer = self.connection.getresponse()
                return answer.status, answer.read()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.close()
                if fresh or attempt:
                    raise
        raise AssertionError

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None
