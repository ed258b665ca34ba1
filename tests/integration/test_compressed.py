"""Corpora in gzip and zstd files, on a real daemon: the same batches as from the files they were made of; copies are made
once, whatever happens meanwhile, and go when nothing needs them."""

import gzip
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import support

sys.path.insert(0, str(support.TOP / "tests" / "fault"))
from faults import Faults, small_disk  # noqa: E402

ZEROS = 1 << 28  # bytes of a gzip member; nobody waits until many of them are written


def read(feeder, n=None, step=0):
    """[(step, hash), ...] of n batches, or of all."""
    with support.Dealer(feeder.listen, step=step) as trainer:
        return [(batch["step"], batch["hash"]) for batch in trainer.batches(n)]


class Compressed(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skipalign-compressed-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.plain = support.SAMPLE_CORPUS.read_bytes()
        self.packed = self.write("a.jsonl.gz", self.plain)

    def write(self, name, content):
        """As one member, in place."""
        path = self.folder / name
        path.write_bytes(gzip.compress(content))
        return path

    def feeder(self, *corpora, **options):
        feeder = support.Feeder(support.config(*corpora, **options))
        self.addCleanup(feeder.__exit__, None)
        return feeder

    def copies(self, feeder):
        return sorted(feeder.folder.glob("state/corpora/*.spool/*"))

    def bomb(self):
        path, member = self.folder / "bomb.jsonl.gz", gzip.compress(bytes(ZEROS))
        path.write_bytes(member * 200)
        return path

    def test_same_batches_as_of_plain_files(self):
        lines = self.plain.splitlines(keepends=True)
        parts = [b"".join(lines[i::3]) for i in range(3)]
        paths = []
        for i, part in enumerate(parts):
            path = self.folder / f"part{i}.jsonl"
            path.write_bytes(part)
            paths.append(path)
        wanted = read(self.feeder(paths).start())
        middle = len(parts[1]) // 2
        packed = [self.write("part0.jsonl.gz", parts[0]), self.folder / "part1.bgz", self.folder / "part2.jsonl.zst"]
        packed[1].write_bytes(b"".join(gzip.compress(x) for x in (parts[1][:middle], parts[1][middle:], b"")))
        if shutil.which("zstd") is None:
            packed[2] = self.write("part2.jsonl.gz", parts[2])
        else:
            subprocess.run(["zstd", "-q", paths[2], "-o", packed[2]], check=True)
        feeder = self.feeder(packed).start()
        self.assertEqual(read(feeder), wanted)
        status = feeder.ctl("--json", "status")["corpora"][0]
        self.assertEqual((status["bytes"], status["copied"]), (len(self.plain), len(self.plain)))
        self.assertIsNone(status["news"])

    def test_copies_are_made_once(self):
        feeder = self.feeder(self.packed, epochs=0).start()
        before, made = read(feeder, 8), [path.stat() for path in self.copies(feeder)]
        self.assertEqual(len(made), 1)
        feeder.kill()
        feeder.start()
        self.assertEqual(read(feeder, 8), before)
        self.assertEqual([path.stat().st_ino for path in self.copies(feeder)], [made[0].st_ino])
        # Not even the file is needed, as long as the copy is there; both gone is an error.
        self.packed.unlink()
        feeder.kill()
        feeder.start()
        self.assertEqual(read(feeder, 8), before)
        self.assertIn("gone: ", feeder.ctl("--json", "status")["corpora"][0]["news"])
        self.copies(feeder)[0].unlink()
        feeder.kill()
        feeder.launch()
        self.assertNotEqual(feeder.wait(), 0)
        self.assertIn("a.jsonl.gz", feeder.log().splitlines()[-1])
        self.write("a.jsonl.gz", self.plain)
        feeder.start()
        self.assertEqual(read(feeder, 8), before)

    def test_a_file_that_changes_is_a_new_version(self):
        feeder = self.feeder(self.packed, epochs=0).start()
        before = read(feeder, 8)
        self.write("a.jsonl.gz", self.plain + self.plain[: self.plain.index(b"\n") + 1])
        self.assertIn("edited: ", feeder.ctl("--json", "status")["corpora"][0]["news"])
        self.assertEqual(read(feeder, 8), before)
        feeder.ctl("reload")
        self.assertIsNone(feeder.ctl("--json", "status")["corpora"][0]["news"])
        after = read(feeder, 40)
        self.assertEqual(after[:8], before)
        feeder.kill()
        feeder.start()
        self.assertEqual(read(feeder, 40), after)  # both generations, each by its own copy
        self.assertEqual(len(self.copies(feeder)), 2)
        old = min(self.copies(feeder), key=lambda path: path.stat().st_size)
        old.unlink()
        feeder.kill()
        feeder.start()
        first = feeder.ctl("--json", "history", "s")["generations"][1]["first_step"]
        self.assertEqual(read(feeder, 40 - first, step=first), after[first:])
        self.assertIn("a.jsonl.gz: the copy of what was in it is not in", feeder.log())

    def test_what_nothing_needs_goes(self):
        other = self.write("b.jsonl.gz", self.plain)
        feeder = self.feeder(self.packed, other, epochs=0).start()
        self.assertEqual(len(self.copies(feeder)), 2)
        read(feeder, 2)
        feeder.stop()
        feeder.config["corpora"].pop()
        feeder.config["streams"][0]["corpora"].pop()
        half_made = feeder.folder / "state/corpora/c0.spool/0123456789abcdef.new"
        half_made.write_text("half")
        feeder.arguments = ["--reload"]
        feeder.start()  # the first generation needs the other corpus, configured or not
        self.assertEqual([path.parent.name for path in self.copies(feeder)], ["c0.spool", "c1.spool"])
        feeder.kill()
        feeder.arguments = ["--forget", "s"]
        feeder.start()
        self.assertEqual([path.parent.name for path in self.copies(feeder)], ["c0.spool"])

    def test_a_change_that_is_cancelled(self):
        feeder = self.feeder(self.packed, epochs=0).start()
        bomb, before = self.bomb(), read(feeder, 8)
        command = [support.SKIPALIGNCTL, "-e", feeder.control, "add", "corpus", "bomb", "paths", f'["{bomb}"]']
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            while not list(feeder.folder.glob("state/corpora/bomb.spool/*.new")):
                self.assertIsNone(process.poll())
            feeder.ctl("cancel")
            self.assertIn(b"cancelled", process.communicate(timeout=support.PATIENCE)[0])
        self.assertEqual(list(feeder.folder.glob("state/corpora/bomb.spool/*")), [])
        self.assertEqual(read(feeder, 8), before)

    def test_the_bound(self):
        feeder = self.feeder(self.packed, epochs=0, top={"spool": "100MiB"}).start()
        refused = feeder.ctl("add", "corpus", "bomb", "paths", f'["{self.bomb()}"]', check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("bomb.jsonl.gz: its decompressed copy does not fit: copies may take 0.0977 GiB (spool)", refused.stderr)
        self.assertIn("this corpus needs about 50", refused.stderr)
        self.assertEqual(list(feeder.folder.glob("state/corpora/bomb.spool/*")), [])
        self.assertEqual(len(read(feeder, 8)), 8)

    def test_a_start_that_is_stopped(self):
        feeder = self.feeder(self.bomb())
        feeder.launch()
        feeder.hear("decompressing corpus 'c0': ")
        self.assertEqual(feeder.stop(), 0)
        self.assertEqual(self.copies(feeder), [])

    def test_a_disk_that_is_full(self):
        with small_disk(self.folder, 8) as disk:
            if disk is None:
                self.skipTest("this may not mount a tmpfs")
            feeder = self.feeder(self.bomb(), top={"state_dir": str(disk / "state")})
            feeder.launch()
            self.assertNotEqual(feeder.wait(), 0)
            self.assertIn("bomb.jsonl.gz: no room for its decompressed copy", feeder.log())
            self.assertEqual(list(disk.glob("state/corpora/c0.spool/*")), [])

    def test_killed_at_any_moment(self):
        """Die at each change of a file on the way to the first start; the next start makes what is missing."""
        feeder = self.feeder(self.packed, epochs=0).start()
        wanted = read(feeder, 4)
        feeder.stop()
        state = feeder.folder / "state"
        faults = Faults(self.folder / "faults", state / "corpora")
        self.addCleanup(faults.close)
        died = at = 0
        while died == at:
            at += 1
            shutil.rmtree(state)
            faults.arm((faults.DIE_AFTER, faults.DIE_HALFWAY)[at % 2], at)
            feeder.environment = faults.environment
            feeder.launch()
            try:
                feeder.hear("READY=1")
            except AssertionError:
                died += 1
            feeder.kill()
            faults.clear()
            feeder.environment = {}
            feeder.start()
            self.assertEqual(read(feeder, 4), wanted, f"died at change {at}")
            self.assertEqual([path.suffix == ".new" for path in self.copies(feeder)], [False])
            feeder.kill()
            if at > 60:
                self.fail("it never gets through")
        self.assertGreater(died, 5)


if __name__ == "__main__":
    unittest.main()
