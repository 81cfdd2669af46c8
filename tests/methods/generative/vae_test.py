"""VAE: bounds that are equalities for linear models, and gradients by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal, norm
from toys import images, jitted

from jssl.methods.generative.vae import vae
from jssl.models.vae import VAE
from jssl.nets import Net

headline = "loss"
KEY = jax.random.key(0)


def tiny(tx):
    method = vae(jitted(VAE((8, 8, 1), (16,), 4)), tx or optax.adam(1e-2), draws=4)
    return method, {"image": images(), "index": jnp.arange(8)}


# Catalogue, generative A1.3: z ~ N(0, I), x = W z + m + noise of variance s2.
W = np.array([[1, 0.5], [-0.5, 1], [0.2, 0.3]])
M, S2, X = np.array([0.1, -0.2, 0.3]), 0.25, np.array([0.5, -1.0, 0.2])
LOG_LIKELIHOOD, BEST_DIAGONAL = -2.7911817781, -2.7919174329


def posterior(w):
    """Mean and covariance of z given X."""
    covariance = np.linalg.inv(np.eye(w.shape[1]) + w.T @ w / S2)
    return covariance @ w.T @ (X - M) / S2, covariance


def network(params, w=None, m=M):
    """The decoder z w' + m, and a posterior that is one of the params for all x."""

    def apply(params, stats, x, train=False, keys={}, method="decode"):
        if method == "encode":
            n = (len(x), 1)
            return (jnp.tile(params["mean"], n), jnp.tile(params["log_variance"], n)), stats
        kernel = params["w"] if w is None else w
        return x @ kernel.T + m, stats

    return Net(lambda key, x: (jax.tree.map(jnp.asarray, params), ()), apply)


def linear(params, tx=None, **knobs):
    net = network(params, None if "w" in params else W)
    how = dict(likelihood="gaussian", deviation=np.sqrt(S2)) | knobs
    return vae(net, tx or optax.sgd(0.0), **how)


def copies(n, x=X):
    return {"image": jnp.tile(jnp.asarray(x), (n, 1)), "index": jnp.arange(n)}


def embedded(method, batch):
    state = method.init(KEY, batch)
    return jax.device_get(jax.jit(method.embed)(state, batch))


def trained(method, batch, steps):
    """The last state, and the metrics of all steps."""

    def step(state, key):
        return method.step(key, state, batch)

    return jax.jit(lambda keys: jax.lax.scan(step, method.init(KEY, batch), keys))(
        jax.random.split(KEY, steps)
    )


def closed_form(x, w, m, mean, variance):
    """ELBO of q = N(mean, diag variance) and p(x|z) = N(w z + m, S2), in nats a row."""
    fit = norm(mean @ w.T + m, np.sqrt(S2)).logpdf(x).sum(-1)
    fit -= (variance * (w**2).sum(0)).sum(-1) / (2 * S2)
    return fit - 0.5 * (variance + mean**2 - 1 - np.log(variance)).sum(-1)


def test_both_bounds_of_the_exact_posterior_are_the_log_likelihood(x64):
    """Turned so that its columns are orthogonal, W has a diagonal posterior."""
    exact = multivariate_normal(M, W @ W.T + S2 * np.eye(3)).logpdf(X)
    np.testing.assert_allclose(exact, LOG_LIKELIHOOD, rtol=1e-10)
    turned = W @ np.linalg.eigh(W.T @ W)[1]
    mean, covariance = posterior(turned)
    np.testing.assert_allclose(covariance[0, 1], 0, atol=1e-12)
    variance = np.diag(covariance)
    params = {"mean": mean, "log_variance": np.log(variance), "w": turned}
    for k in 1, 8:  # a weight is p(x) at any z
        found = embedded(linear(params, draws=k), copies(5))
        np.testing.assert_allclose(found["negative_iwae"], -LOG_LIKELIHOOD, rtol=1e-9)
    np.testing.assert_allclose(
        closed_form(X, turned, M, mean, variance), LOG_LIKELIHOOD, rtol=1e-9
    )
    found = embedded(linear(params, draws=64), copies(1000))["negative_elbo"]
    error = found.std() / np.sqrt(1000)
    np.testing.assert_allclose(found.mean(), -LOG_LIKELIHOOD, atol=4 * error)
    assert error < 0.01


