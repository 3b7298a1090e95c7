"""The page that a node's shim reads and writes (shim.h has the same layout), and power cuts by it."""
import mmap
import os
import random
import shutil
import struct
import time

MAGIC, FILES_MAX, PATH_BYTES = 0x656b6e6f, 8192, 224
ORDERS = {"clock_ns": ("q", 8), "errors_until": ("Q", 16), "full_until": ("Q", 24), "slow_until": ("Q", 32),
          "slow_us": ("I", 40), "errors_one_in": ("I", 44), "sync_errors": ("I", 48), "short_writes": ("I", 52),
          "full_is_told": ("I", 56)}
COUNTS = ("writes", "syncs", "failed_writes", "full_writes", "short_writes", "failed_syncs", "slow_syncs",
          "untracked", "slots")
COUNTS_AT, FILES_AT = 64, 64 + 8 * len(COUNTS)
FILE = struct.Struct(f"=IIQQQQ{PATH_BYTES}s")
USED, SCATTERED, ENTRY_UNSYNCED, IS_DIR = 1, 2, 4, 8


class Disk:
    def __init__(self, path):
        self.path = path
        size = FILES_AT + FILE.size * FILES_MAX
        with open(path, "wb") as f:
            f.write(struct.pack("=II", MAGIC, FILES_MAX))
            f.truncate(size)
        with open(path, "r+b") as f:
            self.page = mmap.mmap(f.fileno(), size)

    def order(self, name, value):
        form, at = ORDERS[name]
        struct.pack_into("=" + form, self.page, at, value)

    def order_for(self, name, seconds):
        self.order(name, time.clock_gettime_ns(time.CLOCK_MONOTONIC) + int(seconds * 1e9))

    def heal(self):
        for name in ORDERS:
            self.order(name, 0)

    def counts(self):
        return dict(zip(COUNTS, struct.unpack_from(f"={len(COUNTS)}Q", self.page, COUNTS_AT)))

    def files(self):
        """(offset of the slot, flags, [(from, to) not known to be on the disk], path)"""
        for i in range(self.counts()["slots"]):
            at = FILES_AT + i * FILE.size
            flags, _, low, high, doubtful_low, doubtful_high, path = FILE.unpack_from(self.page, at)
            if flags & USED:
                ranges = [r for r in ((low, high), (doubtful_low, doubtful_high)) if r[0] < r[1]]
                yield at, flags, ranges, path.partition(b"\0")[0].decode()

    def power_cut(self, seed):
        """What a disk may do to all that nobody waited for. The node must be dead. Tells what was done."""
        draw, done = random.Random(seed), []
        for at, flags, ranges, path in sorted(self.files(), key=lambda f: f[3]):
            what = "kept"
            if flags & ENTRY_UNSYNCED and os.path.lexists(path) and draw.random() < 0.5:
                shutil.rmtree(path) if flags & IS_DIR else os.remove(path)
                what = "gone"
            elif not flags & (SCATTERED | IS_DIR) and ranges and os.path.exists(path):
                what = tear(path, draw.choice(ranges), draw)
            if what != "kept":
                done.append((path, what))
        for at, *_ in list(self.files()):       # what is there now is what was kept
            struct.pack_into("=I", self.page, at, 0)
        return done


def tear(path, unsynced, draw):
    low, high = unsynced
    size = os.path.getsize(path)
    high = min(high, size)
    way = draw.choice(["kept", "cut", "cut", "cut off", "noise", "zeros"])
    if way == "noise" and os.path.basename(path).startswith("MANIFEST-"):
        way = "cut"                             # RocksDB does not open with it: docs/torture.md
    if low >= high or way == "kept":
        return "kept"
    if way in ("cut", "cut off"):
        if high < size:                         # what follows it was synced
            return "kept"
        os.truncate(path, low if way == "cut off" else draw.randrange(low, high))
        return way
    begin = draw.randrange(low, high)
    end = min(high, begin + draw.choice([1, 512, 4096, 1 << 20]))
    with open(path, "r+b") as f:
        f.seek(begin)
        f.write(draw.randbytes(end - begin) if way == "noise" else bytes(end - begin))
    return way
