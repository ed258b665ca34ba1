"""The laws that everything rests on, on a real daemon: the batch of (stream, step, rank, world) depends on nothing but
corpora and configuration; every record is there once an epoch; who stops and comes back goes on exactly."""

import collections
import random
import threading
import unittest

import numpy
import support
from support import Dealer, Feeder, Subscriber, config, dialogue, write_jsonl

STREAM = {"seq_len": 192, "global_batch": 8, "packing": True}


def write_corpus(folder, n=1500, name="c.jsonl"):
    rng = random.Random(5)
    words = "the feeder gives every token a position and jumps ahead between blocks of a short dialogue".split()
    say = lambda k: " ".join(rng.choice(words) for _ in range(k))
    records = [dialogue(*(say(rng.randint(1, 30)) for _ in range(2 * rng.randint(1, 4)))) for _ in range(n)]
    return write_jsonl(folder / name, records)


def whole_stream(feeder, **options):
    with Dealer(feeder.listen, **options) as trainer:
        batches = list(trainer.batches())
        for batch in batches:
            support.check_batch(batch, trainer.opened)
        return batches, trainer.end


def concatenate(parts):
    """Rows of all ranks in order, and what is known of their documents."""
    found = {name: numpy.concatenate([support.arrays(p)[name] for p in parts]) for name in
             ("input_ids", "position_ids", "labels", "tokens", "doc_corpus", "doc_record")}
    return {name: value.tobytes() for name, value in found.items()}


class Laws(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        import tempfile
        from pathlib import Path

        cls.folder = tempfile.TemporaryDirectory(prefix="skipalign-laws-")
        cls.corpus = write_corpus(Path(cls.folder.name))
        with Feeder(config(cls.corpus, **STREAM)) as feeder:
            cls.batches, cls.end = whole_stream(feeder)
        assert len(cls.batches) > 40

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def same(self, batches, first=0):
        for have, want in zip(batches, self.batches[first:], strict=True):
            self.assertEqual(have["hash"], want["hash"])
            self.assertEqual(support.content(have), support.content(want))

    def test_workers_io_memory_and_restart_change_nothing(self):
        for top in ({"workers": 1}, {"workers": 4}, {"io": "pread"}, {"memory": "40MiB", "workers": 3}):
            with self.subTest(top=top), Feeder(config(self.corpus, top=top, **STREAM)) as feeder:
                self.same(whole_stream(feeder)[0])
                self.assertEqual(feeder.stop(), 0)
                feeder.start()
                self.same(whole_stream(feeder)[0])

    def test_both_doors_give_the_same_bytes(self):
        with Feeder(config(self.corpus, **STREAM)) as feeder:
            with Subscriber(feeder.subscribe) as trainer:
                self.same(list(trainer.batches()))
                self.assertEqual({k: trainer.end[k] for k in ("step", "reason", "dropped")},
                                 {k: self.end[k] for k in ("step", "reason", "dropped")})

    def test_every_world_gets_the_same_global_batches(self):
        with Feeder(config(self.corpus, **STREAM)) as feeder:
            for world in (2, 4, 8):
                ranks = [whole_stream(feeder, world=world, rank=r)[0] for r in range(world)]
                self.assertEqual({len(r) for r in ranks}, {len(self.batches)})
                for want, parts in zip(self.batches, zip(*ranks), strict=True):
                    self.assertEqual(concatenate(parts), concatenate([want]))
                    self.assertEqual(sum(p["supervised"] for p in parts), want["supervised"])
                    self.assertEqual({p["supervised_global"] for p in parts}, {want["supervised"]})

    def test_stopping_anywhere_and_opening_at_the_next_step_goes_on_exactly(self):
        with Feeder(config(self.corpus, **STREAM)) as feeder:
            step = 0
            for n in (1, 7, 2, 13, 5):
                with Dealer(feeder.listen, step=step) as trainer:
                    self.same(list(trainer.batches(n)) + self.batches[step + n :], step)
                step += n
                feeder.kill() if n % 2 else feeder.stop()
                feeder.start()
            with Dealer(feeder.listen, step=len(self.batches) - 1) as trainer:
                self.same(list(trainer.batches()), len(self.batches) - 1)

    def test_a_lost_or_torn_ledger_changes_nothing(self):
        with Feeder(config(self.corpus, **STREAM)) as feeder:
            whole_stream(feeder)
            ledger = feeder.folder / "state" / "streams" / "s" / "1.ledger"
            for size in (0, 10, ledger.stat().st_size - 7, None):
                feeder.kill()
                if size is None:
                    ledger.unlink()
                else:
                    with ledger.open("r+b") as f:
                        f.truncate(size)
                feeder.start()
                self.same(whole_stream(feeder, step=30)[0], 30)

    def test_an_edited_file_is_refused_until_it_is_said_what_to_do(self):
        with Feeder(config(self.corpus, **STREAM)) as feeder:
            with Dealer(feeder.listen) as trainer:
                list(trainer.batches(6))
            feeder.stop()
            feeder.config["streams"][0]["seed"] = 18
            feeder.launch()
            self.assertEqual(feeder.wait(), 78)
            self.assertIn("s.seed: was 17, and is 18 in the file", feeder.log())

            feeder.arguments = ["--reload"]  # from the first step that was never handed out
            feeder.start()
            batches = whole_stream(feeder)[0]
            first = next(b["step"] for b in batches if b["generation"] == 2)
            self.assertGreaterEqual(first, 6)
            self.assertEqual([b["hash"] for b in batches[:first]], [b["hash"] for b in self.batches[:first]])
            self.assertNotEqual([b["hash"] for b in batches[first:]], [b["hash"] for b in self.batches[first:]])
            feeder.stop()

            feeder.arguments = ["--forget", "s"]
            feeder.start()
            batches = whole_stream(feeder)[0]
            self.assertEqual({b["generation"] for b in batches}, {1})
            self.assertNotEqual([b["hash"] for b in batches[:5]], [b["hash"] for b in self.batches[:5]])
            feeder.stop()

            feeder.config["streams"][0]["seed"] = 17
            feeder.start()
            self.same(whole_stream(feeder)[0])

    def test_many_consumers_at_many_speeds_lose_nothing(self):
        streams = config(self.corpus, **STREAM)
        names = ["s", "t", "u"]
        streams["streams"] = [{**streams["streams"][0], "name": name} for name in names]
        failures = []

        def consume(feeder, i):
            try:
                world, rank = (1, 0) if i % 3 == 0 else (4, i % 4)
                rng = random.Random(i)
                with Dealer(feeder.listen, stream=names[i % 3], world=world, rank=rank, credit=1 + i % 7) as trainer:
                    for n, batch in enumerate(trainer.batches()):
                        if rng.random() < 0.05:
                            numpy.linalg.norm(numpy.ones((100, 100)) @ numpy.ones((100, 100)))  # a slower trainer
                        want = self.batches[n]
                        if world == 1 and batch["hash"] != want["hash"]:
                            raise AssertionError(f"consumer {i}: step {n} differs")
                        if batch["supervised_global"] != want["supervised"]:
                            raise AssertionError(f"consumer {i}: step {n} belongs to another global batch")
                    if trainer.step != len(self.batches):
                        raise AssertionError(f"consumer {i} got {trainer.step} steps")
            except BaseException as failure:
                failures.append(failure)

        with Feeder(streams) as feeder:
            threads = [threading.Thread(target=consume, args=(feeder, i)) for i in range(32)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])


