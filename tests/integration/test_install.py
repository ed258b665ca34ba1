"""What `cmake --install` leaves: every file where Debian has such files, and a library that other people's programs
find with pkg-config, link either way, and read batches with."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import support
from support import BUILD, Feeder, config

PROGRAM = """
#include <skipalign.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    skipalign_feed *feed;
    const skipalign_batch *batch;
    const skipalign_options options = {.stream = "s", .verify = 1};
    int rc = argc == 2 ? skipalign_open(argv[1], &options, &feed) : SKIPALIGN_ARGUMENT;
    for (int i = 0; rc == 0 && i < 10; i++)
        if ((rc = skipalign_next(feed, &batch, -1)) == 0)
            printf("%016llx\\n", (unsigned long long)batch->hash);
    skipalign_close(feed);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
"""


def run(*command, **environment):
    done = subprocess.run(command, capture_output=True, text=True, timeout=support.PATIENCE,
                          env=os.environ | environment)
    assert done.returncode == 0, f"{command}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if "SKIPALIGN_SANITIZE:STRING=\n" not in (BUILD / "CMakeCache.txt").read_text():
            raise unittest.SkipTest("nobody installs a sanitizer build")
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="skipalign-install-")))
        cls.tree = cls.install("/usr")
        cls.lib = next(cls.tree.glob("usr/lib/**/libskipalign.a")).parent
        cls.pkg_config = {"PKG_CONFIG_SYSROOT_DIR": str(cls.tree), "PKG_CONFIG_PATH": str(cls.lib / "pkgconfig")}

    @classmethod
    def install(cls, prefix):
        """The tree under DESTDIR; the same one again for the same prefix."""
        tree = cls.folder / prefix.strip("/").replace("/", "-")
        run("cmake", "--install", str(BUILD), "--prefix", prefix, DESTDIR=str(tree))
        return tree

    def test_every_file_is_in_its_place(self):
        files = {path.relative_to(self.tree).as_posix() for path in self.tree.rglob("*") if not path.is_dir()}
        lib = self.lib.relative_to(self.tree).as_posix()
        machine = run("cc", "-print-multiarch").strip()
        self.assertEqual(lib, f"usr/lib/{machine}" if machine else "usr/lib")
        self.assertEqual({Path(name).name for name in files if name.startswith(f"{lib}/libskipalign.so.0.")},
                         {(self.lib / "libskipalign.so").resolve().name})
        self.assertEqual({name for name in files if not name.startswith(f"{lib}/libskipalign.so.0.")}, {
            "etc/skipalign/skipalignd.yaml",
            "usr/bin/skipalignctl",
            "usr/include/skipalign.h",
            f"{lib}/libskipalign.a",
            f"{lib}/libskipalign.so",
            f"{lib}/libskipalign.so.0",
            f"{lib}/pkgconfig/skipalign.pc",
            "usr/lib/systemd/system/skipalignd.service",
            "usr/lib/sysusers.d/skipalign.conf",
            "usr/lib/tmpfiles.d/skipalign.conf",
            "usr/sbin/skipalignd",
            "usr/share/doc/skipalign/LICENSE",
            "usr/share/doc/skipalign/PROTOCOL.md",
            "usr/share/doc/skipalign/README.md",
            "usr/share/doc/skipalign/examples/subscribe.py",
            "usr/share/doc/skipalign/examples/throughput.py",
        })

    def test_the_unit_starts_what_was_installed(self):
        for prefix, etc in (("/usr", "/etc"), ("/usr/local", "/usr/local/etc")):
            tree = self.install(prefix)
            unit = (tree / prefix[1:] / "lib/systemd/system/skipalignd.service").read_text()
            self.assertIn(f"\nExecStart={prefix}/sbin/skipalignd -c {etc}/skipalign/skipalignd.yaml\n", unit)
            for named in (f"{prefix}/sbin/skipalignd", f"{etc}/skipalign/skipalignd.yaml"):
                self.assertTrue((tree / named[1:]).is_file(), named)

    def test_a_configuration_that_someone_wrote_stays(self):
        tree = self.install("/opt/twice")
        path = tree / "opt/twice/etc/skipalign/skipalignd.yaml"
        path.write_text("workers: 3\n")
        self.install("/opt/twice")
        self.assertEqual(path.read_text(), "workers: 3\n")

    def test_programs_link_either_way_and_read_batches(self):
        source = self.folder / "program.c"
        source.write_text(PROGRAM)
        flags = run("pkg-config", "--cflags", "--libs", "skipalign", **self.pkg_config).split()
        private = run("pkg-config", "--static", "--libs-only-l", "skipalign", **self.pkg_config).split()
        private.remove("-lskipalign")
        run("cc", "-Wall", source, *flags, "-o", self.folder / "shared")
        run("cc", "-Wall", source, flags[0], self.lib / "libskipalign.a", *private, "-o", self.folder / "static")
        with Feeder(config(support.SAMPLE_CORPUS)) as feeder:
            shared = run(self.folder / "shared", feeder.listen, LD_LIBRARY_PATH=str(self.lib))
            self.assertEqual(len(shared.split()), 10)
            self.assertEqual(run(self.folder / "static", feeder.listen), shared)

    def test_header_is_plain_c_and_cxx(self):
        for language in ("-xc", "-std=c99"), ("-xc++", "-std=c++11"):
            run("cc", *language, "-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                self.tree / "usr/include/skipalign.h")

    def test_libraries_have_no_name_but_their_own(self):
        shared = run("nm", "-D", "--defined-only", self.lib / "libskipalign.so")
        static = run("nm", "-g", "--defined-only", self.lib / "libskipalign.a")
        for listing in (shared, static):
            names = {line.split()[2] for line in listing.splitlines() if len(line.split()) == 3}
            self.assertIn("skipalign_open", names)
            self.assertEqual({name for name in names if not name.startswith("skipalign_")}, set())
        needed = {line.split("[")[1].split("]")[0].split(".so")[0]
                  for line in run("readelf", "-d", self.lib / "libskipalign.so").splitlines() if "(NEEDED)" in line}
        self.assertLessEqual(needed, {"libzmq", "libxxhash", "libc", "ld-linux-x86-64"})
