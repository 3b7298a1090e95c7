"""Clients that do more than copy: backup programs, a mounted bucket, versions, what a move does to a backup."""
import json
import os
import random
import shutil
import subprocess
import threading
import urllib.request

import pytest

from client_tools import aws_for, rclone_for, restic_for, same, tool
from domicile import Region, tls_context

MIB = 1 << 20


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    one = Region(tmp_path_factory.mktemp("more")).start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def account(region):
    return region.account()


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "tree")


def make_tree(root):
    for i, size in enumerate([0, 1, 1000, 32769, 300000, 6 * MIB]):
        path = root / f"folder {i % 2}" / f"file-{i}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(i).randbytes(size))
    (root / "हिन्दी + & %41 'x'").write_text("odd")
    return root


def test_duplicity_backs_up_in_increments_and_restores(region, account, tree, tmp_path):
    duplicity = tool("duplicity")
    env = dict(AWS_ACCESS_KEY_ID=account["access_key"], AWS_SECRET_ACCESS_KEY=account["secret_key"],
               AWS_CA_BUNDLE=region.ca, AWS_EC2_METADATA_DISABLED="true")
    where = [f"--s3-endpoint-url={region.url}", f"--s3-region-name={region.name}", "--no-encryption",
             f"--archive-dir={tmp_path}/archive", "--volsize=3"]
    target = "boto3+s3://backup-duplicity/home"
    region.client(account).create_bucket(Bucket="backup-duplicity")

    def call(*words):
        return duplicity(*words[:1], *where, *words[1:], **env).stdout

    call("full", tree, target)
    (tree / "late").write_text("later")
    (tree / "folder 1" / "file-3.bin").write_bytes(b"changed")
    call("incremental", tree, target)
    call("restore", target, tmp_path / "back")
    same(tree, tmp_path / "back")
    call("full", tree, target)
    call("remove-all-but-n-full", "1", "--force", target)
    call("verify", "--compare-data", target, tree)
    kept = region.client(account).list_objects_v2(Bucket="backup-duplicity")["Contents"]
    assert not [o["Key"] for o in kept if "inc" in o["Key"]]