def test_an_encoder_learns_the_best_diagonal_posterior():
    params = {"mean": np.zeros(2), "log_variance": np.zeros(2)}
    tx = optax.adam(optax.cosine_decay_schedule(0.05, 1000))
    state, _ = trained(linear(params, tx), copies(256), 1000)
    q = jax.tree.map(np.asarray, state.learner.params)
    mean, covariance = posterior(W)
    best = 1 / np.diag(np.linalg.inv(covariance))
    np.testing.assert_allclose(q["mean"], mean, atol=0.01)
    np.testing.assert_allclose(np.exp(q["log_variance"]), best, rtol=0.03)
    bound = closed_form(X, W, M, q["mean"], np.exp(q["log_variance"]))
    np.testing.assert_allclose(bound, BEST_DIAGONAL, atol=1e-4)
    assert bound < BEST_DIAGONAL + 1e-6 < LOG_LIKELIHOOD


def test_a_linear_vae_learns_probabilistic_components():
    """Its bound comes to the maximum likelihood of Tipping and Bishop 1999."""
    random = np.random.default_rng(0)
    x = random.normal(size=(128, 2)) @ W.T + M + 0.5 * random.normal(size=(128, 3))
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    values[0] = S2  # of the given noise; the others are above it
    best = multivariate_normal(x.mean(0), vectors * values @ vectors.T).logpdf(x).mean()
    net = jitted(VAE((3,), (), 2))
    tx = optax.adam(optax.cosine_decay_schedule(0.02, 2500))
    method = vae(net, tx, likelihood="gaussian", deviation=0.5, draws=16)
    batch = {"image": jnp.asarray(x, jnp.float32), "index": jnp.arange(128)}
    state, _ = trained(method, batch, 2500)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), state.learner.params)
    w, m = params["output"]["kernel"].T, params["output"]["bias"]
    q = x @ params["posterior"]["kernel"] + params["posterior"]["bias"]
    bound = closed_form(x, w, m, q[:, :2], np.exp(q[:, 2:])).mean()
    assert best - 0.005 < bound < best + 1e-6
    sound = multivariate_normal(m, w @ w.T + S2 * np.eye(3)).logpdf(x)
    iwae = jax.jit(method.embed)(state, batch)["negative_iwae"]
    np.testing.assert_allclose(iwae, -sound, atol=0.05)  # every row's own
    np.testing.assert_allclose(iwae.mean(), -best, atol=0.005)


def test_more_draws_tighten_the_bound_which_stays_below_the_likelihood(x64):
    mean, _ = posterior(W)
    params = {"mean": mean, "log_variance": np.log([0.6, 0.6])}  # wide
    elbo = closed_form(X, W, M, mean, np.array([0.6, 0.6]))
    found = {k: embedded(linear(params, draws=k), copies(2000)) for k in (1, 4, 32)}
    iwae = {k: -x["negative_iwae"].mean() for k, x in found.items()}
    error = found[1]["negative_iwae"].std() / np.sqrt(2000)
    np.testing.assert_allclose(iwae[1], elbo, atol=4 * error)
    np.testing.assert_allclose(-found[32]["negative_elbo"].mean(), elbo, atol=error)
    assert elbo + 0.3 < iwae[4] < iwae[32] - 0.02 < LOG_LIKELIHOOD


