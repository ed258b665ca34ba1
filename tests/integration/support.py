"""A real skipalignd in a temporary folder, and trainers made of nothing but pyzmq and msgpack.

    corpus = support.write_jsonl(folder / "c.jsonl", records)
    with support.Feeder(support.config(corpus, seq_len=128)) as feeder:
        with support.Dealer(feeder.listen, stream="s", world=2, rank=0) as trainer:
            for batch in trainer.batches(10):
                support.check_batch(batch)

The build folder is $SKIPALIGN_BUILD, else build/. Nothing here sleeps: every wait is for an event, and PATIENCE only
ends a test that would otherwise hang.
"""

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import msgpack
import numpy
import zmq

TOP = Path(__file__).resolve().parent.parent.parent
DATA = TOP / "tests" / "data"
BUILD = Path(os.environ.get("SKIPALIGN_BUILD", TOP / "build"))
SKIPALIGND = BUILD / "bin" / "skipalignd"
SKIPALIGNCTL = BUILD / "bin" / "skipalignctl"
REAL_DATA = Path(os.environ["SKIPALIGN_TEST_DATA"]) if "SKIPALIGN_TEST_DATA" in os.environ else None
PATIENCE = int(os.environ.get("SKIPALIGN_PATIENCE", 120))  # seconds; generous for sanitizers on a loaded machine

SAMPLE_CORPUS = DATA / "sample-dialogues.jsonl"
SAMPLE_MODEL = DATA / "sample.model"


# ---- files ----


def write_jsonl(path, records):
    """Records to a JSONL file; returns its path."""
    path = Path(path)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def dialogue(*turns, system=None):
    """dialogue("hello", "hi", ...): a record in the messages format, user first."""
    messages = [{"role": "system", "content": system}] if system else []
    roles = itertools.cycle(["user", "assistant"])
    return {"messages": messages + [{"role": role, "content": text} for role, text in zip(roles, turns)]}


def config(*corpora, format="auto", tokenizer=SAMPLE_MODEL, template="chatml", positions=(), top=(), **stream):
    """A configuration of one stream "s" over corpora c0, c1, ... (a path or a list of paths each).

    positions, top: changes to the stream's positions and to the top level; other names are keys of the stream.
    """
    paths = [[str(p) for p in (c if isinstance(c, (list, tuple)) else [c])] for c in corpora]
    return {
        "corpora": [{"name": f"c{i}", "paths": p, "format": format} for i, p in enumerate(paths)],
        "streams": [
            {
                "name": "s",
                "tokenizer": str(tokenizer),
                "template": template,
                "corpora": [{"name": f"c{i}"} for i in range(len(paths))],
                "seq_len": 256,
                "global_batch": 4,
                "packing": True,
                "seed": 17,
                "epochs": 1,
                "positions": {"strategy": "skip_all", "max_position": 4096, **dict(positions)},
                **stream,
            }
        ],
        **dict(top),
    }


# ---- the daemon ----


