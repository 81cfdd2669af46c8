"""Eight small pictures, noisy looks at them, and networks, for the tests of methods."""

from collections.abc import Mapping
from functools import cache

import jax
import jax.numpy as jnp

from jssl import nets


@cache
def jitted(module):
    """A Flax module as a Net of compiled functions, the same for equal modules.

    They serve all tests of a process, and those that would run them operation by operation.
    """
    init, apply = nets.linen(module)
    static = ("train", "capture", "method")
    return nets.Net(jax.jit(init), jax.jit(apply, static_argnames=static))


def images():
    """Waves [8, 8, 8, 1] in [0, 1], each another."""
    y, x, phase = jnp.arange(8)[:, None], jnp.arange(8), jnp.arange(8)[:, None, None]
    return (0.5 + 0.5 * jnp.sin(0.9 * y * (phase % 3) + 0.7 * x + phase))[..., None]


def noisy(key, x, deviation=0.01):
    """One view of images, or of a batch's."""
    x = x["image"] if isinstance(x, Mapping) else x
    return x + deviation * jax.random.normal(key, x.shape, x.dtype)


def two_views(key, x, deviation=0.05):
    """Two views, [n, 2, ...], of images or of a batch's."""
    x = x["image"] if isinstance(x, Mapping) else x
    return noisy(key, jnp.stack([x, x], 1), deviation)


def few_labels():
    """A batch of two streams: the pictures with labels of three, others without."""
    index = jnp.arange(8)
    return {
        "labeled": {"image": images(), "label": index % 3, "index": index},
        "unlabeled": {"image": images()[:, ::-1], "index": index},
    }


def weak(key, x):
    """A weak view of images, or of a batch's."""
    return noisy(key, x, 0.05)


def strong(key, x):
    """A strong view of images, or of a batch's."""
    return noisy(key, x, 0.5)


def weak_and_strong(key):
    """Weak views of the labeled and the unlabeled pictures, and strong ones of these."""
    one, two = jax.random.split(key)
    pictures = [few_labels()[name]["image"] for name in ("labeled", "unlabeled")]
    known, unknown = jnp.split(weak(one, jnp.concatenate(pictures)), 2)
    return known, unknown, strong(two, pictures[1])
