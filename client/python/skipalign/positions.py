"""Position ids by the feeder's strategies, without a feeder: for a pipeline of one's own, or to check one.

    from skipalign.positions import Key, Positions

    positions = Positions({"strategy": "skip_all", "max_position": 65536})
    ids = positions.ids([120, 300, 40, 200], Key(seed=17, record=4711))     # numpy int32 [660]

The blocks of a dialogue are the token counts of instruction, response, instruction, response, ...; a system prompt
belongs to the first. The same blocks and key always give the same ids; draw anew in each epoch by counting up `epoch`.
The settings are those of `positions` in the feeder's configuration, a list of them with weights included, and a feeder
gives the same ids for the same key (proto/POSITIONS.md): `corpus` is the low 32 bits of XXH3-64 of the corpus' name,
`record` its number in the corpus, `epoch` the pass over the corpus.

Needs numpy only. Ids jump inside a sample: give the model its document boundaries or an attention mask, never let it
infer them from the ids.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np

STRATEGIES = ("none", "skip_all", "skip_inner", "skip_outer", "pose", "randpos", "cream", "longrecipe", "stretch", "shift")
SAMPLERS = ("sorted", "sequential", "even", "pinned")
ID_LIMIT = 2**31 - 1


class Key(NamedTuple):
    """What the random numbers of a document hang on. Whole numbers: seed below 2**64, part below 4096, others below 2**32."""

    seed: int
    record: int
    corpus: int = 0
    epoch: int = 0
    part: int = 0  # of a record that was split into several documents


class Drawn(NamedTuple):
    ids: np.ndarray  # int32 [tokens]
    outcome: str  # "skipped", or why the ids are 0, 1, 2, ...
    settings: Mapping[str, Any]  # those that were drawn, where there are several


# ---- random numbers ----


def philox(counters: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Philox4x32-10: uint32 [n, 4] from counters uint32 [n, 4] and keys uint64 [n]. Salmon et al., SC 2011."""
    c0, c1, c2, c3 = (counters[:, i].astype(np.uint64) for i in range(4))
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    k0, k1 = keys & low, keys >> shift
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ k0, p1 & low, (p0 >> shift) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


