"""What only the node can know (ids, times, tokens) as symbols, and how an answer is compared with what was expected.

The model names such a value by a symbol: kind and number of the operation that made it, "@v12" for the version that
operation 12 made, "@d12.7" for the time seven days after it. The first answer that has it tells what it stands for; from
then on every other has to agree, and no two uploads may have the same id.
"""
import calendar
import functools
import random
import re
import time

NOWHERE = {"v": "0000000000000001", "u": "0" * 32, "t": "AA*", "m": "2001-02-03T04:05:06.000Z"}
ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d{3}Z")
HTTP_DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")


class Sym(str):
    """A symbol; equal to its text, so that an operation can carry it as JSON."""

    @property
    def kind(self):
        return self[1]


class Echo(str):
    """What the request itself named, a symbol or not."""


def sym(kind, op, i=None):
    return Sym(f"@{kind}{op}" if i is None else f"@{kind}{op}.{i}")


@functools.lru_cache(maxsize=64)
def content(seed, size):
    return random.Random(seed).randbytes(size)


def seconds_of(text):
    """Seconds since 1970 of a time in either of S3's forms; None: it is in neither."""
    if found := ISO.fullmatch(text):
        return calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S"))
    if HTTP_DATE.fullmatch(text):
        return calendar.timegm(time.strptime(text, "%a, %d %b %Y %H:%M:%S GMT"))
    return None


def http_date(seconds):
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(seconds))


def iso_date(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))



class Unknown(Exception):
    """What an operation needs has never been told, so it can't be played."""


class Names:
    """What the symbols stand for."""

    def __init__(self):
        self.real, self.taken = {}, set()
        self.between = {}               # when an operation was carried out: seconds before and after

    def resolve(self, text):
        """As it is sent: a symbol's value, one that is nowhere if it has none (yet), any other text itself."""
        if isinstance(text, str) and text[:1] == "@" and text[1:2] in NOWHERE and text[2:3].isdigit():
            return self.real.get(text, NOWHERE[text[1]])
        return text

    def knows(self, symbol):
        return symbol in self.real

    def seconds(self, symbol):
        """Of a time. Unknown: no answer has told it yet."""
        if symbol not in self.real:
            raise Unknown(symbol)
        return self.real[symbol]

    def meet(self, symbol, value):
        """Whether VALUE is what SYMBOL stands for, or may be from now on."""
        if symbol.kind in "md":
            return self.meet_time(symbol, seconds_of(value))
        if symbol not in self.real:
            # Versions of different keys may have the same id; a token only says where to go on.
            if symbol.kind == "u" and value in self.taken or value in NOWHERE.values() or value == "null":
                return False
            self.real[symbol] = value
            self.taken.add(value)
        return self.real[symbol] == value

    def meet_time(self, symbol, seconds):
        if seconds is None:
            return False
        if symbol not in self.real:
            op, _, days = symbol[2:].partition(".")
            first, last = self.between.get(op, (0, 1 << 40))
            more = int(days) * 86400 if symbol.kind == "d" else 0
            if not int(first) - 1 <= seconds - more <= last + 1:
                return False
            self.real[symbol] = seconds
        return self.real[symbol] == seconds

    def differences(self, wanted, found, where=""):
        """Where FOUND is not as WANTED, in words."""
        if isinstance(wanted, Echo):
            wanted = self.resolve(wanted)
        if isinstance(wanted, Sym) and isinstance(found, str):
            return [] if self.meet(wanted, found) else [
                f"{where}: {self.real.get(wanted, 'a new one')} ({wanted}) expected, got {found!r}"]
        if isinstance(wanted, dict) and isinstance(found, dict):
            return [d for name in sorted({*wanted, *found})
                    for d in self.differences(wanted.get(name), found.get(name), f"{where}/{name}")]
        if isinstance(wanted, list) and isinstance(found, list):
            said = [d for i, (w, f) in enumerate(zip(wanted, found)) for d in self.differences(w, f, f"{where}[{i}]")]
            return said if len(wanted) == len(found) else [
                *said, f"{where}: {len(wanted)} expected, got {len(found)}: {found[len(wanted):][:3]}"]
        if callable(wanted):
            return [] if wanted(found) else [f"{where}: got {found!r}"]
        return [] if wanted == found else [f"{where}: {short(wanted)} expected, got {short(found)}"]


def short(value):
    text = repr(value)
    return text if len(text) < 300 else f"{text[:150]}...{text[-100:]} ({len(value)})"
