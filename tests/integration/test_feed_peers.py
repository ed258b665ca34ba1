"""Peers of every kind at both doors of a real daemon: plain subscribers that share, watch or read slowly, and many that
ask for all and read nothing."""

import random
import tempfile
import unittest
from pathlib import Path

import support
from support import Dealer, Feeder, Subscriber, config, dialogue, write_jsonl

STREAM = {"seq_len": 1024, "global_batch": 8, "packing": True, "epochs": 0}
MEMORY_MB = 64
GROWTH_MB = MEMORY_MB if support.BUILD.name == "build" else 4 * MEMORY_MB  # sanitizers take their share


def write_corpus(folder):
    rng = random.Random(11)
    words = "every rank asks for its own rows and whoever reads slowly waits for nobody else".split()
    say = lambda k: " ".join(rng.choice(words) for _ in range(k))
    return write_jsonl(folder / "c.jsonl", (dialogue(say(rng.randint(5, 60)), say(rng.randint(5, 90))) for _ in range(3000)))


class Peers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skipalign-peers-")
        self.addCleanup(folder.cleanup)
        setup = config(write_corpus(Path(folder.name)), top={"memory": f"{MEMORY_MB}MiB", "workers": 1}, **STREAM)
        self.feeder = self.enterContext(Feeder(setup))

    def subscriber(self, topic, **options):
        return self.enterContext(Subscriber(self.feeder.subscribe, topic, **options))

    def dealer(self, **options):
        return self.enterContext(Dealer(self.feeder.listen, **options))

    def memory_mb(self):
        status = Path(f"/proc/{self.feeder.process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def test_ranks_that_share_data_see_the_same_steps(self):
        """As tensor-parallel ranks do: each compares `step`, as the second one starts the topic again."""
        ranks = [self.subscriber("s/2/1/5/") for _ in range(2)]
        seen = []
        for rank in ranks:
            hashes = {}
            while len(hashes) < 40:
                batch = next(rank.batches(1))
                self.assertIn(batch["step"], range(5, 6 + 4 + len(hashes)))
                self.assertEqual(hashes.setdefault(batch["step"], batch["hash"]), batch["hash"])
            self.assertEqual(sorted(hashes), list(range(5, 45)))
            seen.append(hashes)
        self.assertEqual(*seen)

    def test_who_reads_slowly_loses_nothing_and_waits_for_nobody(self):
        slow, greedy = self.subscriber("s/1/0/0/", rcvhwm=1), self.dealer(credit=10**6, rcvhwm=1)
        fast = self.dealer(credit=8)
        for batch in fast.batches(300):
            support.check_batch(batch, fast.opened)
        for reader in (slow, greedy):
            self.assertEqual([b["step"] for b in reader.batches(150)], list(range(150)))

    def test_a_tap_shows_steps_as_they_are_sent(self):
        tap = self.subscriber("s/tap/")
        tap.socket.subscribe("not a topic")  # its answer says that the tap is in place
        tap.expect("error")
        trainer = self.dealer(world=2, rank=1, step=100)
        for batch in trainer.batches(20):
            whole = tap.expect("batch")
            support.check_batch(whole, {**trainer.opened})
            self.assertEqual((whole["step"], whole["world"], whole["rank"]), (batch["step"], 1, 0))
            self.assertEqual(whole["supervised"], batch["supervised_global"])

    def test_who_asks_for_all_and_reads_nothing_does_not_grow_the_feeder(self):
        trainer = self.dealer(credit=8)
        list(trainer.batches(150))  # windows take their part of the memory
        before = self.memory_mb()
        for i in range(25):  # each wants other bytes than the rest
            self.dealer(credit=10**6, rcvhwm=1, step=7 * i)
            self.subscriber(f"s/1/0/{7 * i + 3}/", rcvhwm=1)
        list(trainer.batches(150))
        self.assertLess(self.memory_mb() - before, GROWTH_MB)


if __name__ == "__main__":
    unittest.main()
