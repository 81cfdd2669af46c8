"""The laws that every method obeys.

A method comes in through its test file, tests/methods/<family>/x_test.py, which defines

    tiny(tx) -> (method, batch)     8 rows; tx None: the method's own optimiser
    headline = "loss"               the metric that falls on one batch repeated

and, where a training batch is not what `embed` is given (two streams, k minibatches),

    rows(batch) -> batch            8 rows to embed, of a training batch
    batch_axis = 1                  of the training batch's rows

and, where a step chooses (the nearest neighbor, the largest of assignments), so that
rounding alone turns a trajectory into another one under an adaptive optimizer,

    discrete = True                 ten steps in float32 agree under plain descent

The laws on the agreement of devices are marked `agreement`; `tiers` has the methods for
which they run in `make test`.
"""

import gc
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiers import METHODS, module

from jssl import sharding
from jssl.checkpoint import Checkpoints
from jssl.engine import copied
from jssl.learner import descend, fresh
from jssl.method import Method
from jssl.pictures import Clip

KEYS = list(jax.vmap(jax.random.key)(np.arange(60)))
KEY = KEYS[0]
copy = jax.jit(partial(jax.tree.map, jnp.copy))


class Case(NamedTuple):
    tiny: Any  # the method's test file
    method: Any
    batch: Any
    donating: Any  # the compiled step, which eats its state
    traces: list  # one entry for each time that step was traced
    state: Any  # jitted init
    aliased: Any  # the same, an array that is two leaves but once: as an eager init's
    rows: Any  # what embed is given

    def step(self, key, state, batch):
        return self.donating(key, copy(state), batch)


@pytest.fixture(scope="module", params=METHODS)
def case(request):
    """One trace and one compiled step serve all the laws on one device."""
    tiny, traces = module(request.param), []
    method, batch = tiny.tiny(None)

    def counted(key, state, batch):
        traces.append(request.param)
        return method.step(key, state, batch)

    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    batch = jax.device_put(jax.device_get(batch), one)  # and of no weak types
    init = jax.jit(method.init, out_shardings=one).trace(KEY, batch)
    state = init.lower().compile()(KEY, batch)
    step = jax.jit(counted, donate_argnums=1)
    rows = getattr(tiny, "rows", lambda batch: batch)(batch)
    shared = aliased(init.jaxpr, batch, state)
    yield Case(tiny, method, batch, step, traces, state, shared, rows)
    jax.clear_caches()
    gc.collect()


def aliased(jaxpr, batch, state):
    """The state with one array for each value of init, as often as that is a leaf."""
    given = zip(jaxpr.jaxpr.invars, jax.tree.leaves((KEY, batch)), strict=True)
    arrays = {id(value): leaf for value, leaf in given}
    leaves, tree = jax.tree.flatten(state)
    values = zip(jaxpr.jaxpr.outvars, leaves, strict=True)
    return tree.unflatten(arrays.setdefault(id(value), leaf) for value, leaf in values)


def close(a, b, tolerance):
    chex.assert_trees_all_close(
        jax.device_get(a), jax.device_get(b), rtol=tolerance, atol=tolerance
    )


def test_a_step_keeps_the_shapes_of_the_state(case):
    after, metrics = case.donating.eval_shape(KEY, case.state, case.batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, case.state)
    assert all(m.shape == () for m in metrics.values())


def test_metrics_are_finite_and_a_second_step_compiles_nothing(case):
    state, metrics = case.step(KEY, case.state, case.batch)
    state, again = case.step(KEYS[1], state, case.batch)
    assert len(case.traces) == 1
    assert all(np.isfinite(m) for m in [*metrics.values(), *again.values()])


def test_the_same_key_gives_the_same_result(case):
    one = case.step(KEY, case.state, case.batch)
    two = case.step(KEY, case.state, case.batch)
    chex.assert_trees_all_equal(one, two)


def test_another_key_gives_another_result(case):
    one, _ = case.step(KEY, case.state, case.batch)
    two, _ = case.step(KEYS[1], case.state, case.batch)
    same = jax.tree.map(np.array_equal, *jax.device_get((one, two)))
    assert not all(jax.tree.leaves(same))


