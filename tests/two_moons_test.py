"""Two moons: semi-supervised methods beside the supervised network, by their own steps.

Six labeled points, one in each third of either moon, 500 unlabeled points with noise of
0.1, and a network of three layers of 32 units. The supervised network draws its border
between the six; a method that learns from the unlabeled points draws it between the moons.
Accuracies are means over five draws of points, weights and noise, on a thousand new points,
after 600 steps of Adam whose rate falls from 0.02 along a cosine. Inputs have noise of 0.1,
except for VAT, which finds its own, and for the weak and strong views of FixMatch and its
kin. The supervised network has 0.89, in twenty other draws 0.90. Gains with 95 % intervals,
paired, and what is left at weight 0, where every test fails:

    method                      accuracy  bar    twenty others  gain           weight 0
    pi_model                    0.99      0.96   0.98           0.089 +- 0.023  0.90
    temporal_ensembling         0.98      0.96   0.97           0.080 +- 0.022  0.89
    vat                         1.00      0.96   0.99           0.098 +- 0.023  0.85
    mean_teacher                0.99      0.96   0.99           0.093 +- 0.022  0.89
    fixmatch                    0.97      0.95   0.96           0.067 +- 0.024  0.86
    flexmatch                   0.99      0.96   0.98           0.085 +- 0.022  0.86
    freematch                   0.98      0.96   0.98           0.080 +- 0.022  0.86
    uda                         0.99      0.96   0.98           0.088 +- 0.023  0.86
    mixmatch                    0.96      0.94   0.96           0.068 +- 0.024  0.91
    interpolation_consistency   0.93      0.91   0.93           0.037 +- 0.020  0.89

Weights are constant from the first step, and teachers are young (momentum 0.8; at 0.99
mean_teacher had 0.95): a border that is certain of itself does not move any more. Points
between two of one moon lie outside of it, or in the other, so that mixing costs. MixMatch
therefore has mixing coefficients near 0 and 1 (alpha 0.02) and does not sharpen; at alpha
0.1 it had 0.92. Interpolation consistency, which is mixing alone, is better than the
supervised network, but was nowhere above 0.935 at this noise, with alphas of 0.03 to 1,
weights of 1 to 30 and momentum of 0.8 and 0.9. With noise of 0.2 and 0.3 it reaches 0.945,
but so does the supervised network (0.94 and 0.95).

Pseudo-labels and entropy minimization compare no two views of a point: at thresholds of 0
and 0.95, or entropy weights of 0.1 to 1, they had 0.90 to 0.91 in the twenty draws, and are
left out. ReMixMatch and S4L rotate images.
"""

from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from jssl import nets
from jssl.methods.semisupervised.fixmatch import fixmatch
from jssl.methods.semisupervised.flexmatch import flexmatch
from jssl.methods.semisupervised.freematch import freematch
from jssl.methods.semisupervised.interpolation_consistency import interpolation_consistency
from jssl.methods.semisupervised.mean_teacher import mean_teacher
from jssl.methods.semisupervised.mixmatch import mixmatch
from jssl.methods.semisupervised.pi_model import pi_model
from jssl.methods.semisupervised.temporal_ensembling import temporal_ensembling
from jssl.methods.semisupervised.uda import uda
from jssl.methods.semisupervised.vat import vat
from jssl.methods.transfer.supervised import supervised
from jssl.models.dense import Dense
from jssl.models.heads import Classifier

DRAWS, STEPS = 5, 600
LABELED, UNLABELED, TESTED, BATCH = 6, 500, 1000, 64


