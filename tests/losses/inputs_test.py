"""What losses that compare embeddings take, and that nothing makes them nan.

A line in LOSSES gives the arrays of a loss by the letters of their axes; "int" and
"mask" stand for labels and for zeros and ones.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jssl.losses import (
    contrastive,
    crossmodal,
    distillation,
    information,
    metric,
    predictive,
    redundancy,
    siamese,
)

SIZES = {"d": 3, "k": 4, "v": 3, "g": 2, "p": 2, "t": 4, "c": 2, "h": 2}
PAIR = ("n d", "n d")


def vicreg_terms(a, b):
    return sum(redundancy.vicreg_terms(a, b).values())


def mine(joint, marginal):
    return information.mine(joint, marginal, 0.0)[0]


def dim_prior(real, fake):
    return sum(information.dim_prior(real, fake).values())


# Temperatures of 1e-4 bring cosines to logits of 1e4 and -1e4.
COLD = {"temperature": 1e-4}
LOSSES = {
    "info_nce": (contrastive.info_nce, PAIR, {}),
    "info_nce, cold": (contrastive.info_nce, PAIR, COLD),
    "info_nce, queue": (contrastive.info_nce, (*PAIR, "k d"), COLD),
    "info_nce, own negatives": (contrastive.info_nce, (*PAIR, "n k d"), COLD),
    "nt_xent": (contrastive.nt_xent, PAIR, {}),
    "nt_xent, cold": (contrastive.nt_xent, PAIR, COLD),
    "nt_xent, chunked": (contrastive.nt_xent, PAIR, COLD | {"chunk": 2}),
    "dcl": (contrastive.dcl, PAIR, COLD),
    "dcl, chunked": (contrastive.dcl, PAIR, COLD | {"chunk": 2}),
    "dclw": (contrastive.dclw, PAIR, COLD | {"sigma": 1e-4}),
    "supervised_contrastive": (
        contrastive.supervised_contrastive,
        ("n d", "n int"),
        COLD,
    ),
    "graph_contrastive": (contrastive.graph_contrastive, PAIR, COLD),
    "clip": (crossmodal.clip, PAIR, {"logit_scale": 1e4}),
    "siglip": (crossmodal.siglip, PAIR, {"logit_scale": 1e4, "bias": -10.0}),
    "cross_and_learn": (crossmodal.cross_and_learn, PAIR, {}),
    "mil_nce": (crossmodal.mil_nce, ("n d", "n p d"), {}),
    "triplet": (metric.triplet, (*PAIR, "n d"), {}),
    "triplet, squared": (metric.triplet, (*PAIR, "n d"), {"squared": True}),
    "margin": (metric.margin, (*PAIR, "n mask"), {}),
    "cpc": (predictive.cpc, ("n t d", "n t c", "h d c"), {}),
    "nce": (predictive.nce, (*PAIR, "n k d"), {"log_z": 2.0, "size": 9} | COLD),
    "proximal": (predictive.proximal, PAIR, {}),
    "negative_cosine": (siamese.negative_cosine, PAIR, {}),
    "byol_regression": (siamese.byol_regression, PAIR, {}),
    "nnclr": (siamese.nnclr, (*PAIR, "k d"), COLD),
    "data2vec": (siamese.data2vec, ("n t d", "n t d", "n t mask"), {}),
    "i_jepa": (siamese.i_jepa, PAIR, {}),
    "dino": (distillation.dino, ("n v k", "n g k", "k"), {}),
    "ibot": (distillation.ibot, ("n t k", "n t k", "n t mask", "k"), {}),
    "koleo": (distillation.koleo, ("n d",), {}),
    "swav": (distillation.swav, ("n v k",), {}),
    "barlow_twins": (redundancy.barlow_twins, PAIR, {}),
    "vicreg": (redundancy.vicreg, PAIR, {}),
    "vicreg_terms": (vicreg_terms, PAIR, {}),
    "w_mse": (redundancy.w_mse, PAIR, {}),
    "sigreg": (partial(redundancy.sigreg, jax.random.key(0), slices=4), ("n d",), {}),
    "dv_bound": (information.dv_bound, ("n", "n k"), {}),
    "nwj_bound": (information.nwj_bound, ("n", "n k"), {}),
    "jsd_bound": (information.jsd_bound, ("n", "n k"), {}),
    "info_nce_bound": (information.info_nce_bound, ("n n",), {}),
    "mine": (mine, ("n", "n k"), {}),
    "dim_local, jsd": (information.dim_local, ("n p d", "n d"), {}),
    "dim_local, dv": (information.dim_local, ("n p d", "n d"), {"measure": "dv"}),
    "dim_local, nce": (information.dim_local, ("n p d", "n d"), {"measure": "nce"}),
    "dim_global": (information.dim_global, PAIR, {}),
    "dim_prior": (dim_prior, ("n", "n"), {}),
}
ANY_SHAPE = {"dv_bound", "nwj_bound", "jsd_bound", "mine", "dim_prior"}


def shape(axes, n):
    sizes = SIZES | {"n": n}
    return tuple(sizes[x] for x in axes.split() if x in sizes)


def is_float(axes):
    return axes.split()[-1] not in ("int", "mask")


@cache
def compiled(name):
    """(floats, rest) -> value and gradients."""
    loss, axes, options = LOSSES[name]

    def value(floats, rest):
        floats, rest = iter(floats), iter(rest)
        return loss(*(next(floats if is_float(x) else rest) for x in axes), **options)

    return jax.jit(jax.value_and_grad(value))


def expect_finite(name, floats, rest):
    value, slopes = compiled(name)(floats, rest)
    assert value.shape == ()
    assert value.dtype == jnp.float32
    assert jnp.isfinite(value), (name, value)
    for x, slope in zip(floats, slopes, strict=True):
        assert slope.dtype == x.dtype
        assert jnp.isfinite(slope.astype(jnp.float32)).all(), (name, slope)


EXTREMES = [0.0, 1.0, -1.0, 0.5, 1e4, -1e4, 1e-20, -1e-8]


def entries(size):
    """All alike, or a wild mixture."""
    one = st.sampled_from(EXTREMES).map(lambda x: np.full(size, x, np.float32))
    mixed = arrays(np.float32, size, elements=st.sampled_from(EXTREMES))
    return st.one_of(one, mixed)


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_no_input_makes_it_nan(name, data):
    _, axes, _ = LOSSES[name]
    n = data.draw(st.sampled_from([1, 2, 3]), label="n")
    views_agree = data.draw(st.booleans(), label="identical views")
    floats, rest = [], []
    for spec in axes:
        size = shape(spec, n)
        if not is_float(spec):
            rest.append(data.draw(arrays(np.int32, size, elements=st.integers(0, 1))))
        elif views_agree and floats and floats[0].shape == size:
            floats.append(floats[0])
        else:
            floats.append(data.draw(entries(size)))
    floats, rest = (tuple(map(jnp.asarray, x)) for x in (floats, rest))
    expect_finite(name, floats, rest)


def ordinary(name, dtype, n=3):
    """Random arguments, in order."""
    random = np.random.default_rng(0)
    return [
        jnp.asarray(random.normal(size=shape(x, n)), dtype)
        if is_float(x)
        else jnp.asarray(random.integers(0, 2, shape(x, n)), jnp.int32)
        for x in LOSSES[name][1]
    ]


def traced(name, *arguments):
    """The value's shape and dtype: nothing is compiled."""
    loss, _, options = LOSSES[name]
    return jax.eval_shape(lambda *x: loss(*x, **options), *arguments)


