"""`tests/bench/run peers`: one table of what people do today and what skipalignd does, on the same corpus in one run.

Tokenising alone runs in one thread. From file to trainer, two cores do everything: each loader is tried with all its
SETTINGS, and the run that is through first counts; where rows are packed, so it is with eight times as much.
Before anything is timed, all ids are compared with libsentencepiece's, and the documents of all loaders with skipalignd's.
"""

import collections
import contextlib
import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import common
from common import MODEL, NotMeasured, arrivals, median, row

HERE = Path(__file__).resolve().parent
CORES = 2
TIMES = 8  # over: the large corpus
CHECKED = 1000  # records whose documents are compared
ROUNDS = 3  # of ours
NAMES = {
    "datasets": "datasets + HF tokenizers + DataLoader",
    "datasets-streaming": "the same, streaming",
    "grain": "Grain + gigatoken",
    "grain-chunks": "Grain + gigatoken, chunks of 1,000 records in numpy",
}
SETTINGS = {  # --processes, --workers, --threads of loaders.py; rayon: threads of HF tokenizers in each process
    "datasets": [{"rayon": 2}, {"processes": 2, "rayon": 1}],
    "datasets-streaming": [{"rayon": 2}, {"rayon": 1, "workers": 2}],
    "grain": [{}, {"workers": 2}],
    "grain-chunks": [{}, {"workers": 2}],
}
CLIENTS = {"skipalignd, C client": "arrivals", "skipalignd, Python client": "arrivals.py"}
ROWS_OF = {"": "skipalignd, Python client", "-c": "skipalignd, C client"}  # what their names end in
MUST = {"datasets": 40, "grain": 6, "grain-chunks": 6}  # packed, eight times over

Run = collections.namedtuple("Run", "tokens whole first steady memory setting")  # seconds; steady: tokens a second; bytes


# ---- Python with their packages ----


@functools.cache
def python():
    """Of an environment that is made where it is not there yet, or was made for other packages."""
    folder = common.support.BUILD / "peers-venv"
    wanted, mark = (HERE / "requirements.txt").read_text(), folder / "requirements.txt"
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"bench: installing {HERE / 'requirements.txt'} into {folder} (once, 1.5 GB)", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
        pip = [folder / "bin" / "pip", "install", "-q"]
        if install(pip, "-r", HERE / "requirements.txt"):
            mark.write_text(wanted)
        else:
            for package in (line for line in wanted.splitlines() if not line.startswith("#")):
                install(pip, package)  # what cannot be had is missed by those who need it
    return folder / "bin" / "python"


