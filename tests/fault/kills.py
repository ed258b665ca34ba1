#!/usr/bin/env python3
"""Kills a loaded daemon at random moments, over and over, and wants every batch as if nothing had happened.

    tests/fault/kills.py [--rounds N] [--seed S]

A round is one state_dir: the daemon is started, killed (SIGKILL: while it starts, scans, makes its first window, or
serves), maybe its files are damaged or its disk filled up, and started again, until three trainers have read the whole
stream, each going on at its next step. Every batch must have the hash that an undisturbed daemon gave, and the
quarantine must say the same in the end. Where this may mount one, every second round has its state_dir on a small disk
that fills up at random. The seed of a round that fails is printed.
"""

import argparse
import contextlib
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))
import support
import zmq

TRAINERS = ((1, 0), (2, 0), (2, 1))  # world, rank
SETUPS = (
    {"workers": 1, "memory": "40MiB"},
    {"workers": 3},
    {"workers": 2, "io": "pread"},
)


class Trainer:
    """Reads on from its step, as often as the daemon comes back."""

    def __init__(self, world, rank, step, expected):
        self.world, self.rank, self.step, self.expected = world, rank, step, expected
        self.peer, self.ended = None, False

    def connect(self, feeder, credit):
        self.disconnect()
        self.peer = support.Dealer(feeder.listen, stream=None, reconnect_ivl=1)
        self.peer.send("open", version=1, stream="s", world=self.world, rank=self.rank, step=self.step, credit=credit)

    def disconnect(self):
        if self.peer is not None:
            self.peer.close()
            self.peer = None

    def take(self):
        """One message; True for a batch."""
        message = self.peer.receive()
        if message["type"] == "batch":
            assert message["step"] == self.step, f"step {message['step']} came, {self.step} was next"
            assert message["hash"] == self.expected[self.step], f"step {self.step} has other bytes"
            self.step += 1
            self.peer.send("credit", credit=1)
            return True
        if message["type"] == "end":
            assert (message["step"], self.step) == (len(self.expected),) * 2, f"ended at {self.step}: {message}"
            self.ended = True
        else:
            assert message["type"] == "opened", message
        return False


class World:
    """What all rounds share: a corpus, and what an undisturbed daemon makes of it."""

    def __init__(self, folder):
        rng = random.Random(11)
        say = lambda: " ".join(f"{rng.randrange(1000)}" for _ in range(rng.randint(1, 30)))
        records = [support.dialogue(say(), say(), say(), say()) for _ in range(2200)]
        path = support.write_jsonl(folder / "c.jsonl", records)
        lines = path.read_text().splitlines(keepends=True)
        for i in range(0, len(lines), 9):
            lines[i] = lines[i][:40] + "\n"  # for the quarantine
        path.write_text("".join(lines))
        self.config = support.config(path, format="messages", seq_len=256, global_batch=24, epochs=2)
        with support.Feeder(self.config) as feeder:
            self.hashes = {}
            for world, rank in TRAINERS:
                with support.Dealer(feeder.listen, world=world, rank=rank) as trainer:
                    self.hashes[world, rank] = [batch["hash"] for batch in trainer.batches()]
            self.quarantine = feeder.ctl("--json", "quarantine", "s")
        started = time.monotonic()
        with support.Feeder(self.config):
            self.start_seconds = time.monotonic() - started


