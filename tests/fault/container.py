"""A small Debian of its own with systemd as process 1 and the installed feeder in it; no virtual machine, no download.

    with Container(folder) as debian:
        debian.write("etc/skipalign/skipalignd.yaml", text)
        debian("systemctl", "start", "skipalignd")

Its /usr is this machine's under what `cmake --install` puts there, read-only; everything else starts empty. It has
this machine's network: trainers reach it over TCP on loopback. Needs root and systemd-nspawn.
"""

import os
import select
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from support import BUILD, PATIENCE


def why_not():
    """Why this machine cannot have one; None if it may."""
    if os.geteuid() != 0:
        return "only root may start a container"
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is not installed (Debian: systemd-container)"
    return None


class CannotBoot(Exception):
    """With systemd-nspawn's last words."""


class Container:
    def __init__(self, folder):
        self.root, self.tree = Path(folder) / "root", Path(folder) / "tree"
        self.log_path, self.ready_path = Path(folder) / "nspawn.log", Path(folder) / "ready"
        self.process = self.leader = None

    def __enter__(self):
        install = ["cmake", "--install", BUILD, "--prefix", "/usr"]
        subprocess.run(install, env=os.environ | {"DESTDIR": str(self.tree)}, check=True, stdout=subprocess.DEVNULL)
        for name in ("etc", "usr", "var", "run", "tmp", "srv", "dev", "proc", "sys"):
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (self.root / name).symlink_to(f"usr/{name}")
        shutil.copytree(self.tree / "etc", self.root / "etc", dirs_exist_ok=True)
        shutil.copy("/etc/os-release", self.root / "etc")  # systemd-nspawn wants to see one
        self.write("etc/machine-id", "5b1f0c5d3a1e4f0f9c3e0d9d6c8a7b42\n")  # not the first boot: nothing is enabled
        try:
            self.boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def boot(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, self.log_path.open("wb") as log:
            ready.bind(str(self.ready_path))
            # The last folder of an overlay is where it is mounted, the others lie on top of each other, first lowest.
            command = ["systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", "--machine=skipalign-test",
                       f"--overlay-ro=/usr:{self.tree}/usr:/usr", "--register=no", "--keep-unit", "--notify-ready=yes"]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=os.environ | {"NOTIFY_SOCKET": str(self.ready_path)})
            pidfd = os.pidfd_open(self.process.pid)
            try:
                said = ""
                while "READY=1" not in said:
                    can_read, _, _ = select.select([ready, pidfd], [], [], PATIENCE)
                    if ready not in can_read:
                        raise CannotBoot(" ".join(self.log_path.read_text(errors="replace").split()) or "not a word")
                    said += ready.recv(65536).decode() + "\n"
            finally:
                os.close(pidfd)
        self.leader = next(line.partition("=")[2] for line in said.split() if line.startswith("X_NSPAWN_LEADER_PID="))

    def __call__(self, *command, check=True, **options):
        """Runs a command inside, as root; returns the finished process."""
        inside = ["nsenter", "--target", self.leader, "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--net",
                  "--wd=/proc/self/root"]
        done = subprocess.run([*inside, *command], capture_output=True, text=True, timeout=PATIENCE, **options)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path
