"""loaders.py KIND CORPUS... - a loader that people have today, from file to trainer: first batch, last batch, tokens.

Prints JSON: first, last (time.monotonic, which all processes share), first_tokens, tokens, batches; with --check what
work.Checker says of all documents.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy
import tokenisers
import work

SEED = 17
RECORDS = 1000  # that a batched map takes at once: datasets' default


def tokeniser(args):
    if args.kind.startswith("datasets"):
        return tokenisers.hugging_face(args.tokenizer)
    return tokenisers.giga(args.tokenizer)


class Rows:
    """Records -> rows, for a batched map; loads its tokenizer in the process that runs it."""

    def __init__(self, args):
        self.args, self.tokenise, self.rng = args, None, None

    def __getstate__(self):
        return {"args": self.args, "tokenise": None, "rng": None}

    def make(self, prompts, completions):
        if self.tokenise is None:
            self.tokenise = tokeniser(self.args)
            self.rng = numpy.random.default_rng()
        return work.make_rows(prompts, completions, self.tokenise, self.args.packing, self.rng)

    def table(self, table):
        """Arrow to Arrow."""
        import pyarrow

        flat, sizes, lengths, counts = self.make(*(table[name].to_pylist() for name in ("prompt", "completion")))

        def lists(n, values):
            return pyarrow.ListArray.from_arrays(numpy.append(0, numpy.cumsum(n)).astype(numpy.int32), values)

        columns = [lists(sizes, x) for x in flat] + [lists(counts, lengths.astype(numpy.int32))]
        return pyarrow.table(columns, names=["input_ids", "labels", "position_ids", "lengths"])

    def lists(self, records):
        """Python to lists of arrays."""
        flat, sizes, lengths, counts = self.make(records["prompt"], records["completion"])
        names = ("input_ids", "labels", "position_ids", "lengths")
        ends = [numpy.cumsum(sizes)[:-1]] * 3 + [numpy.cumsum(counts)[:-1]]
        return {name: numpy.split(x, at) for name, x, at in zip(names, (*flat, lengths), ends)}


def tensors(flat, sizes, lengths, counts, packing):
    """A batch as transformers and torch want it: int64."""
    import torch

    batch = work.make_batch(flat, sizes, lengths, counts, packing, numpy.int64)
    return {name: torch.from_numpy(x) for name, x in batch.items()}


class Collate:
    """Rows -> a batch of tensors."""

    def __init__(self, packing):
        self.packing = packing

    def table(self, table):
        flat = [table[name].combine_chunks() for name in ("input_ids", "labels", "position_ids", "lengths")]
        sizes, counts = (numpy.diff(flat[i].offsets.to_numpy()) for i in (0, 3))
        *flat, lengths = (x.flatten().to_numpy() for x in flat)
        return tensors(flat, sizes, lengths, counts, self.packing)

    def lists(self, rows):
        flat = [numpy.concatenate([row[name] for row in rows]) for name in ("input_ids", "labels", "position_ids", "lengths")]
        sizes, counts = (numpy.array([len(row[name]) for row in rows]) for name in ("input_ids", "lengths"))
        return tensors(flat[:3], sizes, flat[3], counts, self.packing)


def loaded(args, dataset, **options):
    from torch.utils.data import DataLoader

    return DataLoader(dataset, num_workers=args.workers, **options)


def datasets_map(args):
    """datasets: all is tokenised, skipped and packed in a batched map over Arrow tables, then read from its cache."""
    import datasets
    from torch.utils.data import BatchSampler, RandomSampler

    dataset = datasets.load_dataset("json", data_files=args.corpus, split="train")
    dataset = dataset.with_format("arrow").map(
        Rows(args).table, batched=True, batch_size=RECORDS, num_proc=args.processes, remove_columns=dataset.column_names)
    batches = BatchSampler(RandomSampler(dataset), work.ROWS, drop_last=False)
    return loaded(args, dataset, batch_size=None, sampler=batches, collate_fn=Collate(args.packing).table)


def datasets_streaming(args):
    """datasets, streaming: the same map, as batches are read."""
    import datasets

    with open(args.corpus[0], encoding="utf-8") as file:
        columns = list(json.loads(next(file)))
    dataset = datasets.load_dataset("json", data_files=args.corpus, split="train", streaming=True)
    dataset = dataset.shuffle(seed=SEED, buffer_size=RECORDS)
    dataset = dataset.map(Rows(args).lists, batched=True, batch_size=RECORDS, remove_columns=columns)
    return loaded(args, dataset, batch_size=work.ROWS, collate_fn=Collate(args.packing).lists)


class Lines:
    """A random-access source of JSON lines."""

    def __init__(self, paths):
        self.lines = [line for path in paths for line in Path(path).read_bytes().splitlines()]

    def __len__(self):
        return len(self.lines)

    def __getitem__(self, i):
        return self.lines[i]


def grain_source(args):
    import grain

    return grain.MapDataset.source(Lines(args.corpus)).shuffle(seed=SEED)


def grain_read(args, dataset):
    """An iterator, with threads that prefetch."""
    import grain

    return dataset.to_iter_dataset(grain.ReadOptions(num_threads=args.threads, prefetch_buffer_size=max(1, 16 * args.threads)))


class Document:
    """A line -> a document, record by record."""

    def __init__(self, args):
        self.args, self.encode = args, None

    def __getstate__(self):
        return {"args": self.args, "encode": None}

    def __call__(self, line):
        if self.encode is None:
            import gigatoken

            self.encode = gigatoken.Tokenizer(self.args.tokenizer).encode
            self.rng = numpy.random.default_rng()
        record = json.loads(line)
        prompt, completion = (self.encode(text.encode()) for text in work.texts([record["prompt"]], [record["completion"]]))
        start = len(prompt) + 3
        if start >= work.LENGTH:
            return None
        ids = numpy.empty(start + len(completion) + 1, numpy.int32)
        ids[0], ids[1], ids[start - 1], ids[-1] = work.BOS, work.INST, work.INST_END, work.EOS
        ids[2 : start - 1], ids[start:-1] = prompt, completion
        ids = ids[: work.LENGTH]
        labels = ids.copy()
        labels[:start] = work.IGNORED
        positions = numpy.arange(len(ids), dtype=numpy.int32)
        positions[start:] += self.rng.integers(0, work.MAX_POSITION - len(ids) + 1)
        return {"input_ids": ids, "labels": labels, "position_ids": positions}


def padded(document):
    n = len(document["input_ids"])
    row = {name: numpy.full(work.LENGTH, work.IGNORED if name == "labels" else 0, numpy.int32) for name in document}
    for name, values in document.items():
        row[name][:n] = values
    return row | {"tokens": numpy.int32(n)}


def with_boundaries(batch):
    """Of Grain's packing, which numbers the documents of a row: 1, 2, ..., 0 for padding."""
    segments = batch.pop("input_ids_segment_ids")
    kept = {name: batch[name] for name in ("input_ids", "labels", "position_ids")}
    starts = numpy.ones(segments.shape, bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return kept | {"tokens": numpy.count_nonzero(segments, 1).astype(numpy.int32),
                   "cu_seqlens": numpy.append(numpy.flatnonzero(starts), starts.size).astype(numpy.int32)}


def grain_records(args):
    """Grain: a map of records, its packing (or rows of one), its batches."""
    import grain

    names = ("input_ids", "labels", "position_ids")
    dataset = grain_source(args).map(Document(args)).filter(lambda x: x is not None)
    if args.packing:
        dataset = grain.experimental.FirstFitPackIterDataset(
            grain_read(args, dataset), length_struct=dict.fromkeys(names, work.LENGTH), num_packing_bins=work.ROWS,
            padding_struct={"input_ids": work.PAD, "labels": work.IGNORED, "position_ids": 0}, shuffle_bins=False,
            meta_features=())
        dataset = dataset.batch(work.ROWS).map(with_boundaries)
    else:
        dataset = grain_read(args, dataset.map(padded)).batch(work.ROWS)
    return grain_workers(args, dataset)


def grain_workers(args, dataset):
    import grain

    if args.workers > 0:
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=args.workers, per_worker_buffer_size=4))
    return dataset


