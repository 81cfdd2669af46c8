from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.losses.vat import kl_hessian_vector_product, vat, vat_perturbation
from jssl.ops.divergences import kl_divergence

KEY = jax.random.key(0)
METHODS = [None, 1e-2]  # exact, and finite differences


@pytest.fixture
def net():
    """A network of one hidden layer and inputs for it."""
    rng = np.random.default_rng(0)
    params = [0.5 * rng.normal(size=shape) for shape in [(6, 8), (8, 3)]]
    params = [jnp.asarray(w, jnp.float32) for w in params]
    return params, jnp.asarray(rng.normal(size=(5, 6)), jnp.float32)


def apply(params, x):
    return jnp.tanh(x @ params[0]) @ params[1]


def norms(x):
    return np.linalg.norm(np.asarray(x).reshape(len(x), -1), axis=1)


@pytest.mark.parametrize("xi", METHODS)
def test_one_iteration_finds_the_normal_of_a_linear_binary_classifier(xi):
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=7), rng.normal(size=(4, 7))
    with jax.enable_x64(True):
        normal = jnp.asarray(w)

        def predict(x):
            return jnp.stack([x @ normal, jnp.zeros(len(x))], axis=1)

        r = vat_perturbation(KEY, predict, jnp.asarray(x), epsilon=0.3, xi=xi)
    worst = 0.3 * w / np.linalg.norm(w)
    for row in np.asarray(r):
        np.testing.assert_allclose(row * np.sign(row @ w), worst, rtol=1e-10)


@pytest.mark.parametrize("xi", METHODS)
def test_the_direction_is_the_dominant_eigenvector_of_the_hessian(xi):
    rng = np.random.default_rng(1)
    weights, x = rng.normal(size=(4, 3)), rng.normal(size=(1, 4))
    weights[:, 0] *= 4  # sets the eigenvalues apart
    logits = x[0] @ weights
    p = np.exp(logits - np.log(np.exp(logits).sum()))
    hessian = weights @ (np.diag(p) - np.outer(p, p)) @ weights.T
    values, vectors = np.linalg.eigh(hessian)
    assert values[-1] > 2 * values[-2]
    with jax.enable_x64(True):
        r = vat_perturbation(
            KEY, lambda x: x @ weights, jnp.asarray(x), 1.0, iterations=20, xi=xi
        )
    cosine = abs(np.asarray(r)[0] @ vectors[:, -1])
    # a finite step bends the direction by its square
    np.testing.assert_allclose(cosine, 1, atol=1e-9 if xi is None else 1e-3)


def test_the_product_is_that_of_the_hessian_and_differences_come_near(net):
    params, x = net
    d = x[::-1]

    def divergence(r, x):
        clean = apply(params, x)[None]
        return kl_divergence(clean, apply(params, (x + r)[None]))[0]

    hessians = jax.vmap(jax.hessian(divergence), (None, 0))(jnp.zeros(6), x)
    wanted = np.einsum("nij,nj->ni", hessians, d)
    product = kl_hessian_vector_product(partial(apply, params), x, d)
    np.testing.assert_allclose(product, wanted, atol=1e-6)
    near = kl_hessian_vector_product(partial(apply, params), x, d, xi=1e-3)
    np.testing.assert_allclose(near, wanted, atol=1e-2)


def test_the_divergence_grows_as_half_the_greatest_eigenvalue(net):
    with jax.enable_x64(True):
        params, x = jax.tree.map(lambda v: v.astype(jnp.float64), net)

        def divergence(r):
            return kl_divergence(apply(params, x[:1]), apply(params, x[:1] + r[None]))

        hessian = np.asarray(jax.hessian(lambda r: divergence(r)[0])(jnp.zeros(6)))
        values, vectors = np.linalg.eigh(hessian)
        steps = np.array([1e-3, 1e-2, 1e-1])
        grown = [divergence(jnp.asarray(s * vectors[:, -1]))[0] for s in steps]
    gaps = np.abs(np.array(grown) / (steps**2 * values[-1] / 2) - 1)
    assert gaps[0] < 1e-2
    np.testing.assert_allclose(gaps[1:] / gaps[:-1], 10, rtol=0.1)  # linear in s


def test_float32_loses_the_papers_finite_difference_but_not_ours():
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.normal(size=(784, 10)) / 28, jnp.float32)
    x = jnp.asarray(rng.random((4, 784)), jnp.float32)
    d = rng.normal(size=(4, 784))
    d = jnp.asarray(d / np.linalg.norm(d, axis=1, keepdims=True), jnp.float32)

    def product(xi):
        hd = kl_hessian_vector_product(lambda x: x @ weights, x, d, xi)
        return np.asarray(hd, np.float64)

    exact = product(None)
    cosine = {
        xi: (product(xi) * exact).sum(1) / (norms(product(xi)) * norms(exact))
        for xi in (1e-6, 1e-2)
    }
    assert (cosine[1e-6] < 0.9).all()
    assert (cosine[1e-2] > 0.999).all()


