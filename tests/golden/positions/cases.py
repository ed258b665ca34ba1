"""Documents, settings and keys for comparing implementations of the position strategies, and their text form.

tests/support/position_case.h reads that form in C.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "client" / "python"))

from skipalign.positions import SAMPLERS, STRATEGIES, Key, Positions  # noqa: E402

BY_BLOCKS = ("skip_all", "skip_inner", "skip_outer")
BIGGEST = 2**31 - 1


class Case:
    def __init__(self, blocks, groups, key, progress=0.0, marks=None):
        self.blocks, self.key, self.progress, self.marks = list(blocks), key, progress, marks
        self.groups = [groups] if isinstance(groups, dict) else groups

    def text(self):
        words = [len(self.groups)]
        for g in self.groups:
            schedule = sorted((g.get("schedule") or {}).items())
            words += [g["strategy"], g.get("sampler", "sorted"), g["max_position"], float(g.get("probability", 1.0)).hex(),
                      g.get("min_gap", 0), g.get("chunks", 2), float(g.get("weight", 1.0)).hex(), len(schedule)]
            words += [x for epoch, window in schedule for x in (float(epoch).hex(), window)]
        k = self.key
        words += [k.seed, k.epoch, k.corpus, k.record, k.part, float(self.progress).hex()]
        words += [len(self.blocks), *self.blocks]
        words += [0] if self.marks is None else [len(self.marks), *self.marks]
        return " ".join(map(str, words))

    def draw(self):
        positions = Positions(self.groups if len(self.groups) > 1 else self.groups[0])
        return positions.draw(self.blocks, self.key, progress=self.progress, marks=self.marks)


def random_blocks(rng, turns=6, tokens=50):
    """At times without a response, or with empty blocks."""
    return [0 if rng.random() < 0.12 else rng.randint(1, tokens) for _ in range(rng.randint(1, 2 * turns))]


def random_group(rng, n, strategy=None):
    strategy = strategy or rng.choice(STRATEGIES)
    slack = rng.choice([0, 1, 2, rng.randint(0, 50), rng.randint(0, 100_000), n, 3 * n, 40 * n])
    window = max(1, rng.choice([n + slack, n + slack, BIGGEST]))
    group = {"strategy": strategy, "sampler": rng.choice(SAMPLERS), "max_position": window}
    if rng.random() < 0.3:
        group["probability"] = rng.choice([0, 0.25, 0.5, 0.999])
    if strategy in BY_BLOCKS and rng.random() < 0.3:
        group["min_gap"] = rng.randint(0, 200)
    if strategy == "pose" and rng.random() < 0.7:
        group["chunks"] = rng.choice([2, 3, 4, 7, 50, 1024])
    if rng.random() < 0.15:
        group["schedule"] = {rng.choice([0, 0.25, 0.5]): max(1, n + rng.randint(0, 999)), 1: window, 1.75: max(1, n)}
    return group


def random_case(rng, **kinds):
    blocks = random_blocks(rng, **kinds)
    n = sum(blocks)
    groups = random_group(rng, n)
    if rng.random() < 0.2:
        groups = [{**random_group(rng, n), "weight": rng.choice([1, 0.7, 3, 1e-3])} for _ in range(rng.randint(2, 4))]
    key = Key(rng.choice([0, 17, 2**63 - 1, rng.getrandbits(64)]), rng.getrandbits(32), rng.getrandbits(32),
              rng.getrandbits(32), rng.choice([0, 0, rng.randrange(4096)]))
    marks = None if rng.random() < 0.3 else [rng.choice([0, 0, 0, 0, 1, 2, 4, 4, 4, 5, 8]) for _ in range(n)]
    return Case(blocks, groups, key, rng.choice([0.0, 0.25, 0.999, 1.0, 3.5]), marks)


def edge_cases():
    """(name, case): one token, no tokens, one block, empty blocks, one turn and two hundred, budgets 0, 1 and 2**31 - 2."""
    shapes = {"one token": [1], "one block": [9], "one turn": [3, 4], "empty blocks": [0, 3, 0, 0, 2, 0, 1, 0],
              "an instruction alone at the end": [2, 3, 4]}
    for strategy in STRATEGIES:
        for name, blocks in shapes.items():
            n = sum(blocks)
            for budget in (0, 1, 50, BIGGEST - n):
                marks = [0, 5, 4, 2, 0, 1, 8, 4, 0][:n] if budget > 1 else None
                group = {"strategy": strategy, "max_position": n + budget, "chunks": 2 if budget < 50 else 4}
                yield f"{strategy}, {name}, budget {budget}", Case(blocks, group, Key(17, 3, 5, 1), marks=marks)
    for strategy in BY_BLOCKS:
        for sampler in SAMPLERS:
            for gap in (0, 7):
                group = {"strategy": strategy, "sampler": sampler, "max_position": 65536, "min_gap": gap}
                name = f"{strategy}, {sampler}, min_gap {gap}"
                yield f"{name}, four turns", Case([3, 2, 1, 4, 2, 2, 3, 1], group, Key(17, 4, 5, 1))
                yield f"{name}, budget {BIGGEST - 6}", Case([1, 2, 1, 2], {**group, "max_position": BIGGEST}, Key(1, 4, 5, 1))
    for strategy in ("skip_all", "pose", "randpos", "cream", "longrecipe"):
        group = {"strategy": strategy, "max_position": 131072, "chunks": 100}
        yield f"{strategy}, two hundred turns", Case([1] * 400, group, Key(17, 2**32 - 1, 2**32 - 1, 2**32 - 1, 4095))
    for record in range(12):
        yield "probability 0.5", Case([3, 4], {"strategy": "skip_all", "max_position": 999, "probability": 0.5}, Key(1, record))
    mixture = [{"strategy": "skip_all", "max_position": 4096, "weight": 7}, {"strategy": "pose", "max_position": 512, "weight": 2},
               {"strategy": "none", "max_position": 8, "weight": 1}]
    for record in range(24):
        yield "mixture 7 : 2 : 1", Case([3, 4], mixture, Key(2**64 - 1, record, 9))
    for progress in (0.0, 0.4999, 0.5, 1.0, 7.0):
        group = {"strategy": "stretch", "max_position": 16, "schedule": {0.5: 64, 1: 256}}
        yield f"schedule at {progress}", Case([3, 4], group, Key(1, 1), progress)
