"""A convolution that is one, with a barrier before it where XLA is told to keep it."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jssl.ops.convolution import convolve, convolve_clips

LAYOUT = dict(dimension_numbers=("NHWC", "HWIO", "NHWC"))
ARGUMENTS = ((2, 2), ((1, 1), (1, 1)))


def loss(convolution, x, kernel):
    y = convolution(jnp.tanh(x), kernel, *ARGUMENTS, **LAYOUT)
    return jnp.sin(y).sum()


def test_values_and_derivatives_of_both_kinds_are_those_of_the_convolution():
    draw = np.random.default_rng(0)
    x = draw.standard_normal((3, 6, 5, 2)), draw.standard_normal((3, 3, 2, 4))
    v = tuple(draw.standard_normal(a.shape) for a in x)
    plain, ours = (partial(loss, f) for f in (jax.lax.conv_general_dilated, convolve))
    for take in (
        lambda f: jax.jit(jax.grad(f, (0, 1)))(*x),
        lambda f: jax.jit(lambda x, v: jax.jvp(f, x, v))(x, v),
        lambda f: jax.jit(lambda x, v: jax.jvp(jax.grad(f, (0, 1)), x, v))(x, v),
    ):
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
            take(ours),
            take(plain),
        )


PROGRAM = """
from jssl import tuning
tuning.tune()
import jax, jax.numpy as jnp
from jssl.ops.convolution import convolve, convolve_clips
layout = dict(dimension_numbers=("NHWC", "HWIO", "NHWC"))
f = lambda x, k: convolve(jnp.tanh(x), k, (1, 1), "SAME", **layout).sum()
x, k = jnp.ones((2, 4, 4, 3)), jnp.ones((3, 3, 3, 3))
text = jax.jit(jax.grad(f, 1)).lower(x, k).compile().as_text()
print("opt-barrier" in text, "conditional" in text)
"""


def test_the_launcher_s_flags_are_known_to_xla_and_keep_the_barrier():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False"]


def test_clips_are_convolved_as_over_three_axes():
    keys = jax.random.split(jax.random.key(3), 2)
    x = jax.random.normal(keys[0], (2, 5, 6, 7, 3))
    kernel = jax.random.normal(keys[1], (3, 3, 3, 3, 4))
    for padding in ("SAME", "VALID"):
        found = convolve_clips(x, kernel, (1, 2, 2), padding)
        pads = padding if padding == "SAME" else [(1, 1), (0, 0), (0, 0)]
        wanted = lax.conv_general_dilated(
            x, kernel, (1, 2, 2), pads, dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
        )
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
