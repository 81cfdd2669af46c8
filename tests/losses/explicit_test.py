"""Losses and ops on JAX's default meshes, whose axes are Explicit: as on one device.

The rows of the batch lie on eight devices.
"""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from rows import CASES, OPS, SHARDED, SHARDED_CASES, X, Y

from jssl import losses
from jssl.losses import contrastive, redundancy
from jssl.ops.explicit import compares_rows
from jssl.ops.sinkhorn import sinkhorn


@pytest.fixture(scope="module")
def mesh():
    mesh = jax.make_mesh((8,), ("d",))
    assert mesh.axis_types == (jax.sharding.AxisType.Explicit,)
    return mesh


def both(function, rows, mesh):
    """(on one device, on the mesh)."""
    alone = jax.jit(function)(*rows)
    with jax.set_mesh(mesh):
        return alone, jax.jit(function)(*jax.device_put(rows, P("d")))


def graded(function):
    """The value, and its gradient by every array of floats."""

    def run(*rows):
        floats = [i for i, x in enumerate(rows) if jnp.issubdtype(x.dtype, jnp.floating)]
        return jax.value_and_grad(function, tuple(floats))(*rows)

    return run


@pytest.mark.parametrize("name", CASES)
def test_a_loss_has_the_value_and_gradient_of_one_device(name, mesh):
    function, rows = CASES[name]
    alone, together = both(graded(function), tuple(rows), mesh)
    chex.assert_trees_all_close(together, alone, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", OPS)
def test_an_op_has_the_value_of_one_device(name, mesh):
    alone, together = both(*OPS[name], mesh)
    chex.assert_trees_all_close(together, alone, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", SHARDED_CASES.LOSSES)
def test_a_gathering_loss_has_the_value_and_gradient_of_one_device(name, mesh):
    case = SHARDED_CASES.LOSSES[name]
    with jax.enable_x64(True):
        weights, rows, shared = SHARDED_CASES.inputs(case)
        loss = jax.value_and_grad(SHARDED_CASES.objective(case, None), (0, 1))
        loss = (
            loss
            if not case.integers
            else jax.value_and_grad(SHARDED_CASES.objective(case, None))
        )
        alone = jax.jit(loss)(weights, rows, shared)
        with jax.set_mesh(mesh):
            together = jax.jit(loss)(weights, jax.device_put(rows, P("d")), shared)
        chex.assert_trees_all_close(together, alone, rtol=1e-10, atol=1e-10)


def test_every_public_loss_is_tried():
    tried = re.findall(r"\w+", " ".join(CASES) + SHARDED.read_text())
    assert set(losses.__all__) <= set(tried)


def test_rows_of_outputs_stay_sharded(mesh):
    with jax.set_mesh(mesh):
        scores = jax.device_put(X, P("d"))
        assert jax.typeof(sinkhorn(scores)).sharding.spec == P("d", None)
        assert jax.typeof(redundancy.cross_correlation(scores, scores)).sharding.spec == P(
            None, None
        )


def test_a_mesh_in_the_arrays_alone_is_enough(mesh):
    rows = jax.device_put((X, Y), jax.sharding.NamedSharding(mesh, P("d")))
    got = jax.jit(contrastive.nt_xent)(*rows)
    np.testing.assert_allclose(got, contrastive.nt_xent(X, Y), rtol=1e-6)


def test_a_mesh_of_two_axes_and_rows_on_both():
    mesh = jax.make_mesh((4, 2), ("a", "b"))
    with jax.set_mesh(mesh):
        rows = jax.device_put((X, Y), P(("a", "b")))
        got = jax.jit(graded(contrastive.nt_xent))(*rows)
    chex.assert_trees_all_close(
        got, graded(contrastive.nt_xent)(X, Y), rtol=2e-5, atol=1e-6
    )


def test_without_an_explicit_mesh_the_computation_is_that_of_the_function_alone():
    def compare(x):
        return jnp.matmul(x, x.T).sum()

    with_mesh = jax.make_mesh((8,), ("d",), (jax.sharding.AxisType.Auto,))
    plain = str(jax.make_jaxpr(compare)(X))
    assert str(jax.make_jaxpr(compares_rows(compare))(X)) == plain
    with jax.set_mesh(with_mesh):
        assert str(jax.make_jaxpr(compares_rows(compare))(X)) == plain
