"""Token ids are libsentencepiece's: the fast path and the library give the same batches, and a fast path that is wrong
is found, its batches are made again, and nothing that it made goes out after that."""

import random
import tempfile
import unittest
from pathlib import Path

import support
from support import BUILD, DATA, REAL_DATA, Dealer, Feeder, config, dialogue, write_jsonl

WRONG = BUILD / "tests" / "skipalignd_wrong"
STEPS_MAX = 20  # of real data, which would take minutes
ODD = ["a\u00a0b  c   d", "\u2581word\u2581", "\ufeffstart", "</s><s>[INST] no </INST>", "naïve Ünïcode ß", "日本語の文章です。", "🙂🙃 ok 👩‍👩‍👧",
       "x" * 3000, " " * 200 + "end", "\ttab\r\nline\n\n\n", "\u200b\u200d\u0301", "", "0123456789" * 40, "<0x41><unk>", "ﷺ ﬁ Å"]


def odd_dialogues(folder):
    """Texts that tokenizers stumble over."""
    rng = random.Random(3)
    mixed = lambda: "".join(rng.choice(ODD) + rng.choice(["", " ", "\n", "x"]) for _ in range(rng.randint(1, 4))) or "."
    return write_jsonl(folder / "odd.jsonl", [dialogue(f"q {mixed()}", f"a {mixed()}") for _ in range(400)])


def hashes(configuration, path, steps=None):
    """Of all batches, or so many; and who tokenised."""
    configuration = configuration | {"tokenizer": {"path": path, "verify": 64}}
    with Feeder(configuration) as feeder, Dealer(feeder.listen) as trainer:
        found = [batch["hash"] for batch in trainer.batches(steps)]
        status = feeder.ctl("--json", "status")["streams"][0]["tokenizing"]
        return found, status


