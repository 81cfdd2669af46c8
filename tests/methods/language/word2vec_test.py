"""word2vec: its updates are gensim's, its sum over pairs that of the losses, one by one."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl.knobs import window
from jssl.losses.sequence import hierarchical_softmax, negative_sampling
from jssl.method import field
from jssl.methods.language.word2vec import word2vec
from jssl.ops.word2vec import bag_of_words, huffman

headline = "loss"
KEY = jax.random.key(0)
GOLDEN = dict(np.load(Path(__file__).parents[2] / "golden" / "word2vec.npz"))
ROWS = window(6)


def corpus(seed=0, size=200):
    """Pairs of words that follow each other: 1 and 2, 3 and 4, ... in turn."""
    first = np.random.default_rng(seed).integers(0, 5, size)
    return np.stack([2 * first + 1, 2 * first + 2], 1).ravel().astype(np.int32)


def batch(n=8):
    return {"corpus": jnp.asarray(corpus()), "start": jnp.arange(0, 6 * n, 6)}


def counts():
    return np.bincount(corpus(), minlength=11)


def tiny(tx):
    rate = optax.constant_schedule(0.1 if tx else 0.05)
    how = dict(window=2, negatives=3, sample=0.0, rows=4)
    words = [f"word{i}" for i in range(11)]
    method = word2vec(counts(), 4, rate, prepare=field("tokens"), words=words, **how)
    return method, {"tokens": ROWS(batch())}


@pytest.mark.parametrize("predict", ["window", "center"])
@pytest.mark.parametrize("loss", ["negative", "hierarchical"])
@pytest.mark.parametrize("shared", [0, 3])
def test_an_update_is_that_of_gensim(predict, loss, shared):
    """gensim's sigmoid is a table in steps of 0.012; it updates after every word."""
    alpha = float(GOLDEN["alpha"])
    method = word2vec(
        GOLDEN["counts"],
        8,
        optax.constant_schedule(alpha),
        prepare=field("tokens"),
        predict=predict,
        loss=loss,
        window=1,
        negatives=3,
        shared=shared,
        power=5.0,  # all negatives are the first word
        sample=0.0,
        rows=1,
    )
    start = {k: jnp.asarray(GOLDEN[k]) for k in ("inputs", "outputs")}
    rows = {"tokens": jnp.asarray(GOLDEN["sentence"])[None]}
    state = method.init(KEY, rows)._replace(params=start)
    after, _ = jax.jit(method.step)(KEY, state, rows)
    name = f"{'skipgram' if predict == 'window' else 'cbow'}-{loss}"
    for table in ("inputs", "outputs"):
        wanted = GOLDEN[f"{name}/{table}"]
        moved = np.asarray(after.params[table] - start[table])[: len(wanted)] / alpha
        np.testing.assert_allclose(moved, wanted, atol=0.02)
        assert np.abs(wanted).max() > 1


def sums(words, v, u, reach, noisy, predict, loss):
    """The sum over all pairs of a row, word by word, by the losses."""
    size, total = len(words), 0.0
    tree = huffman(np.bincount(words, minlength=len(v)) + 1)
    for t in range(size):
        near = [s for s in range(size) if 0 < abs(s - t) <= reach[t]]
        if not near:
            continue
        if predict == "center":
            around, there = words[jnp.array(near)][None], jnp.ones((1, len(near)))
            h, wanted = bag_of_words(v, around, there), words[jnp.array([t])]
        else:
            h = jnp.repeat(v[words[t]][None], len(near), 0)
            wanted = words[jnp.array(near)]
        if loss == "negative":
            each = jnp.repeat(noisy[t][None], len(h), 0)
            total += len(h) * negative_sampling(h, u, wanted, each)
        else:
            path = [x[np.asarray(wanted)] for x in tree]
            total += len(h) * hierarchical_softmax(h, u, *map(jnp.asarray, path))
    return total, tree


