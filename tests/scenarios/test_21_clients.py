"""The usual round trips of clients that people have, over TLS with the region's own CA."""
import base64
import filecmp
import hashlib
import json
import pathlib
import random
import shutil
import zlib

import pytest

from client_tools import aws_for, rclone_for, restic_for, same, tool
from domicile import Region

MIB = 1 << 20


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    one = Region(tmp_path_factory.mktemp("clients")).start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def account(region):
    return region.account()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Real files of all sizes, with names that are hard on clients."""
    root = tmp_path_factory.mktemp("tree")
    for i, size in enumerate([0, 1, 1000, 32768, 32769, 100000, 5 * MIB, 20 * MIB + 7]):
        path = root / f"folder {i % 3}" / f"file-{i}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(random.Random(i).randbytes(size))
    for name in ("hindi हिन्दी", "plus+and&more", "percent%41", "quote'\"", "semi;colon=eq"):
        (root / "odd names").mkdir(exist_ok=True)
        (root / "odd names" / name).write_text(name)
    source = pathlib.Path(__file__).resolve().parents[2] / "src"
    shutil.copytree(source, root / "source")
    return root


def test_restic_backs_up_checks_restores_and_prunes(region, account, tree, tmp_path):
    call = restic_for(region, account, "backup-restic", tmp_path / "cache")
    call("init")
    call("backup", tree)
    (tree / "late").write_text("later")
    call("backup", tree)
    call("check", "--read-data")
    call("restore", "latest", "--target", tmp_path / "back")
    same(tree, str(tmp_path / "back") + str(tree))
    call("forget", "--keep-last", "1", "--prune")
    call("check", "--read-data")
    assert call("snapshots").count(str(tree)) >= 1


def test_rclone_copies_checks_syncs_and_purges(region, account, tree, tmp_path):
    call = rclone_for(region, account)
    call("mkdir", "d:cone")
    call("copy", tree, "d:cone/tree")
    call("check", tree, "d:cone/tree", "--download")
    call("copy", "d:cone/tree", tmp_path / "back")
    same(tree, tmp_path / "back")
    call("copy", "d:cone/tree", "d:cone/second")        # by the server
    call("moveto", "d:cone/second/odd names/percent%41", "d:cone/second/moved")
    assert call("cat", "d:cone/second/moved") == "percent%41"
    (tmp_path / "back" / "source" / "main.c").unlink(missing_ok=True)
    (tmp_path / "back" / "new").write_text("new")
    (tmp_path / "back" / "bell\x07").write_text("rings")
    call("sync", tmp_path / "back", "d:cone/second")
    call("check", tmp_path / "back", "d:cone/second")
    assert "cone" in call("lsd", "d:")
    assert call("cat", "d:cone/tree/odd names/percent%41", "--offset", "2", "--count", "3") == "rce"
    call("purge", "d:cone")
    assert "cone" not in call("lsd", "d:")


def test_s3cmd_puts_lists_gets_and_syncs(region, account, tree, tmp_path):
    s3cmd = tool("s3cmd")
    config = tmp_path / "s3cfg"
    host = region.url.removeprefix("https://")
    config.write_text(f"[default]\naccess_key = {account['access_key']}\nsecret_key = {account['secret_key']}\n"
                      f"host_base = {host}\nhost_bucket = {host}\nuse_https = True\nca_certs_file = {region.ca}\n"
                      f"multipart_chunk_size_mb = 5\nbucket_location = {region.name}\n")

    def call(*words):
        return s3cmd("-c", config, "--no-progress", *words).stdout

    call("mb", "s3://commands")
    call("sync", f"{tree}/", "s3://commands/tree/")
    call("sync", "s3://commands/tree/", f"{tmp_path}/back/")
    same(tree, tmp_path / "back")
    assert "s3://commands/tree/" in call("ls", "s3://commands/")
    call("cp", "s3://commands/tree/folder 2/file-5.bin", "s3://commands/copied")
    call("get", "s3://commands/copied", tmp_path / "copied")
    assert filecmp.cmp(tmp_path / "copied", tree / "folder 2" / "file-5.bin", shallow=False)
    call("mv", "s3://commands/copied", "s3://commands/moved")
    assert "100000" in call("info", "s3://commands/moved")
    assert call("du", "s3://commands/").split()[0].isdigit()
    call("del", "--recursive", "--force", "s3://commands/")
    call("rb", "s3://commands")
    assert "s3://commands" not in call("ls")


# By default (when_supported) a checksum follows the body: STREAMING-UNSIGNED-PAYLOAD-TRAILER.
@pytest.mark.parametrize("checksums", ["when_supported", "when_required"])
def test_aws_copies_syncs_and_removes(region, account, tree, tmp_path, checksums):
    call = aws_for(region, account, AWS_REQUEST_CHECKSUM_CALCULATION=checksums,
                   AWS_RESPONSE_CHECKSUM_VALIDATION=checksums)
    bucket = checksums.replace("_", "-")
    call("s3", "mb", f"s3://{bucket}")
    call("s3", "sync", tree, f"s3://{bucket}/tree")
    call("s3", "sync", f"s3://{bucket}/tree", tmp_path / "back")
    same(tree, tmp_path / "back")
    call("s3", "cp", "--recursive", f"s3://{bucket}/tree", f"s3://{bucket}/second")     # by the server
    call("s3", "mv", f"s3://{bucket}/second/folder 1/file-7.bin", f"s3://{bucket}/moved")
    call("s3", "cp", f"s3://{bucket}/moved", tmp_path / "moved")
    assert filecmp.cmp(tmp_path / "moved", tree / "folder 1" / "file-7.bin", shallow=False)
    assert "PRE tree/" in call("s3", "ls", f"s3://{bucket}/")
    assert '"ContentLength"' in call("s3api", "head-object", "--bucket", bucket, "--key", "moved", "--output", "json")
    call("s3", "rb", "--force", f"s3://{bucket}")
    assert bucket not in call("s3", "ls")


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_aws_finds_its_checksums_again(region, account, tree, tmp_path, algorithm):
    call, bucket = aws_for(region, account), f"sums-{algorithm.lower()}"
    call("s3", "mb", f"s3://{bucket}")
    for file in ("folder 2/file-2.bin", "folder 1/file-7.bin"):
        call("s3", "cp", tree / file, f"s3://{bucket}/copied", "--checksum-algorithm", algorithm)
        call("s3", "cp", f"s3://{bucket}/copied", tmp_path / "back")
        assert filecmp.cmp(tree / file, tmp_path / "back", shallow=False)
    call("s3api", "put-object", "--bucket", bucket, "--key", "put", "--body", tree / file,
         "--checksum-algorithm", algorithm)
    head = json.loads(call("s3api", "head-object", "--bucket", bucket, "--key", "put", "--checksum-mode",
                           "ENABLED", "--output", "json"))
    content = (tree / file).read_bytes()
    digest = zlib.crc32(content).to_bytes(4, "big") if algorithm == "CRC32" else \
        hashlib.new(algorithm, content).digest()
    assert head[f"Checksum{algorithm}"] == base64.b64encode(digest).decode()


def test_aws_needs_not_know_where_the_home_is(tree, tmp_path):
    home = Region(tmp_path, "cn-bj", "CN").start()
    other = Region(tmp_path, "sg", "SG", beside=home).start()
    try:
        account = home.account()
        call = aws_for(other, account)
        call("s3", "mb", "s3://far")
        for file in ("folder 2/file-2.bin", "folder 1/file-7.bin"):
            call("s3", "cp", tree / file, "s3://far/copied")
            aws_for(home, account)("s3", "cp", "s3://far/copied", tmp_path / "back")
            assert filecmp.cmp(tree / file, tmp_path / "back", shallow=False)
    finally:
        other.stop()
        home.stop()