class Feeder:
    """skipalignd -c on a configuration (a dict; JSON is YAML), until `with` ends.

    What the configuration leaves out lives in the feeder's own folder: state_dir and ipc endpoints. start() returns
    when the daemon says READY=1, as systemd would see it.
    """

    def __init__(self, config, arguments=(), environment=(), program=SKIPALIGND):
        self._folder = tempfile.TemporaryDirectory(prefix="skipalign-")
        self.folder = Path(self._folder.name)
        self.config = {
            "state_dir": str(self.folder / "state"),
            **config,
            "feed": {"listen": self._ipc("feed"), "subscribe": self._ipc("subscribe"), **config.get("feed", {})},
            "control": {"listen": self._ipc("control"), **config.get("control", {})},
        }
        self.listen = self.config["feed"]["listen"]
        self.subscribe = self.config["feed"]["subscribe"]
        self.control = self.config["control"]["listen"]
        self.config_path = self.folder / "skipalignd.yaml"
        self.log_path = self.folder / "log"
        self.notified = []  # what systemd would have heard, in order
        self.arguments, self.environment, self.process = list(arguments), dict(environment), None
        self.program = program
        self.wrapper = []  # a command that becomes skipalignd, such as nsenter

    def _ipc(self, name):
        return f"ipc://{self.folder}/{name}"

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__(RuntimeError)
            raise

    def __exit__(self, failure, *_):
        try:
            if failure is not None and self.log_path.exists():
                print(f"--- log of the feeder:\n{self.log()}---", flush=True)
            if self.process is not None and self.process.poll() is None:
                rc = self.stop()
                assert failure is not None or rc == 0, f"skipalignd ended with {rc}:\n{self.log()}"
        finally:
            self.kill()
            self._folder.cleanup()

    def start(self):
        """Again after stop() or kill(), too: same folder, same state."""
        self.launch()
        return self.hear("READY=1")

    def hear(self, words):
        """Waits until the daemon has said this to systemd."""
        while not any(words in said for said in self.notified):
            if not self._hear():
                raise AssertionError(f"skipalignd ended with {self.process.wait()} before {words}:\n{self.log()}")
        return self

    def launch(self):
        """Starts the process and does not wait for READY."""
        self.config_path.write_text(json.dumps(self.config, indent=1))
        notify = self.folder / "notify"
        notify.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._notify.bind(str(notify))
        self.notified = []
        environment = os.environ | {"NOTIFY_SOCKET": str(notify)} | self.environment
        with self.log_path.open("ab") as log:
            command = [*self.wrapper, self.program, "-c", self.config_path, *self.arguments]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    def _hear(self):
        """Waits for a notification (True) or the process' end (False)."""
        pidfd = os.pidfd_open(self.process.pid)
        try:
            ready, _, _ = select.select([self._notify, pidfd], [], [], PATIENCE)
        finally:
            os.close(pidfd)
        if not ready:
            raise AssertionError(f"skipalignd said nothing for {PATIENCE} s; log:\n{self.log()}")
        if self._notify in ready:
            self.notified.append(self._notify.recv(65536).decode())
        return self._notify in ready

    def wait(self):
        """For a daemon that ends by itself: its exit status."""
        rc = self.process.wait(PATIENCE)
        self._notify.close()
        return rc

    def stop(self):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.wait()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def ctl(self, *arguments, check=True):
        """skipalignctl on this feeder; with --json, what it printed is decoded."""
        done = ctl("-e", self.control, *arguments)
        assert not check or done.returncode == 0, f"skipalignctl {arguments}: {done.returncode}: {done.stderr}"
        return json.loads(done.stdout) if check and "--json" in arguments else done