def test_bounds_of_gray_images_are_below_the_likelihood_of_binary_ones(x64):
    """All eight binary images of three pixels, and z by quadrature."""
    gray, w, m = np.array([0.9, 0.2, 0.6]), np.array([2.0, -1.5, 1.0]), np.zeros(3)
    points, shares = np.polynomial.hermite_e.hermegauss(60)
    p = expit(np.outer(points, w) + m)  # [z, 3]
    drawn = np.array([[i >> j & 1 for j in range(3)] for i in range(8)])
    chance = np.prod(np.where(drawn, gray, 1 - gray), 1)  # of each image
    fits = np.log(np.where(drawn[:, None], p, 1 - p)).sum(-1)  # [image, z]
    evidence = logsumexp(fits, axis=1, b=shares / shares.sum())
    wanted = chance @ evidence
    mean_fit = np.log(p) @ gray + np.log(1 - p) @ (1 - gray)
    weights = shares * np.exp(mean_fit)  # the best q has this form
    mean = (weights * points).sum() / weights.sum()
    variance = (weights * (points - mean) ** 2).sum() / weights.sum()
    params = {"mean": np.array([mean]), "log_variance": np.array([np.log(variance)])}
    method = vae(network(params, w[:, None], m), optax.sgd(0.0), draws=32)
    found = embedded(method, copies(1000, gray))
    elbo, iwae = (-found[f"negative_{name}"].mean() for name in ("elbo", "iwae"))
    assert wanted - 0.5 < elbo < iwae < wanted - 0.05
    limit = logsumexp(mean_fit, b=shares / shares.sum())  # of infinitely many draws
    np.testing.assert_allclose(iwae, limit, atol=0.01)
    np.testing.assert_allclose(found["reconstruction"][0], expit(mean * w + m), rtol=1e-9)


def test_a_step_goes_down_the_gradient_worked_out_on_paper(x64):
    random = np.random.default_rng(0)
    n, x = 5, random.normal(size=(5, 3))
    old = {"mean": random.normal(size=2), "log_variance": random.normal(size=2), "w": W}
    batch = {"image": jnp.asarray(x), "index": jnp.arange(n)}
    method = linear(old, optax.sgd(1.0), beta=0.7)
    state, metrics = jax.jit(method.step)(KEY, method.init(KEY, batch), batch)
    eps = np.asarray(jax.random.normal(jax.random.split(KEY)[1], (n, 2)))
    sigma = np.exp(old["log_variance"] / 2)
    z = old["mean"] + sigma * eps
    delta = (z @ W.T + M - x) / S2 / n
    kl = 0.5 * (sigma**2 + old["mean"] ** 2 - 1 - old["log_variance"]).sum()
    fit = norm(z @ W.T + M, np.sqrt(S2)).logpdf(x).sum(-1).mean()
    np.testing.assert_allclose(metrics["loss"], -fit + 0.7 * kl, rtol=1e-10)
    np.testing.assert_allclose([metrics["reconstruction"], metrics["kl"]], [-fit, kl])
    back = delta @ W
    grads = {
        "mean": back.sum(0) + 0.7 * old["mean"],
        "log_variance": (back * eps * sigma / 2).sum(0) + 0.7 * (sigma**2 - 1) / 2,
        "w": delta.T @ z,
    }
    for name, grad in grads.items():
        np.testing.assert_allclose(state.learner.params[name], old[name] - grad, rtol=1e-9)


def test_a_decoder_that_knows_nothing_pays_log_2_a_pixel(x64):
    params = {"mean": np.zeros(1), "log_variance": np.zeros(1)}
    method = vae(network(params, jnp.zeros((784, 1)), 0.0), optax.sgd(0.0))
    state, metrics = jax.jit(method.step)(
        KEY, method.init(KEY, copies(2, np.eye(784)[0])), copies(2, np.eye(784)[0])
    )
    np.testing.assert_allclose(metrics["loss"], 543.427, atol=5e-4)
    assert metrics["kl"] == metrics["active"] == 0


def test_beta_rises_over_the_warm_up_and_free_bits_are_free():
    params = {"mean": np.array([1.0, 0.1]), "log_variance": np.zeros(2)}  # .5 and .005
    method = linear(params, beta=4.0, warmup=4)
    _, metrics = trained(method, copies(2), 6)
    weights = (metrics["loss"] - metrics["reconstruction"]) / metrics["kl"]
    np.testing.assert_allclose(weights, [0, 1, 2, 3, 4, 4], atol=1e-5)
    np.testing.assert_allclose(metrics["kl"], 0.505, rtol=1e-5)
    np.testing.assert_allclose(metrics["active"], 0.5)
    _, metrics = trained(linear(params, beta=4.0, free_bits=0.2), copies(2), 1)
    floor = metrics["loss"] - metrics["reconstruction"]
    np.testing.assert_allclose(floor, 4 * (0.5 + 0.2), rtol=1e-5)
    _, metrics = trained(linear(params, beta=0.0), copies(2), 1)
    np.testing.assert_array_equal(metrics["loss"], metrics["reconstruction"])


