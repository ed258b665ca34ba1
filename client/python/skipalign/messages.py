"""The feeder's messages but `batch`, from msgpack maps; and ours to it. The contract is proto/PROTOCOL.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

import msgpack  # type: ignore[import-untyped]

from .errors import FeedError

VERSION = 1


@dataclass(frozen=True)
class Corpus:
    name: str
    records: int


@dataclass(frozen=True)
class Info:
    """What the feeder says of a stream when it is opened, and when it changes: `step` is where this begins to hold."""

    server: str
    stream: str
    generation: int
    step: int
    steps: int | None  # None: not known yet, or without end
    rows: int
    length: int
    vocab_size: int
    pad_id: int
    tokenizer: str  # SHA-256 of the model's file, hex
    max_position: int
    strategy: str
    packing: bool
    corpora: tuple[Corpus, ...]  # Batch.doc_corpus counts in these


@dataclass(frozen=True)
class Wait:
    """How far a feeder is that works its way to a step far ahead."""

    step: int  # waited for
    known: int  # steps worked out so far
    seconds: int | None  # until it comes, about; None: cannot be told yet


@dataclass(frozen=True)
class End:
    """Why there are no more batches."""

    step: int  # one past the last
    reason: str  # complete, removed, failed, changed (fixed_shape: the next step has another shape)
    dropped: int  # rows of a last step that was not whole


def unpack(data: Any) -> dict[str, Any]:
    """One message as a map. FeedError `protocol` where it is none."""
    try:
        message = msgpack.unpackb(data, raw=False, unicode_errors="replace")
    except (ValueError, msgpack.UnpackException) as e:
        raise FeedError("protocol", f"not a feeder's message: {type(e).__name__} {e}".rstrip()) from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise FeedError("protocol", "not a feeder's message: no map with a `type`")
    return message


def take(message: Mapping[str, Any], key: str, kind: type) -> Any:
    """A value of that type (bool is no int here)."""
    value = message.get(key)
    if type(value) is not kind:
        raise FeedError("protocol", f"`{key}` of `{message.get('type')}` is missing or not {kind.__name__}")
    return value


def take_info(message: Mapping[str, Any]) -> Info:
    corpora = take(message, "corpora", list)
    if not all(isinstance(corpus, dict) for corpus in corpora):
        raise FeedError("protocol", f"`corpora` of `{message.get('type')}` must hold maps")
    strings = {key: take(message, key, str) for key in ("server", "stream", "tokenizer", "strategy")}
    numbers = ("generation", "step", "rows", "length", "vocab_size", "pad_id", "max_position")
    return Info(
        **strings,
        **{key: take(message, key, int) for key in numbers},
        steps=None if message.get("steps") is None else take(message, "steps", int),
        packing=take(message, "packing", bool),
        corpora=tuple(Corpus(take(corpus, "name", str), take(corpus, "records", int)) for corpus in corpora),
    )


def take_wait(message: Mapping[str, Any]) -> Wait:
    seconds = None if message.get("seconds") is None else take(message, "seconds", int)
    return Wait(take(message, "step", int), take(message, "known", int), seconds)


def take_end(message: Mapping[str, Any]) -> End:
    return End(take(message, "step", int), take(message, "reason", str), take(message, "dropped", int))


def take_error(message: Mapping[str, Any], where: str) -> FeedError:
    worlds, steps = message.get("worlds"), message.get("steps")
    return FeedError(
        take(message, "code", str),
        f"{where}: {take(message, 'message', str)}",
        worlds if isinstance(worlds, list) else (),
        steps if isinstance(steps, int) else None,
    )


def pack(value: Any) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


def pack_open(
    stream: str, world: int, rank: int, step: int, credit: int, job: str, fixed_shape: bool = False
) -> bytes:
    message = {
        "type": "open",
        "version": VERSION,
        "stream": stream,
        "world": world,
        "rank": rank,
        "step": step,
        "credit": credit,
        "job": job,
    }
    return pack({**message, "fixed_shape": True} if fixed_shape else message)


def pack_credit(credit: int, done: int | None) -> bytes:
    message = {"type": "credit", "credit": credit}
    return pack(message if done is None else {**message, "done": done})


def pack_close() -> bytes:
    return pack({"type": "close"})
