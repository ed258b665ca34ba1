"""A batch, as views of the bytes that were received."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Iterator

import numpy

from . import messages
from .errors import FeedError

if TYPE_CHECKING:  # it takes 10 ms to import
    from numpy.typing import NDArray

    Int32s = NDArray[numpy.int32]
    Int64s = NDArray[numpy.int64]
    Shape = tuple[int, ...]

INT32 = numpy.dtype("<i4")
INT64 = numpy.dtype("<i8")
SIZE = struct.Struct(">I")  # of a bin


class Batch:
    """The rows of one rank in one step. Arrays are read-only and live as long as someone refers to them.

    input_ids, position_ids, labels: int32 (rows, length). Labels are not shifted; -100 is ignored.
    tokens:             int32 (rows,), real tokens of each row; padding follows them.
    cu_seqlens:         int32 (n + 1,), where each of the n documents starts in the flattened rows, and the end.
                        Position ids jump inside a document: never infer documents from them.
    doc_corpus:         int32 (n,), index into Info.corpora; -1 is padding.
    doc_record:         int64 (n,), number of the record in its corpus, from 0.
    max_seqlen:         tokens of the longest document.
    supervised:         labels other than -100 in this batch;
    supervised_global:  and in the step over all ranks: what to divide a summed loss by.
    hash:               XXH3-64 over the arrays, as in proto/PROTOCOL.md.
    """

    __slots__ = (
        "stream", "generation", "step", "epoch", "world", "rank", "rows", "length", "max_seqlen", "supervised",
        "supervised_global", "hash", "input_ids", "position_ids", "labels", "tokens", "cu_seqlens", "doc_corpus",
        "doc_record",
    )  # fmt: skip

    stream: str
    generation: int
    step: int
    epoch: int
    world: int
    rank: int
    rows: int
    length: int
    max_seqlen: int
    supervised: int
    supervised_global: int
    hash: int
    input_ids: Int32s
    position_ids: Int32s
    labels: Int32s
    tokens: Int32s
    cu_seqlens: Int32s
    doc_corpus: Int32s
    doc_record: Int64s

    @property
    def attention_mask(self) -> NDArray[numpy.bool_]:
        """Which tokens are real: bool (rows, length). Only cu_seqlens parts the documents of a packed row."""
        return numpy.arange(self.length, dtype=numpy.int32) < self.tokens[:, None]

    def __repr__(self) -> str:
        return (
            f"Batch(stream={self.stream!r}, step={self.step}, rank={self.rank} of {self.world}, "
            f"{self.rows} x {self.length}, {len(self.doc_corpus)} documents)"
        )


# The keys of a batch, in the order in which skipalignd writes them.
NUMBERS = {
    "generation": "I", "step": "Q", "epoch": "Q", "world": "I", "rank": "I", "rows": "I", "length": "I",
    "max_seqlen": "I", "supervised": "Q", "supervised_global": "Q", "hash": "Q",
}  # fmt: skip
ARRAYS: dict[str, numpy.dtype[Any]] = {
    "input_ids": INT32, "position_ids": INT32, "labels": INT32, "tokens": INT32, "cu_seqlens": INT32,
    "doc_corpus": INT32, "doc_record": INT64,
}  # fmt: skip


def array_counts(rows: int, length: int, n_docs: int) -> tuple[int, ...]:
    n_tokens = rows * length
    return n_tokens, n_tokens, n_tokens, rows, n_docs + 1, n_docs, n_docs


def array_head(at: int, key: str, dtype: numpy.dtype[Any], count: int) -> bytes:
    """What stands before an array: its key, in the string header that aligns the array, and the header of its `bin`."""
    n = len(key)
    for header in (bytes([0xA0 | n]), bytes([0xD9, n]), bytes([0xDA, 0, n]), bytes([0xDB, 0, 0, 0, n])):
        if (at + len(header) + n + 5) % dtype.itemsize == 0:
            break
    return header + key.encode() + struct.pack(">BI", 0xC6, count * dtype.itemsize)


class Layout:
    """Where all lies in batches of one shape, as skipalignd writes them: only numbers and arrays are not known, and how
    many documents there are. That is told by the size of cu_seqlens, and where the arrays after it lie follows from it."""

    def __init__(self, stream: str, rows: int, length: int) -> None:
        pack = messages.pack
        self.stream, self.rows, self.length = stream, rows, length
        self.constants: list[bytes] = []
        self.arrays: list[tuple[Shape, numpy.dtype[Any], int]] = []  # shape, type, offset: those before cu_seqlens
        head = b"\xde\x00\x15" + pack("type") + pack("batch") + pack("stream") + pack(stream)
        layout, at = ">", 0
        for key, width in NUMBERS.items():
            head += pack(key) + (b"\xce" if width == "I" else b"\xcf")
            self.constants.append(head)
            layout += f"{len(head)}s{width}"
            at, head = at + len(head) + (4 if width == "I" else 8), b""
        n_pad = -(at + 6 + 1 + len("input_ids") + 5) % 64
        head = pack("pad") + bytes([0xC4, n_pad]) + bytes(n_pad)
        for (key, dtype), count in zip(ARRAYS.items(), array_counts(rows, length, 0)):
            head += array_head(at + len(head), key, dtype, count)
            at += len(head)
            if key == "cu_seqlens":
                break
            self.constants.append(head)
            self.arrays.append(((rows,) if key == "tokens" else (rows, length), dtype, at))
            layout += f"{len(head)}s{count * dtype.itemsize}x"
            at, head = at + count * dtype.itemsize, b""
        self.constants.append(head[:-4])
        self.struct = struct.Struct(f"{layout}{len(head) - 4}sI")  # to the size of cu_seqlens, which follows
        self.heads = [tuple(self._heads(n_docs)) for n_docs in (2, 1)]  # of the arrays after it, but for their sizes

    def _heads(self, n_docs: int) -> Iterator[bytes]:
        at = self.struct.size + (n_docs + 1) * INT32.itemsize
        for key in ("doc_corpus", "doc_record"):
            head = array_head(at, key, ARRAYS[key], n_docs)
            at += len(head) + n_docs * ARRAYS[key].itemsize
            yield head[:-4]

    def read(self, data: memoryview) -> Batch | None:
        """None: these bytes are laid out in another way."""
        if len(data) < self.struct.size:
            return None
        *fields, size = self.struct.unpack_from(data)
        n = 2 * len(NUMBERS)
        if [*fields[0:n:2], *fields[n:]] != self.constants:
            return None
        batch = Batch()
        batch.stream = self.stream
        (
            batch.generation, batch.step, batch.epoch, batch.world, batch.rank, batch.rows, batch.length,
            batch.max_seqlen, batch.supervised, batch.supervised_global, batch.hash,
        ) = fields[1:n:2]  # fmt: skip
        n_docs, odd = divmod(size - INT32.itemsize, INT32.itemsize)
        if n_docs < 1 or odd or (batch.rows, batch.length) != (self.rows, self.length):
            return None
        corpus_head, record_head = self.heads[n_docs % 2]
        at_corpus = self.struct.size + size + len(corpus_head) + SIZE.size
        at_record = at_corpus + n_docs * INT32.itemsize + len(record_head) + SIZE.size
        if (
            len(data) != at_record + n_docs * INT64.itemsize
            or data[self.struct.size + size : at_corpus] != corpus_head + SIZE.pack(n_docs * INT32.itemsize)
            or data[at_record - len(record_head) - SIZE.size : at_record] != record_head + SIZE.pack(n_docs * INT64.itemsize)
        ):
            return None
        record = numpy.ndarray(n_docs, INT64, data, at_record)
        if not record.flags.aligned:  # in libzmq's receive buffer small messages lie anywhere
            data = memoryview(bytes(data))
            record = numpy.ndarray(n_docs, INT64, data, at_record)
        batch.input_ids, batch.position_ids, batch.labels, batch.tokens = [
            numpy.ndarray(shape, dtype, data, at) for shape, dtype, at in self.arrays
        ]
        batch.cu_seqlens = numpy.ndarray(n_docs + 1, INT32, data, self.struct.size)
        batch.doc_corpus = numpy.ndarray(n_docs, INT32, data, at_corpus)
        batch.doc_record = record
        return batch


def read_any(data: memoryview) -> Batch:
    """A batch that is written in any way that msgpack allows; its arrays are copies."""
    message = messages.unpack(data)
    batch = Batch()
    batch.stream = messages.take(message, "stream", str)
    for key in NUMBERS:
        setattr(batch, key, messages.take(message, key, int))
    values = [messages.take(message, key, bytes) for key in ARRAYS]
    counts = array_counts(batch.rows, batch.length, len(values[4]) // 4 - 1)
    for (key, dtype), value, count in zip(ARRAYS.items(), values, counts):
        if count <= 0 or len(value) != count * dtype.itemsize:
            raise FeedError("protocol", f"`{key}` has {len(value)} bytes, expected {count * dtype.itemsize}")
    views = [numpy.frombuffer(value, dtype) for value, dtype in zip(values, ARRAYS.values())]
    batch.input_ids, batch.position_ids, batch.labels = [x.reshape(batch.rows, batch.length) for x in views[:3]]
    batch.tokens, batch.cu_seqlens, batch.doc_corpus, batch.doc_record = views[3:]
    return batch


class Decoder:
    """Batches of one stream. Where skipalignd's own layout is met again it is known where all lies: msgpack would copy
    the arrays, which costs more than all the rest."""

    def __init__(self) -> None:
        self.layout: Layout | None = None  # of the last shape

    def decode(self, data: memoryview) -> Batch:
        """FeedError `protocol` where the map is not a batch, or its parts do not fit each other."""
        batch = self.layout.read(data) if self.layout is not None else None
        if batch is None:
            batch = read_any(data)
            self.layout = Layout(batch.stream, batch.rows, batch.length)
        if batch.rank >= batch.world or not 0 < batch.max_seqlen <= batch.length:
            raise FeedError("protocol", "the numbers of `batch` do not fit each other")
        cu_seqlens = batch.cu_seqlens
        ends = cu_seqlens.item(0), cu_seqlens.item(-1)  # ints: those of numpy take 1 us to compare
        if len(cu_seqlens) <= batch.rows or ends != (0, batch.rows * batch.length):
            raise FeedError("protocol", "`cu_seqlens` does not fit `rows` and `length`")
        return batch
