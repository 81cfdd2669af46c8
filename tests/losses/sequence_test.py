import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import strategies as st

from jssl.losses.sequence import (
    causal_lm,
    hierarchical_softmax,
    masked_lm,
    negative_sampling,
    next_sentence,
    token_cross_entropy,
)
from jssl.ops.word2vec import bag_of_words, huffman

V = 5


@pytest.fixture
def text():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 6, V)) * 2
    return logits, rng.integers(0, V, (4, 6)), rng.integers(0, 2, (4, 6))


@pytest.fixture
def words():
    """Vectors of 3 windows, output vectors of 5 words, right words and wrong ones."""
    rng = np.random.default_rng(0)
    h, outputs = rng.normal(size=(3, 4)), rng.normal(size=(V, 4))
    negatives = np.array([[1, 2, 0], [4, 4, 2], [0, 0, 1]])  # some of them right
    return h, outputs, np.array([0, 1, 3]), negatives


def in_float64(function, *arrays, **options):
    with jax.enable_x64(True):
        return np.asarray(function(*map(jnp.asarray, arrays), **options))


def nats(logits, targets):
    log_p = scipy.special.log_softmax(logits, axis=-1)
    return -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]


def test_language_models_are_scored_on_the_tokens_that_count(text):
    logits, tokens, mask = text
    marked = mask.astype(bool)
    wanted = nats(logits, tokens)[marked].mean()
    np.testing.assert_allclose(in_float64(masked_lm, *text), wanted)
    np.testing.assert_allclose(in_float64(token_cross_entropy, *text), wanted)
    wanted = nats(logits, tokens).mean()
    loss = in_float64(token_cross_entropy, logits, tokens)
    np.testing.assert_allclose(loss, wanted)


def test_a_causal_model_is_held_against_the_next_token(text):
    logits, tokens, mask = text
    ahead = nats(logits[:, :-1], tokens[:, 1:])
    np.testing.assert_allclose(in_float64(causal_lm, logits, tokens), ahead.mean())
    wanted = ahead[mask[:, 1:].astype(bool)].mean()
    np.testing.assert_allclose(in_float64(causal_lm, *text), wanted)


def test_label_smoothing_mixes_the_target_with_the_uniform(text):
    logits, tokens, mask = text
    smooth = 0.9 * np.eye(V)[tokens] + 0.1 / V
    cross = -(smooth * scipy.special.log_softmax(logits, axis=-1)).sum(-1)
    loss = in_float64(token_cross_entropy, *text, label_smoothing=0.1)
    np.testing.assert_allclose(loss, cross[mask.astype(bool)].mean())


def test_tokens_that_do_not_count_carry_no_gradient(text):
    logits, tokens, mask = map(jnp.asarray, text)
    grad = np.asarray(jax.grad(masked_lm)(logits.astype(jnp.float32), tokens, mask))
    assert not grad[text[2] == 0].any()
    assert grad[text[2] == 1].any(axis=-1).all()
    grad = np.asarray(jax.grad(causal_lm)(logits.astype(jnp.float32), tokens))
    assert not grad[:, -1].any()


def test_next_sentence_is_a_cross_entropy_over_two():
    logits = np.random.default_rng(0).normal(size=(4, 2))
    labels = np.array([0, 1, 1, 0])
    loss = in_float64(next_sentence, logits, labels)
    np.testing.assert_allclose(loss, nats(logits, labels).mean())


def test_a_new_bert_costs_log_v_and_log_two():
    tokens = jnp.zeros((2, 8), int)
    loss = masked_lm(jnp.zeros((2, 8, 30)), tokens, jnp.ones((2, 8)))
    loss += next_sentence(jnp.zeros((2, 2)), jnp.array([0, 1]))
    np.testing.assert_allclose(loss, np.log(30) + np.log(2), rtol=1e-6)


def test_negative_sampling_is_a_loop_that_skips_the_word_itself(words):
    h, outputs, right, negatives = words
    total = 0.0
    for i in range(3):
        total -= scipy.special.log_expit(outputs[right[i]] @ h[i])
        for word in negatives[i]:
            if word != right[i]:
                total -= scipy.special.log_expit(-outputs[word] @ h[i])
    np.testing.assert_allclose(in_float64(negative_sampling, *words), total / 3)