class Words:
    """The 32-bit words of a key, one after another."""

    def __init__(self, key: Key):
        self._key, self._block, self._ready = key, 0, np.zeros(0, np.uint32)

    def take(self, n: int) -> np.ndarray:
        """uint32 [n]"""
        if n > len(self._ready):
            count = max(16, (n - len(self._ready) + 3) // 4)
            blocks = np.arange(self._block, self._block + count, dtype=np.uint64)
            counters = np.empty((count, 4), np.uint32)
            counters[:, :3] = (self._key.epoch, self._key.corpus, self._key.record)
            counters[:, 3] = (blocks & np.uint64(0xFFFFF)) | np.uint64(self._key.part << 20)
            keys = np.uint64(self._key.seed) + (blocks >> np.uint64(20)) * np.uint64(0x9E3779B97F4A7C15)
            self._ready = np.concatenate([self._ready, philox(counters, keys).ravel()])
            self._block += count
        words, self._ready = self._ready[:n], self._ready[n:]
        return words

    def below(self, m: int, n: int = 1) -> np.ndarray:
        """int64 [n], independent and uniform on 0..m-1; m == 1 takes no words. Lemire, TOMACS 2019."""
        if m == 1:
            return np.zeros(n, np.int64)
        parts, missing = [], n
        while missing > 0:
            products = self.take(missing).astype(np.uint64) * np.uint64(m)
            good = (products & np.uint64(0xFFFFFFFF)) >= np.uint64(2**32 % m)
            parts.append((products[good] >> np.uint64(32)).astype(np.int64))
            missing -= int(good.sum())
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def one(self, m: int) -> int:
        return int(self.below(m)[0])

    def subset(self, m: int, k: int) -> np.ndarray:
        """k distinct numbers of 0..m-1 in order: the first distinct draws, or, of more than half, what they leave."""
        want = k if k <= m - k else m - k
        drawn = np.zeros(0, np.int64)
        while len(drawn) < want:
            drawn = np.unique(np.concatenate([drawn, self.below(m, want - len(drawn))]))
        if want == k:
            return drawn
        left = np.ones(m, bool)
        left[drawn] = False
        return np.flatnonzero(left)


# ---- sentences, for longrecipe ----

ENDS, BREAKS, BEGINS, CLOSES = 1, 2, 4, 8
_SPACES, _ENDS, _BREAKS = (" ", "\u2581"), (".", "!", "?", "\u2026"), ("\u3002", "\uff01", "\uff1f")
_CLOSERS = ("\"", "'", ")", "]", "}", "\u2019", "\u201d", "\u00bb", "\u300d", "\u300f", "\uff09")


def sentence_mark(piece: str) -> int:
    """What the text of a token says about sentences: of ENDS, BREAKS, BEGINS, CLOSES."""
    mark = BEGINS if piece.startswith(_SPACES) else 0
    if "\n" in piece:
        return mark | BREAKS
    text = piece.rstrip(" \u2581")
    inner = text.rstrip("".join(_CLOSERS))
    if inner.endswith(_BREAKS):
        return mark | BREAKS
    if inner.endswith(_ENDS):
        return mark | ENDS
    return CLOSES if text and not inner and not mark else mark


def sentence_boundaries(blocks: Sequence[int], marks: Sequence[int]) -> np.ndarray:
    """The tokens, from the second on, that a sentence begins with; marks: of each token."""
    starts = set(np.cumsum([0, *blocks]).tolist())
    boundaries, ended = [], 0
    for t, mark in enumerate(marks):
        mark = int(mark)
        begins = t in starts or (ended == BREAKS and not mark & BREAKS) or (ended == ENDS and bool(mark & BEGINS))
        if begins and t > 0:
            boundaries.append(t)
        if mark & (ENDS | BREAKS):
            ended = mark & (ENDS | BREAKS)
        elif begins or not mark & CLOSES:
            ended = 0
    return np.array(boundaries, np.int64)


# ---- strategies: from a task, the first token of each run and how far its ids are moved; or why not ----


class _Task(NamedTuple):
    settings: Mapping[str, Any]
    blocks: np.ndarray
    n: int  # tokens
    window: int
    words: Words
    marks: np.ndarray | None  # of each token

    @property
    def budget(self) -> int:
        return max(0, self.window - self.n)


_Moves = tuple  # (starts, moves), both int64 and of one length
_Result = Any  # _Moves or str


def _cumulative(task: _Task, budget: int, k: int) -> np.ndarray:
    words, sampler = task.words, task.settings["sampler"]
    if sampler == "sorted":
        return np.sort(words.below(budget + 1, k))
    if sampler == "pinned":
        return np.append(np.sort(words.below(budget + 1, k - 1)), budget)
    if sampler == "even":
        return np.cumsum(words.below(budget // k + 1, k))
    return _sequential(words, budget, k)


def _sequential(words: Words, budget: int, k: int) -> np.ndarray:
    biases, low = np.empty(k, np.int64), 0
    for i in range(k):
        biases[i] = low = low + words.one(budget - low + 1)
    return biases


def _skip(first: int, stride: int) -> Callable[[_Task], _Result]:
    def strategy(task: _Task) -> _Result:
        eligible = np.arange(first, len(task.blocks), stride)
        k, gap = len(eligible), task.settings["min_gap"]
        if k == 0:
            return "no-boundary"
        if task.budget == 0:
            return "no-budget"
        if k * gap > task.budget:
            return "no-room-for-min-gap"
        biases = _cumulative(task, task.budget - k * gap, k) + gap * np.arange(1, k + 1)
        return (np.cumsum(task.blocks) - task.blocks)[eligible], biases

    return strategy


def _pose(task: _Task) -> _Result:
    if task.n < 2:
        return "no-boundary"
    if task.budget == 0:
        return "no-budget"
    if task.settings["chunks"] == 2:
        cut = 1 + task.words.one((task.n + 1) // 2)
        return np.array([cut]), task.words.below(task.budget + 1)
    k = min(task.settings["chunks"], task.n) - 1
    cuts = 1 + task.words.subset(task.n - 1, k)
    return cuts, _sequential(task.words, task.budget, k)


def _randpos(task: _Task) -> _Result:
    if task.n < 2:
        return "no-boundary"
    if task.budget == 0:
        return "no-budget"
    ids = task.words.subset(task.window, task.n)
    return np.arange(task.n), ids - ids[0] - np.arange(task.n)


# 2**31 * P(|Z| < d/3), d = 1, 2, ..., for Z standard normal
_WITHIN = np.array([560745174, 1063036457, 1466064521, 1755734442, 1942225648, 2049772575, 2105327133, 2131032289,
                    2141685880, 2145640848, 2146955941, 2147347621, 2147452108, 2147477074, 2147482417, 2147483441,
                    2147483617, 2147483644, 2147483647])


def _cream_factor(words: Words, f: int) -> int:
    if f == 1:
        return 2
    while True:
        word = int(words.take(1)[0])
        d = int(np.searchsorted(_WITHIN, word % 2**31, side="right"))
        if d < f - 1:
            return f - d if word >= 2**31 else f + 1 + d


def _cream(task: _Task) -> _Result:
    n, window = task.n, task.window
    if n < 3:
        return "no-boundary"
    if task.budget == 0:
        return "no-budget"
    f = window // n
    head = min(4 * f if task.words.one(2) else n // 3, (n - 1) // 2)
    mid = n - 2 * head
    a = _cream_factor(task.words, f)
    low, high = head + (mid - 1) * a // 2, a * n // 2 - head - 1
    end = low + task.words.one(high - low + 1)
    return np.array([head, head + mid]), np.array([end - mid + 1 - head, window - n])


def _longrecipe(task: _Task) -> _Result:
    marks = task.marks if task.marks is not None else np.zeros(task.n, np.uint8)
    boundaries = sentence_boundaries(task.blocks.tolist(), marks)
    k = len(boundaries)
    if k == 0:
        return "no-boundary"
    if task.budget == 0:
        return "no-budget"
    bars = task.words.subset(task.budget + k - 1, k - 1)
    return boundaries, np.append(bars - np.arange(k - 1), task.budget)


def _stretch(task: _Task) -> _Result:
    if task.n < 2:
        return "no-boundary"
    if task.window // task.n < 2:
        return "no-budget"
    return np.arange(task.n), np.arange(task.n) * (task.window // task.n - 1)


def _shift(task: _Task) -> _Result:
    if task.budget == 0:
        return "no-budget"
    return np.array([0]), task.words.below(task.budget + 1)


_DRAW: Mapping[str, Callable[[_Task], _Result]] = {
    "skip_all": _skip(1, 1), "skip_inner": _skip(1, 2), "skip_outer": _skip(2, 2), "pose": _pose, "randpos": _randpos,
    "cream": _cream, "longrecipe": _longrecipe, "stretch": _stretch, "shift": _shift,
}


def _draw(task: _Task, probability: float) -> tuple[np.ndarray, str]:
    natural = np.arange(task.n, dtype=np.int64)
    if task.settings["strategy"] == "none":
        return natural, "strategy-none"
    if int(task.words.take(1)[0]) >= probability * 2**32:
        return natural, "by-probability"
    moves = _DRAW[task.settings["strategy"]](task)
    if isinstance(moves, str):
        return natural, moves
    starts, by = moves
    if task.settings["strategy"] != "shift":  # the first id is 0, and a jump before it, of an empty block, is none
        starts, by = starts[starts > 0], by[starts > 0]
    # Of several runs that begin at one token (empty blocks lie between), the last one holds.
    run = np.searchsorted(starts, natural, side="right")
    return natural + np.concatenate([[0], by])[run], "skipped"


# ---- settings ----

_DEFAULTS = {"strategy": "skip_all", "sampler": "sorted", "probability": 1.0, "min_gap": 0, "chunks": 2}


def _check(settings: Mapping[str, Any]) -> dict[str, Any]:
    unknown = set(settings) - {*_DEFAULTS, "name", "weight", "max_position", "schedule"}
    if unknown:
        raise ValueError(f"positions: no such key: {', '.join(sorted(unknown))}")
    s = {**_DEFAULTS, **settings}
    if s["strategy"] not in STRATEGIES:
        raise ValueError(f"positions: strategy {s['strategy']!r} is not one of {', '.join(STRATEGIES)}")
    if s["sampler"] not in SAMPLERS:
        raise ValueError(f"positions: sampler {s['sampler']!r} is not one of {', '.join(SAMPLERS)}")
    schedule = sorted((float(epoch), window) for epoch, window in dict(s.get("schedule") or {}).items())
    if s.get("max_position") is None and schedule and schedule[0][0] == 0:
        s["max_position"] = schedule[0][1]
    if s.get("max_position") is None and s["strategy"] == "none":
        s["max_position"] = ID_LIMIT
    if s.get("max_position") is None:
        raise ValueError(f"positions: max_position is missing; strategy {s['strategy']} needs it")
    for window in (s["max_position"], *(window for _, window in schedule)):
        if not 1 <= window <= ID_LIMIT:
            raise ValueError(f"positions: max_position {window} is out of range; allowed is 1..{ID_LIMIT}")
    if not 0 <= s["probability"] <= 1 or not 0 <= s["min_gap"] <= ID_LIMIT or not 2 <= s["chunks"] <= 1024:
        raise ValueError("positions: probability is within 0..1, min_gap at least 0, chunks within 2..1024")
    if not s.get("weight", 1.0) > 0:
        raise ValueError(f"positions: weight {s['weight']} is not above 0")
    return {**s, "schedule": schedule}


class Positions:
    """One group of settings, or a list of them with weights, of which each document draws one."""

    def __init__(self, settings: Mapping[str, Any] | Sequence[Mapping[str, Any]]):
        groups = [settings] if isinstance(settings, Mapping) else list(settings)
        if not groups:
            raise ValueError("positions: the list is empty")
        self._groups = [_check(group) for group in groups]

    def choose(self, key: Key) -> Mapping[str, Any]:
        """The settings that a document with this key has."""
        if len(self._groups) == 1:
            return self._groups[0]
        weights = [float(group.get("weight", 1.0)) for group in self._groups]
        total = 0.0
        for weight in weights:
            total += weight
        word = int(Words(key._replace(seed=key.seed ^ 0x6D69787475726521)).take(1)[0])
        at, upto = word / 2**32 * total, 0.0
        for group, weight in zip(self._groups, weights):
            upto += weight
            if at < upto:
                return group
        return self._groups[-1]

    def draw(self, blocks: Sequence[int], key: Key, *, progress: float = 0.0, marks: Sequence[int] | None = None) -> Drawn:
        """The ids of one document, and what became of it.

        blocks:   tokens of instruction, response, instruction, ...
        progress: in epochs, of the training, for a `schedule`: 0.5 is in the middle of the first.
        marks:    of `longrecipe`: sentence_mark of each token's text; None: sentences end with blocks only.
        """
        lengths = np.asarray(blocks, np.int64)
        if lengths.ndim != 1 or (len(lengths) and lengths.min() < 0):
            raise ValueError("blocks: wanted is a list of token counts, none below 0")
        n = int(lengths.sum())
        of_tokens = None if marks is None else np.asarray(marks, np.uint8)
        if of_tokens is not None and len(of_tokens) != n:
            raise ValueError(f"marks: {len(of_tokens)} of them for {n} tokens")
        settings = self.choose(key)
        window = settings["max_position"]
        for epoch, later in settings["schedule"]:
            window = later if progress >= epoch else window
        ids, outcome = _draw(_Task(settings, lengths, n, window, Words(key), of_tokens), settings["probability"])
        return Drawn(ids.astype(np.int32), outcome, settings)

    def ids(self, blocks: Sequence[int], key: Key, *, progress: float = 0.0, marks: Sequence[int] | None = None) -> np.ndarray:
        """int32 [sum(blocks)]; see draw."""
        return self.draw(blocks, key, progress=progress, marks=marks).ids
