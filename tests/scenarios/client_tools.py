"""What tests with real clients share."""
import filecmp
import os
import pathlib
import shutil
import subprocess

import pytest


def same(a, b):
    """Whether two folders hold the same files with the same content."""
    def names(root):
        return sorted(str(p.relative_to(root)) for p in pathlib.Path(root).rglob("*") if p.is_file())

    assert names(a) == names(b)
    assert filecmp.cmpfiles(a, b, names(a), shallow=False)[1:] == ([], [])


def tool(name):
    """Runs a client; the test is skipped where it is not installed."""
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")

    def call(*words, ok=True, **environment):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "RCLONE_", "RESTIC_"))}
        env.update({k: str(v) for k, v in environment.items()})
        done = subprocess.run([path, *map(str, words)], capture_output=True, text=True, timeout=300, env=env)
        said = done.stdout[-1000:] + done.stderr[-2000:]
        if ok and done.returncode:
            pytest.fail(f"{name} {words}: {done.returncode}\n{said}", pytrace=False)
        return done
    return call


def aws_for(region, account, **environment):
    aws = tool("aws")
    env = dict(AWS_ACCESS_KEY_ID=account["access_key"], AWS_SECRET_ACCESS_KEY=account["secret_key"],
               AWS_DEFAULT_REGION=region.name, AWS_CA_BUNDLE=region.ca, AWS_CONFIG_FILE="/dev/null",
               AWS_EC2_METADATA_DISABLED="true", **environment)

    def call(*words):
        return aws("--endpoint-url", region.url, *words, **env).stdout
    return call


def rclone_for(region, account, **environment):
    rclone = tool("rclone")
    env = dict(RCLONE_CONFIG="/dev/null", RCLONE_CONFIG_D_TYPE="s3", RCLONE_CONFIG_D_PROVIDER="Other",
               RCLONE_CONFIG_D_LIST_URL_ENCODE="true",
               RCLONE_CONFIG_D_ENDPOINT=region.url, RCLONE_CONFIG_D_REGION=region.name,
               RCLONE_CONFIG_D_ACCESS_KEY_ID=account["access_key"], RCLONE_CA_CERT=region.ca,
               RCLONE_CONFIG_D_SECRET_ACCESS_KEY=account["secret_key"],
               RCLONE_CONFIG_D_UPLOAD_CUTOFF="8Mi", RCLONE_CONFIG_D_CHUNK_SIZE="5Mi", **environment)

    def call(*words):
        return rclone(*words, **env).stdout
    return call


def restic_for(region, account, bucket, cache):
    restic = tool("restic")
    env = dict(AWS_ACCESS_KEY_ID=account["access_key"], AWS_SECRET_ACCESS_KEY=account["secret_key"],
               RESTIC_PASSWORD="correct horse", RESTIC_REPOSITORY=f"s3:{region.url}/{bucket}", RESTIC_CACHE_DIR=cache)

    def call(*words):
        return restic("--cacert", region.ca, *words, **env).stdout
    return call
