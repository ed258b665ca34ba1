"""Runs one unittest file and prints a line for each test, as cmocka does: what the runner counts.

    python3 tests/support/unittest_lines.py tests/integration/test_x.py [CASE.test...]
"""

import sys
import unittest
from pathlib import Path


class Lines(unittest.TextTestResult):
    def startTest(self, test):
        super().startTest(test)
        self.line("RUN", test)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.line("OK", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.line("FAILED", test)

    def addError(self, test, err):
        super().addError(test, err)
        self.line("FAILED", test)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.line("FAILED", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line("SKIPPED", getattr(test, "test_case", test), f": {reason}")  # of a subTest: the test hears no more

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.line("FAILED", test)

    @staticmethod
    def line(word, test, more=""):
        name = test.id().replace("(", "").replace(")", "").replace(" ", "_")  # "setUpClass (test_x.Case)"
        print(f"[{word:^10}] {name}{more}", file=sys.stderr, flush=True)


def main():
    path = Path(sys.argv[1]).resolve()
    sys.path[:0] = [str(path.parent)]
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames([".".join([path.stem, name]) for name in sys.argv[2:]] or [path.stem])
    result = unittest.TextTestRunner(resultclass=Lines, verbosity=0).run(suite)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