def test_an_eager_state_of_arrays_used_twice_survives_donation(case):
    state = copied(case.aliased)
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
    wanted = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    with Checkpoints(tmp_path) as saved:
        step, restored, _ = saved.latest(wanted)
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
        if isinstance(picture, str):
            assert picture.strip()
            continue
        clip = isinstance(picture, Clip)
        images = picture.frames if clip else picture.images
        assert images.ndim == 5 + clip
        assert images.shape[-1] in (1, 3)
        assert len(picture.columns) in (0, images.shape[1])
        assert np.isfinite(images).all()


def test_the_headline_metric_improves_on_one_batch(case):
    state, seen = copy(case.state), []
    for key in KEYS:
        state, metrics = case.donating(key, state, case.batch)
        seen.append(metrics[case.tiny.headline])
    assert np.mean(seen[-10:]) < 0.9 * np.mean(seen[:10])


def shapes(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def under(case, tx):
    """The case's method and first state, under an optimizer without a memory.

    What is left of the state without one is in the case's, which has been computed.
    """
    method, _ = case.tiny.tiny(tx)
    known = dict(jax.tree.leaves_with_path(case.state))
    wanted = jax.eval_shape(method.init, KEY, case.batch)
    return method, jax.tree.map_with_path(lambda path, _: known[path], wanted)


def run(case, method, state, batch, devices, steps):
    """The state and metrics after `steps` steps on so many devices."""
    mesh = jax.sharding.Mesh(
        np.array(jax.devices()[:devices]),
        ("data",),
        axis_types=(jax.sharding.AxisType.Auto,),
    )
    everywhere = sharding.replicated(mesh)
    rows = sharding.rows(mesh, getattr(case.tiny, "batch_axis", 0))
    given = (None, everywhere, rows)
    step = jax.jit(method.step, in_shardings=given, out_shardings=everywhere)
    # Lowered from shapes alone, the trace is that of any other mesh.
    step = step.lower(*shapes((KEY, state, batch))).compile()
    state, batch = jax.device_put(state, everywhere), jax.device_put(batch, rows)
    seen = []
    for key in KEYS[:steps]:
        state, metrics = step(key, state, batch)
        seen.append(metrics)
    return jax.device_get((state, seen))


@pytest.mark.agreement
def test_devices_agree_in_float64_after_one_step_of_sgd(case):
    def double(tree):
        return jax.tree.map(
            lambda x: x.astype(np.float64) if x.dtype == np.float32 else x,
            jax.device_get(tree),
        )

    method, state = under(case, optax.sgd(0.1))
    with jax.enable_x64(True):
        one, eight = (
            run(case, method, double(state), double(case.batch), devices, 1)
            for devices in (1, 8)
        )
    close(eight, one, 1e-8)


@pytest.mark.agreement
def test_devices_agree_in_float32_over_ten_steps(case):
    if getattr(case.tiny, "discrete", False):
        method, start = under(case, optax.sgd(0.1))
        _, alone = run(case, method, start, case.batch, 1, 10)
    else:
        method, start = case.method, case.state
        state, alone = copy(start), []
        for key in KEYS[:10]:
            state, metrics = case.donating(key, state, case.batch)
            alone.append(metrics)
    _, together = run(case, method, start, case.batch, 8, 10)
    close(together, alone, 1e-4)


def choosing(tx):
    """Moves a weight by a millionth up or down, as the last bit of a sum has it.

    The sum is rounded in another order on other devices.
    """
    tx = tx or optax.adam(0.1)

    def init(key, batch):
        return fresh(tx, jnp.zeros(()))

    def step(key, state, batch):
        scaled = batch["image"] * jax.random.normal(key)
        up = jax.lax.bitcast_convert_type(scaled.sum(), jnp.int32) & 1
        after = descend(tx, state, jnp.where(up == 1, -1e-6, 1e-6))
        return after, {"weight": after.params}

    return Method(init, step, embed=lambda state, batch: {"h": batch["image"]})


def test_a_method_with_a_discrete_choice_is_compared_under_plain_descent():
    batch = {"image": jax.random.normal(KEY, (8, 1000))}

    def compared(**declared):
        tiny = SimpleNamespace(tiny=lambda tx: (choosing(tx), batch), **declared)
        method = choosing(None)
        step, state = jax.jit(method.step, donate_argnums=1), method.init(KEY, batch)
        case = Case(tiny, method, batch, step, [], state, state, batch)
        test_devices_agree_in_float32_over_ten_steps(case)

    compared(discrete=True)
    with pytest.raises(AssertionError):
        compared()
