"""What will be done to the system, and when: all of it follows from the seed alone, never from an answer."""
import collections
import random

REGIONS = ("cn-bj", "sg", "in-mum")
DIRECTORY = "dir"
NODES = REGIONS + (DIRECTORY,)
COUNTRIES = ("CN", "SG", "IN", "MY", "ID", "PH")
JURISDICTION = {"cn-bj": "CN", "sg": "SG", "in-mum": "IN", "dir": "SG"}

HOT = 8                                 # accounts that are used and moved much more than the others
WARM_UP_S = 3
BUSY_S, QUIET_S = 45, 25

# How often of each kind, in the long run.
FAULTS = {
    "kill": 4,              # kill -9, start again
    "power": 10,            # kill -9, and what was not synced is torn
    "term": 1,              # an orderly stop
    "freeze": 4,            # SIGSTOP, SIGCONT
    "cut": 4, "stall": 3, "far": 3, "slow": 2,              # a line between two nodes
    "users-cut": 2, "users-far": 1,                         # the line of a region's users
    "full": 3, "low": 1,    # no space: writes fail; the system only says so
    "write-error": 2, "short-write": 2, "sync-error": 4, "slow-sync": 2,
    "clock": 4,             # the wall clock jumps, and back
    "rot": 4,               # a chunk that was synced is damaged
}

Fault = collections.namedtuple("Fault", "at kind target seconds value")
Wave = collections.namedtuple("Wave", "source target countries words then after via rest")


def stream(seed, name):
    """Random numbers for one purpose; those of another don't change when one takes more."""
    return random.Random(f"{seed}/{name}")


def busy_windows(seconds):
    """[(from, until)] in which faults begin; between them, and at the end, it is quiet."""
    if seconds < 2 * (BUSY_S + QUIET_S):
        return [(WARM_UP_S, max(WARM_UP_S, seconds * 0.5))]
    windows, at = [], WARM_UP_S
    while at + BUSY_S + QUIET_S <= seconds + WARM_UP_S:
        windows.append((at, at + BUSY_S))
        at += BUSY_S + QUIET_S
    return windows


def links():
    """Every line: (from, to, which port of it)."""
    lines = [(a, b, "peer") for a in NODES for b in NODES if a != b]
    lines += [(a, b, "stream") for a in REGIONS for b in REGIONS if a != b]
    return lines + [("users", b, "s3") for b in REGIONS]


def distances(seed):
    """Round trips of the lines between nodes, ms: of one seed there is one geography."""
    draw, out = stream(seed, "distances"), {}
    for i, a in enumerate(NODES):
        for b in NODES[i + 1:]:
            out[a, b] = out[b, a] = draw.choice([0, 5, 25, 70])
    return {line: out.get(line[:2], 0) for line in links()}


def some_links(draw):
    """The lines that fail together."""
    between = [line for line in links() if line[0] != "users"]
    node = draw.choice(NODES)
    ways = [
        [draw.choice(between)],                                                     # one line
        [line for line in between if line[0] == node],                              # all that leave it
        [line for line in between if node in line[:2]],                             # it is alone
        [line for line in between if line[1] == node and line[2] == "stream"],
    ]
    return draw.choice([way for way in ways if way])


def make_fault(draw, at, kind, until):
    seconds, value = min(draw.uniform(0.3, 5), max(0.3, until - at)), None
    target = draw.choice(NODES)
    if kind in ("kill", "power", "term"):
        seconds = draw.choice([0, 0, draw.uniform(0, 4)])
        value = draw.getrandbits(32)                            # for the tearing
    elif kind in ("cut", "stall", "far", "slow"):
        target = some_links(draw)
        value = {"far": draw.uniform(20, 400), "slow": draw.choice([20000, 300000, 2000000])}.get(kind)
    elif kind in ("users-cut", "users-far"):
        target, value = [("users", draw.choice(REGIONS), "s3")], draw.uniform(20, 300)
    elif kind == "write-error":
        seconds, value = draw.uniform(0.01, 1), draw.choice([1, 2, 7, 40])
    elif kind in ("sync-error", "short-write"):
        seconds, value = 0, draw.choice([1, 1, 2, 5])
    elif kind == "slow-sync":
        value = draw.choice([20, 200, 1500])                    # ms
    elif kind == "rot":
        target, seconds, value = draw.choice(REGIONS), 0, draw.getrandbits(32)
    elif kind == "clock":
        value = draw.choice([-1, 1]) * draw.choice([0.5, 3, 60, 600])
    return Fault(at, kind, target, seconds, value)


def faults(seed, seconds):
    """Every Fault of a run, by its time. The first ones are of every kind."""
    draw, out = stream(seed, "faults"), []
    gap = 0.6 if seconds < 90 else 1.3
    deck = sorted(FAULTS)
    draw.shuffle(deck)
    for begin, end in busy_windows(seconds):
        at = begin
        while (at := at + draw.expovariate(1 / gap)) < end:
            if not deck:
                deck = [kind for kind, n in sorted(FAULTS.items()) for _ in range(n)]
                draw.shuffle(deck)
            out.append(make_fault(draw, at, deck.pop(), end))
    return out


def hot_waves(seed):
    """(from, to), without end, of waves of the hot accounts that live there."""
    draw = stream(seed, "hot waves")
    while True:
        yield tuple(draw.sample(REGIONS, 2))


def removals(seed, seconds, doomed):
    """[(when, which of the accounts DOOMED, by which region)] of accounts that are removed."""
    draw = stream(seed, "removals")
    return sorted((draw.uniform(WARM_UP_S, seconds * 0.8), one, draw.choice(REGIONS)) for one in doomed)


def waves(seed, source):
    """The waves that leave SOURCE, without end."""
    draw = stream(seed, f"waves {source}")
    while True:
        words = []
        if draw.random() < 0.2:
            words += ["--rate", draw.choice(["300KiB", "2MiB"])]
        if draw.random() < 0.2:
            words += ["--accounts-per-second", draw.choice(["5", "40"])]
        if draw.random() < 0.3:
            words += ["--streams", draw.choice(["1", "2", "6"])]
        yield Wave(source, draw.choice([r for r in REGIONS if r != source]),
                   draw.sample(COUNTRIES, draw.choice([1, 1, 2, 3])), words,
                   draw.choice([None, None, None, "cancel", "pause", "retry"]), draw.uniform(0.1, 4),
                   draw.choice(REGIONS), draw.uniform(0.1, 2))