class ExactlyOnce(unittest.TestCase):
    def records(self, batches):
        return collections.Counter((d["corpus"], d["record"]) for b in batches for d in support.documents(b))

    def test_a_mixture_gives_each_corpus_its_share(self):
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            a = write_corpus(Path(folder), 700, "a.jsonl")
            b = write_corpus(Path(folder), 90, "b.jsonl")
            setup = config(a, b, last="pad", epochs=2, **STREAM)
            setup["streams"][0]["corpora"] = [{"name": "c0", "repeat": 0.5}, {"name": "c1", "repeat": 3}]
            with Feeder(setup) as feeder:
                batches, end = whole_stream(feeder)
            self.assertEqual(end["dropped"], 0)
            times = self.records(batches)
            # Two epochs of half a corpus are one pass over it; two of three times are six.
            self.assertEqual(times, {**{(0, r): 1 for r in range(700)}, **{(1, r): 6 for r in range(90)}})

    @unittest.skipUnless(support.REAL_DATA, "SKIPALIGN_TEST_DATA is not set")
    def test_real_corpora(self):
        data = support.REAL_DATA
        cases = [("sharegpt.json", "mistral-v1", 500, "truncate"), ("sharegpt.json", "mistral-v3", 500, "split"),
                 ("t0-prompt-completion.jsonl", "mistral-v1", 13649, "truncate")]
        for corpus, model, n, overlong in cases:
            with self.subTest(corpus=corpus, model=model):
                setup = config(data / "corpora" / corpus, template=model, last="pad", overlong=overlong,
                               tokenizer=data / "tokenizers" / f"{model}.model", seq_len=4096, global_batch=8,
                               positions={"max_position": 65536})
                with Feeder(setup) as feeder:
                    batches, end = whole_stream(feeder)
                    unused = feeder.ctl("--json", "quarantine", "s")
                times = self.records(batches)
                if overlong != "split":
                    self.assertEqual(set(times.values()), {1})
                left_out = {r["record"] for r in unused["records"]}
                self.assertEqual(len(times) + len(left_out), n)
                self.assertEqual(set(r for _, r in times) | left_out, set(range(n)))
                real = sum(int(support.arrays(b)["tokens"].sum()) for b in batches)
                if corpus.startswith("t0"):
                    self.assertGreater(real / (len(batches) * 8 * 4096), 0.97)

    def test_block_structure_on_real_dialogues(self):
        for strategy in ("none", "skip_all", "skip_inner", "skip_outer"):
            setup = config(support.SAMPLE_CORPUS, seq_len=2048, last="pad",
                           positions={"strategy": strategy, "max_position": 32768})
            with Feeder(setup) as feeder:
                batches, _ = whole_stream(feeder)
            jumps = 0
            for batch in batches:
                for d in support.documents(batch):
                    # Blocks as labels show them: a response ends where its labels do; it jumps at its header, before.
                    gaps = numpy.flatnonzero(numpy.diff(d["positions"]) != 1) + 1
                    jumps += len(gaps)
                    supervised = d["labels"] != -100
                    for gap in gaps:
                        self.assertFalse(supervised[gap - 1] and supervised[gap], "a jump inside a response")
                    if strategy == "none":
                        self.assertEqual(len(gaps), 0)
                    if strategy in ("skip_inner", "skip_outer"):
                        turns = int((numpy.diff(supervised.astype(int)) == 1).sum())
                        self.assertLessEqual(len(gaps), turns if strategy == "skip_inner" else turns)
            self.assertEqual(jumps > 0, strategy != "none")


if __name__ == "__main__":
    unittest.main()
