"""What the benchmarks share: programs of this folder, corpora, feeders, and rows of results.

run and peers/compare.py import it. build() comes first: it installs what is missing, builds, and loads `support`.
"""

import collections
import contextlib
import gettext
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
ROWS, LENGTH = 8, 4096
GENERATED_RECORDS = 14000
MODEL, TEMPLATE = TOP / "tests" / "data" / "mistral-v3.model", "mistral-v3"
support = None  # tests/integration/support.py, once its packages are there


def build():
    subprocess.run([TOP / "tests" / "install", "build", "python"], check=True, stdout=sys.stderr)
    global support
    sys.path.insert(0, str(TOP / "tests" / "integration"))
    import support
    if "SKIPALIGN_BUILD" not in os.environ:
        for command in (["cmake", "--preset", "release"], ["cmake", "--build", "--preset", "release", "-j", str(os.cpu_count())]):
            done = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode != 0:
                sys.exit(f"{done.stdout}\nbench: {' '.join(command)} did not work; its output is above")
    if not (support.BUILD / "bench").is_dir():
        sys.exit(f"bench: {support.BUILD} has no bench/: build the project there first (with SKIPALIGN_TESTS on, as it is)")


class NotMeasured(Exception):
    """Why a benchmark says nothing on this machine."""


def row(name, ratio, must, unit, detail):
    return {"name": name, "ratio": None if ratio is None else round(ratio, 3), "must": must, "unit": unit, "detail": detail}


def median(values):
    return statistics.median(list(values))


def median_ratio(pairs):
    """Of numbers measured one right after the other: what disturbs the machine disturbs both."""
    return median(ours / theirs for ours, theirs in pairs)


@contextlib.contextmanager
def running(name, *arguments):
    """A program of this folder, and how to wait for its lines of numbers."""
    command = [sys.executable, TOP / "tests/bench" / name] if name.endswith(".py") else [support.BUILD / "bench" / name]
    pipe = subprocess.PIPE
    # Where modules may keep their bytecode, as installed ones do.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(
        [str(x) for x in (*command, *arguments)], stdout=pipe, stderr=pipe, text=True, env=environment
    ) as process:

        def finish():
            out, why = process.communicate()
            if process.returncode != 0:
                raise NotMeasured(why.strip() or f"{name} ended with {process.returncode}")
            return [[float(x) for x in line.split()] for line in out.splitlines()]

        try:
            yield finish
        finally:
            process.kill()


def program(name, *arguments):
    """... to its end."""
    with running(name, *arguments) as finish:
        return finish()


def consume(feeder, first=0, warm=1, length=0, seconds=1e9, door="dealer"):
    """Batches, tokens, seconds, next step, slots: see consume.c."""
    endpoint = feeder.listen if door == "dealer" else feeder.subscribe
    return program("consume", door, endpoint, "s", first, warm, length, seconds)[0]


Arrival = collections.namedtuple("Arrival", "step generation time tokens")  # of a batch; see arrivals.c


@contextlib.contextmanager
def arrivals(endpoints, first=0, count=0, seconds=1e9, client="arrivals"):
    """A trainer, and how to wait for its batches; the first one is when it began to open."""
    with running(client, endpoints, "s", first, count, seconds) as finish:
        yield lambda: [Arrival(*line) for line in finish()]


def settle(feeder):
    """Until the daemon has made what it makes ahead, and rests."""
    used = None
    while used != (used := Path(f"/proc/{feeder.process.pid}/stat").read_text().split()[13:15]):
        time.sleep(0.3)


