"""The commands that the documents show do what the documents say: each runs, in order, in one shell."""
import os
import re
import shutil
import signal
import subprocess

import pytest

from domicile import DOMICILE, ROOT, free_ports

CLIENTS = ("restic", "rclone", "s3cmd", "aws", "boto3")

# In place of `domicile`: `serve` returns once the node is ready, and what `account create` prints is kept.
WRAPPER = r"""#!/bin/sh
here={here}
case "$1 $2" in
"serve "*)
	{domicile} "$@" >/dev/null 2>"$here/log.$$" </dev/null &
	pid=$!
	echo $pid >>"$here/pids"
	for i in $(seq 1200); do
		grep -qw ready "$here/log.$$" && exit 0
		kill -0 $pid 2>/dev/null || break
		sleep 0.1
	done
	cat "$here/log.$$" >&2
	exit 1 ;;
"account create")
	{domicile} "$@" >"$here/said" || exit
	cat "$here/said" >>"$here/created"
	cat "$here/said" ;;
*)
	exec {domicile} "$@" ;;
esac
"""

PLACEHOLDERS = {
    "ACCESS-KEY": "$(tail -n 1 $HERE/created | cut -f 3)",
    "SECRET-KEY": "$(tail -n 1 $HERE/created | cut -f 4)",
    "ACCOUNT": "$(domicile account list | head -n 1 | cut -f 1)",
    "ID": "$(domicile account list | head -n 1 | cut -f 1)",
    "PID": "$(cat $HERE/pids)",
}


def blocks(name, *headings):
    """The fenced blocks below these headings of a document, but for those marked as not run."""
    found, heading, inside, is_marked = [], None, None, False
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("```"):
            if inside is not None and heading in headings and not is_marked:
                found.append("\n".join(inside))
            is_marked = is_marked and inside is None
            inside = [] if inside is None else None
        elif inside is not None:
            inside.append(line)
        elif line.startswith("## "):
            heading = line[3:]
        elif line.startswith("<!-- not run: "):
            is_marked = True
    assert found, f"{name}: nothing below {headings}"
    return found


def is_installed(client):
    python = ["python3", "-c", "import boto3"]
    return subprocess.run(python, capture_output=True).returncode == 0 if client == "boto3" else shutil.which(client)


def runnable(block, base):
    """A block with its placeholders filled in, on ports of our own; "" if it needs what is not here."""
    if any(re.search(rf"\b{c}\b", block) and not is_installed(c) for c in CLIENTS):
        return ""
    for word, value in PLACEHOLDERS.items():
        block = re.sub(rf"(?<![\w$-]){word}(?![\w-])", lambda _: value, block)
    block = re.sub(r"(?<=[ :])74([0-4]\d)\b", lambda m: str(base + int(m[1])), block)
    block = re.sub(r"(domicile serve [^\n&]*)&", r"\1", block).replace("\\\n", " ")
    return re.sub(r"(domicile region init (?!.*--port-base)[^\n]*)", rf"\1 --port-base {base}", block)


class Shell:
    def __init__(self, folder):
        self.folder, self.base = folder, free_ports(20)
        self.here = folder / "here"
        (self.here / "bin").mkdir(parents=True)
        wrapper = self.here / "bin" / "domicile"
        wrapper.write_text(WRAPPER.format(here=self.here, domicile=DOMICILE))
        wrapper.chmod(0o755)
        self.work = folder / "work"
        shutil.copytree(ROOT / "src" / "base", self.work / "documents")

    def run(self, parts):
        """All of it in one shell, as someone would who reads from top to bottom."""
        script = "\n".join(["set -eu", *(runnable(b, self.base) for b in parts)])
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "RCLONE_", "RESTIC_", "DOMICILE_"))}
        with open(self.folder / "output", "wb") as output:
            done = subprocess.run(["bash", "-x", "-c", script], cwd=self.work, stdin=subprocess.DEVNULL,
                                  stdout=output, stderr=output, timeout=900, start_new_session=True,
                                  env={**clean, "HERE": str(self.here), "HOME": str(self.work),
                                       "PATH": f"{self.here}/bin:{os.environ['PATH']}",
                                       "AWS_EC2_METADATA_DISABLED": "true"})
        said = (self.folder / "output").read_text(errors="replace")
        assert done.returncode == 0, said[-4000:]
        return said

    def stop(self):
        pids = self.here / "pids"
        for pid in pids.read_text().split() if pids.exists() else []:
            try:
                os.kill(int(pid), signal.SIGTERM)
            except ProcessLookupError:
                pass


