import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jssl.ops.targets import (
    distribution_alignment,
    guess_labels,
    pseudo_labels,
    sharpen,
)

few = hypothesis.settings(max_examples=20, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("p", "temperature", "wanted"),
    [
        ((0.6, 0.4), 0.5, (0.69231, 0.30769)),
        ((0.5, 0.3, 0.2), 0.5, (0.65789, 0.23684, 0.10526)),
        ((0.5, 0.3, 0.2), 0.25, (0.86565, 0.11219, 0.02216)),
    ],
)
def test_sharpening_of_the_catalogue(p, temperature, wanted):
    sharp = sharpen(jnp.array(p), temperature)
    np.testing.assert_allclose(sharp, wanted, atol=6e-6)  # five printed decimals


def test_sharpening_divides_logits_by_the_temperature():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)), jnp.float32)
    for temperature in (0.1, 0.5, 1.0, 3.0):
        sharp = sharpen(jax.nn.softmax(logits), temperature)
        wanted = jax.nn.softmax(logits / temperature)
        np.testing.assert_allclose(sharp, wanted, atol=1e-5)


def test_sharpening_at_the_limits():
    p = jnp.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2]])
    one_hot = [[1, 0, 0], [0.5, 0.5, 0]]  # equals share
    np.testing.assert_allclose(sharpen(p, 1e-3), one_hot, atol=1e-6)
    np.testing.assert_allclose(sharpen(p, 1.0), p, rtol=1e-6)
    np.testing.assert_allclose(sharpen(p, 1e6), 1 / 3, rtol=1e-5)


def test_a_class_of_probability_zero_stays_so_and_passes_finite_gradients():
    sharpened = jax.jit(sharpen)
    gradient = jax.jit(jax.grad(lambda p, temperature: sharpen(p, temperature)[0]))
    for p in np.float32([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]):
        for temperature in (0.1, 0.5, 2.0):
            sharp = np.asarray(sharpened(jnp.asarray(p), temperature))
            grad = np.asarray(gradient(jnp.asarray(p), temperature))
            np.testing.assert_allclose(sharp.sum(), 1, rtol=1e-6)
            assert not p.any() or not sharp[p == 0].any()
            assert np.isfinite(grad).all()


@few
@hypothesis.given(hnp.arrays(np.float32, 5, elements=st.floats(0, 1, width=32)))
def test_sharpening_keeps_the_winner_and_lowers_the_entropy(p):
    hypothesis.assume(p.sum() > 1e-3)
    p = p / p.sum()
    sharp = np.asarray(sharpen(jnp.asarray(p), 0.5))
    assert sharp[p.argmax()] == sharp.max()
    assert scipy.stats.entropy(sharp) <= scipy.stats.entropy(p) + 1e-5


def test_pseudo_labels_are_the_confident_winners():
    p = jnp.array([[0.1, 0.9], [0.6, 0.4], [0.5, 0.5]])
    labels, mask = pseudo_labels(p, 0.6)
    assert labels.dtype == jnp.int32
    assert labels.tolist() == [1, 0, 0]
    assert mask.tolist() == [1, 1, 0]
    assert pseudo_labels(p, 0.0)[1].all()
    assert not pseudo_labels(p, 1.01)[1].any()


def test_pseudo_labels_take_a_threshold_for_each_sample():
    p = jnp.array([[0.1, 0.9], [0.6, 0.4]])
    assert pseudo_labels(p, jnp.array([0.95, 0.5]))[1].tolist() == [0, 1]


def test_guesses_are_sharpened_after_averaging():
    p = np.random.default_rng(0).dirichlet(np.ones(4), size=(3, 2))
    mean = p.mean(1) ** 2
    guesses = guess_labels(jnp.asarray(p, jnp.float32), 0.5)
    np.testing.assert_allclose(guesses, mean / mean.sum(1, keepdims=True), rtol=1e-5)


def test_no_gradient_flows_through_a_guess():
    p = jnp.full((1, 2, 3), 1 / 3)
    grad = jax.grad(lambda p: guess_labels(p, 0.5)[0, 0] + pseudo_labels(p[0], 0)[1][0])
    assert not grad(p).any()


def test_alignment_of_the_catalogue():
    p, p_model = jnp.array([[0.7, 0.2, 0.1]]), jnp.array([0.6, 0.3, 0.1])
    aligned = distribution_alignment(p, p_model, jnp.full(3, 1 / 3))
    wanted = [[0.41176, 0.23529, 0.35294]]
    np.testing.assert_allclose(aligned, wanted, atol=1e-5)  # epsilon moves the fifth


def test_alignment_with_the_models_own_frequencies_changes_nothing():
    p = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(4), size=3), jnp.float32)
    aligned = distribution_alignment(p, p.mean(0), p.mean(0))
    np.testing.assert_allclose(aligned, p, rtol=1e-6)


def test_alignment_with_a_class_that_is_never_guessed_is_finite():
    p, never = jnp.array([[1.0, 0.0], [0.0, 0.0]]), jnp.array([1.0, 0.0])
    aligned = jax.jit(lambda p, wanted: distribution_alignment(p, never, wanted))
    gradient = jax.jit(jax.grad(lambda p, wanted: aligned(p, wanted)[0, 0]))
    for wanted in ([1.0, 0.0], [0.5, 0.5], [0.0, 1.0]):
        assert np.isfinite(aligned(p, jnp.array(wanted))).all()
        assert np.isfinite(gradient(p, jnp.array(wanted))).all()


def test_wrong_shapes_and_dtypes_are_refused(unhooked):
    p = jnp.ones((2, 3))
    cases = [
        (sharpen, (jnp.ones(3, int), 0.5), r"p must be float"),
        (pseudo_labels, (jnp.ones(3), 0.5), r"p must be float\[n, c\]"),
        (pseudo_labels, (p, jnp.ones(3)), r"threshold must be any\[n=2\]"),
        (guess_labels, (p,), r"p must be float\[n, k, c\]"),
        (distribution_alignment, (p, jnp.ones(2), jnp.ones(3)), r"p_model .*\[c=3\]"),
    ]
    for function, arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            function(*arguments)