class Data:
    """Corpora, made when they are asked for, in a folder that goes at the end."""

    def __init__(self, folder):
        self.folder = folder
        self._base, self._large = None, {}

    def base(self):
        """T0, or something like it: about 16 MB of prompts and completions."""
        if self._base is None:
            real = support.REAL_DATA and support.REAL_DATA / "corpora" / "t0-prompt-completion.jsonl"
            self._base = real if real and real.exists() else self._generate()
        return self._base

    def _generate(self):
        text = support.SAMPLE_CORPUS.read_text(encoding="utf-8")
        turns = (turn["content"] for line in text.splitlines() for turn in json.loads(line)["messages"])
        words = [word for turn in turns for word in turn.split()]
        draw = random.Random(17)

        def say(mean, spread):
            return " ".join(draw.choices(words, k=1 + int(draw.lognormvariate(mean, spread))))

        records = ({"prompt": say(4.6, 1.0), "completion": say(2.5, 1.2)} for _ in range(GENERATED_RECORDS))
        return support.write_jsonl(self.folder / "generated.jsonl", records)

    def digits(self):
        """Records like those of base(), but of digits: many tokens that are soon tokenised."""
        draw = random.Random(17)

        def say(mean):
            return "".join(draw.choices("0123456789", k=1 + int(draw.lognormvariate(mean, 0.8))))

        records = ({"prompt": say(5.1), "completion": say(3.5)} for _ in range(GENERATED_RECORDS))
        return support.write_jsonl(self.folder / "digits.jsonl", records)

    def _pairs(self, name, lines):
        """Prompts and completions of 2 KB or so each of these lines, 8 MB in all; none of them twice."""
        path, size, parts, part = self.folder / name, 0, [], []
        for line in dict.fromkeys(lines):
            part.append(line)
            size += len(line.encode())
            if size >= 2000 * (len(parts) + 1):
                parts.append("\n".join(part))
                part = []
            if size > 8e6:
                break
        records = ({"prompt": a, "completion": b} for a, b in zip(parts[::2], parts[1::2]))
        return support.write_jsonl(path, records), size

    def code(self):
        """C headers and Python that lie on this machine."""
        files = sorted(Path("/usr/include").rglob("*.h")) + sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))
        random.Random(17).shuffle(files)
        texts = (path.read_text(encoding="utf-8", errors="ignore") for path in files if path.is_file())
        return self._pairs("code.jsonl", (line for text in texts for line in text.splitlines() if line.strip()))[0]

    def cjk(self):
        """Chinese and Japanese: a novel, and what programs on this machine say in these languages."""
        novel = support.REAL_DATA and support.REAL_DATA / "corpora" / "novel-ja.txt"
        lines = novel.read_text(encoding="utf-8").splitlines() if novel and novel.exists() else []
        for path in sorted(Path("/usr/share/locale").glob("*/LC_MESSAGES/*.mo")):
            if path.parts[4].split("_")[0] in ("zh", "ja"):
                with path.open("rb") as file, contextlib.suppress(OSError, UnicodeError):
                    lines += (said for said in gettext.GNUTranslations(file)._catalog.values() if isinstance(said, str) and said)
        path, size = self._pairs("cjk.jsonl", lines)
        if size < 5e6:
            raise NotMeasured(f"{size / 1e6:.1f} MB of Chinese and Japanese are too few; install programs with translations")
        return path

    def _passes(self):
        """The lines of base(), again and again, each with a number of its own."""
        lines = self.base().read_bytes().splitlines(keepends=True)
        for n in itertools.count(0, len(lines)):
            yield b"".join(b'{"n":%d,' % (n + i) + line[1:] for i, line in enumerate(lines))

    def times(self, n):
        """A file of n such passes."""
        path = self.folder / f"{n}-times.jsonl"
        if not path.exists():
            with path.open("wb") as file:
                file.writelines(itertools.islice(self._passes(), n))
        return path

    def large(self, size):
        """A file of such passes, of that size."""
        if size not in self._large:
            path = self.folder / f"{size}.jsonl"
            if shutil.disk_usage(self.folder).free < size + (1 << 30):
                raise NotMeasured(f"{self.folder} has no room for {size >> 20} MiB; set TMPDIR")
            with path.open("wb") as file:
                passes = self._passes()
                while file.tell() < size:
                    file.write(next(passes))
                file.truncate(size)  # in the middle of a line, maybe: one record that is not JSON
                os.fsync(file.fileno())
            self._large[size] = path
        return self._large[size]

    def config(self, corpus, top=(), **stream):
        positions = {"strategy": "skip_all", "max_position": 65536}
        keys = {"tokenizer": MODEL, "template": TEMPLATE, "seq_len": LENGTH, "global_batch": ROWS, "epochs": 0, **stream}
        return support.config(corpus, positions=positions, top=top, **keys)

    @contextlib.contextmanager
    def config_file(self, corpus, **stream):
        """For a program that opens a corpus as the daemon would."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            path = Path(folder) / "skipalignd.yaml"
            path.write_text(json.dumps(self.config(corpus, top={"state_dir": f"{folder}/state"}, **stream)))
            yield path

    def feeder(self, corpus, workers=2, top=(), **stream):
        """Not started yet: `with` does."""
        feed = {"listen": support.free_endpoint(), "subscribe": support.free_endpoint()}
        return support.Feeder(self.config(corpus, top={"feed": feed, "workers": workers, **dict(top)}, **stream))
