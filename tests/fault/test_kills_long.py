"""As tests/integration/test_kills.py, but longer."""

import unittest

import kills


class Kills(unittest.TestCase):
    def test_every_batch_is_as_if_nothing_had_happened(self):
        print(kills.run(rounds=60, seed=1000))


if __name__ == "__main__":
    unittest.main()
