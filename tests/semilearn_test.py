"""Five steps of each semi-supervised method beside semilearn's, in float64.

tests/golden/make_semilearn.py says what the steps are, and where definitions differ.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from jssl.methods.semisupervised.fixmatch import fixmatch
from jssl.methods.semisupervised.flexmatch import flexmatch, learning_status
from jssl.methods.semisupervised.freematch import freematch
from jssl.methods.semisupervised.mean_teacher import mean_teacher
from jssl.methods.semisupervised.mixmatch import mixmatch
from jssl.methods.semisupervised.pi_model import pi_model
from jssl.methods.semisupervised.pseudo_label import pseudo_label
from jssl.methods.semisupervised.uda import uda
from jssl.nets import Net
from jssl.ops.ramps import tsa_threshold
from jssl.ops.targets import distribution_alignment

FOUND = dict(np.load(Path(__file__).parent / "golden" / "semilearn.npz"))
STEPS, LABELED = FOUND["y"].shape
SIZE, CLASSES = 12, FOUND["w"].shape[1]
KEY = jax.random.key(0)
WEAK, STRONG = 0, 1  # views of a row
# Sums in float64, in another order; a step changes the weights by 1e-1.
CLOSE = dict(rtol=1e-10, atol=1e-12)


def linear():
    """x [n, d] -> logits x W; of the first of several views in `init`."""

    def apply(params, stats, x, train=False, keys={}, capture=(), method=None):
        x = x[:, 0] if x.ndim == 3 else x
        return {"logits": x @ params, "h": x}, stats

    return Net(lambda key, x: (jnp.asarray(FOUND["w"]), {}), apply)


def batch(s):
    """The rows of step s, of two views each, which are equal for labeled rows."""
    x, weak, strong = (FOUND[name][s] for name in ("x", "weak", "strong"))
    known, unknown = np.stack([x, x], 1), np.stack([weak, strong], 1)
    return {
        "labeled": {"image": known, "label": FOUND["y"][s], "index": np.arange(LABELED)},
        "unlabeled": {"image": unknown, "index": FOUND["index"][s]},
    }


def view(i):
    return lambda key, batch: batch["image"][:, i]


def strong_then_weak(key, batch):
    return batch["image"][:, ::-1]


def each_in_turn(key, batch):
    """MixMatch repeats an unlabeled row for each view: the weak one, the strong one."""
    x = batch["image"]
    turn = jnp.arange(len(x)) % 2
    turn = jnp.where(jnp.arange(len(x)) < LABELED, WEAK, turn)
    return x[jnp.arange(len(x)), turn]


def teacher_weak(key, batch):
    """Mean Teacher calls it with the second part of the step's key for the teacher."""
    own = jax.random.key_data(jax.random.split(KEY, 4)[1])
    weak = (jax.random.key_data(key) == own).all()
    return jnp.where(weak, batch["image"][:, WEAK], batch["image"][:, STRONG])


def chain():
    return optax.sgd(float(FOUND["rate"]))


VIEWS = view(WEAK), view(STRONG)
RISE = dict(weight=30.0, ramp=4)
RISEN = dict(weight=30.0, ramp=0, divisor="labeled")
FLEX = dict(size=SIZE, threshold=0.7, weight=1.5)
FREE = dict(momentum=0.2, fairness=0.3, weight=1.5)
OURS = {  # and the count of updates before the first step
    "fixmatch": (lambda net, tx: fixmatch(net, tx, *VIEWS, threshold=0.7, weight=1.5), 0),
    "flexmatch, warmup=True": (lambda net, tx: flexmatch(net, tx, *VIEWS, **FLEX), 0),
    "flexmatch, warmup=False": (
        lambda net, tx: flexmatch(net, tx, *VIEWS, warmup=False, **FLEX),
        0,
    ),
    "freematch": (lambda net, tx: freematch(net, tx, *VIEWS, **FREE), 0),
    "uda": (
        lambda net, tx: uda(net, tx, *VIEWS, threshold=0.6, temperature=1.0, weight=1.5),
        0,
    ),
    "pseudo_label": (
        lambda net, tx: pseudo_label(net, tx, view(WEAK), threshold=0.6, **RISE),
        1,
    ),
    "mixmatch": (lambda net, tx: mixmatch(net, tx, each_in_turn, alpha=0.0, **RISE), 1),
    "pi_model": (
        lambda net, tx: pi_model(net, tx, strong_then_weak, symmetric=False, **RISEN),
        0,
    ),
    "mean_teacher": (
        lambda net, tx: mean_teacher(net, tx, teacher_weak, momentum=0.5, **RISEN),
        0,
    ),
}


