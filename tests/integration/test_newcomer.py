"""What a newcomer does first: the demo, and what README.md says to type."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import support

sys.path.insert(0, str(support.TOP / "client" / "python"))
README = (support.TOP / "README.md").read_text()


def snippet(language, holding):
    """The block of README.md in that language that holds these words."""
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.S) if holding in text]
    assert len(found) == 1, f"{len(found)} blocks of {language} in README.md hold {holding!r}"
    return found[0]


@unittest.skipIf(support.BUILD != support.TOP / "build", "the demo runs what is in build/")
class Demo(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def start(self, *arguments):
        """The demo in a process group of its own, with a folder of its own for temporary files."""
        with support.interruptible():
            process = subprocess.Popen([support.TOP / "client/demo", "--no-install", *arguments], stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, text=True, start_new_session=True,
                                       env=os.environ | {"TMPDIR": str(self.folder)})
        self.addCleanup(process.stdout.close)
        return process

    def demo(self, *arguments):
        process = self.start(*arguments)
        output = process.communicate(timeout=support.PATIENCE)[0]
        self.check_nothing_left(process)
        return process.returncode, output

    def check_nothing_left(self, process):
        self.assertEqual(list(self.folder.iterdir()), [])
        with self.assertRaises(ProcessLookupError, msg="a process is left"):
            os.killpg(process.pid, 0)

    def test_shows_steps_a_dialogue_and_throughput(self):
        program = support.BUILD / "bin/skipalignd"
        built = program.stat().st_mtime_ns
        rc, output = self.demo()
        self.assertEqual(program.stat().st_mtime_ns, built, "nothing had changed, and it was built again")
        self.assertEqual(rc, 0, output)
        for step in range(8):
            self.assertRegex(output, rf"\nstep +{step}  input_ids \(8, 1024\)  tokens +\d+")
        self.assertIn("How do I descale a kettle?", output)
        self.assertRegex(output, r"jump \+[\d,]+ → [\d,]+")
        self.assertRegex(output, r"batches/s of 8 x 1024, [\d,]+ tokens/s")
        self.assertIn("stream chat", output)

    def test_takes_files_of_the_user(self):
        corpus = support.write_jsonl(self.folder / "my corpus' [1].jsonl",
                                     [{"prompt": f"What is {i} + 1?", "completion": f"{i + 1}."} for i in range(50)])
        tokenizer = support.DATA / "mistral-v1.model"  # knows no <|im_start|>
        self.addCleanup(corpus.unlink, missing_ok=True)
        process = self.start(str(corpus), str(tokenizer))
        output = process.communicate(timeout=support.PATIENCE)[0]
        self.assertEqual(process.returncode, 0, output)
        self.assertIn("template: plain", output)
        self.assertRegex(output, r"\nstep +7  input_ids \(8, 4096\)")
        self.assertEqual(list(self.folder.iterdir()), [corpus])

    def test_failure_shows_the_log(self):
        rc, output = self.demo(str(support.SAMPLE_CORPUS), str(support.SAMPLE_CORPUS))
        self.assertEqual(rc, 1, output)
        self.assertIn("not a SentencePiece model", output)

    def test_interrupted_leaves_nothing(self):
        process = self.start()
        for line in process.stdout:
            if line.startswith("step   0"):
                break
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=support.PATIENCE)
        self.assertEqual(process.returncode, 130)
        self.check_nothing_left(process)


class Readme(unittest.TestCase):
    def test_configuration_is_good(self):
        with tempfile.TemporaryDirectory() as folder:
            done = support.check_config(snippet("yaml", "streams:"), folder)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def run_trainer(self, code, endpoint):
        """The code with our endpoint and the stream "s", three steps of it; what it gave to train()."""
        trained = []

        class Enough(Exception):
            pass

        def train(*arrays):
            trained.append(arrays)
            if len(trained) == 3:
                raise Enough

        with self.assertRaises(Enough):
            exec(endpoint(code), {"train": train})
        return trained

    def test_trainers_get_the_same(self):
        """Rank 3 of 8 from step 1200 on, from both doors."""
        config = support.config(support.SAMPLE_CORPUS, seq_len=256, global_batch=8, epochs=0)
        config["streams"][0]["name"] = "chat"
        with support.Feeder(config) as feeder:
            plain = self.run_trainer(snippet("python", "zmq.SUB"),
                                     lambda code: code.replace("tcp://127.0.0.1:5758", feeder.subscribe))
            client = self.run_trainer(snippet("python", "skipalign.Feed"),
                                      lambda code: code.replace("tcp://a:5757", feeder.listen))
            with support.Dealer(feeder.listen, "chat", world=8, rank=3, step=1200) as trainer:
                expected = [[support.arrays(batch)[name].tolist() for name in support.ARRAYS[:3]]
                            for batch in trainer.batches(3)]
        self.assertEqual([[array.tolist() for array in arrays] for arrays in plain], expected)
        self.assertEqual([[array.tolist() for array in arrays] for arrays in client], expected)

    def test_links_lead_somewhere(self):
        wrong = [link for link in re.findall(r"\]\(([^)#]+)\)", README)
                 if "://" not in link and not (support.TOP / link).exists()]
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
