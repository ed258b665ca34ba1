"""The history checker: rounds of trouble, and what must be true after each (see `history`)."""

import collections
import concurrent.futures
import contextlib
import copy
import itertools
import json
import math
import multiprocessing
import os
import random
import re
import select
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(TOP / "tests" / "integration"), str(TOP / "client" / "python"), str(Path(__file__).resolve().parent)]

import changes
import faults
import msgpack
import replay
import support
import turns
import zmq
from changes import Change
from faults import Faults
from trainers import Book, Client, Job

PATIENCE = float(os.environ.get("SKIPALIGN_PATIENCE", support.PATIENCE))
WHO = "checker@history"
DISK_WORDS = ("space", "Input/output error")


class Request(support.Peer):
    """A command on its way, and its reply."""

    def __init__(self, endpoint, command, arguments):
        super().__init__(zmq.DEALER, endpoint)
        self.reply = None
        self.socket.send(msgpack.packb({"version": 1, "command": command, "arguments": arguments}))

    def take(self):
        message = self.receive()
        if "progress" not in message:
            self.reply = message


class Generation:
    """What a stream should be from a step on, as far as replies tell."""

    def __init__(self, number, first_step, settings):
        self.number, self.first_step, self.settings = number, first_step, copy.deepcopy(settings)


