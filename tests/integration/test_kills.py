"""A daemon that is killed at random moments, twenty rounds of it; tests/fault/kills.py has more."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fault"))
import kills


class Kills(unittest.TestCase):
    def test_every_batch_is_as_if_nothing_had_happened(self):
        print(kills.run(rounds=20, seed=1))


if __name__ == "__main__":
    unittest.main()
