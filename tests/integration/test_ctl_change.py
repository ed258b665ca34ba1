"""What skipalignctl asks and prints when it changes a feeder, against a feeder of a few lines that answers as a test wants."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import tempfile
import threading
import unittest

import msgpack
import support
import zmq

CHANGES = [
    {"name": "chat.seq_len", "before": "4096", "after": "8192", "applies": "generation", "stream": "chat"},
    {"name": "corpora.tulu", "before": None, "after": "{paths: [/srv/t.jsonl]}", "applies": "now", "stream": ""},
    {"name": "templates.old", "before": "{bos: \x1b[31m}", "after": None, "applies": "now", "stream": ""},
    {"name": "workers", "before": "2", "after": "4", "applies": "restart", "stream": ""},
]
DIFF = r"""- chat.seq_len: 4096
+ chat.seq_len: 8192
+ corpora.tulu: {paths: [/srv/t.jsonl]}
- templates.old: {bos: \x1b[31m}
- workers: 2
+ workers: 4  (at the next start)
"""
RESULT = {
    "changes": CHANGES,
    "streams": [
        {"stream": "chat", "generation": 5, "first_step": 1200, "superseded": [3, 4], "notes": ["house: 12 documents left"]},
        {"stream": "gone", "generation": None, "first_step": None, "superseded": [], "notes": []},
    ],
    "notes": ["the configuration file does not say so"],
    "dry_run": False,
}


class Fake:
    """Answers each request with the messages that answer(command, arguments) gives; `heard` has the requests."""

    def __init__(self, answer):
        self.folder = tempfile.TemporaryDirectory(prefix="skipalign-")
        self.endpoint = f"ipc://{self.folder.name}/control"
        self.answer, self.heard = answer, []
        self.context = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.router.linger = 0
        self.router.bind(self.endpoint)
        self.stop, stop = (self.context.socket(zmq.PAIR) for _ in range(2))
        self.stop.bind("inproc://stop")
        stop.connect("inproc://stop")
        self.thread = threading.Thread(target=self._run, args=(stop,))

    def _run(self, stop):
        waiting, poller = [], zmq.Poller()
        poller.register(self.router, zmq.POLLIN)
        poller.register(stop, zmq.POLLIN)
        while stop not in dict(poller.poll()):
            peer, body = self.router.recv_multipart()
            request = msgpack.unpackb(body)
            assert request["version"] == 1
            self.heard.append((request["command"], request["arguments"]))
            answers = self.answer(request["command"], request["arguments"])
            if answers is None:  # ends
                break
            if waiting and request["command"] == "cancel":
                peer = waiting.pop()  # what is said is for the one that waits
            elif any("progress" in message for message in answers):
                waiting.append(peer)
            for message in answers:
                self.router.send_multipart([peer, msgpack.packb({"version": 1, **message})])
        self.router.close()
        stop.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(zmq.Again):  # it has ended by itself
            self.stop.send(b"", zmq.NOBLOCK)
        self.thread.join()
        self.context.destroy(linger=0)
        self.folder.cleanup()

    def ctl(self, *arguments, **environment):
        command = [support.SKIPALIGNCTL, "-e", self.endpoint, *map(str, arguments)]
        environment = os.environ | {"TZ": "UTC", "SUDO_USER": "alice"} | environment
        return subprocess.run(command, capture_output=True, text=True, timeout=support.PATIENCE, env=environment)


def result(value):
    return lambda command, arguments: [{"ok": True, "result": value}]


def refusal(code, text):
    return lambda command, arguments: [{"ok": False, "code": code, "error": text}]


class Asking(unittest.TestCase):
    def test_words_become_arguments(self):
        who = f"alice@{os.uname().nodename[:32]}"
        change = {"who": who, "progress": True}
        cases = {
            ("set", "chat.seed", "-1", "workers", "2"): {"edits": ["chat.seed", "-1", "workers", "2"], **change},
            ("set", "--at", 1200, "--dry-run", "a", "b"): {"edits": ["a", "b"], "at": 1200, "dry_run": True, **change},
            ("add", "corpus", "own", "paths", "[/x]"): {"kind": "corpus", "name": "own", "edits": ["paths", "[/x]"], **change},
            ("remove", "stream", "code"): {"kind": "stream", "name": "code", **change},
            ("reload",): change,
            ("revert", "chat", 3): {"stream": "chat", "generation": 3, **change},
            ("diff",): {},
            ("history", "chat"): {"stream": "chat"},
            ("pause", "chat"): {"stream": "chat", "who": who},
            ("resume", "chat"): {"stream": "chat", "who": who},
            ("cancel",): {"who": who},
        }
        with Fake(result({})) as fake:
            for words, arguments in cases.items():
                with self.subTest(words=words):
                    self.assertEqual(fake.ctl("--json", *words).returncode, 0)
                    self.assertEqual(fake.heard[-1], (words[0], arguments))

    def test_wrong_words(self):
        for words, said in (
            (("set", "chat.seed"), "missing: 'KEY VALUE [KEY VALUE...]'"),
            (("set", "chat.seed", "1", "workers"), "a value is missing after 'workers'"),
            (("add", "corpus", "own", "paths"), "missing:"),
            (("revert", "chat", "third"), "not a generation's number: 'third'"),
            (("set", "a", "b", "--at", "now"), "not a number: 'now'"),
        ):
            with self.subTest(words=words):
                done = support.ctl("-e", "ipc:///nowhere", *words)
                self.assertEqual(done.returncode, 2)
                self.assertIn(said, done.stderr)


class Printing(unittest.TestCase):
    def prints(self, answer, expected, *words):
        with Fake(result(answer)) as fake:
            done = fake.ctl(*words)
            self.assertEqual((done.stdout, done.stderr, done.returncode), (expected, "", 0))

    def test_a_change(self):
        self.prints(RESULT, DIFF + "chat: generation 5 from step 1200 on, in place of generations 3, 4, which never took effect\n"
                    "  house: 12 documents left\ngone: ended; its trainers are told\nthe configuration file does not say so\n",
                    "reload")  # fmt: skip

    def test_a_dry_run(self):
        dry = {**RESULT, "changes": CHANGES[:1], "notes": [], "dry_run": True, "streams": [{**RESULT["streams"][0], "superseded": []}]}
        self.prints(dry, "- chat.seq_len: 4096\n+ chat.seq_len: 8192\nchat: would be generation 5 from step 1200 on\n"
                    "  house: 12 documents left\nnothing was changed (--dry-run)\n", "set", "chat.seq_len", 8192, "--dry-run")  # fmt: skip

    def test_a_diff(self):
        nothing = {"changes": [], "streams": [], "notes": [], "dry_run": True}
        self.prints({**nothing, "changes": CHANGES}, DIFF + "`skipalignctl reload` makes it so\n", "diff")
        self.prints(nothing, "no difference: the feeder runs what its file says\n", "diff")
        self.prints({**nothing, "notes": ["corpus 'a': has grown"]}, "corpus 'a': has grown\n", "diff")

    def test_json(self):
        with Fake(result(RESULT)) as fake:
            self.assertEqual(json.loads(fake.ctl("--json", "reload").stdout), RESULT)

    def test_history_is_a_logbook(self):
        def entry(number, first, steps, state, cause, **more):
            return {"generation": number, "first_step": first, "steps": steps, "time": 1790000000 + 3600 * (number - 1),
                    "who": "bob@gpu1", "cause": cause, "state": state, "why": None, "changes": [], **more}  # fmt: skip

        self.prints(
            {"stream": "chat", "generations": [
                entry(1, 0, 1200, "lost", "start", why="/srv/t.jsonl is gone"),
                entry(2, 1300, 0, "superseded", "set chat.seed 3"),
                entry(3, 1200, 800, "served", "set chat.seq_len 8192", changes=CHANGES[:1]),
                entry(4, 2000, None, "serving", "reload"),
            ]},
            "generation 1  steps 0 to 1199  cannot be made again: /srv/t.jsonl is gone\n"
            "  2026-09-21 14:13:20  bob@gpu1  start\n\n"
            "generation 2  never took effect (was to be from step 1300 on)\n"
            "  2026-09-21 15:13:20  bob@gpu1  set chat.seed 3\n\n"
            "generation 3  steps 1200 to 1999\n"
            "  2026-09-21 16:13:20  bob@gpu1  set chat.seq_len 8192\n"
            "  - chat.seq_len: 4096\n  + chat.seq_len: 8192\n\n"
            "generation 4  from step 2000 on  serving\n"
            "  2026-09-21 17:13:20  bob@gpu1  reload\n",
            "history", "chat",
        )  # fmt: skip

    def test_pause(self):
        for paused, changed, words in (
            (True, True, "is paused: its trainers get nothing; `skipalignctl resume chat` lets it go on"),
            (True, False, "is paused already; `skipalignctl resume chat` lets it go on"),
            (False, True, "goes on"),
            (False, False, "was not paused"),
        ):
            answer = {"stream": "chat", "paused": paused, "changed": changed}
            self.prints(answer, f"chat {words}\n", "pause" if paused else "resume", "chat")

    def test_refusals(self):
        with Fake(refusal("conflict", "another change is being made (alice@gpu1: reload)")) as fake:
            done = fake.ctl("reload")
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertEqual(done.stderr, "skipalignctl: another change is being made (alice@gpu1: reload)\n")
            self.assertEqual(json.loads(fake.ctl("--json", "reload").stdout)["code"], "conflict")
        with Fake(refusal("bad-config", "chat.seed: wrong\nchat.rank: \x1b[2J\n")) as fake:
            done = fake.ctl("set", "a", "b")
            self.assertEqual(done.stderr, "skipalignctl: refused:\n  chat.seed: wrong\n  chat.rank: \\x1b[2J\n")

    def test_a_feeder_that_ends_is_noticed(self):
        with Fake(lambda command, arguments: None) as fake:
            done = fake.ctl("reload")
            self.assertEqual(done.returncode, 3)
            self.assertIn("it ended before it answered; `history` tells whether the change was made", done.stderr)

    def test_status_tells_what_is_the_matter(self):
        status = {
            "corpora": [{"name": "tulu", "news": "/srv/t.jsonl has grown by 3 MiB"}, {"name": "own", "news": None}],
            "streams": [{"name": "chat", "generation": 4, "first_step": 2000, "paused": True, "steps_known": 1200, "sent": 4800,
                         "lost": [1, 2], "failure": None}],
            "consumers": [{"stream": "chat", "door": "router", "job": "run-7", "world": 1, "rank": 0, "waits_for": "paused"}],
        }  # fmt: skip
        with Fake(result(status)) as fake:
            shown = fake.ctl("status").stdout
        for words in (
            "tulu: /srv/t.jsonl has grown by 3 MiB  (skipalignctl reload)\n",
            "stream chat  generation 4 from step 2,000 on, ",
            "  paused  (skipalignctl resume chat)\n",
            "  ledger lost, being worked out again: 1,200 of 4,800 steps\n",
            "  steps that cannot be made again: of generation 1, 2  (skipalignctl history chat)\n",
            "you: the stream is paused\n",
        ):
            self.assertIn(words, shown)
        self.assertNotIn("own:", shown)


class OnATerminal(unittest.TestCase):
    def run_on_terminal(self, fake, *words, seen=None, then=None):
        """All that appears there; where `seen` does, `then` is done to the process."""
        try:
            outer, inner = pty.openpty()
        except OSError as failure:
            self.skipTest(f"no terminal to be had here: {failure}")
        command = [support.SKIPALIGNCTL, "-e", fake.endpoint, *words]
        environment = os.environ | {"TERM": "xterm", "NO_COLOR": ""}
        with support.interruptible():
            process = subprocess.Popen(command, stdout=inner, stderr=inner, env=environment)
        with process:
            os.close(inner)
            text, done = b"", False
            with contextlib.suppress(OSError):  # Linux says EIO when the last writer is gone
                while select.select([outer], [], [], support.PATIENCE)[0] or process.kill():
                    text += os.read(outer, 65536)
                    if seen is not None and seen in text and not done:
                        done = True
                        then(process)
            os.close(outer)
        return process.returncode, text

    def test_colours(self):
        with Fake(result(RESULT)) as fake:
            code, text = self.run_on_terminal(fake, "reload")
        self.assertEqual(code, 0)
        self.assertIn(b"\x1b[31m- \x1b[0m\x1b[31mchat.seq_len", text)
        self.assertIn(b"\x1b[32m+ \x1b[0m\x1b[32mchat.seq_len", text)

    def test_progress_and_ctrl_c(self):
        def answer(command, arguments):
            if command == "cancel":
                return [{"ok": False, "code": "cancelled", "error": "cancelled by alice@gpu1; nothing was changed"}]
            return [{"progress": {"what": "corpus 'tulu': indexing", "done": 3, "all": 12}}]

        with Fake(answer) as fake:
            code, text = self.run_on_terminal(fake, "reload", seen=b"25 %", then=lambda p: p.send_signal(signal.SIGINT))
        self.assertEqual(code, 1)
        self.assertIn(b"corpus 'tulu': indexing", text)
        self.assertTrue(text.endswith(b"skipalignctl: cancelled by alice@gpu1; nothing was changed\r\n"), text)
        self.assertEqual([command for command, _ in fake.heard], ["reload", "cancel"])

    def test_ctrl_c_too_late(self):
        def answer(command, arguments):
            if command == "cancel":
                return [{"ok": True, "result": RESULT}]
            return [{"progress": {"what": "indexing", "done": 5, "all": 0}}]

        with Fake(answer) as fake:
            code, text = self.run_on_terminal(fake, "reload", seen=b"indexing", then=lambda p: p.send_signal(signal.SIGINT))
        self.assertEqual(code, 0)
        self.assertIn(b"too late to cancel", text)
        self.assertIn(b"generation 5 from step 1200 on", text)


if __name__ == "__main__":
    unittest.main()
