"""The cache folder for baselines, compiled programs and data packages; atomic writes."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """`$JSSL_CACHE`, else `jssl` in `$XDG_CACHE_HOME`, else `~/.cache/jssl`."""
    for variable, below in (("JSSL_CACHE", ""), ("XDG_CACHE_HOME", "jssl")):
        if os.environ.get(variable):
            return Path(os.environ[variable]) / below
    return Path.home() / ".cache" / "jssl"


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