class Round:
    def __init__(self, seed, folder, disk, network):
        self.rng, self.folder, self.disk, self.network = random.Random(f"history {seed}"), folder, disk, network
        self.conf, self.corpora = changes.configuration(self.rng, folder)
        state = (disk or folder) / "state"
        self.file = self.conf  # what the configuration file says where nobody is editing it
        self.feeder = support.Feeder({**self.conf, "state_dir": str(state), **self.doors()})
        self.feeder.wrapper = network.inside if network else []
        self.state, self.faults = state, Faults(folder / "faults", state)
        self.feeder.environment = self.faults.environment
        self.book, self.jobs, self.requests, self.ready = Book(), [], [], False
        self.generations = {s["name"]: [Generation(1, 0, s)] for s in self.conf["streams"]}
        self.pending = None  # a change that was asked for when the daemon died
        self.tally = collections.Counter()
        self.story = []  # what was done, for who looks into a failure

    def doors(self):
        if self.network is None:
            return {}
        at = f"tcp://{self.network.address}"
        return {"feed": {"listen": f"{at}:5757", "subscribe": f"{at}:5758"}}

    def another(self, name):
        """A feeder with doors and a state_dir of its own, and the same file."""
        return support.Feeder({**self.feeder.config, "state_dir": str(self.folder / name), "feed": {}, "control": {}})

    def tell(self, text):
        self.story.append(f"{time.monotonic() - self.began:7.3f} {text}")

    @property
    def streams(self):
        return [s["name"] for s in self.conf["streams"]]

    # ---- waiting: the only place where messages are taken ----

    def pump(self, batches=math.inf, until=None, seconds=None):
        """Until so many batches came, `until` is true, nobody reads any more, or so many seconds are over. False: the
        daemon has ended."""
        deadline = time.monotonic() + (PATIENCE if seconds is None else seconds)
        pidfd, notify = os.pidfd_open(self.feeder.process.pid), self.feeder._notify
        try:
            while batches > 0 and not (until is not None and until()):
                going = {r.peer.socket: r for job in self.jobs for r in job.readers if not r.done}
                waiting = {q.socket: q for q in self.requests if q.reply is None}
                if not going and until is None and seconds is None:
                    return True
                left = deadline - time.monotonic()
                if left <= 0:
                    assert seconds is not None, f"waited {PATIENCE} s"
                    return True
                ready = self._poll([pidfd, notify, *going, *waiting], left)
                if notify in ready:
                    self.ready |= b"READY=1" in notify.recv(65536)
                for socket in ready:
                    if socket in waiting:
                        waiting[socket].take()
                    elif socket in going:
                        batches -= going[socket].take()
                if pidfd in ready:
                    return False
                self.turn_over()
            return True
        finally:
            os.close(pidfd)

    @staticmethod
    def _poll(sources, seconds):
        poller = zmq.Poller()
        for source in sources:
            poller.register(source, zmq.POLLIN)
        ready = dict(poller.poll(seconds * 1000))
        return [s for s in sources if (s if isinstance(s, (int, zmq.Socket)) else s.fileno()) in ready]

    def turn_over(self):
        """Jobs whose readers are all through go on from there."""
        for job in list(self.jobs):
            if all(r.done for r in job.readers):
                if job.checkpoint():
                    for reader in job.readers:
                        reader.connect(self.feeder)
                else:
                    self.jobs.remove(job)

    def join(self, stream, step, stretches):
        job = Job(self.book, self.rng, stream, step, stretches)
        job.go_on()
        self.jobs.append(job)
        if self.up:
            for reader in job.readers:
                reader.connect(self.feeder)

    # ---- lives of the daemon ----

    @property
    def up(self):
        return self.feeder.process is not None and self.feeder.process.returncode is None

    def launch(self):
        self.ready = False
        self.feeder.launch()
        for job in self.jobs:
            for reader in job.readers:
                if not reader.done:
                    reader.connect(self.feeder)

    def over(self, why):
        """It has ended by itself: it was the shim's doing, or it said that the disk fails."""
        rc = self.feeder.wait()
        last = self.feeder.log().splitlines()[-1:]
        if rc == -signal.SIGKILL and self.faults.happened:
            self.tally["kills"] += 1
            self.tally["kills at a file"] += 1
        else:
            assert rc == 1 and not self.ready and any(w in last[0] for w in DISK_WORDS), f"ended with {rc} {why}"
            self.tally["starts without a disk"] += 1
        self.tell(f"ended with {rc} {why}")
        self.faults.clear()
        self.drop_requests()

    def kill(self):
        self.feeder.kill()
        self.tally["kills"] += 1
        self.tell("killed")
        self.drop_requests()

    def drop_requests(self):
        for request in self.requests:
            request.close()
        self.requests = []

    def rise(self):
        """Up and ready, whatever it takes."""
        while not (self.up and self.ready):
            if not self.up:
                self.launch()
            if not self.pump(until=lambda: self.ready):
                self.over("while it started")
                if self.disk:
                    faults.make_room(self.disk)
        self.settle()

    # ---- changes ----

    def ask(self, command, **arguments):
        """The reply; None: the daemon died before it."""
        request = Request(self.feeder.control, command, arguments)
        self.requests.append(request)
        if not self.pump(until=lambda: request.reply is not None):
            return None
        self.requests.remove(request)
        request.close()
        return request.reply

    def result(self, command, **arguments):
        reply = self.ask(command, **arguments)
        assert reply is not None and reply["ok"], f"{command} {arguments}: {reply}"
        return reply["result"]

    def pick_change(self):
        rng, conf = self.rng, self.conf
        kind = rng.choices(["set", "corpus", "drop", "reload", "revert", "grow", "wrong"], [8, 2, 2, 3, 2, 2, 2])[0]
        if kind == "corpus":
            return changes.add_corpus(rng, conf, self.corpora, self.folder)
        if kind == "drop":
            return changes.drop_corpus(rng, conf)
        if kind == "reload":
            return changes.edit_file(rng, conf)
        if kind == "revert":
            return changes.revert(conf, rng.choice(self.generations[rng.choice(self.streams)]))
        if kind == "grow":
            return changes.grow_corpus(rng, conf, self.corpora)
        return (changes.set_settings if kind == "set" else changes.wrong_settings)(rng, conf)

    def change(self):
        """A change is asked for, while all goes well, or dies, or the disk fails."""
        change, rng = self.pick_change(), self.rng
        arguments = {**change.arguments, "who": WHO}
        how = rng.choices(["plain", "at", "dry", "die", "disk"], [4, 1, 1, 4, 1])[0]
        if change.command == "reload":
            self.write_file(change.after)
        if how == "at":
            arguments["at"] = max(map(self.book.steps, self.streams)) + rng.randint(0, 60)
        if how == "dry":
            arguments["dry_run"] = True
        if how == "die":
            self.break_disk(Faults.DEADLY, 30)
        if how == "disk":
            self.break_disk(Faults.FAILING, 10)
        self.tell(f"asks for {change.command} {arguments}")
        self.pending = change
        reply = self.ask(change.command, **arguments)
        self.tell(f"is told {reply}")
        if reply is not None:
            self.pending = None
            self.judge(change, arguments, reply, failing=how == "disk")
        if reply is None or (how == "die" and not self.pump(batches=30)):
            self.over("in a change")
        self.mend_disk()

    def write_file(self, conf):
        self.feeder.config.update(copy.deepcopy(conf))
        self.feeder.config_path.write_text(json.dumps(self.feeder.config, indent=1))

    def judge(self, change, arguments, reply, failing):
        """Is the reply what the change deserves? What was committed goes into our books."""
        self.tally["changes asked for"] += 1
        if not reply["ok"]:
            expected = {"too-early"} if "at" in arguments else {"not-durable"} if failing else set()
            expected |= {"unchanged"} if not change.streams else set()
            assert change.after is None or reply["code"] in expected, f"{change}: {reply}"
            self.tally["changes refused"] += 1
            if change.command == "reload":
                self.write_file(self.file)
            return
        assert change.after is not None, f"{change} should have been refused: {reply}"
        result = reply["result"]
        named, streams = {c["name"] for c in result["changes"]}, {s["stream"] for s in result["streams"]}
        assert set(change.names) <= named, f"{change} must change {change.names}: {reply}"
        assert set(change.streams) <= streams, f"{change} must change {change.streams}: {reply}"
        if arguments.get("dry_run"):
            assert result["dry_run"], reply
            if change.command == "reload":
                self.write_file(self.file)
            return
        if change.command == "reload":
            self.file = change.after
        for told in result["streams"]:
            self.commit(change, told["stream"], told["generation"], told["first_step"])
            assert "at" not in arguments or told["first_step"] == arguments["at"], f"{change}: {told}"

    def commit(self, change, stream, generation, first_step):
        known = self.generations[stream]
        assert generation == len(known) + 1, f"{change}: generation {generation} after {len(known)}"
        settings = changes.find(change.after, stream)
        known.append(Generation(generation, first_step, settings))
        self.conf = changes.with_stream(self.conf, settings, change.after)
        self.tally["generations"] += 1

    def settle(self):
        """After a start: every change that was replied to is there, and none but them and one that was cut short."""
        if not self.can_change:
            return
        change, self.pending = self.pending, None
        for stream in self.streams:
            entries = self.result("history", stream=stream)["generations"]
            known = self.generations[stream]
            if change is not None and change.after is not None and len(entries) == len(known) + 1:
                self.commit(change, stream, entries[-1]["generation"], entries[-1]["first_step"])
                self.tally["generations that were not replied to"] += 1
                self.file = change.after if change.command == "reload" else self.file
            told = [(e["generation"], e["first_step"]) for e in entries]
            want = [(g.number, g.first_step) for g in known]
            assert told == want, f"stream {stream}: history has {told}, replies said {want}"
        self.write_file(self.file)

    # ---- what happens ----

    def read(self):
        self.tell("reads")
        if not self.pump(batches=self.rng.choice([1, 10, 50, 200])):
            self.over("while it served")

    def kill_at_random(self):
        """At any moment of a start, or of serving."""
        if self.rng.random() < 0.5:
            self.feeder.kill() if self.up else None
            self.launch()
            alive = self.pump(seconds=self.rng.uniform(0, 0.15))
        else:
            alive = self.pump(batches=self.rng.randint(1, 100))
        self.kill() if alive else self.over("before it was killed")

    def kill_at_start(self):
        """At one of the first file operations of a start."""
        if self.up:
            self.kill()
        self.break_disk(Faults.DEADLY + Faults.FAILING, 25)
        self.launch()
        if self.pump(until=lambda: self.ready) and self.pump(batches=50):
            self.mend_disk()
        else:
            self.over("while it started")

    def break_disk(self, kinds, calls):
        what = self.rng.choice(kinds)
        at = self.rng.randint(1, calls)
        self.faults.arm(what, at)
        self.tell(f"fault {what} at call {at} from now")

    def mend_disk(self):
        self.tally["disk faults"] += self.faults.happened > 0
        self.faults.clear()
        if self.disk:
            faults.make_room(self.disk)

    def lose_files(self):
        """What can be made again is damaged or gone."""
        if self.up:
            self.kill()
        files = [p for p in self.state.rglob("*") if p.name not in ("timeline", "sent", "lock")]
        for _ in range(self.rng.choice([1, 1, 3])):
            path = faults.damage(self.rng, files)
            if path:
                self.tell(f"damaged {path}")
                self.tally["damaged files"] += 1
        if self.rng.random() < 0.2:
            for path in self.state.glob("streams/**/*ledger"):
                path.unlink()

    def fill_disk(self):
        if self.disk:
            faults.fill(self.disk, self.rng.choice([0, 4096, 8192, 40960]))
            self.tell("disk is full")

    def freeze(self):
        """Nobody answers for a moment."""
        self.feeder.process.send_signal(signal.SIGSTOP)
        self.pump(seconds=0.02)
        self.feeder.process.send_signal(signal.SIGCONT)
        self.tell("froze")

    def cut_cable(self):
        """Or nearly."""
        if self.network is None:
            return
        if self.rng.random() < 0.5:
            self.tell("cuts the cable")
            self.network.cut()
            alive = self.pump(seconds=self.rng.uniform(0, 0.1))
            self.network.heal()
        else:
            self.tell("slows the cable")
            self.network.slow("20mbit")
            alive = self.pump(batches=20)
            self.network.hurry()
        self.tally["cables cut or slowed"] += 1
        if not alive:
            self.over("behind its cable")

    def fail_over(self):
        """The Python client has a second feeder, of a copy of the state, and goes on there when the first one dies."""
        stream = self.rng.choice(self.streams)
        until = self.book.steps(stream)
        if until == 0:
            return
        second = self.another(f"second-{len(self.story)}")
        shutil.copytree(self.state, second.config["state_dir"])
        with second:
            step, endpoints = self.rng.randint(0, until // 2), [self.feeder.listen, second.listen]
            client = Client(self.book, endpoints, stream, step, until)
            client.start()
            self.pump(until=lambda: not client.is_alive() or client.feed.step > until // 2, seconds=1)
            self.kill()
            client.join(PATIENCE)
            assert not client.is_alive() and client.failure is None, f"the client: {client.failure!r}, {client.feed}"
        self.tally["fail-overs"] += 1
        self.tell(f"a client went over, up to {until}")

    def visit(self):
        """A trainer comes, at the beginning, at a step of before, or at the next one."""
        stream = self.rng.choice(self.streams)
        known = self.book.steps(stream)
        step = self.rng.choice([0, known, self.rng.randint(0, known)])
        self.join(stream, step, self.rng.randint(1, 5))
        self.tell(f"a job joins {stream} at {step}")

    def leave(self):
        if len(self.jobs) > 1:
            job = self.jobs.pop(self.rng.randrange(len(self.jobs)))
            for reader in job.readers:
                reader.disconnect()
            self.tell(f"a job leaves {job.stream} at {job.step}")

    BEATS = (("change", 8), ("read", 4), ("visit", 3), ("leave", 1), ("kill_at_random", 2), ("kill_at_start", 1), ("lose_files", 1),
             ("fill_disk", 1), ("freeze", 1), ("fail_over", 0.3), ("cut_cable", 2))

    def run(self):
        self.began = time.monotonic()
        try:
            for stream in self.streams:
                self.join(stream, 0, 1000)
            self.can_change = False
            self.rise()
            self.can_change = "set" in {c["name"] for c in self.result("commands")["commands"]}
            for _ in range(self.rng.randint(6, 14)):
                name = self.rng.choices([name for name, _ in self.BEATS], [weight for _, weight in self.BEATS])[0]
                if name != "change" or self.can_change:
                    getattr(self, name)()
                if not self.up or not self.ready:
                    self.rise()
            self.finish()
        except BaseException:
            waiting = [f"{r.where} until {r.until} by {r.door}" for job in self.jobs for r in job.readers if not r.done]
            print("\n".join([*self.story[-30:], *waiting]), flush=True)
            raise
        finally:
            for job in self.jobs:
                for reader in job.readers:
                    reader.disconnect()
            self.drop_requests()
            self.feeder.__exit__(sys.exc_info()[0])
            self.faults.close()

    # ---- in the end ----

    def finish(self):
        """The last life is undisturbed; then a feeder that never was disturbed says what should have been."""
        for job in self.jobs:
            for reader in job.readers:
                reader.disconnect()
        self.jobs = []
        if self.up:
            self.kill()
        self.mend_disk()
        self.rise()
        quarantine = {}
        for stream in self.streams:
            list(replay.read(self.feeder, stream, 1, 0, top=self.top(stream)))
            quarantine[stream] = self.feeder.ctl("--json", "quarantine", stream)
        assert self.feeder.stop() == 0
        self.save_timelines()
        with self.another("replay") as undisturbed:
            for stream in self.streams:
                whole = replay.compare(undisturbed, stream, self.book, self.top(stream))
                if self.top(stream) is None:
                    found = undisturbed.ctl("--json", "quarantine", stream)
                    assert found == quarantine[stream], f"stream {stream}: the quarantine says something else"
                self.check_account(stream, whole)
        self.tally["batches"] += self.book.received

    def top(self, stream):
        """Where a replay may end: a stream without end is compared as far as anyone read it."""
        return None if changes.find(self.conf, stream)["epochs"] else self.book.steps(stream) + 1

    def save_timelines(self):
        """All that the undisturbed feeder has."""
        for path in [*self.state.glob("streams/*/timeline"), *self.state.glob("corpora/*")]:
            copy_to = self.folder / "replay" / path.relative_to(self.state)
            copy_to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy_to)

    def today(self, stream):
        e = turns.Entry(1, 0)
        e.corpora = {c["name"]: (len(self.corpora[c["name"]].pairs), "") for c in changes.find(self.conf, stream)["corpora"]}
        return [e]

    def check_account(self, stream, whole):
        """The timeline is what replies said, each batch is of its generation, each record came as often as it should."""
        known, folder = self.generations[stream], self.folder / "replay" / "streams" / stream
        entries = turns.read_timeline(folder / "timeline") if self.can_change else self.today(stream)
        want = [(g.number, g.first_step) for g in known]
        assert [(e.number, e.first_step) for e in entries] == want, f"stream {stream}: its timeline is not {want}"
        chain = turns.effective(entries)
        for _, batch in whole:
            serving = max(e.number for e in chain if e.first_step <= batch["step"])
            assert batch["generation"] == serving, f"stream {stream}, step {batch['step']} is not of generation {serving}"
        split = changes.find(self.conf, stream)["overlong"] == "split"
        versions = {name: {len(pairs): pairs for pairs in corpus.versions} for name, corpus in self.corpora.items()}
        settings, times = {g.number: g.settings for g in known}, replay.count(whole, split)
        account = turns.Account(times, settings, entries, folder, versions, split)
        account.run(whole=self.top(stream) is None)
        self.tally["records counted"] += account.checked


def run_one(seed, keep):
    """One round; its tally."""
    with tempfile.TemporaryDirectory(prefix="skipalign-history-") as place, contextlib.ExitStack() as stack:
        place = Path(place)
        disk = stack.enter_context(faults.small_disk(place)) if seed % 4 == 0 else None
        network = stack.enter_context(faults.Network()) if seed % 4 == 1 else None
        try:
            r = Round(seed, place, disk, network)
            r.run()
        except BaseException:
            print(f"failed: tests/fault/history --rounds 1 --seed {seed}", flush=True)
            if keep:
                shutil.copytree(place, keep / f"round-{seed}", dirs_exist_ok=True, ignore=lambda *_: ["ignored"])
            raise
        r.tally["rounds"] += 1
        r.tally["rounds on a small disk"] += disk is not None
        r.tally["rounds behind a cable"] += network is not None
        return r.tally


def run(rounds, seed, jobs=1, keep=None):
    """Returns what happened, in words; raises what a round raises."""
    total = collections.Counter()
    if jobs == 1:
        tallies = (run_one(s, keep) for s in range(seed, seed + rounds))
        for tally in tallies:
            total.update(tally)
    else:
        with concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
            for tally in pool.map(run_one, range(seed, seed + rounds), itertools.repeat(keep)):
                total.update(tally)
    return ", ".join(f"{n} {what}" for what, n in total.items())
