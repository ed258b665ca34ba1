"""skipalignctl --svg: drawings that XML readers accept, of what the commands say, whatever names and texts there are."""

import tempfile
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path

import support
from test_ctl_change import Fake, result

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert('x')</script>&amp;\"]]>\x00\x07\x1b[31m\u202e\ufffe --"


def parse(text):
    """The drawing's root; nothing in it but shapes, texts and one style sheet."""
    root = xml.fromstring(text)
    assert root.tag == SVG + "svg", root.tag
    known = {SVG + tag for tag in ("svg", "title", "desc", "style", "rect", "line", "path", "text")}
    for element in root.iter():
        assert element.tag in known, element.tag
        for name, value in element.attrib.items():
            assert not name.startswith("on") and "href" not in name, name
            assert "nan" not in value and "inf" not in value.replace("infer", ""), (element.tag, name, value)
    return root


def texts(root):
    return [element.text for element in root.iter(SVG + "text")]


def inside(root):
    """All rectangles lie on the paper."""
    width, height = float(root.get("width")), float(root.get("height"))
    for rect in root.iter(SVG + "rect"):
        x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
        if x < 0 or y < 0 or x + float(rect.get("width")) > width + 1.5 or y + float(rect.get("height")) > height:
            return False
    return all(float(text.get("y")) < height for text in root.iter(SVG + "text"))


class Pictures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.feeder = support.Feeder(support.config(support.SAMPLE_CORPUS, seq_len=512)).__enter__()
        cls.addClassCleanup(lambda: cls.feeder.__exit__(None))
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)

    def draw(self, *arguments):
        path = self.folder / "drawing.svg"
        path.unlink(missing_ok=True)
        done = self.feeder.ctl(*arguments, "--svg", path)
        self.assertEqual(done.stdout, "")
        root = parse(path.read_bytes())
        self.assertTrue(inside(root))
        return root

    def test_preview(self):
        shown = self.feeder.ctl("--json", "preview", "s", "--rows", 4)
        words = texts(self.draw("preview", "s", "--rows", 4, "--documents", 0))
        for row in shown["shown"]:
            self.assertIn(f"row {row['row']}", words)
            for document in row["documents"]:
                self.assertIn(f"record {document['record']}, {document['tokens']} tokens", words)
                self.assertIn(f"{document['blocks'][-1]['last_position']:,}", words)
        self.assertTrue(any(word.startswith("+") for word in words))
        self.assertIn("position ids below 4,096", " ".join(words))
        self.assertTrue({"trained", "context (label -100)", "ids without skipping"} <= set(words))

    def test_preview_says_what_it_leaves_out(self):
        few = self.draw("preview", "s", "--documents", 1)
        [row] = self.feeder.ctl("--json", "preview", "s")["shown"]
        self.assertEqual(len(row["documents"]) > 1,
                         f"and {len(row['documents']) - 1} more documents" in texts(few))

    def test_coverage(self):
        shown = self.feeder.ctl("--json", "coverage", "s")
        root = self.draw("coverage", "s")
        words = texts(root)
        self.assertIn("stream s: how far training looks back", words)
        self.assertIn(f"median {shown['here']['median']:,}, 99 % within {shown['here']['p99']:,}", words)
        self.assertIn("seq_len 512", words)
        bars = [rect for rect in root.iter(SVG + "rect") if rect.get("class") == "here"]
        self.assertEqual(len(bars), 1 + 12)  # in the legend; distances 1 to 4095
        here = {}
        for bucket in shown["buckets"]:
            octave = bucket["from"].bit_length()
            here[octave] = here.get(octave, 0) + bucket["here"]
        tallest = max(bars[1:], key=lambda bar: float(bar.get("height")))
        self.assertEqual(bars.index(tallest), max(here, key=here.get))

    def test_to_standard_output_and_with_json(self):
        done = self.feeder.ctl("coverage", "s", "--svg", "-")
        parse(done.stdout.encode())
        path = self.folder / "both.svg"
        self.assertEqual(self.feeder.ctl("--json", "coverage", "s", "--svg", path)["stream"], "s")
        parse(path.read_bytes())

    def test_a_file_that_cannot_be_written(self):
        for command in "preview", "coverage":
            for path, why in ("/nowhere/x.svg", "No such file"), (self.folder, "directory"), ("/dev/full", "No space"):
                done = self.feeder.ctl(command, "s", "--svg", path, check=False)
                self.assertEqual(done.returncode, 1)
                self.assertIn(f"--svg: {path}: ", done.stderr)
                self.assertIn(why, done.stderr)
        done = self.feeder.ctl("coverage", "s", "--svg", check=False)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(self.feeder.ctl("status", "--svg", "x", check=False).returncode, 2)

    def test_a_refusal_leaves_files_alone(self):
        path = self.folder / "old.svg"
        path.write_text("old")
        self.assertEqual(self.feeder.ctl("preview", "x", "--svg", path, check=False).returncode, 1)
        self.assertEqual(path.read_text(), "old")


