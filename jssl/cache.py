"""The cache folder for baselines, compiled programs and data; atomic writes."""

import functools
import os
import secrets
import shutil
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


@contextmanager
def built(folder: str | Path) -> Iterator[Path | None]:
    """Yields a new folder that becomes `folder`, atomically; None if that is there already.

    Of several processes one builds, and the others wait for it, if the file system supports
    locks. What a killed process has left is removed.

    >>> place = getfixture("tmp_path") / "numbers"
    >>> for _ in range(2):
    ...     with built(place) as part:
    ...         print(part is not None and (part / "one").write_text("1"))
    1
    False
    >>> (place / "one").read_text()
    '1'
    """
    folder = Path(folder)
    if folder.is_dir():
        yield None
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f".{folder.name}.lock")) as alone:
        if folder.is_dir():
            yield None
            return
        for left in folder.parent.glob(f".{folder.name}.*.part") if alone else ():
            shutil.rmtree(left, ignore_errors=True)
        part = folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        part.mkdir()
        try:
            yield part
            try:
                os.replace(part, folder)
            except OSError:
                if not folder.is_dir():  # built by another process meanwhile
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _locked(path):
    """Locks a file, waiting for another process; yields False where there are no locks."""
    with path.open("w") as file:
        try:
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"jssl: another process builds {path}; waiting", file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):  # Windows; a network file system without locks
            yield False
            return
        yield True
