"""Both clients on streams that change while they are read."""

import contextlib
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import support

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "client" / "python"))
import skipalign  # noqa: E402

READER = support.BUILD / "tests" / "reader"
CONFIG = support.config(support.SAMPLE_CORPUS, seq_len=128, global_batch=4, epochs=8)
CHANGES = ("s.seq_len", 256, "s.global_batch", 8)


def feed(feeder, **options):
    return skipalign.Feed(feeder.listen, stream="s", timeout=support.PATIENCE, **options)


def read_c(*endpoints):
    """(step, hash) of each batch, and how it ended."""
    done = subprocess.run([READER, ",".join(endpoints), "s", "0"], capture_output=True, text=True, timeout=support.PATIENCE)
    *batches, end = done.stdout.splitlines()
    return [tuple(map(int, line.split())) for line in batches], end


class Changes(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.feeder = self.stack.enter_context(support.Feeder(CONFIG))

    def change(self):
        """The change, with a trainer in the middle of the stream; the step that it begins at, and that trainer's feed."""
        f = self.stack.enter_context(feed(self.feeder))
        for _ in range(5):
            next(f)
        return self.feeder.ctl("--json", "set", *CHANGES)["streams"][0]["first_step"], f

    def test_info_is_that_of_each_batch(self):
        first, f = self.change()
        seen = set()
        for batch in f:
            self.assertEqual((f.info.generation, f.info.rows, f.info.length), (batch.generation, batch.rows, batch.length))
            seen.add((batch.step >= first, batch.generation, batch.rows, batch.length))
        self.assertEqual(seen, {(False, 1, 4, 128), (True, 2, 8, 256)})

    def test_a_fixed_shape_ends_and_goes_on(self):
        fixed = self.stack.enter_context(feed(self.feeder, fixed_shape=True))
        next(fixed)
        first, f = self.change()
        hashes = {batch.step: batch.hash for batch in f}
        for batch in fixed:
            self.assertEqual(batch.length, 128)
        self.assertEqual((fixed.end.reason, fixed.end.step), ("changed", first))
        again = self.stack.enter_context(feed(self.feeder, fixed_shape=True))
        again.load_state_dict(fixed.state_dict())
        self.assertEqual([(batch.step, batch.hash) for batch in again], [(s, hashes[s]) for s in hashes if s >= first])

    def test_c_and_python_get_the_same(self):
        self.change()
        with feed(self.feeder) as f:
            expected = [(batch.step, batch.hash) for batch in f]
        batches, end = read_c(self.feeder.listen)
        self.assertEqual(batches, expected)
        self.assertEqual(end, f"end {len(expected)} complete")

    def test_another_world_goes_on_over_a_change(self):
        first, _ = self.change()
        with feed(self.feeder) as f:
            whole = {batch.step: batch.input_ids.tolist() for batch in f}
            state = {**f.state_dict(), "step": first - 2}
        parts = [self.stack.enter_context(feed(self.feeder, world=2, rank=rank)) for rank in range(2)]
        for part in parts:
            part.load_state_dict(state)
        for step in range(first - 2, first + 2):
            self.assertEqual([row for part in parts for row in next(part).input_ids.tolist()], whole[step])

    def test_a_feeder_with_a_copy_goes_on(self):
        first, f = self.change()
        expected = [(batch.step, batch.hash) for batch in f]
        copy = support.Feeder(CONFIG)
        shutil.copytree(self.feeder.config["state_dir"], copy.config["state_dir"])
        with copy, skipalign.Feed([self.feeder.listen, copy.listen], "s", timeout=support.PATIENCE) as both:
            got = [(batch.step, batch.hash) for _, batch in zip(range(first - 3), both)]
            self.feeder.kill()
            got += [(batch.step, batch.hash) for batch in both]
            self.assertEqual(got[5:], expected)
        self.feeder.start()  # `with` wants an orderly end

    def test_a_feeder_without_the_history_is_refused(self):
        first, f = self.change()
        with support.Feeder(CONFIG) as other:
            with skipalign.Feed([self.feeder.listen, other.listen], "s", timeout=support.PATIENCE) as both:
                for _ in zip(range(first + 1), both):
                    pass
                self.feeder.kill()
                with self.assertRaisesRegex(skipalign.FeedError, "has only generation 1 of stream 's'"):
                    list(both)
        self.feeder.start()


if __name__ == "__main__":
    unittest.main()
