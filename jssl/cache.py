"""The folder in which baselines, compiled programs and data packages are cached."""

import functools
import os
import sys
import tempfile
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
        user = os.getuid() if hasattr(os, "getuid") else ""
        place = Path(tempfile.gettempdir()) / f"jssl-cache-{user}"
        place.mkdir(exist_ok=True)
        print(
            f"jssl: cannot write to the cache {folder} ({error}); using {place}: set "
            f"JSSL_CACHE to a folder that is kept",
            file=sys.stderr,
        )
        return place
