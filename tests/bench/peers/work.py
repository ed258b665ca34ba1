"""What every loader that is compared does to records, in numpy: the mistral-v3 template, labels, skipped positions, rows.

It is what a user would write into the `map` of a loader that has none of this; skipalignd does it by itself. One
instruction, one response; block 1 is `<s>[INST]prompt[/INST]`, block 2 is `completion</s>`, and `skip_all` jumps
between them, by a uniform share of what max_position leaves. A document that is longer than a row is cut; one that has
no label then is left out, as skipalignd does.

Arrays are int32. A document list is (ids, labels, positions, lengths): the first three flat, lengths one a document.
"""

import hashlib

import numpy

BOS, EOS, INST, INST_END, PAD = 1, 2, 3, 4, 0
IGNORED = -100
ROWS, LENGTH, MAX_POSITION = 8, 4096, 65536


def texts(prompts, completions):
    """What is tokenised: prompt, completion, prompt, ..., as the template has them."""
    return [text for pair in zip(prompts, (c.rstrip(" ") for c in completions)) for text in pair]


def ranges(starts, lengths):
    """The numbers starts[0], starts[0] + 1, ... (lengths[0] of them), starts[1], ..."""
    before = numpy.cumsum(lengths) - lengths
    return numpy.repeat(starts - before, lengths) + numpy.arange(lengths.sum())


def documents(ids, lengths, rng):
    """Documents of the ids of texts(); lengths: ids of each text."""
    lengths = numpy.asarray(lengths, numpy.int64)
    blocks = (lengths.reshape(-1, 2) + (3, 1)).reshape(-1)  # what the template adds
    ends = numpy.cumsum(blocks)
    starts = ends - blocks
    flat = numpy.empty(ends[-1], numpy.int32)
    offsets = numpy.tile((2, 0), len(blocks) // 2)
    flat[ranges(starts + offsets, lengths)] = ids
    flat[starts[0::2]], flat[starts[0::2] + 1], flat[ends[0::2] - 1], flat[ends[1::2] - 1] = BOS, INST, INST_END, EOS
    if (blocks.reshape(-1, 2).sum(1) > LENGTH).any():
        flat, blocks = cut(flat, blocks)
        starts = numpy.cumsum(blocks) - blocks
    prompts, sizes = blocks[0::2], blocks.reshape(-1, 2).sum(1)
    shifts = numpy.repeat(-starts[0::2], 2)
    shifts[1::2] += rng.integers(0, MAX_POSITION - sizes + 1)
    positions = numpy.arange(len(flat), dtype=numpy.int32) + numpy.repeat(shifts.astype(numpy.int32), blocks)
    labels = flat.copy()
    labels[ranges(starts[0::2], prompts)] = IGNORED
    return flat, labels, positions, sizes


def cut(flat, blocks):
    """To LENGTH tokens each, without those that have no label then."""
    pairs = blocks.reshape(-1, 2)
    within = ranges(numpy.zeros(len(pairs), numpy.int64), pairs.sum(1))
    labelled = pairs[:, 0] < LENGTH
    flat = flat[numpy.repeat(labelled, pairs.sum(1)) & (within < LENGTH)]
    pairs = pairs[labelled].copy()
    pairs[:, 1] = numpy.minimum(pairs[:, 1], LENGTH - pairs[:, 0])
    return flat, pairs.reshape(-1)


def rows(lengths, packing):
    """How many documents each row takes: one, or, one after another, as many as fit."""
    if not packing:
        return [1] * len(lengths)
    counts, room = [], 0
    for n in lengths.tolist():
        if n > room:
            counts.append(0)
            room = LENGTH
        counts[-1] += 1
        room -= n
    return counts


def make_rows(prompts, completions, tokenise, packing, rng):
    """Rows of records: (ids, labels, positions), flat; tokens of each row; tokens of each document; documents of each row."""
    *flat, lengths = documents(*tokenise(texts(prompts, completions)), rng)
    counts = numpy.asarray(rows(lengths, packing))
    sizes = numpy.add.reduceat(lengths, numpy.cumsum(counts) - counts)
    return flat, sizes, lengths, counts


def fill(flat, sizes, value, dtype):
    """A flat array as rows of LENGTH; sizes: its elements in each."""
    out = numpy.full((len(sizes), LENGTH), value, dtype)
    at = 0
    for row, n in zip(out, sizes.tolist()):
        row[:n] = flat[at : at + n]
        at += n
    return out


def make_batch(flat, sizes, lengths, counts, packing, dtype):
    """What a trainer takes, of some of these rows."""
    batch = {name: fill(x, sizes, value, dtype)
             for name, x, value in zip(("input_ids", "labels", "position_ids"), flat, (PAD, IGNORED, 0))}
    batch["tokens"] = sizes.astype(numpy.int32)
    if packing:
        batch["cu_seqlens"] = cu_seqlens(lengths, counts)
    return batch


def cu_seqlens(lengths, counts):
    """Where documents start in the flattened rows, and the end; what pads a row is one, too."""
    rows = numpy.split(lengths, numpy.cumsum(counts)[:-1])
    bounds = [row * LENGTH + numpy.cumsum([0, *row_lengths]) for row, row_lengths in enumerate(rows)]
    return numpy.unique(numpy.append(numpy.concatenate(bounds), len(rows) * LENGTH)).astype(numpy.int32)


class Checker:
    """Adds up documents, so that loaders that shuffle and pack in different ways can be compared; checks positions."""

    def __init__(self):
        self.documents, self.tokens, self.digest = 0, 0, 0

    def add(self, ids, labels, positions):
        step = numpy.diff(positions)
        jumps = numpy.flatnonzero(step != 1) + 1
        first_label = int(numpy.argmax(labels != IGNORED))
        if positions[0] != 0 or positions[-1] >= MAX_POSITION or (step < 1).any() or not set(jumps) <= {first_label}:
            raise ValueError(f"positions of a document are not those of skip_all: {positions}")
        both = numpy.concatenate([ids, labels]).astype("<i4").tobytes()
        self.digest = (self.digest + int.from_bytes(hashlib.blake2b(both, digest_size=8).digest(), "little")) % 2**64
        self.documents += 1
        self.tokens += len(ids)

    def add_batch(self, input_ids, labels, position_ids, tokens, cu_seqlens=None):
        """tokens: real ones of each row; cu_seqlens: see above, where rows are packed."""
        flat = [numpy.asarray(x).reshape(-1) for x in (input_ids, labels, position_ids)]
        starts, tokens = numpy.arange(len(tokens)) * LENGTH, numpy.asarray(tokens)
        padding = set((starts + tokens)[tokens < LENGTH].tolist())
        if cu_seqlens is None:
            cu_seqlens = numpy.union1d([*starts, LENGTH * len(tokens)], list(padding))
        bounds = numpy.asarray(cu_seqlens)
        for a, b in zip(bounds[:-1], bounds[1:]):
            if int(a) not in padding:
                self.add(*(x[int(a) : int(b)] for x in flat))

    def result(self):
        return {"documents": self.documents, "tokens": self.tokens, "digest": f"{self.digest:016x}"}
