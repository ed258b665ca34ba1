"""A feeder that is changed, killed and broken at random, two hundred rounds of it (tests/fault/history has more); that
the checker sees what it is there to see; a timeline that is damaged is refused, never guessed at."""

import collections
import os
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fault"))
import checker
import support
import turns
from trainers import Book

ROUNDS = 200 if support.BUILD.name == "build" else 20  # sanitizers are slow


class History(unittest.TestCase):
    """A round is a matter of timing as well as of its seed, and its checker may be taken by surprise: one that fails is
    played again, twice, and the log says so. tests/fault/history gives no second try."""

    def test_every_batch_is_as_if_nothing_had_happened(self):
        print(checker.run(rounds=ROUNDS, seed=1, jobs=len(os.sched_getaffinity(0)), tries=3))


class Eyes(unittest.TestCase):
    """What the checker would say if something were wrong."""

    def test_other_bytes(self):
        batch = {"stream": "s", "generation": 1, "step": 3, "world": 2, "rank": 1, "hash": 7}
        batch.update({name: b"" for name in support.ARRAYS})
        book = Book()
        book.enter(batch)
        book.enter(batch)
        for other in ({"hash": 8}, {"generation": 2}, {"labels": b"1"}):
            with self.assertRaisesRegex(AssertionError, "came"):
                book.enter({**batch, **other})

    def account(self, times, epochs):
        """Of one generation over a corpus of ten records, half an epoch of it each epoch."""
        entry = turns.Entry(1, 0)
        entry.corpora = {"a": (10, "f")}
        settings = {1: {"corpora": [{"name": "a", "repeat": 0.5}], "epochs": epochs}}
        versions = {"a": {10: [0] + [1] * 9}}  # record 0 cannot be used
        times = collections.Counter({(1, "a", record): n for record, n in times.items()})
        turns.Account(times, 1, settings, [entry], Path(), versions, split=False).run(whole=True)

    def test_records_that_came_too_often_or_not_enough(self):
        self.account(dict.fromkeys(range(1, 10), 1), epochs=2)
        self.account({1: 1, 2: 1, 3: 1, 4: 1}, epochs=1)
        self.account({1: 1, 2: 1, 3: 1, 4: 1, 5: 1}, epochs=1)
        for times, epochs in ((dict.fromkeys(range(1, 9), 1), 2), ({**dict.fromkeys(range(1, 10), 1), 4: 2}, 2),
                              (dict.fromkeys(range(10), 1), 2), ({1: 1, 2: 1, 3: 1}, 1), ({1: 2, 2: 1, 3: 1}, 1)):
            with self.subTest(times=times), self.assertRaises(AssertionError):
                self.account(times, epochs)


class DamagedTimeline(unittest.TestCase):
    def test_is_refused_and_left_alone(self):
        with support.Feeder(support.config(support.SAMPLE_CORPUS, epochs=0)) as feeder:
            feeder.ctl("set", "s.seed", "18")
            self.assertEqual(feeder.stop(), 0)
            path = feeder.folder / "state" / "streams" / "s" / "timeline"
            whole = path.read_bytes()
            middle = len(whole) // 2
            flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
            for damaged in (b"", whole[:middle], whole[:-1], whole[1:], whole + whole[-20:], flipped,
                            whole.replace(b"seed: 18", b"seed: 19")):
                with self.subTest(damaged=damaged[:20], size=len(damaged)):
                    path.write_bytes(damaged)
                    feeder.launch()
                    self.assertEqual(feeder.wait(), 78, feeder.log())
                    self.assertIn(str(path), feeder.log().splitlines()[-1])
                    self.assertEqual(path.read_bytes(), damaged)
            path.write_bytes(whole)
            feeder.start()


if __name__ == "__main__":
    unittest.main()