def test_a_borg_repository_goes_there_and_back(region, account, tree, tmp_path):
    borg, rclone = tool("borg"), rclone_for(region, account)
    env = dict(BORG_BASE_DIR=tmp_path / "base", BORG_PASSPHRASE="correct horse", BORG_RELOCATED_REPO_ACCESS_IS_OK="yes")
    borg("init", "--encryption=repokey-blake2", tmp_path / "repo", **env)
    borg("create", f"{tmp_path}/repo::one", tree, **env)
    rclone("sync", tmp_path / "repo", "d:backup-borg")
    (tree / "late").write_text("later")
    borg("create", f"{tmp_path}/repo::two", tree, **env)
    borg("delete", f"{tmp_path}/repo::one", **env)
    borg("compact", tmp_path / "repo", **env)
    rclone("sync", tmp_path / "repo", "d:backup-borg")
    rclone("check", "--download", tmp_path / "repo", "d:backup-borg")
    rclone("copy", "d:backup-borg", tmp_path / "back")
    borg("check", "--verify-data", tmp_path / "back", **env)
    (tmp_path / "out").mkdir()
    done = subprocess.run(["borg", "extract", f"{tmp_path}/back::two"], cwd=tmp_path / "out", env={**os.environ, **{
        k: str(v) for k, v in env.items()}}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    same(tree, str(tmp_path / "out") + str(tree))


@pytest.fixture
def mounted(region, account, tmp_path):
    """A bucket as a folder."""
    tool("s3fs")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as e:
        pytest.skip(f"nothing can be mounted here: /dev/fuse: {e.strerror}")
    region.client(account).create_bucket(Bucket="mounted")
    secret, folder = tmp_path / "passwd", tmp_path / "mounted"
    secret.write_text(f"{account['access_key']}:{account['secret_key']}")
    secret.chmod(0o600)
    folder.mkdir()
    done = subprocess.run(["s3fs", "mounted", folder, "-o", f"url={region.url}", "-o", "use_path_request_style", "-o",
                           f"passwd_file={secret}", "-o", f"endpoint={region.name}", "-o", "multipart_size=5"],
                          env={**os.environ, "CURL_CA_BUNDLE": str(region.ca)}, capture_output=True, text=True, timeout=60)
    if "Operation not permitted" in done.stderr:
        pytest.skip(f"nothing may be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    try:
        yield folder
    finally:
        subprocess.run(["fusermount", "-u", folder], check=True, timeout=60)


def test_a_mounted_bucket_is_a_folder_like_any_other(mounted, region, account, tree, tmp_path):
    shutil.copytree(tree, mounted / "tree")
    same(tree, mounted / "tree")
    large = random.Random(5).randbytes(12 * MIB)
    (mounted / "large").write_bytes(large)                      # in parts
    with open(mounted / "large", "r+b") as f:                   # s3fs copies the parts around it
        f.seek(7 * MIB)
        f.write(b"in the middle")
    large = large[:7 * MIB] + b"in the middle" + large[7 * MIB + 13:]
    s3 = region.client(account)
    assert s3.get_object(Bucket="mounted", Key="large")["Body"].read() == large
    (mounted / "tree").rename(mounted / "renamed")
    same(tree, mounted / "renamed")
    with open(mounted / "notes", "a") as f:
        f.write("one\n")
    with open(mounted / "notes", "a") as f:
        f.write("two\n")
    assert s3.get_object(Bucket="mounted", Key="notes")["Body"].read() == b"one\ntwo\n"
    os.chmod(mounted / "notes", 0o640)                          # a copy onto itself with other metadata
    assert s3.head_object(Bucket="mounted", Key="notes")["Metadata"]["mode"] == str(0o100640)
    s3.put_object(Bucket="mounted", Key="from elsewhere", Body=b"x")
    assert (mounted / "from elsewhere").read_bytes() == b"x"
    shutil.rmtree(mounted / "renamed")
    assert not s3.list_objects_v2(Bucket="mounted", Prefix="renamed").get("Contents")


def test_rclone_sees_what_was_before(region, account, tmp_path):
    rclone = rclone_for(region, account)
    rclone("mkdir", "d:history")
    rclone("backend", "versioning", "d:history", "Enabled")
    for text in ("first", "second"):
        (tmp_path / "note.txt").write_text(text)
        rclone("copy", "--ignore-times", tmp_path / "note.txt", "d:history")
    rclone("deletefile", "d:history/note.txt")
    assert rclone("lsf", "d:history") == ""
    old = rclone("lsf", "--s3-versions", "d:history").split()
    assert len(old) == 2
    assert sorted(rclone("cat", "--s3-versions", f"d:history/{name}") for name in old) == ["first", "second"]
    rclone("backend", "cleanup-hidden", "d:history")
    assert rclone("lsf", "--s3-versions", "d:history") == ""


def test_aws_in_parts_with_tags_versions_and_a_link(region, account, tree):
    aws = aws_for(region, account)

    def api(*words):
        said = aws("s3api", *words, "--output", "json")
        return json.loads(said) if said else {}

    s3 = region.client(account)
    s3.create_bucket(Bucket="films")
    s3.put_bucket_versioning(Bucket="films", VersioningConfiguration={"Status": "Enabled"})
    file = ["--bucket", "films", "--key", "a film"]
    upload = api("create-multipart-upload", *file, "--tagging", "made=here")["UploadId"]
    part = [*file, "--upload-id", upload]
    pieces = [tree / "folder 1" / "file-5.bin", tree / "folder 0" / "file-4.bin"]
    done = [{"PartNumber": n, "ETag": api("upload-part", *part, "--part-number", str(n), "--body", piece)["ETag"]}
            for n, piece in enumerate(pieces, 1)]
    assert [p["Size"] for p in api("list-parts", *part)["Parts"]] == [6 * MIB, 300000]
    api("complete-multipart-upload", *part, "--multipart-upload", json.dumps({"Parts": done}))
    assert s3.get_object_tagging(Bucket="films", Key="a film")["TagSet"] == [{"Key": "made", "Value": "here"}]
    link = aws("s3", "presign", "s3://films/a film").strip()
    body = urllib.request.urlopen(link, context=tls_context(region), timeout=60).read()
    assert body == b"".join(piece.read_bytes() for piece in pieces)
    s3.delete_object(Bucket="films", Key="a film")
    listed = api("list-object-versions", "--bucket", "films")
    marker, version = listed["DeleteMarkers"][0]["VersionId"], listed["Versions"][0]["VersionId"]
    both = {"Objects": [{"Key": "a film", "VersionId": v} for v in (marker, version)]}
    assert len(api("delete-objects", "--bucket", "films", "--delete", json.dumps(both))["Deleted"]) == 2
    s3.delete_bucket(Bucket="films")


def test_restic_prunes_and_checks_while_its_account_moves(region, tree, tmp_path):
    account = region.account()
    here = restic_for(region, account, "backup-laptop", tmp_path / "cache")
    other = Region(region.folder, "hk", "HK", beside=region).start()
    try:
        here("init")
        for i in range(3):
            (tree / f"new {i}").write_bytes(random.Random(i).randbytes(2 * MIB))
            here("backup", tree)
        waves, failures = [], []

        def move_about():
            try:
                for source, target in ((region, other), (other, region), (region, other)):
                    waves.append(source.wait_wave(source.wave_to(target)))
            except BaseException as failure:
                failures.append(failure)

        moving = threading.Thread(target=move_about)
        moving.start()
        while moving.is_alive():
            (tree / "new 0").write_bytes(random.Random(len(waves)).randbytes(MIB))
            here("backup", tree)
            here("forget", "--keep-last", "2", "--prune")
            here("check")
        moving.join()
        assert not failures, failures[0]
        assert other.home(account) == "hk"
        there = restic_for(other, account, "backup-laptop", tmp_path / "other cache")
        there("check", "--read-data")
        there("restore", "latest", "--target", tmp_path / "back")
        same(tree, str(tmp_path / "back") + str(tree))
    finally:
        other.stop()
