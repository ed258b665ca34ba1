"""Exactly once: how often each record must have come, told from the mixtures, and how often it came.

A corpus has its turns one after another: turn k is position k % records of its pass k / records, and a pass has every
record once. So of a corpus that has had T turns, T = q * records + r, every record came q times and r of them once
more; records that cannot be used never. A generation begins with the documents that were planned before it but not
sent, and then deals what is left of the epoch: where a corpus had `left` of its `slots` turns of an epoch to come, it
now gets round(left * slots' / slots) of its slots' turns under the new mixture. A corpus that comes anew gets as much of
its turns as all that were there have left of theirs. One that went and comes back goes on where it was, but what was
left over of it when it went is lost; one whose records have changed begins a new pass.
"""

import collections
import re
import struct
from pathlib import Path


class Entry:
    """A generation as its timeline's file says: number, first step, (records, fingerprint) of each corpus."""

    FIELD = re.compile(r"(\w+) (.*)\n")

    def __init__(self, number, first_step):
        self.number, self.first_step, self.corpora, self.config = number, first_step, {}, ""


def read_timeline(path):
    """All entries, by number."""
    text, at, entries = Path(path).read_text(), 0, []
    for match in re.finditer(r"^generation (\d+)\nfirst_step (\d+)\n", text, re.M):
        if match.start() < at:
            continue  # words in somebody's configuration
        entry, at = Entry(int(match[1]), int(match[2])), match.end()
        while not text.startswith("check ", at):
            field = Entry.FIELD.match(text, at)
            key, value, at = field[1], field[2], field.end()
            if key == "corpus":
                name, records, fingerprint = value.split()
                entry.corpora[name] = (int(records), fingerprint)
            elif key == "config":
                data = text[at:].encode()[: int(value)].decode()
                entry.config, at = data, at + len(data) + 1
        entries.append(entry)
    return entries


def effective(entries):
    """Those that serve steps: an entry takes the place of all before it that begin at or after its first step."""
    chain = []
    for entry in entries:
        while chain and chain[-1].first_step >= entry.first_step:
            chain.pop()
        chain.append(entry)
    return chain


class Start:
    """Where a generation begins, as start.c writes it: of each corpus the turns that it has had, and those it gets of
    the epoch that has begun; how often each (corpus, record) was left over."""

    HEADER, CORPUS, LEFT, PIECE = map(struct.Struct, ("<4Q4I", "<72s6Q", "<IIQ", "<5I"))

    def __init__(self, path, pairs, split):
        data, at = Path(path).read_bytes(), self.HEADER.size
        _, _, self.epoch, self.lost, _, n_corpora, n_left, n_pieces = self.HEADER.unpack_from(data)
        self.turns, self.first, self.left, names = {}, {}, collections.Counter(), []
        for i in range(n_corpora):
            name, records, _, turn_pass, turn_at, _, first = self.CORPUS.unpack_from(data, at + i * self.CORPUS.size)
            names.append(name.rstrip(b"\0").decode())
            self.turns[names[-1]], self.first[names[-1]] = turn_pass * records + turn_at, first
        at += n_corpora * self.CORPUS.size
        left = [self.LEFT.unpack_from(data, at + i * self.LEFT.size) for i in range(n_left)]
        at += n_left * self.LEFT.size
        pieces = {}
        for i in range(n_pieces):
            index, first, end, of, _ = self.PIECE.unpack_from(data, at + i * self.PIECE.size)
            pieces[index] = (first, end or of)
        for i, (corpus, _, record) in enumerate(left):
            name = names[corpus]
            first, end = pieces.get(i, (0, pairs[name][record]))
            self.left[name, record] += end - first if split else 1


def part_of(all, part, whole):
    """In proportion, to the nearest."""
    return (all * part * 2 + whole) // (whole * 2)


