"""data2vec: what teacher and student see, whose layers are the targets, and who follows."""

from functools import cache, partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from toys import images, jitted

from jssl.learner import descend, fresh
from jssl.methods.masked.data2vec import data2vec
from jssl.models import vit
from jssl.models.data2vec import Data2vec, TextData2vec
from jssl.models.transformer import Transformer
from jssl.nets import Net
from jssl.ops.block_masking import block_mask
from jssl.ops.patches import patchify
from jssl.weights.language import place
from jssl.weights.names import imported

headline = "loss"
KEY = jax.random.key(3)
SHARED = "encoder/embedding"


def network():
    return jitted(Data2vec(vit.Encoder(8, 3, 2, 2)))


def hide(key, x):
    mask = block_mask(key, len(x), (4, 4), 9, least=2)
    return (x, mask), mask


def method(tx, momentum=0.75):
    return data2vec(network(), tx, hide, top=2, momentum=momentum, shared=SHARED)


def tiny(tx):
    return method(tx or optax.adam(3e-3), 0.99), {"image": images()}


@cache
def moved():
    """The states before and after a step of descent, and its metrics."""
    m = method(optax.sgd(0.5))
    before = jax.jit(m.init)(jax.random.key(9), {"image": images()})
    teacher = jax.tree.map(lambda w: 0.9 * w + 0.05, before.teacher.params)
    before = before._replace(teacher=before.teacher._replace(params=teacher))
    return before, *jax.jit(m.step)(KEY, before, {"image": images()})


@cache
def masked():
    return jax.jit(lambda key: hide(key, images())[1])(jax.random.split(KEY)[1])


@cache
def targets():
    """By loops over tokens: the last two of three blocks, without the final norm."""
    params = moved()[0].teacher.params["encoder"]
    out, found = jax.jit(
        partial(vit.Encoder(8, 3, 2, 2, final_norm=False).apply, mutable=["layers"])
    )({"params": {k: v for k, v in params.items() if k != "norm"}}, images())
    layers = [np.asarray(x, np.float64).reshape(8, 16, 8) for x in found["layers"]["tap"]]
    np.testing.assert_allclose(layers[-1], out[:, 1:], rtol=1e-5)
    assert len(layers) == 3

    def normalized(x):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5)

    y = np.zeros((8, 16, 8))
    for i, j in np.ndindex(8, 16):
        y[i, j] = normalized(
            (normalized(layers[1][i, j]) + normalized(layers[2][i, j])) / 2
        )
    return y


def test_the_loss_is_that_of_loops_over_masked_patches():
    before, _, metrics = moved()
    mask, y = np.asarray(masked()), targets()
    p, _ = network().apply(before.student.params, {}, images(), masked(), train=True)
    p = np.asarray(p, np.float64)
    total = 0
    for i, j in zip(*np.nonzero(mask), strict=True):
        for x in p[i, j] - y[i, j]:
            total += x**2 / 4 if abs(x) < 2 else abs(x) - 1
    np.testing.assert_allclose(metrics["loss"], total / mask.sum() / 8**0.5, rtol=1e-5)
    for name, x in {"target_std": y, "prediction_std": p}.items():
        np.testing.assert_allclose(metrics[name], x[mask].std(0).mean(), rtol=1e-5)


def test_the_student_descends_with_the_teacher_held_fixed():
    before, after, _ = moved()
    y = jnp.asarray(targets(), jnp.float32)

    @jax.jit
    @jax.grad
    def paper(params):
        p, _ = network().apply(params, {}, images(), masked(), train=True)
        error = optax.huber_loss(p, y, delta=2.0).sum(-1) / 2 / 8**0.5
        return (error * masked()).sum() / masked().sum()

    wanted = descend(optax.sgd(0.5), before.student, paper(before.student.params)).params
    chex.assert_trees_all_close(after.student.params, wanted, rtol=1e-4, atol=1e-6)


def test_no_gradient_reaches_the_teacher():
    state, m = moved()[0], method(optax.sgd(0.5))

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        other = state._replace(teacher=state.teacher._replace(params=params))
        return m.step(KEY, other, {"image": images()})[1]["loss"]

    value, grads = loss(state.teacher.params)
    assert not any(np.asarray(g).any() for g in jax.tree.leaves(grads))
    assert (
        abs(value - loss(jax.tree.map(lambda w: w + 0.3, state.teacher.params))[0]) > 1e-4
    )


def test_the_teacher_is_an_average_but_for_shared_weights():
    before, after, _ = moved()
    old, new = before.teacher.params["encoder"], after.student.params["encoder"]
    found = after.teacher.params["encoder"]
    chex.assert_trees_all_equal(found["embedding"], new["embedding"])
    for name in ("block0", "block2", "norm", "cls"):
        wanted = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, old[name], new[name])
        chex.assert_trees_all_close(found[name], wanted, rtol=1e-5, atol=1e-7)
    assert "predictor" not in after.teacher.params
    assert after.count == 1


def test_momentum_may_follow_a_schedule_of_updates():
    m = method(optax.sgd(0.5), momentum=lambda count: jnp.where(count < 1, 1.0, 0.0))
    step, state = jax.jit(m.step), moved()[0]
    one, _ = step(KEY, state, {"image": images()})
    chex.assert_trees_all_equal(
        one.teacher.params["encoder"]["block0"], state.teacher.params["encoder"]["block0"]
    )
    two, _ = step(KEY, one, {"image": images()})
    chex.assert_trees_all_close(
        two.teacher.params["encoder"], two.student.params["encoder"], rtol=1e-6
    )