@pytest.mark.parametrize("xi", METHODS)
def test_each_sample_moves_by_epsilon_for_the_worse(net, xi):
    params, x = net

    def moved(r):
        return kl_divergence(apply(params, x), apply(params, x + r)).mean()

    r = vat_perturbation(KEY, partial(apply, params), x, 0.5, xi=xi)
    np.testing.assert_allclose(norms(r), 0.5, rtol=1e-6)
    noise = jax.random.normal(KEY, (50, *x.shape))
    noise = 0.5 * noise / jnp.linalg.norm(noise, axis=2, keepdims=True)
    assert moved(r) > 1.3 * jax.vmap(moved)(noise).mean()


def test_a_sample_is_scaled_by_itself_over_all_its_axes(net):
    params, x = net
    sizes = jnp.arange(1.0, 6).reshape(5, 1, 1, 1)
    images = sizes * jnp.tile(x[:, :, None, None], (1, 1, 2, 3))
    r = vat_perturbation(KEY, lambda x: apply(params, x.sum((2, 3))), images, 2.0)
    np.testing.assert_allclose(norms(r), 2, rtol=1e-6)


def test_the_loss_is_the_divergence_and_its_reverse(net):
    params, x = net
    predict = partial(apply, params)
    r = vat_perturbation(KEY, predict, x, 0.5)
    clean, moved = predict(x), predict(x + r)
    forward, back = vat(KEY, predict, x, 0.5), vat(KEY, predict, x, 0.5, reverse=True)
    np.testing.assert_allclose(forward, kl_divergence(clean, moved).mean(), rtol=1e-5)
    np.testing.assert_allclose(back, kl_divergence(moved, clean).mean(), rtol=1e-5)
    assert forward > 0
    assert forward != back


@pytest.mark.parametrize("reverse", [False, True])
def test_weights_feel_neither_the_step_nor_the_clean_prediction(net, reverse):
    params, x = net
    r = vat_perturbation(KEY, partial(apply, params), x, 0.5)
    clean = apply(params, x)

    def constant(params):
        moved = apply(params, x + r)
        pair = (moved, clean) if reverse else (clean, moved)
        return kl_divergence(*pair).mean()

    def loss(params):
        return vat(KEY, partial(apply, params), x, 0.5, reverse=reverse)

    grads, wanted = jax.jit(jax.grad(loss))(params), jax.grad(constant)(params)
    for mine, theirs in zip(grads, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("xi", METHODS)
def test_flat_and_saturated_predictions_give_finite_values_and_gradients(n, scale, xi):
    @jax.jit
    @jax.value_and_grad
    def loss(weights, x):
        return vat(KEY, lambda x: x @ weights, x, 1.0, xi=xi)

    weights = scale * jnp.array([[1.0, -1.0], [1.0, 1.0]])
    for x in (jnp.zeros((n, 2)), jnp.ones((n, 2))):
        value, grad = loss(weights, x)
        assert np.isfinite(value)
        assert np.isfinite(grad).all()


def test_where_nothing_curves_the_step_is_random_and_of_full_length():
    x = jnp.ones((3, 4))
    r = vat_perturbation(KEY, lambda x: jnp.zeros((3, 2)), x, epsilon=2.0)
    np.testing.assert_allclose(norms(r), 2, rtol=1e-6)


def test_narrow_inputs_give_a_float32_loss(net):
    params, x = jax.tree.map(lambda v: v.astype(jnp.bfloat16), net)
    seen = set()

    def predict(x):
        seen.add(x.dtype)
        return apply(params, x)

    value = vat(KEY, predict, x, 0.5)
    assert value.dtype == jnp.float32
    assert value > 0
    assert seen == {jnp.dtype(jnp.bfloat16)}


def test_wrong_shapes_and_dtypes_are_refused(net, unhooked):
    params, x = net

    def row(x):
        return apply(params, x)[0]

    with pytest.raises(ValueError, match=r"d must be float\[n=5, d1=6\]"):
        kl_hessian_vector_product(row, x, x[:, :2])
    with pytest.raises(ValueError, match=r"logits must be float\[n=5, c\], got float32"):
        kl_hessian_vector_product(row, x, x)
    with pytest.raises(ValueError, match="x must be float"):
        vat(KEY, row, jnp.ones((2, 3), int), 1.0)
