"""skipalignctl tokenizer: what a model file is, who tokenises for it, and how fast; without a feeder."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import support
from support import BUILD, DATA, REAL_DATA


def look(*arguments):
    """As skipalignctl prints it for programs."""
    done = support.ctl("tokenizer", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class ModelFile(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="skipalign-model-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def refused(self, path, words, *arguments):
        done = support.ctl("tokenizer", path, *arguments)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertEqual(done.stdout, "")
        self.assertIn(words, done.stderr)
        self.assertIn(str(arguments[0] if arguments else path), done.stderr)

    def test_a_model_of_the_fast_path(self):
        found = look(DATA / "mistral-v1.model")
        self.assertTrue(found["fast"])
        self.assertIsNone(found["why_not"])
        self.assertEqual((found["model"], found["vocab_size"], found["bos"], found["eos"]), ("BPE", 32000, 1, 2))
        self.assertEqual((found["pieces"]["bytes"], found["pieces"]["control"]), (256, 2))
        self.assertEqual(sum(found["pieces"].values()), 32000)
        self.assertEqual(found["compared"], found["texts"])
        self.assertGreater(found["texts"], 400)
        self.assertEqual(found["differed"], 0)
        self.assertGreaterEqual(found["bytes"], 1 << 20)
        self.assertIsNone(found["text"])
        for speed in found["mb_per_second"].values():
            self.assertGreater(speed, 0)

    def test_for_people(self):
        done = support.ctl("tokenizer", support.SAMPLE_MODEL)
        self.assertEqual(done.returncode, 0, done.stderr)
        for words in (str(support.SAMPLE_MODEL), "BPE, 2000 pieces", "bos 1 <s>", "path       fast", "times", "the same ids",
                      "drawn from its own pieces"):
            self.assertIn(words, done.stdout)

    def test_on_a_text_of_ones_own(self):
        text = self.folder / "-text"
        text.write_text("One line.\n" * 30000 + "\u2581marked\u2581\n" * 3, encoding="utf-8")
        found = look("--", support.SAMPLE_MODEL, text)
        self.assertEqual((found["text"], found["bytes"]), (str(text), text.stat().st_size))
        self.assertEqual(found["refused"], 1)  # the library's job: the mark itself is in it
        self.assertEqual(found["differed"], 0)

    @unittest.skipUnless(REAL_DATA, "needs SKIPALIGN_TEST_DATA")
    def test_a_model_of_the_librarys(self):
        found = look(REAL_DATA / "tokenizers" / "unigram-8k.model")
        self.assertFalse(found["fast"])
        self.assertIn("it is no BPE model", found["why_not"])
        self.assertEqual((found["model"], found["compared"]), ("unigram", 0))
        self.assertIsNone(found["mb_per_second"]["first"])
        self.assertGreater(found["mb_per_second"]["library"], 0)

    def test_files_that_will_not_do(self):
        path = self.folder / "x.model"
        self.refused(path, "No such file")
        path.write_text("not a model\n")
        self.refused(path, "not a SentencePiece model")
        whole = support.SAMPLE_MODEL.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        self.refused(path, "cut short")
        with path.open("r+b") as f:
            f.truncate(300 << 20)
        self.refused(path, "at most")
        self.refused(self.folder, "is a directory")
        if os.geteuid() != 0:
            path.chmod(0)
            self.refused(path, "Permission denied")
        self.refused(support.SAMPLE_MODEL, "No such file", self.folder / "none")
        empty = self.folder / "empty"
        empty.touch()
        self.refused(support.SAMPLE_MODEL, "is empty", empty)
        self.refused(support.SAMPLE_MODEL, "directory", self.folder)

    def test_a_fast_path_that_is_wrong(self):
        text = self.folder / "text"
        text.write_text("Cut the lemon and heat the water.\n" * 500 + "planted\n" + "Cut the lemon.\n" * 500)
        done = subprocess.run([BUILD / "tests" / "skipalignd_wrong", "--tokenizer", support.SAMPLE_MODEL, text],
                              capture_output=True, text=True, timeout=support.PATIENCE,
                              env=os.environ | {"SKIPALIGN_WRONG_IDS": str(text)})
        self.assertEqual(done.returncode, 1)
        self.assertIn("1 have OTHER IDS", done.stdout)


if __name__ == "__main__":
    unittest.main()
