"""The cache folder for baselines, compiled programs and data packages; atomic writes."""

import functools
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """`$JSSL_CACHE`, else `jssl` in `$XDG_CACHE_HOME`, else `~/.cache/jssl`.

    If it cannot be written, or there is no home, a temporary folder of this user is used
    instead, which is reported once.
    """
    for variable, below in (("JSSL_CACHE", ""), ("XDG_CACHE_HOME", "jssl")):
        if os.environ.get(variable):
            return _writable(Path(os.environ[variable]) / below)
    return _writable(Path("~/.cache/jssl"))


@functools.cache
def _writable(folder):
    """The folder, created, or a temporary one."""
    try:
        place = folder.expanduser()
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return place
    except (OSError, RuntimeError) as error:  # RuntimeError: no home
        place = _temporary()
        print(
            f"jssl: cannot write to the cache {folder} ({error}); using {place}: set "
            f"JSSL_CACHE to a folder that is kept",
            file=sys.stderr,
        )
        return place


def _temporary():
    """A folder that only this user can write to, the same in each process if possible.

    The cache contains compiled programs: a folder that another user made is not used.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    place = Path(tempfile.gettempdir()) / f"jssl-cache-{user}"
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        found = place.lstat()
        own = stat.S_ISDIR(found.st_mode) and found.st_uid == user
        if not own or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return Path(tempfile.mkdtemp(prefix="jssl-cache-"))
    return place


@contextmanager
def written(path: str | Path) -> Iterator[Path]:
    """Yields a new path beside `path`; the file written there replaces it, atomically.

    The new path belongs to this process alone, so that processes which write the same
    file at the same time do not see each other's parts: the last one to end wins. After
    an error, `path` is as it was and no part is left.

    >>> path = getfixture("tmp_path") / "numbers.txt"
    >>> with written(path) as part:
    ...     _ = part.write_text("1 2 3")
    >>> path.read_text(), [x.name for x in path.parent.iterdir()]
    ('1 2 3', ['numbers.txt'])
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
