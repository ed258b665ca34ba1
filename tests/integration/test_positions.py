"""Position ids, twice: the daemon's C and the Python package must give the same ones, and both keep the laws and follow
the distributions that are known in closed form. Seeds are fixed: what passes once passes always."""

import collections
import math
import random
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

import support

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "golden" / "positions"))
from cases import BIGGEST, BY_BLOCKS, SAMPLERS, STRATEGIES, Case, Key, edge_cases, random_blocks, random_case, random_group
from skipalign import positions
from skipalign.positions import Positions

OUTCOMES = ("skipped", "strategy-none", "by-probability", "no-boundary", "no-budget", "no-room-for-min-gap")


def drawn_in_c(cases):
    """[(outcome, ids)]"""
    text = "\n".join(case.text() for case in cases).encode()
    out = subprocess.run([support.BUILD / "tests" / "positions"], input=text, stdout=subprocess.PIPE, check=True).stdout
    numbers, at, result = np.frombuffer(out, np.int32), 0, []
    for _ in cases:
        outcome, n = numbers[at : at + 2]
        result.append((OUTCOMES[outcome], numbers[at + 2 : at + 2 + n]))
        at += 2 + n
    assert at == len(numbers)
    return result


class TwoImplementations(unittest.TestCase):
    def compare(self, cases):
        for case, (outcome, ids) in zip(cases, drawn_in_c(cases)):
            drawn = case.draw()
            self.assertEqual(drawn.outcome, outcome, case.text())
            self.assertEqual(drawn.ids.tobytes(), ids.tobytes(), case.text())

    def test_edges(self):
        self.compare([case for _, case in edge_cases()])

    def test_random_dialogues(self):
        rng = random.Random(17)
        self.compare([random_case(rng) for _ in range(6000)])

    def test_long_dialogues(self):
        """Up to 200 turns; sets of many numbers, dense and sparse."""
        rng = random.Random(18)
        self.compare([random_case(rng, turns=200, tokens=rng.choice([1, 5, 60])) for _ in range(300)])

    def test_more_random_numbers_than_a_part_has_blocks(self):
        n = 1 << 22
        group = {"strategy": "randpos", "max_position": 3 * n}
        self.compare([Case([n], group, Key(2**64 - 1, 3, 5)), Case([n // 8], {**group, "max_position": BIGGEST}, Key(1, 3, 5))])

    def test_marks(self):
        rng = random.Random(19)
        pieces = ["", ".", " .", "...", "?!", " Yes", "\u2581Yes", ".)", '."', '"', "'\u201d", " \"", "\n", "\r\n", "a\n", "。", "。\u300d",
                  "！", "\u2026", ". ", "  ", "\\", "3.14", "Mr.", "x\u2581", "\u00bb", "é.", "\u2581)"]
        parts = [*".!?\u2026\u3002\uff01\uff1f\"')]} \u2581\u2019\u201d\u00bb\u300d\u300f\uff09ab\u4e2d\n\\", "\u00e9"]
        pieces += ["".join(rng.choices(parts, k=rng.randint(1, 5))) for _ in range(3000)]
        lines = "".join(p.replace("\\", "\\\\").replace("\n", "\\n") + "\n" for p in pieces).encode()
        out = subprocess.run([support.BUILD / "tests" / "positions", "marks"], input=lines, stdout=subprocess.PIPE, check=True)
        self.assertEqual([positions.sentence_mark(p) for p in pieces], [int(x) for x in out.stdout.split()])


class Laws(unittest.TestCase):
    def test_of_every_strategy_and_sampler(self):
        rng = random.Random(20)
        seen = set()
        for i in range(4000):
            blocks = [b for b in random_blocks(rng) if b] or [1]
            n = sum(blocks)
            group = random_group(rng, n, STRATEGIES[i % len(STRATEGIES)])
            group["sampler"] = SAMPLERS[i // len(STRATEGIES) % len(SAMPLERS)]
            group.pop("schedule", None)
            p, key = Positions(group), Key(3, i)
            drawn = p.draw(blocks, key)
            ids, steps = drawn.ids, np.diff(drawn.ids)
            with self.subTest(group=group, blocks=blocks):
                self.assertEqual(len(ids), n)
                self.assertTrue((steps >= 1).all())
                self.assertLess(ids[-1], group["max_position"])
                self.assertEqual(ids.tobytes(), p.ids(blocks, key).tobytes())
                if drawn.outcome != "skipped":
                    self.assertEqual(ids.tolist(), list(range(n)))
                    continue
                seen.add((group["strategy"], group["sampler"]))
                if group["strategy"] != "shift":
                    self.assertEqual(ids[0], 0)
                if group["strategy"] in BY_BLOCKS:
                    inside = np.setdiff1d(np.arange(1, n), np.cumsum(blocks))
                    self.assertTrue((steps[inside - 1] == 1).all())
        self.assertEqual(len(seen), (len(STRATEGIES) - 1) * len(SAMPLERS))

    def test_no_budget_or_no_probability_keeps_the_ids(self):
        for strategy in STRATEGIES:
            for change in ({"max_position": 20}, {"max_position": 19}, {"probability": 0}):
                drawn = Positions({"strategy": strategy, "max_position": 500, **change}).draw([5, 5, 5, 5], Key(1, 1))
                self.assertEqual(drawn.ids.tolist(), list(range(20)))
                self.assertNotEqual(drawn.outcome, "skipped")

    def test_each_part_of_a_key_counts(self):
        for strategy in set(STRATEGIES) - {"none", "stretch"}:
            p = Positions({"strategy": strategy, "max_position": 65536})
            keys = [Key(1, 2, 3, 4, 5)._replace(**{field: value}) for field in Key._fields for value in (7, 8)]
            self.assertEqual(len({p.ids([30, 40, 20, 10], key).tobytes() for key in keys}), len(keys), strategy)

    def test_probability_leaves_the_gaps_alone(self):
        for strategy in set(STRATEGIES) - {"none"}:
            always = Positions({"strategy": strategy, "max_position": 9999})
            at_times = Positions({"strategy": strategy, "max_position": 9999, "probability": 0.3})
            skipped = 0
            for record in range(600):
                drawn = at_times.draw([9, 8, 7, 6], Key(5, record))
                if drawn.outcome == "skipped":
                    skipped += 1
                    self.assertEqual(drawn.ids.tobytes(), always.ids([9, 8, 7, 6], Key(5, record)).tobytes())
            self.assertTrue(125 < skipped < 235, f"{strategy}: {skipped} of 600")  # 5 sigma

    def test_wrong_settings_are_refused_with_what_is_allowed(self):
        for settings, words in (({"strategy": "pos"}, "one of none, skip_all"), ({}, "max_position is missing"),
                                ({"max_position": 2**31}, "out of range"), ({"max_position": 9, "gap": 1}, "no such key: gap"),
                                ([], "empty"), ([{"max_position": 9, "weight": 0}], "not above 0")):
            with self.assertRaisesRegex(ValueError, words):
                Positions(settings)


# ---- distributions ----


def chi_square_limit(degrees):
    """Above it with probability 1e-4, by Wilson and Hilferty."""
    return degrees * (1 - 2 / (9 * degrees) + 3.719 * math.sqrt(2 / (9 * degrees))) ** 3


def kolmogorov_smirnov(values, cdf):
    """sqrt(n) times the largest distance of the two distribution functions: above 2.23 with probability 1e-4."""
    values = np.sort(np.asarray(values, float))
    n, expected = len(values), np.array([cdf(v) for v in values])
    return math.sqrt(n) * max(np.max(np.arange(1, n + 1) / n - expected), np.max(expected - np.arange(n) / n))


class Distributions(unittest.TestCase):
    def drawn(self, n, blocks, **settings):
        """ids [n, tokens] of so many records, by the daemon's code."""
        group = {"max_position": 65536, **settings}
        return np.array([ids for _, ids in drawn_in_c([Case(blocks, group, Key(23, record, 1)) for record in range(n)])])

    def assert_counts(self, counts, expected):
        counts, expected = np.asarray(counts, float), np.asarray(expected, float)
        self.assertGreater(expected.min(), 5, "buckets too small for this test")
        self.assertLess(((counts - expected) ** 2 / expected).sum(), chi_square_limit(len(counts) - 1))

    def assert_uniform(self, values, low, high, buckets=50):
        """Whole numbers, uniform on low..high."""
        edges = low + (high - low + 1) * np.arange(buckets + 1) // buckets
        self.assertTrue(low <= values.min() and values.max() <= high)
        self.assert_counts(np.histogram(values, edges)[0], len(values) * np.diff(edges) / (high - low + 1))

    def test_one_turn(self):
        budget = 65536 - 30
        for strategy in ("skip_all", "skip_inner"):
            for sampler in ("sorted", "sequential", "even"):
                self.assert_uniform(self.drawn(8000, [10, 20], strategy=strategy, sampler=sampler)[:, 10] - 10, 0, budget)
            self.assertTrue((self.drawn(50, [10, 20], strategy=strategy, sampler="pinned")[:, 29] == 65535).all())

    def test_samplers_of_three_gaps(self):
        budget, n = 65536 - 4, 6000
        for sampler, cdf_of_first in {
            "sorted": lambda x: 1 - (1 - x) ** 3,  # the least of three
            "sequential": lambda x: x,
            "even": lambda x: min(1.0, 3 * x),
            "pinned": lambda x: 1 - (1 - x) ** 2,
        }.items():
            ids = self.drawn(n, [1, 1, 1, 1], strategy="skip_all", sampler=sampler)
            gaps = (np.diff(ids, axis=1) - 1) / budget
            self.assertLess(kolmogorov_smirnov((gaps[:, 0] * budget + 0.5) / (budget + 1), cdf_of_first), 2.23, sampler)
            means = {"sorted": [1 / 4] * 3, "sequential": [1 / 2, 1 / 4, 1 / 8], "even": [1 / 6] * 3, "pinned": [1 / 3] * 3}
            self.assertTrue(np.abs(gaps.mean(axis=0) - means[sampler]).max() < 0.02, sampler)

    def test_skip_outer_and_min_gap(self):
        ids = self.drawn(8000, [2, 3, 4, 5], strategy="skip_outer", min_gap=1000)
        self.assert_uniform(ids[:, 5] - 5, 1000, 65536 - 14)

    def test_pose_of_two_chunks(self):
        ids = self.drawn(8000, [19], strategy="pose")
        self.assert_uniform(ids[:, 18] - 18, 0, 65536 - 19)
        jumped = ids[ids[:, 18] > 18]
        cut = 1 + np.argmax(np.diff(jumped, axis=1) > 1, axis=1)
        self.assert_counts(np.bincount(cut, minlength=11)[1:], np.full(10, len(cut) / 10))

    def test_pose_of_four_chunks(self):
        """Cuts: every set of 3 of 6 points as likely; moves: each uniform on what is left."""
        ids = self.drawn(8000, [7], strategy="pose", chunks=4, max_position=BIGGEST)  # a gap of 0 does not happen
        jumps = np.diff(ids, axis=1) > 1
        sets, counts = np.unique(jumps @ (1 << np.arange(6)), return_counts=True)
        self.assertEqual(len(sets), 20)
        self.assert_counts(counts, np.full(20, len(ids) / 20))
        moves = ids - np.arange(7)
        u = np.array([row[jump] for row, jump in zip(moves[:, 1:], jumps)]) / (BIGGEST - 7)
        for i, share in enumerate((u[:, 0], (u[:, 1] - u[:, 0]) / (1 - u[:, 0]), (u[:, 2] - u[:, 1]) / (1 - u[:, 1]))):
            self.assertLess(kolmogorov_smirnov(share, lambda x: x), 2.23, i)

    def test_randpos(self):
        """Every set of 3 of 7 numbers, moved down to 0: with last id d there are (7 - d) * (d - 1) of the 35 sets."""
        ids = self.drawn(7000, [3], strategy="randpos", max_position=7)
        shapes, counts = np.unique(ids[:, 1] * 7 + ids[:, 2], return_counts=True)
        ways = [7 - s % 7 for s in shapes]
        self.assertEqual(sum(ways), 35)
        self.assert_counts(counts, 7000 * np.array(ways) / 35)
        gaps = np.diff(self.drawn(2000, [50], strategy="randpos"), axis=1)
        self.assertTrue(np.abs(gaps.mean(axis=0) / (65537 / 51) - 1).max() < 0.12)  # all alike, sigma .022

    def test_cream(self):
        """Against a simulation with a normal in floating point."""
        n, window, count = 60, 1200, 6000
        ids = self.drawn(count, [n], strategy="cream", max_position=window)
        simulated, rng, f = [], np.random.default_rng(5), window // n
        while len(simulated) < count:
            head = n // 3 if rng.random() < 0.5 else min(4 * f, (n - 1) // 2)
            mid, a = n - 2 * head, rng.normal(1 + f, 3)
            if 2 <= a < 2 * f:
                low, high = head + (mid - 1) * math.floor(a) // 2, math.floor(a) * n // 2 - head - 1
                simulated.append((head, rng.integers(low, high + 1)))
        heads = np.argmax(np.diff(ids, axis=1) > 1, axis=1) + 1
        self.assertTrue((ids[:, n - 1] == window - 1).all())
        for head in (20, 29):
            mine = np.sort(ids[heads == head][:, n - head - 1])
            other = np.sort([end for h, end in simulated if h == head])
            self.assertTrue(abs(len(mine) - count / 2) < 4 * math.sqrt(count / 4))
            both = np.concatenate([mine, other])
            distance = np.abs(np.searchsorted(mine, both, "right") / len(mine) - np.searchsorted(other, both, "right") / len(other))
            self.assertLess(distance.max() * math.sqrt(len(mine) * len(other) / (len(mine) + len(other))), 2.23)

    def test_cream_factor(self):
        """Each whole number's share of the truncated normal."""
        f, count = 5, 20000
        words = positions.Words(Key(1, 1))
        values = np.bincount([positions._cream_factor(words, f) for _ in range(count)], minlength=2 * f)[2:]
        edges = [math.erf((k - (1 + f)) / 3 / math.sqrt(2)) / 2 for k in range(2, 2 * f + 1)]
        self.assert_counts(values, count * np.diff(edges) / (edges[-1] - edges[0]))

    def test_longrecipe(self):
        """Budget 4 over 3 boundaries: 15 compositions, all as likely; the last id ends the window."""
        ids = self.drawn(6000, [1, 1, 1, 1], strategy="longrecipe", max_position=8)
        gaps = np.diff(ids, axis=1) - 1
        self.assertTrue((gaps.sum(axis=1) == 4).all())
        shapes, counts = np.unique(gaps @ [25, 5, 1], return_counts=True)
        self.assertEqual(len(shapes), 15)
        self.assert_counts(counts, np.full(15, 6000 / 15))

    def test_longrecipe_of_sentences(self):
        marks = [positions.sentence_mark(p) for p in ("\u2581Yes", ".", "\u2581No", "!", '"', "\u2581So", "\n", "Then", "3", ".", "1")]
        self.assertEqual(positions.sentence_boundaries([9, 2], marks).tolist(), [2, 5, 7, 9])

    def test_shift_and_stretch(self):
        self.assert_uniform(self.drawn(8000, [5, 5], strategy="shift")[:, 0], 0, 65526)
        self.assertEqual(self.drawn(1, [2, 2], strategy="stretch", max_position=19).tolist(), [[0, 4, 8, 12]])

    def test_mixture_is_drawn_by_weight(self):
        groups = [{"strategy": s, "max_position": 999, "weight": w} for s, w in (("shift", 0.7), ("stretch", 0.2), ("none", 0.1))]
        cases = [Case([3, 4], groups, Key(29, record)) for record in range(9000)]
        counts = {"shift": 0, "stretch": 0, "none": 0}
        for case, (outcome, ids) in zip(cases, drawn_in_c(cases)):
            name = "none" if outcome != "skipped" else "stretch" if ids[1] == 142 else "shift"
            counts[name] += 1
        self.assert_counts(list(counts.values()), [6300, 1800, 900])

    def test_a_mixture_leaves_the_draws_of_its_parts_alone(self):
        one, other = {"strategy": "skip_all", "max_position": 9999}, {"strategy": "pose", "max_position": 4096}
        mixed = Positions([{**one, "weight": 3}, {**other, "weight": 1}])
        for record in range(200):
            drawn = mixed.draw([5, 6, 7, 8], Key(1, record))
            alone = Positions(one if drawn.settings["strategy"] == "skip_all" else other)
            self.assertEqual(drawn.ids.tobytes(), alone.ids([5, 6, 7, 8], Key(1, record)).tobytes())


def corpus_hash(name):
    run = subprocess.run([support.BUILD / "tests" / "positions", "names"], input=name, stdout=subprocess.PIPE, text=True, check=True)
    return int(run.stdout)


class FromADaemon(unittest.TestCase):
    """What a trainer gets is what the Python package gives for the same keys: strategies that need no more than a length."""

    MIXTURE = [{"strategy": "pose", "max_position": 4096, "chunks": 3, "weight": 3, "schedule": {1: 999}},
               {"strategy": "randpos", "max_position": 2048, "probability": 0.5}, {"strategy": "none"},
               {"name": "late", "strategy": "cream", "schedule": {0: 256, 1: 65536}, "weight": 0.5},
               {"strategy": "shift", "max_position": 300}]

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skipalign-positions-")
        self.addCleanup(folder.cleanup)
        rng = random.Random(3)
        words = "one two three four five six".split()
        say = lambda: " ".join(rng.choices(words, k=rng.randint(1, 25)))
        records = [support.dialogue(*(say() for _ in range(2 * rng.randint(1, 2)))) for _ in range(3000)]
        self.config = support.config(support.write_jsonl(Path(folder.name) / "c.jsonl", records), epochs=3)
        self.config["streams"][0]["positions"] = self.MIXTURE
        self.hash = corpus_hash("c0")

    def read(self, feeder, n=None):
        with support.Dealer(feeder.listen) as trainer:
            return list(trainer.batches(n)), trainer.opened

    def compare(self, batches, groups, passes):
        """passes: how often each record has come; all of one pass lie in the epoch of that number."""
        p = Positions(groups)
        for document in (d for batch in batches for d in support.documents(batch)):
            key = Key(17, document["record"], self.hash, passes[document["record"]])
            passes[document["record"]] += 1
            drawn = p.draw([len(document["ids"])], key, progress=float(key.epoch))
            self.assertEqual(document["positions"].tolist(), drawn.ids.tolist())
            yield drawn

    def test_mixture_and_schedule(self):
        with support.Feeder(self.config) as feeder:
            batches, opened = self.read(feeder)
            status = feeder.ctl("--json", "status")["streams"][0]
            running = feeder.ctl("--json", "config")["streams"][0]["positions"]
            self.assertIn("46.2 % pose: pose, sorted, below 4,096", feeder.ctl("status").stdout)
        self.assertEqual((opened["strategy"], opened["max_position"]), ("mixture", 65536))
        self.assertEqual([g["name"] for g in status["mixture"]], ["pose", "randpos", "none", "late", "shift"])
        self.assertEqual((running[0]["schedule"], running[3]["weight"]), ({"1": 999}, 0.5))
        seen = collections.Counter(drawn.settings["strategy"] for drawn in
                                   self.compare(batches, self.MIXTURE, collections.Counter()))
        self.assertGreater(sum(seen.values()), 8000)
        for strategy, share in (("pose", 3), ("randpos", 1), ("none", 1), ("cream", 0.5), ("shift", 1)):
            self.assertAlmostEqual(seen[strategy] / sum(seen.values()), share / 6.5, delta=0.03)

    def test_change_of_one_element(self):
        """A schedule that is set in the first epoch holds from its epochs on."""
        with support.Feeder(self.config) as feeder:
            self.read(feeder, 8)
            feeder.ctl("set", "s.positions.pose.schedule", "{0.0: 700, 1: 999, 2: 50000}", "s.positions.none.weight", "2")
            batches, opened = self.read(feeder)
            history = feeder.ctl("history", "s").stdout
        self.assertEqual(opened["generation"], 1)
        self.assertIn("+ s.positions.pose.schedule: {0: 700, 1: 999, 2: 50000}", history)
        change = next(i for i, b in enumerate(batches) if b["generation"] > 1)
        self.assertGreaterEqual(change, 8)
        after = [dict(group) for group in self.MIXTURE]
        after[0]["schedule"] = {0: 700, 1: 999, 2: 50000}
        after[2]["weight"] = 2
        passes = collections.Counter()
        before = list(self.compare(batches[:change], self.MIXTURE, passes))
        drawn = list(self.compare(batches[change:], after, passes))
        self.assertGreater(len(drawn) + len(before), 8000)
        self.assertGreater(max(int(d.ids[-1]) for d in drawn if d.settings["strategy"] == "pose"), 4096)


class WithoutAFeeder(unittest.TestCase):
    def test_needs_numpy_alone(self):
        code = ("import sys; sys.modules['zmq'] = sys.modules['msgpack'] = None\n"
                "from skipalign.positions import Key, Positions\n"
                "print(Positions({'max_position': 64}).ids([2, 2], Key(1, 1)).dtype)")
        package = Path(support.TOP) / "client" / "python"
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, env={"PYTHONPATH": str(package)}, check=True)
        self.assertEqual(done.stdout, b"int32\n")

    def test_golden_vectors_are_todays(self):
        folder = Path(support.TOP) / "tests" / "golden" / "positions"
        made = subprocess.run([sys.executable, folder / "make.py"], stdout=subprocess.PIPE, check=True).stdout
        self.assertEqual(made, (folder / "vectors.txt").read_bytes())


if __name__ == "__main__":
    unittest.main()
