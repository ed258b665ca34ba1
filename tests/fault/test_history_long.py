"""As tests/integration/test_history.py, but other rounds."""

import os
import unittest

import checker


class History(unittest.TestCase):
    def test_every_batch_is_as_if_nothing_had_happened(self):
        print(checker.run(rounds=300, seed=1000, jobs=len(os.sched_getaffinity(0))))


if __name__ == "__main__":
    unittest.main()
