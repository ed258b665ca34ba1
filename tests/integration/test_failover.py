"""Two feeders of the same corpora, a client that reads as fast as it can, and a feeder that is killed, stopped or cut off:
every step comes once, with the bytes that an undisturbed feeder gives. The Python client and the C client."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

import support

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "client" / "python"))
import skipalign  # noqa: E402

READER = support.BUILD / "tests" / "reader"
FOR_EVER = 3600  # seconds: what is noticed all the same is not noticed by waiting
ROUNDS = 4  # feeders lost in one reading


def read_python(endpoints, dead_after):
    with skipalign.Feed(endpoints, stream="s", timeout=support.PATIENCE, dead_after=dead_after) as feed:
        for batch in feed:
            yield batch.step, batch.hash
        yield "end", feed.end.reason


def read_c(endpoints, dead_after):
    command = [READER, ",".join(endpoints), "s", str(int(dead_after * 1000))]
    # Little fits into the pipe: the reader is never far ahead of the test.
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, pipesize=4096) as process:
        try:
            for line in process.stdout:
                words = line.split()
                yield ("end", words[2].decode()) if words[0] == b"end" else (int(words[0]), int(words[1]))
        finally:
            process.kill()


CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def own_network(test, *addresses):
    """A network of this thread's own, and of what it starts, with these addresses."""
    if shutil.which("ip") is None:
        test.skipTest("`ip` (iproute2) is not installed")
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET) != 0:
            test.skipTest(f"no network of its own to be had here: {os.strerror(ctypes.get_errno())}")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            for address in addresses:
                has_address(address, True)
            yield
        finally:
            assert libc.setns(before, 0) == 0
    finally:
        os.close(before)


def has_address(address, yes):
    """Without it nothing comes through, and nobody is told: what a cable that is pulled looks like."""
    subprocess.run(["ip", "address", "add" if yes else "del", f"{address}/32", "dev", "lo"], check=True)


READERS = {"python": read_python, "c": read_c}


class Failover(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.config = support.config(support.SAMPLE_CORPUS, seq_len=128, global_batch=2, packing=False, epochs=60)
        with support.Feeder(cls.config) as feeder:
            cls.expected = list(read_python([feeder.listen], FOR_EVER))

    def two_feeders(self, stack, endpoints=None):
        feeders = []
        for i in range(2):
            config = {**self.config, "feed": {"listen": endpoints[i] if endpoints else support.free_endpoint()}}
            feeders.append(stack.enter_context(support.Feeder(config)))
        return feeders

    def check(self, read, feeders, dead_after, lose):
        """lose(feeder, other) after every so many steps, with the feeder whose turn it is to serve."""
        every = len(self.expected) // (ROUNDS + 1)
        got, turn, longest, before = [], 0, 0.0, time.monotonic()
        for item in read([feeder.listen for feeder in feeders], dead_after):
            longest = max(longest, time.monotonic() - before)
            got.append(item)
            if len(got) % every == 0 and turn < ROUNDS:
                lose(feeders[turn % 2], feeders[1 - turn % 2])
                turn += 1
            before = time.monotonic()
        self.assertEqual(got, self.expected)
        self.assertEqual(turn, ROUNDS)
        print(f"{self.id()}: {len(got) - 1} steps, {turn} feeders lost, longest gap {longest:.3f} s", flush=True)

    def test_kill_is_noticed_at_once(self):
        def kill(feeder, other):
            if other.process.poll() is not None:
                other.start()
            feeder.kill()

        for name, read in READERS.items():
            with self.subTest(client=name), contextlib.ExitStack() as stack:
                feeders = self.two_feeders(stack)
                self.check(read, feeders, FOR_EVER, kill)
                for feeder in feeders:
                    if feeder.process.poll() is not None:
                        feeder.start()  # `with` wants an orderly end

    def test_a_stopped_feeder_is_left(self):
        def stop(feeder, other):
            other.process.send_signal(signal.SIGCONT)
            feeder.process.send_signal(signal.SIGSTOP)

        for name, read in READERS.items():
            with self.subTest(client=name), contextlib.ExitStack() as stack:
                feeders = self.two_feeders(stack)
                try:
                    self.check(read, feeders, 0.5, stop)
                finally:
                    for feeder in feeders:
                        feeder.process.send_signal(signal.SIGCONT)

    def test_a_feeder_that_is_cut_off_is_left(self):
        addresses = ("10.9.0.1", "10.9.0.2")
        cut_off = []

        def cut(feeder, other):
            if cut_off:
                has_address(cut_off.pop(), True)
            cut_off.append(next(address for address in addresses if address in feeder.listen))
            has_address(cut_off[0], False)

        for name, read in READERS.items():
            cut_off.clear()
            with self.subTest(client=name), own_network(self, *addresses), contextlib.ExitStack() as stack:
                feeders = self.two_feeders(stack, [f"tcp://{address}:5757" for address in addresses])
                self.check(read, feeders, 0.5, cut)


if __name__ == "__main__":
    unittest.main()
