"""Reversal of gradients, by which one network opposes another within one loss."""

from functools import partial
from typing import Any

import jax
from jaxtyping import ScalarLike


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def grad_reverse(x: Any, weight: ScalarLike = 1.0) -> Any:
    """Returns x; its gradient is multiplied by -weight.

    Ganin and Lempitsky 2015, https://arxiv.org/abs/1409.7495

    >>> jax.grad(lambda x: grad_reverse(x, 0.5) ** 2)(3.0).item()    # -0.5 * 2 * 3
    -3.0
    """
    return x


def _forward(x, weight):
    return x, None


def _backward(weight, _, slope):
    return (jax.tree.map(lambda g: -weight * g, slope),)


grad_reverse.defvjp(_forward, _backward)