@pytest.fixture
def shell(tmp_path):
    one = Shell(tmp_path)
    yield one
    one.stop()


def test_readme_is_true(shell):
    said = shell.run(blocks("README.md", "Use it"))
    assert "1 the same" in said
    assert (shell.work / "account.json").stat().st_size > 0


def test_operating_is_true(shell):
    said = shell.run(blocks("docs/operating.md", "The first region", "Accounts", "Another region",
                            "Moving accounts", "Proof"))
    assert "0 bad" in said
    assert (shell.work / "certificate.json").stat().st_size > 0


def test_backups_are_as_the_operator_reads(shell):
    first = [b.replace("domicile serve", "mkdir -p backups; echo 'may_write = ../backups' >>cn-bj/region.conf\n"
                                         "domicile serve", 1) for b in blocks("docs/operating.md", "The first region")]
    said = shell.run([*first, *blocks("docs/operating.md", "Back up and restore")])
    assert "generation 2 of cn-bj" in said


def test_the_examples_of_clients_are_true(shell):
    first = blocks("docs/operating.md", "The first region")
    create = "export DOMICILE_CONFIG=cn-bj/region.conf\ndomicile account create --country CN --grant files,backup"
    said = shell.run([*first, create, *blocks("docs/s3.md", "Clients")])
    if is_installed("restic"):
        assert "no errors were found" in said
    if is_installed("boto3"):
        assert "b'hello'" in said and "X-Amz-Signature" in said


def test_exit_codes_are_as_documented():
    rows = re.findall(r'\{ "([a-z-]+)", (\d+) \},', (ROOT / "src/base/err.c").read_text())
    table = re.findall(r"^\| (\d+) \| ([a-z-]+) \|", (ROOT / "docs/operating.md").read_text(), re.MULTILINE)
    assert [(word, code) for code, word in table] == rows[1:]


def sources(pattern):
    return "".join(path.read_text() for path in sorted((ROOT / "src").glob(pattern)))


def words_of_table(name, heading, word):
    """What matches WORD in the first columns of the tables below a heading."""
    section = (ROOT / name).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1:3] if heading == "regions.conf" else line.split("|")[1:2]
             for line in section.splitlines() if line.startswith("| ")]
    return {found for row in cells for cell in row for found in re.findall(word, cell)}


def test_every_metric_is_explained_and_every_one_explained_is_there():
    code = sources("*/*.c")
    made = set(re.findall(r'"(domicile_\w+)"', code))
    assert words_of_table("docs/operating.md", "Watching a node", r"`(domicile_\w+)") == made
    histograms = re.findall(r'HISTOGRAM\(\s*"(domicile_\w+)"', code)
    assert histograms and [name for name in histograms if not name.endswith("_seconds")] == []


def test_every_word_of_region_conf_is_explained_and_every_one_explained_is_there():
    code = sources("cli/region_conf.c").partition("/* --- regions.conf --- */")[0]
    read = set(re.findall(r'conf_\w+\(\s*\w[^";]*"", "([a-z0-9_]+)"', code) +
               re.findall(r'\{ "([a-z0-9_]+)", ', code) +
               re.findall(r'"(quota_\w+)"', sources("service/quota.c")))
    assert words_of_table("docs/operating.md", "region.conf", r"`([a-z0-9_]+)`") == read


def test_every_word_of_regions_conf_is_explained_and_every_one_explained_is_there():
    code = sources("cli/region_conf.c").partition("/* --- regions.conf --- */")[2] + sources("service/policy.c")
    read = set(re.findall(r'\(c, section, "([a-z0-9_]+)"', code) +
               re.findall(r'"(quota_\w+)"', sources("service/quota.c")))
    assert words_of_table("docs/operating.md", "regions.conf", r"`([a-z0-9_]+)`") == read


def test_every_command_is_explained():
    commands = re.findall(r'\{\s*"([a-z][a-z -]*)",\s*"[^"]*",\s*cmd_', sources("cli/commands.c"))
    read = "".join((ROOT / "docs" / name).read_text() for name in ("operating.md", "s3.md"))
    assert commands and [words for words in commands if f"domicile {words}" not in read] == []
