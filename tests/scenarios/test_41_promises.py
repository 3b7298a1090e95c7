"""Promises nothing-outside and gone, byte for byte: what a user's data is called and contains is searched for in
every file that the regions, their directory and their logs have written, and after a move what was sealed at the
old home is.

Everything is searched for as it is and as it could have been written down: in hexadecimal, base64, percent-encoded,
as UTF-16.
"""
import base64
import os
import random
import subprocess
import urllib.parse
import urllib.request

import boto3
import botocore.config
import botocore.exceptions
import pytest

from domicile import contents
from test_30_move import pair               # a fixture

BUCKET = "files-zebrafinch"
NAMES = ["Wiedehopf-Urlaub 2026/Strand.jpg", "Wiedehopf-Urlaub 2026/ключ ёлка", "Pirol.einzeln", "Kiebitz-Tag",
         "Kiebitz-Wert", "Rohrdommel-Meta", "zebrafinch"]
CONTENT = b"Ziegenmelker, in the dusk of a long evening, counted "


def boto(pair, region, account):
    host, port = region.s3
    return boto3.client("s3", endpoint_url=f"https://{host}:{port}", verify=pair.world.ca, region_name="us-east-1",
                        aws_access_key_id=account["access_key"], aws_secret_access_key=account["secret_key"],
                        config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}))


def written_as(word):
    """How WORD may look in a file."""
    raw = word.encode() if isinstance(word, str) else word
    forms = {raw, raw.hex().encode(), raw.hex().upper().encode(), urllib.parse.quote(raw).encode(),
             urllib.parse.quote(raw, safe="").encode(), urllib.parse.quote_plus(raw).encode()}
    if isinstance(word, str):
        forms |= {word.encode("utf-16-le"), word.lower().encode(), word.upper().encode()}
        forms.add(word.encode("unicode_escape"))
    for lead in range(3):       # base64 of something that has WORD inside: what does not hang on its neighbours
        whole = base64.b64encode(b"\0" * lead + raw)
        inside = whole[4 if lead else 0:len(whole) // 4 * 4 - 4]
        forms |= {inside, inside.replace(b"+", b"-").replace(b"/", b"_")} if len(inside) >= 12 else set()
    return forms


def holding(folder, needles):
    """[(file, what)] of all files below FOLDER that hold one of NEEDLES."""
    return [(path, n) for path, data in contents(folder) for n in needles if n in data]


def live(s3, prefix=""):
    """A bit of everything that has a name or a content, also what is refused."""
    keys = [prefix + n for n in NAMES[:3]]
    tags = urllib.parse.urlencode({NAMES[3]: NAMES[4]})
    for i, key in enumerate(keys):
        s3.put_object(Bucket=BUCKET, Key=key, Body=CONTENT * (1 + 20000 * (i == 1)), Metadata={"bird": NAMES[5]},
                      Tagging=tags)
    s3.copy_object(Bucket=BUCKET, Key=keys[2] + "/copy", CopySource={"Bucket": BUCKET, "Key": keys[0]})
    s3.list_objects_v2(Bucket=BUCKET, Prefix=keys[0][:9])
    s3.get_object(Bucket=BUCKET, Key=keys[1], Range="bytes=5-90000")["Body"].read()
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=keys[0])["UploadId"]
    s3.upload_part(Bucket=BUCKET, Key=keys[0], UploadId=upload, PartNumber=1, Body=CONTENT * 100)
    s3.delete_object(Bucket=BUCKET, Key=keys[2])
    for refused in (lambda: s3.get_object(Bucket=BUCKET, Key=keys[0] + "?"),
                    lambda: s3.put_object(Bucket=BUCKET + "-none", Key=keys[0], Body=CONTENT),
                    lambda: s3.put_object(Bucket=BUCKET, Key=keys[0], Body=CONTENT, ServerSideEncryption="aws:kms"),
                    lambda: s3.upload_part(Bucket=BUCKET, Key=keys[0], UploadId="x" + NAMES[2], PartNumber=1, Body=b""),
                    lambda: s3.get_bucket_website(Bucket=BUCKET)):
        with pytest.raises(botocore.exceptions.ClientError):
            refused()
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": keys[0]})
    with pytest.raises(OSError):        # no certificate of ours is trusted: the address alone must not be logged
        urllib.request.urlopen(url.replace("Signature=", "Signature=0"), timeout=5)


def test_no_file_outside_vaults_tells_a_name_a_content_or_a_secret(pair, tmp_path):
    account = pair.accounts[1]
    s3 = boto(pair, pair.source, account)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    live(s3)
    wave = pair.move()
    pair.wait_done(wave)
    live(boto(pair, pair.source, account), "again/")            # passed on
    told = [pair.source.cli("wave", "status", wave), pair.source.cli("account", "show", account["account"]),
            pair.source.cli("account", "list"), pair.target.cli("region", "scrub", "--now"),
            pair.target.cli("region", "status"), pair.source.cli("wave", "verify", wave)]
    for region in (pair.source, pair.target):
        told.append(urllib.request.urlopen(f"http://{region.metrics}/metrics").read().decode())
    (tmp_path / "told").write_text("\n".join(told))
    needles = set().union(*(written_as(n) for n in NAMES), written_as(CONTENT[:12]), written_as(account["secret_key"]))
    assert holding(tmp_path, needles) == []
    (tmp_path / "note").write_bytes(b"x" + base64.b64encode(b"ab" + NAMES[0].encode() + b"c"))
    assert holding(tmp_path, needles)                           # so it would be found


def test_what_was_sealed_at_the_old_home_is_nowhere_in_its_files(pair):
    account, windows = pair.accounts[1], set()
    store = os.path.join(pair.source.dir, "store")
    for a in pair.accounts:
        for record in pair.source.json("region", "sample", a["account"])["records"]:
            data = bytes.fromhex(record["hex"])
            if len(data) >= 64:
                windows.add(data[-16:])                         # of its tag: ciphertext alone
    chunks = os.path.join(store, "chunks", account["account"][:2])
    for where, _, files in os.walk(chunks):
        for file in files:
            with open(os.path.join(where, file), "rb") as f:
                data = f.read()
            windows |= {data[at:at + 16] for at in random.Random(1).sample(range(64, len(data) - 16), 20)}
    before = {w for _, w in holding(store, windows)}
    assert len(before) > 0.6 * len(windows) > 30                # RocksDB compresses nothing of it, but may cut some
    pair.wait_done(pair.move())
    pair.check(pair.target, pair.source)
    assert holding(store, windows) == []
    assert holding(os.path.join(pair.target.dir, "store"), windows) == []       # born-here: sealed anew
