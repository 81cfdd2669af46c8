"""The table of methods in README.md, generated from the methods and their experiments.

    python benchmarks/methods.py          prints it
    python benchmarks/methods.py write    replaces the one in README.md

A row has the first line of the method's docstring, and the first year in it.
"""

import ast
import re
import sys
from pathlib import Path

from jssl.config import functions

ROOT = Path(__file__).parent.parent
HEAD = "| method | year | file | config |\n|---|---|---|---|\n"


def table(root: Path = ROOT) -> str:
    """The table, in order of the years."""
    files = (root / "jssl" / "methods").glob("*/*.py")
    rows = [row(path, root) for path in sorted(files) if path.stem != "__init__"]
    return HEAD + "".join(text for _, text in sorted(rows))


def row(path: Path, root: Path) -> tuple[tuple, str]:
    """A key to sort by, and a line of the table."""
    about = ast.get_docstring(ast.parse(path.read_text())) or ""
    title = re.split(r"[:.,]", about)[0]
    reference = path.parent.name == "transfer"  # no method of its own
    year = "" if reference else next(iter(re.findall(r"\b(?:19|20)\d\d\b", about)), "")
    config = root / "experiments" / path.name
    names = [f"`{name}`" for name in functions(config)]
    configs = f": {', '.join(names)}" if len(names) > 1 else ""
    file = path.relative_to(root)
    line = f"| {title} | {year} | `{file}` | `experiments/{path.name}`{configs} |\n"
    return (reference, year, path.stem), line


def written(text: str, rows: str) -> str:
    """A README with its table replaced."""
    return re.sub(re.escape(HEAD) + r"(?:\|.*\n)*", lambda _: rows, text)


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        page = ROOT / "README.md"
        page.write_text(written(page.read_text(), table()))
    else:
        print(table(), end="")
