"""skipalignctl plan: what it says a configuration would give, against what the feeder then gives."""

import json
import os
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy
import support


class Plan(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skipalign-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.scratch = self.folder / "tmp"
        self.scratch.mkdir()

    def run_plan(self, config, *arguments):
        path = self.folder / "plan.yaml"
        path.write_text(json.dumps({"state_dir": str(self.folder / "state"), **config}))
        done = subprocess.run([support.SKIPALIGNCTL, "plan", path, *map(str, arguments)], capture_output=True, text=True,
                              timeout=support.PATIENCE, env=os.environ | {"TMPDIR": str(self.scratch)})
        self.assertEqual(list(self.scratch.iterdir()), [], "what it wrote is left")
        return done

    def plan(self, config, *arguments):
        done = self.run_plan(config, "--json", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["streams"]

    def test_an_epoch_is_what_the_feeder_sends(self):
        records = [support.dialogue("Say it.", "word " * (3 + i % 40), "Again.", "word " * (i % 7 + 1)) for i in range(300)]
        records += [support.dialogue("Too long.", "word " * 900), {"messages": []}]
        corpus = support.write_jsonl(self.folder / "c.jsonl", records)
        for strategy in "skip_all", "skip_outer":
            config = support.config(corpus, last="pad", max_unusable=0.5, positions={"strategy": strategy, "probability": 0.7})
            [plan] = self.plan(config)
            with support.Feeder(config) as feeder, support.Dealer(feeder.listen) as trainer:
                batches = list(trainer.batches())
                status = feeder.ctl("--json", "status")["streams"][0]
                made, coverage = status["made"], feeder.ctl("--json", "coverage", "s")
            self.assertTrue(plan["exact"])
            self.assertEqual([plan["records"], plan["epoch_records"]], [302, 302])
            self.assertEqual([plan["documents"], plan["rows"]], [made["documents"], made["rows"]])
            self.assertAlmostEqual(plan["steps_per_epoch"]["value"], made["rows"] / 4)
            self.assertEqual(int(numpy.ceil(plan["steps_per_epoch"]["value"])), len(batches))
            self.assertAlmostEqual(plan["tokens_per_step"]["value"], made["tokens"] / made["rows"] * 4)
            self.assertAlmostEqual(plan["supervised_per_step"]["value"], made["supervised"] / made["rows"] * 4)
            self.assertAlmostEqual(plan["padding"]["value"], 1 - made["tokens"] / made["row_tokens"])
            self.assertAlmostEqual(plan["skipping"]["value"], made["skipped"] / made["documents"])
            self.assertAlmostEqual(plan["truncated"], made["truncated"] / 302)
            for mine, its, of in ("kept", "unskipped", made["documents"]), ("unusable", "quarantined", 302):
                self.assertEqual({reason: round(share * of) for reason, share in plan[mine].items()}, made[its])
            self.assertEqual(plan["steps_per_epoch"]["error"], 0)
            self.assertGreater(plan["speed"]["steps_per_second"], 0)
            for key in "here", "ordinary", "long", "buckets", "pairs":
                self.assertEqual(plan["distances"][key], coverage[key])

    def test_an_estimate_knows_its_error(self):
        """Of many copies of the same dialogues, which are known to the last one."""
        text = support.SAMPLE_CORPUS.read_text()
        for name, copies in ("few", 30), ("many", 4000):
            (self.folder / name).write_text(text * copies)
        [exact] = self.plan(support.config(self.folder / "few", format="messages"))
        [plan] = self.plan(support.config(self.folder / "many", format="messages"))
        self.assertTrue(exact["exact"])
        self.assertEqual(plan["epoch_records"], 66 * 4000)
        self.assertEqual(plan["exact"], plan["records"] == plan["epoch_records"])
        for key, ratio in ("steps_per_epoch", 4000 / 30), ("supervised_per_step", 1), ("tokens_per_step", 1):
            error = plan[key]["error"]
            self.assertEqual(error > 0, not plan["exact"])
            # Three times as far is no accident; and the few are cut into fewer windows, whose last rows are not full.
            self.assertLess(abs(plan[key]["value"] - exact[key]["value"] * ratio), 3 * error + 0.02 * plan[key]["value"])

    def test_a_running_feeder_is_not_disturbed(self):
        with support.Feeder(support.config(support.SAMPLE_CORPUS)) as feeder:
            state = Path(feeder.config["state_dir"])
            before = {path: path.stat().st_mtime_ns for path in state.rglob("*") if path.is_file()}
            config = {**feeder.config}
            config["streams"] = [{**config["streams"][0], "seq_len": 512}]
            [plan] = self.plan(config)
            self.assertTrue(plan["exact"])
            self.assertEqual({path: path.stat().st_mtime_ns for path in state.rglob("*") if path.is_file()}, before)
            feeder.ctl("status")

    def test_state_dir_is_not_made(self):
        self.plan(support.config(support.SAMPLE_CORPUS))
        self.assertFalse((self.folder / "state").exists())

    def test_for_people_and_one_of_several_streams(self):
        config = support.config(support.SAMPLE_CORPUS, epochs=2)
        config["streams"].append({**config["streams"][0], "name": "other", "packing": False})
        done = self.run_plan(config)
        self.assertEqual(done.returncode, 0, done.stderr)
        for words in "stream s ", "stream other", "exact: all 66 records", "in its 2 epochs", "% skip", "a second made here", \
                     "documents of 4,096":
            self.assertIn(words, done.stdout)
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 100)
        [other] = self.plan(config, "--stream", "other")
        self.assertEqual((other["stream"], other["packing"]), ("other", False))

    def test_too_many_unusable_are_told(self):
        corpus = support.write_jsonl(self.folder / "c.jsonl", [support.dialogue("a", "b")] * 3 + [{"messages": []}] * 3)
        done = self.run_plan(support.config(corpus, format="messages", max_unusable=0.25))
        self.assertIn("it would fail: 50.0 % of the records cannot be used", done.stdout)

    def refused(self, config, *arguments):
        done = self.run_plan(config, *arguments)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        return done.stderr

    def test_refusals(self):
        config = support.config(support.SAMPLE_CORPUS)
        self.assertIn("has no stream 'x'", self.refused(config, "--stream", "x"))
        self.assertIn("sequence_lenght", self.refused(support.config(support.SAMPLE_CORPUS, sequence_lenght=5)))
        self.assertIn("absent.jsonl", self.refused(support.config(self.folder / "absent.jsonl")))
        self.assertIn("absent.model", self.refused(support.config(support.SAMPLE_CORPUS, tokenizer="absent.model")))
        for words in (["plan"], ["plan", "a", "b"], ["plan", "a", "--stream"]):
            self.assertEqual(support.ctl(*words).returncode, 2)
        done = support.ctl("plan", self.folder / "absent.yaml")
        self.assertEqual(done.returncode, 1)
        self.assertIn("absent.yaml", done.stderr)
        done = support.ctl("--json", "plan", self.folder / "absent.yaml")
        self.assertEqual((done.returncode, json.loads(done.stdout)["code"]), (1, "bad-configuration"))

    def test_a_signal_leaves_nothing_behind(self):
        lines = support.SAMPLE_CORPUS.read_text() * 3000
        corpus = self.folder / "large.jsonl"
        corpus.write_text(lines)
        path = self.folder / "plan.yaml"
        path.write_text(json.dumps({"state_dir": str(self.folder / "state"), **support.config(corpus)}))
        with subprocess.Popen([support.SKIPALIGND, "-c", path, "--plan"], stdout=subprocess.PIPE,
                              env=os.environ | {"TMPDIR": str(self.scratch)}) as process:
            process.stdout.read(1)  # it is at work
            process.send_signal(signal.SIGTERM)
            rest = process.stdout.read()
            self.assertEqual(process.wait(support.PATIENCE), 1)
        self.assertIn(b"cancelled", rest)
        self.assertEqual(list(self.scratch.iterdir()), [])


if __name__ == "__main__":
    unittest.main()
