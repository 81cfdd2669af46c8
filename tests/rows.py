"""Functions of arrays of rows: every public loss, and the ops in which samples meet.

The losses that gather are those of `losses/sharded_test.py`, read from its file.
"""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jssl import losses
from jssl.losses import energy, redundancy
from jssl.ops import assignment, diffusion, divergences, kmeans, masking, mixing, targets
from jssl.ops.chunked import row_logsumexp
from jssl.ops.gibbs import RBM, gibbs
from jssl.ops.memory import (
    Ensemble,
    Queue,
    bank_read,
    bank_write,
    ensemble_read,
    ensemble_write,
    nearest,
    queue_push,
)
from jssl.ops.sinkhorn import sinkhorn
from jssl.ops.vectors import dots, log_mean_exp, unit
from jssl.ops.whitening import pca_whiten

SHARDED = Path(__file__).with_name("losses") / "sharded_test.py"
KEY = jax.random.key(0)
N = 8
RANDOM = np.random.default_rng(0)
X, Y, Z = jnp.asarray(RANDOM.normal(size=(3, N, 5)), jnp.float32)
TOKENS = jnp.asarray(RANDOM.normal(size=(2, N, 4, 5)), jnp.float32)
IMAGES = jnp.asarray(RANDOM.uniform(size=(2, N, 2, 2, 5)), jnp.float32)
LABELS = jnp.arange(N) % 3
PAIRS = jnp.stack([LABELS, LABELS + 1], 1)
BITS = (X > 0).astype(jnp.float32)
TABLE = jnp.asarray(RANDOM.normal(size=(9, 5)), jnp.float32)
MACHINE = RBM(TABLE[:5, :3], TABLE[6], TABLE[7, :3])
PAST = Ensemble(TABLE, jnp.arange(9))
LEVELS = diffusion.linear_schedule(20)


def terms(*values):
    """The sum of several values."""
    return sum(x.sum() for x in jax.tree.leaves(values))


