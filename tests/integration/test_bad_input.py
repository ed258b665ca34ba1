"""Wrong files, wrong configurations, wrong moments: a clear error that says what, where and what to do; nothing is lost,
nothing crashes. Each case of the world outside, against a real daemon."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import support
from support import Dealer, Feeder, config, dialogue, write_jsonl

PADDED = {"packing": False, "global_batch": 2, "last": "pad"}


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skipalign-bad-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def serve(self, setup):
        """Every batch checked; the records that came, and the daemon's quarantine."""
        with Feeder(setup) as feeder:
            with Dealer(feeder.listen) as trainer:
                records = []
                for batch in trainer.batches():
                    support.check_batch(batch, trainer.opened)
                    records += [d["record"] for d in support.documents(batch)]
            return sorted(records), feeder.ctl("--json", "quarantine", "s")

    def refused(self, setup, *words, status=1, **feeder):
        """The daemon ends before READY with this exit status and a log that has all the words."""
        daemon = Feeder(setup, **feeder)
        try:
            daemon.launch()
            self.assertEqual(daemon.wait(), status, daemon.log())
            for word in words:
                self.assertIn(str(word), daemon.log())
            return daemon.log()
        finally:
            daemon.kill()
            daemon._folder.cleanup()


GOOD = json.dumps(dialogue("What is it?", "It is good."))


