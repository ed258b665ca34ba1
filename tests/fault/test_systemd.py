"""The installed feeder under a real systemd, as README says to run it: who it runs as, when it counts as started, what
the journal has, and what happens when it is killed, misconfigured, or kept from io_uring."""

import itertools
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "integration"),
                str(Path(__file__).resolve().parent.parent.parent / "client" / "python")]

import skipalign
import support
from container import CannotBoot, Container, why_not

UNIT = "skipalignd.service"
ERROR, WARNING, INFO = "3", "4", "6"
SPARSE_SIZE = 1 << 40  # bytes that are read as one line of zeros: nobody waits for the end of it


class Systemd(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        reason = why_not()
        if reason is not None:
            raise unittest.SkipTest(reason)
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="skipalign-systemd-"))
        try:
            cls.debian = cls.enterClassContext(Container(cls.folder))
        except CannotBoot as e:
            raise unittest.SkipTest(f"systemd-nspawn cannot boot here: {e}")
        users = "u member -\nm member skipalign\nu stranger -\n"
        cls.debian.write("etc/sysusers.d/test.conf", users)
        cls.debian("systemd-sysusers")
        cls.debian("systemd-tmpfiles", "--create", "skipalign.conf")
        cls.debian("systemctl", "enable", UNIT)
        for path in (support.SAMPLE_CORPUS, support.SAMPLE_MODEL):
            (cls.debian.root / "srv" / path.name).write_bytes(path.read_bytes())

    def setUp(self):
        self.listen = support.free_endpoint()
        self.configure(support.config(f"/srv/{support.SAMPLE_CORPUS.name}", epochs=0,
                                      tokenizer=f"/srv/{support.SAMPLE_MODEL.name}"))

    def tearDown(self):
        self.debian("systemctl", "stop", UNIT)
        self.debian("systemctl", "reset-failed")
        self.debian("find", "/var/lib/skipalign", "-mindepth", "1", "-delete")  # what steps were made by
        self.drop_in("")

    # ---- what the tests say ----

    def configure(self, config):
        config["feed"] = {"listen": self.listen, "subscribe": support.free_endpoint()}
        self.debian.write("etc/skipalign/skipalignd.yaml", json.dumps(config, indent=1))

    def drop_in(self, text):
        """Lines for [Service] on top of the unit, until the test's end."""
        self.debian.write(f"etc/systemd/system/{UNIT}.d/test.conf", f"[Service]\n{text}\n")
        self.debian("systemctl", "daemon-reload")

    def start(self, check=True):
        self.cursor = json.loads(self.debian("journalctl", "-n", "1", "-o", "json").stdout)["__CURSOR"]
        return self.debian("systemctl", "start", UNIT, check=check)

    def shown(self, *names):
        lines = self.debian("systemctl", "show", UNIT, *(f"-p{name}" for name in names)).stdout.splitlines()
        values = dict(line.split("=", 1) for line in lines)
        return [values[name] for name in names]

    def journal(self):
        """(priority, message) of each line of the daemon since start()."""
        self.debian("journalctl", "--sync")
        lines = self.debian("journalctl", f"--after-cursor={self.cursor}", "-o", "json").stdout.splitlines()
        return [(e["PRIORITY"], e["MESSAGE"]) for e in map(json.loads, lines) if e["SYSLOG_IDENTIFIER"] == "skipalignd"]

    def status(self):
        return json.loads(self.debian("skipalignctl", "--json", "status").stdout)

    def batches(self, n):
        """Hashes of the first n batches."""
        with skipalign.Feed(self.listen, stream="s", timeout=support.PATIENCE) as feed:
            return [batch.hash for batch in itertools.islice(feed, n)]

    # ---- tests ----

    def test_unit_is_well_formed(self):
        done = self.debian("systemd-analyze", "verify", "--man=no", f"/usr/lib/systemd/system/{UNIT}")
        self.assertEqual(done.stdout + done.stderr, "")

    def test_runs_as_its_own_user_in_its_own_folders(self):
        self.start()
        self.assertEqual(self.shown("ActiveState", "StatusText"), ["active", "serving 1 stream"])
        pid = self.shown("MainPID")[0]
        self.assertEqual(self.debian("stat", "-c", "%U %G", f"/proc/{pid}").stdout, "skipalign skipalign\n")
        for path, mode in (("/var/lib/skipalign", 750), ("/run/skipalign", 750), ("/run/skipalign/control", 660)):
            owned = self.debian("stat", "-c", "%U %G %a", path).stdout
            self.assertEqual((path, owned), (path, f"skipalign skipalign {mode}\n"))
        self.assertTrue((self.debian.root / "var/lib/skipalign/corpora/c0.index").exists())

    def test_control_is_for_root_and_the_group(self):
        self.start()
        for user, status in (("root", 0), ("member", 0), ("stranger", 3)):
            with self.subTest(user=user):
                done = self.debian("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups",
                                   "skipalignctl", "--timeout", "5", "status", check=False)
                self.assertEqual(done.returncode, status, done.stdout + done.stderr)

    def test_status_tells_of_indexing_and_stop_does_not_wait_for_it(self):
        with (self.debian.root / "srv/sparse.jsonl").open("wb") as file:
            file.write(support.SAMPLE_CORPUS.read_bytes())
            file.truncate(SPARSE_SIZE)
        self.configure(support.config("/srv/sparse.jsonl", tokenizer=f"/srv/{support.SAMPLE_MODEL.name}"))
        self.debian("systemctl", "start", "--no-block", UNIT)
        text = ""
        while not text.startswith("indexing corpus 'c0': "):
            state, text = self.shown("ActiveState", "StatusText")
            self.assertEqual(state, "activating")
        self.debian("systemctl", "stop", UNIT)
        self.assertEqual(self.shown("ActiveState", "Result", "ExecMainStatus"), ["inactive", "success", "0"])

    def test_stops_in_good_order_and_finds_its_index_again(self):
        self.start()
        with skipalign.Feed(self.listen, stream="s", timeout=support.PATIENCE) as feed:
            for _ in range(10):
                next(feed)
            self.debian("systemctl", "stop", UNIT)
        self.assertEqual(self.shown("ActiveState", "Result", "ExecMainCode", "ExecMainStatus"),
                         ["inactive", "success", "1", "0"])  # 1: it exited
        self.start()
        journal = self.journal()
        self.assertTrue(any(message.endswith("index found") for _, message in journal), journal)
        self.assertEqual({priority for priority, _ in journal}, {INFO})

    def test_killed_it_comes_back_and_trainers_go_on(self):
        self.start()
        want = self.batches(40)
        with skipalign.Feed(self.listen, stream="s", timeout=support.PATIENCE) as feed:
            have = [next(feed).hash for _ in range(20)]
            self.debian("systemctl", "kill", "--signal=KILL", UNIT)
            have += [next(feed).hash for _ in range(20)]
        self.assertEqual(have, want)
        self.assertEqual(self.shown("ActiveState", "NRestarts"), ["active", "1"])

    def test_wrong_configuration_is_not_tried_again_and_the_journal_says_why(self):
        self.configure({"corpora": [], "stream": 1, "workers": 0})
        self.assertNotEqual(self.start(check=False).returncode, 0)
        self.assertEqual(self.shown("ActiveState", "Result", "ExecMainStatus", "NRestarts"),
                         ["failed", "exit-code", "78", "0"])
        journal = self.journal()
        self.assertEqual({priority for priority, _ in journal}, {ERROR})
        for word in ("corpora: ", "stream: no such key", "workers: "):
            self.assertTrue(any("skipalignd.yaml:" in message and word in message for _, message in journal), journal)

    def test_a_folder_that_its_user_may_not_enter_is_named(self):
        secret = self.debian.root / "srv/secret"
        secret.mkdir(mode=0o700)
        self.configure(support.config("/srv/secret/a.jsonl", tokenizer=f"/srv/{support.SAMPLE_MODEL.name}"))
        self.start(check=False)
        self.assertIn((ERROR, "corpus 'c0': /srv/secret/a.jsonl: a folder of it cannot be searched: Permission denied"),
                      self.journal())

    def test_without_io_uring_the_same_bytes_come(self):
        self.start()
        want = self.batches(20)
        self.debian("systemctl", "stop", UNIT)
        for text, must in (("SystemCallFilter=~@aio:ENOSYS", "pread"), ("LimitMEMLOCK=64K", None)):
            with self.subTest(drop_in=text):
                self.drop_in(text)
                self.start()
                self.assertEqual(self.batches(20), want)
                io = self.status()["server"]["io"]
                self.assertIn(io, ["uring", "pread"] if must is None else [must])
                told = [(priority, message) for priority, message in self.journal() if message.startswith("io: ")]
                self.assertEqual([priority for priority, _ in told], [WARNING] if io == "pread" else [], told)
                self.debian("systemctl", "stop", UNIT)
