"""skipalignctl and the control socket of a real skipalignd."""

import json
import os
import pty
import random
import subprocess
import tempfile
import unittest
from pathlib import Path

import msgpack
import numpy
import support
import zmq

BAD_LINE = '{"messages": [{"role": "user", "content": "cut sh'


def ask(socket, command, **arguments):
    socket.send(msgpack.packb({"version": 1, "command": command, "arguments": arguments}))


def reply(socket):
    assert socket.poll(support.PATIENCE * 1000), "no reply"
    return msgpack.unpackb(socket.recv())


def evil_corpus(folder):
    """Usable records with a bad one among them, and text that would rather not be shown as it is."""
    path = Path(folder) / "evil.jsonl"
    lines = [json.dumps(support.dialogue(f"question {i} \x1b[31mred\x9b2J\u202e", f"answer {i}\tyes\u0000 ok"))
             for i in range(40)]
    lines.insert(7, BAD_LINE)
    lines.insert(20, json.dumps(support.dialogue("nothing is said to this", " ")))
    path.write_text("\n".join(lines) + "\n")
    return path


class OneFeeder(unittest.TestCase):
    """What does not change the feeder: one serves all of these."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.corpus = evil_corpus(cls.folder.name)
        cls.feeder = support.Feeder(support.config(cls.corpus, support.SAMPLE_CORPUS, epochs=2, format="messages"))
        cls.feeder.__enter__()
        cls.addClassCleanup(cls.feeder.__exit__, None)

    def refused(self, *arguments):
        done = self.feeder.ctl(*arguments, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stdout, "")
        return done.stderr

    def test_status_says_who_waits_for_whom(self):
        with support.Dealer(self.feeder.listen, world=2, rank=1, credit=3, job="run-7") as trainer:
            for _ in range(3):
                trainer.expect("batch")
            status = self.feeder.ctl("--json", "status")
            mine = [c for c in status["consumers"] if c["job"] == "run-7"]
            self.assertEqual(len(mine), 1)
            consumer = mine[0]
            self.assertEqual([consumer[key] for key in ("stream", "door", "world", "rank", "first_step", "next_step", "credit",
                                                        "batches", "waits_for")],
                             ["s", "router", 2, 1, 0, 3, 0, 3, "credit"])
            people = self.feeder.ctl("status").stdout
            self.assertRegex(people, r"s run-7 +router +1 of 2 +3 +0 .* trainer: gives no credit")

    def test_status_of_server_corpora_and_streams(self):
        status = self.feeder.ctl("--json", "status")
        self.assertEqual(status["server"]["pid"], self.feeder.process.pid)
        self.assertEqual(status["server"]["listen"], self.feeder.listen)
        self.assertIn(status["server"]["io"], ("uring", "pread"))
        self.assertLessEqual(status["memory"]["windows"], status["memory"]["windows_max"])
        corpora = {c["name"]: c for c in status["corpora"]}
        self.assertEqual(corpora["c0"]["records"], 42)
        self.assertEqual(corpora["c0"]["bytes"], self.corpus.stat().st_size)
        [stream] = status["streams"]
        self.assertEqual([stream[key] for key in ("name", "seq_len", "global_batch", "packing", "epochs", "strategy",
                                                  "max_position", "template", "failure")],
                         ["s", 256, 4, True, 2, "skip_all", 4096, "chatml", None])
        self.assertEqual(stream["epoch_slots"], corpora["c0"]["records"] + corpora["c1"]["records"])
        made = stream["made"]
        self.assertGreater(made["documents"], 0)
        self.assertEqual(made["documents"], made["skipped"] + sum(made["unskipped"].values()))
        self.assertLess(made["supervised"], made["tokens"])
        self.assertLessEqual(made["tokens"], made["row_tokens"])

    def test_preview_is_the_batch(self):
        with support.Dealer(self.feeder.listen, world=2, rank=1, step=1) as trainer:
            batch = trainer.expect("batch")
        shown = self.feeder.ctl("--json", "preview", "s", "--step", 1, "--world", 2, "--rank", 1, "--rows", 2, "--tokens")
        self.assertEqual([shown[key] for key in ("step", "epoch", "rows", "length", "supervised_global")],
                         [batch[key] for key in ("step", "epoch", "rows", "length", "supervised_global")])
        expected = list(support.documents(batch))
        found = [document for row in shown["shown"] for document in row["documents"]]
        self.assertEqual(len(found), len(expected))
        for document, real in zip(found, expected):
            self.assertEqual((document["corpus"], document["record"]), (f"c{real['corpus']}", real["record"]))
            tokens = [token for block in document["blocks"] for token in block["ids"]]
            for key, name in ("id", "ids"), ("position", "positions"), ("label", "labels"):
                numpy.testing.assert_array_equal([token[key] for token in tokens], real[name])
            for block in document["blocks"]:
                self.assertEqual(block["first_position"], block["ids"][0]["position"])
                self.assertEqual(block["last_position"], block["ids"][-1]["position"])
                self.assertEqual(sum(segment["tokens"] for segment in block["segments"]), block["tokens"])

    def test_preview_text_is_the_record(self):
        records = {"c0": self.corpus.read_text().split("\n"),
                   "c1": support.SAMPLE_CORPUS.read_text().split("\n")}
        shown = self.feeder.ctl("--json", "preview", "s", "--rows", 4)
        compared = 0
        for document in [document for row in shown["shown"] for document in row["documents"]]:
            if document["corpus"] == "c0":
                continue  # its control characters may be normalised by the tokenizer
            messages = json.loads(records[document["corpus"]][document["record"]])["messages"]
            answers = [message["content"] for message in messages if message["role"] == "assistant"]
            trained = ["".join(s["text"] for s in block["segments"] if s["supervised"] and not s["symbol"])
                       for block in document["blocks"] if block["role"] == "assistant"]
            self.assertEqual("".join(trained[0].split()), "".join(answers[0].split())[:len("".join(trained[0].split()))])
            compared += 1
        self.assertGreater(compared, 0)

    def test_preview_for_people(self):
        done = self.feeder.ctl("preview", "s", "--documents", 0, "--rows", 4, "--full")
        self.assertIn("┃", done.stdout)
        self.assertIn("jump +", done.stdout)
        self.assertIn("ids below 4,096", done.stdout)
        for line in done.stdout.splitlines():
            self.assertLessEqual(len(line), 160, line)
        self.assertFalse(set(done.stdout) & set("\x00\x07\x1b\x7f\x9b\u202e"), "a control character reached the terminal")

    def test_preview_refusals(self):
        self.assertIn("there is no stream 'ss' here; there are: s", self.refused("preview", "ss"))
        self.assertIn("does not divide the global batch of 4 rows", self.refused("preview", "s", "--world", 3))
        self.assertIn("ranks of world 2 are 0 to 1", self.refused("preview", "s", "--world", 2, "--rank", 2))
        self.assertIn("rows 0 to 3", self.refused("preview", "s", "--row", 4))
        steps = self.refused("preview", "s", "--step", 100000)
        self.assertRegex(steps, r"stream 's' has \d+ steps, counted from 0; there is no step 100000")

    def test_colours_on_a_terminal_only(self):
        def on_terminal(**environment):
            try:
                outer, inner = pty.openpty()
            except OSError as failure:
                self.skipTest(f"no terminal to be had here: {failure}")
            with subprocess.Popen([support.SKIPALIGNCTL, "-e", self.feeder.control, "preview", "s"], stdout=inner,
                                  env=os.environ | {"TERM": "xterm", **environment}) as process:
                os.close(inner)
                text = b""
                try:
                    while piece := os.read(outer, 65536):
                        text += piece
                except OSError:
                    pass  # Linux says EIO when the last writer is gone
                os.close(outer)
            self.assertEqual(process.returncode, 0)
            return text

        self.assertIn(b"\x1b[32m", on_terminal(NO_COLOR=""))
        self.assertNotIn(b"\x1b", on_terminal(NO_COLOR="1"))
        self.assertNotIn(b"\x1b", on_terminal(TERM="dumb", NO_COLOR=""))

    def test_tail(self):
        with support.Dealer(self.feeder.listen, credit=0, step=2) as trainer:
            trainer.send("credit", credit=3)
            sent = [trainer.expect("batch") for _ in range(3)]
            lines = self.feeder.ctl("--json", "tail", "s", "--count", 3, check=False)
        shown = [json.loads(line) for line in lines.stdout.splitlines()]
        self.assertEqual([(b["step"], b["world"], b["rank"], b["door"]) for b in shown],
                         [(b["step"], 1, 0, "router") for b in sent])
        self.assertEqual([b["tokens"] for b in shown], [int(support.arrays(b)["tokens"].sum()) for b in sent])
        self.assertRegex(self.feeder.ctl("tail", "s", "-n1").stdout, r"^\d\d:\d\d:\d\d\.\d{3}  step 4  epoch 0  rank 0 of 1  ")

    def test_quarantine_points_into_the_file(self):
        with support.Dealer(self.feeder.listen) as trainer:
            for _ in trainer.batches():
                pass  # a whole stream: every record has been looked at
        found = self.feeder.ctl("--json", "quarantine", "s")
        self.assertEqual(found["reasons"], {"invalid-json": 2, "empty-response": 2})  # two epochs
        self.assertEqual(found["unused"], 4)
        bad = [record for record in found["records"] if record["reason"] == "invalid-json"]
        self.assertEqual({(record["corpus"], record["record"], record["file"]) for record in bad}, {("c0", 7, str(self.corpus))})
        text = self.corpus.read_bytes()
        self.assertEqual(text[bad[0]["offset"] : bad[0]["offset"] + bad[0]["size"]].strip().decode(), BAD_LINE)
        people = self.feeder.ctl("quarantine", "s").stdout
        self.assertRegex(people, rf"c0 +7 +{bad[0]['offset']} .*invalid-json +{self.corpus}")
        self.assertEqual(len(self.feeder.ctl("--json", "quarantine", "s", "--limit", 1)["records"]), 1)

    def test_running_configuration_can_be_loaded(self):
        running = self.feeder.ctl("--json", "config")
        self.assertEqual(running["streams"][0]["positions"]["max_position"], 4096)
        self.assertEqual(running["streams"][0]["overlong"], "truncate")  # a default
        self.assertEqual(running["feed"]["listen"], self.feeder.listen)
        with tempfile.TemporaryDirectory() as folder:
            done = support.check_config(self.feeder.ctl("config").stdout, folder)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_commands_describe_themselves(self):
        rows = {row["name"]: row for row in self.feeder.ctl("--json", "commands")["commands"]}
        self.assertEqual(rows["stop"]["access"], "write")
        self.assertEqual([a["name"] for a in rows["tail"]["arguments"]], ["stream", "after", "last"])

    def test_a_waiting_preview_holds_up_nobody(self):
        config = support.config(support.SAMPLE_CORPUS, epochs=0)
        with support.Feeder(config) as feeder, support.Peer(zmq.DEALER, feeder.control) as peer:
            socket = peer.socket
            for _ in range(40):  # more than may wait at a time
                ask(socket, "preview", stream="s", step=1 << 40)
            refused = [reply(socket)["code"] for _ in range(32)]
            self.assertEqual(set(refused), {"busy"})
            ask(socket, "status")
            self.assertTrue(reply(socket)["ok"])
            ask(socket, "stop")
            self.assertTrue(reply(socket)["ok"])
            self.assertEqual([reply(socket)["code"] for _ in range(8)], ["shutting-down"] * 8)
            self.assertEqual(feeder.wait(), 0)

    def test_rubbish_hurts_nobody(self):
        rng = random.Random(7)
        with support.Peer(zmq.DEALER, self.feeder.control) as peer, support.Peer(zmq.DEALER, self.feeder.control) as huge:
            for _ in range(200):
                peer.socket.send(rng.randbytes(rng.randrange(300)))
                self.assertIn(reply(peer.socket)["code"], ("bad-message", "bad-version"))
            ask(peer.socket, "status", more=1)
            self.assertEqual(reply(peer.socket)["code"], "bad-argument")
            huge.socket.send(bytes(8 << 20))
            ask(peer.socket, "status")
            self.assertTrue(reply(peer.socket)["ok"])


class Ending(unittest.TestCase):
    def test_stop(self):
        with support.Feeder(support.config(support.SAMPLE_CORPUS)) as feeder:
            self.assertEqual(feeder.ctl("--json", "stop"), {"stopping": True, "drain": False})
            self.assertEqual(feeder.wait(), 0)
            done = feeder.ctl("status", check=False)
            self.assertEqual(done.returncode, 3)
            self.assertIn("no feeder answers", done.stderr)
            self.assertIn(feeder.control, done.stderr)

    def test_stop_and_drain(self):
        with support.Feeder(support.config(support.SAMPLE_CORPUS, epochs=0)) as feeder:
            with support.Dealer(feeder.listen, credit=200) as trainer:
                feeder.ctl("stop", "--drain")
                for step in range(200):
                    self.assertEqual(trainer.expect("batch")["step"], step)
            self.assertEqual(feeder.wait(), 0)

    def test_kill_leaves_no_obstacle(self):
        with support.Feeder(support.config(support.SAMPLE_CORPUS)) as feeder:
            feeder.kill()
            done = feeder.ctl("status", check=False)
            self.assertEqual(done.returncode, 3)
            self.assertIn("left over", done.stderr)
            feeder.start()
            feeder.ctl("status")


class WithoutFeeder(unittest.TestCase):
    def expect(self, code, words, *arguments):
        done = support.ctl(*arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(words, done.stderr)

    def test_usage(self):
        self.expect(2, "did you mean 'status'", "stauts")
        self.expect(2, "there is no command 'frobnicate'", "frobnicate")
        self.expect(2, "usage:")
        self.expect(2, "missing: 'STREAM'", "preview")
        self.expect(2, "one word too many: 'b'", "preview", "a", "b")
        self.expect(2, "there is no option '--stpe'", "preview", "s", "--stpe", "1")
        self.expect(2, "a value is missing after option 'step'", "preview", "s", "--step")
        self.expect(2, "not a number: '-1'", "preview", "s", "--step", "-1")
        self.expect(2, "not a number: '99999999999999999999'", "preview", "s", "--step=99999999999999999999")
        self.expect(2, "`config check FILE`", "config", "chekc", "x")
        self.expect(2, "an endpoint is", "-e", "pigeon://roof", "status")
        self.expect(3, "no such socket", "-e", "ipc:///nowhere/control", "status")
        self.expect(3, "nothing came in time", "-e", support.free_endpoint(), "--timeout", "1", "status")

    def test_help(self):
        everything = support.ctl("--help")
        self.assertEqual(everything.returncode, 0)
        for command in "status", "preview", "tail", "quarantine", "config", "stop":
            self.assertIn(f"\n  {command}", everything.stdout)
            self.assertIn(f"usage: skipalignctl {command}", support.ctl(command, "-h").stdout)

    def test_config_keys(self):
        done = support.ctl("config", "keys")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("streams[].positions.sampler", done.stdout)
        self.assertTrue(json.loads(support.ctl("config", "keys", "--json").stdout))

    def test_config_check(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "c.yaml"
            config = support.config(support.SAMPLE_CORPUS)
            path.write_text(json.dumps(config))
            self.assertEqual(support.ctl("config", "check", path).returncode, 0)
            config["streams"][0]["sequence_lenght"] = 5
            path.write_text(json.dumps(config))
            done = support.ctl("config", "check", path)
            self.assertEqual(done.returncode, 1)
            self.assertIn("sequence_lenght", done.stderr)
            self.assertEqual(support.ctl("config", "check", Path(folder) / "absent.yaml").returncode, 1)


if __name__ == "__main__":
    unittest.main()