@pytest.mark.parametrize("predict", ["window", "center"])
def test_a_part_descends_along_the_sum_of_the_losses_of_its_pairs(predict, monkeypatch):
    """The same draws are seen by replacing the functions that draw."""
    from jssl.methods.language import word2vec as module

    words = jnp.array([1, 2, 3, 4, 1, 2])
    noisy = jax.random.randint(KEY, (1, 6, 3), 1, 11)
    monkeypatch.setattr(module, "draw_words", lambda *_: noisy)
    how = dict(window=1, negatives=3, sample=0.0, rows=1, predict=predict)
    how = how | dict(prepare=field("tokens"))
    method = word2vec(counts(), 4, optax.constant_schedule(1.0), **how)
    state = method.init(KEY, None)
    u = jax.random.normal(KEY, state.params["outputs"].shape)
    state = state._replace(params=state.params | {"outputs": u})
    after, metrics = method.step(KEY, state, {"tokens": words[None]})

    def whole(params):
        v, u = params["inputs"], params["outputs"]
        return sums(words, v, u, [1] * 6, noisy[0], predict, "negative")[0]

    value, grads = jax.value_and_grad(whole)(state.params)
    pairs = 10 if predict == "window" else 6
    np.testing.assert_allclose(metrics["loss"], value / pairs, rtol=1e-5)
    for name, grad in grads.items():
        moved = after.params[name] - state.params[name]
        np.testing.assert_allclose(moved, -grad, atol=1e-5)


def test_shared_negatives_have_the_gradient_of_their_share():
    """With a row's negatives equal, drawing them once with a weight changes nothing."""
    same = dict(prepare=ROWS, window=1, negatives=4, sample=0.0, power=60.0)
    often = counts() + 1000 * (np.arange(11) == 3)  # all negatives are word 3
    steps = []
    for shared in (0, 2):
        rate = optax.constant_schedule(0.1)
        method = word2vec(often, 4, rate, shared=shared, **same)
        state = method.init(KEY, batch())
        for _ in range(2):
            state, _ = method.step(KEY, state, batch())
        steps.append(state.params)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), *steps)


def test_the_first_loss_is_that_of_chance():
    method, rows = tiny(None)
    _, metrics = method.step(KEY, method.init(KEY, rows), rows)
    assert metrics["loss"] <= 4 * np.log(2)  # less than (1 + k) log 2 for clashes
    assert metrics["loss"] > 3 * np.log(2)
    assert metrics["words"] == 48
    how = dict(prepare=field("tokens"), loss="hierarchical", window=2, sample=0.0, rows=8)
    method = word2vec(counts(), 4, optax.constant_schedule(0.1), **how)
    _, metrics = method.step(KEY, method.init(KEY, rows), rows)
    lengths = huffman(counts()[1:]).lengths * np.log(2)
    assert lengths.min() < metrics["loss"] < lengths.max()


def test_words_that_are_dropped_or_without_a_count_take_no_part():
    often = counts() * (np.arange(11) != 4)
    method = word2vec(often, 4, optax.constant_schedule(1.0), prepare=ROWS, sample=0.05)
    state = method.init(KEY, batch())
    for i in range(3):
        state, metrics = method.step(jax.random.fold_in(KEY, i), state, batch())
        assert metrics["words"] < 48
    assert (state.params["outputs"][4] == 0).all()
    assert (state.params["outputs"][3] != 0).any()
    text = {"corpus": jnp.full(12, 4), "start": jnp.array([0, 6])}
    assert (method.embed(state, text)["h"] == 0).all()


def test_words_that_occur_together_are_near_each_other():
    how = dict(prepare=ROWS, window=1, negatives=5, sample=0.0, rows=2)
    method = word2vec(
        counts(), 8, optax.constant_schedule(0.1), words=[f"w{i}" for i in range(11)], **how
    )
    text = {"corpus": jnp.asarray(corpus()), "start": jnp.arange(0, 384, 6)}
    state, step = method.init(KEY, text), jax.jit(method.step)
    for i in range(40):
        state, _ = step(jax.random.fold_in(KEY, i), state, text)
    v, u = state.params["inputs"], state.params["outputs"]
    scores = np.array(v @ u.T)[1:, 1:]
    pairs = scores[np.arange(0, 10, 2), np.arange(1, 10, 2)]
    assert pairs.min() > np.median(scores) + 1
    (picture,) = method.render(KEY, state, text, None).values()
    assert picture.count("\n") == 12 and picture.startswith("w")


def test_unknown_choices_and_uneven_batches_are_refused():
    make = partial(word2vec, counts(), 4, optax.constant_schedule(0.1), prepare=ROWS)
    with pytest.raises(ValueError, match="predict must be window or center, got 'cbow'"):
        make(predict="cbow")
    with pytest.raises(ValueError, match="loss must be negative or hierarchical"):
        make(loss="softmax")
    method = make(rows=3)
    with pytest.raises(ValueError, match="batch of 8 does not divide into parts of 3"):
        method.step(KEY, method.init(KEY, batch()), batch())
