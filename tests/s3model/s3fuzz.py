"""Random S3 operations, sent to two regions and to a simple model of S3 beside: every answer is compared.

In between the accounts move from one region to the other and nodes are killed. The first difference ends the run; what
led to it is shortened and written to a file, which --replay plays again.
"""
import argparse
import json
import pathlib
import random
import shutil
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "scenarios")]

from domicile import Region
from generate import Generator
from play import Difference, Player
from shorten import shortened


def arguments():
    p = argparse.ArgumentParser(prog="./run s3fuzz", description=__doc__)
    p.add_argument("--seed", type=int, default=None, help="of the operations; a run prints its own")
    p.add_argument("--operations", type=int, default=3000, help="how many (3000)")
    p.add_argument("--moves", type=int, default=4, help="how often the accounts move meanwhile (4)")
    p.add_argument("--kills", type=int, default=2, help="how often a node is killed meanwhile (2)")
    p.add_argument("--cuts", type=int, default=3, help="how often in the middle of an operation (3)")
    p.add_argument("--replay", metavar="FILE", help="play the operations of FILE instead")
    p.add_argument("--shorten", type=float, default=60, metavar="SECONDS", help="how long to look for a shorter sequence (60)")
    p.add_argument("--output", default="s3fuzz.json", help="where the operations go that made a difference (s3fuzz.json)")
    return p.parse_args()


def say(text):
    print(text, file=sys.stderr, flush=True)


def events(options, rng):
    """{number of an operation: what happens before it}."""
    found, to = {}, 1
    for i in sorted(rng.sample(range(1, options.operations), min(options.moves, options.operations - 1))):
        found[i] = {"op": "move", "to": to}
        to = 1 - to
    for count, name in ((options.kills, "restart"), (options.cuts, "cut")):
        for i in rng.sample(range(1, options.operations), min(count, options.operations - 1)):
            found.setdefault(i, {"op": name, "at": rng.randrange(2)})
    return found


def with_operation(event, generator, rng, number):
    """A cut has a write that it cuts off."""
    if event["op"] == "cut":
        event["of"], event["after_ms"] = generator.write(number), rng.choice([0, 0, 0.2, 0.5, 1, 2, 5])
    return event


def fuzz(player, options, played):
    """Play random operations, each being put into PLAYED before."""
    rng = random.Random(options.seed)
    generator, happens = Generator(rng, player.accounts), events(options, rng)
    began = shown = time.monotonic()
    for i in range(options.operations):
        for op in [happens[i]] if i in happens else []:
            number = 10_000_000 + i
            played.append(with_operation({"id": number, **op}, generator, rng, number))
            player.play(played[-1])
        played.append(generator.one(i + 1))
        player.play(played[-1])
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            rate = i / (shown - began)
            say(f"{i}/{options.operations} operations, {rate:.0f}/s, {(options.operations - i) / rate:.0f} s to go")
    player.play({"id": 0, "op": "arrive"})
    player.play({"id": 0, "op": "audit"})


def replay(regions, ops):
    """The difference that OPS lead to, or None."""
    player = Player(regions, with_keys=any("as" in op for op in ops))
    try:
        for op in ops:
            player.play(op)
        player.play({"id": 0, "op": "arrive"})
        player.play({"id": 0, "op": "audit"})
    except Difference as d:
        return d
    finally:
        player.close()
    return None


def report(regions, options, played, difference):
    say(f"\nafter {len(played)} operations with --seed {options.seed}:\n{difference}\n")
    for region in regions:
        if not region.is_up():
            say(f"{region.name} is down:\n{region.log()}")
            region.start()
    short = shortened(lambda ops: replay(regions, ops), played, difference, options.shorten, say)
    with open(options.output, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(op) for op in short) + "\n]\n")
    say(f"{len(short)} operations are left, in {options.output}: ./run s3fuzz --replay {options.output}")
    for op in short[-30:]:
        say("  " + json.dumps(op))


def run(options, regions):
    if options.replay:
        with open(options.replay) as f:
            difference = replay(regions, json.load(f))
        say(str(difference) if difference else "no difference")
        return 1 if difference else 0
    player, played = Player(regions), []
    try:
        fuzz(player, options, played)
    except Difference as difference:
        player.close()
        report(regions, options, played, difference)
        return 1
    player.close()
    cuts = ", ".join(f"{n} {how}" for how, n in player.cuts.items())
    print(f"{len(played)} operations, no difference (--seed {options.seed}); cut off: {cuts}")
    return 0


def main():
    options = arguments()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    folder = tempfile.mkdtemp(prefix="domicile-s3fuzz-")
    regions = [Region(folder)]
    try:
        regions[0].start()
        regions.append(Region(folder, "hk", "HK", beside=regions[0]).start())
        result = run(options, regions)
    except BaseException:
        say(f"--seed {options.seed}: what the regions keep and logged is in {folder}")
        raise
    finally:
        for region in regions:
            if region.is_up():
                region.stop()
    shutil.rmtree(folder, ignore_errors=True)
    return result


sys.exit(main())
