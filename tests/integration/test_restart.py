"""What a restart makes of each stream: it goes on as what it was, or says why not and what can be done about it."""

import shutil
import tempfile
import unittest
from pathlib import Path

import support

CONFIG_ERROR = 78  # systemd does not start the service again


def read(feeder, n, step=0, stream="s"):
    """n batches from a step on, what is news between them left out: [(step, generation, hash), ...]"""
    found = []
    with support.Dealer(feeder.listen, stream=stream, step=step, credit=n) as trainer:
        while len(found) < n:
            message = trainer.receive()
            assert message is not None and message["type"] in ("batch", "changed"), message and support.describe(message)
            if message["type"] == "batch":
                found.append((message["step"], message["generation"], message["hash"]))
    return found


def generations(feeder, stream="s"):
    return feeder.ctl("--json", "history", stream)["generations"]


class Restart(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.corpus = Path(shutil.copy(support.SAMPLE_CORPUS, self.folder / "a.jsonl"))
        self.feeder = support.Feeder(support.config(self.corpus, epochs=0))
        self.addCleanup(self.feeder.__exit__, None)
        self.feeder.start()
        self.stream = self.feeder.config["streams"][0]

    def restart(self, *arguments):
        self.feeder.kill()
        self.feeder.arguments = arguments
        self.feeder.start()

    def refused(self, *arguments):
        """The log of a start that was refused."""
        self.feeder.kill()
        self.feeder.log_path.unlink()
        self.feeder.arguments = arguments
        self.feeder.launch()
        self.assertEqual(self.feeder.wait(), CONFIG_ERROR, self.feeder.log())
        return self.feeder.log()

    def test_nothing_has_changed(self):
        before = read(self.feeder, 5)
        self.restart()
        self.assertEqual(read(self.feeder, 5), before)
        self.assertEqual(len(generations(self.feeder)), 1)

    def test_an_edited_file_is_refused(self):
        before = read(self.feeder, 5)
        self.stream["seq_len"] = 512
        log = self.refused()
        self.assertIn("s.seq_len: was 256, and is 512 in the file", log)
        self.assertIn("steps below 5", log)
        for way_out in "Put the file back", "--reload", "--forget s":
            self.assertIn(way_out, log)
        self.stream["seq_len"] = 256
        self.restart()
        self.assertEqual(read(self.feeder, 5), before)

    def test_an_edited_file_counts_from_the_first_step_not_handed_out(self):
        before = read(self.feeder, 5)
        self.stream["seq_len"] = 512
        self.restart("--reload")
        after = read(self.feeder, 8)
        self.assertEqual(after[:5], before)
        self.assertEqual([generation for _, generation, _ in after[5:]], [2, 2, 2])
        self.assertEqual([(g["first_step"], g["state"]) for g in generations(self.feeder)], [(0, "served"), (5, "serving")])
        self.restart()
        self.assertEqual(read(self.feeder, 8), after)
        self.restart("--reload")  # nothing more to take
        self.assertEqual(len(generations(self.feeder)), 2)

    def test_a_stream_is_forgotten(self):
        before = read(self.feeder, 5)
        self.stream["seq_len"] = 512
        self.restart("--forget", "s")
        self.assertNotEqual(read(self.feeder, 5), before)
        self.assertEqual(len(generations(self.feeder)), 1)
        self.assertEqual(len(list((self.feeder.folder / "state" / "streams").glob("s.old.*/timeline"))), 1)
        self.assertIn("--forget t", self.refused("--forget", "t"))

    def test_edited_before_anything_was_handed_out(self):
        self.stream["seq_len"] = 512
        self.restart()
        self.assertEqual([(g["first_step"], g["state"]) for g in generations(self.feeder)], [(0, "superseded"), (0, "serving")])
        self.assertEqual([generation for _, generation, _ in read(self.feeder, 2)], [2, 2])

    def test_what_was_set_stays(self):
        read(self.feeder, 5)
        self.feeder.ctl("set", "s.seq_len", 512)
        first = generations(self.feeder)[1]["first_step"]
        before = read(self.feeder, first + 3)
        self.restart()
        self.assertEqual(read(self.feeder, first + 3), before)
        self.assertIn("+ s.seq_len: 256", self.feeder.ctl("diff").stdout)
        self.stream["seq_len"] = 512  # written into the file, too
        self.restart()
        self.assertEqual(len(generations(self.feeder)), 2)
        self.assertEqual(self.feeder.ctl("--json", "diff")["changes"], [])

    def test_edits_that_change_no_batch(self):
        before = read(self.feeder, 5)
        self.feeder.config["workers"] = 1
        self.stream["max_unusable"] = 0.75
        self.restart()
        self.assertEqual(read(self.feeder, 5), before)
        self.assertEqual(len(generations(self.feeder)), 1)
        self.assertEqual(self.feeder.ctl("--json", "config")["streams"][0]["max_unusable"], 0.75)

    def test_corpora_and_models_may_move(self):
        before = read(self.feeder, 5)
        moved = self.folder / "elsewhere.jsonl"
        self.corpus.rename(moved)
        self.feeder.config["corpora"][0]["paths"] = [str(moved)]
        self.stream["tokenizer"] = str(shutil.copy(support.SAMPLE_MODEL, self.folder / "model"))
        self.restart()
        self.assertEqual(read(self.feeder, 5), before)
        self.assertEqual(len(generations(self.feeder)), 1)

    def test_a_corpus_that_has_grown_is_served_as_it_was(self):
        before = read(self.feeder, 5)
        with self.corpus.open("a") as file:
            file.write(support.SAMPLE_CORPUS.read_text().splitlines(True)[0] * 3)
        self.restart()
        self.assertEqual(read(self.feeder, 5), before)
        [corpus] = self.feeder.ctl("--json", "status")["corpora"]
        self.assertIn("grew", corpus["news"])
        self.feeder.ctl("reload")
        self.assertIsNone(self.feeder.ctl("--json", "status")["corpora"][0]["news"])
        first = generations(self.feeder)[1]["first_step"]
        longer = read(self.feeder, first + 2)
        self.restart()
        self.assertEqual(read(self.feeder, first + 2), longer)
        self.assertEqual(longer[:5], before)

    def replace_corpus(self):
        support.write_jsonl(self.corpus, [support.dialogue(f"{i}?", f"{i}.") for i in range(500)])

    def check_lost(self):
        """Generation 1 cannot be made any more, and says so; generation 2 is served."""
        first, second = generations(self.feeder)
        self.assertEqual((first["state"], second["state"]), ("lost", "serving"))
        self.assertIn(str(self.corpus), first["why"])
        self.assertEqual(self.feeder.ctl("--json", "status")["streams"][0]["lost"], [1])
        with support.Peer(support.zmq.DEALER, self.feeder.listen) as trainer:
            trainer.socket.send(support.msgpack.packb({"type": "open", "version": 1, "stream": "s", "world": 1, "rank": 0,
                                                       "step": 0, "credit": 1, "job": "test"}))
            said = trainer.receive()
            while said["type"] == "opened":
                said = trainer.receive()
            self.assertEqual(said["type"], "error")
            self.assertIn(str(self.corpus), said["message"])

    def test_a_corpus_that_is_another_is_refused(self):
        read(self.feeder, 5)
        self.replace_corpus()
        log = self.refused()
        for words in str(self.corpus), "--reload", "--forget s":
            self.assertIn(words, log)
        self.restart("--reload")
        after = read(self.feeder, 2, step=5)
        self.assertEqual([generation for _, generation, _ in after], [2, 2])
        self.check_lost()
        self.restart()
        self.assertEqual(read(self.feeder, 2, step=5), after)

    def test_a_corpus_that_is_replaced_while_it_is_served(self):
        read(self.feeder, 5)
        self.replace_corpus()
        self.feeder.ctl("reload")
        first = generations(self.feeder)[1]["first_step"]
        after = read(self.feeder, 3, step=first)
        self.restart()
        self.assertEqual(read(self.feeder, 3, step=first), after)
        self.check_lost()

    def test_a_damaged_timeline_is_not_guessed_at(self):
        read(self.feeder, 5)
        timeline = self.feeder.folder / "state" / "streams" / "s" / "timeline"
        timeline.write_bytes(timeline.read_bytes().replace(b"seq_len: 256", b"seq_len: 512"))
        self.assertIn("--forget s", self.refused())
        self.restart("--forget", "s")
        self.assertEqual(len(generations(self.feeder)), 1)

    def test_streams_that_commands_added_and_removed(self):
        self.feeder.ctl("add", "stream", "t", "tokenizer", support.SAMPLE_MODEL, "template", "plain", "seq_len", 128,
                        "global_batch", 2, "corpora", "[{name: c0}]", "positions.max_position", 1024)
        before = read(self.feeder, 5, stream="t")
        self.feeder.ctl("remove", "stream", "s")
        self.restart()
        self.assertEqual(read(self.feeder, 5, stream="t"), before)
        self.assertEqual([s["name"] for s in self.feeder.ctl("--json", "status")["streams"]], ["t"])
        self.feeder.ctl("reload")  # the file has s, and not t
        self.assertEqual([s["name"] for s in self.feeder.ctl("--json", "status")["streams"]], ["s"])
        self.restart()
        self.assertEqual([s["name"] for s in self.feeder.ctl("--json", "status")["streams"]], ["s"])

    def test_standing_by(self):
        second = support.Feeder(self.feeder.config)  # the same state_dir, with doors of its own
        for door in ("feed", "listen"), ("feed", "subscribe"), ("control", "listen"):
            second.config[door[0]] = {**second.config[door[0]], door[1]: second._ipc("-".join(door))}
        second.listen, second.control = second.config["feed"]["listen"], second.config["control"]["listen"]
        second.arguments = ["--standby"]
        second.launch()
        self.addCleanup(second.__exit__, None)
        while not any("standing by" in said for said in second.notified):
            self.assertTrue(second._hear(), second.log())
        self.stream["seq_len"] = 512  # the first one takes an edited file meanwhile
        for feeder in self.feeder, second:
            feeder.config_path.write_text(support.json.dumps(feeder.config))
        self.feeder.ctl("reload", "--at", 3)
        before = read(self.feeder, 5)
        self.feeder.kill()
        while not any("READY=1" in said for said in second.notified):
            self.assertTrue(second._hear(), second.log())
        self.assertEqual(read(second, 5), before)


if __name__ == "__main__":
    unittest.main()
