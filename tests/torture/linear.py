"""Whether what was seen of one register can be explained by an order of its operations.

Wing and Gong, "Testing and verifying concurrent objects" (1993): take any operation that no other
had ended before, see whether it fits the value, go on, else go back; with the states that failed
remembered as in Lowe, "Testing for linearizability" (2017). A value is a unique number, None: there is
no object.

What makes it fast here: an observation that fits is taken at once, since it changes nothing. An
operation whose answer was lost may happen at any time after it began, or never. It is of use only
just before someone observes what it did, so it is tried only there.
"""
import collections

# What an operation may do: `needs` is what the value has to be, `sets` what it becomes.
# read:      needs = value                    write:   sets = value (None: deleted)
# swap:      needs, sets                      refusal: not_ = what the value is not
Op = collections.namedtuple("Op", "start end needs sets not_ about")
ANY, SAME = "any", "same"
NEVER = float("inf")                    # the end of an operation that was not answered


def read(start, end, value, about=None):
    return Op(start, end, value, SAME, ANY, about)


def write(start, end, value, about=None):
    return Op(start, end, ANY, value, ANY, about)


def swap(start, end, expected, value, about=None):
    return Op(start, end, expected, value, ANY, about)


def refusal(start, end, expected, about=None):
    """A swap that found something else than EXPECTED."""
    return Op(start, end, ANY, SAME, expected, about)


def fits(op, value):
    return op.needs in (ANY, value) and (op.not_ == ANY or op.not_ != value)


def is_observer(op):
    return op.needs != ANY or op.not_ != ANY


class Search:
    def __init__(self, ops, initial):
        self.sure = sorted((op for op in ops if op.end != NEVER), key=lambda op: op.start)
        self.seen = seen = {op.needs for op in ops}
        refused = any(op.not_ != ANY for op in ops)
        self.lost = sorted((op for op in ops if op.end == NEVER and op.sets != SAME and
                            (refused or op.sets in seen)), key=lambda op: op.start)
        self.initial, self.best = initial, 0

    def candidates(self, done):
        """Indexes that may come next, and the time before which whatever comes next must have begun."""
        first = (~done & (done + 1)).bit_length() - 1       # the lowest zero
        limit, out = NEVER, []
        for i in range(first, len(self.sure)):
            if self.sure[i].start > limit:
                break
            if not done >> i & 1:
                out.append(i)
                limit = min(limit, self.sure[i].end)
        return [i for i in out if self.sure[i].start <= limit], limit

    def run(self):
        """True if there is an order."""
        # A state: the sure operations done, the lost ones used, the value, and whether an observer must follow.
        todo, known = [(0, frozenset(), self.initial, False)], set()
        full = (1 << len(self.sure)) - 1
        while todo:
            state = todo.pop()
            if state in known:
                continue
            known.add(state)
            done, used, value, must_observe = state
            self.best = max(self.best, done.bit_count())
            if done == full:
                return True
            todo.extend(self.next(done, used, value, must_observe))
        return False

    def next(self, done, used, value, must_observe):
        possible, limit = self.candidates(done)
        for i in possible:
            op = self.sure[i]
            if op.sets == SAME and fits(op, value):
                return [(done | 1 << i, used, value, False)]
        out, tried = [], set()
        for j, op in enumerate(self.lost):
            if op.start > limit:
                break
            if j in used or not fits(op, value) or op.sets == value or (must_observe and not is_observer(op)):
                continue
            if not is_observer(op) and (op.sets is None or op.sets not in self.seen):
                if (op.sets is None) in tried:          # those that have begun are alike
                    continue
                tried.add(op.sets is None)
            out.append((done, used | {j}, op.sets, True))
        for i in possible:
            op = self.sure[i]
            if op.sets != SAME and fits(op, value) and (is_observer(op) or not must_observe):
                out.append((done | 1 << i, used, op.sets, False))
        return out


def explain(ops, initial=None):
    """None if OPS have an order; else the operations about where the search had to end."""
    search = Search(ops, initial)
    if search.run():
        return None
    low = max(0, search.best - 12)
    return search.sure[low:search.best + 6] + search.lost