class Account:
    """Of one stream: times[generation, corpus, record] as `replay.count` has them, of so many steps; settings of each
    generation by number, its timeline's entries, the folder with N.start, and the pairs of each corpus' records, by how
    many those are."""

    def __init__(self, times, steps, settings, entries, folder, versions, split):
        self.times, self.settings, self.chain, self.split = times, settings, effective(entries), split
        self.versions = versions
        self.chain = [e for e in self.chain if e.first_step <= steps]
        later = [Start(folder / f"{e.number}.start", self.pairs(e), split) for e in self.chain[1:]]
        self.starts = [self.origin(), *later]
        self.checked = 0  # records

    def origin(self):
        start = Start.__new__(Start)
        start.epoch, start.left, corpora = 0, collections.Counter(), self.chain[0].corpora
        start.turns, start.first = {c: 0 for c in corpora}, {c: self.slots(0, c) for c in corpora}
        return start

    def pairs(self, entry):
        return {name: self.versions[name][records] for name, (records, _) in entry.corpora.items()}

    def slots(self, i, name):
        """Turns of a whole epoch."""
        entry = self.chain[i]
        repeat = next(c["repeat"] for c in self.settings[entry.number]["corpora"] if c["name"] == name)
        return max(1, int(repeat * entry.corpora[name][0] + 0.5))

    def readers(self, i, name):
        """The generations up to the i-th that read the corpus as it is there, by index."""
        return [k for k in range(i + 1) if self.chain[k].corpora.get(name) == self.chain[i].corpora[name]]

    def check(self, i, name, turns, left, where):
        """A corpus has had so many turns, those left over included, when the i-th generation ends."""
        pairs, readers = self.pairs(self.chain[i])[name], self.readers(i, name)
        base = self.starts[readers[0]].turns[name]
        assert base % len(pairs) == 0, f"{where}: corpus {name} began in the middle of a pass"
        q, r = divmod(turns - base, len(pairs))
        stayed = readers == list(range(readers[0], i + 1))
        more = 0
        for record, usable in enumerate(pairs):
            each = usable if self.split else 1
            came = left[name, record] + sum(self.times[self.chain[k].number, name, record] for k in readers)
            right = came in (q * each, (q + 1) * each) if stayed else came <= (q + 1) * each
            right = right if usable else came == 0
            assert right, (f"{where}: record {record} of corpus {name} came {came} times ({each} each) after "
                           f"{turns - base} turns of {len(pairs)} records")
            more += came > q * each
        assert more <= r and (not stayed or more >= r - pairs.count(0)), (
            f"{where}: {more} records of corpus {name} came once more, not {r}")
        self.checked += len(pairs)

    def to_come(self, i, name):
        """Turns that a corpus of the generation before the i-th had left of the epoch; None: it is another now."""
        old, new = self.starts[i - 1], self.starts[i]
        if self.chain[i].corpora.get(name, self.chain[i - 1].corpora[name]) != self.chain[i - 1].corpora[name]:
            return None
        slots = self.slots(i - 1, name)
        left = old.first[name] + (new.epoch - old.epoch) * slots - (new.turns[name] - old.turns[name])
        assert 0 <= left <= slots, f"at the {i}th: corpus {name} has {left} of {slots} turns to come"
        return left

    def check_first(self, i, where):
        """What each corpus gets of the epoch that a generation begins in."""
        to_come = {name: self.to_come(i, name) for name in self.chain[i - 1].corpora}
        for name in self.chain[i].corpora:
            if name in to_come:
                left, slots = to_come[name], self.slots(i - 1, name)
            elif None not in to_come.values():
                left, slots = sum(to_come.values()), sum(self.slots(i - 1, old) for old in to_come)
            else:
                continue
            if left is not None:
                want, first = part_of(self.slots(i, name), left, slots), self.starts[i].first[name]
                assert first == want, f"{where}: corpus {name} gets {first} turns of the epoch, not {want}"

    def run(self, whole):
        """whole: the stream was read to its end."""
        for i in range(1, len(self.chain)):
            where, start = f"before generation {self.chain[i].number}", self.starts[i]
            self.check_first(i, where)
            for name, version in self.chain[i - 1].corpora.items():
                if self.chain[i].corpora.get(name) == version:
                    self.check(i - 1, name, start.turns[name], start.left, where)
        if whole:
            i = len(self.chain) - 1
            start, later = self.starts[i], self.settings[self.chain[i].number]["epochs"] - self.starts[i].epoch - 1
            for name in self.chain[i].corpora:
                turns = start.first[name] + later * self.slots(i, name) if later >= 0 else 0
                self.check(i, name, start.turns[name] + turns, collections.Counter(), "at the end")
