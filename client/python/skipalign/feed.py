"""A stream of batches, from whichever feeder answers."""

from __future__ import annotations

import math
import os
import re
import socket
import time
from typing import Any, Iterator, Sequence

import numpy
import zmq

from . import messages
from .batch import Batch, Decoder
from .errors import FeedError, FeedTimeout
from .messages import End, Info, Wait

HEARTBEAT_MAX = 3.0  # seconds between two
HEARTBEAT_TTL = 15.0  # seconds of our silence after which a feeder forgets us
LINGER_MS = 500  # for `close` to go out
PING = 1.0  # seconds of silence; a feeder that was restarted says so only when it hears of us
RETRY = 0.05  # seconds before the next round, when no endpoint was any good
AFTER_MIN, AFTER_MAX = 0.01, 86400.0
GLANCE = 0.05  # seconds between looks whether the feeder is gone
# libzmq takes memory for each batch and gives it back, and glibc would give it back to the system and ask for it again: a
# page fault for every 4 KiB. Freeing one large block raises its thresholds for that (mallopt(3), M_MMAP_THRESHOLD).
LARGE_BLOCK = 31 << 20
ANSWER_MAX = 1 << 20  # bytes of a message before the stream is open
BATCH_HEAD = b"\xde\x00\x15\xa4type\xa5batch"  # as skipalignd starts one
ENDPOINT = re.compile(r"tcp://.+:[0-9]{1,5}|ipc://.+")
GONE = zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED


def milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


