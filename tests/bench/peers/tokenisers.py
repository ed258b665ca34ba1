"""The tokenizers that are compared, in Python. Prints JSON:

    tokenisers.py convert MODEL OUT         OUT: the model as a tokenizer.json
    tokenisers.py check CORPUS MODEL JSON   {"strings", "bytes", "tokens"}, and by name: strings with other ids than
                                            libsentencepiece's
    tokenisers.py speed CORPUS MODEL JSON   {name: {call: [seconds of a new tokenizer's first pass, of the next]}},
                                            one thread
"""

import itertools
import json
import sys
import time
from pathlib import Path

import numpy
import work


def convert(model, out):
    """By gigatoken's reader of such models: transformers (5.23) sorts merges by id and not by score, and mistral-v1 then
    gives other ids than libsentencepiece."""
    from gigatoken._load.sentencepiece import sentencepiece_to_tokenizer_json

    made = sentencepiece_to_tokenizer_json(Path(model).read_bytes())
    Path(out).write_bytes(made if isinstance(made, bytes) else made.encode())


def hugging_face(tokenizer_json):
    """Texts -> (flat ids, ids of each), by tokenizers (Rust), in as many threads as RAYON_NUM_THREADS says."""
    import tokenizers

    encode = tokenizers.Tokenizer.from_file(tokenizer_json).encode_batch_fast

    def tokenise(texts):
        ids = [encoding.ids for encoding in encode(texts, add_special_tokens=False)]
        lengths = [len(x) for x in ids]
        return numpy.fromiter(itertools.chain.from_iterable(ids), numpy.int32, sum(lengths)), lengths

    return tokenise


def giga(tokenizer_json):
    """The same by gigatoken, one thread. Text by text is its fastest call for a thousand records at a time, warm and not:
    44 MB/s; encode_batch, 29; encode_batch in two threads, 15. Bytes are faster than str."""
    import gigatoken

    encode = gigatoken.Tokenizer(tokenizer_json).encode

    def tokenise(texts):
        ids = [encode(text.encode()) for text in texts]
        return numpy.concatenate(ids).view(numpy.int32), [len(x) for x in ids]

    return tokenise


def read(corpus):
    with open(corpus, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    return work.texts([r["prompt"] for r in records], [r["completion"] for r in records])


def library(model):
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=model)


def check(corpus, model, tokenizer_json):
    texts = read(corpus)
    expected = library(model).encode(texts, num_threads=2)
    found = {"strings": len(texts), "bytes": sum(len(x.encode()) for x in texts), "tokens": sum(map(len, expected))}
    for name, tokenise in (("tokenizers", hugging_face(tokenizer_json)), ("gigatoken", giga(tokenizer_json))):
        ids, lengths = tokenise(texts)
        parts = numpy.split(ids, numpy.cumsum(lengths)[:-1])
        found[name] = sum(part.tolist() != wanted for part, wanted in zip(parts, expected))
    return found


def calls(corpus, model, tokenizer_json):
    """name, call, and what makes a function of one pass."""
    import gigatoken
    import tokenizers

    texts = read(corpus)
    encoded = [text.encode() for text in texts]

    def new_giga(run):
        def new():
            tokenizer = gigatoken.Tokenizer.from_sentencepiece(model)
            return lambda: run(tokenizer)

        return new

    def new_hugging_face():
        tokenizer = tokenizers.Tokenizer.from_file(tokenizer_json)
        return lambda: tokenizer.encode_batch_fast(texts, add_special_tokens=False)

    yield "tokenizers", "encode_batch_fast", new_hugging_face
    for kind, inputs in ("str", texts), ("bytes", encoded), ("BytesSource", gigatoken.BytesSource(encoded)):
        yield "gigatoken", f"encode_batch, {kind}", new_giga(lambda t, inputs=inputs: t.encode_batch(inputs, parallel=False))
    yield "gigatoken", "encode in a loop, bytes", new_giga(lambda t: [t.encode(text) for text in encoded])


def speed(*arguments):
    found = {}
    for name, call, new in calls(*arguments):
        one_pass, seconds = new(), []
        for _ in range(2):
            begun = time.perf_counter()
            made = one_pass()
            seconds.append(time.perf_counter() - begun)
            del made
        found.setdefault(name, {})[call] = seconds
    return found


if __name__ == "__main__":
    print(json.dumps({"convert": convert, "check": check, "speed": speed}[sys.argv[1]](*sys.argv[2:])))
