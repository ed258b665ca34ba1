"""What an undisturbed feeder makes of a timeline and its corpora: every step again, and how often each record was in
it."""

import collections

import support
from trainers import GET_READY

WAITS = 5  # messages of that kind, which come a few seconds apart
AHEAD = 64  # steps that are read past rather than opened anew
CHECK_EACH = 8  # batches of which one is looked at as closely as support.check_batch does


def read(feeder, stream, world, rank, steps=None, first=0, top=None):
    """Batches of these steps (ascending; None: all from `first` until before `top` or the end), as (opened or changed,
    batch)."""
    wanted = list(steps) if steps is not None else [first]
    while wanted:
        with support.Dealer(feeder.listen, stream=None, RCVHWM=100) as trainer:
            trainer.send("open", version=1, stream=stream, world=world, rank=rank, step=wanted[0], credit=16)
            told, step, waited = None, wanted[0], 0
            while wanted and wanted[0] - step < AHEAD:
                message = trainer.receive()
                assert message is not None, f"waited {support.PATIENCE} s for step {step} of stream {stream}"
                if message["type"] == "wait":
                    waited += 1
                    assert waited < WAITS, f"step {step} of stream {stream} does not come: {message}"
                    continue
                if message["type"] in GET_READY:
                    assert message["step"] == step, message
                    told = message
                    continue
                if message["type"] == "end" and steps is None:
                    assert (message["step"], message["reason"]) == (step, "complete"), message
                    return
                if message["type"] == "error" and message["code"] == "bad-world" and wanted[0] > step:
                    break  # it fits again later
                assert message["type"] == "batch" and message["step"] == step, (
                    f"stream {stream}, step {step}, rank {rank} of {world}: {support.describe(message)}")
                trainer.send("credit", credit=1)
                step += 1
                if steps is None:
                    wanted = [step] if step != top else []
                elif message["step"] == wanted[0]:
                    del wanted[0]
                else:
                    continue
                yield told, message


def compare(feeder, stream, book, first, top):
    """Every step from `first` on that is in the book must have the same bytes here, and so must the ranks of a world
    together: all of world 1, until before `top` or the end. Returns [(opened or changed, batch)] of world 1."""
    others = collections.defaultdict(list)
    for name, step, world, rank in sorted(book.got):
        if name == stream and step >= first and (world, rank) != (1, 0):
            others[world, rank].append(step)
    whole = []
    for told, batch in read(feeder, stream, 1, 0, first=first, top=top):
        if len(whole) % CHECK_EACH == 0:
            support.check_batch(batch, told)
        book.enter(batch)
        whole.append((told, batch))
    steps = first + len(whole)
    assert steps >= book.steps(stream), f"stream {stream} has {steps} steps, {book.steps(stream)} were sent"
    for (world, rank), steps in others.items():
        for _, batch in read(feeder, stream, world, rank, steps):
            book.enter(batch)
            part, all_rows = support.arrays(batch), support.arrays(whole[batch["step"] - first][1])
            rows = slice(rank * batch["rows"], (rank + 1) * batch["rows"])
            for name in ("input_ids", "position_ids", "labels", "tokens"):
                same = (part[name] == all_rows[name][rows]).all()
                assert same, f"stream {stream}, step {batch['step']}: {name} of rank {rank} of {world}"
    return whole


def refused(feeder, stream, step):
    """Why a step cannot be made again."""
    with support.Dealer(feeder.listen, stream=None) as trainer:
        trainer.send("open", version=1, stream=stream, world=1, rank=0, step=step, credit=1)
        message = trainer.receive()
        if message["type"] == "opened":
            message = trainer.receive()
        assert (message["type"], message.get("code")) == ("error", "stream-failed"), support.describe(message)
        return message["message"]


def count(whole, split):
    """How often each (generation, corpus, record) was in these batches; with `split`, how many of its responses."""
    times = collections.Counter()
    for told, batch in whole:
        names = [corpus["name"] for corpus in told["corpora"]]
        for document in support.documents(batch):
            labels = document["labels"] != -100
            responses = int(labels[0]) + int((~labels[:-1] & labels[1:]).sum())
            times[batch["generation"], names[document["corpus"]], document["record"]] += responses if split else 1
    return times
