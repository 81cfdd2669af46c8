"""Deep InfoMax: its terms in double loops, the two players, what critics converge to."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, noisy

from jssl.methods.contrastive.deep_infomax import deep_infomax
from jssl.models.heads import MLP
from jssl.models.infomax import InfoMax, InfoMaxEncoder
from jssl.nets import Net

headline = "local"
KEY = jax.random.key(5)
WEIGHTS = dict(alpha=0.5, beta=1.0, gamma=0.1)


def network():
    return jitted(InfoMax(InfoMaxEncoder((4, 8), 16, 1), 4, 8))


def discriminator():
    return jitted(MLP((8, 1), norm=False))


def tiny(tx, **how):
    adam = optax.adam(3e-3)
    how = WEIGHTS | dict(augment=noisy) | how
    method = deep_infomax(network(), tx or adam, discriminator(), tx or adam, **how)
    return method, {"image": images()}


def softplus(t):
    return np.logaddexp(0, t)


def term(places, codes, measure):
    """The paper's equations in loops: places [n, m, u], codes [n, u], in float64."""
    places, codes = np.asarray(places, np.float64), np.asarray(codes, np.float64)
    n, m, _ = places.shape
    joint = [places[a, i] @ codes[a] for a in range(n) for i in range(m)]
    apart = [
        places[a, i] @ codes[b]
        for b in range(n) for a in range(n) if a != b for i in range(m)
    ]  # fmt: skip
    if measure == "jsd":
        return np.mean(softplus(-np.array(joint))) + np.mean(softplus(np.array(apart)))
    if measure == "dv":
        return np.log(np.mean(np.exp(apart))) - np.mean(joint)
    rest = np.exp(apart).reshape(n, -1).sum(1)  # of each code b
    own = np.reshape(joint, (n, m))
    return np.mean(np.log(np.exp(own) + rest[:, None]) - own)


@cache
def stepped(measure):
    """The states around a step of SGD, its metrics, and the network's outputs in it."""
    method, batch = tiny(optax.sgd(0.1), measure=measure)
    before = jax.jit(method.init)(KEY, batch)
    after, metrics = jax.jit(method.step)(KEY, before, batch)
    seen = noisy(jax.random.split(KEY, 3)[0], batch["image"])
    out, _ = network().apply(before.learner.params, before.learner.stats, seen, train=True)
    return before, after, metrics, out


@pytest.mark.parametrize("measure", ["jsd", "dv", "nce"])
def test_the_loss_is_the_weighted_sum_of_the_papers_terms(measure):
    before, _, metrics, out = stepped(measure)
    local = term(out["local"], out["local_code"], measure)
    whole = term(out["global"][:, None], out["global_code"], measure)
    code = jax.nn.sigmoid(out["z"])
    logits, _ = discriminator().apply(before.judge.params, before.judge.stats, code)
    prior = softplus(-np.asarray(logits, np.float64)).mean()
    found = [float(metrics[name]) for name in ("local", "global", "prior")]
    np.testing.assert_allclose(found, [local, whole, prior], rtol=1e-4)
    wanted = 0.5 * whole + local + 0.1 * prior
    np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-4)


def test_the_players_of_a_term_without_weight_are_absent():
    method, batch = tiny(optax.sgd(0.1), alpha=0.0, gamma=0.0)
    state = jax.jit(method.init)(KEY, batch)
    after, metrics = jax.jit(method.step)(KEY, state, batch)
    assert state.judge == after.judge == ()
    assert {*metrics} == {"local", "loss", "grad_norm"}
    for name in ("whole", "global", "global_code", "code"):
        same = jax.tree.map(
            np.array_equal, state.learner.params[name], after.learner.params[name]
        )
        assert all(jax.tree.leaves(same)) == (name != "code")


def linear_game(theta, w, penalty=0.0, rates=(1.0, 1.0), **how):
    """z = theta x, local scores x^2 e of no weight, and D's logit w sigmoid(z)."""

    def apply(theta, stats, x, train=False, keys={}):
        still = jnp.zeros((len(x), 1))
        out = {"h": x, "z": theta * x, "local": still[:, None], "local_code": still}
        return out, stats

    def judge(w, stats, code, train=False, keys={}):
        return code * w, stats

    return deep_infomax(
        Net(lambda key, x: (jnp.asarray(theta), ()), apply),
        optax.sgd(rates[0]),
        Net(lambda key, code: (jnp.asarray(w), ()), judge),
        optax.sgd(rates[1]),
        penalty=penalty,
        **how,
    )


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_both_players_go_down_the_gradients_worked_out_on_paper(x64, penalty):
    theta, w = 0.6, -0.8
    x = np.random.default_rng(0).normal(size=(6, 1))
    method = linear_game(theta, w, penalty, gamma=0.3)
    batch = {"image": jnp.asarray(x)}
    state, metrics = jax.jit(method.step)(KEY, method.init(KEY, batch), batch)
    e = sigmoid(theta * x)
    draw = jax.random.split(jax.random.split(KEY, 3)[2], 3)[0]
    u = np.asarray(jax.random.uniform(draw, (6, 1), jnp.float64))
    loss = softplus(-w * u).mean() + softplus(w * e).mean() + penalty * w**2
    np.testing.assert_allclose(metrics["disc/loss"], loss, rtol=1e-12)
    judge = (-(1 - sigmoid(w * u)) * u + sigmoid(w * e) * e).mean() + 2 * penalty * w
    np.testing.assert_allclose(state.judge.params, w - judge, rtol=1e-10)
    prior = softplus(-w * e).mean()
    np.testing.assert_allclose(metrics["loss"], 2 * np.log(2) + 0.3 * prior, rtol=1e-12)
    # Through the sigmoid, against the discriminator that was there before the step.
    encoder = 0.3 * (-(1 - sigmoid(w * e)) * w * e * (1 - e) * x).mean()
    np.testing.assert_allclose(state.learner.params, theta - encoder, rtol=1e-10)


