"""Messages on data that are loaded: each once in a process."""

import contextlib
import functools
import logging
from collections.abc import Iterator

_log = logging.getLogger(__name__)


@functools.cache  # one message per file, not per epoch
def warn_once(line: str) -> None:
    """Logs a warning, once in a process."""
    _log.warning("%s", line)


@functools.cache
def inform_once(line: str) -> None:
    """Logs information, once in a process."""
    _log.info("%s", line)


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """Logs nothing on data that are loaded, nor counts it as logged."""
    _log.disabled = True
    try:
        yield
    finally:
        _log.disabled = False
        inform_once.cache_clear()
        warn_once.cache_clear()