def grain_chunks(args):
    """Grain hands out chunks of lines; the rest, batches of rows from them, is numpy of our own."""
    made = Rows(args)

    def batches(lines):
        records = [json.loads(line) for line in lines]
        flat, sizes, lengths, counts = made.make([r["prompt"] for r in records], [r["completion"] for r in records])
        ends = (numpy.cumsum(sizes), numpy.cumsum(counts))
        done = []
        for first in range(0, len(sizes), work.ROWS):
            rows = slice(first, first + work.ROWS)
            tokens, documents = (slice(end[first] - x[first], end[rows][-1]) for end, x in zip(ends, (sizes, counts)))
            done.append(work.make_batch([x[tokens] for x in flat], sizes[rows], lengths[documents], counts[rows], args.packing,
                                        numpy.int32))
        return done

    dataset = grain_source(args).batch(RECORDS, batch_fn=list).map(batches)
    return itertools.chain.from_iterable(grain_workers(args, grain_read(args, dataset)))


KINDS = {"datasets": datasets_map, "datasets-streaming": datasets_streaming, "grain": grain_records,
         "grain-chunks": grain_chunks}


def read(batches, check):
    found, checker = {"tokens": 0, "batches": 0}, work.Checker()
    for batch in batches:
        tokens = int(batch["tokens"].sum())
        if found["batches"] == 0:
            found |= {"first": time.monotonic(), "first_tokens": tokens}
        found["batches"] += 1
        found["tokens"] += tokens
        if check:
            checker.add_batch(**batch)
    return found | {"last": time.monotonic()} | (checker.result() if check else {})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("corpus", nargs="+")
    parser.add_argument("--tokenizer", required=True, help="a tokenizer.json")
    parser.add_argument("--packing", action="store_true")
    parser.add_argument("--workers", type=int, default=0, help="processes that the loader starts")
    parser.add_argument("--processes", type=int, default=None, help="of datasets' map")
    parser.add_argument("--threads", type=int, default=0, help="of Grain")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    print(json.dumps(read(KINDS[args.kind](args), args.check)))


if __name__ == "__main__":
    main()
