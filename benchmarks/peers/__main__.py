"""python -m peers run | side | table, with benchmarks/ on PYTHONPATH."""

import argparse
import json
import os
import sys

from peers.driver import ROOT, compare, pairs, session, side
from peers.page import page, tables


def files(options):
    """(kept, page): what is measured under a label has files of its own."""
    label, folder = options.label and f"-{options.label}", ROOT / "benchmarks"
    return folder / f"results{label}.json", folder / f"RESULTS{label}.md"


def run(options):
    """Measures, keeps after each pair what is done, and writes the page; a quick run
    prints it only."""
    known, (where, shown) = pairs(), files(options)
    unknown = set(options.only) - set(known)
    if unknown:
        sys.exit(f"no pair {min(unknown)!r}; there are {', '.join(known)}")
    chosen = options.only or known
    kept = {"session": session(options), "pairs": {}}
    if options.only and where.exists() and not options.quick:
        kept["pairs"] = json.loads(where.read_text())["pairs"]
        chosen = [n for n in known if n in chosen or n.startswith("ceiling-")]
    if kept["session"]["load"] > 1:
        load = kept["session"]["load"]
        print(f"load average {load}: not an idle machine", file=sys.stderr)
    for name in (n for n in known if n in chosen):
        entry = compare(name, known[name], options)
        kept["pairs"][name] = entry | {"date": kept["session"]["date"]}
        kept["pairs"] = {n: kept["pairs"][n] for n in known if n in kept["pairs"]}
        if not options.quick:
            partial = where.with_suffix(".partial")
            partial.write_text(json.dumps(kept, indent=1) + "\n")
            os.replace(partial, where)
            shown.write_text(page(kept))
    if options.quick:
        print("\n".join(tables(kept["pairs"])))
    failed = [n for n in chosen if "failed" in kept["pairs"][n]["ours"]]
    if failed:
        sys.exit(f"our side failed: {', '.join(failed)}")


def main():
    parser = argparse.ArgumentParser(prog="python -m peers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running, one = commands.add_parser("run"), commands.add_parser("side")
    table = commands.add_parser("table", help="writes the page anew, of what was kept")
    for command in (running, table):
        command.add_argument("--label", default="", help="of other files: jax-0.12")
    one.add_argument("pair", choices=pairs())
    one.add_argument("which", help="ours, or a name of theirs")
    cores = len(os.sched_getaffinity(0))
    for command in (running, one):
        command.add_argument("--quick", action="store_true", help="tiny sizes: no numbers")
        command.add_argument("--seconds", type=float, help="of the clock (3; quick: 0.2)")
        command.add_argument("--threads", type=int, default=cores)
    running.add_argument("--only", nargs="+", default=[], help="names of pairs")
    running.add_argument("--rounds", type=int, default=3)
    running.add_argument("--limit", type=float, default=600, help="seconds a process")
    options = parser.parse_args()
    if options.command == "table":
        where, shown = files(options)
        shown.write_text(page(json.loads(where.read_text())))
        return
    if options.seconds is None:
        options.seconds = 0.2 if options.quick else 3.0
    if options.command == "run":
        run(options)
    else:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
        measured = side(options.pair, options.which, options.quick, options.seconds)
        print(json.dumps(measured))


if __name__ == "__main__":
    main()
