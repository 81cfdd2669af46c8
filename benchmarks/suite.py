"""CPU seconds that the tests of each method take, cold, in a process of its own.

    python benchmarks/suite.py [--only byol mae] [--all] [--out suite.json]

User and system seconds of `pytest` on the method's contract tests and its own test file,
with an empty compilation cache, less those of a process that collects the same tests and
runs none. The tests are those of `make test`, with --all those of `make test-all`.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
FILES = ("tests/contract_test.py", "tests/methods")


def pytest(*words, folder):
    """CPU seconds of a pytest process and of what it starts, and its output."""
    caches = {"JSSL_CACHE": f"{folder}/jssl", "JAX_COMPILATION_CACHE_DIR": f"{folder}/xla"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *words],
        cwd=ROOT,
        env=os.environ | caches,
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if ran.returncode:
        raise SystemExit(f"pytest {' '.join(words[:3])} ... failed:\n{ran.stdout[-2000:]}")
    return seconds, ran.stdout


def tests():
    """The test identifiers of each method."""
    with tempfile.TemporaryDirectory() as folder:
        _, listed = pytest("--collect-only", *FILES, folder=folder)
    found = defaultdict(list)
    for line in listed.splitlines():
        named = re.search(r"contract_test.py::.*\[(\w+)|methods/\w+/(\w+)_test.py::", line)
        if named:
            found[named[1] or named[2]].append(line.strip())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--all", action="store_true", help="settled agreement, too")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    marks = [] if options.all else ["-m", "not settled"]
    seconds = {}
    for name, items in sorted(tests().items()):
        if options.only and name not in options.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            idle, _ = pytest("--collect-only", *marks, *items, folder=folder)
            spent, _ = pytest(*marks, *items, folder=folder)
        seconds[name] = round(spent - idle, 1)
        print(f"{seconds[name]:7.1f}  {name}", flush=True)
    print(f"{median(seconds.values()):7.1f}  median of {len(seconds)}")
    print(f"{max(seconds.values()):7.1f}  largest")
    if options.out:
        options.out.write_text(json.dumps(seconds, indent=1) + "\n")


if __name__ == "__main__":
    main()
