"""Several devices must agree with one: value and gradient, however the step is written.

The rows of the batch lie on four devices, the weights on all. A loss joins by a line in
LOSSES: a function of (axis_name, *arrays) and the shapes of its arrays. Rows of floats
are multiplied by the weights first, so that the gradient is a parameter's; integers
pass as they are, and so does what is `shared`: the same on every device. The regimes
are those of the catalogue (contrastive, 2.7). `benchmarks/agreement.py` prints the largest
difference of each loss in each regime, on 2, 4 and 8 devices.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jssl.losses import (
    adversarial,
    clustering,
    consistency,
    contrastive,
    crossmodal,
    distillation,
    information,
    metric,
    predictive,
    reconstruction,
    redundancy,
    sequence,
    siamese,
    sparsity,
    variational,
)
from jssl.ops.gather import gather, pmean
from jssl.ops.memory import (
    Ensemble,
    Queue,
    bank_write,
    ensemble_write,
    queue_push,
)
from jssl.ops.sinkhorn import sinkhorn
from jssl.ops.vectors import dots

DEVICES = 4
ROWS = 8
AXIS = "data"


class Loss(NamedTuple):
    """loss(axis_name, *arrays, *shared) -> scalar.

    Attributes:
      arrays: shapes of float arrays, rows first; the last axis is that of the weights.
      integers: an integer array of rows, drawn from 0 and 1, comes next, if True.
      shared: shapes of float arrays that are the same on every device come last.
    """

    loss: Callable
    arrays: tuple = ((ROWS, 5), (ROWS, 5))
    integers: bool = False
    shared: tuple = ()


def mutual(bound):
    def loss(axis, a, b):
        return bound((a * b).sum(-1), dots(a, gather(b, axis)), axis_name=axis)

    return loss


def per_sample(loss):
    """A mean over samples has no axis_name of its own."""
    return lambda axis, *arrays: pmean(loss(*arrays), axis)


def info_nce(axis, a, b, **options):
    return contrastive.info_nce(a, b, axis_name=axis, **options)


def nt_xent(axis, a, b, **options):
    return contrastive.nt_xent(a, b, 0.5, axis_name=axis, **options)


def clip(axis, a, b, **options):
    return crossmodal.clip(a, b, 5.0, axis_name=axis, **options)


def sigreg(axis, a):
    return redundancy.sigreg(jax.random.key(0), a, slices=6, axis_name=axis)


def w_mse(axis, a, b):
    key = jax.random.key(0)
    return redundancy.w_mse(a, b, key=key, eps=0.1, axis_name=axis)


def info_nce_bound(axis, a, b):
    return information.info_nce_bound(dots(a, gather(b, axis)), axis)


def cpc(negatives):
    def loss(axis, z, weights):
        return predictive.cpc(z, z, weights, negatives, axis_name=axis)

    return Loss(loss, ((ROWS, 4, 5),), shared=((2, 5, 5),))


def cpc_masked(negatives):
    def loss(axis, z, last, weights):
        mask = jnp.stack([*3 * [jnp.ones_like(last)], last], 1)  # three times or four
        return predictive.cpc(z, z, weights, negatives, mask=mask, axis_name=axis)

    return Loss(loss, ((ROWS, 4, 5),), shared=((2, 5, 5),), integers=True)


def data2vec(axis, p, y, mask):
    # Half of the mask is 0: devices hide unequal numbers.
    mask = jnp.stack([mask, jnp.ones_like(mask)], 1)
    return siamese.data2vec(p, y, mask, axis_name=axis)


def dino(student, teacher):
    return distillation.dino(student, teacher[:, :2], jnp.ones(5))


def dim_local(measure):
    def loss(axis, maps, codes):
        return information.dim_local(maps, codes, measure, axis)

    return Loss(loss, ((ROWS, 3, 5), (ROWS, 5)))


def tokens(loss):
    def of(axis, logits, targets):
        targets = jnp.stack([targets, 1 - targets, 2 * targets], 1)
        weights = targets.at[:, 0].set(1) if loss is not sequence.causal_lm else targets
        return loss(logits, targets, weights, axis_name=axis)

    return Loss(of, ((ROWS, 3, 5),), integers=True)


def masked_patch_error(axis, pred, target, mask):
    mask = jnp.stack([mask, jnp.ones_like(mask)], 1)
    return reconstruction.masked_patch_error(pred, target, mask, axis_name=axis)


def kl_sparsity(axis, h):
    return sparsity.kl_sparsity(jax.nn.sigmoid(h), axis_name=axis)


def negative_elbo(axis, x, mean, spread):
    log_likelihood = -jnp.square(x).sum(-1)
    return variational.negative_elbo(log_likelihood, mean, spread, axis_name=axis)[0]


def annealed(axis, logits, labels):
    return consistency.annealed_cross_entropy(logits, labels, 0.6, axis_name=axis)


def fairness(axis, logits, mask, p, h):
    return consistency.class_fairness(logits, mask, jnp.exp(p), jnp.exp(h), axis)


def named(loss):
    return lambda axis, *arrays: loss(*arrays, axis_name=axis)


ONE, QUEUE = ((ROWS, 5),), ((7, 5),)
VIEWS = ((ROWS, 3, 5),)
LOSSES = {
    "info_nce": Loss(info_nce),
    "info_nce, chunked": Loss(lambda *x: info_nce(*x, chunk=3)),
    "info_nce, queue": Loss(
        lambda axis, a, b, queue: info_nce(axis, a, b, negatives=queue),
        shared=QUEUE,
    ),
    "info_nce, queue, chunked": Loss(
        lambda axis, a, b, queue: info_nce(axis, a, b, negatives=queue, chunk=3),
        shared=QUEUE,
    ),
    "info_nce, own negatives": Loss(
        lambda axis, a, b, c: info_nce(axis, a, b, negatives=c),
        ((ROWS, 5), (ROWS, 5), (ROWS, 3, 5)),
    ),
    "nt_xent": Loss(nt_xent),
    "nt_xent, chunked": Loss(lambda *x: nt_xent(*x, chunk=5)),
    "nt_xent, memory": Loss(
        lambda axis, a, b, queue: nt_xent(axis, a, b, negatives=queue, chunk=5),
        shared=QUEUE,
    ),
    "dcl": Loss(named(contrastive.dcl)),
    "dclw": Loss(named(contrastive.dclw)),
    "supervised_contrastive": Loss(
        named(contrastive.supervised_contrastive), ONE, integers=True
    ),
    "graph_contrastive": Loss(named(contrastive.graph_contrastive)),
    "clip": Loss(clip),
    "clip, chunked": Loss(lambda *x: clip(*x, chunk=3)),
    "siglip": Loss(lambda axis, a, b: crossmodal.siglip(a, b, 5.0, -3.0, axis_name=axis)),
    "cross_and_learn": Loss(named(crossmodal.cross_and_learn)),
    "mil_nce": Loss(named(crossmodal.mil_nce), ((ROWS, 5), (ROWS, 3, 5))),
    "cpc, batch": cpc("batch"),
    "cpc, sequence": cpc("sequence"),
    "cpc, all": cpc("all"),
    "cpc, masked, batch": cpc_masked("batch"),
    "cpc, masked, sequence": cpc_masked("sequence"),
    "cpc, masked, all": cpc_masked("all"),
    "byol_regression": Loss(per_sample(siamese.byol_regression)),
    "nnclr": Loss(
        lambda axis, a, b, queue: siamese.nnclr(a, b, queue, axis_name=axis),
        shared=QUEUE,
    ),
    "data2vec": Loss(data2vec, ((ROWS, 2, 5), (ROWS, 2, 5)), integers=True),
    "dino": Loss(per_sample(dino), 2 * VIEWS),
    "koleo": Loss(named(distillation.koleo), ONE),
    "swav": Loss(named(distillation.swav), VIEWS),
    "barlow_twins": Loss(named(redundancy.barlow_twins)),
    "vicreg": Loss(named(redundancy.vicreg)),
    "w_mse": Loss(w_mse),
    "sigreg": Loss(sigreg, ONE),
    "dv_bound": Loss(mutual(information.dv_bound)),
    "nwj_bound": Loss(mutual(information.nwj_bound)),
    "jsd_bound": Loss(mutual(information.jsd_bound)),
    "info_nce_bound": Loss(info_nce_bound),
    "mine": Loss(mutual(lambda *scores, **axis: information.mine(*scores, 0.5, **axis)[0])),
    "dim_local, jsd": dim_local("jsd"),
    "dim_local, dv": dim_local("dv"),
    "dim_local, nce": dim_local("nce"),
    "dim_global": Loss(named(information.dim_global)),
    "nat": Loss(named(clustering.nat)),
    "entropy": Loss(named(consistency.entropy), ONE, integers=True),
    "annealed_cross_entropy": Loss(annealed, ONE, integers=True),
    "class_fairness": Loss(fairness, ONE, integers=True, shared=((5,), (5,))),
    "masked_patch_error": Loss(masked_patch_error, 2 * ((ROWS, 2, 5),), integers=True),
    "scaled_cosine_error": Loss(named(reconstruction.scaled_cosine_error), integers=True),
    "kl_sparsity": Loss(kl_sparsity, ONE),
    "negative_elbo": Loss(negative_elbo, 3 * ONE),
    "negative_cosine": Loss(per_sample(siamese.negative_cosine)),
    "i_jepa": Loss(per_sample(siamese.i_jepa)),
    "triplet": Loss(per_sample(metric.triplet), 3 * ONE),
    "margin": Loss(per_sample(metric.margin), integers=True),
    "counting": Loss(
        per_sample(lambda x, t, y: metric.counting(x, t, y)[0]),
        ((ROWS, 5), (ROWS, 4, 5), (ROWS, 5)),
    ),
    "squared_error": Loss(per_sample(reconstruction.squared_error)),
    "deepcluster": Loss(per_sample(clustering.deepcluster), ONE, integers=True),
    "softmax_squared_error": Loss(per_sample(consistency.softmax_squared_error)),
    "softmax_kl": Loss(per_sample(consistency.softmax_kl)),
    "minimax_discriminator": Loss(per_sample(adversarial.minimax_discriminator)),
    "non_saturating_generator": Loss(per_sample(adversarial.non_saturating_generator), ONE),
    "hinge_discriminator": Loss(per_sample(adversarial.hinge_discriminator)),
    "least_squares_discriminator": Loss(
        per_sample(adversarial.least_squares_discriminator)
    ),
    "wasserstein_critic": Loss(per_sample(adversarial.wasserstein_critic)),
    "gaussian_kl": Loss(per_sample(variational.gaussian_kl)),
    "l1_sparsity": Loss(per_sample(sparsity.l1_sparsity), ONE),
    "token_cross_entropy": tokens(sequence.token_cross_entropy),
    "masked_lm": tokens(sequence.masked_lm),
    "causal_lm": tokens(sequence.causal_lm),
}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def mesh():
    devices = jax.devices()[:DEVICES]
    return jax.make_mesh((DEVICES,), (AXIS,), (AxisType.Auto,), devices=devices)


def inputs(case):
    """Weights, rows, what is shared: fixed random numbers."""
    random = np.random.default_rng(0)
    rows = [jnp.asarray(random.normal(size=shape)) for shape in case.arrays]
    if case.integers:
        rows.append(jnp.asarray([0, 1, 0, 0, 1, 1, 0, 1]))
    shared = tuple(jnp.asarray(random.normal(size=shape)) for shape in case.shared)
    weights = jnp.asarray(np.eye(5) + 0.3 * random.normal(size=(5, 5)))
    return weights, tuple(rows), shared


def objective(case, axis):
    def loss(weights, rows, shared):
        seen = [x @ weights if jnp.issubdtype(x.dtype, float) else x for x in rows]
        return case.loss(axis, *seen, *shared)

    return loss


def outside(mesh, check, case):
    """The gradient of the mapped loss: nothing to reduce."""
    loss = objective(case, AXIS)
    specs = (P(), P(AXIS), P())
    mapped = jax.shard_map(loss, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=check)
    return jax.jit(jax.value_and_grad(mapped))


def inside(mesh, check, case):
    """The mapped gradient: to be averaged where axes are not checked."""
    loss = objective(case, AXIS)

    def step(weights, rows, shared):
        value, slope = jax.value_and_grad(loss)(weights, rows, shared)
        return value, slope if check else pmean(slope, AXIS)

    specs = (P(), P(AXIS), P())
    return jax.jit(
        jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=check)
    )


def pmapped(mesh, case):
    """The mapped gradient, to be averaged."""
    loss, split = objective(case, AXIS), len(case.arrays) + case.integers

    def step(weights, *arrays):
        arguments = weights, arrays[:split], arrays[split:]
        value, slope = jax.value_and_grad(loss)(*arguments)
        return value, pmean(slope, AXIS)

    axes = (None, *[0] * split, *[None] * len(case.shared))
    step = jax.pmap(step, AXIS, in_axes=axes, devices=list(mesh.devices))

    def run(weights, rows, shared):
        rows = [x.reshape(mesh.size, -1, *x.shape[1:]) for x in rows]
        value, slope = step(weights, *rows, *shared)
        np.testing.assert_array_equal(value, value[0])  # the global one, on all devices
        return value[0], slope[0]

    return run


def jitted(mesh, case):
    """Sharded inputs, no axis: the loss sees the global batch."""
    loss = jax.jit(jax.value_and_grad(objective(case, None)))

    def run(weights, rows, shared):
        return loss(weights, jax.device_put(rows, NamedSharding(mesh, P(AXIS))), shared)

    return run


REGIMES = {
    "shard_map, grad outside": lambda mesh, case: outside(mesh, True, case),
    "shard_map unchecked, grad outside": lambda mesh, case: outside(mesh, False, case),
    "shard_map, grad inside": lambda mesh, case: inside(mesh, True, case),
    "shard_map unchecked, grad inside": lambda mesh, case: inside(mesh, False, case),
    "pmap": pmapped,
    "jit": jitted,
}


@cache
def alone(name):
    """One device with all rows."""
    loss = objective(LOSSES[name], None)
    return jax.jit(jax.value_and_grad(loss))(*inputs(LOSSES[name]))


EVERYWHERE = (  # a loss of each way to look across devices: the table has them all
    "info_nce, queue, chunked",
    "nt_xent",
    "nt_xent, chunked",
    "supervised_contrastive",
    "cpc, all",
    "data2vec",
    "koleo",
    "swav",
    "barlow_twins",
    "dv_bound",
    "masked_lm",
)
PAIRS = [
    (name, regime)
    for name in LOSSES
    for regime in REGIMES
    if name in EVERYWHERE or regime in ("shard_map, grad outside", "pmap")
]


@pytest.mark.parametrize(("name", "regime"), PAIRS)
def test_four_devices_agree_with_one(name, regime, mesh):
    value, slope = REGIMES[regime](mesh, LOSSES[name])(*inputs(LOSSES[name]))
    wanted, wanted_slope = alone(name)
    assert value.dtype == jnp.float64
    np.testing.assert_allclose(value, wanted, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(slope, wanted_slope, rtol=1e-10, atol=1e-10)


STATES = {
    "update_center": lambda axis, z, i: distillation.update_center(
        jnp.ones(5), z, axis_name=axis
    ),
    "nce_log_z": lambda axis, z, i: predictive.nce_log_z(
        z, z + 1, z[:, None] - 1, size=20, axis_name=axis
    ),
    "mine": lambda axis, z, i: information.mine(z, z, 0.5, axis_name=axis)[1],
    "queue_push": lambda axis, z, i: queue_push(
        Queue(jnp.zeros((11, 5)), jnp.int32(7)), z, axis_name=axis
    ),
    "bank_write": lambda axis, z, i: bank_write(
        jnp.eye(5)[jnp.arange(10) % 5], i, z, axis_name=axis
    ),
    "ensemble_write": lambda axis, z, i: ensemble_write(
        Ensemble(jnp.ones((10, 5)), jnp.arange(10)), i, z, axis_name=axis
    ),
}


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("name", STATES)
def test_a_state_is_the_same_on_all_devices(name, check, mesh):
    z = jnp.asarray(np.random.default_rng(0).normal(size=(ROWS, 5)))
    index = jnp.asarray([3, 1, 4, 1, 5, 9, 2, 6])  # one sample came twice
    rows = (z, index)

    def update(z, index):
        return STATES[name](AXIS, z, index)

    specs = dict(mesh=mesh, in_specs=P(AXIS), out_specs=P(), check_vma=check)
    together = jax.jit(jax.shard_map(update, **specs))(*rows)
    apart = jax.shard_map(
        lambda *x: jax.tree.map(lambda s: s[None], update(*x)),
        mesh=mesh,
        in_specs=P(AXIS),
        out_specs=P(AXIS),
        check_vma=False,
    )
    chex.assert_trees_all_close(together, STATES[name](None, *rows), atol=1e-12)
    for copies in jax.tree.leaves(jax.jit(apart)(*rows)):
        np.testing.assert_array_equal(copies, np.repeat(copies[:1], DEVICES, 0))


@pytest.mark.parametrize("check", [True, False])
def test_codes_are_dealt_out_over_all_devices(check, mesh):
    scores = jnp.asarray(np.random.default_rng(0).normal(size=(ROWS, 3)))
    specs = dict(mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS), check_vma=check)
    codes = jax.shard_map(lambda s: sinkhorn(s, axis_name=AXIS), **specs)
    np.testing.assert_allclose(jax.jit(codes)(scores), sinkhorn(scores), atol=1e-12)


@pytest.mark.parametrize("chunk", [4, 6])
def test_anchors_stay_sharded_when_candidates_are_cut(chunk, mesh):
    def loss(a, b):
        return contrastive.nt_xent(a, b, chunk=chunk)

    sharding = NamedSharding(mesh, P(AXIS))
    rows = jax.ShapeDtypeStruct((64, 5), jnp.float32, sharding=sharding)
    lowered = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(rows, rows)
    dots = re.findall(r"f32\[(\d+),(\d+)\]\S* dot\(", lowered.compile().as_text())
    dots = {(int(n), int(m)) for n, m in dots}
    anchors = 2 * 64 // DEVICES
    # Logits and the two products of the way back; nowhere all anchors, or all pairs.
    assert dots == {(anchors, chunk), (anchors, 5), (chunk, 5)}
