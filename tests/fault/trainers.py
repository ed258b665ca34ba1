"""Trainers that come, go, and go on at their step, and a book of all that any of them ever got."""

import threading
import zlib

import skipalign
import support
import zmq

GET_READY = ("opened", "changed")


class Book:
    """Every batch that was received: (stream, step, world, rank) -> (generation, hash, checksum of its arrays). The
    same key must never have other bytes, whoever asks and whenever."""

    def __init__(self):
        self.got, self.received, self.lock = {}, 0, threading.Lock()
        self.topics = set()  # that this life of the feeder has seen: who comes later does not begin at their step

    def enter(self, batch):
        """A batch as the map that came, or the Python client's."""
        get = batch.__getitem__ if isinstance(batch, dict) else lambda name: getattr(batch, name)
        key = tuple(get(name) for name in ("stream", "step", "world", "rank"))
        checksum = 0
        for name in support.ARRAYS:
            checksum = zlib.crc32(get(name), checksum)
        value = (get("generation"), get("hash"), checksum)
        with self.lock:
            self.received += 1
            before = self.got.setdefault(key, value)
        assert before == value, (f"(stream, step, world, rank) {key}: (generation, hash, checksum) {value} came, "
                                 f"{before} before")

    def steps(self, stream):
        """One past the furthest step that anyone got."""
        return max((step + 1 for name, step, _, _ in self.got if name == stream), default=0)


class Reader:
    """One rank, from `step` until before `until`, as often as the daemon comes back.

    done: it got them all, or there are no more (ended), or its world no longer fits (worlds: those that do).
    """

    def __init__(self, book, stream, world, rank, step, until, credit, door="listen", fixed_shape=False):
        self.book, self.stream, self.world, self.rank = book, stream, world, rank
        self.step, self.until, self.credit, self.door, self.fixed_shape = step, until, credit, door, fixed_shape
        self.peer, self.shape, self.ended, self.worlds, self.lost = None, None, False, None, None

    @property
    def done(self):
        return self.ended or self.worlds is not None or self.lost is not None or self.step >= self.until

    @property
    def where(self):
        return f"stream {self.stream}, rank {self.rank} of {self.world}, step {self.step}"

    def connect(self, feeder):
        self.disconnect()
        self.shape = None
        topic = f"{self.stream}/{self.world}/{self.rank}/{self.step}/"
        if self.door == "subscribe" and topic not in self.book.topics:
            self.book.topics.add(topic)
            self.peer = support.Peer(zmq.SUB, feeder.subscribe, reconnect_ivl=1)  # the feeder may not be up yet
            self.peer.socket.subscribe(topic)
            return
        self.door = "listen"
        self.peer = support.Dealer(feeder.listen, stream=None, reconnect_ivl=1)
        self.peer.send("open", version=1, stream=self.stream, world=self.world, rank=self.rank, step=self.step,
                       credit=self.credit, job="history", **({"fixed_shape": True} if self.fixed_shape else {}))

    def disconnect(self):
        if self.peer is not None:
            self.peer.close()
            self.peer = None

    def take(self):
        """One message; True for a batch."""
        message = self.peer.receive()
        kind = message["type"]
        if kind == "batch":
            self._take_batch(message)
            return True
        if kind in GET_READY:
            assert message["step"] == self.step, f"{self.where}: `{kind}` is of step {message['step']}"
            assert (kind == "opened") == (self.shape is None), f"{self.where}: `{kind}` came at the wrong time"
            shape = tuple(message[key] for key in ("generation", "rows", "length"))
            if self.shape is not None:
                assert shape[0] > self.shape[0], f"{self.where}: `changed` from {self.shape} to {shape}"
                assert not self.fixed_shape or shape[1:] == self.shape[1:], f"{self.where}: the shape was to be fixed"
            self.shape = shape
        elif kind == "end":
            assert message["step"] == self.step, f"{self.where}: `end` is of step {message['step']}"
            if message["reason"] == "changed":
                assert self.fixed_shape, f"{self.where}: {message}"
                self.worlds = [self.world]  # open again
            else:
                assert message["reason"] == "complete" or self.lost, f"{self.where}: {message}"
                self.ended = True
        elif kind == "error" and message["code"] == "bad-world":
            assert self.world not in message["worlds"], f"{self.where}: {message}"
            self.worlds = message["worlds"]
        elif kind == "error" and message["code"] == "stream-failed":
            self.lost = message["message"]
        else:
            assert kind == "wait", f"{self.where}: {support.describe(message)}"
        return False

    def _take_batch(self, message):
        told = tuple(message[key] for key in ("stream", "world", "rank", "step"))
        if self.door == "subscribe" and told[3] < self.step:
            self.book.enter(message)  # its connection was lost and is there again, and the topic begins again
            return
        assert told == (self.stream, self.world, self.rank, self.step), f"{self.where}: batch {told} came"
        shape = tuple(message[key] for key in ("generation", "rows", "length"))
        if self.door == "listen":
            assert shape == self.shape, f"{self.where}: (generation, rows, length) {shape}, told {self.shape}"
        self.book.enter(message)
        self.step += 1
        if self.door == "listen":
            self.peer.send("credit", credit=1, done=message["step"])


class Job:
    """The ranks of one training run: they read a stretch of steps, and where all of them are through, that is a
    checkpoint, from which it goes on in the same or another world, maybe by the other door."""

    WORLDS = (1, 1, 2, 4)

    def __init__(self, book, rng, stream, step, stretches):
        self.book, self.rng, self.stream, self.step, self.stretches = book, rng, stream, step, stretches
        self.readers = []

    def go_on(self, worlds=None):
        """From the checkpoint; False if this was the last stretch."""
        if self.stretches == 0:
            return False
        self.stretches -= 1
        world = self.rng.choice([w for w in self.WORLDS if worlds is None or w in worlds] or [1])
        until = self.step + self.rng.choice([1, 3, 10, 30])
        door = self.rng.choice(["listen", "listen", "listen", "subscribe"])
        fixed = door == "listen" and self.rng.random() < 0.1
        self.readers = [Reader(self.book, self.stream, world, rank, self.step, until,
                               self.rng.choice([1, 2, 8]), door, fixed) for rank in range(world)]
        return True

    def checkpoint(self):
        """Where the stretch is over: the next one begins, or (False) this was all."""
        worlds = [r.worlds for r in self.readers if r.worlds is not None]
        steps, lost = {r.step for r in self.readers}, any(r.lost for r in self.readers)
        assert worlds or lost or len(steps) == 1, f"stream {self.stream}: the ranks of a world got to steps {steps}"
        self.step = min(steps)
        ended = lost or any(r.ended for r in self.readers)
        for reader in self.readers:
            reader.disconnect()
        self.readers = []
        return not ended and self.go_on(worlds[0] if worlds else None)


class Client(threading.Thread):
    """The Python client on several endpoints: it goes on by itself where a feeder dies. `failure` is what it raised."""

    def __init__(self, book, endpoints, stream, step, until):
        super().__init__(daemon=True)
        self.book, self.until, self.failure = book, until, None
        self.feed = skipalign.Feed(endpoints, stream=stream, step=step, timeout=support.PATIENCE, job="client")

    def run(self):
        try:
            while self.feed.step < self.until and (batch := next(self.feed, None)) is not None:
                self.book.enter(batch)
            self.feed.close()
        except Exception as failure:
            self.failure = failure