def test_a_window_is_its_pairs_with_the_negatives_of_the_center(words):
    h, outputs, _, negatives = words
    window = np.array([[0, 4, 1], [1, 2, 2], [3, 0, 0]])
    mask = np.array([[1, 0, 1], [1, 1, 1], [0, 0, 0]])  # the last has no neighbour
    at, place = np.nonzero(mask)
    pairs = in_float64(negative_sampling, h[at], outputs, window[at, place], negatives[at])
    loss = in_float64(negative_sampling, h, outputs, window, negatives, mask)
    np.testing.assert_allclose(loss, pairs, rtol=1e-12)
    whole = in_float64(negative_sampling, h, outputs, window, negatives)
    ones = np.ones((3, 3), bool)
    np.testing.assert_array_equal(
        whole, in_float64(negative_sampling, h, outputs, window, negatives, ones)
    )
    nothing = in_float64(negative_sampling, h, outputs, window, negatives, 0 * mask)
    assert nothing == 0


def test_a_gradient_step_is_the_update_of_the_c_code(words):
    h, outputs, right, negatives = words
    vector, table, rate = h[0].copy(), outputs.copy(), 0.025
    error = np.zeros_like(vector)
    for word, label in [(right[0], 1), *((n, 0) for n in negatives[0])]:
        if label == 0 and word == right[0]:
            continue
        g = (label - scipy.special.expit(vector @ outputs[word])) * rate
        error += g * outputs[word]
        table[word] += g * vector
    with jax.enable_x64(True):
        arrays = map(jnp.asarray, (h[:1], outputs, right[:1], negatives[:1]))
        grads = jax.grad(negative_sampling, argnums=(0, 1))(*arrays)
    on_h, on_outputs = map(np.asarray, grads)
    np.testing.assert_allclose(h[0] - rate * on_h[0], vector + error)
    np.testing.assert_allclose(outputs - rate * on_outputs, table)


def test_the_optimum_of_negative_sampling_is_shifted_mutual_information():
    # Levy and Goldberg 2014, with the word itself left out of its negatives
    pairs = np.array([[2, 1, 1], [1, 3, 2], [2, 2, 1]])  # times o was seen with c
    total = pairs.sum()
    counts = pairs.sum(0)
    centers, seen = np.repeat(np.argwhere(pairs >= 0), pairs.ravel(), axis=0).T
    noise = np.tile(np.repeat(np.arange(3), counts), (total, 1))  # k = total
    rest = pairs.sum(1, keepdims=True) - pairs
    optimum = np.log(pairs / (rest * counts))
    with jax.enable_x64(True):
        grad = jax.grad(negative_sampling, argnums=1)(
            jnp.eye(3, dtype=jnp.float64)[centers],
            jnp.asarray(optimum.T),
            jnp.asarray(seen),
            jnp.asarray(noise),
        )
    np.testing.assert_allclose(grad, 0, atol=1e-12)


def test_hierarchical_softmax_is_a_distribution_over_words():
    rng = np.random.default_rng(0)
    tree = huffman(rng.integers(1, 50, 9))
    h, nodes = rng.normal(size=(1, 4)), rng.normal(size=(8, 4))
    likelihoods = []
    for word in range(9):
        path = (table[word : word + 1] for table in tree)
        loss = in_float64(hierarchical_softmax, h, nodes, *path)
        steps = range(tree.lengths[word])
        turns = [
            (1 - 2 * tree.codes[word, j]) * nodes[tree.points[word, j]] @ h[0]
            for j in steps
        ]
        np.testing.assert_allclose(loss, -scipy.special.log_expit(turns).sum())
        likelihoods.append(np.exp(-loss))
    np.testing.assert_allclose(sum(likelihoods), 1, rtol=1e-12)


def test_new_word_vectors_cost_log_two_a_decision():
    h, outputs = jnp.ones((2, 4)), jnp.zeros((8, 4))
    negatives = jnp.array([[1, 2, 3, 4, 5]] * 2)
    loss = negative_sampling(h, outputs, jnp.array([0, 7]), negatives)
    np.testing.assert_allclose(loss, 4.1589, atol=5e-5)  # (1 + 5) log 2
    tree = huffman(np.arange(1, 10))
    words = np.array([0, 8])
    loss = hierarchical_softmax(h, outputs, *(jnp.asarray(t[words]) for t in tree))
    np.testing.assert_allclose(loss, tree.lengths[words].mean() * np.log(2), rtol=1e-6)


def skip_gram(h, window, mask, axis_name=None):
    """Windows' words told from noise by vectors h [n, l, v], of which the first counts."""
    table = jnp.sin(jnp.arange(V * V, dtype=h.dtype)).reshape(V, V)
    noise = (window + 1) % V
    return negative_sampling(h[:, 0], table, window, noise, mask, axis_name)


