"""A region's store is lost and put back from a backup: what the directory vouches for is served, and nothing
that has moved, was removed or was erased comes back to life."""
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from botocore.exceptions import ClientError

from domicile import DOMICILE, Region, contents, files_below, free_ports, wait_until

MIB = 1 << 20


def command(*words):
    """(exit code, stdout, stderr)"""
    done = subprocess.run([DOMICILE, *map(str, words)], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def may_back_up(region):
    """Lets its node write beside its folder."""
    with open(region.config, "a") as f:
        f.write("may_write = ..\n")
    return region


def holds(folder, needles):
    """The files of the folder that hold any of these bytes."""
    return [path for path, content in contents(folder) if any(n in content for n in needles)]


def samples(region, account):
    records = json.loads(region.command("region", "sample", account["account"]))["records"]
    return [bytes.fromhex(r["hex"]) for r in records if len(r["hex"]) >= 32]


def move(source, target, accounts):
    listed = source.folder / "moving"
    listed.write_text("".join(f"{a['account']}\n" for a in accounts))
    plan = json.loads(source.command("wave", "plan", "--from", source.name, "--to", target.name, "--accounts",
                                     listed, "--json"))
    wave = plan["wave"]["id"] if isinstance(plan["wave"], dict) else plan["wave"]
    source.command("wave", "run", wave)
    source.wait_wave(wave)


def show(region, account):
    return json.loads(region.command("account", "show", account["account"], "--json"))


def body(region, account, key, bucket="things"):
    return region.client(account).get_object(Bucket=bucket, Key=key)["Body"].read()


def put(region, account, key, data, bucket="things"):
    region.client(account).put_object(Bucket=bucket, Key=key, Body=data)


def refused(region, account):
    with pytest.raises(ClientError) as error:
        body(region, account, "small")
    return error.value.response["Error"]["Message"]


def make_account(region, large=False):
    account = region.account("IN")
    region.client(account).create_bucket(Bucket="things")
    put(region, account, "small", account["account"].encode())
    if large:
        put(region, account, "large", os.urandom(6 * MIB))
    return account


@pytest.fixture()
def regions(tmp_path):
    bj = may_back_up(Region(tmp_path, "cn-bj", "CN")).start()
    sg = may_back_up(Region(tmp_path, "sg", "SG", beside=bj)).start()
    yield bj, sg
    for region in (sg, bj):
        if region.is_up():
            region.stop()


def lose_store(region):
    region.stop(signal.SIGKILL)
    shutil.rmtree(region.folder / region.name / "store")


def start_kill(region, at):
    """Start the node so that it stops at a step, and kill it there."""
    env = dict(os.environ, DOMICILE_STOP_AT=at)
    kill_at([DOMICILE, "serve", "--config", str(region.config)], env, region.log_path())


def kill_at(words, env, log_path):
    with open(log_path, "ab") as log:
        process = subprocess.Popen(words, stderr=log, stdout=subprocess.DEVNULL, env=env)
    wait_until(lambda: is_stopped(process.pid), lambda: pathlib.Path(log_path).read_text()[-2000:])
    process.kill()
    process.wait()


def is_stopped(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


class Writer:
    """Puts numbered objects until it is told to end; knows what was acknowledged."""

    def __init__(self, region, account):
        self.done, self.ends = 0, False
        self.client = region.client(account)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.ends:
            self.client.put_object(Bucket="things", Key=f"n/{self.done:06}", Body=b"x" * 40000)
            self.done += 1

    def end(self):
        self.ends = True
        self.thread.join(120)


def test_a_region_loses_its_store(regions, tmp_path):
    """The whole of it. The directory is at cn-bj; sg loses its store."""
    bj, sg = regions
    folder = tmp_path / "backup"
    made = sorted((make_account(bj, large=True) for _ in range(7)), key=lambda a: a["account"])
    stays, leaves, returns, removed, writes, suspended, _ = made
    move(bj, sg, made)
    kept = {k: body(sg, stays, k) for k in ("small", "large")}
    writer = Writer(sg, writes)
    wait_until(lambda: writer.done >= 5, sg.log)
    acknowledged = writer.done
    first = json.loads(sg.command("region", "backup", folder, "--json").splitlines()[-1])
    second = json.loads(sg.command("region", "backup", folder, "--json").splitlines()[-1])
    wait_until(lambda: writer.done > acknowledged, sg.log)
    writer.end()
    assert first["backup"]["accounts"] == 7 and first["new_chunks"] >= 14
    # The second one writes what the writer wrote meanwhile, and no more.
    assert second["new_bytes"] < first["new_bytes"] / 3
    assert second["backup"]["chunks"] - first["backup"]["chunks"] == second["new_chunks"]
    assert command("region", "backup", "--verify", folder)[0] == 0
    copy = tmp_path / "files"

    # Life goes on.
    move(sg, bj, [leaves, returns])
    move(bj, sg, [returns])
    put(sg, returns, "late", b"late")
    sg.command("account", "remove", removed["account"], "--yes")
    sg.command("account", "suspend", suspended["account"])
    late = make_account(bj)
    move(bj, sg, [late])
    put(sg, stays, "late", b"lost with the store")

    # A restore is refused while there is a store, then killed in the middle, and repeated.
    code, _, why = command("region", "restore", folder, "--config", sg.config)
    assert code == 6 and "is not empty" in why
    sg.stop()
    shutil.copytree(sg.folder / "sg" / "store", copy)
    shutil.rmtree(sg.folder / "sg" / "store")
    for step in ("restore.gathered", "restore.chunks"):
        kill_at([DOMICILE, "region", "restore", str(folder), "--config", str(sg.config)],
                dict(os.environ, DOMICILE_STOP_AT=step), tmp_path / "restore.log")
        code, _, why = command("serve", "--config", sg.config)
        assert code == 9 and "broken off" in why
    # Only one at a time.
    with subprocess.Popen([DOMICILE, "region", "restore", folder, "--config", sg.config], stdout=subprocess.PIPE, text=True,
                          env=dict(os.environ, DOMICILE_STOP_AT="restore.gathered")) as first:
        wait_until(lambda: is_stopped(first.pid), lambda: "it does not come to the step")
        second = command("region", "restore", folder, "--config", sg.config)
        first.send_signal(signal.SIGCONT)
        out = first.communicate(timeout=300)[0]
    assert second[0] == 9 and "another restore" in second[2], second
    assert first.returncode == 0 and "7 accounts" in out

    # The comparison with the directory is killed, and waits for a directory that is away.
    start_kill(sg, "reconcile.page")
    start_kill(sg, "reconcile.settled")
    bj.stop()
    with open(sg.log_path(), "ab") as log:
        sg.process = subprocess.Popen([DOMICILE, "serve", "--config", sg.config], stderr=log)
    wait_until(lambda: "reconcile.wait" in sg.log(), sg.log)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", sg.plain_port), 60)
    bj.start()
    wait_until(lambda: "info ready" in sg.log().rsplit("reconcile.done", 1)[-1] and "reconcile.done" in sg.log(),
             sg.log)
    report = json.loads(sg.command("region", "reconciled", "--json"))
    assert {r: report[r] for r in ("why", "held", "lost", "ahead")} == {
        "why": "restored", "held": 1, "lost": 1, "ahead": 0}, report
    assert {a["account"]: a["state"] for a in report["accounts"]} == {
        returns["account"]: "held", late["account"]: "lost"}

    # Served as of the backup; all that was acknowledged before it began is there.
    assert {k: body(sg, stays, k) for k in kept} == kept
    with pytest.raises(ClientError):
        body(sg, stays, "late")
    listed = sg.client(writes).list_objects_v2(Bucket="things", Prefix="n/")
    assert listed["KeyCount"] >= min(acknowledged, 1000)
    put(sg, stays, "new", b"new")
    # Moved away: served where it lives, and gone here.
    assert body(sg, leaves, "small") == leaves["account"].encode()
    assert show(bj, leaves)["home"] == "cn-bj"
    # Suspended since: still so.
    assert "suspended" in refused(sg, suspended)
    # Came back since: held until it is decided.
    assert "older copy" in refused(sg, returns)
    assert "epoch 2" in show(bj, returns)["reason"]
    sg.command("account", "accept", returns["account"], "--yes")
    assert body(sg, returns, "small") == returns["account"].encode()
    with pytest.raises(ClientError):
        body(sg, returns, "late")
    # Came after the backup: lost, and can be removed.
    assert show(sg, late)["state"] == "lost"
    assert "lost" in refused(sg, late)
    sg.command("account", "remove", late["account"], "--yes")
    # Removed since: nothing of it.
    assert command("account", "show", removed["account"], "--config", sg.config)[0] == 5
    gone = [removed["account"], leaves["account"]]
    chunks = sg.folder / "sg" / "store" / "chunks"
    wait_until(lambda: not any(name.split(".")[0] in gone for _, names, _ in os.walk(chunks) for name in names), sg.log)
    # A restored region moves accounts like any other.
    move(sg, bj, [returns, stays])
    assert body(bj, stays, "new") == b"new"


def test_what_was_erased_is_in_no_new_backup(regions, tmp_path):
    bj, sg = regions
    folder = tmp_path / "backup"
    stays, leaves, removed = (make_account(bj, large=True) for _ in range(3))
    needles = samples(bj, leaves) + samples(bj, removed)
    chunks = bj.folder / "cn-bj" / "store" / "chunks"
    needles += [f.read_bytes()[1000:1256] for a in (leaves, removed)
                for f in chunks.glob(f"*/{a['account']}.*/*")]
    assert len(needles) > 20
    bj.command("region", "backup", folder, "--keep", "1")
    assert holds(folder, needles)       # they would be found
    move(bj, sg, [leaves])
    bj.command("account", "remove", removed["account"], "--yes")
    bj.command("region", "backup", folder, "--keep", "1")
    assert not holds(folder, needles)
    assert holds(folder, samples(bj, stays)) and command("region", "backup", "--verify", folder)[0] == 0
    assert not holds(folder, [(bj.folder / "cn-bj" / "region.key").read_bytes()])


def test_folders_that_are_no_place_for_a_backup_are_refused(regions, tmp_path):
    bj, sg = regions
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("something else")
    bj.command("region", "backup", tmp_path / "mine")
    for folder, code, why in ((tmp_path / "other", 6, "something else"),
                              (bj.folder / "cn-bj" / "store" / "backup", 3, "in the store"),
                              (bj.folder / "cn-bj", 3, "around it")):
        got, _, text = command("region", "backup", folder, "--config", bj.config)
        assert got == code and why in text, text
    got, _, text = command("region", "backup", tmp_path / "mine", "--config", sg.config)
    assert got == 3 and "another region" in text
    got, _, text = command("region", "restore", tmp_path / "other", "--config", sg.config)
    assert got != 0


def test_a_backup_from_before_a_rotation_needs_the_key_of_its_time(tmp_path):
    bj = may_back_up(Region(tmp_path, "cn-bj", "CN")).start()
    folder, key = tmp_path / "backup", bj.folder / "cn-bj" / "region.key"
    account = make_account(bj)
    bj.command("region", "backup", folder)
    old = key.read_bytes()
    bj.command("region", "rotate-key")
    lose_store(bj)
    code, _, why = command("region", "restore", folder, "--config", bj.config)
    assert code == 5 and "generation 1 of the region key" in why, why
    assert not (bj.folder / "cn-bj" / "store").exists()
    key.write_bytes(old)
    assert command("region", "restore", folder, "--config", bj.config)[0] == 0
    bj.start()
    assert body(bj, account, "small") == account["account"].encode()
    bj.stop()


def test_the_directory_comes_back_with_the_store_and_erases_nothing(tmp_path):
    """Both were lost: what the older directory does not know of is held, and can be accepted."""
    bj = may_back_up(Region(tmp_path, "cn-bj", "CN")).start()
    sg = Region(tmp_path, "sg", "SG", beside=bj).start()
    folder = tmp_path / "backup"
    account, removed = make_account(bj), make_account(bj)
    bj.command("region", "backup", folder)
    bj.stop(signal.SIGKILL)
    shutil.rmtree(bj.folder / "cn-bj" / "store")
    for f in (bj.folder / "cn-bj").glob("directory.sqlite*"):
        f.unlink()
    code, _, why = command("region", "restore", folder, "--config", bj.config)
    assert code == 5 and "--with-directory" in why
    # Broken off when the directory is there, and the store not yet: it is repeated as it was, and is the backup's still.
    kill_at([DOMICILE, "region", "restore", str(folder), "--config", str(bj.config), "--with-directory"],
            dict(os.environ, DOMICILE_STOP_AT="restore.chunks"), tmp_path / "restore.log")
    assert (bj.folder / "cn-bj" / "directory.sqlite").exists()
    code, _, why = command("region", "restore", folder, "--config", bj.config, "--with-directory")
    assert code == 0, why
    bj.start()
    report = json.loads(bj.command("region", "reconciled", "--json"))
    assert report["directory_back"] and report["here"] == 2 and report["unknown"] == 0, report
    # And with a directory that is new and empty: nothing is erased either.
    bj.stop()
    for f in (bj.folder / "cn-bj").glob("directory.sqlite*"):
        f.unlink()
    assert command("region", "reconcile", "--config", bj.config)[0] == 0
    bj.start()
    report = json.loads(bj.command("region", "reconciled", "--json"))
    assert report["held"] == 2 and report["unknown"] == 0, report
    bj.command("account", "accept", account["account"], "--yes")
    assert body(bj, account, "small") == account["account"].encode()
    bj.command("account", "remove", removed["account"], "--yes")
    assert [a["account"] for a in json.loads(bj.command("account", "list", "--json"))] == [account["account"]]
    sg.stop()
    bj.stop()


def test_a_node_that_only_serves_the_directory_is_backed_up(tmp_path):
    bj = may_back_up(Region(tmp_path, "cn-bj", "CN"))
    command("region", "init", tmp_path / "dir", "--region", "dir", "--jurisdiction", "CN", "--ca", tmp_path / "ca",
            "--directory-only", "--port-base", free_ports(5))
    with open(tmp_path / "dir" / "region.conf", "a") as f:
        f.write("may_write = ..\n")
    with open(tmp_path / "dir.log", "wb") as log:
        node = subprocess.Popen([DOMICILE, "serve", "--config", tmp_path / "dir" / "region.conf"], stderr=log)
    try:
        wait_until(lambda: b"info ready" in (tmp_path / "dir.log").read_bytes(),
                 (tmp_path / "dir.log").read_text)
        code, out, why = command("region", "backup", tmp_path / "backup", "--config",
                                 tmp_path / "dir" / "region.conf")
        assert code == 0 and "the directory" in out, why
        assert command("region", "backup", "--verify", tmp_path / "backup")[0] == 0
    finally:
        node.terminate()
        node.wait(60)


def test_damage_in_a_backup_is_found_and_not_restored(regions, tmp_path):
    bj, _ = regions
    folder = tmp_path / "backup"
    make_account(bj, large=True)
    bj.command("region", "backup", folder)
    for kind in ("objects/*/*", "chunks/*/*", "generation-*"):
        victim = max(folder.glob(kind), key=lambda f: f.stat().st_size)
        good = victim.read_bytes()
        victim.write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
        code, _, why = command("region", "backup", "--verify", folder)
        assert code == 11 and "damaged" in why, why
        victim.write_bytes(good)
    assert command("region", "backup", "--verify", folder)[0] == 0


def test_a_damaged_backup_is_restored_but_for_what_is_damaged(tmp_path):
    bj = may_back_up(Region(tmp_path, "cn-bj", "CN")).start()
    folder = tmp_path / "backup"
    account = make_account(bj, large=True)
    bj.command("region", "backup", folder)
    victim = max(folder.glob("chunks/*/*"), key=lambda f: f.stat().st_size)
    good = victim.read_bytes()
    victim.write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
    lose_store(bj)
    code, _, why = command("region", "restore", folder, "--config", bj.config)
    assert code == 11 and f"{victim.name} is damaged" in why, why
    code, out, why = command("region", "restore", folder, "--config", bj.config, "--incomplete")
    assert code == 11 and f"{account['account']}\tfiles\tchunk\n" in out, (out, why)
    bj.start()
    assert body(bj, account, "small") == account["account"].encode()
    bj.stop()


def change_manifest(folder, generation, change):
    path = folder / f"generation-{generation:06}"
    manifest = json.loads(path.read_text().splitlines()[0])
    change(manifest)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    path.write_text(f"{text}\n{hashlib.sha256(text.encode()).hexdigest()}\n")


def test_damage_that_a_backup_names_is_told_to_the_end(tmp_path):
    bj = may_back_up(Region(tmp_path, "cn-bj", "CN")).start()
    folder = tmp_path / "backup"
    account = make_account(bj)
    bj.command("region", "backup", folder)
    damages = [{"account": account["account"], "service": "files", "kind": "header"}]
    change_manifest(folder, 1, lambda m: m.update(format="domicile-backup/2", damaged=2, missing=0, damages=damages))
    line = f"{account['account']}\tfiles\theader\nand 1 more\n"
    code, out, why = command("region", "backup", "--verify", folder)
    assert code == 11 and out.endswith(line) and "generation 1" in out, (out, why)
    code, out, why = command("region", "backup", "--verify", folder, "--json")
    assert code == 11 and json.loads(out)[0]["damages"] == damages, (out, why)
    lose_store(bj)
    code, out, why = command("region", "restore", folder, "--config", bj.config)
    assert code == 11 and out.endswith(line) and "restored generation 1" in out, (out, why)
    bj.start()
    assert body(bj, account, "small") == account["account"].encode()
    bj.stop()


def test_files_that_were_copied_back_are_noticed(tmp_path):
    """No restore command: an older copy of the store's folder, put back by hand. Nodes as confined as can be."""
    bj = Region(tmp_path, "cn-bj", "CN").start()
    sg = Region(tmp_path, "sg", "SG", beside=bj).start()
    try:
        copy_back(bj, sg, tmp_path)
    finally:
        for region in (sg, bj):
            if region.is_up():
                region.stop()


def copy_back(bj, sg, tmp_path):
    leaves, stays = (make_account(sg_first) for sg_first in (bj, bj))
    move(bj, sg, [leaves, stays])
    sg.stop()
    shutil.copytree(sg.folder / "sg" / "store", tmp_path / "copy")
    sg.start()
    move(sg, bj, [leaves])
    lose_store(sg)
    shutil.copytree(tmp_path / "copy", sg.folder / "sg" / "store")
    sg.start()
    report = json.loads(sg.command("region", "reconciled", "--json"))
    assert (report["why"], report["here"], report["moved"]) == ("copied", 1, 1), report
    assert body(sg, stays, "small") == stays["account"].encode()
    put(bj, leaves, "new", b"new")
    assert body(sg, leaves, "new") == b"new"
    # And a store that is new while the region is not.
    lose_store(sg)
    sg.start()
    assert json.loads(sg.command("region", "reconciled", "--json"))["lost"] == 1
    assert "lost" in refused(sg, stays)


def kill_in_backup(region, account, folder, turn):
    """Kill the node while it writes a backup; whether that was before the backup was whole."""
    for n in range(6):
        put(region, account, f"more-{turn}-{n}", os.urandom(8 * MIB))
    chunks, generations = folder / "chunks", len(list(folder.glob("generation-*")))
    before = len(files_below(chunks))
    with subprocess.Popen([DOMICILE, "region", "backup", folder, "--config", region.config],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        for _ in range(20000):
            if len(files_below(chunks)) > before:
                break
            time.sleep(0.001)
        region.stop(signal.SIGKILL)
    assert command("region", "backup", "--verify", folder)[0] == 0
    region.start()
    return len(list(folder.glob("generation-*"))) == generations and len(files_below(chunks)) > before


def test_a_backup_that_is_killed_is_no_backup(regions, tmp_path):
    bj, _ = regions
    folder = tmp_path / "backup"
    account = make_account(bj, large=True)
    bj.command("region", "backup", folder)
    assert any(kill_in_backup(bj, account, folder, turn) for turn in range(12))
    # What it had written is used, or goes with the next one.
    done = json.loads(bj.command("region", "backup", folder, "--keep", "1", "--json").splitlines()[-1])
    assert done["backup"]["chunks"] == len(files_below(folder / "chunks"))
    assert command("region", "backup", "--verify", folder)[0] == 0
    assert len(list(folder.glob("generation-*"))) == 1 and not (folder / "part").exists()