def test_the_discriminators_loss_leaves_the_encoder_alone():
    method = linear_game(0.6, -0.8, rates=(1.0, 1.0), gamma=1e-9)
    batch = {"image": jnp.linspace(-1, 1, 6)[:, None]}
    state, _ = jax.jit(method.step)(KEY, method.init(KEY, batch), batch)
    assert state.learner.params == np.float32(0.6)
    assert state.judge.params != np.float32(-0.8)


SYMBOLS, EACH = 3, 4


def critic(measure, steps=1500):
    """The global loss of a free table of scores after training, on 3 symbols, 4 of each."""

    def apply(table, stats, x, train=False, keys={}):
        out = {"h": x, "z": x[:, :1], "global": x @ table, "global_code": x}
        return out, stats

    method = deep_infomax(
        Net(lambda key, x: (jnp.zeros((SYMBOLS, SYMBOLS)), ()), apply),
        optax.adam(0.05),
        *(discriminator(), optax.sgd(0.1)),
        alpha=1.0,
        beta=0.0,
        gamma=0.0,
        measure=measure,
    )
    batch = {"image": jnp.eye(SYMBOLS)[jnp.arange(SYMBOLS * EACH) % SYMBOLS]}

    def step(state, key):
        state, metrics = method.step(key, state, batch)
        return state, metrics["global"]

    keys = jax.random.split(KEY, steps)
    return jax.jit(lambda s: jax.lax.scan(step, s, keys))(method.init(KEY, batch))[1][-1]


def test_the_best_critics_reach_the_divergences_of_joint_and_product():
    """Pairs of one image have equal symbols; of two images, (EACH - 1) / (n - 1) have."""
    n = SYMBOLS * EACH
    chance = (EACH - 1) / (n - 1)
    p = np.eye(SYMBOLS).ravel() / SYMBOLS
    q = np.where(p > 0, chance / SYMBOLS, (1 - chance) / (SYMBOLS**2 - SYMBOLS))
    kl = np.log(1 / chance)
    np.testing.assert_allclose(critic("dv"), -kl, atol=2e-3)
    some = p > 0
    jsd = (p[some] * np.log(p[some] / (p + q)[some])).sum()
    jsd += (q * np.log(q / (p + q))).sum()
    np.testing.assert_allclose(critic("jsd"), -jsd, atol=2e-3)
    # Among the image itself and n - 1 others, EACH have the right symbol.
    np.testing.assert_allclose(critic("nce"), np.log(EACH), atol=2e-3)


def test_scores_of_zero_have_the_textbook_losses():
    places, codes = np.zeros((3, 5, 2)), np.zeros((3, 2))
    found = [term(places, codes, measure) for measure in ("jsd", "dv", "nce")]
    np.testing.assert_allclose(found, [2 * np.log(2), 0, np.log(1 + 2 * 5)], atol=1e-12)


def test_the_picture_is_of_the_scores_of_the_own_code_and_of_another():
    method, batch = tiny(None)
    state = jax.jit(method.init)(KEY, batch)
    out = method.embed(state, batch)
    [grid] = method.render(KEY, state, batch, None).values()
    places, codes = np.asarray(out["local"]), np.asarray(out["local_code"])
    assert places.shape == (8, 16, 8)
    for i in range(8):
        scores = np.array([places[i] @ codes[i], places[i] @ codes[i - 1]])
        scores = (scores - scores.min()) / (scores.max() - scores.min())
        cells = np.asarray(grid.images)[i, 1:, ::2, ::2, 0].reshape(2, -1)
        np.testing.assert_allclose(cells, scores, atol=1e-4)


def test_the_layers_are_those_of_the_encoder():
    """The score network of the whole map has convolutions too, which are no layers."""
    method, batch = tiny(None)
    out = method.embed(jax.jit(method.init)(KEY, batch), batch)
    assert [x.shape for x in out["layers"]] == [(8, 4, 4, 4), (8, 2, 2, 8)]


def test_the_published_network_has_its_shapes():
    """Figure 1 and appendix A of the paper, for CIFAR-10."""
    net = InfoMax(InfoMaxEncoder())
    x = jnp.zeros((2, 32, 32, 3))
    variables = jax.eval_shape(net.init, KEY, x)
    out = jax.eval_shape(net.apply, variables, x)
    assert {name: value.shape[1:] for name, value in out.items()} == {
        "h": (1024,),
        "z": (64,),
        "local": (64, 2048),
        "local_code": (2048,),
        "global": (2048,),
        "global_code": (2048,),
    }
    kernel = variables["params"]["encoder"]["upper"]["dense"]["kernel"]
    assert kernel.shape == (4 * 4 * 256, 1024)
    shortcut = variables["params"]["local"]["shortcut"]["kernel"]
    assert shortcut.shape == (128, 2048)


def test_what_cannot_be_played_is_refused_in_one_line():
    with pytest.raises(ValueError, match="one of jsd, dv, nce, got 'kl'"):
        tiny(None, measure="kl")
    with pytest.raises(ValueError, match="alpha and beta are 0"):
        tiny(None, alpha=0.0, beta=0.0)
    with pytest.raises(ValueError, match="compares the samples of a batch"):
        method, batch = tiny(optax.MultiSteps(optax.sgd(0.1), 2))
        method.init(KEY, batch)
    with pytest.raises(ValueError, match="local must be 1 to 2"):
        InfoMaxEncoder((4, 8), 16, 3).init(KEY, images())
