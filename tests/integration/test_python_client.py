"""The Python client: golden vectors, and feeders of a few lines that do what a feeder should and should not."""

import json
import os
import pickle
import subprocess
import sys
import threading
import unittest
from pathlib import Path

import msgpack
import numpy
import zmq

TOP = Path(__file__).resolve().parent.parent.parent
VECTORS = TOP / "proto" / "vectors"
sys.path[:0] = [str(TOP / "client" / "python"), str(VECTORS)]

import make as vectors  # noqa: E402
import skipalign  # noqa: E402
from skipalign import messages  # noqa: E402
from skipalign.batch import Decoder  # noqa: E402

PATIENCE = 60  # seconds, until a test that hangs is given up
NOBODY = "tcp://127.0.0.1:9"


def frame(step, stream="chat", world=2, rank=1, rows=2, length=8, docs=None):
    """A batch's bytes as skipalignd lays them out; ids count from the step on, so that a test sees whose they are."""
    tokens, docs = rows * length, docs or rows
    scalars = {
        "stream": stream, "generation": (1, 4), "step": (step, 8), "epoch": (0, 8), "world": (world, 4),
        "rank": (rank, 4), "rows": (rows, 4), "length": (length, 4), "max_seqlen": (length, 4),
        "supervised": (1, 8), "supervised_global": (2, 8), "hash": (0, 8),
    }  # fmt: skip
    arrays = {
        "input_ids": ([step + i for i in range(tokens)], 4), "position_ids": (list(range(tokens)), 4),
        "labels": ([-100] * tokens, 4), "tokens": ([length - 1] * rows, 4),
        "cu_seqlens": ([tokens * i // docs for i in range(docs + 1)], 4), "doc_corpus": ([0] * docs, 4),
        "doc_record": ([2**40 + i for i in range(docs)], 8),
    }  # fmt: skip
    return vectors.batch_frame(scalars, arrays)


class Feeder:
    """A ROUTER on a thread of its own that runs a script(feeder); what goes wrong there fails the test at its end."""

    def __init__(self, script):
        self.context = zmq.Context()
        self.endpoint = "tcp://127.0.0.1:*"
        self.bind()
        self.endpoint = self.router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.failure = None
        self.thread = threading.Thread(target=self._run, args=(script,))

    def bind(self):
        self.router = self.context.socket(zmq.ROUTER)
        self.router.setsockopt(zmq.RCVTIMEO, PATIENCE * 1000)
        self.router.setsockopt(zmq.LINGER, 0)
        while True:
            try:
                return self.router.bind(self.endpoint)
            except zmq.ZMQError:  # the system has not let go of the port yet
                pass

    def _run(self, script):
        try:
            script(self)
            self.router.setsockopt(zmq.LINGER, PATIENCE * 1000)
        except BaseException as e:
            self.failure = e
        self.router.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.thread.join()
        self.context.term()
        if self.failure is not None and kind is None:
            raise self.failure

    def hear(self, *kinds):
        """The next message, which must be of one of these types; signs of life do not count unless asked for."""
        while True:
            self.peer, body = self.router.recv_multipart()
            message = msgpack.unpackb(body)
            if message == {"type": "credit", "credit": 0}:
                if "ping" in kinds:
                    return message
                continue
            assert message["type"] in kinds, (message, kinds)
            return message

    def say(self, *frames):
        self.router.send_multipart([self.peer, *frames])

    def opened(self, step, steps=None, **more):
        vector = json.loads((VECTORS / "opened.json").read_text())
        self.say(msgpack.packb({**vector, "step": step, "steps": steps, **more}))

    def error(self, code, message="no", **more):
        self.say(msgpack.packb({"type": "error", "code": code, "message": message, **more}))

    def end(self, step, reason="complete"):
        self.say(msgpack.packb({"type": "end", "step": step, "reason": reason, "dropped": 3}))

    def until_close(self):
        while self.hear("credit", "close")["type"] != "close":
            pass


def serve(first, last, heard=None):
    """Steps by credit, then the end."""

    def script(feeder):
        request = feeder.hear("open")
        if heard is not None:
            heard.append(request)
        assert request["step"] == first, request
        credit = limit = request["credit"]
        feeder.opened(first)
        for step in range(first, last):
            while credit == 0:
                credit += feeder.hear("credit")["credit"]
                assert credit <= limit
            feeder.say(frame(step))
            credit -= 1
        feeder.end(last)

    return script


def feed(*feeders, **more):
    endpoints = [f if isinstance(f, str) else f.endpoint for f in feeders]
    options = {"stream": "chat", "world": 2, "rank": 1, "step": 10, "credit": 4, "timeout": PATIENCE, **more}
    return skipalign.Feed(endpoints[0] if len(endpoints) == 1 else endpoints, **options)


class Vectors(unittest.TestCase):
    def test_files_are_what_make_writes(self):
        subprocess.run([sys.executable, VECTORS / "make.py", "--check"], check=True)

    def said(self, name):
        return (VECTORS / f"{name}.bin").read_bytes(), json.loads((VECTORS / f"{name}.json").read_text())

    def test_requests(self):
        data, said = self.said("open")
        options = {key: value for key, value in said.items() if key not in ("type", "version")}
        self.assertEqual(messages.pack_open(**options), data)
        data, said = self.said("open-fixed-shape")
        options = {key: value for key, value in said.items() if key not in ("type", "version")}
        self.assertEqual(messages.pack_open(**options), data)
        self.assertEqual(messages.pack_credit(4, None), self.said("credit")[0])
        self.assertEqual(messages.pack_credit(0, 70000), self.said("credit-done")[0])
        self.assertEqual(messages.pack_close(), self.said("close")[0])

    def test_answers(self):
        for name in ("opened", "opened-endless", "changed"):
            data, said = self.said(name)
            info = messages.take_info(messages.unpack(data))
            for key in ("server", "step", "steps", "pad_id", "packing", "tokenizer", "strategy"):
                self.assertEqual(getattr(info, key), said[key])
            self.assertEqual([(c.name, c.records) for c in info.corpora],
                             [(c["name"], c["records"]) for c in said["corpora"]])  # fmt: skip
        for name, take in ("end", messages.take_end), ("end-changed", messages.take_end), ("wait", messages.take_wait), (
            "wait-untold",
            messages.take_wait,
        ):
            data, said = self.said(name)
            del said["type"]
            self.assertEqual(vars(take(messages.unpack(data))), said)
        data, said = self.said("error-bad-world")
        error = messages.take_error(messages.unpack(data), "here")
        self.assertEqual((error.code, error.worlds, error.steps), ("bad-world", (1, 2, 4, 8), None))

    def check_batch(self, batch, said):
        for key, value in said.items():
            if key != "type":
                ours = getattr(batch, key)
                self.assertEqual(ours.ravel().tolist() if isinstance(ours, numpy.ndarray) else ours, value, key)
                if isinstance(ours, numpy.ndarray):
                    self.assertTrue(ours.flags.aligned)
                    self.assertFalse(ours.flags.writeable)

    def test_batch(self):
        data, said = self.said("batch")
        decoder = Decoder()
        for _ in range(2):  # by msgpack, then by the layout learnt
            self.check_batch(decoder.decode(memoryview(data)), said)
        self.assertIsNotNone(decoder.layout.read(memoryview(data)))

    def test_batch_at_any_address(self):
        data, said = self.said("batch")
        decoder = Decoder()
        decoder.decode(memoryview(data))
        for shift in range(8):
            self.check_batch(decoder.decode(memoryview(bytes(shift) + data)[shift:]), said)

    def test_batch_as_msgpack_would_write_it(self):
        data, said = self.said("batch")
        message = msgpack.unpackb(data)
        del message["pad"]
        other = dict(reversed([*message.items(), ("news", {"of": [1, 2]})]))
        self.check_batch(Decoder().decode(memoryview(msgpack.packb(other))), said)

    def test_same_size_other_shape(self):
        decoder = Decoder()
        for rows, length in ((2, 8), (1, 16), (2, 8), (4, 4)):
            data = frame(5, rows=rows, length=length)
            for _ in range(2):
                batch = decoder.decode(memoryview(data))
                self.assertEqual(batch.input_ids.shape, (rows, length))
                self.assertEqual(batch.input_ids[-1, -1], 5 + rows * length - 1)

    def test_the_layout_holds_for_any_number_of_documents(self):
        decoder = Decoder()
        decoder.decode(memoryview(frame(0, docs=3)))
        layout = decoder.layout
        for docs in range(3, 17):
            data = frame(docs, docs=docs)
            batch = layout.read(memoryview(data))
            self.assertEqual(batch.cu_seqlens.tolist(), [16 * i // docs for i in range(docs + 1)])
            self.assertEqual(batch.doc_record.tolist(), [2**40 + i for i in range(docs)])
            self.assertEqual((len(batch.doc_corpus), batch.step), (docs, docs))
            for end in range(len(data)):
                self.assertIsNone(layout.read(memoryview(data)[:end]))
            self.assertIsNone(layout.read(memoryview(data + b"\0")))
            decoder.decode(memoryview(data))
        self.assertIs(decoder.layout, layout)

    def test_every_prefix_is_refused(self):
        data, _ = self.said("batch")
        for n in range(len(data)):
            with self.assertRaises(skipalign.FeedError) as caught:
                Decoder().decode(memoryview(data)[:n])
            self.assertEqual(caught.exception.code, "protocol")

    def test_mutations_are_refused_or_whole(self):
        data, _ = self.said("batch")
        draw = numpy.random.default_rng(20240517)
        outcomes = set()
        for _ in range(5000):
            mutant = bytearray(data)
            for at in draw.integers(0, len(data), draw.integers(1, 4)):
                mutant[at] = draw.integers(0, 256)
            try:
                batch = Decoder().decode(memoryview(mutant).toreadonly())
                self.assertEqual(batch.labels.shape, (batch.rows, batch.length))
                self.assertEqual(len(batch.doc_record), len(batch.cu_seqlens) - 1)
                outcomes.add("whole")
            except skipalign.FeedError as e:
                outcomes.add(e.code)
        self.assertEqual(outcomes, {"whole", "protocol"})

    def test_shapes_that_do_not_fit(self):
        data, _ = self.said("batch")
        good = msgpack.unpackb(data)
        wrong = [
            ("labels", good["labels"][:-4]), ("tokens", good["tokens"] * 2), ("doc_record", good["doc_record"][8:]),
            ("cu_seqlens", b""), ("cu_seqlens", good["cu_seqlens"][4:]), ("rank", 8), ("rows", 0), ("max_seqlen", 9),
            ("length", -8), ("input_ids", [1, 2]), ("step", 1.0), ("step", True), ("stream", 1),
        ]  # fmt: skip
        for key, value in wrong:
            with self.subTest(key=key), self.assertRaises(skipalign.FeedError):
                Decoder().decode(memoryview(msgpack.packb({**good, key: value})))


class Reading(unittest.TestCase):
    def test_batches_come_in_order_to_the_end(self):
        heard = []
        with Feeder(serve(10, 30, heard)) as feeder, feed(feeder, job="test") as f:
            self.assertIsNone(f.info)
            batches = list(f)
            self.assertEqual([b.step for b in batches], list(range(10, 30)))
            self.assertEqual([b.input_ids[0, 0] for b in batches], list(range(10, 30)))
            self.assertEqual((f.end.step, f.end.reason, f.end.dropped), (30, "complete", 3))
            self.assertEqual(list(f), [])
            self.assertEqual(f.info.vocab_size, 64000)
        self.assertEqual(heard[0], {"type": "open", "version": 1, "stream": "chat", "world": 2, "rank": 1, "step": 10,
                                    "credit": 4, "job": "test"})  # fmt: skip

    def test_a_batch_outlives_its_feed(self):
        def script(feeder):
            feeder.hear("open")
            feeder.opened(10)
            feeder.say(frame(10, length=5))
            feeder.say(frame(11, length=4096))
            feeder.until_close()

        with Feeder(script) as feeder:
            with feed(feeder) as f:
                batches = [next(f), next(f)]
        for batch, length in zip(batches, (5, 4096)):
            self.assertEqual(batch.input_ids.shape, (2, length))
            self.assertEqual(batch.input_ids.sum(), sum(range(batch.step, batch.step + 2 * length)))
            self.assertEqual(batch.attention_mask.sum(axis=1).tolist(), [length - 1] * 2)
            self.assertTrue(batch.attention_mask[:, :-1].all())
            self.assertTrue(batch.doc_record.flags.aligned)
            with self.assertRaises(ValueError):
                batch.input_ids[0, 0] = 1

    def test_done_is_told(self):
        def script(feeder):
            feeder.hear("open")
            feeder.opened(10)
            feeder.say(frame(10))
            assert feeder.hear("credit") == {"type": "credit", "credit": 1, "done": 10}
            feeder.until_close()

        with Feeder(script) as feeder, feed(feeder) as f:
            f.done(next(f).step)

    def test_open_gives_the_info_before_any_batch(self):
        def script(feeder):
            feeder.hear("open")
            feeder.opened(10, steps=50)
            feeder.until_close()

        with Feeder(script) as feeder, feed(feeder) as f:
            info = f.open()
            self.assertEqual((info.steps, info.corpora[1].name), (50, "own dialogues"))
            self.assertIs(f.open(), info)

    def test_state_goes_on_where_it_was(self):
        with Feeder(serve(10, 13)) as feeder, feed(feeder) as f:
            next(f)
            next(f)
            state = json.loads(json.dumps(f.state_dict()))
            next(f)
            next(f, None)
        self.assertEqual(state, {"stream": "chat", "world": 2, "rank": 1, "step": 12})
        with Feeder(serve(12, 14)) as feeder, feed(feeder, step=0) as f:
            f.load_state_dict(state)
            self.assertEqual([b.step for b in f], [12, 13])
        with self.assertRaisesRegex(ValueError, "stream 'chat', this feed reads 'code'"):
            feed(NOBODY, stream="code").load_state_dict(state)

    def test_a_closed_feed_opens_again(self):
        def script(feeder):
            for step in (10, 11):
                assert feeder.hear("open")["step"] == step
                feeder.opened(step)
                feeder.say(frame(step))
                feeder.until_close()

        with Feeder(script) as feeder:
            f = feed(feeder)
            for step in (10, 11):
                self.assertEqual(next(f).step, step)
                f.close()

    def test_a_pickled_feed_reads_elsewhere(self):
        with Feeder(serve(10, 12)) as feeder:
            f = pickle.loads(pickle.dumps(feed(feeder)))
            self.assertEqual([b.step for b in f], [10, 11])
            f.close()

    def test_a_feed_is_opened_in_the_process_that_reads(self):
        with Feeder(serve(10, 13)) as feeder, feed(feeder) as f:
            next(f)
            child = os.fork()
            if child == 0:
                try:
                    next(f)
                except skipalign.FeedError as e:
                    f.close()  # not its own: leaves the connection alone
                    os._exit(0 if e.code == "forked" else 1)
                os._exit(2)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
            self.assertEqual([b.step for b in f], [11, 12])

    def test_a_feed_may_be_made_before_a_fork(self):
        with Feeder(serve(10, 13)) as feeder:
            f = feed(feeder)
            child = os.fork()
            if child == 0:
                os._exit(sum(b.step for b in f))
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 10 + 11 + 12)


class FeedersThatGo(unittest.TestCase):
    def test_forgotten_feed_opens_again_at_the_next_step(self):
        def script(feeder):
            feeder.hear("open")
            feeder.opened(10)
            feeder.say(frame(10))
            feeder.say(frame(11))
            feeder.hear("credit")
            feeder.error("not-open")
            while (request := feeder.hear("open", "credit"))["type"] != "open":
                pass
            assert (request["step"], request["credit"]) == (12, 4)
            feeder.opened(12)
            feeder.say(frame(12))
            feeder.end(13)

        with Feeder(script) as feeder, feed(feeder) as f:
            self.assertEqual([b.step for b in f], [10, 11, 12])

    def test_waiting_feed_notices_that_it_was_forgotten(self):
        def script(feeder):
            feeder.hear("open")
            feeder.opened(10)
            feeder.hear("ping")
            feeder.error("not-open")
            feeder.hear("open")
            feeder.opened(10)
            feeder.say(frame(10))
            feeder.end(11)

        with Feeder(script) as feeder, feed(feeder) as f:
            self.assertEqual([b.step for b in f], [10])

    def test_restarted_feeder_goes_on(self):
        def script(feeder):
            feeder.hear("open")
            feeder.opened(10)
            feeder.say(frame(10))
            feeder.hear("credit")  # the batch has arrived
            feeder.router.close()
            feeder.bind()
            while feeder.hear("open", "credit", "ping")["type"] != "open":
                feeder.error("not-open")
            feeder.opened(11)
            feeder.say(frame(11))
            feeder.end(12)

        with Feeder(script) as feeder, feed(feeder) as f:
            f.done(next(f).step)
            self.assertEqual([b.step for b in f], [11])

    def test_feeder_that_shuts_down_is_waited_for(self):
        def script(feeder):
            feeder.hear("open")
            feeder.opened(10)
            feeder.say(frame(10))
            feeder.error("shutting-down")
            feeder.hear("open")
            feeder.error("shutting-down")
            assert feeder.hear("open")["step"] == 11
            feeder.opened(11)
            feeder.say(frame(11))
            feeder.end(12)

        with Feeder(script) as feeder, feed(feeder) as f:
            self.assertEqual([b.step for b in f], [10, 11])

    def test_the_next_endpoint_is_tried(self):
        with Feeder(serve(10, 13)) as feeder, feed(NOBODY, feeder) as f:
            self.assertEqual([b.step for b in f], [10, 11, 12])

    def test_a_silent_feeder_is_left(self):
        for answers, patience in (False, {"dead_after": 0.2}), (True, {"silent_after": 0.2}):
            release = threading.Event()

            def silent(feeder):
                feeder.hear("open")
                if answers:
                    feeder.opened(10)
                release.wait(PATIENCE)

            with self.subTest(answers=answers), Feeder(silent) as first, Feeder(serve(10, 12)) as second:
                with feed(first, second, **patience) as f:
                    self.assertEqual([b.step for b in f], [10, 11])
                release.set()

    def test_a_feeder_of_another_history_is_refused(self):
        def dies(feeder):
            feeder.hear("open")
            feeder.opened(10, generation=3)
            feeder.say(frame(10))
            feeder.hear("credit")

        for words, said in ("only generation 2 of stream 'chat' at step 11", {"generation": 2}), (
            "another generation 3 of stream 'chat'",
            {"generation": 3, "length": 16},
        ):

            def other(feeder):
                assert feeder.hear("open")["step"] == 11
                feeder.opened(11, **said)

            with Feeder(dies) as first, Feeder(other) as second, feed(first, second) as f:
                f.done(next(f).step)
                with self.assertRaisesRegex(skipalign.FeedError, words) as caught:
                    next(f)
                self.assertEqual(caught.exception.code, "corrupt")

    def test_another_feeder_goes_on_when_one_dies(self):
        def dies(feeder):
            feeder.hear("open")
            feeder.opened(10)
            feeder.say(frame(10))
            feeder.hear("credit")
            feeder.router.close()
            feeder.router = feeder.context.socket(zmq.ROUTER)

        with Feeder(dies) as first, Feeder(serve(11, 13)) as second, feed(first, second) as f:
            f.done(next(f).step)
            self.assertEqual([b.step for b in f], [11, 12])

    def test_another_feeder_goes_on_when_one_shuts_down(self):
        def leaves(feeder):
            feeder.hear("open")
            feeder.opened(10)
            feeder.say(frame(10))
            feeder.error("shutting-down")

        with Feeder(leaves) as first, Feeder(serve(11, 13)) as second, feed(first, second) as f:
            self.assertEqual([b.step for b in f], [10, 11, 12])

    def test_old_steps_are_dropped(self):
        def script(feeder):
            feeder.hear("open")
            feeder.opened(10)
            for step in (10, 9, 10, 11):
                feeder.say(frame(step))
            credit = 0
            while credit < 4:  # what was dropped is paid for, too
                credit += feeder.hear("credit")["credit"]
            feeder.end(12)

        with Feeder(script) as feeder, feed(feeder) as f:
            self.assertEqual([b.step for b in f], [10, 11])


class StreamsThatChange(unittest.TestCase):
    def test_info_is_up_to_date_with_each_batch(self):
        def script(feeder):
            assert "fixed_shape" not in feeder.hear("open")
            feeder.opened(10, generation=3)
            feeder.say(frame(10))
            feeder.opened(11, type="changed", generation=5, length=16)
            feeder.say(frame(11, length=16))
            feeder.end(12)

        with Feeder(script) as feeder, feed(feeder) as f:
            next(f)
            self.assertEqual((f.info.generation, f.info.step), (3, 10))
            self.assertEqual(next(f).length, 16)
            self.assertEqual((f.info.generation, f.info.step, f.info.length), (5, 11, 16))

    def test_a_fixed_shape_ends_at_the_change(self):
        def script(feeder):
            assert feeder.hear("open")["fixed_shape"] is True
            feeder.opened(10)
            feeder.say(frame(10))
            feeder.end(11, "changed")

        with Feeder(script) as feeder, feed(feeder, fixed_shape=True) as f:
            self.assertEqual([b.step for b in f], [10])
            self.assertEqual((f.end.reason, f.end.step), ("changed", 11))
            state = f.state_dict()
        with Feeder(serve(11, 12)) as feeder, feed(feeder) as f:
            f.load_state_dict(state)
            self.assertEqual([b.step for b in f], [11])

    def test_wait_is_told(self):
        told = threading.Event()

        def script(feeder):
            feeder.hear("open")
            feeder.say(msgpack.packb({"type": "wait", "step": 10, "known": 2, "seconds": None}))
            feeder.opened(10)
            feeder.say(msgpack.packb({"type": "wait", "step": 10, "known": 4, "seconds": 75}))
            assert told.wait(PATIENCE)
            feeder.say(frame(10))
            feeder.until_close()

        with Feeder(script) as feeder, feed(feeder, timeout=0.01) as f:
            while f.wait is None or f.wait.known < 4:
                with self.assertRaises(skipalign.FeedTimeout) as caught:
                    next(f)
            self.assertEqual(f.wait, skipalign.Wait(10, 4, 75))
            self.assertIn("4 steps so far, step 10 in about 75 s", str(caught.exception))
            told.set()
            f.timeout = PATIENCE
            self.assertEqual(next(f).step, 10)
            self.assertIsNone(f.wait)

    def test_unknown_messages_are_ignored(self):
        def script(feeder):
            feeder.hear("open")
            news = msgpack.packb({"type": "news", "of": 1})
            feeder.say(news)
            feeder.opened(10)
            feeder.say(news)
            feeder.say(frame(10))
            feeder.end(11)

        with Feeder(script) as feeder, feed(feeder) as f:
            self.assertEqual([b.step for b in f], [10])


class Refusals(unittest.TestCase):
    def fails(self, answer, code, words, **expected):
        def script(feeder):
            feeder.hear("open")
            answer(feeder)

        with Feeder(script) as feeder, feed(feeder) as f:
            for _ in range(2):
                with self.assertRaisesRegex(skipalign.FeedError, words) as caught:
                    next(f)
                self.assertEqual(caught.exception.code, code)
            for key, value in expected.items():
                self.assertEqual(getattr(caught.exception, key), value)

    def test_the_feeder_says_no(self):
        self.fails(lambda f: f.error("unknown-stream", "there is: tulu"), "unknown-stream", "there is: tulu")
        self.fails(lambda f: f.error("bad-world", worlds=[1, 2]), "bad-world", "no", worlds=(1, 2))
        self.fails(lambda f: f.error("step-past-end", steps=7), "step-past-end", "no", steps=7, worlds=())
        self.fails(lambda f: f.error("of-the-future", "wait"), "of-the-future", "wait")
        self.fails(lambda f: f.error("not-open", "what?"), "not-open", "what")

    def test_what_is_no_feeder(self):
        self.fails(lambda f: f.say(b"\xdd\xff\xff\xff\xff noise"), "protocol", "not a feeder's message")
        self.fails(lambda f: f.say(b""), "protocol", "not a feeder's message")
        self.fails(lambda f: f.say(b"\x91" * 5000), "protocol", "not a feeder's message")
        self.fails(lambda f: f.say(b"", b""), "protocol", "several frames")
        self.fails(lambda f: f.say(bytes(2 << 20)), "protocol", "2097152 bytes")
        self.fails(lambda f: f.say(msgpack.packb({"type": "close"})), "protocol", "`close`")
        self.fails(lambda f: f.say(msgpack.packb({"type": "opened"})), "protocol", "`corpora` of `opened`")
        self.fails(lambda f: f.opened(11), "protocol", "opened step 11, asked for 10")
        self.fails(lambda f: f.say(frame(10)), "protocol", "not opened")

    def test_what_was_not_asked_for(self):
        def after_opened(*frames):
            return lambda f: [f.opened(10), *map(f.say, frames)]

        self.fails(after_opened(frame(11)), "corrupt", "sent step 11, the next is 10")
        self.fails(after_opened(frame(10, stream="code")), "corrupt", "stream='code'")
        self.fails(after_opened(frame(10, world=4)), "corrupt", "rank=1 of 4")
        self.fails(after_opened(frame(10, rank=0)), "corrupt", "rank=0 of 2")
        self.fails(lambda f: [f.opened(10), f.end(12)], "corrupt", "step 10 was never sent")

    def test_a_stream_that_is_removed_ends(self):
        def script(feeder):
            feeder.hear("open")
            feeder.opened(10)
            feeder.end(12, "removed")

        with Feeder(script) as feeder, feed(feeder) as f:
            self.assertEqual(list(f), [])
            self.assertEqual(f.end.reason, "removed")

    def test_nobody_answers(self):
        for endpoints in ([NOBODY], [NOBODY, "ipc:///nonexistent/feed"]):
            with feed(*endpoints, timeout=0.01) as f:
                for _ in range(2):
                    with self.assertRaisesRegex(skipalign.FeedTimeout, "no answer from tcp://127.0.0.1:9"):
                        next(f)

    def test_a_timeout_can_be_tried_again(self):
        timed_out = threading.Event()

        def script(feeder):
            feeder.hear("open")
            feeder.opened(10)
            assert timed_out.wait(PATIENCE)
            feeder.say(frame(10))
            feeder.until_close()

        with Feeder(script) as feeder, feed(feeder) as f:
            f.open()
            f.timeout = 0.01
            with self.assertRaisesRegex(skipalign.FeedTimeout, "step 10 did not come"):
                next(f)
            self.assertTrue(issubclass(skipalign.FeedTimeout, TimeoutError))
            f.timeout = PATIENCE
            timed_out.set()
            self.assertEqual(next(f).step, 10)

    def test_wrong_arguments(self):
        wrong = [
            {"stream": ""}, {"stream": "ü" * 33}, {"job": "j" * 65}, {"rank": 2}, {"rank": -1}, {"step": -1},
            {"credit": 0}, {"world": 0, "rank": 0}, {"dead_after": 0}, {"silent_after": -1}, {"dead_after": float("nan")},
        ]  # fmt: skip
        for options in wrong:
            with self.subTest(**options), self.assertRaises(ValueError):
                feed(NOBODY, **options)
        with self.assertRaisesRegex(ValueError, "endpoints"):
            skipalign.Feed([], "chat")
        with self.assertRaisesRegex(ValueError, "endpoint 'tcp://b'"):
            skipalign.Feed("tcp://a:5757, tcp://b", "chat")
        for endpoint in ("127.0.0.1:5757", "smtp://there"):
            with self.assertRaisesRegex(ValueError, "like tcp://127.0.0.1:5757"):
                next(feed(endpoint))

    def test_errors_can_be_pickled(self):
        error = pickle.loads(pickle.dumps(skipalign.FeedError("bad-world", "no", [1, 2], None)))
        self.assertEqual((error.code, error.message, error.worlds), ("bad-world", "no", (1, 2)))


if __name__ == "__main__":
    unittest.main()
