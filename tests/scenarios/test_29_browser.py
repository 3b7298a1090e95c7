"""A real browser: a page of another origin that reads and writes with presigned URLs, and uploads by its form."""
import http.server
import json
import shutil
import subprocess
import threading
import time
import urllib.request

import pytest

from domicile import Region, free_ports, wait_until

PAGE = b"""<!doctype html><title>page</title>
<form id=form method=post enctype=multipart/form-data></form>
<script>
async function send(url, options) {
    try {
        const answer = await fetch(url, options)
        return [answer.status, answer.headers.get("ETag"), await answer.text()]
    } catch (error) {
        return [error.name]
    }
}
function fill(post) {
    form.action = post.url
    for (const [name, value] of Object.entries(post.fields))
        form.append(Object.assign(document.createElement("input"), {type: "hidden", name, value}))
    const file = Object.assign(document.createElement("input"), {type: "file", name: "file"})
    const list = new DataTransfer()
    list.items.add(new File(["from the form\\r\\n--"], "caf\\u00e9 1.txt"))
    file.files = list.files
    form.append(file)
}
function upload(post, size, done) {     // with progress, so that the browser asks first
    fill(post)
    const data = new FormData(form), request = new XMLHttpRequest()
    let seen = 0
    data.set("file", new Blob(["x".repeat(size)]), "large")
    request.upload.onprogress = (event) => seen = event.loaded
    request.onloadend = () => done([request.status, request.getResponseHeader("ETag"), seen >= size])
    request.open("POST", post.url)
    request.send(data)
}
</script>"""


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


class Browser:
    """Chromium by the WebDriver protocol."""

    def __init__(self, folder):
        self.port = free_ports(1)
        self.process = subprocess.Popen([shutil.which("chromedriver"), f"--port={self.port}"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.session = ""
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                            f"--user-data-dir={folder}"]}
        for _ in range(600):
            try:
                made = self.call("POST", "", {"capabilities": {"alwaysMatch": {
                    "acceptInsecureCerts": True, "goog:chromeOptions": options, "timeouts": {"script": 120_000}}}})
                break
            except ConnectionError:
                time.sleep(0.1)
        self.session = "/" + made["sessionId"]

    def call(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/session{self.session}{path}", method=method,
                                         data=json.dumps(body).encode() if body is not None else None)
        try:
            with urllib.request.urlopen(request, timeout=180) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as e:
            raise AssertionError(e.read().decode(errors="replace")[:1000]) from e
        except urllib.error.URLError as e:
            raise ConnectionError(str(e)) from e

    def go(self, url):
        self.call("POST", "/url", {"url": url})

    def run(self, script, *words):
        """What SCRIPT gives to its last argument."""
        return self.call("POST", "/execute/async", {"script": script, "args": list(words)})

    def url(self):
        return self.call("GET", "/url")

    def stop(self):
        try:
            if self.session:
                self.call("DELETE", "")
        finally:
            self.process.terminate()
            self.process.wait(30)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("chromium"))
    yield one
    one.stop()


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    one = Region(tmp_path_factory.mktemp("browser")).start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def page():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def s3(region, page):
    client = region.client(region.account())
    for bucket in ("open", "shut"):
        client.create_bucket(Bucket=bucket)
    client.put_bucket_cors(Bucket="open", CORSConfiguration={"CORSRules": [{
        "AllowedOrigins": [page], "AllowedMethods": ["GET", "PUT", "POST"], "AllowedHeaders": ["content-type"],
        "ExposeHeaders": ["ETag"]}]})
    return client


def presigned(s3, operation, bucket="open"):
    return s3.generate_presigned_url(operation, {"Bucket": bucket, "Key": "k"})


SEND = "send(arguments[0], arguments[1]).then(arguments[2])"


def test_a_page_writes_and_reads_by_presigned_urls(browser, page, s3):
    browser.go(page)
    put = {"method": "PUT", "body": "from a page", "headers": {"Content-Type": "text/x"}}
    status, etag, _ = browser.run(SEND, presigned(s3, "put_object"), put)
    assert status == 200 and etag == s3.head_object(Bucket="open", Key="k")["ETag"]
    assert s3.head_object(Bucket="open", Key="k")["ContentType"] == "text/x"
    assert browser.run(SEND, presigned(s3, "get_object"), {}) == [200, etag, "from a page"]
    status, _, answer = browser.run(SEND, presigned(s3, "get_object").replace("/k?", "/none?"), {})
    assert status == 403 and "SignatureDoesNotMatch" in answer


def test_a_page_that_no_rule_is_for_can_do_neither(browser, page, s3):
    browser.go(page)
    s3.put_object(Bucket="shut", Key="k", Body=b"not for pages")
    put = {"method": "PUT", "body": "from a page"}
    assert browser.run(SEND, presigned(s3, "put_object", "shut"), put) == ["TypeError"]
    assert browser.run(SEND, presigned(s3, "get_object", "shut"), {}) == ["TypeError"]
    browser.go(page.replace("127.0.0.1", "localhost"))
    assert browser.run(SEND, presigned(s3, "put_object"), put) == ["TypeError"]
    assert s3.get_object(Bucket="shut", Key="k")["Body"].read() == b"not for pages"


def test_a_form_uploads_and_goes_where_it_wants(browser, page, s3):
    browser.go(page)
    done = f"{page}/done"
    post = s3.generate_presigned_post("shut", "forms/${filename}", Fields={"success_action_redirect": done},
                                      Conditions=[{"success_action_redirect": done}])
    browser.run("fill(arguments[0]); form.submit(); arguments[1]()", post)
    wait_until(lambda: browser.url().startswith(done), "it goes nowhere")
    key = "forms/café 1.txt"
    etag = s3.head_object(Bucket="shut", Key=key)["ETag"].replace('"', "%22")
    assert browser.url() == f"{done}?bucket=shut&key=forms%2Fcaf%C3%A9%201.txt&etag={etag}"
    assert s3.get_object(Bucket="shut", Key=key)["Body"].read() == b"from the form\r\n--"


def test_a_page_uploads_a_form_and_sees_its_progress(browser, page, s3):
    browser.go(page)
    size = 5_000_000
    post = s3.generate_presigned_post("open", "large")
    status, etag, is_seen = browser.run("upload(arguments[0], arguments[1], arguments[2])", post, size)
    assert (status, is_seen) == (204, True)
    assert s3.head_object(Bucket="open", Key="large")["ETag"] == etag
    assert s3.get_object(Bucket="open", Key="large")["Body"].read() == b"x" * size
