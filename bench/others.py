"""What a user would take instead, started beside a region for the time of a measurement.

Each has a name, `urls` by scheme, and `words`: what bench/load needs to be let in.
"""
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = os.path.join(os.path.dirname(HERE), "tools")
KEY, SECRET = "BENCHACCESSKEY000001", "benchsecretkeybenchsecretkey000000000001"


class Absent(Exception):
    """It can't be had on this machine; the text says why."""


class Other:
    signs = True

    def __init__(self, folder, port, region, ca):
        self.dir, self.process = os.path.join(folder, self.name), None
        self.urls = {"http": f"http://127.0.0.1:{port}", "https": f"https://127.0.0.1:{port + 1}"}
        self.words = ["--ca", ca]
        if self.signs:
            path = os.path.join(folder, self.name + ".json")
            with open(path, "w") as f:
                json.dump([{"access_key": KEY, "secret_key": SECRET}], f)
            self.words += ["--accounts", path]
        self.start(port, region.path("tls_cert"), region.path("tls_key"))

    def wait(self, process):
        for _ in range(200):
            if process.poll() is not None:
                raise Absent(f"{self.name} ended at once; see {self.dir}")
            try:
                urllib.request.urlopen(self.urls["http"], timeout=5)
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.05)
        raise Absent(f"{self.name} does not answer")

    def close(self):
        if self.process:
            self.process.terminate()
            self.process.wait()


class Nginx(Other):
    """Static files and DAV: no accounts, no signatures, nothing synced."""
    name, signs = "nginx", False

    def start(self, port, cert, key):
        os.makedirs(os.path.join(self.dir, "www", "bench"))
        conf = os.path.join(self.dir, "nginx.conf")
        with open(conf, "w") as f:
            f.write(f"""
worker_processes 2; pid {self.dir}/pid; error_log {self.dir}/error.log; daemon off; user root;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000;
  client_max_body_size 1g; client_body_buffer_size 64k; client_body_temp_path {self.dir}/tmp;
  open_file_cache max=10000; open_file_cache_valid 60s;
  server {{
    listen 127.0.0.1:{port}; listen 127.0.0.1:{port + 1} ssl;
    ssl_certificate {cert}; ssl_certificate_key {key};
    root {self.dir}/www;
    location / {{ dav_methods PUT DELETE; create_full_put_path on; }}
  }}
}}""")
        self.process = subprocess.Popen(["nginx", "-c", conf], stderr=subprocess.DEVNULL)
        self.wait(self.process)


class Radosgw(Other):
    """Ceph's S3: one monitor, one OSD with BlueStore in a file, replies when that is synced."""
    name = "radosgw"

    def start(self, port, cert, key):
        if not shutil.which("radosgw") or not shutil.which("ceph-osd"):
            raise Absent("radosgw is left out: Debian's packages ceph-mon, ceph-osd and radosgw are not there")
        both = os.path.join(os.path.dirname(self.dir), "rgw.pem")
        with open(both, "w") as f:
            for path in (cert, key):
                with open(path) as part:
                    f.write(part.read())
        done = subprocess.run([os.path.join(TOOLS, "ceph-up"), self.dir, "--rgw", str(port), "--rgw-tls", str(port + 1), both],
                              env={**os.environ, "S3_KEY": KEY, "S3_SECRET": SECRET}, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, timeout=180)
        if done.returncode:
            raise Absent(f"radosgw is left out: {done.stderr.decode().strip()[-300:]}")

    def close(self):
        subprocess.run([os.path.join(TOOLS, "ceph-down"), self.dir], check=False)


class Minio(Other):
    """Where the program is on PATH; over HTTP alone."""
    name = "MinIO"

    def start(self, port, cert, key):
        if not shutil.which("minio"):
            raise Absent("MinIO is left out: there is no program minio")
        del self.urls["https"]
        os.makedirs(self.dir)
        self.process = subprocess.Popen(["minio", "server", "--quiet", "--address", f"127.0.0.1:{port}", self.dir],
                                        env={**os.environ, "MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET},
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait(self.process)