@pytest.mark.parametrize("devices", [2, 4])
@pytest.mark.parametrize("loss", [token_cross_entropy, masked_lm, causal_lm, skip_gram])
def test_devices_with_unequal_masks_give_the_loss_over_all(text, loss, devices):
    logits, tokens, mask = map(jnp.asarray, text)
    mask = mask.at[0].set(0)  # one device may have nothing to say

    def sharded(logits):
        cut = [x.reshape(devices, -1, *x.shape[1:]) for x in (logits, tokens, mask)]
        values = jax.vmap(lambda *a: loss(*a, axis_name="i"), axis_name="i")(*cut)
        return values.mean(), values

    logits = logits.astype(jnp.float32)
    (_, values), grad = jax.value_and_grad(sharded, has_aux=True)(logits)
    value, wanted = jax.value_and_grad(loss)(logits, tokens, mask)
    np.testing.assert_allclose(values, value, rtol=1e-6)
    np.testing.assert_allclose(grad, wanted, atol=1e-7)


@jax.jit
def all_losses(x):
    """Every loss of an array [n, 3, 2] of any size."""
    n = len(x)
    tokens, none = jnp.zeros((n, 3), int), jnp.zeros((n, 3))
    table = jnp.concatenate([x[:, 0], -x[:, 1]])
    return {
        "token_cross_entropy": token_cross_entropy(x, tokens, label_smoothing=0.1),
        "masked_lm": masked_lm(x, tokens, none + 1),
        "masked_lm, nothing masked": masked_lm(x, tokens, none),
        "causal_lm": causal_lm(x, tokens),
        "causal_lm, one token": causal_lm(x[:, :1], tokens[:, :1]),
        "next_sentence": next_sentence(x[:, 0], tokens[:, 0]),
        "negative_sampling": negative_sampling(x[:, 0], table, tokens[:, 0], tokens),
        "negative_sampling, k=3": negative_sampling(
            x[:, 0], table, tokens[:, 0], tokens + 1
        ),
        "negative_sampling, windows": negative_sampling(
            x[:, 0], table, tokens, tokens + 1, none + 1
        ),
        "hierarchical_softmax": hierarchical_softmax(
            x[:, 0], table, tokens, tokens + 1, tokens[:, 0] + 2
        ),
        "bag_of_words": bag_of_words(table, tokens, none).sum(),
    }


@hypothesis.settings(max_examples=15, deadline=None, derandomize=True)
@hypothesis.given(
    st.integers(1, 2).flatmap(
        lambda n: st.lists(
            st.sampled_from([-1e4, -1.0, 0.0, 1.0, 1e4]), min_size=6 * n, max_size=6 * n
        )
    )
)
def test_extreme_inputs_give_finite_values_and_gradients(entries):
    x = jnp.array(entries).reshape(-1, 3, 2)
    values, grads = all_losses(x), all_gradients(x)
    for name, value in values.items():
        assert np.isfinite(value), name
        assert np.isfinite(grads[name]).all(), name


all_gradients = jax.jit(jax.jacrev(all_losses))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_inputs_give_float32_losses(dtype):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 2)), dtype)
    wanted = all_losses(x.astype(jnp.float32))
    for name, value in all_losses(x).items():
        assert value.dtype == jnp.float32, name
        np.testing.assert_allclose(value, wanted[name], rtol=1e-6, err_msg=name)


def test_wrong_shapes_and_dtypes_are_refused(text, words, unhooked):
    logits, tokens, mask = map(jnp.asarray, text)
    h, outputs, right, negatives = map(jnp.asarray, words)
    code = negatives
    cases = [
        (masked_lm, (logits, logits[..., 0], mask), r"tokens must be int\[n=4, l=6\]"),
        (masked_lm, (logits, tokens, mask[:, 1:]), r"mask must be any\[n=4, l=6\]"),
        (causal_lm, (logits[0], tokens), r"logits must be float\[n, l, v\]"),
        (token_cross_entropy, (logits, tokens[:1]), r"targets must be int\[n=4, l=6\]"),
        (next_sentence, (logits[:, 0], tokens[:, 0]), r"logits must be float\[n, 2\]"),
        (negative_sampling, (h, outputs, right, right), r"negatives must be int\[n=3"),
        (negative_sampling, (h, outputs, right, code, code), r"mask must be any\[n=3\]"),
        (negative_sampling, (h, h.T, right, negatives), r"outputs must be float\[v, d"),
        (
            hierarchical_softmax,
            (h, outputs, code, code, code),
            r"lengths must be int\[n=3\]",
        ),
    ]
    for function, arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            function(*arguments)