class Hostile(unittest.TestCase):
    def drawn(self, command, value):
        with Fake(result(value)) as fake:
            done = fake.ctl(command, "s", "--svg", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        root = parse(done.stdout.encode())
        self.assertTrue(inside(root))
        return root, done.stdout

    def document(self, n_runs, max_position, **other):
        step = max_position // n_runs
        return {"corpus": HOSTILE, "record": 2**63, "outcome": HOSTILE, "tokens": n_runs, "supervised": n_runs // 2,
                "runs": [{"first_token": i, "first_position": i * step} for i in range(n_runs)],
                "blocks": [{"role": HOSTILE, "tokens": n_runs, "first_position": 0, "last_position": (n_runs - 1) * step,
                            "segments": [{"tokens": 1, "supervised": i % 2 == 1, "text": HOSTILE}
                                         for i in range(n_runs)]}], **other}

    def preview(self, documents, **other):
        tokens = sum(document.get("tokens", 0) for document in documents)
        return {"stream": HOSTILE, "step": 2**63, "rank": 0, "world": 1, "rows": 1, "length": max(tokens, 8),
                "strategy": HOSTILE, "sampler": HOSTILE, "max_position": 65536,
                "shown": [{"row": 0, "tokens": tokens, "documents": documents}], **other}

    def test_names_are_text(self):
        root, _ = self.drawn("preview", self.preview([self.document(4, 65536)]))
        self.assertIn("<script>", " ".join(texts(root)))
        root, text = self.drawn("coverage", {"stream": HOSTILE, "buckets": [{"from": 1, "to": 1, "here": 1.0}]})
        self.assertIn("<script>", texts(root)[0])
        self.assertNotIn("\u202e", text)

    def test_size_is_bounded(self):
        """A jump before each of many tokens, many documents: no more shapes than the drawing has room for."""
        _, text = self.drawn("preview", self.preview([self.document(4096, 65536)]))
        self.assertLess(len(text), 400_000)
        many = [{**self.document(2, 65536), "tokens": 2} for _ in range(3000)]
        root, text = self.drawn("preview", self.preview(many))
        self.assertLess(len(text), 400_000)
        self.assertIn("and 2,992 more documents", texts(root))

    def test_nothing_and_nonsense(self):
        self.drawn("preview", self.preview([]))
        self.drawn("preview", {})
        self.drawn("preview", self.preview([{}]))
        self.drawn("preview", self.preview([self.document(3, 65536)], max_position=0, length=0))
        self.drawn("preview", self.preview([self.document(3, 2**40)], max_position=7))
        self.drawn("coverage", {})
        self.drawn("coverage", {"stream": "s", "buckets": [{"from": 2**63, "here": 1.0}, {"from": 0}]})
        self.drawn("coverage", {"stream": "s", "seq_len": 2**63, "max_position": 2**63,
                                "buckets": [{"from": 2**31 - 1, "here": float("nan"), "ordinary": -1.0, "long": 9e99}]})


if __name__ == "__main__":
    unittest.main()
