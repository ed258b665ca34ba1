"""Peers that are broken, greedy, gone or mean, at every door of one daemon: after each of them it serves the same bytes
to a good trainer, holds no more memory than before, and rests."""

import collections
import itertools
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import msgpack
import support
import zmq
from support import Dealer, Feeder, Peer, Subscriber, config, dialogue, write_jsonl

# Bytes over what the daemon took for one whole stream; sanitizers take their share.
RSS_ROOM = (200 if support.BUILD.name == "build" else 800) << 20
IDLE_SECONDS = 1
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


def write_corpus(folder):
    rng = random.Random(3)
    say = lambda: " ".join(f"{rng.randrange(1000)}" for _ in range(rng.randint(1, 40)))
    return write_jsonl(folder / "c.jsonl", [dialogue(say(), say(), say(), say()) for _ in range(1200)])


class Raw:
    """A peer that speaks ZMTP by hand, as far as it likes."""

    def __init__(self, endpoint, kind=None):
        self.socket = socket.create_connection(endpoint.removeprefix("tcp://").split(":"), support.PATIENCE)
        if kind is not None:
            self.socket.sendall(GREETING)
            self.receive(64)
            ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
            self.socket.sendall(b"\x04" + bytes([len(ready)]) + ready)
            self.receive(2)

    def receive(self, n):
        data = b""
        while len(data) < n and (more := self.socket.recv(n - len(data))):
            data += more
        return data

    def send(self, **message):
        body = msgpack.packb(message)
        self.socket.sendall(b"\x00" + bytes([len(body)]) + body)

    def open(self, credit):
        self.send(type="open", version=1, stream="s", world=1, rank=0, step=0, credit=credit)

    def hung_up(self):
        """Waits until the other side closes; False if it does not."""
        try:
            while self.socket.recv(65536):
                pass
            return True
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="skipalign-hostile-")
        cls.addClassCleanup(folder.cleanup)
        feed = {"listen": support.free_endpoint(), "subscribe": support.free_endpoint()}
        # 70 MB of batches: more than sockets take for a peer that does not read, and than the daemon may hold.
        stream = {"packing": False, "global_batch": 32, "seq_len": 512, "epochs": 10}
        setup = config(write_corpus(Path(folder.name)), **stream, top={"feed": feed, "memory": "64MiB"})
        # What address sanitizer keeps back of freed memory would hide what the daemon itself takes.
        options = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=8"
        cls.feeder = cls.enterClassContext(Feeder(setup, environment={"ASAN_OPTIONS": options}))
        cls.reference = cls.whole_stream()
        assert len(cls.reference) > 100
        cls.rss = cls.resident()

    @classmethod
    def whole_stream(cls):
        with Dealer(cls.feeder.listen) as trainer:
            return [batch["hash"] for batch in trainer.batches()]

    @classmethod
    def resident(cls):
        status = Path(f"/proc/{cls.feeder.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) << 10

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.feeder.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def setUp(self):
        self.rng = random.Random(self.id())

    def tearDown(self):
        """Nobody was hurt."""
        self.assertEqual(self.whole_stream(), self.reference)
        self.assertTrue(self.feeder.ctl("--json", "status"))
        self.assertLess(self.resident(), self.rss + RSS_ROOM)
        before = self.cpu_seconds()
        pidfd = os.pidfd_open(self.feeder.process.pid)
        ended = select.select([pidfd], [], [], IDLE_SECONDS)[0]
        os.close(pidfd)
        self.assertFalse(ended, "the daemon has ended")
        self.assertLess(self.cpu_seconds() - before, IDLE_SECONDS / 2, "busy with nothing to do")

    def raw(self, *arguments):
        peer = Raw(*arguments)
        self.addCleanup(peer.socket.close)
        return peer

    def trainer(self, *arguments, **options):
        trainer = Dealer(self.feeder.listen, *arguments, **options)
        self.addCleanup(trainer.close)
        return trainer

    def damaged(self, message):
        """A message with some bytes changed, cut out or put in."""
        data = bytearray(message)
        for _ in range(self.rng.randint(1, 6)):
            at = self.rng.randrange(len(data) + 1)
            data[at : at + self.rng.randint(0, 3)] = self.rng.randbytes(self.rng.randint(0, 3))
        return bytes(data)

    # ---- what they say ----

    def test_random_bytes_on_every_door(self):
        opening = {"type": "open", "version": 1, "stream": "s", "world": 1, "rank": 0, "step": 0, "credit": 1}
        asking = {"version": 1, "command": "preview", "arguments": {"stream": "s", "step": 1}}
        for kind, endpoint, good in [
            (zmq.DEALER, self.feeder.listen, msgpack.packb(opening)),
            (zmq.XSUB, self.feeder.subscribe, b"\x01s/1/0/0/"),
            (zmq.DEALER, self.feeder.control, msgpack.packb(asking)),
        ]:
            with self.subTest(endpoint), Peer(kind, endpoint) as peer:
                for _ in range(3000):
                    frames = [self.rng.randbytes(self.rng.randint(0, 300))] * self.rng.randint(1, 4)
                    if self.rng.random() < 0.5:
                        frames = [self.damaged(good)]
                    peer.socket.send_multipart(frames)
                    while peer.socket.poll(0):
                        peer.socket.recv_multipart()

    def test_opens_that_cannot_be_are_each_refused(self):
        good = {"type": "open", "version": 1, "stream": "s", "world": 2, "rank": 0, "step": 0, "credit": 1}
        huge = 2**64 - 1
        for change, code in [
            ({"version": 2}, "bad-version"),
            ({"stream": "t"}, "unknown-stream"),
            ({"world": 0}, "bad-world"),
            ({"world": 3}, "bad-world"),
            ({"world": 2**32 - 1}, "bad-world"),
            ({"rank": 2}, "bad-rank"),
            ({"rank": 2**32 - 1}, "bad-rank"),
            ({"step": 2**63}, "step-past-end"),
            ({"step": huge}, "step-past-end"),
            ({"world": 2**32}, "bad-message"),
            ({"world": -1}, "bad-message"),
            ({"step": -1}, "bad-message"),
            ({"step": 1.0}, "bad-message"),
            ({"step": None}, "bad-message"),
            ({"credit": "many"}, "bad-message"),
            ({"stream": ["s"]}, "bad-message"),
            ({"stream": "s" * 65}, "bad-message"),
            ({"stream": b"s"}, "bad-message"),
            ({"type": "opened"}, "bad-message"),
            ({"type": ""}, "bad-message"),
        ]:
            with self.subTest(change):
                trainer = self.trainer(None)
                for _ in range(3):
                    trainer.send(**{"kind": "open", **good, **change})
                    error = trainer.expect("error")
                    self.assertEqual((error["code"], bool(error["message"])), (code, True))
        # The same, many times, by one who does not read what is answered.
        deaf = self.trainer(None, rcvhwm=1)
        changes = itertools.cycle([{"world": 3}, {"rank": 9}, {"step": huge}, {"stream": "x"}])
        for change in itertools.islice(changes, 20000):
            deaf.send(**{"kind": "open", **good, **change})

    def test_names_with_control_characters(self):
        for name in ("\x1b[2J", "a\0b", "a\nb", "\x7f", "\x9b31m"):
            with self.subTest(repr(name)):
                trainer = self.trainer(None)
                for key in ("job", "stream"):
                    good = {"version": 1, "stream": "s", "world": 1, "rank": 0, "step": 0, "credit": 0}
                    trainer.send("open", **{**good, key: name})
                    error = trainer.expect("error")
                    self.assertEqual(error["code"], "bad-message")
                    self.assertNotIn(name, error["message"])
        named = self.trainer(job="обучение \N{SLIGHTLY SMILING FACE} 訓練", credit=0)
        jobs = [consumer["job"] for consumer in self.feeder.ctl("--json", "status")["consumers"]]
        self.assertIn("обучение \N{SLIGHTLY SMILING FACE} 訓練", jobs)
        named.send("close")
        self.assertFalse(any(c < " " and c != "\n" for c in self.feeder.log()), "control characters in the log")

    def test_a_storm_of_subscriptions(self):
        with Subscriber(self.feeder.subscribe, rcvhwm=1) as storm:
            for i in range(6000):  # more than there is room for
                storm.socket.subscribe(f"s/{1 + i % 4}/{i % 3}/{i}/")
                storm.socket.subscribe(self.rng.randbytes(self.rng.randint(0, 100)))
            with Subscriber(self.feeder.subscribe, topic="s/2/0/0/") as other:
                self.assertIsNotNone(other.receive())
        with Subscriber(self.feeder.subscribe, topic="s/4/3/0/") as good:
            self.assertEqual(sum(1 for _ in good.batches()), len(self.reference))

    # ---- how they connect ----

    def test_handshakes_that_never_end(self):
        peers = [self.raw(endpoint) for endpoint in (self.feeder.listen, self.feeder.subscribe) for _ in range(40)]
        for i, peer in enumerate(peers):
            peer.socket.sendall([b"", GREETING[:5], GREETING[:40], GREETING, b"GET / HTTP/1.1\r\n\r\n",
                                 self.rng.randbytes(500), GREETING + b"\x04\xff"][i % 7])
        self.assertEqual(self.whole_stream(), self.reference)  # while they hang there

    def test_frames_of_any_size(self):
        for endpoint, kind in ((self.feeder.listen, b"DEALER"), (self.feeder.subscribe, b"SUB")):
            for size in (65537, 2**31, 2**40, 2**63 - 1, 2**63, 2**64 - 1):
                for flags in (b"\x02", b"\x03", b"\x06"):  # long; long with more to come; a long command
                    with self.subTest(kind=kind, size=size, flags=flags):
                        peer = self.raw(endpoint, kind)
                        peer.socket.sendall(flags + struct.pack(">Q", size) + bytes(1000))
                        self.assertTrue(peer.hung_up())
                        peer.socket.close()

    def test_500_connections_opened_and_dropped(self):
        for i in range(500):
            peer = Raw(self.feeder.listen, b"DEALER" if i % 4 else None)
            if i % 4 > 1:
                peer.open(credit=8)
            if i % 4 > 2:
                peer.receive(100)
            peer.reset()

    def test_the_same_identity_twice(self):
        first = self.trainer(routing_id=b"the same")
        got = [batch["hash"] for batch in first.batches(3)]
        second = self.trainer(None, routing_id=b"the same")  # it takes the name over
        second.send("open", version=1, stream="s", world=1, rank=0, step=0, credit=4)
        while (message := second.receive())["type"] == "batch":  # ZeroMQ tells the feeder nothing of the take-over
            self.assertEqual(message["hash"], self.reference[message["step"]])
        self.assertEqual(message["type"], "opened")
        self.assertEqual([batch["hash"] for batch in second.batches()], self.reference)
        self.assertEqual(got, self.reference[:3])

    # ---- how they read ----

    def test_a_million_credits_and_nobody_reads(self):
        for world, rank in ((1, 0), (2, 1), (4, 3)):
            self.trainer(world=world, rank=rank, credit=10**6, rcvhwm=1)
        for _ in range(5):
            self.raw(self.feeder.listen, b"DEALER").open(credit=2**64 - 1)
        flood = self.raw(self.feeder.listen, b"DEALER")
        flood.open(credit=10**6)
        for _ in range(2000):
            flood.send(type="credit", credit=2**64 - 1, done=2**64 - 1)
        with Subscriber(self.feeder.subscribe, rcvhwm=1) as lazy:
            self.assertIsNotNone(lazy.receive())
            self.assertEqual(self.whole_stream(), self.reference)  # while they sit there

    def consumer(self):
        """A trainer in a process of its own, a hash a line; it has written its third when this returns."""
        code = ("import sys, support\n"
                "with support.Dealer(sys.argv[1], credit=8) as trainer:\n"
                "    for batch in trainer.batches():\n"
                "        print(batch['hash'], flush=True)\n")
        child = subprocess.Popen([sys.executable, "-c", code, self.feeder.listen], cwd=Path(support.__file__).parent,
                                 stdout=subprocess.PIPE, text=True)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child, [int(child.stdout.readline()) for _ in range(3)]

    def test_consumers_killed_in_mid_batch(self):
        for _ in range(6):
            child, got = self.consumer()
            child.kill()
            self.assertEqual(got, self.reference[:3])
        for n in (1, 100, 1000, 5000, 20000):
            peer = self.raw(self.feeder.listen, b"DEALER")
            peer.open(credit=100)
            self.assertEqual(len(peer.receive(n)), n)
            peer.reset()

    def test_a_consumer_that_is_stopped_for_a_while(self):
        child, got = self.consumer()
        child.send_signal(signal.SIGSTOP)
        self.assertEqual(self.whole_stream(), self.reference)
        child.send_signal(signal.SIGCONT)
        self.assertEqual(got + [int(line) for line in child.stdout], self.reference)

    def test_many_at_once(self):
        trainers = [self.trainer(world=w, rank=r, credit=c) for w in (1, 2, 4) for r in range(w) for c in (1, 64)]
        sums = collections.Counter()
        for trainer in trainers:
            sums[trainer.opened["rows"]] += sum(1 for _ in trainer.batches())
        self.assertEqual(sums, {32: 2 * len(self.reference), 16: 4 * len(self.reference), 8: 8 * len(self.reference)})


if __name__ == "__main__":
    unittest.main()
