"""skipalignctl coverage: what it says of distances, against the batches themselves."""

import unittest

import numpy
import support


def distances(batch):
    """Of all pairs of a supervised token and an earlier one of its document; and what they were without skipping."""
    here, ordinary = [], []
    for document in support.documents(batch):
        positions = document["positions"].astype(numpy.int64)
        for token in numpy.flatnonzero(document["labels"] != -100):
            here.append(positions[token] - positions[:token])
            ordinary.append(token - numpy.arange(token))
    return numpy.concatenate(here or [[]]), numpy.concatenate(ordinary or [[]])


def read_all(feeder):
    with support.Dealer(feeder.listen) as trainer:
        found = [distances(batch) for batch in trainer.batches()]
    return [numpy.concatenate(side) for side in zip(*found)]


class Coverage(unittest.TestCase):
    def compare(self, shown, here, ordinary):
        self.assertEqual(shown["pairs"], len(here))
        edges = [bucket["from"] for bucket in shown["buckets"]] + [shown["buckets"][-1]["to"] + 1]
        for bucket, after in zip(shown["buckets"], edges[1:]):
            self.assertEqual(bucket["to"] + 1, after)
        for name, all_pairs in ("here", here), ("ordinary", ordinary):
            counts, _ = numpy.histogram(all_pairs, edges)
            self.assertEqual(counts.sum(), len(all_pairs))
            numpy.testing.assert_allclose([bucket[name] for bucket in shown["buckets"]], counts / len(all_pairs),
                                          atol=1e-12)
            self.assertEqual(shown[name]["largest"], all_pairs.max())
            for key, q in ("median", 0.5), ("p99", 0.99):  # inside a bucket, which is an eighth wide
                real = numpy.quantile(all_pairs, q)
                self.assertLessEqual(abs(shown[name][key] - real), real / 8 + 1)
            self.assertAlmostEqual(shown[name]["beyond_seq_len"], (all_pairs >= shown["seq_len"]).mean(), delta=1e-9)
        self.assertAlmostEqual(sum(bucket["long"] for bucket in shown["buckets"]), 1)

    def test_it_is_what_the_batches_have(self):
        for strategy in "skip_all", "skip_inner", "skip_outer", "none":
            with self.subTest(strategy):
                config = support.config(support.SAMPLE_CORPUS, last="pad", seq_len=512, positions={"strategy": strategy})
                with support.Feeder(config) as feeder:
                    pairs = read_all(feeder)
                    shown = feeder.ctl("--json", "coverage", "s")
                    self.compare(shown, *pairs)
                    self.assertEqual([s["strategy"] for s in shown["strategies"]], [strategy])
                    self.assertEqual(shown["windows"], shown["windows_known"])
                    read_all(feeder)  # the same again is not counted again
                    self.assertEqual(feeder.ctl("--json", "coverage", "s"), shown)

    def test_generations_apart_and_after_a_restart(self):
        with support.Feeder(support.config(support.SAMPLE_CORPUS, last="pad", epochs=0)) as feeder:
            with support.Dealer(feeder.listen, credit=4) as trainer:
                for _ in range(4):
                    trainer.expect("batch")
            first = feeder.ctl("--json", "coverage", "s")
            self.assertEqual((first["generation"], first["max_position"]), (1, 4096))
            feeder.ctl("set", "s.positions.max_position", 65536)
            refused = feeder.ctl("coverage", "s", "--generation", 2, check=False)
            if refused.returncode != 0:  # else something of it has been made ahead
                self.assertIn("nothing of generation 2 of stream 's' has been made", refused.stderr)
            step = feeder.ctl("--json", "history", "s")["generations"][-1]["first_step"]
            feeder.ctl("preview", "s", "--step", step)
            second = feeder.ctl("--json", "coverage", "s")
            self.assertEqual((second["generation"], second["max_position"]), (2, 65536))
            self.assertGreater(second["here"]["largest"], 4096)
            self.assertEqual(feeder.ctl("--json", "coverage", "s", "--generation", 1)["here"]["largest"],
                             first["here"]["largest"])
            feeder.stop()
            feeder.start()
            feeder.ctl("preview", "s", "--step", step)
            again = feeder.ctl("--json", "coverage", "s")  # all of its windows are known already, and made again
            self.assertEqual(again["generation"], 2)
            self.assertGreater(again["documents"], 0)

    def test_for_people(self):
        with support.Feeder(support.config(support.SAMPLE_CORPUS)) as feeder:
            text = feeder.ctl("coverage", "s").stdout
            self.assertIn("stream s, generation 1", text)
            self.assertIn("2,048 – 4,095", text)
            self.assertIn("documents of 4,096", text)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 100)

    def test_refusals(self):
        with support.Feeder(support.config(support.SAMPLE_CORPUS)) as feeder:
            def refused(*arguments):
                done = feeder.ctl("coverage", *arguments, check=False)
                self.assertEqual(done.stdout, "")
                return done.returncode, done.stderr

            code, words = refused("x")
            self.assertEqual(code, 1)
            self.assertIn("there is no stream 'x' here; there are: s", words)
            code, words = refused("s", "--generation", 9)
            self.assertEqual(code, 1)
            self.assertIn("nothing of generation 9 of stream 's'", words)
            self.assertEqual(refused()[0], 2)
            self.assertEqual(refused("s", "--generation", "x")[0], 2)


if __name__ == "__main__":
    unittest.main()