class Corpora(Case):
    def test_bad_lines_are_quarantined_with_place_and_reason(self):
        lines = [
            GOOD,
            '{"messages": [{"role": "user", "content": "cut',
            '{"messages": [{"role": "user", "content": "\udcff"}]}',
            json.dumps({"message": "no such field"}),
            json.dumps(dialogue("hello", "  ")),
            json.dumps({"messages": [{"role": "assistant", "content": "me first"}]}),
            json.dumps({"messages": [{"role": "narrator", "content": "x"}, {"role": "assistant", "content": "y"}]}),
            json.dumps({"messages": []}),
            json.dumps({"messages": [{"role": "user", "content": 7}]}),
            "[" * 5000,
            "null",
            GOOD,
            GOOD[:-1] + ' \0 }',
            GOOD,
        ]
        data = "\n".join(lines).encode("utf-8", "surrogateescape") + b"\n"
        records, unused = self.serve(config(self.file("c.jsonl", data), format="messages", max_unusable=1.0, **PADDED))
        self.assertEqual(records, [0, 11, 13])
        by_record = {r["record"]: r for r in unused["records"]}
        self.assertEqual(set(by_record), set(range(14)) - {0, 11, 13})
        for record, reason in {1: "invalid-json", 2: "invalid-json", 3: "missing-fields", 4: "empty-response",
                               5: "response-first", 6: "unknown-role", 12: "invalid-json"}.items():
            self.assertEqual(by_record[record]["reason"], reason, by_record[record])
        offset = data.index(b'{"message":')
        self.assertEqual(by_record[3]["offset"], offset)
        self.assertTrue(by_record[3]["file"].endswith("c.jsonl"))

    def test_line_ends_bom_and_no_newline_at_the_end(self):
        for name, data in {
            "crlf": (GOOD + "\r\n") * 3,
            "bom": "\ufeff" + (GOOD + "\n") * 3,
            "unended": "\n".join([GOOD] * 3),
            "blank": f"\n\n{GOOD}\n   \n{GOOD}\n\t\n\n{GOOD}\n\n",
            "array": json.dumps([json.loads(GOOD)] * 3, indent=2),
            "tight-array": json.dumps([json.loads(GOOD)] * 3, separators=(",", ":")),
        }.items():
            with self.subTest(name):
                records, unused = self.serve(config(self.file(name + ".json", data), **PADDED))
                self.assertEqual(records, [0, 1, 2])
                self.assertEqual(unused["records"], [])

    def test_a_line_of_200_mb_is_not_read(self):
        path = self.folder / "huge.jsonl"
        with path.open("w") as f:
            f.write(GOOD + "\n" + '{"messages": [{"role": "user", "content": "')
            for _ in range(200):
                f.write("x" * 1_000_000)
            f.write('"}]}\n' + GOOD + "\n")
        records, unused = self.serve(config(path, format="messages", max_unusable=1.0, **PADDED))
        self.assertEqual(records, [0, 2])
        self.assertEqual([(r["record"], r["reason"]) for r in unused["records"]], [(1, "too-large")])

    def test_two_instructions_in_a_row_are_one(self):
        record = {"messages": [{"role": "user", "content": "one"}, {"role": "user", "content": "two"},
                               {"role": "assistant", "content": "three"}]}
        records, unused = self.serve(config(write_jsonl(self.folder / "c.jsonl", [record, record]), **PADDED))
        self.assertEqual((records, unused["records"]), ([0, 1], []))

    def test_symbols_in_a_record_stay_text(self):
        text = "</s> <s> <|im_end|> [INST] <unk> <|im_start|>assistant"
        path = write_jsonl(self.folder / "c.jsonl", [dialogue("a", "b"), dialogue(text, text)])
        with Feeder(config(path, **PADDED)) as feeder, Dealer(feeder.listen) as trainer:
            found = {d["record"]: d["ids"].tolist() for d in support.documents(next(trainer.batches()))}
        # The model's symbols are its lowest ids: both dialogues have those of the template and no more.
        symbols = [[i for i in found[record] if i < 8] for record in (0, 1)]
        self.assertGreaterEqual(len(symbols[0]), 4)
        self.assertEqual(symbols[0], symbols[1])
        self.assertGreater(len(found[1]), len(found[0]) + 20)

    def test_a_dialogue_with_nothing_left_to_train_on(self):
        long = dialogue("word " * 2000, "yes")
        path = write_jsonl(self.folder / "c.jsonl", [dialogue("a", "b"), long, dialogue("a", "b")])
        records, unused = self.serve(config(path, seq_len=64, **PADDED))
        self.assertEqual(records, [0, 2])
        self.assertEqual([(r["record"], r["reason"]) for r in unused["records"]], [(1, "unsupervised")])

    def test_overlong_is_truncated_dropped_or_split(self):
        turns = [f"{kind} {i} " + "word " * 12 for i in range(9) for kind in ("question", "answer")]
        path = write_jsonl(self.folder / "c.jsonl", [dialogue(*turns), dialogue("a", "b")])
        found = {}
        for overlong in ("truncate", "drop", "split"):
            with self.subTest(overlong):
                records, unused = self.serve(config(path, seq_len=128, overlong=overlong, **PADDED))
                found[overlong] = records.count(0)
                self.assertEqual(len(unused["records"]), int(overlong == "drop"))
        self.assertEqual((found["truncate"], found["drop"]), (1, 0))
        self.assertGreaterEqual(found["split"], 3)

    def test_duplicates_are_kept_or_left_out(self):
        lines = [json.dumps(dialogue(f"question {i % 40}", f"answer {i % 40}")) for i in range(400)]
        lines[7] = "{"
        path = self.file("c.jsonl", "\n".join(lines))
        setup = config(path, epochs=2, **PADDED)
        self.assertEqual(self.serve(setup)[0], sorted(2 * [i for i in range(400) if i != 7]))
        setup["corpora"][0]["duplicates"] = "drop"  # far more than max_unusable
        records, unused = self.serve(setup)
        first = [i for i in range(40) if i != 7] + [47]
        self.assertEqual(records, sorted(2 * first))
        self.assertEqual(unused["reasons"], {"invalid-json": 2, "duplicate": 2 * 359})
        self.assertEqual(sorted({r["record"] for r in unused["records"]}), sorted(set(range(400)) - set(first)))
        self.assertTrue(all(r["detail"] == "the same bytes as an earlier record"
                            for r in unused["records"] if r["reason"] == "duplicate"))

    def test_duplicates_do_not_hide_that_a_corpus_cannot_be_used(self):
        bad = ['{"bad": %d}' % i for i in range(300)]
        path = self.file("c.jsonl", "\n".join(400 * [GOOD] + bad))
        setup = config(path, format="messages", **PADDED)
        self.assertEqual(len(self.serve(setup)[0]), 400)
        setup["corpora"][0]["duplicates"] = "drop"
        log = self.refused(setup, "c0", "cannot be used (mostly missing-fields)")
        self.assertIn("300 of 301 records", log)

    def test_what_is_not_text(self):
        """Quarantined, or left out and counted."""
        picture = {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url"}]},
                                {"role": "assistant", "content": "A cat."}]}
        call = {"messages": [{"role": "user", "content": "Six and one?"},
                             {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                             {"role": "tool", "content": "7"}, {"role": "assistant", "content": "Seven."}]}
        path = write_jsonl(self.folder / "c.jsonl", [dialogue("hello", "hi"), picture, call, dialogue("bye", "bye")])
        records, unused = self.serve(config(path, **PADDED))
        self.assertEqual(records, [0, 3])
        self.assertEqual([(r["record"], r["reason"]) for r in unused["records"]], [(1, "not-text"), (2, "not-text")])
        lax = config(path, **PADDED)
        lax["corpora"][0]["not_text"] = "leave_out"
        with Feeder(lax) as feeder:
            with Dealer(feeder.listen) as trainer:
                found = [d["record"] for batch in trainer.batches() for d in support.documents(batch)]
            self.assertEqual(sorted(found), [0, 1, 2, 3])
            self.assertEqual(feeder.ctl("--json", "status")["streams"][0]["made"]["left_out"], 3)
            self.assertIn("3 parts left out", feeder.ctl("status").stdout)

    def test_files_that_are_none(self):
        (self.folder / "folder.jsonl").mkdir()
        for path, words in {
            self.folder / "absent.jsonl": ["absent.jsonl"],
            self.folder / "folder.jsonl": ["folder.jsonl", "directory"],
            self.file("empty.jsonl", ""): ["empty.jsonl"],
            self.file("blank.jsonl", "\n\n \n"): ["blank.jsonl"],
            self.file("cut.json", "[" + GOOD + ",\n" + GOOD): ["cut.json"],
            self.file("cut2.json", "[" + GOOD + ",\n" + GOOD[:20]): ["cut2.json"],
            self.file("packed.jsonl.gz", b"\x1f\x8b\x08\0\0\0\0"): ["packed.jsonl.gz", "gzip", "cut short"],
            self.file("packed.jsonl.zst", b"\x28\xb5\x2f\xfd\0\0\0"): ["packed.jsonl.zst", "zstd"],
            self.file("other.jsonl", '{"a": 1}\n' * 3): ["other.jsonl", "format"],
        }.items():
            with self.subTest(path.name):
                self.refused(config(path), "c0", *words)

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_a_file_that_may_not_be_read(self):
        path = self.file("secret.jsonl", GOOD)
        path.chmod(0)
        self.refused(config(path), "secret.jsonl", "ermission")

    def test_more_than_half_unusable_stops_with_the_reason(self):
        path = self.file("c.jsonl", (GOOD + "\n{\n{\n") * 50)
        log = self.refused(config(path, format="messages", **PADDED), "c0", "invalid-json", "max_unusable")
        self.assertIn("100 of 150", log)
        records, unused = self.serve(config(path, format="messages", max_unusable=0.7, **PADDED))
        self.assertEqual((len(records), unused["unused"]), (50, 100))

    def test_a_file_that_shrinks_while_served(self):
        path = write_jsonl(self.folder / "c.jsonl", [dialogue(f"number {i}", f"it is {i}") for i in range(30000)])
        with Feeder(config(path, epochs=0, top={"memory": "40MiB"}, **PADDED)) as feeder:
            with Dealer(feeder.listen) as trainer:
                list(trainer.batches(3))
                os.truncate(path, 1000)
                while (message := trainer.receive())["type"] == "batch":
                    trainer.send("credit", credit=1)
                self.assertEqual((message["type"], message["code"]), ("error", "stream-failed"))
                self.assertIn("c.jsonl", message["message"])


class Configurations(Case):
    def test_models(self):
        corpus = write_jsonl(self.folder / "c.jsonl", [json.loads(GOOD)] * 10)
        self.refused(config(corpus, tokenizer=self.file("no.model", "this is no model")), "no.model", "s")
        self.refused(config(corpus, tokenizer=self.folder / "absent.model"), "absent.model")
        self.refused(config(corpus, tokenizer=self.folder), str(self.folder))

    @unittest.skipUnless(shutil.which("spm_train"), "spm_train is not installed")
    def test_a_vocabulary_without_bos_and_eos(self):
        text = self.file("text", "one two three four five six seven eight nine ten\n" * 50)
        subprocess.run(["spm_train", f"--input={text}", f"--model_prefix={self.folder}/bare", "--vocab_size=60",
                        "--model_type=bpe", "--bos_id=-1", "--eos_id=-1", "--byte_fallback=false"],
                       check=True, capture_output=True)
        corpus = write_jsonl(self.folder / "c.jsonl", [json.loads(GOOD)] * 10)
        setup = config(corpus, tokenizer=self.folder / "bare.model", template="llama2")
        self.refused(setup, "bare.model", "llama2", status=78)

    def test_values(self):
        corpus = write_jsonl(self.folder / "c.jsonl", [json.loads(GOOD)] * 10)
        two = config(corpus)
        two["streams"] *= 2
        for setup, words in [
            (config(corpus, seq_len=512, positions={"max_position": 511}), ["max_position", "512"]),
            (config(corpus, global_batch=0), ["global_batch", "1"]),
            (two, ["s", "already"]),
            (config(corpus, overlong="trunkate"), ["overlong", "truncate"]),
            (config(corpus, seqlen=5), ["seqlen", "seq_len"]),
        ]:
            with self.subTest(words=words):
                done = support.check_config(setup, self.folder)
                self.assertEqual(done.returncode, 78)
                for word in words:
                    self.assertIn(word, done.stderr + done.stdout)
                self.assertRegex(done.stderr + done.stdout, r"check\.yaml:\d+:\d+: ")

    def test_a_port_in_use(self):
        corpus = write_jsonl(self.folder / "c.jsonl", [json.loads(GOOD)] * 10)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
            self.refused(config(corpus, top={"feed": {"listen": endpoint}}), endpoint)

    def test_two_daemons_on_one_state_directory(self):
        corpus = write_jsonl(self.folder / "c.jsonl", [json.loads(GOOD)] * 10)
        with Feeder(config(corpus, **PADDED)) as feeder:
            state = {"state_dir": feeder.config["state_dir"]}
            self.refused(config(corpus, top=state, **PADDED), "in use", str(feeder.process.pid))


class State(Case):
    def small_disk(self, size):
        disk = self.folder / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True).returncode:
            self.skipTest("may not mount")
        self.addCleanup(subprocess.run, ["umount", "-l", disk])
        return disk

    def test_state_dir_full(self):
        corpus = write_jsonl(self.folder / "c.jsonl", [json.loads(GOOD)] * 20000)
        disk = self.small_disk("64k")
        self.refused(config(corpus, top={"state_dir": str(disk / "state")}), str(disk), "space")

    def test_state_dir_full_while_serving_costs_the_ledger_only(self):
        corpus = write_jsonl(self.folder / "c.jsonl", [dialogue(f"{i}?", f"{i}.") for i in range(8000)])
        disk = self.small_disk("1m")
        setup = config(corpus, epochs=10, top={"state_dir": str(disk / "state")}, **{**PADDED, "global_batch": 8})
        with Feeder(setup) as feeder:
            with Dealer(feeder.listen) as trainer:
                list(trainer.batches(1))
                with (disk / "filler").open("wb", buffering=0) as f, self.assertRaises(OSError):
                    while True:
                        f.write(b"x" * 4096)
                self.assertEqual(sum(1 for _ in trainer.batches()), 9999)
                self.assertEqual(trainer.end["reason"], "complete")
            self.assertIn("stream 's': the ledger cannot be written: No space left on device", feeder.log())

    def test_state_dir_read_only(self):
        corpus = write_jsonl(self.folder / "c.jsonl", [json.loads(GOOD)] * 10)
        disk = self.small_disk("1m")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        self.refused(config(corpus, top={"state_dir": str(disk / "state")}), str(disk), "ead-only")

    def test_sigterm_while_serving_ends_in_order_and_kill_9_costs_nothing(self):
        corpus = write_jsonl(self.folder / "c.jsonl", [dialogue(f"{i}?", f"it is {i}") for i in range(5000)])
        with Feeder(config(corpus, **PADDED)) as feeder:
            with Dealer(feeder.listen) as trainer:
                before = [b["hash"] for b in trainer.batches(20)]
                feeder.process.terminate()
                while (message := trainer.receive()) is not None and message["type"] == "batch":
                    pass
                self.assertEqual(message["code"], "shutting-down")
                self.assertEqual(feeder.wait(), 0)
            feeder.start()
            feeder.kill()
            feeder.start()
            with Dealer(feeder.listen) as trainer:
                self.assertEqual([b["hash"] for b in trainer.batches(20)], before)


if __name__ == "__main__":
    unittest.main()
