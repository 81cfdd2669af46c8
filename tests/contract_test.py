"""The laws that every method obeys.

A method comes in through its test file, tests/methods/<family>/x_test.py, which defines

    tiny(tx) -> (method, batch)     8 rows; tx None: the method's own optimiser
    headline = "loss"               the metric that falls on one batch repeated

and, where a training batch is not what `embed` is given (two streams, k minibatches),

    rows(batch) -> batch            8 rows to embed, of a training batch
    batch_axis = 1                  of the training batch's rows
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import sharding
from jssl.checkpoint import Checkpoints
from jssl.engine import copied

FILES = {
    path.stem.removesuffix("_test"): path
    for path in sorted((Path(__file__).parent / "methods").glob("*/*_test.py"))
}
KEY = jax.random.key(0)


class Case(NamedTuple):
    method: object
    batch: dict
    donating: object  # the compiled step, which eats its state
    state: object  # jitted init
    headline: str
    rows: dict  # what embed is given
    axis: int  # of the batch's rows

    def step(self, key, state, batch):
        return self.donating(key, copied(state), batch)


@cache
def module(name):
    found = importlib.util.spec_from_file_location(f"tiny_{name}", FILES[name])
    loaded = importlib.util.module_from_spec(found)
    found.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module", params=FILES)
def case(request):
    """One compiled step serves all the laws on one device."""
    chex.clear_trace_counter()  # it counts by hash, and a dead closure's may come again
    tiny = module(request.param)
    method, batch = tiny.tiny(None)
    step = jax.jit(chex.assert_max_traces(method.step, n=1), donate_argnums=1)
    state = jax.jit(method.init)(KEY, batch)
    rows = getattr(tiny, "rows", lambda batch: batch)(batch)
    axis = getattr(tiny, "batch_axis", 0)
    return Case(method, batch, step, state, tiny.headline, rows, axis)


def close(a, b, tolerance):
    chex.assert_trees_all_close(
        jax.device_get(a), jax.device_get(b), rtol=tolerance, atol=tolerance
    )


def test_a_step_keeps_the_shapes_of_the_state(case):
    after, metrics = jax.eval_shape(case.method.step, KEY, case.state, case.batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, case.state)
    assert all(m.shape == () for m in metrics.values())


def test_metrics_are_finite_and_a_second_step_compiles_nothing(case):
    state, metrics = case.step(KEY, case.state, case.batch)
    state, again = case.step(jax.random.key(1), state, case.batch)
    assert all(np.isfinite(m) for m in [*metrics.values(), *again.values()])


def test_the_same_key_gives_the_same_result(case):
    one = case.step(KEY, case.state, case.batch)
    two = case.step(KEY, case.state, case.batch)
    chex.assert_trees_all_equal(one, two)


def test_another_key_gives_another_result(case):
    one, _ = case.step(KEY, case.state, case.batch)
    two, _ = case.step(jax.random.key(1), case.state, case.batch)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), one, two)
    assert not all(jax.tree.leaves(same))


def test_an_eager_state_survives_donation(case):
    state = copied(case.method.init(KEY, case.batch))
    state, _ = case.donating(KEY, state, case.batch)
    state, _ = case.donating(KEY, state, case.batch)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_a_representation_is_a_row_a_sample_and_ignores_other_rows(case):
    embed = jax.jit(lambda state, batch: case.method.embed(state, batch)["h"])
    h = embed(case.state, case.rows)
    n = len(jax.tree.leaves(case.rows)[0])
    assert h.ndim == 2
    assert len(h) == n
    others = jax.tree.map(lambda x: jnp.concatenate([x[:1], x[1:][::-1]]), case.rows)
    np.testing.assert_allclose(embed(case.state, others)[0], h[0], rtol=1e-5, atol=1e-6)
    assert not np.allclose(h[0], h[1])


def test_going_on_from_a_checkpoint_equals_never_having_stopped(case, tmp_path):
    state, _ = case.step(KEY, case.state, case.batch)
    with Checkpoints(tmp_path) as saved:
        saved.save(1, state)
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    with Checkpoints(tmp_path) as saved:
        step, restored, _ = saved.latest(shapes)
    assert step == 1
    chex.assert_trees_all_equal(
        case.step(KEY, restored, case.batch), case.step(KEY, state, case.batch)
    )


def test_its_pictures_can_be_drawn(case):
    def collect(fn, *args, split="train"):
        return fn(*args, case.rows)

    pictures = case.method.render(KEY, case.state, case.rows, collect)
    for name, picture in pictures.items():
        assert name
        assert picture.images.ndim == 5
        assert picture.images.shape[-1] in (1, 3)
        assert len(picture.columns) in (0, picture.images.shape[1])
        assert np.isfinite(picture.images).all()


def test_the_headline_metric_improves_on_one_batch(case):
    state, seen = case.state, []
    for i in range(60):
        state, metrics = case.step(jax.random.key(i), state, case.batch)
        seen.append(float(metrics[case.headline]))
    assert np.mean(seen[-10:]) < 0.9 * np.mean(seen[:10])


def sharded(method, batch, state, devices, steps, axis):
    """The states and metrics after `steps` steps on so many devices."""
    mesh = jax.sharding.Mesh(
        np.array(jax.devices()[:devices]),
        ("data",),
        axis_types=(jax.sharding.AxisType.Auto,),
    )
    everywhere = sharding.replicated(mesh)
    step = jax.jit(method.step, out_shardings=everywhere)
    state = jax.device_put(state, everywhere)
    batch = jax.device_put(batch, sharding.rows(mesh, axis))
    seen = []
    for i in range(steps):
        state, metrics = step(jax.random.key(i), state, batch)
        seen.append(metrics)
    return jax.device_get((state, seen))


@pytest.mark.parametrize("name", FILES)
def test_devices_agree_in_float64_after_one_step_of_sgd(name):
    def double(tree):
        return jax.tree.map(
            lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree
        )

    with jax.enable_x64(True):
        method, batch = module(name).tiny(optax.sgd(0.1))
        axis = getattr(module(name), "batch_axis", 0)
        batch = double(jax.tree.map(jnp.asarray, batch))
        state = double(jax.jit(method.init)(KEY, batch))
        alone = sharded(method, batch, state, 1, 1, axis)
        close(sharded(method, batch, state, 8, 1, axis), alone, 1e-8)


def test_devices_agree_in_float32_over_ten_steps(case):
    state, alone = case.state, []
    for i in range(10):
        state, metrics = case.step(jax.random.key(i), state, case.batch)
        alone.append(metrics)
    _, together = sharded(case.method, case.batch, case.state, 8, 10, case.axis)
    close(together, alone, 1e-4)
