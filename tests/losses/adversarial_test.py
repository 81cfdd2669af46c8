import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon

from jssl.losses.adversarial import (
    gradient_penalty,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
    matching_aware_discriminator,
    minimax_discriminator,
    minimax_generator,
    non_saturating_generator,
    r1_penalty,
    wasserstein_critic,
    wasserstein_generator,
)

KEY = jax.random.key(0)
DISCRIMINATORS = [
    minimax_discriminator,
    hinge_discriminator,
    least_squares_discriminator,
    wasserstein_critic,
]
GENERATORS = [
    minimax_generator,
    non_saturating_generator,
    hinge_generator,
    least_squares_generator,
    wasserstein_generator,
]


def logits(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize(
    ("loss", "rows"),
    [
        # Catalogue, generative A1.4: logit, value, slope.
        (
            minimax_generator,
            [
                (-10, -4.5398899e-05, -4.5397869e-05),
                (0, -0.6931472, -0.5),
                (10, -10.0000454, -0.9999546),
            ],
        ),
        (
            non_saturating_generator,
            [
                (-10, 10.0000454, -0.9999546),
                (0, 0.6931472, -0.5),
                (10, 4.5398899e-05, -4.5397869e-05),
            ],
        ),
    ],
)
def test_generator_losses_have_their_golden_values_and_slopes(x64, loss, rows):
    for s, value, slope in rows:
        got = jax.value_and_grad(loss)(jnp.array(float(s)))
        np.testing.assert_allclose(got, (value, slope), rtol=1e-7)


def test_an_undecided_discriminator_pays_log_four():
    zero = jnp.zeros((4, 2))
    np.testing.assert_allclose(minimax_discriminator(zero, zero), np.log(4), rtol=1e-6)


def test_slopes_of_the_two_generator_losses_add_up_to_minus_one(x64):
    s = jnp.linspace(-20.0, 20, 9)
    both = jax.grad(lambda s: 9 * (minimax_generator(s) + non_saturating_generator(s)))
    np.testing.assert_allclose(both(s), -1, rtol=1e-12)


def test_minimax_agrees_with_optax_on_labels_one_and_zero(x64):
    real, fake = logits(0, 5), logits(1, 3, 2)
    entropy = optax.sigmoid_binary_cross_entropy
    wanted = entropy(real, jnp.ones(5)).mean() + entropy(fake, jnp.zeros((3, 2))).mean()
    np.testing.assert_allclose(minimax_discriminator(real, fake), wanted, rtol=1e-12)
    smooth = entropy(real, jnp.full(5, 0.9)).mean()
    smooth += entropy(fake, jnp.zeros((3, 2))).mean()
    got = minimax_discriminator(real, fake, smoothing=0.1)
    np.testing.assert_allclose(got, smooth, rtol=1e-12)
    np.testing.assert_allclose(
        minimax_generator(fake), -entropy(fake, jnp.zeros((3, 2))).mean(), rtol=1e-12
    )
    np.testing.assert_allclose(
        non_saturating_generator(fake),
        entropy(fake, jnp.ones((3, 2))).mean(),
        rtol=1e-12,
    )


def test_the_other_losses_agree_with_numpy(x64):
    real, fake = logits(0, 5), logits(1, 3, 2)
    r, f = np.asarray(real), np.asarray(fake)
    for got, wanted in [
        (
            hinge_discriminator(real, fake),
            np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(),
        ),
        (hinge_generator(fake), -f.mean()),
        (
            least_squares_discriminator(real, fake),
            ((r - 1) ** 2).mean() / 2 + (f**2).mean() / 2,
        ),
        (least_squares_generator(fake), ((f - 1) ** 2).mean() / 2),
        (wasserstein_critic(real, fake), f.mean() - r.mean()),
        (wasserstein_generator(fake), -f.mean()),
        (
            matching_aware_discriminator(real, fake, 2 * fake),
            -np.log(1 / (1 + np.exp(-r))).mean()
            - np.log(1 / (1 + np.exp(f))).mean() / 2
            - np.log(1 / (1 + np.exp(2 * f))).mean() / 2,
        ),
    ]:
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])