# name: (function of arrays of rows, the arrays); weights are replicated constants.
CASES = {
    "average_activation": (lambda x: losses.average_activation(x).sum(), (X,)),
    "bernoulli_cross_entropy": (losses.bernoulli_cross_entropy, (X, BITS)),
    "cpc_per_step": (
        lambda z: losses.cpc_per_step(z, z, TABLE[None, :5]).sum(),
        TOKENS[:1],
    ),
    "cd_gradients": (lambda v: terms(losses.cd_gradients(KEY, MACHINE, v)), (BITS,)),
    "pcd_gradients": (
        lambda v, chain: terms(losses.pcd_gradients(KEY, MACHINE, v, chain)),
        (BITS, 1 - BITS),
    ),
    "free_energy_difference": (
        lambda v, m: losses.free_energy_difference(MACHINE, v, m),
        (BITS, 1 - BITS),
    ),
    "negative_pseudo_likelihood": (
        lambda v: losses.negative_pseudo_likelihood(MACHINE, v),
        (BITS,),
    ),
    "stochastic_pseudo_likelihood": (
        lambda v: losses.stochastic_pseudo_likelihood(KEY, MACHINE, v),
        (BITS,),
    ),
    "data2vec_targets": (
        lambda x: losses.data2vec_targets(x[None]).sum(),
        (TOKENS[0],),
    ),
    "dim_prior": (lambda a, b: terms(losses.dim_prior(a, b)), (X, Y)),
    "emphasized_squared_error": (losses.emphasized_squared_error, (X, Y, BITS)),
    "emphasized_cross_entropy": (losses.emphasized_cross_entropy, (X, BITS, BITS)),
    "pseudo_label": (lambda x: losses.pseudo_label(x, 0.3)[0], (X,)),
    "fixmatch": (lambda x, y: losses.fixmatch(x, y, 0.3)[0], (X, Y)),
    "uda": (lambda x, y: losses.uda(x, y, 0.3)[0], (X, Y)),
    "ict": (
        lambda x, t: losses.ict(KEY, lambda x: x @ TABLE[:5], x, t),
        (X, Y),
    ),
    "mixmatch": (
        lambda x, p, u, q: losses.mixmatch(x, p, u, q, 3.0)[0],
        (X, jax.nn.softmax(Y), Z, jax.nn.softmax(X)),
    ),
    "gradient_penalty": (
        lambda x, y: losses.gradient_penalty(KEY, lambda x: jnp.tanh(x).sum(-1), x, y),
        (X, Y),
    ),
    "r1_penalty": (lambda x: losses.r1_penalty(lambda x: jnp.tanh(x).sum(-1), x), (X,)),
    "hierarchical_softmax": (
        lambda h, c: losses.hierarchical_softmax(h, TABLE, c % 2, c, c[:, 1]),
        (X, PAIRS),
    ),
    "negative_sampling": (
        lambda h, w, n: losses.negative_sampling(h, TABLE, w, n),
        (X, LABELS, PAIRS),
    ),
    "ibot": (
        lambda s, t: losses.ibot(
            s, t, LABELS[:, None] >= jnp.arange(4)[None] - 1, jnp.zeros(5)
        ),
        (TOKENS[0], TOKENS[1]),
    ),
    "vat": (lambda x: losses.vat(KEY, jnp.tanh, x, 1.0), (X,)),
    "vat_perturbation": (
        lambda x: terms(losses.vat_perturbation(KEY, jnp.tanh, x, 1.0)),
        (X,),
    ),
    "kl_hessian_vector_product": (
        lambda x, d: terms(losses.kl_hessian_vector_product(jnp.tanh, x, d)),
        (X, Y),
    ),
    "least_squares_generator": (losses.least_squares_generator, (X,)),
    "matching_aware_discriminator": (
        losses.matching_aware_discriminator,
        (X, X[::-1], X * X),
    ),
    "minimax_generator": (losses.minimax_generator, (X,)),
    "hinge_generator": (losses.hinge_generator, (X,)),
    "wasserstein_generator": (losses.wasserstein_generator, (X,)),
    "nce": (lambda u, v, w: losses.nce(u, v, w, 2.0, 20), (X, Y, TOKENS[0])),
    "nce_log_z": (lambda u, v, w: losses.nce_log_z(u, v, w, 20), (X, Y, TOKENS[0])),
    "negative_iwae": (
        lambda x, z, m: losses.negative_iwae(x.T, z.swapaxes(0, 1), m, m),
        (X[:, :4], TOKENS[0], X),
    ),
    "next_sentence": (losses.next_sentence, (X[:, :2], LABELS % 2)),
    "memory_decoupling": (
        lambda a, b: losses.memory_decoupling(a[:, None], b[:, None]),
        IMAGES,
    ),
    "depth_error": (losses.depth_error, IMAGES[..., 0]),
    "relative_depth": (
        lambda x, y: losses.relative_depth(x, y, ~(y <= 0.2)),
        IMAGES[..., 0],
    ),
    "mask_cross_entropy": (
        lambda x, y: losses.mask_cross_entropy(x, y, ~(y <= 0.2)),
        IMAGES[..., 0],
    ),
    "edge_cross_entropy": (
        lambda x, y: losses.edge_cross_entropy(x, jnp.round(y)),
        IMAGES[..., 0],
    ),
    "normal_error": (losses.normal_error, IMAGES[..., :3]),
    "motion_cross_entropy": (
        lambda x, y, labels: losses.motion_cross_entropy([x, y], labels),
        (X, Y, PAIRS),
    ),
    "triplet_ranking": (
        lambda x, y: losses.triplet_ranking(KEY, jnp.stack([x, y], 1)),
        (X, Y),
    ),
    "pointer_nll": (
        lambda y, c: losses.pointer_nll(jax.nn.softmax(y), c[:, None].repeat(4, 1)),
        (TOKENS[0], LABELS),
    ),
    "proximal": (losses.proximal, (X, Y)),
    "rebalanced_cross_entropy": (
        lambda x, y: losses.rebalanced_cross_entropy(x, jax.nn.softmax(y), jnp.arange(5.0)),
        (IMAGES[0], IMAGES[1]),
    ),
    "rebalancing_weights": (
        lambda x: losses.rebalancing_weights(jax.nn.softmax(x.mean(0))).sum(),
        (X,),
    ),
    "simple_diffusion": (
        lambda o, i, e: losses.simple_diffusion(LEVELS, o, Y, i, e),
        (X, LABELS, Z),
    ),
    "variational_diffusion": (
        lambda o, i: losses.variational_diffusion(LEVELS, o, Y, i, Z, gray_levels=None),
        (X, LABELS),
    ),
    "update_center": (lambda x: losses.update_center(jnp.ones(5), x).sum(), (X,)),
    "vicreg_terms": (lambda a, b: terms(losses.vicreg_terms(a, b)), (X, Y)),
    "w_mse, in parts": (lambda a, b: losses.w_mse(a, b, 4, KEY, 0.1), (X, Y)),
}
OPS = {
    "sinkhorn": (lambda x: sinkhorn(x, 0.5, 4), (X,)),
    "row_logsumexp": (lambda x, y: row_logsumexp(x, y, chunk=3), (X, Y)),
    "dots": (dots, (X, Y)),
    "unit": (unit, (X,)),
    "log_mean_exp": (log_mean_exp, (X,)),
    "whiten": (lambda x: redundancy.whiten(x, 0.1), (X,)),
    "cross_correlation": (redundancy.cross_correlation, (X, Y)),
    "pca_whiten": (lambda x: pca_whiten(x, 3), (X,)),
    "queue_push": (lambda x: queue_push(Queue(TABLE, jnp.int32(7)), x), (X,)),
    "nearest": (lambda x: nearest(TABLE, x), (X,)),
    "bank_read": (lambda i: bank_read(TABLE, i), (LABELS,)),
    "bank_write": (lambda i, x: bank_write(TABLE, i, x), (LABELS, X)),
    "ensemble_read": (lambda i: ensemble_read(PAST, i), (LABELS,)),
    "ensemble_write": (lambda i, x: ensemble_write(PAST, i, x), (LABELS, X)),
    "kmeans": (lambda x: kmeans.kmeans(KEY, x, 3, 4), (X,)),
    "kmeans++": (lambda x: kmeans.kmeans(KEY, x, 3, 4, "++", chunk=3), (X,)),
    "nearest_centroid": (lambda x: kmeans.nearest_centroid(x, TABLE), (X,)),
    "split_into_empty": (
        lambda x, i: kmeans.split_into_empty(KEY, x, TABLE[:4], i),
        (X, LABELS),
    ),
    "hungarian": (assignment.hungarian, (X[:, :1] * Y[:, 0],)),
    "nat_reassign": (
        lambda x, i: assignment.nat_reassign(x, TABLE, i),
        (X, jnp.arange(N)),
    ),
    "mixup": (lambda x, y: mixing.mixup(KEY, x, y, 0.5), (X, Y)),
    "mixmatch_batch": (
        lambda x, p, u, q: mixing.mixmatch_batch(KEY, x, p, u, q),
        (X, Y, TOKENS[0], Z),
    ),
    "interleave": (lambda x, y: mixing.interleave([x, y]), (X, Y)),
    "guess_labels": (lambda x: targets.guess_labels(jax.nn.softmax(x)), (TOKENS[0],)),
    "distribution_alignment": (
        lambda x: targets.distribution_alignment(x, jnp.ones(5), jnp.ones(5)),
        (BITS,),
    ),
    "kl_divergence": (divergences.kl_divergence, (X, Y)),
    "take_tokens": (masking.take_tokens, (TOKENS[0], PAIRS)),
    "restore_tokens": (
        lambda x, i: masking.restore_tokens(x, jnp.zeros((1, 1, 5)), i),
        (TOKENS[0], jnp.argsort(jnp.concatenate([X, Y], 1))),
    ),
    "gibbs": (lambda v: gibbs(KEY, MACHINE, v, 2), (BITS,)),
    "moments": (lambda v: energy.moments(MACHINE, v), (BITS,)),
}


def sharded_cases():
    spec = importlib.util.spec_from_file_location("sharded_test", SHARDED)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SHARDED_CASES = sharded_cases()
