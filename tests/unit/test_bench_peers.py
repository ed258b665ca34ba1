"""What `tests/bench/run peers` has its loaders do to records: the same as the template and the law of skip_all say."""

import sys
import unittest
from pathlib import Path

import numpy

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench" / "peers"))
import work

LONG = work.LENGTH


def ids(*lengths):
    """Of texts of so many tokens, no two the same."""
    return numpy.arange(100, 100 + sum(lengths)), lengths


def documents(*lengths):
    """(ids, labels, positions) of each."""
    *flat, sizes = work.documents(*ids(*lengths), numpy.random.default_rng(17))
    return list(zip(*(numpy.split(x, numpy.cumsum(sizes)[:-1]) for x in flat)))


def checked(batches):
    checker = work.Checker()
    for batch in batches:
        checker.add_batch(**batch)
    return checker.result()


def batches(lengths, packing):
    """All rows of some texts in one batch."""
    made = work.make_rows(*[["x"] * (len(lengths) // 2)] * 2, lambda _: ids(*lengths), packing, numpy.random.default_rng(17))
    return [work.make_batch(*made, packing, numpy.int64)]


class Work(unittest.TestCase):
    def test_a_document_is_what_the_template_says(self):
        (tokens, labels, positions), (other, _, _) = documents(3, 2, 1, 1)
        self.assertEqual(tokens.tolist(), [work.BOS, work.INST, 100, 101, 102, work.INST_END, 103, 104, work.EOS])
        self.assertEqual(labels.tolist(), [work.IGNORED] * 6 + [103, 104, work.EOS])
        self.assertEqual(positions[:6].tolist(), [0, 1, 2, 3, 4, 5])
        self.assertEqual((positions[6:] - positions[6]).tolist(), [0, 1, 2])
        self.assertEqual(other.tolist(), [work.BOS, work.INST, 105, work.INST_END, 106, work.EOS])

    def test_a_long_document_is_cut_or_left_out_where_no_label_is_left(self):
        (cut, labels, positions), (whole, _, _) = documents(LONG - 5, 9, LONG - 3, 9, 1, 1)
        self.assertEqual(len(cut), LONG)
        self.assertEqual(labels[-2:].tolist(), [100 + LONG - 5, 101 + LONG - 5])
        self.assertLess(positions[-1], work.MAX_POSITION)
        self.assertEqual(len(whole), 6)

    def test_packed_and_padded_rows_hold_the_same_documents(self):
        lengths = [7, 3, 1500, 20, 2500, 40, 90, 5, LONG - 5, 1]  # the last one fills its row
        padded, packed = (checked(batches(lengths, packing)) for packing in (False, True))
        self.assertEqual(padded, packed)
        self.assertEqual((padded["documents"], padded["tokens"]), (5, sum(lengths) + 4 * 5))

    def test_boundaries_part_documents_and_padding(self):
        (batch,) = batches([7, 3, 1, 1, LONG - 5, 1], packing=True)
        self.assertEqual(batch["cu_seqlens"].tolist(), [0, 14, 20, LONG, 2 * LONG])
        self.assertEqual(batch["tokens"].tolist(), [20, LONG])

    def test_the_checker_sees_other_labels_ids_and_positions(self):
        right = checked(batches([7, 3], packing=False))
        for name in "input_ids", "labels":
            (batch,) = batches([7, 3], packing=False)
            batch[name][0, 12] += 1
            self.assertNotEqual(checked([batch])["digest"], right["digest"], name)
        (batch,) = batches([7, 3], packing=False)
        batch["position_ids"][0, 5] += 1  # inside the instruction
        with self.assertRaises(ValueError):
            checked([batch])


if __name__ == "__main__":
    unittest.main()