def ctl(*arguments):
    return subprocess.run([SKIPALIGNCTL, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE)


def check_config(config, folder):
    """skipalignd --check on a configuration (a dict, or text); returns the finished process."""
    path = Path(folder) / "check.yaml"
    path.write_text(config if isinstance(config, str) else json.dumps(config, indent=1))
    return subprocess.run([SKIPALIGND, "-c", path, "--check"], capture_output=True, text=True, timeout=PATIENCE)


def free_endpoint():
    """A TCP endpoint on loopback that nobody has at this moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{s.getsockname()[1]}"


@contextlib.contextmanager
def interruptible():
    """What is started within hears Ctrl-C, though whoever runs tests in the background of a script ignores it."""
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


# ---- trainers ----


class Peer:
    """A ZeroMQ socket and its context; messages are dicts."""

    def __init__(self, kind, endpoint, **options):
        self.context = zmq.Context()
        self.socket = self.context.socket(kind)
        self.socket.linger = 0
        for name, value in options.items():
            setattr(self.socket, name, value)
        self.socket.connect(endpoint)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.context.destroy(linger=0)

    def receive(self, seconds=PATIENCE):
        """The next message as a dict; None if none came in time."""
        if not self.socket.poll(seconds * 1000):
            return None
        return msgpack.unpackb(self.socket.recv_multipart()[-1])

    def expect(self, kind):
        message = self.receive()
        assert message is not None, f"waited {PATIENCE} s for {kind}"
        assert message["type"] == kind, f"expected {kind}, got {describe(message)}"
        return message


class Dealer(Peer):
    """A trainer on feed.listen: opens at once (unless stream is None), checks that steps come one by one."""

    def __init__(self, endpoint, stream="s", world=1, rank=0, step=0, credit=4, job="test", **options):
        super().__init__(zmq.DEALER, endpoint, **options)
        self.step, self.opened, self.end = step, None, None
        if stream is not None:
            self.send("open", version=1, stream=stream, world=world, rank=rank, step=step, credit=credit, job=job)
            self.opened = self.expect("opened")

    def send(self, kind, **keys):
        self.socket.send(msgpack.packb({"type": kind, **keys}))

    def batches(self, n=None):
        """The next n batches, or all until `end` (self.end is then that message); one credit goes back for each."""
        for _ in range(n) if n is not None else itertools.count():
            while (message := self.receive()) is not None and message["type"] in ("changed", "wait"):
                pass
            assert message is not None, f"waited {PATIENCE} s for step {self.step}"
            if message["type"] == "end" and n is None:
                self.end = message
                return
            assert message["type"] == "batch", describe(message)
            assert message["step"] == self.step, f"step {message['step']} came, expected {self.step}"
            self.step += 1
            yield message
            self.send("credit", credit=1, done=message["step"])


class Subscriber(Peer):
    """A trainer on feed.subscribe: a plain SUB socket."""

    def __init__(self, endpoint, topic="s/1/0/0/", **options):
        super().__init__(zmq.SUB, endpoint, reconnect_ivl=-1, **options)
        self.end = None
        self.socket.subscribe(topic)

    def batches(self, n=None):
        """The next n batches, or all until `end`."""
        for _ in range(n) if n is not None else itertools.count():
            message = self.receive()
            assert message is not None, f"waited {PATIENCE} s for a batch"
            if message["type"] == "end" and n is None:
                self.end = message
                return
            assert message["type"] == "batch", describe(message)
            yield message


def describe(message):
    return {key: f"<{len(value)} bytes>" if isinstance(value, bytes) else value for key, value in message.items()}


# ---- batches ----

ARRAYS = ("input_ids", "position_ids", "labels", "tokens", "cu_seqlens", "doc_corpus", "doc_record")


def arrays(batch):
    """The batch's arrays by name; the first three as rows x length."""
    shape = (batch["rows"], batch["length"])
    found = {name: numpy.frombuffer(batch[name], "<i8" if name == "doc_record" else "<i4") for name in ARRAYS}
    for name in ARRAYS[:3]:
        found[name] = found[name].reshape(shape)
    return found


def content(batch):
    """All that must be the same wherever the batch came from."""
    return {key: value for key, value in batch.items() if key not in ("generation",)}


def documents(batch):
    """Each document but padding: a dict of ids, positions, labels, corpus, record, row."""
    a = arrays(batch)
    flat = {name: a[name].reshape(-1) for name in ARRAYS[:3]}
    for i, (start, end) in enumerate(zip(a["cu_seqlens"][:-1], a["cu_seqlens"][1:])):
        if a["doc_corpus"][i] >= 0:
            yield {
                "ids": flat["input_ids"][start:end],
                "positions": flat["position_ids"][start:end],
                "labels": flat["labels"][start:end],
                "corpus": int(a["doc_corpus"][i]),
                "record": int(a["doc_record"][i]),
                "row": int(start) // batch["length"],
            }


def check_batch(batch, opened=None):
    """What holds for every batch (but for positions of a strategy that is not block-wise): raises AssertionError."""
    a = arrays(batch)
    rows, length = batch["rows"], batch["length"]
    cu = a["cu_seqlens"]
    assert cu[0] == 0 and cu[-1] == rows * length and (numpy.diff(cu) > 0).all(), f"cu_seqlens {cu}"
    assert set(range(0, rows * length, length)) <= set(cu.tolist()), "a document runs over the end of its row"
    assert len(a["doc_corpus"]) == len(a["doc_record"]) == len(cu) - 1
    assert batch["max_seqlen"] == numpy.diff(cu).max()
    assert batch["supervised"] == (a["labels"] != -100).sum() <= batch["supervised_global"]
    real = numpy.zeros(rows, int)
    for i, (start, end) in enumerate(zip(cu[:-1], cu[1:])):
        row, column = divmod(int(start), length)
        ids, positions, labels = (a[name][row, column : column + end - start] for name in ARRAYS[:3])
        if a["doc_corpus"][i] < 0:
            assert column == a["tokens"][row] and end == (row + 1) * length, "padding does not end its row"
            assert (positions == numpy.arange(end - start)).all() and (labels == -100).all()
            assert opened is None or (ids == opened["pad_id"]).all()
            continue
        real[row] += end - start
        assert positions[0] == 0 and (numpy.diff(positions) > 0).all(), "positions are not strictly increasing from 0"
        assert opened is None or (positions[-1] < opened["max_position"] and ids.max() < opened["vocab_size"])
        assert labels[0] == -100 and (labels != -100).any(), "a document with nothing to learn, or a label too early"
        assert ((labels == -100) | (labels == ids)).all(), "a label is neither -100 nor its token"
    assert (real == a["tokens"]).all(), f"tokens {a['tokens']}, but documents hold {real}"
