"""Lists of the files below a folder, without those that systems leave behind."""

import collections
import os
from collections.abc import Iterator
from pathlib import Path

SYSTEM = (
    "$recycle.bin", "#recycle", "@eadir", "__macosx", "__pycache__", "desktop.ini",
    "lost+found", "system volume information", "thumbs.db",
)  # fmt: skip
"""Lower-case names of files and folders that are passed over; so are names with a dot."""


def is_hidden(name: str) -> bool:
    """True for names of hidden and system files and folders.

    >>> [is_hidden(x) for x in (".git", "__MACOSX", "Thumbs.db", "cat")]
    [True, True, True, False]
    """
    return name.startswith(".") or name.lower() in SYSTEM


def folders(root: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones."""
    return sorted(x for x in root.iterdir() if x.is_dir() and not is_hidden(x.name))


def listed(
    root: Path, suffixes: tuple[str, ...]
) -> tuple[list[str], collections.Counter[str]]:
    """Paths of the files below a folder, and counts of the files passed over, by reason.

    Links are followed. Each file and folder counts once, by its real path: under its own
    name if that is below the root, else under the first link to it. So a link to a folder
    above ends no walk in a circle.

    Args:
      root: of the walk.
      suffixes: in lower case, of the files that are wanted.

    Returns:
      Relative paths with "/", sorted; reasons are suffixes, "hidden or system" (these
      folders count once each) and "linked twice".
    """
    names: list[str] = []
    links: list[str] = []
    passed: collections.Counter[str] = collections.Counter()
    for path, is_link in _walked(root, passed):
        if not path.lower().endswith(suffixes):
            passed[Path(path).suffix.lower() or "no suffix"] += 1
        elif is_link:
            links.append(path)
        else:
            names.append(path)
    # A million calls of realpath take a while: only where there are links.
    seen = set(map(os.path.realpath, names)) if links else set()
    for path in sorted(links):
        real = os.path.realpath(path)
        if real in seen:
            passed["linked twice"] += 1
        elif not os.path.isfile(real):
            passed["broken links"] += 1
        else:
            seen.add(real)
            names.append(path)
    return sorted(Path(x).relative_to(root).as_posix() for x in names), passed


def _walked(root: Path, passed) -> Iterator[tuple[str, bool]]:
    """(path, is it a link) of all files, real folders before linked ones."""
    real, linked, seen = collections.deque([str(root)]), collections.deque(), set()
    while real or linked:
        where = real.popleft() if real else linked.popleft()
        here = os.path.realpath(where)
        if here in seen:
            passed["linked twice"] += 1
            continue
        seen.add(here)
        with os.scandir(where) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if is_hidden(entry.name):
                    passed["hidden or system"] += 1
                elif entry.is_dir():
                    (linked if entry.is_symlink() else real).append(entry.path)
                else:
                    yield entry.path, entry.is_symlink()
