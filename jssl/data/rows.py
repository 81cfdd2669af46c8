"""Rows of batches: the order in which they come, and how they are read.

Each of H processes reads a contiguous 1/H of the rows of every global batch.
"""

import contextlib
import functools
import sys
from collections.abc import Mapping

import jax
import numpy as np


def check_rows(name: str, rows: np.ndarray, size: int) -> None:
    """Raises ValueError unless `rows` is a nonempty list of numbers 0 to size - 1."""
    if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: rows must be int[m], m > 0, got {rows.dtype}{list(rows.shape)}"
        )
    if rows.min() < 0 or rows.max() >= size:
        raise ValueError(
            f"{name}: rows must be 0 to {size - 1}, got {rows.min()} to {rows.max()}"
        )


def process() -> tuple[int, int]:
    """Index of this process, and number of processes."""
    return jax.process_index(), jax.process_count()


def local_rows(batch: int) -> slice:
    """This process's contiguous rows of a global batch.

    Raises:
      ValueError: the batch does not divide among the processes.
    """
    this, count = process()
    if batch % count:
        raise ValueError(f"a batch of {batch} does not divide among {count} processes")
    n = batch // count
    return slice(this * n, (this + 1) * n)


@functools.lru_cache(maxsize=8)  # threads may read two epochs at the same time
def _permutation(size, seed, epoch):
    return np.random.default_rng((seed, epoch)).permutation(size)


def shuffled(size, batch, seed, step):
    epoch, i = divmod(step, size // batch)
    return _permutation(size, seed, epoch)[i * batch : (i + 1) * batch]


def once(name, size, batch, step):
    if (step + 1) * batch > size:
        raise ValueError(f"{name} has no rows left at step {step}: it is read once")
    return step * batch + np.arange(batch)


def followed(order, batch, step):
    return order[(step * batch + np.arange(batch)) % len(order)]


def ordered(size, batch, step):
    return np.minimum(step * batch + np.arange(batch), size - 1)


def read_batch(data, fields, rows, mine, step, seed=None):
    """This process's rows of a batch: for training, with a seed, else as they are."""
    index = rows(step)[mine]
    if isinstance(data, Mapping):
        batch = {name: data[name][index] for name in fields}
    else:
        if seed is None:
            records = [data[int(i)] for i in index]
        else:
            first = mine.indices(sys.maxsize)[0]
            keys = ((seed, step, first + k) for k in range(len(index)))
            records = [data.draw(int(i), key) for i, key in zip(index, keys, strict=True)]
        batch = {name: np.stack([row[name] for row in records]) for name in fields}
    return batch | {"index": index.astype(np.int32)}


def prefetched(read, start, stop, threads, workers):
    """read(start), read(start + 1), ... in order, prefetched by grain."""
    import grain

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    steps = grain.MapDataset.range(start, stop).map(read).to_iter_dataset(options)
    if workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():  # required by grain's workers
            flags.FLAGS.mark_as_parsed()
        steps = steps.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    with contextlib.closing(iter(steps)) as batches:
        yield from batches
