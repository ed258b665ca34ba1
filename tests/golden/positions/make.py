#!/usr/bin/env python3
"""Write vectors.txt: position ids as client/python/skipalign/positions.py gives them.

    python3 tests/golden/positions/make.py > tests/golden/positions/vectors.txt

Three lines each: "# NAME", the case (tests/support/position_case.h says what stands in it), and what comes of it:
outcome, number of runs, and of each run "first token:its id"; ids go up by one inside a run.
"""

import random

from cases import edge_cases, random_case


def runs(ids):
    starts = [t for t in range(len(ids)) if t == 0 or ids[t] != ids[t - 1] + 1]
    return " ".join([str(len(starts)), *(f"{t}:{ids[t]}" for t in starts)])


def main():
    rng = random.Random(1)
    cases = [*edge_cases(), *((f"random {i}", random_case(rng, turns=3, tokens=12)) for i in range(200))]
    print("# made by make.py, which says what stands here")
    for name, case in cases:
        drawn = case.draw()
        print(f"# {name}\n{case.text()}\n{drawn.outcome} {runs(drawn.ids.tolist())}")


if __name__ == "__main__":
    main()