def moons(key, n):
    """n points of two half circles in turn; of the first six, one in each third of each."""
    along, around = jax.random.split(key)
    label = jnp.arange(n) % 2
    t = jax.random.uniform(along, (n,))
    thirds = (t[:LABELED] + jnp.arange(LABELED) // 2) / 3
    t = jnp.pi * t.at[:LABELED].set(thirds)
    upper = jnp.stack([jnp.cos(t), jnp.sin(t)], 1) - jnp.array([0.5, 0.25])
    x = jnp.where(label[:, None] == 0, upper, -upper)
    x += 0.1 * jax.random.normal(around, x.shape)
    return {"image": x, "label": label, "index": jnp.arange(n)}


def noisy(deviation):
    """One view of each point."""

    def augment(key, batch):
        x = batch["image"]
        return x + deviation * jax.random.normal(key, x.shape)

    return augment


def two_noisy(key, batch):
    x = jnp.stack([batch["image"]] * 2, 1)
    return x + 0.1 * jax.random.normal(key, x.shape)


NOISY = noisy(0.1)
VIEWS = noisy(0.05), noisy(0.2)  # weak and strong
HIDDEN = Dense((32, 32, 32), nn.relu, nn.relu, nn.initializers.lecun_normal())
NET = nets.linen(Classifier(HIDDEN, 2))
AT_ONCE = dict(ramp=0, divisor="labeled")
METHODS = {  # with the accuracy to reach
    "pi_model": (partial(pi_model, augment=two_noisy, weight=5.0, **AT_ONCE), 0.96),
    "temporal_ensembling": (
        partial(
            temporal_ensembling,
            augment=NOISY,
            size=UNLABELED,
            weight=10.0,
            decay=0.3,
            **AT_ONCE,
        ),
        0.96,
    ),
    "vat": (
        partial(vat, augment=noisy(0.0), epsilon=0.2, weight=3.0, entropy_weight=0.3),
        0.96,
    ),
    "mean_teacher": (
        partial(mean_teacher, augment=NOISY, weight=20.0, momentum=0.8, **AT_ONCE),
        0.96,
    ),
    "fixmatch": (partial(fixmatch, weak=VIEWS[0], strong=VIEWS[1]), 0.95),
    "flexmatch": (
        partial(flexmatch, weak=VIEWS[0], strong=VIEWS[1], size=UNLABELED),
        0.96,
    ),
    "freematch": (
        partial(freematch, weak=VIEWS[0], strong=VIEWS[1], momentum=0.99),
        0.96,
    ),
    "uda": (partial(uda, weak=VIEWS[0], strong=VIEWS[1], temperature=1.0), 0.96),
    "mixmatch": (
        partial(mixmatch, augment=NOISY, weight=20.0, ramp=0, temperature=1.0, alpha=0.02),
        0.94,
    ),
    "interpolation_consistency": (
        partial(interpolation_consistency, augment=NOISY, weight=2.0, ramp=0, momentum=0.8),
        0.91,
    ),
}
# On CPUs mixing coefficients are drawn one after another; MixMatch has one for every view.
ROWS = {"mixmatch": 24}


def accuracies(make, rows=BATCH, draws=DRAWS, seed=0):
    """Accuracies on new points, [draws], after training on `rows` unlabeled ones a step."""
    method = make(NET, optax.adam(optax.cosine_decay_schedule(0.02, STEPS)))

    def one(key):
        data, start, steps, new = jax.random.split(key, 4)
        points = moons(data, UNLABELED)
        labeled = jax.tree.map(lambda x: x[:LABELED], points)
        unlabeled = {name: points[name] for name in ("image", "index")}

        def batch(key):
            order = jax.random.permutation(key, UNLABELED)[:rows]
            some = jax.tree.map(lambda x: x[order], unlabeled)
            # the supervised network reads the batch, the others its two parts
            return labeled | {"labeled": labeled, "unlabeled": some}

        def step(state, key):
            return method.step(key, state, batch(key))[0], None

        state = method.init(start, batch(start))
        state, _ = lax.scan(step, state, jax.random.split(steps, STEPS))
        tested = moons(new, TESTED)
        out = method.embed(state, tested)
        return (out["logits"].argmax(1) == tested["label"]).mean()

    keys = jax.random.split(jax.random.key(seed), draws)
    return np.asarray(jax.jit(jax.vmap(one))(keys))


@cache
def of_six_labels():
    return accuracies(partial(supervised, classes=2, augment=NOISY))


def test_six_labels_alone_do_not_tell_the_moons_apart():
    assert 0.85 < of_six_labels().mean() < 0.92


@pytest.mark.parametrize("name", METHODS)
def test_unlabeled_points_draw_the_border_between_the_moons(name):
    make, bar = METHODS[name]
    found = accuracies(make, ROWS.get(name, BATCH))
    assert found.mean() >= bar, found
    assert (found - of_six_labels()).mean() >= 0.02
