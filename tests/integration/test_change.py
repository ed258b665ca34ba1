"""Changes while it serves: what is refused and why, what is prepared beside serving and can be given up, and that trainers
and the history agree on what changed when."""

import shutil
import signal
import tempfile
import unittest
from pathlib import Path

import support

HOLE = 1 << 38  # bytes of a sparse file: nobody waits until all of it is scanned


class Control(support.Peer):
    """The control socket, for several requests on their way at once."""

    def __init__(self, feeder):
        super().__init__(support.zmq.DEALER, feeder.control)

    def ask(self, command, **arguments):
        self.socket.send(support.msgpack.packb({"version": 1, "command": command, "arguments": arguments}))

    def reply(self):
        """The next reply; news about progress is put aside."""
        while "progress" in (message := self.receive()):
            self.progress = message["progress"]
        return message

    def run(self, command, **arguments):
        self.ask(command, **arguments)
        return self.reply()


class Change(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.corpus = Path(shutil.copy(support.SAMPLE_CORPUS, self.folder / "a.jsonl"))
        self.feeder = support.Feeder(support.config(self.corpus, epochs=0))
        self.addCleanup(self.feeder.__exit__, None)
        self.feeder.start()
        self.control = Control(self.feeder)
        self.addCleanup(self.control.close)

    def done(self, command, **arguments):
        reply = self.control.run(command, **arguments)
        self.assertTrue(reply["ok"], reply)
        return reply["result"]

    def refused(self, code, words, command, **arguments):
        reply = self.control.run(command, **arguments)
        self.assertFalse(reply["ok"], reply)
        self.assertEqual(reply["code"], code, reply["error"])
        self.assertIn(words, reply["error"])
        return reply

    def history(self):
        return self.done("history", stream="s")["generations"]

    def large_corpus(self):
        """One whose indexing takes for ever."""
        path = self.folder / "large.jsonl"
        shutil.copy(support.SAMPLE_CORPUS, path)
        with path.open("r+b") as file:
            file.truncate(HOLE)
        return str(path)

    # ---- what is refused, and that nothing has happened then ----

    def test_wrong_values(self):
        self.refused("bad-config", "s.seq_len", "set", edits=["s.seq_len", "none"])
        self.refused("bad-config", 'did you mean "seq_len"', "set", edits=["s.seqlen", "5"])
        both = self.refused("bad-config", "s.seq_len", "set", edits=["s.seq_len", "-1", "s.seed", "x"])
        self.assertEqual(len(both["error"].splitlines()), 2)
        self.refused("bad-config", "s.template", "set", edits=["s.template", "chatlm"])
        self.refused("bad-argument", "value is missing", "set", edits=["s.seq_len", "512", "s.seed"])
        self.refused("bad-argument", "2 to", "set", edits=[])
        self.refused("unchanged", "so already", "set", edits=["s.seq_len", "256"])
        self.refused("needs-restart", "workers, feed.listen", "set",
                     edits=["workers", "5", "feed.listen", "tcp://127.0.0.1:1", "s.seq_len", "512"])
        self.refused("unknown-generation", "1 to 1", "revert", stream="s", generation=2)
        self.refused("bad-argument", "corpus, stream and template", "add", kind="tokenizer", name="x")
        self.refused("bad-config", "`set` changes it", "add", kind="stream", name="s")
        self.refused("bad-config", "is used by 's'", "remove", kind="corpus", name="c0")
        self.refused("bad-config", "nope.jsonl", "add", kind="corpus", name="x", edits=["paths", "[/nope.jsonl]"])
        self.refused("unchanged", "no change is being prepared", "cancel")
        self.assertEqual(len(self.history()), 1)
        self.assertEqual(self.done("diff")["changes"], [])

    def test_readers_that_cannot_take_it(self):
        with support.Dealer(self.feeder.listen, world=2, rank=1, job="run-7", credit=2) as trainer:
            for _ in trainer.batches(2):
                pass
            refused = self.refused("bad-config", "world 2 of 'run-7'", "set", edits=["s.global_batch", "5"])
            self.assertIn("s.global_batch", refused["error"])
            self.done("set", edits=["s.global_batch", "6"])

    def test_too_early(self):
        with support.Dealer(self.feeder.listen, credit=5) as trainer:
            for _ in range(5):
                trainer.expect("batch")
        refused = self.refused("too-early", "step 3", "set", edits=["s.seq_len", "512"], at=3)
        self.assertEqual(refused["first_step"], 5)
        [stream] = self.done("set", edits=["s.seq_len", "512"], at=5)["streams"]
        self.assertEqual((stream["generation"], stream["first_step"]), (2, 5))

    def test_duplicates_dropped_from_a_step_on(self):
        """As any change: older steps stay what they were, also by a process that has to find duplicates again."""
        lines = self.corpus.read_text().splitlines(keepends=True)
        self.corpus.write_text("".join(lines + lines))
        self.done("reload")
        with support.Dealer(self.feeder.listen, credit=3) as trainer:
            before = [trainer.expect("batch") for _ in range(3)]
        [stream] = self.done("set", edits=["corpora.c0.duplicates", "drop"])["streams"]
        first = stream["first_step"]
        found = []
        for again in range(2):
            with support.Dealer(self.feeder.listen) as trainer:
                batches = list(trainer.batches(first + 30))
            self.assertEqual([b["input_ids"] for b in batches[:3]], [b["input_ids"] for b in before])
            sent = [d for batch in batches[first:] for d in support.documents(batch)]
            self.assertGreater(len(sent), 66)
            self.assertLess(max(d["record"] for d in sent), 66)
            found.append([b["position_ids"] for b in batches])
            self.feeder.kill()
            kept = list(self.feeder.folder.glob("**/*.duplicates"))
            self.assertEqual(len(kept), 1)
            kept[0].unlink()
            self.feeder.start()
        self.assertEqual(found[0], found[1])

    def test_epochs_that_are_over(self):
        with support.Dealer(self.feeder.listen) as trainer:
            for batch in trainer.batches():
                if batch["epoch"] == 2:
                    break
        for again in range(2):  # the second time by another process
            self.refused("bad-config", "choose 3 or more", "set", edits=["s.epochs", "2"])
            self.feeder.kill()
            self.feeder.start()
            self.control = Control(self.feeder)
            self.addCleanup(self.control.close)
        self.done("set", edits=["s.epochs", "3"])

    def test_more_epochs_when_a_rank_has_got_its_end(self):
        """All ranks of a job get the same number of batches; who opens later goes on."""
        self.done("set", edits=["s.epochs", "1"])
        with (support.Dealer(self.feeder.listen, world=2, rank=0) as first,
              support.Dealer(self.feeder.listen, world=2, rank=1, credit=3) as second):
            n = len(list(first.batches()))
            few = list(second.batches(2))
            self.done("set", edits=["s.epochs", "2"])
            self.assertEqual(len(few) + len(list(second.batches())), n)
            self.assertEqual(second.end, first.end)
        with support.Dealer(self.feeder.listen, world=2, rank=1, step=n) as later:
            self.assertEqual(next(later.batches(1))["step"], n)

    def test_a_dry_run_changes_nothing(self):
        result = self.done("set", edits=["s.seq_len", "512"], at=7, dry_run=True)
        self.assertTrue(result["dry_run"])
        self.assertEqual([(s["generation"], s["first_step"]) for s in result["streams"]], [(2, 7)])
        self.assertEqual(len(self.history()), 1)
        with support.Dealer(self.feeder.listen, credit=9) as trainer:
            self.assertEqual({trainer.expect("batch")["generation"] for _ in range(9)}, {1})

    # ---- preparing ----

    def test_preparing_beside_serving(self):
        with Control(self.feeder) as other:
            other.ask("add", kind="corpus", name="large", edits=["paths", f"[{self.large_corpus()}]"], who="anna@gpu7",
                      progress=True)
            said = other.receive()
            self.assertIn("large", said["progress"]["what"])
            refused = self.refused("conflict", "anna@gpu7: add corpus large", "set", edits=["s.seq_len", "512"])
            self.assertIn("skipalignctl cancel", refused["error"])
            self.refused("conflict", "anna@gpu7", "reload")
            with support.Dealer(self.feeder.listen, credit=8) as trainer:
                for _ in trainer.batches(20):
                    pass
            self.assertIn("anna@gpu7", self.done("cancel", who="bob@login1")["cancelled"])
            reply = other.reply()
            self.assertEqual(reply["code"], "cancelled")
            self.assertIn("bob@login1", reply["error"])
        self.assertEqual(self.done("diff")["changes"], [])
        self.assertEqual(len(self.done("set", edits=["s.seq_len", "512"])["streams"]), 1)  # free for the next

    def test_the_end_of_the_daemon_is_the_end_of_preparing(self):
        self.control.ask("add", kind="corpus", name="large", edits=["paths", f"[{self.large_corpus()}]"], progress=True)
        self.assertIn("progress", self.control.receive())
        self.assertEqual(self.feeder.stop(), 0)
        self.assertEqual(self.control.reply()["code"], "shutting-down")

    # ---- what is done ----

    def test_one_change_of_two_streams(self):
        self.add_stream()
        result = self.done("set", edits=["corpora.c0.format", "messages"], who="anna@gpu7")
        self.assertEqual({s["stream"]: s["generation"] for s in result["streams"]}, {"s": 2, "t": 2})
        self.assertEqual([(c["name"], c["applies"]) for c in result["changes"]], [("corpora.c0.format", "generation")])
        entry = self.history()[-1]
        self.assertEqual((entry["who"], entry["cause"]), ("anna@gpu7", "set corpora.c0.format messages"))

    def add_stream(self):
        self.done("add", kind="stream", name="t",
                  edits=["tokenizer", str(support.SAMPLE_MODEL), "template", "plain", "seq_len", "128", "global_batch", "2",
                         "corpora", "[{name: c0}]", "positions.max_position", "1024"])

    def in_the_way(self, stream):
        """Something that makes the next commit to a stream's timeline fail."""
        path = self.feeder.folder / "state" / "streams" / stream / "timeline.new"
        path.mkdir()
        return path

    def test_a_timeline_that_cannot_be_written(self):
        path = self.in_the_way("s")
        self.refused("not-durable", "nothing was changed", "set", edits=["s.seq_len", "512"], at=6)
        self.assertEqual(len(self.history()), 1)
        self.assertEqual(self.done("diff")["changes"], [])
        with support.Dealer(self.feeder.listen, credit=10) as trainer:
            self.assertEqual({trainer.expect("batch")["generation"] for _ in range(10)}, {1})
        path.rmdir()
        self.done("set", edits=["s.seq_len", "512"])

    def test_one_of_two_timelines_cannot_be_written(self):
        self.add_stream()
        path = self.in_the_way("t")
        self.refused("not-durable", "in effect ('s')", "set", edits=["corpora.c0.format", "messages"])
        self.assertEqual(len(self.history()), 2)
        self.assertEqual(len(self.done("history", stream="t")["generations"]), 1)
        path.rmdir()
        result = self.done("set", edits=["corpora.c0.format", "messages"])  # again: for the one that it missed
        self.assertEqual([s["stream"] for s in result["streams"]], ["t"])
        self.refused("unchanged", "so already", "set", edits=["corpora.c0.format", "messages"])

    def test_history_is_what_trainers_got(self):
        self.done("set", edits=["s.seq_len", "512"], at=4)
        self.done("set", edits=["s.positions.max_position", "100000"], at=9)
        self.done("revert", stream="s", generation=1, at=12)
        with support.Dealer(self.feeder.listen, credit=15) as trainer:
            got, changed = [], []
            while len(got) < 15:
                message = trainer.receive()
                (got if message["type"] == "batch" else changed).append(message)
        self.assertEqual([(m["type"], m["step"]) for m in changed], [("changed", 4), ("changed", 9), ("changed", 12)])
        for entry in self.history():
            last = entry["first_step"] + (entry["steps"] or 3)
            steps = [b["step"] for b in got if b["generation"] == entry["generation"]]
            self.assertEqual(steps, list(range(entry["first_step"], last)))
        self.assertEqual([b["length"] for b in got], [256] * 4 + [512] * 8 + [256] * 3)
        shown = self.done("preview", stream="s", step=5)
        self.assertEqual((shown["generation"], shown["length"]), (2, 512))

    def test_a_later_change_takes_the_place_of_those_to_come(self):
        self.done("set", edits=["s.seq_len", "512"], at=20)
        result = self.done("set", edits=["s.seed", "3"], at=10)
        self.assertEqual(result["streams"][0]["superseded"], [2])
        self.assertEqual([g["state"] for g in self.history()], ["serving", "superseded", "coming"])
        self.assertEqual({c["name"] for c in self.done("diff")["changes"]}, {"s.seq_len", "s.seed"})

    def test_reload_takes_the_edited_file(self):
        self.feeder.config["streams"][0]["seq_len"] = 512
        self.feeder.config_path.write_text(support.json.dumps(self.feeder.config))
        before = self.done("diff")
        result = self.done("reload", who="anna@gpu7")
        self.assertEqual(result["changes"], before["changes"])
        self.assertEqual(result["notes"], [])
        self.assertEqual(self.done("diff")["changes"], [])
        self.refused("unchanged", "is what is running", "reload")
        self.feeder.config["workers"] = 7
        self.feeder.config_path.write_text(support.json.dumps(self.feeder.config))
        self.refused("needs-restart", "workers", "reload")
        self.feeder.config["streams"][0]["seq_len"] = "none"
        self.feeder.config_path.write_text(support.json.dumps(self.feeder.config))
        self.refused("bad-config", str(self.feeder.config_path), "reload")

    def test_sighup_reloads(self):
        self.feeder.config["streams"][0]["seq_len"] = 512
        self.feeder.config_path.write_text(support.json.dumps(self.feeder.config))
        self.feeder.process.send_signal(signal.SIGHUP)
        while len(self.history()) < 2:  # each answer comes after what the daemon did before
            pass
        self.assertEqual(self.history()[1]["who"], "SIGHUP")
        self.assertEqual(self.done("diff")["changes"], [])

    def test_a_dry_reload_holds_nothing_new(self):
        with self.corpus.open("a") as file:
            file.write(support.SAMPLE_CORPUS.read_text().splitlines(True)[0])
        [stream] = self.done("reload", dry_run=True)["streams"]
        self.assertIn("67 records, before 66", stream["notes"][0])
        [stream] = self.done("set", edits=["s.seq_len", "512"])["streams"]
        self.assertEqual(stream["notes"], [])
        self.assertEqual(self.done("status")["streams"][0]["corpora"][0]["records"], 66)

    def test_paused(self):
        self.done("pause", stream="s")
        with support.Dealer(self.feeder.listen, credit=3) as trainer:
            self.assertTrue(self.done("status")["streams"][0]["paused"])
            self.assertEqual(self.done("status")["consumers"][0]["waits_for"], "paused")
            self.done("resume", stream="s")
            for _ in trainer.batches(3):
                pass


if __name__ == "__main__":
    unittest.main()