def install(pip, *packages):
    """False, and pip's last word on stderr, where they cannot be had. torch for CPUs is here, or at its makers'."""
    for index in ([], ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]):
        done = subprocess.run([*pip, *packages, *index], capture_output=True, text=True)
        if done.returncode == 0:
            return True
    print(f"bench: pip: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr, flush=True)
    return False


def theirs(program, *arguments, rayon=1):
    """One of the programs here, to its end; what it printed. It finds nothing cached from another run."""
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "true"}
    with tempfile.TemporaryDirectory(prefix="skipalign-peers-") as cache:
        environment = os.environ | quiet | {"RAYON_NUM_THREADS": str(rayon), "HF_HOME": cache}
        environment.pop("HF_DATASETS_CACHE", None)
        command = [python(), HERE / program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise NotMeasured(f"{program}: {(done.stderr.strip() or 'no word').splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


# ---- memory ----


def descendants(pid):
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield child
            yield from descendants(child)


def memory_of_children():
    """Bytes of all processes under this one; pages that they share count once."""
    total = 0
    for pid in list(descendants(os.getpid())):
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(rollup.partition("\nPss:")[2].split()[0]) * 1024
    return total


@contextlib.contextmanager
def peak_memory():
    """A function that says what they had at most while `with` lasted. Looking takes two hundredths of the time."""
    peak, done = 0, threading.Event()

    def look():
        nonlocal peak
        pause = 0.02
        while not done.wait(pause):
            begun = time.monotonic()
            with contextlib.suppress(OSError):
                peak = max(peak, memory_of_children())
            pause = max(0.02, 50 * (time.monotonic() - begun))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lambda: peak
    finally:
        done.set()
        thread.join()


# ---- from file to trainer ----


def as_run(begun, first, last, first_tokens, tokens, memory, setting):
    steady = (tokens - first_tokens) / (last - first) if last > first else 0
    return Run(tokens, last - begun, first - begun, steady, memory, setting)


def run_ours(data, corpus, packing, client):
    """From the start of skipalignd, which has no index yet, and of a trainer beside it, to the last batch."""
    with contextlib.ExitStack() as stack:
        feeder = data.feeder(corpus, workers=CORES, epochs=1, packing=packing, last="pad")
        stack.push(feeder)
        memory = stack.enter_context(peak_memory())
        begun = time.monotonic()
        feeder.launch()
        with arrivals(feeder.listen, client=client) as finish:
            batches = finish()[1:]
        first, last = batches[0], batches[-1]
        feeder.hear("READY=1")
    tokens = sum(batch.tokens for batch in batches)
    return as_run(begun, first.time, last.time, first.tokens, tokens, memory(), {})


def options(packing, setting):
    found = [x for name in ("workers", "processes", "threads") if name in setting for x in (f"--{name}", setting[name])]
    return ["--tokenizer", tokenizer_json(), *found, *(["--packing"] if packing else [])]


def tokenizer_json():
    return common.support.BUILD / "peers-venv" / f"{MODEL.stem}.json"


def run_theirs(kind, corpora, packing, setting):
    """From the start of Python to the last batch."""
    with peak_memory() as memory:
        begun = time.monotonic()
        found = theirs("loaders.py", kind, *corpora, *options(packing, setting), rayon=setting.get("rayon", 1))
        peak = memory()
    times = (found[key] for key in ("first", "last", "first_tokens", "tokens"))
    return as_run(begun, *times, peak, setting)


def parts(data, corpus, kind, setting):
    """The file; for streaming workers one each, cut beforehand: datasets gives each worker whole files."""
    n = setting.get("workers", 0)
    if kind != "datasets-streaming" or n < 2:
        return [corpus]
    lines = corpus.read_bytes().splitlines(keepends=True)
    paths = [data.folder / f"part-{i}-{corpus.name}" for i in range(n)]
    for i, path in enumerate(paths):
        if not path.exists():
            path.write_bytes(b"".join(lines[i * len(lines) // n : (i + 1) * len(lines) // n]))
    return paths


def attempt(function, *arguments):
    """What it returns, or why there is nothing."""
    try:
        return function(*arguments)
    except NotMeasured as why:
        return f"not measured: {why}"


def fastest(runs):
    """Of one loader: the run that was through first; else, why there is none."""
    measured = [run for run in runs if isinstance(run, Run)]
    return min(measured, key=lambda run: run.whole) if measured else runs[0]


def middle(runs):
    """Of several runs of ours."""
    *columns, memory, _ = zip(*runs)
    return Run(*map(median, columns), max(memory), {})


def loaders(data, packing, large, unfit):
    """{name: (once, eight times)} of Runs. Ours take a second, theirs a minute, and a machine has good minutes and bad
    ones: so ours come before each of theirs, and after the last one."""
    corpora = [data.base()] + ([data.times(TIMES)] if large else [])
    ours = {(name, corpus): [] for name in CLIENTS for corpus in corpora}

    def measure_ours():
        for _ in range(ROUNDS):
            for (name, corpus), runs in ours.items():
                runs.append(run_ours(data, corpus, packing, CLIENTS[name]))

    found = {}
    for kind in SETTINGS:
        measure_ours()
        if kind in unfit:
            found[kind] = [unfit[kind]] * len(corpora)
            continue

        def measure(corpus, setting):
            return attempt(run_theirs, kind, parts(data, corpus, kind, setting), packing, setting)

        runs = [fastest([measure(corpora[0], setting) for setting in SETTINGS[kind]])]
        slow = kind.startswith("datasets") and isinstance(runs[0], Run)  # a minute and more on the large one
        settings = [runs[0].setting] if slow else SETTINGS[kind]
        runs += [fastest([measure(corpus, setting) for setting in settings]) for corpus in corpora[1:]]
        found[kind] = runs
    measure_ours()
    return {name: [middle(ours[name, corpus]) for corpus in corpora] for name in CLIENTS} | found


# ---- the same work ----


def our_documents(data, corpus, packing):
    """Adds up what skipalignd sends of a corpus."""
    sys.path.insert(0, str(HERE))
    import work

    checker = work.Checker()
    with data.feeder(corpus, epochs=1, packing=packing, last="pad") as feeder, common.support.Dealer(feeder.listen) as trainer:
        for batch in trainer.batches():
            arrays = common.support.arrays(batch)
            keys = ("input_ids", "labels", "position_ids", "tokens") + (("cu_seqlens",) if packing else ())
            checker.add_batch(**{key: arrays[key] for key in keys})
    return checker.result()


def check(data):
    """Texts of the corpus, and whose ids are not libsentencepiece's; and why a loader cannot be compared, if so."""
    theirs("tokenisers.py", "convert", MODEL, tokenizer_json())
    ids = theirs("tokenisers.py", "check", data.base(), MODEL, tokenizer_json(), rayon=CORES)
    some = data.folder / "some.jsonl"
    with data.base().open("rb") as lines:
        some.write_bytes(b"".join(itertools.islice(lines, CHECKED)))
    unfit = {}
    for packing in (False, True):
        expected = our_documents(data, some, packing)
        for kind in SETTINGS:
            found = attempt(theirs, "loaders.py", kind, some, "--check", *options(packing, {}))
            if isinstance(found, str):
                unfit[kind] = found
            elif wrong := {key: (found[key], value) for key, value in expected.items() if found[key] != value}:
                unfit[kind] = f"not measured: other work than skipalignd's: {wrong}"
    return ids, unfit


# ---- tokenising alone ----

Speed = collections.namedtuple("Speed", "call first again differ")  # seconds of a pass; strings with other ids


def tokenisers(data, ids):
    """{name: Speed}, fastest call first."""
    with data.config_file(data.base()) as config:
        rounds = common.program("tokenise", config, 1, ROUNDS)
    _, library, first, again = (median(column) for column in zip(*rounds))
    found = {"skipalignd": [Speed("", first, again, 0)], "libsentencepiece": [Speed("Encode", library, library, 0)]}
    for name, calls in theirs("tokenisers.py", "speed", data.base(), MODEL, tokenizer_json()).items():
        made = [Speed(call, *seconds, ids[name]) for call, seconds in calls.items()]
        found[name] = sorted(made, key=lambda speed: speed.again)
    return found


# ---- the table ----


def million(x):
    return f"{x / 1e6:.2f}" if x < 1e7 else f"{x / 1e6:.1f}"


def tokeniser_lines(found, ids):
    ours = found["skipalignd"][0]
    yield f"Tokenising alone, one thread, {ids['strings']:,} texts of {ids['bytes'] / 1e6:.1f} MB, {MODEL.name}:"
    yield ""
    yield "| | first pass, MB/s | once more, MB/s | skipalignd is faster by | other ids than libsentencepiece |"
    yield "|---|---|---|---|---|"
    for name, speeds in found.items():
        for speed in speeds:
            times = f"{speed.first / ours.first:.1f}, {speed.again / ours.again:.1f}" if speed is not ours else ""
            label = f"{name}, {speed.call}" if speed.call and len(speeds) > 1 else name
            yield (f"| {label} | {ids['bytes'] / 1e6 / speed.first:.1f} | {ids['bytes'] / 1e6 / speed.again:.1f} | {times} |"
                   f" {speed.differ} of {ids['strings']:,} |")


def describe(setting):
    words = [f"{n} {word}" for key, word in (("processes", "map processes"), ("workers", "workers"), ("threads", "threads"))
             if (n := setting.get(key))]
    return ", ".join(words) or "one process"


def loader_lines(found, packing):
    large = all(len(runs) > 1 for runs in found.values())
    yield ""
    yield (f"From file to trainer, {CORES} cores, {common.ROWS} rows of {common.LENGTH:,}, {'packed' if packing else 'padded'};"
           " million tokens a second:")
    yield ""
    columns = ["", "once", f"{TIMES} times over", "steady", "first batch, s", "memory, MB", "setting"]
    columns = columns if large else columns[:2] + columns[3:]
    yield "| " + " | ".join(columns) + " |"
    yield "|---" * len(columns) + "|"
    for name, runs in found.items():
        label = NAMES.get(name, name)
        if not all(isinstance(run, Run) for run in runs):
            yield f"| {label} | {next(run for run in runs if not isinstance(run, Run))} |" + " |" * (len(columns) - 2)
            continue
        last = runs[-1]
        cells = [million(run.tokens / run.whole) for run in runs] + [million(last.steady), f"{runs[0].first:.2f}",
                 f"{last.memory / 1e6:,.0f}", describe(last.setting) if name in SETTINGS else "2 workers"]
        yield f"| {label} | " + " | ".join(cells) + " |"


def ratios(found, packing):
    """Rows as other benchmarks have them."""
    kind_of_rows = "packed" if packing else "padded"
    for (end, client), kind in itertools.product(ROWS_OF.items(), SETTINGS):
        for ours, run, times in zip(found[client], found[kind], ("once", f"{TIMES}x")):
            name = f"peers-{kind}-{times}-{kind_of_rows}{end}"
            if not isinstance(run, Run):
                yield row(name, None, None, "", run)
                continue
            speeds = [x.tokens / x.whole for x in (ours, run)]
            must = MUST.get(kind) if times != "once" else None
            yield row(name, speeds[0] / speeds[1], must, f"x {NAMES[kind]}",
                      f"{million(speeds[0])} million tokens/s against {million(speeds[1])}, whole run")


def machine():
    """What it ran on, and when."""
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    return f"{time.strftime('%Y-%m-%d')}, {CORES} of {len(names)} cores of {names[0] if names else os.uname().machine}"


def compare(data, quick, say):
    """Measures, and says each table as it is done; returns what --json prints."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:CORES]))
    ids, unfit = check(data)
    tables = {"tokenisers": tokenisers(data, ids)}
    say("\n".join([machine() + ".", "", *tokeniser_lines(tables["tokenisers"], ids)]))
    rows = []
    for packing in (True, False):
        found = tables["packed" if packing else "padded"] = loaders(data, packing, packing and not quick, unfit)
        say("\n".join(loader_lines(found, packing)))
        rows += ratios(found, packing)
    say("")

    def plain(runs):
        return [run if isinstance(run, str) else run._asdict() for run in runs]

    as_dicts = {table: {name: plain(runs) for name, runs in found.items()} for table, found in tables.items()}
    return {"machine": machine(), "corpus": ids, **as_dicts, "ratios": rows}
