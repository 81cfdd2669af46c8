"""Queues and memory banks of features from previous batches.

A queue holds the newest rows of any samples; a bank holds one row per sample, addressed
by the sample's index, and so does an ensemble of past predictions. All are arrays that are
passed in and returned. Under `pmap` and `shard_map` every device holds a full copy and
writes the rows of all devices, so that the copies remain identical.

He et al. 2020, "Momentum Contrast", https://arxiv.org/abs/1911.05722 (queue);
Wu et al. 2018, "Non-Parametric Instance Discrimination",
https://arxiv.org/abs/1805.01978 (bank); Laine and Aila 2017, "Temporal Ensembling",
https://arxiv.org/abs/1610.02242 (ensemble).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, ScalarLike, Shaped

from jssl.ops.explicit import compares_rows
from jssl.ops.gather import global_rows
from jssl.ops.shapes import expect
from jssl.ops.vectors import dots, unit


class Queue(NamedTuple):
    """A first-in, first-out queue of features.

    Attributes:
      keys: [k, d] the rows.
      pointer: int32 index of the oldest row, which the next row replaces.
    """

    keys: Shaped[Array, "k d"]
    pointer: Int[Array, ""]


def queue_init(key: jax.Array, size: int, width: int) -> Queue:
    """Initialize a queue with random unit vectors.

    >>> queue = queue_init(jax.random.key(0), size=5, width=2)
    >>> queue.keys.shape, int(queue.pointer)
    ((5, 2), 0)
    """
    return Queue(_directions(key, size, width), jnp.zeros((), jnp.int32))


@compares_rows
def queue_push(
    queue: Queue, rows: Shaped[Array, "n d"], axis_name: str | None = None
) -> Queue:
    """Replace the oldest rows by n new ones, without gradient.

    The rows are stored as given: normalize them first if the method needs unit vectors.

    Raises:
      ValueError: when widths differ, or there are more rows than the queue holds.

    >>> queue = Queue(jnp.zeros((3, 1)), jnp.array(2))
    >>> queue = queue_push(queue, jnp.array([[5.0], [7.0]]))
    >>> queue.keys.ravel().tolist(), int(queue.pointer)
    ([7.0, 0.0, 5.0], 1)
    """
    expect("queue_push", keys=(queue.keys, "k d", "any"), rows=(rows, "n d", "any"))
    size = len(queue.keys)
    rows = _from_all_devices(lax.stop_gradient(rows), axis_name)
    if len(rows) > size:
        raise ValueError(f"queue_push: {len(rows)} rows do not fit a queue of {size}")
    places = (queue.pointer + jnp.arange(len(rows), dtype=queue.pointer.dtype)) % size
    keys = queue.keys.at[places].set(rows.astype(queue.keys.dtype))
    return Queue(keys, (queue.pointer + len(rows)) % size)


@compares_rows(like="z")
def nearest(
    keys: Float[Array, "k d"], z: Float[Array, "n d"]
) -> tuple[Float[Array, "n d"], Int[Array, " n"]]:
    """Nearest neighbor by cosine of each row of z: the row of `keys`, and its index.

    >>> rows, index = nearest(jnp.eye(2), jnp.array([[0.1, 3.0]]))
    >>> rows.tolist(), index.tolist()
    ([[0.0, 1.0]], [1])
    """
    cosines = dots(unit(z), unit(keys))
    index = cosines.argmax(-1)  # an integer, also where all are nan
    lost = jnp.isnan(cosines.max(-1))
    return jnp.where(lost[:, None], jnp.nan, keys[index]), index


def bank_init(key: jax.Array, size: int, width: int) -> Float[Array, "size width"]:
    """Initialize a bank with random unit vectors, one per sample of the data.

    >>> bank_init(jax.random.key(0), size=5, width=2).shape
    (5, 2)
    """
    return _directions(key, size, width)


@compares_rows(like="index")
def bank_read(
    bank: Float[Array, "size d"], index: Int[Array, "..."]
) -> Float[Array, "... d"]:
    """Read the rows of samples by index, without gradient to the bank.

    >>> bank_read(jnp.array([[1.0], [2.0]]), jnp.array([1, 1, 0])).tolist()
    [[2.0], [2.0], [1.0]]
    """
    return lax.stop_gradient(bank)[index]


@compares_rows
def bank_write(
    bank: Float[Array, "size d"],
    index: Int[Array, " n"],
    rows: Float[Array, "n d"],
    momentum: ScalarLike = 0.5,
    axis_name: str | None = None,
) -> Float[Array, "size d"]:
    r"""Update the rows of samples as moving averages of new ones, without gradient.

    .. math:: v_i \leftarrow \mathrm{unit}(\mu v_i + (1 - \mu) \, \mathrm{unit}(u_i))

    momentum is mu: 0 replaces the row. A sample that occurs twice in a batch uses the
    mean of its two rows (otherwise the order of writes would depend on the device). Read
    before writing: the loss uses the bank of the previous step.

    Raises:
      ValueError: when shapes differ or the index is not an integer array.

    >>> bank_write(jnp.eye(2), jnp.array([0]), jnp.array([[0.0, 3.0]]), momentum=0.0)
    Array([[0., 1.],
           [0., 1.]], dtype=float32)
    """
    expect("bank_write", bank=(bank, "s d"), index=(index, "n", "int"), rows=(rows, "n d"))
    rows = unit(lax.stop_gradient(rows).astype(bank.dtype))
    index = _from_all_devices(index, axis_name)
    rows = _from_all_devices(rows, axis_name)
    rows = _mean_of_same(index, rows)
    moved = momentum * bank[index] + (1 - momentum) * rows
    moved = unit(moved)
    return bank.at[index].set(moved)


class Ensemble(NamedTuple):
    """Exponential averages of the predictions for each sample, before bias correction.

    Attributes:
      sums: [size, c] Z; 0 for a sample without a prediction.
      counts: int32 [size] the predictions that each row contains.
    """

    sums: Float[Array, "size c"]
    counts: Int[Array, " size"]


def ensemble_init(size: int, classes: int) -> Ensemble:
    """Initialize an ensemble without predictions.

    >>> ensemble_init(size=5, classes=2).sums.shape
    (5, 2)
    """
    return Ensemble(jnp.zeros((size, classes)), jnp.zeros(size, jnp.int32))


@compares_rows(like="index")
def ensemble_read(
    ensemble: Ensemble, index: Int[Array, " n"], decay: ScalarLike = 0.6
) -> tuple[Float[Array, "n c"], Float[Array, " n"]]:
    r"""Average predictions of samples, and a mask: 0 where there is none yet.

    .. math:: \tilde z_i = Z_i / (1 - \alpha^{t_i})

    t_i is the number of predictions for this sample, not of epochs: samples that an epoch
    leaves out have the right average, too. No gradient flows back.

    Laine and Aila 2017, "Temporal Ensembling", algorithm 2.
    https://arxiv.org/abs/1610.02242

    Raises:
      ValueError: when the index is not int[n].

    >>> ensemble = Ensemble(jnp.array([[0.4, 0.0], [0.0, 0.0]]), jnp.array([1, 0]))
    >>> targets, known = ensemble_read(ensemble, jnp.array([1, 0]))
    >>> targets.round(6).tolist(), known.tolist()    # 0.4 / (1 - 0.6)
    ([[0.0, 0.0], [1.0, 0.0]], [0.0, 1.0])
    """
    expect("ensemble_read", index=(index, "n", "int"))
    sums, counts = lax.stop_gradient(ensemble.sums)[index], ensemble.counts[index]
    whole = 1 - jnp.asarray(decay, sums.dtype) ** counts
    known = counts > 0
    targets = sums / jnp.where(known, whole, 1)[:, None]
    return targets, known.astype(sums.dtype)


@compares_rows
def ensemble_write(
    ensemble: Ensemble,
    index: Int[Array, " n"],
    p: Float[Array, "n c"],
    decay: ScalarLike = 0.6,
    axis_name: str | None = None,
) -> Ensemble:
    r"""Add a prediction to the averages of samples, without gradient.

    .. math:: Z_i \leftarrow \alpha Z_i + (1 - \alpha) p_i, \qquad t_i \leftarrow t_i + 1

    Read before writing. If each sample occurs at most once in an epoch, a target then
    contains the predictions of earlier epochs alone, as if all averages were moved at the
    end of the epoch. A sample that occurs twice in a batch counts once, with the mean of
    its two predictions.

    Raises:
      ValueError: when shapes differ or the index is not an integer array.

    >>> ensemble = ensemble_init(size=2, classes=2)
    >>> ensemble = ensemble_write(ensemble, jnp.array([1]), jnp.array([[1.0, 0.0]]), 0.75)
    >>> ensemble.sums.tolist(), ensemble.counts.tolist()
    ([[0.0, 0.0], [0.25, 0.0]], [0, 1])
    """
    sums, counts = ensemble
    expect("ensemble_write", sums=(sums, "s c"), index=(index, "n", "int"), p=(p, "n c"))
    index = _from_all_devices(index, axis_name)
    p = _mean_of_same(index, _from_all_devices(lax.stop_gradient(p), axis_name))
    moved = decay * sums[index] + (1 - decay) * p.astype(sums.dtype)
    return Ensemble(sums.at[index].set(moved), counts.at[index].set(counts[index] + 1))


def _mean_of_same(index, rows):
    """Rows [n, d], each the mean of those with its index."""
    same = (index[:, None] == index[None]).astype(rows.dtype)  # [n, n]
    return dots(same / same.sum(1, keepdims=True), rows.T)


def _directions(key, size, width):
    return unit(jax.random.normal(key, (size, width)))


def _from_all_devices(rows, axis_name):
    """As `gather`, but marked as replicated over devices, as a state must be.

    The sum of arrays that are 0 outside a device's own rows; `shard_map` treats the result
    of an all-gather as varying, and cannot return it as a replicated array.
    """
    if axis_name is None:
        return rows
    everyone = len(rows) * lax.axis_size(axis_name)
    places = global_rows(len(rows), axis_name)
    blank = jnp.zeros((everyone, *rows.shape[1:]), rows.dtype)
    return lax.psum(blank.at[places].set(rows), axis_name)
