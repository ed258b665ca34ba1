#!/usr/bin/env python3
"""Writes the golden vectors: for each message NAME.bin, its bytes on the wire, and NAME.json, what they say.

Uses Python's msgpack and nothing of the project, so that the two sides of the wire are held against a third. Run it
after a change to the protocol, and commit what it wrote with the reason. `make.py --check` writes nothing and fails
where the files differ.
"""

import json
import pathlib
import struct
import sys

import msgpack

HERE = pathlib.Path(__file__).resolve().parent
ALIGN = 64


def number(value, width):
    """An unsigned integer in a fixed width, whatever its value."""
    return struct.pack(">BI", 0xCE, value) if width == 4 else struct.pack(">BQ", 0xCF, value)


def aligned_key(at, key, align):
    """The key of an array, written with the string header that brings the array to a multiple of `align`."""
    headers = [
        bytes([0xA0 | len(key)]),
        struct.pack(">BB", 0xD9, len(key)),
        struct.pack(">BH", 0xDA, len(key)),
        struct.pack(">BI", 0xDB, len(key)),
    ]
    for header in headers:
        if (at + len(header) + len(key) + 5) % align == 0:
            return header + key.encode()
    raise ValueError(f"{key} at {at} cannot be aligned to {align}")


def batch_frame(scalars, arrays):
    """A batch as skipalignd lays it out. scalars: {key: str or (value, width)}; arrays: {key: (values, width)}."""
    out = bytearray(struct.pack(">BH", 0xDE, 2 + len(scalars) + len(arrays)))
    out += msgpack.packb("type") + msgpack.packb("batch")
    for key, value in scalars.items():
        out += msgpack.packb(key) + (msgpack.packb(value) if isinstance(value, str) else number(*value))
    first = next(iter(arrays))
    pad = -(len(out) + 6 + 1 + len(first) + 5) % ALIGN
    out += msgpack.packb("pad") + bytes([0xC4, pad]) + bytes(pad)
    for key, (values, width) in arrays.items():
        data = struct.pack(f"<{len(values)}{'i' if width == 4 else 'q'}", *values)
        out += aligned_key(len(out), key, width) + struct.pack(">BI", 0xC6, len(data)) + data
    return bytes(out)


def batch():
    """Two rows of 8: one document of 6 tokens that skips from 2 to 40, and two packed ones; each row with padding."""
    ignore = -100
    scalars = {
        "stream": "chat",
        "generation": (3, 4),
        "step": (1200, 8),
        "epoch": (1, 8),
        "world": (8, 4),
        "rank": (3, 4),
        "rows": (2, 4),
        "length": (8, 4),
        "max_seqlen": (6, 4),
        "supervised": (6, 8),
        "supervised_global": (51, 8),
        # XXH3-64 of the arrays; tests/unit/test_message.c computes it, Python's own library cannot.
        "hash": (HASH, 8),
    }
    arrays = {
        "input_ids": ([1, 11, 12, 13, 14, 2, 0, 0, 1, 21, 2, 1, 31, 32, 2, 0], 4),
        "position_ids": ([0, 1, 2, 40, 41, 42, 0, 1, 0, 1, 900, 0, 1, 65534, 65535, 0], 4),
        "labels": ([ignore] * 3 + [13, 14, 2] + [ignore] * 4 + [2] + [ignore] * 2 + [32, 2, ignore], 4),
        "tokens": ([6, 7], 4),
        "cu_seqlens": ([0, 6, 8, 11, 15, 16], 4),
        "doc_corpus": ([0, -1, 1, 0, -1], 4),
        "doc_record": ([7, -1, 5_000_000_000, 8, -1], 8),
    }
    said = {"type": "batch"}
    said.update({key: value if isinstance(value, str) else value[0] for key, value in scalars.items()})
    said.update({key: values for key, (values, _) in arrays.items()})
    return batch_frame(scalars, arrays), said


HASH = 0x3b5855bbb7c60adf

MESSAGES = {
    "open": {
        "type": "open", "version": 1, "stream": "chat", "world": 8, "rank": 3, "step": 1200, "credit": 8,
        "job": "node-7/4242",
    },
    "open-without-job": {
        "type": "open", "version": 1, "stream": "größer", "world": 1, "rank": 0, "step": 2**63, "credit": 2**64 - 1,
    },
    "open-fixed-shape": {
        "type": "open", "version": 1, "stream": "chat", "world": 2, "rank": 1, "step": 0, "credit": 4,
        "job": "compiled", "fixed_shape": True,
    },
    "credit": {"type": "credit", "credit": 4},
    "credit-done": {"type": "credit", "credit": 0, "done": 70000},
    "close": {"type": "close"},
    "opened": {
        "type": "opened", "version": 1, "server": "skipalignd 0.1.0", "stream": "chat", "generation": 3, "step": 1200,
        "steps": 31250, "rows": 16, "length": 4096, "vocab_size": 64000, "pad_id": 0,
        "tokenizer": "0123456789abcdef" * 4, "max_position": 65536, "strategy": "skip_all", "packing": True,
        "corpora": [{"name": "tulu", "records": 939343}, {"name": "own dialogues", "records": 12}],
    },
    "opened-endless": {
        "type": "opened", "version": 1, "server": "skipalignd 0.1.0", "stream": "chat", "generation": 1, "step": 0,
        "steps": None, "rows": 1, "length": 128, "vocab_size": 300, "pad_id": -1, "tokenizer": "f" * 64,
        "max_position": 128, "strategy": "none", "packing": False, "corpora": [],
    },
    "changed": {
        "type": "changed", "version": 1, "server": "skipalignd 0.1.0", "stream": "chat", "generation": 4, "step": 1207,
        "steps": None, "rows": 8, "length": 8192, "vocab_size": 64000, "pad_id": 0,
        "tokenizer": "0123456789abcdef" * 4, "max_position": 131072, "strategy": "skip_all", "packing": True,
        "corpora": [{"name": "tulu", "records": 939343}],
    },
    "wait": {"type": "wait", "step": 90000, "known": 31250, "seconds": 412},
    "wait-untold": {"type": "wait", "step": 2**40, "known": 0, "seconds": None},
    "end": {"type": "end", "step": 31250, "reason": "complete", "dropped": 97},
    "end-changed": {"type": "end", "step": 1207, "reason": "changed", "dropped": 0},
    "error": {"type": "error", "code": "unknown-stream", "message": "no stream 'chta' here; there is: chat"},
    "error-bad-world": {
        "type": "error", "code": "bad-world", "message": "a world of 7 does not divide a global batch of 8",
        "worlds": [1, 2, 4, 8],
    },
    "error-step-past-end": {
        "type": "error", "code": "step-past-end", "message": "step 40000 of stream 'chat': it ends before 31250",
        "steps": 31250,
    },
}


def main():
    vectors = {name: (msgpack.packb(said), said) for name, said in MESSAGES.items()}
    vectors["batch"] = batch()
    wrong = []
    for name, (data, said) in vectors.items():
        text = json.dumps(said, indent=1, ensure_ascii=False) + "\n"
        for path, content in ((HERE / f"{name}.bin", data), (HERE / f"{name}.json", text.encode())):
            if "--check" not in sys.argv:
                path.write_bytes(content)
            elif not path.exists() or path.read_bytes() != content:
                wrong.append(path.name)
    if wrong:
        sys.exit("not what make.py writes: " + ", ".join(wrong))


if __name__ == "__main__":
    main()