class Paths(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skipalign-exact-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def compare(self, configuration, steps=None, fast=True):
        """fast: the model must not be left to the library."""
        ours, status = hashes(configuration, "auto", steps)
        theirs, by_library = hashes(configuration, "library", steps)
        self.assertGreater(len(ours), 0)
        self.assertEqual(ours, theirs)
        self.assertFalse(by_library["fast"])
        self.assertEqual(status["differed"], 0)
        self.assertTrue(status["fast"] or not fast, status["why_not"])
        if status["fast"]:
            self.assertEqual(by_library["why_not"], "tokenizer.path says so")
            self.assertGreater(status["texts"], status["refused"])  # those that were tried at the start, if no others
            self.assertTrue(status["compared"] > 0 or not fast)

    def test_bundled_data(self):
        odd = odd_dialogues(self.folder)
        for model, templates in (("sample", ("chatml", "alpaca", "plain")), ("mistral-v1", ("mistral-v1", "llama2", "plain")),
                                 ("mistral-v3", ("mistral-v3", "alpaca"))):
            for template in templates:
                with self.subTest(model=model, template=template):
                    symbols = {} if model != "sample" else {"overlong": "split"}
                    self.compare(config(support.SAMPLE_CORPUS, odd, tokenizer=DATA / f"{model}.model", template=template,
                                        epochs=2, **symbols))

    @unittest.skipUnless(REAL_DATA, "needs SKIPALIGN_TEST_DATA")
    def test_real_data(self):
        corpora = {"t0-prompt-completion.jsonl": "prompt_completion", "sharegpt.json": "sharegpt", "novel-en.txt": "text",
                   "novel-ja.txt": "text"}
        for model in ("mistral-v1", "bpe-nfkc-8k"):
            for name, format in corpora.items():
                with self.subTest(model=model, corpus=name):
                    configuration = config(REAL_DATA / "corpora" / name, format=format, template="plain", seq_len=1024, epochs=0,
                                           tokenizer=REAL_DATA / "tokenizers" / f"{model}.model", overlong="split")
                    self.compare(configuration, steps=STEPS_MAX, fast=model == "mistral-v1")


class Wrong(unittest.TestCase):
    """A daemon whose fast path is wrong where a text holds the word "planted" (fault/wrong_ids.c)."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skipalign-wrong-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        rng = random.Random(7)
        say = lambda n: " ".join(rng.choice("cut water fresh lemon heat boil rinse throw away".split()) for _ in range(n))
        self.corpus = write_jsonl(self.folder / "c.jsonl", (
            dialogue(say(rng.randint(2, 30)) + (" planted" if i % 30 == 11 else ""), say(rng.randint(2, 40)) +
                     (" planted early" if i % 30 == 17 else "")) for i in range(4000)))
        self.right = {}  # record -> ids
        with self.feeder(support.SKIPALIGND, "library", 0, epochs=1, last="pad") as feeder, Dealer(feeder.listen) as trainer:
            for batch in trainer.batches():
                self.right |= {d["record"]: d["ids"].tobytes() for d in support.documents(batch)}

    def feeder(self, program, path, verify, **stream):
        trigger = self.folder / "wrong"
        trigger.touch()
        return Feeder(config(self.corpus, seq_len=512, top={"workers": 2, "tokenizer": {"path": path, "verify": verify}}, **stream),
                      environment={"SKIPALIGN_WRONG_IDS": str(trigger)}, program=program)

    def n_wrong(self, batches):
        """Documents with other ids than the library's; one that was cut by a token, to the place that it had, is not one."""
        found = [(d["ids"].tobytes(), self.right[d["record"]]) for b in batches for d in support.documents(b)]
        return sum(ids not in (right, right[:-4]) for ids, right in found)

    def records(self, batches):
        return [[d["record"] for d in support.documents(b)] for b in batches]

    def doubtful(self, feeder):
        return feeder.ctl("--json", "status")["streams"][0]["doubtful"]

    def test_found_while_it_trains(self):
        credit = 4
        with self.feeder(WRONG, "auto", 499, epochs=0) as feeder, \
                Dealer(feeder.listen, world=2, rank=0, credit=credit) as first, \
                Dealer(feeder.listen, world=2, rank=1, credit=credit) as second:
            before = []
            while self.doubtful(feeder) is None and "fast path gave other ids" not in feeder.log():
                self.assertLess(first.step, 5000)
                before += first.batches(5)
            end = (self.doubtful(feeder) or {"end_step": 0})["end_step"]
            self.assertLessEqual(first.step, end + credit)
            after = list(first.batches(end + 100 - first.step))
            other = list(second.batches(end + 100))
            late = [b for b in after if b["step"] >= end] + other[credit:]
            self.assertEqual(self.n_wrong(late), 0)
            for mine, theirs in zip(before + after, other, strict=True):
                both = self.records([mine, theirs])
                self.assertFalse(set(both[0]) & set(both[1]), f"step {mine['step']}")
            status = feeder.ctl("status").stdout
            self.assertIn("by libsentencepiece: our own code gave other ids", status)
            if end > 0:
                self.assertIn(f"steps 0 to {end - 1:,} went out with ids of the fast path", status)
            self.assertEqual(feeder.log().count("the fast path gave other ids than libsentencepiece"), 1)

    def test_found_after_steps_were_handed_out(self):
        with self.feeder(WRONG, "auto", 0, epochs=1) as feeder:
            with Dealer(feeder.listen) as trainer:
                sent = list(trainer.batches(40))
            self.assertGreater(self.n_wrong(sent), 0)  # nobody has looked
            self.assertEqual(feeder.stop(), 0)
            feeder.config["tokenizer"] = {"path": "auto", "verify": 1}
            feeder.start()
            with Dealer(feeder.listen, step=40) as trainer:
                rest = list(trainer.batches())
            doubtful = self.doubtful(feeder)
            self.assertEqual(doubtful["first_step"], 0)
            end = doubtful["end_step"]  # with what was on its way when the trainer went
            self.assertIn(end, range(40, 45))
            self.assertEqual(self.n_wrong(rest), 0)
            seen = sorted(r for step in self.records(sent + rest) for r in step)
            self.assertEqual(len(seen), len(set(seen)))
            self.assertGreater(len(seen), len(self.right) - 40)
            with Dealer(feeder.listen) as trainer:
                again = list(trainer.batches(40))
            self.assertEqual(self.records(again), self.records(sent))
            self.assertEqual(self.n_wrong(again), 0)
            log = feeder.log()
            self.assertIn(f"steps 0 to {end - 1} had been handed out with ids of the fast path", log)

            feeder.kill()
            feeder.log_path.unlink()
            feeder.start()
            with Dealer(feeder.listen) as trainer:
                whole = list(trainer.batches())
            self.assertEqual([b["hash"] for b in whole], [b["hash"] for b in again + rest])
            self.assertEqual(self.doubtful(feeder), doubtful)
            self.assertIn("by libsentencepiece: our own code gave other ids in an earlier run", feeder.log())
            self.assertNotIn(" error ", feeder.log())


if __name__ == "__main__":
    unittest.main()
