"""From a sequence of operations that ends in a difference to a short one that ends in one like it."""
import time


def is_like(a, b):
    return b is not None and a.op["op"] == b.op["op"] and start(a) == start(b)


def start(difference):
    return difference.said[0].partition(":")[0].partition("expected")[0]


def shortened(replay, ops, difference, seconds, say):
    """Leave out ever smaller pieces as long as what is left still ends alike; for SECONDS at most."""
    end, size = time.monotonic() + seconds, max(1, len(ops) // 2)
    while time.monotonic() < end:
        at, was = 0, len(ops)
        while at < len(ops) - 1 and time.monotonic() < end:
            fewer = ops[:at] + ops[min(at + size, len(ops) - 1):]
            if is_like(difference, replay(fewer)):
                ops = fewer
            else:
                at += size
        say(f"{len(ops)} operations, leaving out {size} at once")
        if size == 1 and len(ops) == was:
            break
        size = max(1, size // 2)
    return ops