class Round:
    def __init__(self, world, rng, disk):
        self.world, self.rng, self.disk = world, rng, disk
        top = {**rng.choice(SETUPS), **({"state_dir": str(disk / "state")} if disk else {})}
        self.feeder = support.Feeder({**world.config, **top})
        self.state = Path(self.feeder.config["state_dir"])
        self.kills = self.starved = self.damaged = 0
        self.trainers = []
        for world_size, rank in TRAINERS:
            self.start_trainer(world_size, rank)

    def start_trainer(self, world_size, rank):
        hashes = self.world.hashes[world_size, rank]
        step = self.rng.choice([0, self.rng.randrange(len(hashes))])
        self.trainers.append(Trainer(world_size, rank, step, hashes))

    def fill(self):
        """Leaves the disk some random room, or none."""
        with contextlib.suppress(OSError), (self.disk / "filler").open("wb", buffering=0) as f:
            while True:
                f.write(bytes(512))
        room = self.rng.choice([0, 4096, 8192, 40960])
        os.truncate(self.disk / "filler", max(0, (self.disk / "filler").stat().st_size - room))

    def damage(self):
        """One file of state_dir that can be made again, in one place."""
        files = sorted(path for path in self.state.rglob("*")
                       if path.is_file() and path.stat().st_size > 0 and path.name != "timeline")
        if files:
            path = self.rng.choice(files)
            at = self.rng.randrange(path.stat().st_size)
            with path.open("r+b") as f:
                if self.rng.random() < 0.3:
                    f.truncate(at)
                else:
                    f.seek(at)
                    byte = f.read(1)
                    f.seek(at)
                    f.write(bytes([byte[0] ^ 1 << self.rng.randrange(8)]))
            self.damaged += 1

    def serve(self, seconds, batches):
        """Until so many seconds are over, so many batches taken, all trainers done, or the daemon has ended (False)."""
        poller, deadline = zmq.Poller(), time.monotonic() + seconds
        pidfd = os.pidfd_open(self.feeder.process.pid)
        try:
            notify = self.feeder._notify
            poller.register(pidfd, select.POLLIN)
            poller.register(notify, select.POLLIN)
            going = {t.peer.socket: t for t in self.trainers if not t.ended}
            for socket in going:
                poller.register(socket, zmq.POLLIN)
            while going and batches > 0 and (left := deadline - time.monotonic()) > 0:
                ready = dict(poller.poll(left * 1000))
                if pidfd in ready:
                    return False
                if ready.pop(notify.fileno(), None):
                    notify.recv(65536)
                for socket in ready:
                    batches -= going[socket].take()
                    if going[socket].ended:
                        poller.unregister(socket)
                        del going[socket]
            return True
        finally:
            os.close(pidfd)

    def life(self, last):
        """One start of the daemon and, but for the last, its end."""
        if self.disk and not last and self.rng.random() < 0.7:
            self.fill()
        elif self.disk:
            (self.disk / "filler").unlink(missing_ok=True)
        self.feeder.launch()
        for trainer in self.trainers:
            if not trainer.ended:
                trainer.connect(self.feeder, self.rng.choice([1, 4, 32]))
        if last:
            alive = self.serve(support.PATIENCE, float("inf"))
            assert all(t.ended for t in self.trainers), f"waited {support.PATIENCE} s; log:\n{self.feeder.log()}"
        elif self.rng.random() < 0.5:
            alive = self.serve(self.rng.uniform(0, 1.5 * self.world.start_seconds), float("inf"))
        else:
            alive = self.serve(support.PATIENCE, self.rng.randrange(1, 400))
        if not alive:  # only for want of room
            rc = self.feeder.wait()
            assert (rc, bool(self.disk)) == (1, True) and "space" in self.feeder.log().splitlines()[-1], (
                f"ended with {rc}:\n{self.feeder.log()}")
            self.starved += 1
        elif not last:
            self.feeder.kill()
            self.kills += 1

    def run(self):
        try:
            for _ in range(self.rng.randint(2, 6)):
                self.life(last=False)
                if self.rng.random() < 0.4:
                    self.damage()
            self.start_trainer(1, 0)  # the others may be through
            self.life(last=True)
            found = self.feeder.ctl("--json", "quarantine", "s")
            assert found == self.world.quarantine, "the quarantine says something else"
            assert self.feeder.stop() == 0
        finally:
            for trainer in self.trainers:
                trainer.disconnect()
            self.feeder.__exit__(sys.exc_info()[0])


@contextlib.contextmanager
def small_disk(folder):
    """A tmpfs of 1 MiB; None where this may not mount one."""
    disk = Path(folder) / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def run(rounds, seed):
    """Returns what happened, in words; raises what a round raises, after its seed was printed."""
    total, disks = [0, 0, 0], 0
    with tempfile.TemporaryDirectory(prefix="skipalign-kills-") as folder:
        world = World(Path(folder))
        for i in range(rounds):
            with tempfile.TemporaryDirectory(prefix="skipalign-round-") as place, contextlib.ExitStack() as stack:
                disk = stack.enter_context(small_disk(place)) if i % 2 else None
                r = Round(world, random.Random(f"{seed + i}"), disk)
                try:
                    r.run()
                except BaseException:
                    print(f"failed: tests/fault/kills.py --rounds {1 + i % 2} --seed {seed + i - i % 2}", flush=True)
                    raise
                disks += disk is not None
                total = [a + b for a, b in zip(total, (r.kills, r.damaged, r.starved))]
    return (f"{rounds} rounds: {total[0]} kills, {total[1]} damaged files; {disks} rounds on a disk that fills up, "
            f"{total[2]} starts without room")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(run(args.rounds, args.seed))


if __name__ == "__main__":
    main()
