"""The folder in which baselines, compiled programs and data packages are cached."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$JSSL_CACHE`, else `jssl` in `$XDG_CACHE_HOME`, else `~/.cache/jssl`."""
    for variable, below in (("JSSL_CACHE", ""), ("XDG_CACHE_HOME", "jssl")):
        if os.environ.get(variable):
            return Path(os.environ[variable]) / below
    return Path.home() / ".cache" / "jssl"