def two_kinds(conditional):
    """A VAE of two images, which are the labels, and rows of them."""
    x, label = images()[:2], jnp.arange(32) % 2
    batch = {"image": x[label], "label": label, "index": jnp.arange(32)}
    method = vae(
        jitted(VAE((8, 8, 1), (16,), 2)),
        optax.adam(1e-2),
        warmup=200,
        condition=(lambda batch: jax.nn.one_hot(batch["label"], 2))
        if conditional
        else None,
    )
    state, metrics = trained(method, batch, 400)
    return method, state, batch, metrics["kl"][-1]


def test_given_the_label_samples_are_of_it_and_z_carries_nothing():
    method, state, batch, kl = two_kinds(True)
    made = jax.jit(method.generate)(KEY, state, batch)["image"]
    assert np.abs(made - batch["image"]).mean() < 0.05
    assert kl < 0.1
    draw = jax.jit(
        lambda state: method.render(KEY, state, batch, None)["conditions"].images
    )
    given = np.tile(images()[:2], (8, 1, 1, 1, 1))  # both, of every row
    wanted = np.concatenate([batch["image"][:8, None], given], 1)
    assert np.abs(draw(state) - wanted).mean() < 0.05


def test_without_the_label_z_carries_it():
    method, state, batch, kl = two_kinds(False)
    assert kl > 0.6  # log 2 = 0.69
    made = jax.jit(method.generate)(KEY, state, batch)["image"]
    gaps = np.abs(made[:, None] - images()[:2]).mean((2, 3, 4))  # [32, 2]
    assert 5 < (gaps[:, 0] < gaps[:, 1]).sum() < 27  # both kinds
    assert np.median(gaps.min(1)) < 0.1


def test_a_rows_bounds_depend_on_its_index_alone():
    method, batch = tiny(None)
    state = jax.jit(method.init)(KEY, batch)
    embed = jax.jit(method.embed)
    one, turned = (embed(state, b) for b in (batch, {k: x[::-1] for k, x in batch.items()}))
    other = embed(state, batch | {"index": jnp.arange(8) + 8})
    for name in "negative_elbo", "negative_iwae":
        np.testing.assert_allclose(one[name], turned[name][::-1], rtol=1e-5)
        assert np.all(one[name] != other[name])


def test_samples_come_from_the_prior_and_their_key():
    method, batch = tiny(None)
    state = jax.jit(method.init)(KEY, batch)
    generate = jax.jit(method.generate)
    one, same, other = (
        generate(jax.random.key(k), state, batch)["image"] for k in (0, 0, 1)
    )
    assert one.shape == images().shape
    np.testing.assert_array_equal(one, same)
    assert np.any(one != other)
    blank = generate(jax.random.key(0), state, batch | {"image": 0 * images()})
    np.testing.assert_array_equal(one, blank["image"])


def test_the_loss_of_laplace_is_the_absolute_error_over_the_scale():
    """At z = 0, which is decoded to M; with the scale s there is 3 log 2 s beside it."""
    at_zero = {"mean": np.zeros((1, 2)), "log_variance": np.full((1, 2), -80.0)}
    batch = copies(2)
    for scale in (0.5, 2.0):
        method = linear(at_zero, likelihood="laplace", deviation=scale, beta=0.0)
        state = method.init(KEY, batch)
        loss = method.step(KEY, state, batch)[1]["loss"]
        wanted = np.abs(X - M).sum() / scale + 3 * np.log(2 * scale)
        np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_an_unknown_likelihood_is_refused():
    with pytest.raises(ValueError, match="gaussian or laplace, got 'poisson'"):
        vae(network({}), optax.sgd(0.1), likelihood="poisson")
