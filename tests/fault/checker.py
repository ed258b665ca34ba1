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
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = map(str, (FOLDER.parent / "integration", FOLDER.parent.parent / "client" / "python", FOLDER))

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

EXIT_CONFIG = 78
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
        self.book, self.jobs, self.requests, self.ready, self.is_full = Book(), [], [], False, False
        self.generations = {s["name"]: [Generation(1, 0, s)] for s in self.conf["streams"]}
        self.replaced = set()  # corpora whose files are others now
        self.lost = {}  # stream -> first generation of which steps can still be made again
        self.pending = None  # a change that was asked for when the daemon died
        self.tally = collections.Counter()
        self.story = []  # what was done, for who looks into a failure

    def doors(self):
        if self.network is None:
            return {}
        at = f"tcp://{self.network.address}"
        return {"feed": {"listen": f"{at}:5757", "subscribe": f"{at}:5758"}}

    def first(self, stream):
        """The first step that can be made again."""
        return min(g.first_step for g in self.generations[stream][self.lost.get(stream, 1) - 1 :])

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
        deadline = time.monotonic() + (support.PATIENCE if seconds is None else seconds)
        pidfd, notify = os.pidfd_open(self.feeder.process.pid), self.feeder._notify
        try:
            while batches > 0 and not (until is not None and until()):
                going = {r.peer.socket: r for job in self.jobs for r in job.readers if not r.done}
                waiting = {q.socket: q for q in self.requests if q.reply is None}
                if not going and until is None and seconds is None:
                    break
                left = deadline - time.monotonic()
                if left <= 0:
                    assert seconds is not None, f"waited {support.PATIENCE} s"
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
            return not self._poll([pidfd], 0)
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
            for r in job.readers:
                replaced = self.pending is not None and self.pending.replaced
                assert r.lost is None or replaced or r.step < self.first(r.stream), f"{r.where}: {r.lost}"
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
        self.faults.renew()
        self.book.topics.clear()
        self.feeder.launch()
        for job in self.jobs:
            for reader in job.readers:
                if not reader.done:
                    reader.connect(self.feeder)

    def over(self, why):
        """It has ended by itself: it was the shim's doing, or it said that the disk fails, or that somebody was through
        with editing its file, but it was not reloaded."""
        rc = self.feeder.wait()
        last = self.feeder.log().splitlines()[-1:]
        if rc == -signal.SIGKILL and self.faults.deadly:
            self.tally["kills"] += 1
            self.tally["kills at a file"] += 1
        elif rc == EXIT_CONFIG and not self.ready and self.is_unsettled() and "--reload" in last[0]:
            self.refused = True
            self.tally["starts refused"] += 1
        else:
            assert rc == 1 and not self.ready and any(w in last[0] for w in DISK_WORDS), f"ended with {rc} {why}"
            self.tally["starts without a disk"] += 1
        self.tell(f"ended with {rc} {why}")
        self.faults.clear()
        self.drop_requests()

    def late_death(self):
        """It had begun to die when the shim was told to let it live."""
        rc = self.feeder.wait()
        assert rc == -signal.SIGKILL, f"ended with {rc}"
        self.tally["kills"] += 1
        self.tally["kills at a file"] += 1
        self.tell("died late")
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
        self.refused, tries, edited = False, 0, None
        while not (self.up and self.ready):
            if self.refused:  # what was edited is put back, or taken
                reloaded = tries > 0 or not self.file_is_edited() or self.rng.random() < 0.5
                if not reloaded:
                    edited = copy.deepcopy(self.feeder.config)
                    self.write_file(self.file)
                elif edited is not None:
                    self.feeder.config = edited
                self.feeder.arguments = ["--reload"] if reloaded else []
                tries += 1
                self.refused = False
            if not self.up:
                self.launch()
            if not self.pump(until=lambda: self.ready):
                self.over("while it started")
                self.make_room()
        self.feeder.arguments = []
        self.file = {key: copy.deepcopy(self.feeder.config[key]) for key in ("corpora", "streams")}
        self.conf = changes.without_unused(self.conf, self.file)
        self.settle(self.pending)
        self.pending = None

    def is_unsettled(self):
        """Was something edited, and nobody reloaded it?"""
        return self.file_is_edited() or (self.pending is not None and self.pending.replaced)

    def file_is_edited(self):
        return any(self.feeder.config[key] != self.file[key] for key in ("corpora", "streams"))

    # ---- changes ----

    def ask(self, command, **arguments):
        """The reply; None: the daemon died before it."""
        request = Request(self.feeder.control, command, arguments)
        self.requests.append(request)
        if not self.pump(until=lambda: request.reply is not None) and request.reply is None:
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
        if how == "disk" and len(self.streams) > 1:
            how = "plain"  # of several streams some may be changed before the disk fails: the reply says which, in words
        if how == "at":
            arguments["at"] = max(map(self.book.steps, self.streams)) + rng.randint(0, 60)
        if how == "dry":
            arguments["dry_run"] = True
        if how == "die":
            self.break_disk(Faults.DEADLY, 30)
        if how == "disk":
            self.break_disk(Faults.FAILING, 10)
        self.tell(f"asks for {change} with {arguments}")
        self.pending = change
        reply = self.ask(change.command, **arguments)
        self.tell(f"is told {reply}")
        if reply is not None:
            self.pending = None
            self.judge(change, arguments, reply, failing=how == "disk" or self.is_full)
        if reply is None or (how == "die" and not self.pump(batches=30)):
            self.over("in a change")
        self.mend_disk()
        if how == "die" and self.feeder.process.returncode is None and not self.pump(seconds=0.1):
            self.late_death()

    def race(self):
        """Two at once, on two settings of one stream: one after the other, or the second is told of the first."""
        stream = self.rng.choice(self.conf["streams"])
        settings = (("seed", stream["seed"] + 1), ("positions.max_position", stream["positions"]["max_position"] + 1))
        asked = []
        for i, (name, value) in enumerate(settings):
            arguments = {"edits": [f"{stream['name']}.{name}", str(value)], "who": f"{WHO}{i}"}
            asked.append((name, value, Request(self.feeder.control, "set", arguments)))
        self.requests = [request for _, _, request in asked]
        assert self.pump(until=lambda: all(request.reply for request in self.requests))
        done = [(request.reply["result"]["streams"][0]["generation"], name, value, request.reply)
                for name, value, request in asked if request.reply["ok"]]
        for _, name, value, reply in sorted(done, key=lambda d: d[0]):
            after = copy.deepcopy(self.conf)
            changes.apply(changes.find(after, stream["name"]), name, value)
            self.judge(Change("set", {}, self.conf, after), {}, reply, failing=self.is_full)
        for i, (_, _, request) in enumerate(asked):
            reply = request.reply
            if not reply["ok"] and reply["code"] == "conflict":
                assert f"{WHO}{1 - i}" in reply["error"], reply
                self.tally["conflicts"] += 1
            elif not reply["ok"]:
                after = copy.deepcopy(self.conf)
                changes.find(after, stream["name"])["seed"] += 1
                self.judge(Change("set", {}, self.conf, after), {}, reply, failing=self.is_full)
        self.drop_requests()

    def think_again(self):
        """A change is cancelled while it is prepared, or too late."""
        change = changes.add_corpus(self.rng, self.conf, self.corpora, self.folder)
        asked = Request(self.feeder.control, change.command, {**change.arguments, "who": WHO, "progress": True})
        cancel = Request(self.feeder.control, "cancel", {"who": WHO})
        self.requests = [asked, cancel]
        assert self.pump(until=lambda: asked.reply and cancel.reply)
        self.tell(f"cancels {change}: {asked.reply}, {cancel.reply}")
        if asked.reply["ok"] or asked.reply["code"] != "cancelled":
            self.judge(change, {}, asked.reply, failing=self.is_full)
        else:
            assert cancel.reply["ok"], cancel.reply
            self.tally["changes cancelled"] += 1
        self.drop_requests()

    def pause(self):
        """Nothing of a stream comes while it is paused; then it goes on."""
        stream = self.rng.choice(self.streams)
        self.result("pause", stream=stream, who=WHO)
        self.tell(f"pauses {stream}")
        before = self.sent(stream)  # what was on its way may still come
        self.pump(seconds=0.02)
        after = self.sent(stream)
        more = [consumer for consumer in after if after[consumer] > before[consumer]]
        assert not more, f"stream {stream} is paused, but {more} were sent batches: {before}, then {after}"
        self.result("resume", stream=stream, who=WHO)

    def sent(self, stream):
        """How many batches of a stream each consumer was sent."""
        sent = collections.Counter()
        for consumer in self.result("status")["consumers"]:
            if consumer["stream"] == stream:
                sent[tuple(consumer[key] for key in ("door", "job", "world", "rank", "first_step"))] += consumer["batches"]
        return sent

    def replace(self):
        """A corpus is another: older steps cannot be had again, and are never made of the new one."""
        self.mend_disk()
        self.write_file(self.conf)
        change = changes.replace_corpus(self.rng, self.conf, self.corpora)
        self.tally["corpora replaced"] += 1
        for stream in set(self.streams) - set(change.streams):  # those that read it once
            if any(change.other in {c["name"] for c in g.settings["corpora"]} for g in self.generations[stream]):
                self.lost[stream] = self.generations[stream][-1].number
                self.replaced.add(change.other)
        if self.rng.random() < 0.5:
            self.tell("replaces a corpus behind its back")
            self.kill()
            self.pending = change
        else:
            reply = self.ask("reload", who=WHO)
            self.tell(f"replaces a corpus: {reply}")
            self.judge(change, {}, reply, failing=False)

    def write_file(self, conf):
        self.feeder.config.update(copy.deepcopy(conf))
        self.feeder.config_path.write_text(json.dumps(self.feeder.config, indent=1))

    def judge(self, change, arguments, reply, failing):
        """Is the reply what the change deserves? What was committed goes into our books."""
        self.tally["changes asked for"] += 1
        if not reply["ok"]:
            assert change.after is None or self.is_fair(change, arguments, reply, failing), f"{change}: {reply}"
            self.tally["changes refused"] += 1
            if reply["code"] == "not-durable" and len(change.streams) > 1:
                self.settle(change)  # of several streams some may have changed: that is told
                self.pending = change
            elif change.command == "reload":
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

    def is_fair(self, change, arguments, reply, failing):
        """May a change that is well-formed be refused like this?"""
        code, error = reply["code"], reply["error"]
        if code == "unchanged":
            return not change.streams
        if "at" in arguments and (code == "too-early" or "ends before step" in error):
            return True
        if any(word in error for word in DISK_WORDS):
            return failing
        streams = [changes.find(change.after, name) for name in change.streams]
        if "epochs: " in error:  # they may be over
            return any(s["epochs"] > 0 for s in streams)
        return "global_batch: " in error and any(s["global_batch"] % 4 for s in streams)  # a subscriber is there

    def commit(self, change, stream, generation, first_step):
        known = self.generations[stream]
        assert generation == len(known) + 1, f"{change}: generation {generation} after {len(known)}"
        settings = changes.find(change.after, stream)
        known.append(Generation(generation, first_step, settings))
        self.conf = changes.with_stream(self.conf, settings, change.after)
        self.tally["generations"] += 1
        if change.replaced:
            self.lost[stream] = generation
            self.replaced.add(change.other)

    def settle(self, change):
        """After a start: every change that was replied to is there, and none but them and one that was cut short, or
        was in the file that was reloaded at the start."""
        for stream in self.streams:
            entries = self.result("history", stream=stream)["generations"]
            known = self.generations[stream]
            if change is not None and change.after is not None and len(entries) == len(known) + 1:
                self.commit(change, stream, entries[-1]["generation"], entries[-1]["first_step"])
                self.tally["generations that were not replied to"] += 1
            told = [(e["generation"], e["first_step"]) for e in entries]
            want = [(g.number, g.first_step) for g in known]
            assert told == want, f"stream {stream}: history has {told}, replies said {want}"

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
            if not self.pump(seconds=0.1):
                self.late_death()
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
        self.make_room()

    def make_room(self):
        self.is_full = False
        if self.disk:
            faults.make_room(self.disk)

    def lose_files(self):
        """What can be made again is damaged or gone."""
        if self.lost:
            return  # nothing can be made again of what is no more
        if self.up:
            self.kill()
        files = [p for p in self.state.rglob("*") if p.name not in ("timeline", "sent", "lock")]
        if any(len(corpus.versions) > 2 for corpus in self.corpora.values()):
            files = [p for p in files if p.parent.name != "corpora"]  # those of older versions cannot be made again
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
            self.is_full = True
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
        """The Python client has a second feeder and goes on there when the first one dies: one that stands by for the
        same state_dir, or one that has a copy of it."""
        stream, copied = self.rng.choice(self.streams), self.rng.random() < 0.5
        known = self.book.steps(stream)
        step, until = self.first(stream), known + (0 if copied else self.rng.randint(1, 40))
        if step >= known:
            return
        second = self.another(f"second-{len(self.story)}")
        if copied:  # it must not hand out what the first one does not know of: that would be two writers
            shutil.copytree(self.state, second.config["state_dir"])
        else:
            second.config["state_dir"] = str(self.state)
            second.arguments = ["--standby"]
        with contextlib.ExitStack() as stack:
            stack.callback(second.kill)
            second.start() if copied else second.launch()
            step = self.rng.randint(step, known)
            client = Client(self.book, [self.feeder.listen, second.listen], stream, step, until)
            client.start()
            self.pump(until=lambda: not client.is_alive() or client.feed.step > (step + until) // 2, seconds=0.2)
            self.kill()
            client.join(support.PATIENCE)
            assert not client.is_alive() and client.failure is None, f"the client: {client.failure!r}, {client.feed}"
        self.tally["fail-overs"] += 1
        self.tell(f"a client went over, {step} to {until}, {'to a copy' if copied else 'to one that stood by'}")

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

    BEATS = (("change", 10), ("race", 1), ("think_again", 1), ("pause", 1), ("replace", 0.5), ("read", 4), ("visit", 3),
             ("leave", 1), ("kill_at_random", 2), ("kill_at_start", 1), ("lose_files", 1), ("fill_disk", 1), ("freeze", 1),
             ("fail_over", 0.3), ("cut_cable", 2))

    def run(self):
        self.began = time.monotonic()
        try:
            for stream in self.streams:
                self.join(stream, 0, 1000)
            self.rise()
            names, weights = zip(*self.BEATS)
            for name in self.rng.choices(names, weights, k=self.rng.randint(6, 14)):
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
            for _ in replay.read(self.feeder, stream, 1, 0, first=self.first(stream), top=self.top(stream)):
                pass
            quarantine[stream] = self.feeder.ctl("--json", "quarantine", stream)
        assert self.feeder.stop() == 0
        self.save_timelines()
        with self.another("replay") as undisturbed:
            for stream in self.streams:
                first = self.first(stream)
                whole = replay.compare(undisturbed, stream, self.book, first, self.top(stream))
                self.check_timeline(stream, whole)
                if first > 0:
                    self.check_lost(undisturbed, stream, first - 1)
                    continue
                if self.top(stream) is None and len(self.generations[stream]) == 1:
                    # Where it changed, windows that were planned past the change are told of, too.
                    found = undisturbed.ctl("--json", "quarantine", stream)
                    assert found == quarantine[stream], f"stream {stream}: the quarantine says something else"
                self.check_account(stream, whole)
        self.tally["batches"] += self.book.received

    def top(self, stream):
        """Where a replay may end: a stream without end is compared as far as anyone read it."""
        known = max(self.first(stream), self.book.steps(stream))
        return None if changes.find(self.conf, stream)["epochs"] else known + 1

    def save_timelines(self):
        """All that the undisturbed feeder has. What a generation begins with is told by those before, unless they are
        lost."""
        starts = self.state.glob("streams/*/*.start") if self.lost else ()
        for path in [*self.state.glob("streams/*/timeline"), *self.state.glob("corpora/*"), *starts]:
            copy_to = self.folder / "replay" / path.relative_to(self.state)
            copy_to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy_to)

    def entries(self, stream):
        return turns.read_timeline(self.folder / "replay" / "streams" / stream / "timeline")

    def check_timeline(self, stream, whole):
        """The timeline is what replies said, and each batch is of its generation."""
        entries, want = self.entries(stream), [(g.number, g.first_step) for g in self.generations[stream]]
        assert [(e.number, e.first_step) for e in entries] == want, f"stream {stream}: its timeline is not {want}"
        chain = turns.effective(entries)
        for _, batch in whole:
            serving = max(e.number for e in chain if e.first_step <= batch["step"])
            told = f"stream {stream}, step {batch['step']} is of generation {batch['generation']}, not {serving}"
            assert batch["generation"] == serving, told

    def check_lost(self, undisturbed, stream, step):
        """What was made of a file that is no more is refused, with its name."""
        chain = turns.effective(self.entries(stream))
        if self.replaced & set([e for e in chain if e.first_step <= step][-1].corpora):
            why = replay.refused(undisturbed, stream, step)
            assert ".jsonl" in why, f"stream {stream}, step {step}: {why}"

    def check_account(self, stream, whole):
        """Each record came as often as it should."""
        split = changes.find(self.conf, stream)["overlong"] == "split"
        versions = {name: {len(pairs): pairs for pairs in corpus.versions} for name, corpus in self.corpora.items()}
        settings = {g.number: g.settings for g in self.generations[stream]}
        folder = self.folder / "replay" / "streams" / stream
        times = replay.count(whole, split)
        account = turns.Account(times, len(whole), settings, self.entries(stream), folder, versions, split)
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
                shutil.copytree(place, keep / f"round-{seed}", dirs_exist_ok=True)
            raise
        r.tally["rounds"] += 1
        r.tally["rounds on a small disk"] += disk is not None
        r.tally["rounds behind a cable"] += network is not None
        return r.tally


def run_tries(seed, keep, tries):
    """One round, played again where it fails, as often as it may be."""
    for left in reversed(range(tries)):
        try:
            tally = run_one(seed, keep)
            tally["rounds played again"] += tries - 1 - left
            return tally
        except Exception:
            if left == 0:
                raise


def run(rounds, seed, jobs=1, keep=None, tries=1):
    """Returns what happened, in words; raises what a round raises, the last time that it may be tried."""
    total, seeds = collections.Counter(), range(seed, seed + rounds)
    if jobs == 1:
        for s in seeds:
            total.update(run_tries(s, keep, tries))
    else:
        with concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
            try:
                for tally in pool.map(run_tries, seeds, itertools.repeat(keep), itertools.repeat(tries)):
                    total.update(tally)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return ", ".join(f"{n} {what}" for what, n in total.items())
