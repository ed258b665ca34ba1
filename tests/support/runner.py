"""Builds the project in every way that is tested, runs the test programs, counts their tests.

Started by tests/run. A test program is a cmocka program that CTest knows, or a Python unittest file tests/*/test_*.py.
Each runs as a process of its own; what it prints goes to build/tests-log/ and is shown only where something failed.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
LOGS = TOP / "build" / "tests-log"
CPUS = len(os.sched_getaffinity(0))
PROGRAM_SECONDS = 600  # a program that takes longer hangs
DETAIL_LINES = 60      # of a failed program's log

SANITIZERS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": f"halt_on_error=1:second_deadlock_stack=1:suppressions={TOP}/tests/support/tsan.supp",
}


class Tally:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []


def show(name, log):
    lines = log.read_text(errors="replace").splitlines()
    print(f"\n--- {name} failed; the end of {log.relative_to(TOP)}:")
    print("\n".join(lines[-DETAIL_LINES:]), "\n---", flush=True)


def log_path(name):
    path = LOGS / (re.sub(r"[^A-Za-z0-9_.-]+", "-", name) + ".log")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def step(name, commands, tally):
    """Commands that must succeed but are no tests; a failure counts as one."""
    started, log = time.monotonic(), log_path(name)
    print(f"{name} ...", end=" ", flush=True)
    with log.open("w") as out:
        ok = all(subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=out,
                                stderr=subprocess.STDOUT).returncode == 0 for command in commands)
    print(f"{time.monotonic() - started:.0f} s", flush=True)
    if not ok:
        tally.failed.append(name)
        show(name, log)
    return ok


def build(preset, tally):
    """Configures and builds a preset of CMakePresets.json."""
    return step(f"build {preset}", [["cmake", "--preset", preset],
                                    ["cmake", "--build", "--preset", preset, "-j", str(CPUS)]], tally)


def cmocka_programs(folder, filters):
    """(name, command) of each program that CTest knows in a build folder."""
    listing = subprocess.run(["ctest", "--show-only=json-v1"], cwd=folder, capture_output=True, check=True)
    tests = json.loads(listing.stdout)["tests"]
    return [(test["name"], test["command"]) for test in tests if wanted(test["name"], filters)]


def python_files(folders, filters):
    files = sorted(path for folder in folders for path in (TOP / "tests" / folder).glob("test_*.py"))
    names = [(f"{path.parent.name}/{path.stem}", path) for path in files]
    run = ["/usr/bin/python3", str(TOP / "tests/support/unittest_lines.py")]
    return [(name, [*run, str(path)]) for name, path in names if wanted(name, filters)]


def wanted(name, filters):
    return not filters or any(text in name for text in filters)


def count(text):
    """Names of the tests that passed, failed and were skipped, from the lines that cmocka (and unittest_lines) print."""
    tests = {word: set(re.findall(rf"^\[ *{word} *\] (?!---|\d+ test\(s\))([^\s:]+)", text, re.M))
             for word in ("RUN", "OK", "FAILED", "ERROR", "SKIPPED")}
    failed = tests["FAILED"] | tests["ERROR"] | (tests["RUN"] - tests["OK"] - tests["SKIPPED"])
    return tests["OK"] - failed, failed, tests["SKIPPED"] - failed


def run_program(name, command, folder):
    """One program, to its end or its time's end; returns (passed, failed, skipped, log)."""
    log = log_path(f"{folder.name}-{name}")
    env = SANITIZERS | os.environ | {"SKIPALIGN_BUILD": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=TOP, env=env, stdout=out, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            rc = process.wait(PROGRAM_SECONDS)
        except subprocess.TimeoutExpired:
            rc = "took longer than %d s" % PROGRAM_SECONDS
            out.write(f"\n{rc}\n")
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # and what it left running
            except ProcessLookupError:
                pass
            process.wait()
    passed, failed, skipped = count(log.read_text(errors="replace"))
    failed = list(failed)
    if rc != 0 and not failed:
        failed = [f"exit {rc}"]
    if rc == 0 and not (passed or failed or skipped):
        failed = ["no test in it"]
    return len(passed), failed, len(skipped), log


def run_programs(title, programs, folder, tally):
    if not programs:
        return
    started = time.monotonic()
    passed = failed = skipped = 0
    with concurrent.futures.ThreadPoolExecutor(CPUS) as pool:
        jobs = {pool.submit(run_program, name, command, folder): name for name, command in programs}
        for job in concurrent.futures.as_completed(jobs):
            ok, bad, left_out, log = job.result()
            passed, failed, skipped = passed + ok, failed + len(bad), skipped + left_out
            tally.failed += [f"{title}: {jobs[job]}: {test}" for test in bad]
            if left_out:
                tally.skipped.append(f"{jobs[job]} ({left_out})")
            if bad:
                show(f"{title}: {jobs[job]}", log)
    tally.passed += passed
    print(f"{title}: {passed} passed, {failed} failed{f', {skipped} skipped' if skipped else ''}"
          f" in {time.monotonic() - started:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="tests/run")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("filters", nargs="*", metavar="FILTER")
    args = parser.parse_args()

    tally = Tally()
    shutil.rmtree(LOGS, ignore_errors=True)
    ok = build("release", tally)
    if args.list:
        folders = ["unit", "integration", "fault"]
        programs = cmocka_programs(TOP / "build", args.filters) + python_files(folders, args.filters)
        print("\n".join(name for name, _ in programs))
        return 0 if ok else 1
    if ok:
        run_programs("unit, property, fuzz", cmocka_programs(TOP / "build", args.filters), TOP / "build", tally)
        run_programs("structure and python", python_files(["unit"], args.filters), TOP / "build", tally)
        run_programs("integration", python_files(["integration"], args.filters), TOP / "build", tally)
        if args.long:
            run_programs("faults", python_files(["fault"], args.filters), TOP / "build", tally)
    for preset, title in [("asan", "address and undefined behaviour")] + [("tsan", "threads")] * args.long:
        folder = TOP / f"build-{preset}"
        if build(preset, tally):
            run_programs(title, cmocka_programs(folder, args.filters), folder, tally)
            if args.long:
                run_programs(f"{title}, integration", python_files(["integration"], args.filters), folder, tally)
    if not args.filters:
        build("clang", tally)
    if args.long and not args.filters:
        step("fuzz", [["tests/fuzz/run", "--seconds", "10"]], tally)

    if tally.skipped:
        print(f"\nskipped: {', '.join(sorted(set(tally.skipped)))}")
        if "SKIPALIGN_TEST_DATA" not in os.environ:
            print("(some need real data: SKIPALIGN_TEST_DATA=DIR with DIR/corpora and DIR/tokenizers)")
    if tally.failed:
        print("\nfailed:\n  " + "\n  ".join(tally.failed) + f"\nlogs: {LOGS.relative_to(TOP)}/")
    ran = tally.passed or tally.failed or tally.skipped
    if not ran:
        print(f"\nNo test program's name contains {' or '.join(args.filters)}; `tests/run --list` has them all.")
    print(f"\n{tally.passed} passed, {len(tally.failed)} failed")
    return 0 if ran and not tally.failed else 1


if __name__ == "__main__":
    sys.exit(main())