def split(arguments):
    """Floats, and the rest."""
    floats = tuple(x for x in arguments if jnp.issubdtype(x.dtype, jnp.floating))
    return floats, tuple(x for x in arguments if x.dtype == jnp.int32)


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16_is_computed_in_float32(name):
    floats, rest = split(ordinary(name, jnp.bfloat16))
    expect_finite(name, floats, rest)
    wide = tuple(x.astype(jnp.float32) for x in floats)
    values = [compiled(name)(x, rest)[0] for x in (floats, wide)]
    np.testing.assert_allclose(*values, rtol=1e-6)  # XLA may fuse them differently


@pytest.mark.parametrize("name", LOSSES)
def test_the_value_is_float32_or_float64(name):
    with jax.numpy_dtype_promotion("strict"):
        half, *others = ordinary(name, jnp.bfloat16)
        assert traced(name, *ordinary(name, jnp.float16)).dtype == jnp.float32
        mixed = [x.astype(jnp.float32) if x.dtype == half.dtype else x for x in others]
        assert traced(name, half, *mixed).dtype == jnp.float32
        with jax.enable_x64(True):
            assert traced(name, *ordinary(name, jnp.float64)).dtype == jnp.float64


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize("name", LOSSES)
def test_a_wrong_shape_or_dtype_is_a_value_error_that_says_so(name):
    arguments = ordinary(name, jnp.float32)
    for i, axes in enumerate(LOSSES[name][1]):
        wrong = []
        if is_float(axes):
            wrong.append(jnp.zeros(arguments[i].shape, jnp.int32))
        if name not in ANY_SHAPE:
            wrong.append(jnp.stack([arguments[i]] * 7, -1))
        for x in wrong:
            with pytest.raises(ValueError, match=r"^\w+: \w+ must be .* got \w+32\["):
                traced(name, *arguments[:i], x, *arguments[i + 1 :])
