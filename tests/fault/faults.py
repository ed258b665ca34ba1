"""What goes wrong around a daemon: its disk, its files, its network, its process."""

import contextlib
import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

import support

LIBRARY = support.BUILD / "tests" / "libfaults.so"


class Faults:
    """faults.so in a daemon (faults.c): what happens at its n-th change of a file in a folder."""

    NONE, DIE_BEFORE, DIE_AFTER, DIE_HALFWAY, NO_SPACE, IO_ERROR = range(6)
    DEADLY = (DIE_BEFORE, DIE_AFTER, DIE_HALFWAY)
    FAILING = (NO_SPACE, IO_ERROR)
    LAYOUT = struct.Struct("<QQII")

    def __init__(self, path, folder):
        path.write_bytes(bytes(self.LAYOUT.size))
        with path.open("r+b") as f:
            self._map = mmap.mmap(f.fileno(), self.LAYOUT.size)
        self.deadly = False  # may it have died of this?
        self.environment = {
            "LD_PRELOAD": str(LIBRARY), "SKIPALIGN_FAULTS": str(path), "SKIPALIGN_FAULTS_DIR": str(folder),
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0",
        }

    def close(self):
        self._map.close()

    @property
    def count(self):
        return self.LAYOUT.unpack(self._map[:])[0]

    @property
    def happened(self):
        return self.LAYOUT.unpack(self._map[:])[3]

    def arm(self, what, calls):
        """From the calls-th call on, counted from now."""
        struct.pack_into("<I", self._map, 16, self.NONE)
        struct.pack_into("<Q", self._map, 8, self.count + calls)
        struct.pack_into("<II", self._map, 16, what, 0)
        self.deadly |= what in self.DEADLY

    def renew(self):
        """Another process is about to begin."""
        self.deadly = self.LAYOUT.unpack(self._map[:])[2] in self.DEADLY

    def clear(self):
        struct.pack_into("<II", self._map, 16, self.NONE, 0)


@contextlib.contextmanager
def small_disk(folder, mebibytes=1):
    """A tmpfs of 1 MiB; None where this may not mount one."""
    disk = Path(folder) / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def fill(disk, room):
    """Leaves so many bytes of a small disk, about."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as f:
        while True:
            f.write(bytes(4096))
    os.truncate(disk / "filler", max(0, (disk / "filler").stat().st_size - room))


def make_room(disk):
    (disk / "filler").unlink(missing_ok=True)


def damage(rng, paths):
    """One of these files, in one place: a bit, its end, or all of it is gone. Returns which, or None."""
    paths = sorted(path for path in paths if path.is_file() and path.stat().st_size > 0)
    if not paths:
        return None
    path = rng.choice(paths)
    kind, at = rng.random(), rng.randrange(path.stat().st_size)
    if kind < 0.2:
        path.unlink()
    elif kind < 0.5:
        os.truncate(path, at)
    else:
        with path.open("r+b") as f:
            f.seek(at)
            byte = f.read(1)
            f.seek(at)
            f.write(bytes([byte[0] ^ 1 << rng.randrange(8)]))
    return path


class Network:
    """A network namespace for a daemon, a cable to it, and what happens to cables."""

    def __init__(self):
        number = os.getpid()
        self.name = f"skipalign-{number}"
        net = f"10.{192 + number // 16384 % 32}.{number // 64 % 256}"
        self._near_address, self.address = (f"{net}.{number % 64 * 4 + i}" for i in (1, 2))
        self.inside = ["nsenter", f"--net=/run/netns/{self.name}"]
        self._near, self._far = f"sk{number}a", f"sk{number}b"

    def _run(self, *command, inside=False):
        subprocess.run([*(self.inside if inside else ()), *command], check=True, capture_output=True)

    def _up(self):
        self._run("ip", "netns", "add", self.name)
        self._run("ip", "link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self.name)
        self._run("ip", "address", "add", f"{self._near_address}/30", "dev", self._near)
        self._run("ip", "link", "set", self._near, "up")
        self._run("ip", "address", "add", f"{self.address}/30", "dev", self._far, inside=True)
        self._run("ip", "link", "set", self._far, "up", inside=True)
        self._run("ip", "link", "set", "lo", "up", inside=True)

    def __enter__(self):
        """None where this machine does not let us."""
        try:
            self._up()
            return self
        except (OSError, subprocess.CalledProcessError):
            self.__exit__()
            return None

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            subprocess.run(["ip", "netns", "del", self.name], capture_output=True)

    def cut(self):
        self._run("ip", "link", "set", self._far, "down", inside=True)

    def heal(self):
        self._run("ip", "link", "set", self._far, "up", inside=True)

    def slow(self, rate):
        bucket = ("tbf", "rate", rate, "burst", "16k", "latency", "1s")
        self._run("tc", "qdisc", "add", "dev", self._far, "root", *bucket, inside=True)

    def hurry(self):
        self._run("tc", "qdisc", "del", "dev", self._far, "root", inside=True)
