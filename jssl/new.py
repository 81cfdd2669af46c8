"""Writes the triad of a new method: the method, an experiment and a test, to start from.

    jssl new mymethod --family contrastive    in a checkout: the three files in place
    jssl new mymethod                         elsewhere: in the folder mymethod

The method is a plain autoencoder: it trains, and its tests pass, before you change it.
"""

import argparse
import keyword
import sys
from pathlib import Path

from jssl.command import new_parser, say

TEMPLATE = Path(__file__).parent / "template"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command `jssl new` and returns its exit status.

    0: written. 1: a user error, reported in one line; nothing is written.
    """
    options = parser().parse_args(arguments)
    return say(lambda: launch(options), options.debug)


def parser() -> argparse.ArgumentParser:
    parse = new_parser("new", __doc__)
    add = parse.add_argument
    add("name", help="of the method: lower_case, as of a function")
    add("--family", default="", help="folder of jssl/methods, in a checkout of jssl")
    return parse


def launch(options) -> int:
    name = options.name
    if not name.isidentifier() or not name.islower() or keyword.iskeyword(name):
        raise ValueError(f"the name must be a lower_case Python name, got {name!r}")
    files, words = places(name, options.family)
    words |= {"NAME": name}
    for path in files.values():
        if path.exists():
            raise ValueError(f"{path} exists: choose another name, or remove it")
    for kind, path in files.items():
        text = (TEMPLATE / f"{kind}.txt").read_text()
        for word, meaning in words.items():
            text = text.replace(word, meaning)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path)
    print(f"next: jssl train --config={files['experiment']}, and {words['TESTS']}")
    return 0


def places(name: str, family: str) -> tuple[dict[str, Path], dict[str, str]]:
    """The three files by kind, and the words of the templates that depend on their place.

    Raises:
      ValueError: an unknown family, or a checkout and no family.
    """
    methods = Path("jssl") / "methods"
    if not methods.is_dir():
        if family:
            raise ValueError("--family is for a checkout of jssl: there is no jssl/methods")
        folder = Path(name)
        files = {
            "method": folder / f"{name}.py",
            "experiment": folder / "experiment.py",
            "test": folder / f"{name}_test.py",
        }
        tests = f"pytest {files['test']}"
        return files, {"METHOD": name, "CONFIG": str(files["experiment"]), "TESTS": tests}
    families = sorted(p.name for p in methods.iterdir() if (p / "__init__.py").exists())
    if family not in families:
        raise ValueError(f"--family must be one of {', '.join(families)}, got {family!r}")
    files = {
        "method": methods / family / f"{name}.py",
        "experiment": Path("experiments") / f"{name}.py",
        "test": Path("tests") / "methods" / family / f"{name}_test.py",
    }
    words = {"METHOD": f"jssl.methods.{family}.{name}", "CONFIG": str(files["experiment"])}
    return files, words | {"TESTS": f"make test-method M={name}"}


if __name__ == "__main__":
    sys.exit(main())