def on_atoms(loss, s):
    """The loss where data and generator draw atoms in proportion to P and Q."""
    p, q = np.round(10 * P).astype(int), np.round(10 * Q).astype(int)
    return loss(jnp.repeat(s, p, total_repeat_length=10), jnp.repeat(s, q))


def test_the_best_discriminator_knows_the_ratio_of_the_densities(x64):
    best = jnp.log(P / Q)
    np.testing.assert_allclose(jax.nn.sigmoid(best), [5 / 7, 1 / 2, 2 / 7], rtol=1e-12)
    run = jax.value_and_grad(lambda s: on_atoms(minimax_discriminator, s))
    value, slope = run(best)
    np.testing.assert_allclose(slope, 0, atol=1e-15)
    np.testing.assert_allclose(value, 1.2534657323, rtol=1e-10)
    divergence = jensenshannon(P, Q) ** 2
    np.testing.assert_allclose(divergence, 0.0664143144, rtol=1e-8)
    np.testing.assert_allclose(value, np.log(4) - 2 * divergence, rtol=1e-10)


def test_the_best_hinge_discriminator_measures_the_total_variation(x64):
    value = on_atoms(hinge_discriminator, jnp.sign(P - Q))
    np.testing.assert_allclose(value, 2 * np.minimum(P, Q).sum(), rtol=1e-12)  # 1.4


def test_the_best_least_squares_discriminator_is_the_share_of_the_data(x64):
    slope = jax.grad(lambda s: on_atoms(least_squares_discriminator, s))
    np.testing.assert_allclose(slope(jnp.asarray(P / (P + Q))), 0, atol=1e-15)


def test_the_wasserstein_critic_may_add_a_constant():
    real, fake = logits(0, 5), logits(1, 5)
    got = wasserstein_critic(real + 3, fake + 3)
    np.testing.assert_allclose(got, wasserstein_critic(real, fake), atol=1e-6)


# Dirac-GAN (Mescheder et al. 2018): data at 0, generator at theta, s(x) = -psi x.
# Catalogue, generative A1.4, with steps of 0.1 from (1, 1).


def discriminator(psi, theta, gamma):
    penalty = r1_penalty(lambda x: -psi * x[:, 0], jnp.zeros((1, 1)))
    return minimax_discriminator(jnp.zeros(1), -psi * theta[None]) + gamma / 2 * penalty


def generator(theta, psi):
    return minimax_generator(-psi * theta[None])


@jax.jit
def dirac(alternating, gamma):
    def step(players, _):
        theta, psi = players
        new_psi = psi - 0.1 * jax.grad(discriminator)(psi, theta, gamma)
        seen = jnp.where(alternating, new_psi, psi)
        new = theta - 0.1 * jax.grad(generator)(theta, seen), new_psi
        return new, jnp.stack(new)

    return jax.lax.scan(step, (jnp.array(1.0), jnp.array(1.0)), None, 500)[1]


def test_dirac_gan_spirals_out_when_both_move_at_once(x64):
    path = dirac(False, 0.0)
    np.testing.assert_allclose(path[0], [0.9731058579, 1.0268941421], rtol=1e-10)
    square = jnp.square(path).sum(1)
    np.testing.assert_allclose(square[0], 2.0014465898, rtol=1e-10)
    np.testing.assert_allclose(square[-1], 5.0786167436, rtol=1e-9)
    assert (jnp.diff(square) > 0).all()


def test_dirac_gan_stays_bounded_by_turns_and_converges_with_r1(x64):
    by_turns = jnp.square(dirac(True, 0.0)[-1]).sum()
    np.testing.assert_allclose(by_turns, 2.0001664397, rtol=1e-9)
    assert jnp.square(dirac(False, 1.0)[-1]).sum() < 1e-18


def test_penalties_of_a_linear_critic_depend_on_its_slope_alone(x64):
    real, fake = logits(0, 6, 2), logits(1, 6, 2)

    def critic(x):
        return x @ jnp.array([3.0, 4.0])

    for target, wanted in (1.0, 16), (0.0, 25):
        got = gradient_penalty(KEY, critic, real, fake, target)
        np.testing.assert_allclose(got, wanted, rtol=1e-10)
    np.testing.assert_allclose(10 / 2 * r1_penalty(critic, real), 125, rtol=1e-12)


