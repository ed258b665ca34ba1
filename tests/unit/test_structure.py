"""The shape of the source tree: who may include whom, which file may use which library, headers that stand alone."""

import re
import shutil
import subprocess
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent

# A stage may include itself and what stands here: data flows one way, so do includes.
USES = {
    "base": set(),
    "config": {"base"},
    "corpus": {"config", "base"},
    "text": {"corpus", "config", "base"},
    "position": {"config", "base"},
    "stream": {"position", "text", "corpus", "config", "base"},
    "feed": {"stream", "position", "text", "corpus", "config", "base", "proto"},
    "control": {"feed", "stream", "position", "text", "corpus", "config", "base", "proto"},
    "service": {"stream", "position", "text", "corpus", "config", "base"},
    "proto": set(),
    "client": {"proto"},
}
SERVER = {"control", "feed", "service", "stream", "position", "text", "corpus", "config", "base", "proto", "server"}

# The corner of each outside library: header, and the files (by pattern) that may see it.
CORNERS = {
    r"liburing\.h": r"daemon/corpus/io_uring\.c",
    r"simdjson.*": r"daemon/corpus/record\.cc",
    r"zlib\.h": r"daemon/corpus/inflate_gzip\.c",
    r"zstd(_errors)?\.h": r"daemon/corpus/inflate_zstd\.c",
    r"sentencepiece.*": r"daemon/text/tokenizer_sp\.cc",
    r"sodium\.h": r"daemon/text/tokenizer\w*\.\w+",
    r"yaml\.h": r"daemon/config/\w+\.[ch]",
    r"systemd/.*": r"daemon/service/\w+\.[ch]",
    r"zmq\.h": r"(daemon/(feed|control)|client)/\w+\.[ch]",
    r"msgpack.*": r"proto/\w+\.[ch]",
    r"xxhash\.h": r"(daemon/(base|corpus|stream|feed)|client)/\w+\.[ch]",
}

# These return what happened; the thread that decides what happens next logs it.
SILENT = {"corpus", "text", "position", "stream", "config", "proto", "client"}


def sources():
    found = [path for folder in ("daemon", "proto", "client") for path in sorted((TOP / folder).rglob("*"))
             if path.suffix in (".c", ".h", ".cc")]
    assert len(found) > 20, f"only {len(found)} sources: has the tree moved?"
    return found


def name(path):
    return path.relative_to(TOP).as_posix()


def stage(path):
    """The folder that a file belongs to; main.c and server.c are `server`."""
    parts = path.relative_to(TOP).parts
    return parts[0] if parts[0] != "daemon" else (parts[1] if len(parts) > 2 else "server")


def includes(path):
    """(quoted or <>, what) of each #include."""
    return re.findall(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', path.read_text(), re.M)


class Structure(unittest.TestCase):
    def test_includes_go_one_way(self):
        wrong = []
        for path in sources():
            here = stage(path)
            allowed = (SERVER if here == "server" else USES[here]) | {here}
            for quote, what in includes(path):
                if quote == '"' and (what.split("/")[0] if "/" in what else here) not in allowed:
                    wrong.append(f"{name(path)} includes {what}")
        self.assertEqual(wrong, [])

    def test_quoted_includes_name_a_file_from_the_root(self):
        """Relative to daemon/, or to the top for proto/; the client also finds what lies beside it."""
        wrong = []
        for path in sources():
            roots = [TOP, path.parent] if stage(path) == "client" else [TOP / "daemon", TOP]
            wrong += [f"{name(path)} includes {what}" for quote, what in includes(path)
                      if quote == '"' and not any((root / what).is_file() for root in roots)]
        self.assertEqual(wrong, [])

    def test_libraries_stay_in_their_corners(self):
        wrong = [f"{name(path)} includes <{what}>" for path in sources() for quote, what in includes(path)
                 for header, corner in CORNERS.items()
                 if re.fullmatch(header, what) and not re.fullmatch(corner, name(path))]
        self.assertEqual(wrong, [])

    def test_every_corner_is_used(self):
        """Otherwise a renamed header would make the test above pass by itself."""
        seen = {what for path in sources() for _, what in includes(path)}
        unused = [header for header in CORNERS if not any(re.fullmatch(header, what) for what in seen)]
        self.assertEqual(unused, [])

    def test_stages_that_return_do_not_log(self):
        wrong = [name(path) for path in sources() if stage(path) in SILENT
                 and any(what == "base/log.h" for _, what in includes(path))]
        self.assertEqual(wrong, [])

    def test_cxx_is_in_the_two_shims_only(self):
        self.assertEqual([name(path) for path in sources() if path.suffix == ".cc"],
                         ["daemon/corpus/record.cc", "daemon/text/tokenizer_sp.cc"])

    def test_files_are_short(self):
        long = [name(path) for path in sources() if path.read_text().count("\n") > 700]
        self.assertEqual(long, [])


class Python(unittest.TestCase):
    def test_names_are_known_and_used(self):
        """A name that is not known is an error only once its line is run, and benchmarks are not run here."""
        if shutil.which("pyflakes3") is None:
            self.skipTest("pyflakes3 is not installed")
        done = subprocess.run(["pyflakes3", TOP / "client", TOP / "tests", TOP / "tests/bench/run",
                               TOP / "tests/fault/history"],
                              capture_output=True, text=True)
        self.assertEqual(done.stdout + done.stderr, "")


class Headers(unittest.TestCase):
    def compile_alone(self, headers, *command):
        """Each header twice (it must guard itself) and nothing else."""
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
            def compile_one(header):
                source = Path(folder) / (header.replace("/", "-") + ".c")
                source.write_text(f'#include "{header}"\n#include "{header}"\n')
                done = subprocess.run([*command, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{TOP}/daemon",
                                       f"-I{TOP}", str(source)], capture_output=True, text=True)
                return done.stderr
            self.assertEqual("".join(pool.map(compile_one, headers)), "")

    def test_every_header_compiles_alone(self):
        headers = [name(path).removeprefix("daemon/") for path in sources() if path.suffix == ".h"]
        self.compile_alone(headers, "gcc", "-std=c17", "-D_GNU_SOURCE")

    def test_public_header_compiles_in_old_and_strict_c_and_cxx(self):
        self.compile_alone(["client/skipalign.h"], "gcc", "-std=c99", "-pedantic")
        self.compile_alone(["client/skipalign.h"], "g++", "-xc++", "-std=c++11", "-pedantic")

    def test_headers_of_the_shims_compile_in_cxx(self):
        headers = [name(path).removeprefix("daemon/") for path in sources()
                   if path.suffix == ".h" and 'extern "C"' in path.read_text()]
        self.assertIn("corpus/record.h", headers)
        self.assertIn("text/tokenizer_sp.h", headers)
        self.compile_alone(headers, "g++", "-xc++", "-std=c++17", "-D_GNU_SOURCE")


if __name__ == "__main__":
    unittest.main()
