"""Exactly once: how often each record must have come, told from the mixtures, and how often it came.

A corpus has its turns one after another: turn k is position k % records of its pass k / records, and a pass has every
record once. So of a corpus that has had T turns, T = q * records + r, every record came q times and r of them once more;
records that cannot be used never. A generation begins with the documents that were planned before it but not sent, and
then deals what is left of the epoch: where a corpus had `left` of its `slots` turns of an epoch to come, it now gets
round(left * slots' / slots) of its slots' turns under the new mixture.
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
                entry.config, at = data, at + len(data)
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
    """Where a generation begins, as start.c writes it: of each corpus the turns that it has had, and those it gets of the
    epoch that has begun; how often each (corpus, record) was left over."""

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


def slots_of(repeat, records):
    return max(1, int(repeat * records + 0.5))


class Account:
    """Of one stream: times[generation, corpus, record] as `replay.count` has them, settings of each generation by number,
    its timeline's entries, the folder with N.start, and the pairs of each corpus' records, by how many those are."""

    def __init__(self, times, settings, entries, folder, versions, split):
        self.times, self.settings, self.chain, self.split = times, settings, effective(entries), split
        self.folder, self.versions = folder, versions
        self.checked = 0  # records

    def pairs(self, entry):
        return {name: self.versions[name][records] for name, (records, _) in entry.corpora.items()}

    def slots(self, i, name):
        entry = self.chain[i]
        repeat = next(c["repeat"] for c in self.settings[entry.number]["corpora"] if c["name"] == name)
        return slots_of(repeat, entry.corpora[name][0])

    def begin(self, i):
        """(epoch, {corpus: turns so far}, {corpus: turns left in the epoch}, what is left over) at the i-th generation."""
        entry = self.chain[i]
        if i == 0:
            return 0, {c: 0 for c in entry.corpora}, {c: self.slots(0, c) for c in entry.corpora}, collections.Counter()
        start = Start(self.folder / f"{entry.number}.start", self.pairs(entry), self.split)
        return start.epoch, start.turns, start.first, start.left

    def since(self, i, name):
        """The first generation of those up to the i-th that had the corpus as it is there, without a break."""
        while i > 0 and self.chain[i - 1].corpora.get(name) == self.chain[i].corpora[name]:
            i -= 1
        return i

    def check(self, name, first, last, turns, left, where):
        """A corpus has had so many turns in generations first..last - 1, those left over included."""
        pairs = self.pairs(self.chain[first])[name]
        q, r = divmod(turns, len(pairs))
        more = 0
        for record, usable in enumerate(pairs):
            came = left[name, record] + sum(self.times[e.number, name, record] for e in self.chain[first:last])
            each = usable if self.split else 1
            if not usable:
                assert came == 0, f"{where}: record {record} of {name} cannot be used and came"
                continue
            assert came in (q * each, (q + 1) * each), (
                f"{where}: record {record} of corpus {name} came {came / each:g} times after {turns} turns of "
                f"{len(pairs)} records")
            more += came > q * each
            self.checked += 1
        broken = pairs.count(0)
        assert r - broken <= more <= r, f"{where}: {more} records of corpus {name} came once more, not {r}"

    def run(self, whole):
        """whole: the stream was read to its end."""
        for i in range(1, len(self.chain)):
            where = f"at generation {self.chain[i].number}"
            old_epoch, old_turns, old_first, _ = self.begin(i - 1)
            epoch, turns, first, left = self.begin(i)
            for name in self.chain[i].corpora:
                since = self.since(i, name)
                if since == i:
                    assert turns[name] == 0, f"{where}: corpus {name} is new, but has had {turns[name]} turns"
                    continue
                self.check(name, since, i, turns[name], left, where)
                slots, new = self.slots(i - 1, name), self.slots(i, name)
                to_come = old_first[name] + (epoch - old_epoch) * slots - (turns[name] - old_turns[name])
                assert 0 <= to_come <= slots, f"{where}: corpus {name} has {to_come} of {slots} turns to come"
                want = int(new * to_come / slots + 0.5)
                assert first[name] == want, f"{where}: corpus {name} gets {first[name]} turns of the epoch, not {want}"
        if whole:
            i = len(self.chain) - 1
            epoch, turns, first, _ = self.begin(i)
            later = self.settings[self.chain[i].number]["epochs"] - epoch - 1
            for name in self.chain[i].corpora:
                total = turns[name] + (first[name] + later * self.slots(i, name) if later >= 0 else 0)
                self.check(name, self.since(i, name), i + 1, total, collections.Counter(), "at the end")
