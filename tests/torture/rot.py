"""Chunks that change on the disk though they were synced, and what may come of it: reads of what lies in them fail."""
import collections
import glob
import os
import random
import threading
import time

SECTOR = 512


class Rot:
    def __init__(self):
        self.lock = threading.Lock()
        self.struck = collections.Counter()     # account id -> chunks
        self.since = {}                         # account id -> when (ns) the first was struck

    def strike(self, node, seed):
        """Damage one finished chunk of NODE. Tells what was done."""
        draw = random.Random(seed)
        paths = [p for p in sorted(glob.glob(os.path.join(node.dir, "store/chunks/*/*/*"))) if not p.endswith(".part")]
        if not paths:
            return None
        path, way = draw.choice(paths), draw.choice(["bit", "bit", "sector", "cut", "gone"])
        account = path.split("/")[-2].partition(".")[0]
        with self.lock:
            self.struck[account] += 1
            self.since.setdefault(account, time.monotonic_ns())
        try:
            damage(path, way, draw)
        except FileNotFoundError:               # its object was removed meanwhile
            return None
        return path, way

    def excuses(self, account, at):
        """Whether a read of the account's that ended at AT (ns) may have failed for this."""
        return self.since.get(account, at) < at


def damage(path, way, draw):
    if way == "gone":
        os.remove(path)
        return
    with open(path, "r+b") as f:
        at = draw.randrange(os.fstat(f.fileno()).st_size)
        if way == "cut":
            f.truncate(at)
            return
        f.seek(at)
        old = f.read(1 if way == "bit" else SECTOR)
        f.seek(at)
        f.write(bytes([old[0] ^ 1 << draw.randrange(8)]) if way == "bit" else bytes(b ^ 0xff for b in old))