class Feed(Iterator[Batch]):
    """Batches of one rank, steps in order, none lost and none twice, whatever happens to the feeder.

    endpoints:  ZeroMQ endpoints of feed.listen, tcp://HOST:PORT or ipc://PATH: a sequence, or a string with one or
                several, parted by commas or spaces. Several must serve the same corpora and history.
    stream:     as in the feeder's configuration.
    world, rank: ranks that share each step's rows, and which of them this is.
    step:       the first one wanted.
    job:        shown in the feeder's status; by default the host's name and the process id.
    credit:     batches on the way at most.
    timeout:    seconds to wait for a batch before FeedTimeout, whatever the feeders do; None waits for ever.
    fixed_shape: rows and length must stay what they are: the stream ends (`changed`) before a step of another shape.
    dead_after, silent_after: seconds, see below. A batch must get through in less than dead_after.

    When a feeder is lost the next endpoint goes on at the same step, and after the last one the first again. Lost is

        one that ended (kill -9, too), shuts down, or is not there: at once
        one that is stopped (SIGSTOP), cut off, without power, or does not answer when it is opened: after dead_after
        where there is another, one that lives but sends neither a batch nor a word: after silent_after

    Where all are lost, each is tried again, five rounds a second at most. A feeder that works its way to a step far
    ahead says so (`wait`), and is not silent.

    Nothing is connected before the first batch (or open()), so a feed may be made before a fork or pickled to another
    process. It belongs to one thread at a time, and to the process that opened it: used in a fork of that it raises
    FeedError `forked`.

    Attributes: info (Info, once open; another one as soon as the stream changes, before the first batch of the new
    generation is returned), wait (Wait while the feeder works its way to the next step, else None), end (End, after
    the last batch), step (the next one).
    """

    def __init__(
        self,
        endpoints: str | Sequence[str],
        stream: str,
        world: int = 1,
        rank: int = 0,
        step: int = 0,
        job: str | None = None,
        credit: int = 8,
        timeout: float | None = 60.0,
        fixed_shape: bool = False,
        dead_after: float = 5.0,
        silent_after: float = 30.0,
    ) -> None:
        parts = endpoints.replace(",", " ").split() if isinstance(endpoints, str) else endpoints
        self.endpoints = tuple(parts)
        self.stream, self.world, self.rank, self.step = stream, int(world), int(rank), int(step)
        self.job, self.credit, self.timeout = job, int(credit), timeout
        self.fixed_shape, self.dead_after, self.silent_after = bool(fixed_shape), float(dead_after), float(silent_after)
        if not self.endpoints:
            raise ValueError("endpoints: at least one is needed, like tcp://127.0.0.1:5757")
        for endpoint in self.endpoints:  # a wrong one must not wait for the day on which its turn comes
            if not ENDPOINT.fullmatch(endpoint):
                raise ValueError(f"endpoint {endpoint!r}: a feeder's is like tcp://127.0.0.1:5757")
        if not 0 < len(stream.encode()) <= 64:
            raise ValueError(f"stream: must be a name of 1 to 64 bytes, not {stream!r}")
        if job is not None and len(job.encode()) > 64:
            raise ValueError(f"job: must be a name of at most 64 bytes, not {job!r}")
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} must be below world, which is {world}")
        if step < 0 or credit < 1:
            raise ValueError(f"step {step} must not be negative, credit {credit} must be positive")
        if not (AFTER_MIN <= dead_after <= AFTER_MAX and AFTER_MIN <= silent_after <= AFTER_MAX):
            raise ValueError(f"dead_after and silent_after must be {AFTER_MIN} to {AFTER_MAX} seconds")
        self.info: Info | None = None
        self.wait: Wait | None = None
        self.end: End | None = None
        self._decoder = Decoder()
        self._over: FeedError | None = None
        self._at = 0  # in endpoints
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._pid = 0
        self._ping_at = self._leave_at = 0.0
        self._looked_at = 0.0  # when nothing was there, last
        self._slice = GLANCE  # seconds of one wait in libzmq
        self._n_left = 0  # endpoints left since the last batch
        self._forget()

    def _forget(self) -> None:
        """What belongs to one connection."""
        self._is_open = False
        self._pinged = False
        self._heard = False  # since the last look at the time
        self._owed = 0  # credits to give back
        self._done: int | None = None
        self._gone = False  # the feeder is lost
        self.wait = None

    # ---- for the caller ----

    def open(self) -> Info:
        """Connect, and wait for the feeder's answer; the first batch does it, too."""
        self._check_usable()
        if not self._is_open:
            self._wait(until_open=True)
        assert self.info is not None
        return self.info

    def __iter__(self) -> Feed:
        return self

    def __next__(self) -> Batch:
        """The next step. FeedTimeout may be tried again; every other FeedError stays."""
        if self.end is not None:
            raise StopIteration
        self._check_usable()
        batch = self._wait()
        if batch is None:
            raise StopIteration
        self.step += 1
        self._owed += 1  # told at the next call, when the caller is through with it
        return batch

    def done(self, step: int) -> None:
        """Tell the feeder that the trainer has finished with a step: shown in its status, nothing more."""
        self._done = step
        if self._is_open and self._pid == os.getpid():
            self._send_credit()

    def state_dict(self) -> dict[str, Any]:
        """Where to go on: `step` is the first one that was not returned. For checkpoints."""
        return {"stream": self.stream, "world": self.world, "rank": self.rank, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at a state's step. Its world and rank may be others: a step has the same rows in any world."""
        if state["stream"] != self.stream:
            raise ValueError(f"the state is of stream {state['stream']!r}, this feed reads {self.stream!r}")
        self.close()
        self.step = int(state["step"])
        self.info = self.end = self._over = None
        self._n_left = 0

    def close(self) -> None:
        """Tell the feeder, and disconnect. Going on afterwards opens again, at the next step."""
        if self._context is not None and self._pid == os.getpid():
            reading = self._is_open and self.end is None and self._over is None
            if reading:
                self._send(messages.pack_close())
            self._disconnect(LINGER_MS if reading else 0)
            self._context.term()
        self._socket = self._monitor = self._context = None
        self._forget()

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        keys = (
            "endpoints", "stream", "world", "rank", "step", "job", "credit", "timeout", "fixed_shape", "dead_after",
            "silent_after",
        )  # fmt: skip
        return {key: getattr(self, key) for key in keys}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __repr__(self) -> str:
        where = f"stream={self.stream!r}, step={self.step}, rank={self.rank} of {self.world}"
        return f"Feed({self.endpoints[self._at]!r}, {where})"

    # ---- connections ----

    def _check_usable(self) -> None:
        if self._over is not None:
            raise self._over
        if self._socket is not None and self._pid != os.getpid():
            raise FeedError(
                "forked",
                f"this feed was opened in process {self._pid}: make one in each, or fork before the first batch",
            )

    def _disconnect(self, linger: int = 0) -> None:
        if self._socket is not None:
            if self._monitor is not None:
                self._socket.disable_monitor()
                self._monitor.close(linger=0)
            self._socket.close(linger=linger)
        self._socket = self._monitor = None

    def _connect(self) -> None:
        """A connection of its own for each `open`: what is still on its way to an earlier one cannot come here."""
        endpoint = self.endpoints[self._at]
        self._disconnect()
        if self._context is None:
            numpy.empty(LARGE_BLOCK, numpy.uint8)  # made and freed
            self._context = zmq.Context()
            self._pid = os.getpid()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IPV6, "[" in endpoint)
        self._socket.setsockopt(zmq.RCVHWM, max(1000, self.credit))
        heartbeat = min(self.dead_after / 5, HEARTBEAT_MAX)  # asked at latest then, it has the rest of the time to answer
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, milliseconds(heartbeat))
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, milliseconds(self.dead_after - heartbeat))
        self._socket.setsockopt(zmq.HEARTBEAT_TTL, milliseconds(HEARTBEAT_TTL))
        self._slice = GLANCE if self.timeout is None else min(GLANCE, self.timeout)
        self._socket.setsockopt(zmq.RCVTIMEO, milliseconds(self._slice))
        self._monitor = self._socket.get_monitor_socket(GONE)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as e:
            self.close()
            raise ValueError(f"endpoint {endpoint!r}: {e}; a feeder's is like tcp://127.0.0.1:5757") from None
        self._forget()
        job = self.job if self.job is not None else f"{socket.gethostname()[:52]}/{os.getpid()}"
        self._send(
            messages.pack_open(self.stream, self.world, self.rank, self.step, self.credit, job, self.fixed_shape)
        )
        self._looked_at = time.monotonic()
        self._ping_at = self._looked_at + PING
        self._leave_at = self._looked_at + self.dead_after

    def _send(self, data: bytes) -> None:
        assert self._socket is not None
        try:
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:  # a peer that takes nothing will have to be opened again, which makes up for this
            pass

    def _send_credit(self) -> None:
        self._send(messages.pack_credit(self._owed, self._done))
        self._owed, self._done = 0, None

    # ---- waiting ----

    def _wait(self, until_open: bool = False) -> Batch | None:
        """The next batch; None at the end, or as soon as the stream is open."""
        now = time.monotonic()
        ends = math.inf if self.timeout is None else now + self.timeout
        if self._socket is None:
            self._connect()
        elif now - self._looked_at > PING:  # what time the caller spent elsewhere is not the feeder's silence
            self._leave_at += now - self._looked_at
            self._looked_at = now
        while True:
            if self._is_open and self._owed * 2 >= self.credit:  # the other half is still out: no gap
                self._send_credit()
            data = self._receive(ends)
            if data is not None:
                batch = self._take(data)
                if batch is not None or self.end is not None or (until_open and self._is_open):
                    return batch
            elif time.monotonic() >= ends:
                raise FeedTimeout("timeout", self._silence())
            else:
                self._move_on()

    def _move_on(self) -> None:
        """To the next endpoint; with none of them any good, one after another again, but not in a frenzy."""
        self._at = (self._at + 1) % len(self.endpoints)
        self._n_left += 1
        if self._n_left % len(self.endpoints) == 0:
            time.sleep(RETRY)
        self._connect()

    def _silence(self) -> str:
        if not self._is_open:
            where = ", ".join(self.endpoints)
            return f"no answer from {where} within {self.timeout} s: does skipalignd run there, is that its feed.listen?"
        silence = f"step {self.step} did not come from {self._where()} within {self.timeout} s"
        if self.wait is None:
            return silence
        soon = "" if self.wait.seconds is None else f", step {self.wait.step} in about {self.wait.seconds} s"
        return f"{silence}: it works its way there, {self.wait.known} steps so far{soon}"

    def _receive(self, deadline: float) -> memoryview | None:
        """One message's bytes, read-only; None when the time is over or the feeder is lost."""
        assert self._socket is not None and self._monitor is not None
        while not self._gone:
            try:
                frame = self._socket.recv(copy=False)  # or zmq.Again, after a slice of time
                if frame.more:
                    raise self._finish(FeedError("protocol", f"{self._where()} sent a message of several frames"))
                self._heard = True
                return frame.buffer.toreadonly()
            except zmq.Again:
                pass
            now = self._looked_at = time.monotonic()
            if self._heard:
                self._heard = False
                self._ping_at = now + PING - self._slice
                self._leave_at = now + self.silent_after
            silent = now >= self._leave_at and (not self._is_open or len(self.endpoints) > 1)
            if silent or self._monitor.poll(0):
                self._gone = True
            elif now >= deadline:
                break
            elif now >= self._ping_at:
                self._pinged = True
                self._ping_at = now + PING
                self._send_credit()
        return None

    # ---- what comes ----

    def _where(self) -> str:
        return self.endpoints[self._at]

    def _finish(self, error: FeedError) -> FeedError:
        """After this error nothing comes from this feed any more."""
        self._over = error
        return error

    def _take(self, data: memoryview) -> Batch | None:
        """A message: the next batch, or None where there is more to wait for."""
        try:
            if not self._is_open and len(data) > ANSWER_MAX:
                raise FeedError("protocol", f"{self._where()} is no feeder: its answer has {len(data)} bytes")
            if data[: len(BATCH_HEAD)] == BATCH_HEAD:
                return self._take_batch(data)
            message = messages.unpack(data)
            kind = message["type"]
            if kind == "batch":
                return self._take_batch(data)
            if kind in ("opened", "changed"):
                self._take_info(messages.take_info(message), kind)
            elif kind == "wait":
                self.wait = messages.take_wait(message)
            elif kind == "end":
                self._take_end(messages.take_end(message))
            elif kind == "error":
                self._take_error(messages.take_error(message, self._where()))
            elif kind in ("open", "credit", "close"):
                raise FeedError("protocol", f"{self._where()} sent `{kind}`, which only trainers send")
        except FeedError as e:
            raise self._finish(e)
        return None

    def _take_batch(self, data: memoryview) -> Batch | None:
        if not self._is_open:
            raise FeedError("protocol", f"{self._where()} sends batches of a stream that it has not opened")
        batch = self._decoder.decode(data)
        if (batch.stream, batch.world, batch.rank) != (self.stream, self.world, self.rank):
            raise FeedError("corrupt", f"{self._where()} sent {batch}, asked for {self}")
        if batch.step < self.step:
            self._owed += 1
            return None
        if batch.step != self.step:
            raise FeedError("corrupt", f"{self._where()} sent step {batch.step}, the next is {self.step}")
        self._n_left, self.wait = 0, None
        return batch

    def _take_info(self, info: Info, kind: str) -> None:
        if self._is_open != (kind == "changed") or info.step != self.step:
            raise FeedError("protocol", f"{self._where()} {kind} step {info.step}, asked for {self.step}")
        self._check_history(info)
        self._is_open = True
        self.info = info

    def _check_history(self, info: Info) -> None:
        """Feeders of another history make other bytes of the same steps: better an end than a silent mixture."""
        known = self.info
        if known is None or info.generation > known.generation:
            return
        if info.generation < known.generation:
            raise FeedError(
                "corrupt",
                f"{self._where()} has only generation {info.generation} of stream {self.stream!r} at step {info.step}, but"
                f" generation {known.generation} has begun before: its state_dir is an older copy, or another stream's",
            )
        if (info.rows, info.length, info.tokenizer) != (known.rows, known.length, known.tokenizer):
            raise FeedError(
                "corrupt",
                f"{self._where()} has another generation {info.generation} of stream {self.stream!r} than the feeder before:"
                " feeders of one list must have the same corpora and history (state_dir)",
            )

    def _take_end(self, end: End) -> None:
        if end.reason in ("complete", "changed") and end.step != self.step:
            raise FeedError(
                "corrupt",
                f"{self._where()}: the stream ends before step {end.step}, but step {self.step} was never sent",
            )
        self.end = end

    def _take_error(self, error: FeedError) -> None:
        if error.code == "not-open" and (self._is_open or self._pinged):
            self._connect()
        elif error.code == "shutting-down":  # another goes on, or is started in its place
            self._gone = True
        else:
            raise error
