"""NaN in, NaN out: no loss and no op hides that its input is broken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rows import CASES, KEY, OPS, SHARDED_CASES, TABLE, TOKENS, X, Y

from jssl import losses
from jssl.ops import targets, vectors
from jssl.ops.gibbs import RBM
from jssl.ops.memory import nearest

INTEGERS = {"nearest_centroid", "bank_read"}  # of which none is nan
UNTOUCHED = {"split_into_empty"}  # centroids of other clusters
LOUD = {"hungarian", "nat_reassign"}  # raise
FUNCTIONS = {
    **CASES,
    **{k: v for k, v in OPS.items() if k not in INTEGERS | UNTOUCHED | LOUD},
    "norm": (vectors.norm, (X,)),
    "cosine": (vectors.cosine, (X, Y)),
    "logsumexp": (vectors.logsumexp, (X,)),
    "layer_norm": (vectors.layer_norm, (X,)),
    "sharpen": (lambda p: targets.sharpen(p, 0.5), (jax.nn.softmax(X),)),
    "pseudo_labels": (lambda p: targets.pseudo_labels(p, 0.5), (jax.nn.softmax(X),)),
    "supervised_contrastive, nobody alike": (
        lambda z: losses.supervised_contrastive(z, jnp.arange(len(z))),
        (X,),
    ),
}


def is_float(x):
    return jnp.issubdtype(x.dtype, jnp.floating)


def broken(rows):
    """Each array of floats in turn with a row of nan."""
    for i, x in enumerate(rows):
        if is_float(x):
            yield *rows[:i], x.at[3].set(jnp.nan), *rows[i + 1 :]


def finite(tree):
    return all(np.isfinite(x).all() for x in jax.tree.leaves(tree) if is_float(x))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_row_of_nan_is_not_hidden(name):
    function, rows = FUNCTIONS[name]
    function = jax.jit(function)
    assert finite(function(*rows))
    for arguments in broken(tuple(rows)):
        assert not finite(function(*arguments))


@pytest.mark.parametrize("name", SHARDED_CASES.LOSSES)
def test_a_row_of_nan_is_not_hidden_from_a_gathering_loss(name):
    case = SHARDED_CASES.LOSSES[name]
    weights, rows, shared = SHARDED_CASES.inputs(case)
    loss = jax.jit(SHARDED_CASES.objective(case, None))
    assert finite(loss(weights, rows, shared))
    for arguments in broken(rows):
        assert not finite(loss(weights, arguments, shared))


@pytest.mark.parametrize("name", sorted(LOUD))
def test_a_matching_of_nan_is_an_error(name):
    function, rows = OPS[name]
    with pytest.raises(Exception, match="invalid numeric entries"):
        jax.block_until_ready(function(*next(broken(rows))))


def test_nan_weights_of_a_machine_reach_its_samples_and_gradient():
    machine = RBM(TABLE[:5, :3], jnp.full(5, jnp.nan), TABLE[7, :3])
    grads, model = losses.cd_gradients(KEY, machine, (X > 0).astype(jnp.float32))
    assert jnp.isnan(model).all()
    assert not finite(grads.b)


def test_the_virtual_adversary_of_nan_predictions_is_nan():
    def predict(x):
        return x * jnp.nan

    r = losses.vat_perturbation(KEY, predict, X, 1.0)
    assert jnp.isnan(r).all()


@pytest.mark.parametrize("function", [vectors.norm, vectors.unit])
def test_values_are_those_of_the_definition_and_zero_rows_have_zero_gradients(function):
    rows = jnp.concatenate([X, jnp.zeros((1, 5)), jnp.full((1, 5), 1e-25)])
    length = jnp.sqrt(jnp.square(X).sum(-1, keepdims=True))
    wanted = length[:, 0] if function is vectors.norm else X / length
    np.testing.assert_array_equal(function(rows)[: len(X)], wanted)
    np.testing.assert_array_equal(function(rows)[len(X) :], 0)
    slope = jax.grad(lambda x: function(x).sum())(rows)
    np.testing.assert_array_equal(slope[len(X) :], 0)
    assert finite(slope)


def test_neighbors_of_a_finite_row_are_rows_of_the_bank():
    found, index = nearest(TABLE, TOKENS[0, :, 0])
    np.testing.assert_array_equal(found, TABLE[index])