def test_the_student_does_not_see_masked_pixels():
    params, mask = moved()[0].student.params, masked()
    weight = jax.random.normal(KEY, (8, 16, 8))
    slope = jax.jit(
        jax.grad(lambda x: (weight * network().apply(params, {}, x, mask)[0]).sum())
    )(images())
    felt = np.abs(np.asarray(patchify(slope, 2))).sum(-1) > 0
    np.testing.assert_array_equal(felt, ~np.asarray(mask))


def test_words_are_learned_as_pictures_are():
    """The method knows neither patches nor images: a network of numbers, and its mask."""
    table = jax.random.normal(KEY, (5, 4))

    def apply(params, stats, x, mask=None, train=False, keys={}, method=None):
        h = params["table"][jnp.where(mask, 0, x) if method is None else x]
        return ({"h": h.mean(1), "layers": (h, 2 * h)} if method else h), stats

    net = Net(lambda key, *x: ({"table": table}, {}), apply)
    words = jnp.arange(32).reshape(8, 4) % 5
    some = lambda key, x: ((x, x == 1), x == 1)
    m = data2vec(net, optax.sgd(0.1), some, top=2, prepare=lambda batch: batch["tokens"])
    state = m.init(KEY, {"tokens": words})
    after, metrics = m.step(KEY, state, {"tokens": words})
    assert metrics["loss"] > 0
    changed = np.any(after.student.params["table"] != table, axis=1)
    np.testing.assert_array_equal(changed, [True, False, False, False, False])


def test_more_layers_than_there_are_are_refused():
    m = data2vec(network(), optax.sgd(0.1), hide, top=4)
    with pytest.raises(ValueError, match="top must be 1 to 3 layers, got 4"):
        jax.eval_shape(m.init, KEY, {"image": images()})


GOLDEN = dict(np.load(Path(__file__).parents[2] / "golden" / "data2vec_text.npz"))
OF_TEXT = TextData2vec(Transformer(30, 10, 12, 3, 3, kinds=2))
SHARED_TEXT = "encoder/(words|positions|segments|norm0)"


def of_text(tx, shared="", momentum=0.5):
    """The method on the golden tokens, with their masks."""
    words = lambda key, x: ((jnp.asarray(GOLDEN["hidden"]),), jnp.asarray(GOLDEN["mask"]))
    return data2vec(
        jitted(OF_TEXT),
        tx,
        words,
        top=2,
        momentum=momentum,
        beta=0.5,
        shared=shared,
        prepare=lambda batch: batch["tokens"],
    )


def golden(kind):
    """Weights of torch, or their gradients, as our params: {"encoder", "predictor"}."""
    tokens = jnp.asarray(GOLDEN["tokens"])
    shapes = jax.eval_shape(OF_TEXT.init, KEY, tokens)["params"]["encoder"]
    flat = flatten_dict({"params": {"encoder": shapes}})
    arrays = {k.partition("/")[2]: x for k, x in GOLDEN.items() if k.startswith(f"{kind}/")}
    leaves = imported({k: x.shape for k, x in flat.items()}, place("bert"), arrays, "")
    found = unflatten_dict(leaves)["params"]
    if kind == "teacher":
        return found
    head = {"student": "head", "grad": "head_grad"}[kind]
    layers = {"fc1": 0, "fc2": 2}
    return found | {
        "predictor": {
            name: {
                "kernel": GOLDEN[f"{head}/{i}.weight"].T,
                "bias": GOLDEN[f"{head}/{i}.bias"],
            }
            for name, i in layers.items()
        }
    }


@cache
def text_step(shared=""):
    """The state of the golden weights, and the result of a step of plain descent."""
    m = of_text(optax.sgd(1.0), shared)
    batch = {"tokens": jnp.asarray(GOLDEN["tokens"])}
    state = m.init(KEY, batch)
    student = fresh(optax.sgd(1.0), golden("student"), state.student.stats)
    state = state._replace(
        student=student, teacher=state.teacher._replace(params=golden("teacher"))
    )
    return state, *jax.jit(m.step)(KEY, state, batch)


def test_loss_and_gradients_on_text_are_those_of_torch_and_transformers():
    before, after, metrics = text_step()
    np.testing.assert_allclose(metrics["loss"], GOLDEN["loss"], rtol=1e-5)
    grads = jax.tree.map(jnp.subtract, before.student.params, after.student.params)
    chex.assert_trees_all_close(grads, golden("grad"), atol=1e-5)


def test_the_teacher_of_text_has_the_embeddings_of_the_student():
    before, after, _ = text_step(SHARED_TEXT)
    old, new = before.teacher.params["encoder"], after.student.params["encoder"]
    found = after.teacher.params["encoder"]
    for name in ("words", "positions", "segments", "norm0"):
        chex.assert_trees_all_equal(found[name], new[name])
    for name in ("block0", "block2"):
        wanted = jax.tree.map(lambda a, b: (a + b) / 2, old[name], new[name])
        chex.assert_trees_all_close(found[name], wanted, rtol=1e-5, atol=1e-6)
    assert "predictor" not in after.teacher.params


def test_the_teacher_reads_the_whole_text_and_the_student_the_masked_one():
    tokens = GOLDEN["tokens"]
    other = jnp.asarray(np.where(GOLDEN["mask"], 8, tokens))
    m, state = of_text(optax.sgd(0.0)), text_step()[0]
    step = jax.jit(m.step)
    values = [step(KEY, state, {"tokens": x})[1] for x in (jnp.asarray(tokens), other)]
    assert values[0]["prediction_std"] == values[1]["prediction_std"]
    assert abs(values[0]["loss"] - values[1]["loss"]) > 1e-3
