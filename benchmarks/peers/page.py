"""benchmarks/RESULTS.md, of what a session measured."""

import statistics

from peers.driver import best, families, verdict

HEAD = """# Beside other libraries

Made by `make bench`: each pair does the same work in jssl and in another library, each
side in a process of its own, by turns. Medians over the rounds, with the least and the
most in brackets. *Ratio* is our rate over theirs or, for the starts, our time over theirs,
where less is better. Where theirs has several ways, the fastest counts; one three
times as slow as that is measured once. Ours runs as the launcher sets up a process
(`jssl.tuning`), theirs as a script does. All single measurements are in the JSON file of
the same name.
"""
COLUMNS = ("pair", "ours", "theirs", "by", "ratio", "target", "met")
AGAIN = """## Again

    make bench                    # everything, into this page
    make bench ONLY="rbm-cd skip-gram"    # these anew, the others as they stand
    PYTHONPATH=benchmarks .venv-bench/bin/python -m peers run --quick   # does it run?

On an idle machine: torch's threads wait by spinning, and suffer most from company.
"""


def told(side, unit):
    """'1,234 images/s (1,200 to 1,250)', or in seconds where that is more than 0.01."""
    if "seconds" not in side:
        return f"failed: {side.get('failed', 'not run')}"
    seconds = sorted(side["seconds"])
    middle = statistics.median(seconds)
    if middle < 0.01:
        low, high = 1 / seconds[-1], 1 / seconds[0]
        return f"{number(1 / middle)} {unit}/s ({number(low)} to {number(high)})"
    return f"{number(middle)} s a {unit} ({number(seconds[0])} to {number(seconds[-1])})"


def number(x):
    return f"{x:,.0f}" if x >= 1000 else f"{x:.3g}"


def row(name, entry):
    """The cells of a pair."""
    ratio, met = verdict(entry)
    limit = "at most" if entry["at_most"] else "at least"
    target = "" if entry["target"] is None else f"{limit} {entry['target']}"
    words = {None: "", True: "yes", False: "**no**"}
    which = best(entry)
    others = entry["theirs"]
    theirs = others[which] if which else next(iter(others.values()))
    return (
        name,
        told(entry["ours"], entry["unit"]),
        told(theirs, entry["unit"]),
        which or ", ".join(others),
        "" if ratio is None else f"{ratio:.2f}",
        target,
        "not measured" if ratio is None else words[met],
    )


def grid(columns, rows):
    """A markdown table, line by line."""
    head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return head + [f"| {' | '.join(map(str, cells))} |" for cells in rows]


def ceilings(entries):
    """Rates of both sides, and what share of the better product our pairs reach."""
    rows, most = [], 0.0
    for name, entry in entries.items():
        if not name.startswith("ceiling-"):
            continue
        for who, side in {"jax": entry["ours"], **entry["theirs"]}.items():
            rate = 1 / statistics.median(side["seconds"]) if "seconds" in side else 0.0
            told_rate = f"{rate:.1f} {entry['unit']}/s"
            rows.append((name.removeprefix("ceiling-"), who, told_rate))
            if name == "ceiling-product":
                most = max(most, rate)
    lines = grid(("", "by", "rate"), rows)
    for name, entry in entries.items():
        if entry["flops"] and most and "seconds" in entry["ours"]:
            rate = entry["flops"] / 1e9 / statistics.median(entry["ours"]["seconds"])
            lines.append(
                f"\n{name}: the products of ours run at {rate:.1f} GFLOP/s, "
                f"{100 * rate / most:.0f} % of that ceiling."
            )
    return lines


def every(entries):
    """All ways of theirs, where there are several."""
    rows = []
    for name, entry in entries.items():
        if len(entry["theirs"]) > 1:
            for which, side in entry["theirs"].items():
                rows.append((name, which, told(side, entry["unit"])))
    return grid(("pair", "theirs", "median"), rows)


def tables(entries):
    """The page's tables, line by line."""
    measured = {n: e for n, e in entries.items() if not n.startswith("ceiling-")}
    lines = grid(COLUMNS, [row(*item) for item in measured.items()])
    lines += ["\n## Ceilings\n", *ceilings(entries)]
    return [*lines, "\n## All ways of theirs\n", *every(measured)]


def page(kept):
    """The whole page, of {"session": ..., "pairs": {name: entry}}."""
    lines = [HEAD, *tables(kept["pairs"])]
    lines += ["\n## What is the same, and what differs\n"]
    for name, module in families().items():
        lines.append(f"**{name}** ({', '.join(module.PAIRS)}). {module.__doc__.strip()}\n")
    lines += ["## Measured\n"]
    for key, value in kept["session"].items():
        inside = isinstance(value, dict)
        value = ", ".join(f"{k} {v}" for k, v in value.items()) if inside else value
        lines.append(f"- {key}: {value}")
    for date, names in earlier(kept).items():
        lines.append(f"- measured before that, {date}: {', '.join(names)}")
    return "\n".join([*lines, "", AGAIN])


def earlier(kept):
    """{date: pairs} of what an earlier session left."""
    found = {}
    for name, entry in kept["pairs"].items():
        if entry["date"] != kept["session"]["date"]:
            found.setdefault(entry["date"], []).append(name)
    return found
