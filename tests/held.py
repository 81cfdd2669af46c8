"""Val held out of training or not: what every loader that cuts it from train must do."""

import numpy as np

from jssl.data import apart, load
from jssl.data.source import Source


def images(source: Source) -> np.ndarray:
    """All images of a split, a row each."""
    return source.column("image").reshape(len(source), -1)


def assert_val_is_added(name: str, published: int, **knobs) -> tuple[Source, Source]:
    """The training sources with val held out and not, compared.

    Args:
      name: of the data set.
      published: number of its published training images that are trained on at most.
      **knobs: of `load`.
    """
    held, whole = (load(name, 4, hold_out=x, **knobs) for x in (True, False))
    assert len(whole) == published
    assert len(held) == published - len(held.split("val"))
    assert not held.includes
    for part in ("val", "test"):
        np.testing.assert_array_equal(images(held.split(part)), images(whole.split(part)))
        assert held.split(part).digest == whole.split(part).digest
        assert not whole.split(part).includes
    both = [images(held), images(held.split("val"))]
    np.testing.assert_array_equal(images(whole), np.concatenate(both))
    np.testing.assert_array_equal(whole.includes["val"], np.arange(len(held), published))
    np.testing.assert_array_equal(images(apart(whole)), images(held))
    if held.classes:
        labels = [held.labels(), held.split("val").labels()]
        np.testing.assert_array_equal(whole.labels(), np.concatenate(labels))
    assert held.digest != whole.digest
    assert (held.split_words("val"), whole.split_words("val")) == (
        "val",
        "val (trained on)",
    )
    assert whole.split_words("test") == "test"
    return held, whole