def test_penalties_agree_with_the_slope_of_a_quadratic_critic(x64):
    def critic(x):
        return 0.5 * jnp.square(x).sum((1, 2))  # whose slope at x is x

    real = logits(0, 6, 2, 3)
    wanted = np.mean(np.sum(np.asarray(real) ** 2, axis=(1, 2)))
    np.testing.assert_allclose(r1_penalty(critic, real), wanted, rtol=1e-12)
    got = gradient_penalty(KEY, critic, real, real)
    lengths = np.sqrt(np.sum(np.asarray(real) ** 2, axis=(1, 2)))
    np.testing.assert_allclose(got, np.mean((lengths - 1) ** 2), rtol=1e-10)
    # Between the two, each sample has its own share: x = u 1 + (1 - u) 0 has length u.
    one = jnp.ones((4000, 1, 1))
    uniform = gradient_penalty(KEY, critic, one, 0 * one)
    np.testing.assert_allclose(uniform, 1 / 3, atol=0.02)  # E(1 - u)^2, 4 errors


def test_a_flat_critic_has_penalty_one_and_a_finite_gradient():
    x = jnp.ones((4, 3))

    def penalty(w):
        return gradient_penalty(KEY, lambda x: x @ w, x, -x)

    value, slope = jax.value_and_grad(penalty)(jnp.zeros(3))
    np.testing.assert_allclose(value, 1, rtol=1e-5)
    assert jnp.isfinite(slope).all()


def test_a_penalty_sees_through_maps_of_logits(x64):
    real = logits(0, 4, 3)
    got = r1_penalty(lambda x: jnp.stack([x, x], 1), real)  # two logits an entry
    np.testing.assert_allclose(got, 3 * 2**2, rtol=1e-12)


EXTREME = arrays(np.float32, (2,), elements=st.sampled_from([0.0, 1.0, 1e4, -1e4]))
STEEP = [jax.jit(jax.value_and_grad(f, (0, 1))) for f in DISCRIMINATORS]
STEEP += [
    jax.jit(jax.value_and_grad(lambda a, b, f=f: f(a) + 0 * b.sum(), (0, 1)))
    for f in GENERATORS
]


def penalties(x, w):
    def critic(x):
        return jnp.tanh(x * w[None]).sum(1) + (x * w[None]).sum(1)

    x = jnp.stack([x, x])
    return gradient_penalty(KEY, critic, x, 0 * x) + r1_penalty(critic, x)


STEEP.append(jax.jit(jax.value_and_grad(penalties, (0, 1))))


@pytest.mark.parametrize("run", STEEP)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(a=EXTREME, b=EXTREME, dtype=st.sampled_from([jnp.float32, jnp.bfloat16]))
def test_extreme_logits_have_finite_values_and_gradients(run, a, b, dtype):
    value, slopes = run(jnp.asarray(a, dtype), jnp.asarray(b, dtype))
    assert value.dtype == jnp.float32
    assert np.isfinite(value)
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in slopes)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float64])
def test_half_precision_is_computed_in_single_and_double_in_double(dtype):
    wide = jnp.float64 if dtype == jnp.float64 else jnp.float32
    with jax.enable_x64(dtype == jnp.float64):
        s = jnp.asarray(np.linspace(-3, 3, 7), dtype)
        for loss in DISCRIMINATORS:
            assert loss(s, s).dtype == wide
        for loss in GENERATORS:
            assert loss(s).dtype == wide
            np.testing.assert_allclose(loss(s), loss(s.astype(wide)), rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        *[lambda f=f: f(jnp.ones(2, int), jnp.ones(2)) for f in DISCRIMINATORS],
        *[lambda f=f: f(jnp.ones(2, int)) for f in GENERATORS],
        lambda: gradient_penalty(KEY, jnp.sum, jnp.ones((2, 3)), jnp.ones((4, 3))),
        lambda: gradient_penalty(KEY, jnp.sum, jnp.ones((2, 3), int), jnp.ones((2, 3))),
        lambda: r1_penalty(jnp.sum, jnp.ones(())),
    ],
)
def test_wrong_arguments_are_refused_while_tracing(unhooked, call):
    with pytest.raises(ValueError, match="must be float"):
        jax.eval_shape(call)
