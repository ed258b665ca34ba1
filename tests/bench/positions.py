#!/usr/bin/python3
"""tests/bench/positions.py - what each position strategy and sampler does to real dialogues, and what it costs.

A line each: share of the documents that skip, distances from a trained token to a token before it (median, 99th
percentile; of 32 pairs a document), the largest id, CPU time a token for drawing and writing ids, and how many documents
have other ids by the second implementation, skipalign.positions: 0, or the exit code is 1. longrecipe is told blocks
only, no sentences.

SKIPALIGN_TEST_DATA=DIR takes DIR/corpora as well as the project's sample dialogues. SKIPALIGN_BUILD=DIR: see run.
"""

import random
import sys
import tempfile
from pathlib import Path

import common

sys.path.insert(0, str(common.TOP / "tests" / "golden" / "positions"))

WINDOW, DOCUMENTS = 65536, 1500


def corpora():
    yield "sample", common.support.SAMPLE_CORPUS
    for name in ("t0-prompt-completion.jsonl", "sharegpt.json"):
        path = common.support.REAL_DATA and common.support.REAL_DATA / "corpora" / name
        if path and path.exists():
            yield path.stem, path


def distances(blocks, ids, draw):
    """From trained tokens, those of responses, to tokens before them."""
    starts = [sum(blocks[:b]) for b in range(len(blocks) + 1)]
    trained = [b for b in range(1, len(blocks), 2) if blocks[b] > 0]
    for _ in range(32 if trained else 0):
        b = draw.choice(trained)
        t = draw.randrange(starts[b], starts[b + 1])
        if t > 0:
            yield int(ids[t] - ids[draw.randrange(t)])


def main():
    common.build()
    from cases import BY_BLOCKS, SAMPLERS, STRATEGIES, Case, Key
    from test_positions import drawn_in_c
    wrong = 0
    print(f"max_position {WINDOW:,}\n{'corpus':22}{'strategy':12}{'sampler':12}{'skipped':>8}{'median':>9}{'99 %':>9}"
          f"{'last id':>9}{'ns/token':>10}{'differ':>8}")
    with tempfile.TemporaryDirectory(prefix="skipalign-positions-") as folder:
        data = common.Data(Path(folder))
        for corpus, path in corpora():
            with data.config_file(path) as config:
                dialogues = [[int(n) for n in line] for line in common.program("positions", "cases", config)][:DOCUMENTS]
                costs = [common.median(column) for column in zip(*common.program("positions", "time", config, 5))]
            chosen = [(s, m) for s in STRATEGIES for m in (SAMPLERS if s in BY_BLOCKS else ("sorted",))]
            for strategy, sampler in chosen:
                group = {"strategy": strategy, "sampler": sampler, "max_position": WINDOW}
                cases = [Case(blocks, group, Key(17, record)) for record, blocks in enumerate(dialogues)]
                drawn, draw = drawn_in_c(cases), random.Random(1)
                differ = sum(case.draw().ids.tobytes() != ids.tobytes() for case, (_, ids) in zip(cases, drawn))
                far = sorted(d for case, (_, ids) in zip(cases, drawn) for d in distances(case.blocks, ids, draw))
                cost = costs[1 + STRATEGIES.index(strategy)]
                if strategy == "skip_all":
                    cost = costs[1 + len(STRATEGIES) + SAMPLERS.index(sampler)]
                skipped = sum(outcome == "skipped" for outcome, _ in drawn) / len(drawn)
                last = max(int(ids[-1]) for _, ids in drawn)
                print(f"{corpus:22}{strategy:12}{sampler if strategy in BY_BLOCKS else '-':12}{skipped:8.1%}"
                      f"{far[len(far) // 2]:9,}{far[len(far) * 99 // 100]:9,}{last:9,}{cost:10.2f}{differ:8}", flush=True)
                wrong += differ
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
