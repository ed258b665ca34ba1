"""What a stream is read from and how, and how people change it: random corpora, configurations and changes of them."""

import copy
import json
import math

import support

WORDS = "the feeder gives every token a position and jumps ahead between blocks of a short dialogue".split()
MODELS = ((support.SAMPLE_MODEL, "chatml"), (support.SAMPLE_MODEL, "chatml"), (support.SAMPLE_MODEL, "plain"),
          (support.DATA / "mistral-v1.model", "mistral-v1"))
REPEATS = (0.25, 0.5, 1.0, 1.0, 2.0, 3.5)


class Corpus:
    """One file of dialogues short enough for any row, some lines of it broken.

    versions: for each that the file ever had, the pairs (instruction, response) of each record; 0: cannot be used.
    No two have the same number of records.
    """

    def __init__(self, rng, folder, name, broken):
        self.rng, self.name, self.broken, self.path = rng, name, broken, folder / f"{name}.jsonl"
        self.versions = [[]]
        self.append(rng.randint(40, 700))

    @property
    def pairs(self):
        return self.versions[-1]

    def _lines(self, n):
        say = lambda: " ".join(self.rng.choices(WORDS, k=self.rng.randint(2, 6)))
        for _ in range(n):
            pairs = self.rng.randint(1, 4)
            line = json.dumps(support.dialogue(*(say() for _ in range(2 * pairs))))
            broken = self.rng.random() < self.broken
            yield (0 if broken else pairs), (line[: len(line) // 2] if broken else line) + "\n"

    def append(self, n):
        while len(self.pairs) + n in map(len, self.versions):
            n += 1
        added = list(self._lines(n))
        self.versions.append(self.pairs + [pairs for pairs, _ in added])
        with self.path.open("a") as f:
            f.write("".join(line for _, line in added))

    def replace(self, n):
        """Another file takes its place, as a tool that prepares data would do it."""
        kept, self.versions = self.versions, [*self.versions, []]
        self.path.rename(self.path.with_suffix(".old"))
        self.append(n)
        self.versions = [*kept, self.pairs]


def configuration(rng, folder):
    """(configuration of a round, its corpora by name)."""
    broken = rng.choice([0, 0, 0.05])
    corpora = {name: Corpus(rng, folder, name, broken) for name in ("a", "b", "c")[: rng.randint(1, 3)]}
    names = ("s", "t") if rng.random() < 0.3 else ("s",)
    epochs, overlong = rng.choice([0, 1, 2, 3]), rng.choice(["truncate", "split"])
    conf = {
        "corpora": [corpus_entry(c) for c in corpora.values()],
        "streams": [{
            "name": name, "tokenizer": str(support.SAMPLE_MODEL), "template": "chatml",
            "corpora": [{"name": c, "repeat": rng.choice(REPEATS)} for c in corpora],
            "seq_len": rng.choice([64, 128, 256]), "global_batch": rng.choice([4, 8, 12]),
            "packing": rng.random() < 0.7, "overlong": overlong, "last": "pad", "seed": rng.randrange(100),
            "epochs": epochs, "max_unusable": 1, "positions": {
                "strategy": "skip_all", "sampler": "sorted", "max_position": 4096, "probability": 1.0},
        } for name in names],
        **rng.choice([{"workers": 1, "memory": "40MiB"}, {"workers": 3}, {"workers": 2, "io": "pread"}]),
    }
    return conf, corpora


def corpus_entry(corpus):
    return {"name": corpus.name, "paths": [str(corpus.path)], "format": "messages"}


class Change:
    """A command of the control socket, and the configuration that it leads to; None: it must be refused.

    names:  settings that it must say to have changed.   streams: those that begin a generation.
    other:  a corpus whose file is another; replaced: what it was cannot be had any more.
    """

    def __init__(self, command, arguments, before, after, other=None, replaced=False):
        self.command, self.arguments, self.after = command, arguments, after
        self.other, self.replaced = other, replaced
        self.names, self.streams, self.fewer_epochs = [], [], False
        for stream in after["streams"] if after is not None else []:
            old = find(before, stream["name"])
            self.fewer_epochs |= 0 < stream["epochs"] < (old["epochs"] or math.inf)
            changed = [name for name, value in settings(stream).items() if settings(old).get(name) != value]
            self.names += [f"{stream['name']}.{name}" for name in changed]
            if stream != old or other in {c["name"] for c in stream["corpora"]}:
                self.streams.append(stream["name"])

    def __repr__(self):
        other = f", other records of {self.other}" if self.other else ""
        return f"{self.command} {self.arguments} for {self.names} of {self.streams}{other}"


def settings(stream):
    """Those keys of a stream that change here, by their names in `set`."""
    keys = ("seq_len", "global_batch", "packing", "seed", "tokenizer", "template", "epochs")
    found = {key: stream[key] for key in keys}
    found.update({f"positions.{key}": value for key, value in stream["positions"].items()})
    return found


def find(conf, name):
    return next(s for s in conf["streams"] if s["name"] == name)


def some_settings(rng, stream):
    """A few keys of a stream and other values for them: [(name without the stream's, value)]."""
    positions = stream["positions"]
    tokenizer, template = rng.choice(MODELS)
    choices = [
        [("seq_len", rng.choice([64, 128, 256, 512]))],
        [("global_batch", rng.choice([4, 6, 8, 12, 16]))],
        [("packing", not stream["packing"])],
        [("seed", stream["seed"] + 1)],
        [("tokenizer", str(tokenizer)), ("template", template)],
        [("positions.strategy", rng.choice(["none", "skip_all", "skip_inner", "skip_outer"]))],
        [("positions.sampler", rng.choice(["sorted", "sequential", "even", "pinned"]))],
        [("positions.max_position", positions["max_position"] + rng.randint(1, 9))],
        [("positions.probability", rng.choice([0.25, 0.5, 1.0]))],
        [(f"corpora.{c['name']}.repeat", rng.choice(REPEATS)) for c in stream["corpora"]],
        [(f"corpora.{rng.choice(stream['corpora'])['name']}.repeat", rng.choice(REPEATS))],
    ]
    if stream["epochs"] > 0:
        choices.append([("epochs", stream["epochs"] + 1)])
    picked = rng.sample(choices, rng.choice([1, 1, 1, 2, 3]))
    return list(dict(pair for some in picked for pair in some).items())


def apply(stream, name, value):
    """A setting to a stream's part of a configuration."""
    words = name.split(".")
    if words[0] == "corpora":
        stream, words = next(c for c in stream["corpora"] if c["name"] == words[1]), words[2:]
    elif words[0] == "positions":
        stream, words = stream["positions"], words[1:]
    stream[words[0]] = value


def value_text(value):
    return value if isinstance(value, str) else json.dumps(value)


def set_settings(rng, conf):
    after = copy.deepcopy(conf)
    stream = rng.choice(after["streams"])
    edits = []
    for name, value in some_settings(rng, stream):
        apply(stream, name, value)
        edits += [f"{stream['name']}.{name}", value_text(value)]
    return Change("set", {"edits": edits}, conf, after)


def wrong_settings(rng, conf):
    stream = rng.choice(conf["streams"])["name"]
    edits = rng.choice([
        [f"{stream}.seq_len", "0"], [f"{stream}.sequence_len", "64"], [f"{stream}.positions.max_position", "1"],
        [f"{stream}.tokenizer", "/nowhere/there.model"], [f"{stream}.corpora.nobody.repeat", "2"],
        [f"{stream}.template", "mistral-v4"], [f"{stream}.seq_len"], ["nothing.seq_len", "64"],
        [f"{stream}.corpora", "[{name: nobody}]"], ["corpora.new", "{paths: [/nowhere/*.jsonl], format: messages}"],
    ])
    return Change("set", {"edits": edits}, conf, None)


def add_corpus(rng, conf, corpora, folder):
    """Indexes and takes in a new corpus; it may be one that was in use before."""
    after = copy.deepcopy(conf)
    stream = rng.choice(after["streams"])
    free = [name for name in "abcde" if name not in {c["name"] for c in stream["corpora"]}]
    if not free:
        return set_settings(rng, conf)
    name, repeat, edits = rng.choice(free), rng.choice(REPEATS), []
    if name not in corpora:
        corpora[name] = Corpus(rng, folder, name, 0)
    if name not in {c["name"] for c in after["corpora"]}:
        entry = corpus_entry(corpora[name])
        after["corpora"].append(entry)
        edits += [f"corpora.{name}", json.dumps({key: entry[key] for key in ("paths", "format")})]
    stream["corpora"].append({"name": name, "repeat": repeat})
    edits += [f"{stream['name']}.corpora.{name}.repeat", value_text(repeat)]
    return Change("set", {"edits": edits}, conf, after)


def drop_corpus(rng, conf):
    """Takes a corpus out of a stream's mixture, where there is another."""
    after = copy.deepcopy(conf)
    streams = [s for s in after["streams"] if len(s["corpora"]) > 1]
    if not streams:
        return set_settings(rng, conf)
    stream = rng.choice(streams)
    del stream["corpora"][rng.randrange(len(stream["corpora"]))]
    return Change("set", {"edits": [f"{stream['name']}.corpora", json.dumps(stream["corpora"])]}, conf, after)


def edit_file(rng, conf):
    """The same as set_settings, by way of the file."""
    return Change("reload", {}, conf, set_settings(rng, conf).after)


def grow_corpus(rng, conf, corpora):
    """Records are appended to a file."""
    name = rng.choice([c["name"] for s in conf["streams"] for c in s["corpora"]])
    corpora[name].append(rng.randint(1, 100))
    return Change("reload", {}, conf, conf, other=name)


def replace_corpus(rng, conf, corpora):
    """A file is another one: what was made of the old one cannot be made again."""
    name = rng.choice([c["name"] for s in conf["streams"] for c in s["corpora"]])
    corpora[name].replace(rng.randint(40, 700))
    return Change("reload", {}, conf, conf, other=name, replaced=True)


def revert(conf, generation):
    """Back to the configuration of an older generation."""
    after = with_stream(conf, generation.settings, conf)
    name = generation.settings["name"]
    return Change("revert", {"stream": name, "generation": generation.number}, conf, after)


def without_unused(conf, file):
    """What a start makes of it: of corpora that commands added, those that a stream reads."""
    kept = {c["name"] for c in file["corpora"]} | {c["name"] for s in conf["streams"] for c in s["corpora"]}
    return {**conf, "corpora": [c for c in conf["corpora"] if c["name"] in kept]}


def with_stream(conf, stream, origin):
    """A configuration with another version of one stream; what it lacks of corpora it gets from `origin`."""
    after = copy.deepcopy(conf)
    after["streams"] = [copy.deepcopy(stream) if s["name"] == stream["name"] else s for s in after["streams"]]
    there = {c["name"] for c in after["corpora"]}
    after["corpora"] += [copy.deepcopy(c) for c in origin["corpora"] if c["name"] not in there]
    return after