def weights(state):
    """W, wherever the method has it."""
    for name in ("learner", "student"):
        state = getattr(state, name, state)
    return state.params


def kept(state):
    """State between steps by semilearn's names."""
    if hasattr(state, "last"):
        return {"selected_label": state.last}
    if hasattr(state, "averages"):
        tau, p, h = state.averages
        return {"time_p": tau, "p_model": p, "label_hist": h}
    return {}


def entropy_of_targets(w, s):
    """Mean entropy of UDA's confident targets: cross entropy minus divergence."""
    q = scipy.special.softmax(FOUND["weak"][s] @ w, 1)
    return ((q.max(1) >= 0.6) * scipy.stats.entropy(q, axis=1)).mean()


@pytest.mark.parametrize("name", OURS)
def test_steps_equal_semilearns(name, x64):
    make, count = OURS[name]
    method = make(linear(), chain())
    state = method.init(KEY, batch(0))
    if count:
        state = state._replace(count=jnp.int32(count))
    step, before = jax.jit(method.step), FOUND["w"]
    for s in range(STEPS):
        theirs = {
            k.rsplit("/", 1)[1]: v for k, v in FOUND.items() if k.startswith(f"{name}/{s}/")
        }
        state, ours = step(KEY, state, batch(s))
        more = 1.5 * entropy_of_targets(before, s) if name == "uda" else 0
        np.testing.assert_allclose(ours["loss"] + more, theirs["loss"], **CLOSE)
        np.testing.assert_allclose(ours["labeled"], theirs["sup_loss"], **CLOSE)
        if "util_ratio" in theirs:
            np.testing.assert_allclose(ours["confident"], theirs["util_ratio"], **CLOSE)
        np.testing.assert_allclose(weights(state), theirs["w"], **CLOSE)
        assert np.abs(theirs["w"] - before).max() > 1e-3
        for part, value in kept(state).items():
            np.testing.assert_allclose(value, theirs[part], **CLOSE, err_msg=part)
        if "classwise_acc" in theirs:
            beta = learning_status(state.last, CLASSES, "True" in name)
            np.testing.assert_allclose(beta, theirs["classwise_acc"], **CLOSE)
        before = theirs["w"]


def test_every_method_of_the_file_is_compared_and_masks_are_no_trifle():
    steps = {name.split("/")[0] for name in FOUND if name.count("/") == 2}
    assert steps == set(OURS)
    for name in steps:
        shares = [v for k, v in FOUND.items() if k.startswith(f"{name}/") and "util" in k]
        assert not shares or any(0 < x < 1 for x in shares), name


@pytest.mark.parametrize("course", ["linear", "exp", "log"])
def test_annealing_rises_as_semilearns(course, x64):
    ours = [tsa_threshold(i, 1000, CLASSES, course) for i in FOUND["uda/progress"]]
    np.testing.assert_allclose(ours, FOUND[f"uda/{course}"], rtol=1e-12)


def test_alignment_is_semilearns(x64):
    p, target = (jnp.asarray(FOUND[f"alignment/{name}"]) for name in ("p", "target"))
    ours = distribution_alignment(p, p.mean(0), target)
    np.testing.assert_allclose(ours, FOUND["alignment/aligned"], rtol=1e-12)
