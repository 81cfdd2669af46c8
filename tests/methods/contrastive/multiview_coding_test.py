"""CMC: its losses by double loops, its banks before and after, and its graphs of views."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import images, jitted, noisy

from jssl import config, nets
from jssl.methods.contrastive.multiview_coding import multiview_coding, pairs
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP
from jssl.models.multiview import Concatenated, PerView

headline = "loss"
KEY = jax.random.key(0)
SIZE, M = 20, 6  # samples of the data, negatives of each anchor
NAMES = ("left", "right")


def halves(x):
    x = x["image"] if isinstance(x, dict) else x
    return x[:, :, :4], x[:, :, 4:]


def network():
    return jitted(PerView((ConvNet((4, 8)),) * 2, (MLP((4,)),) * 2))


def tiny(tx):
    method = multiview_coding(
        network(),
        tx or optax.adam(5e-3),
        lambda key, batch: halves(noisy(key, batch)),
        views=NAMES,
        size=8,
        prepare=halves,
        negatives=4,
        temperature=0.3,
    )
    return method, {"image": images(), "index": jnp.arange(8)}


def linear_net(widths, k=3):
    """Views [n, d_i] -> z_i = x_i w_i: a network with nothing to hide."""

    def init(key, views):
        keys = jax.random.split(key, len(widths))
        pair = zip(keys, widths, strict=True)
        return [jax.random.normal(key, (d, k)) for key, d in pair], {}

    def apply(params, stats, views, train=False, keys={}, capture=(), method=None):
        z = tuple(x @ w for x, w in zip(views, params, strict=True))
        return {"h": jnp.concatenate(z, -1), "parts": z, "z": z}, stats

    return nets.Net(init, apply)


WIDTHS = (4, 2, 5)
ROWS = jnp.array([3, 17, 0, 8, 11])


@cache
def data(views):
    keys = jax.random.split(jax.random.key(9), views)
    x = tuple(jax.random.normal(key, (5, d)) for key, d in zip(keys, WIDTHS, strict=False))
    return {"views": x, "index": ROWS}


def coding(views=2, tx=None, **how):
    given = lambda batch: batch["views"]
    settings = dict(size=SIZE, negatives=M, temperature=0.4) | how
    return multiview_coding(
        linear_net(WIDTHS[:views]),
        tx or optax.sgd(0.05),
        lambda key, batch: given(batch),
        views=("a", "b", "c")[:views],
        prepare=given,
        **settings,
    )


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def steps_of(method, views, count):
    """The states, keys and metrics of some steps; the state before each."""
    state, step, seen = jax.jit(method.init)(KEY, data(views)), jax.jit(method.step), []
    for i in range(count):
        key = jax.random.key(i + 1)
        after, metrics = step(key, state, data(views))
        seen.append((key, jax.device_get(state), jax.device_get(after), metrics))
        state = after
    return seen


def drawn(key):
    """The negatives of a step, the same samples in every bank."""
    return np.asarray(jax.random.randint(jax.random.split(key)[1], (5, M), 0, SIZE))


def features(state, views):
    x, weights = data(views)["views"], state.learner.params
    return [unit(np.asarray(a @ b, np.float64)) for a, b in zip(x, weights, strict=True)]


def exponentials(key, state, i, j, views):
    """exp(v u / tau) of anchors of view i and bank j, [5, 1 + m], the positive first."""
    index = np.concatenate([np.asarray(ROWS)[:, None], drawn(key)], 1)
    rows = np.asarray(state.banks[j], np.float64)[index]
    return np.exp(np.einsum("nmd,nd->nm", rows, features(state, views)[i]) / 0.4)


@pytest.mark.parametrize(
    ("views", "graph", "ways"),
    [
        (2, "core", [(0, 1), (1, 0)]),
        (3, "core", [(0, 1), (1, 0), (0, 2), (2, 0)]),
        (3, "full", [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]),
    ],
)
def test_nce_is_that_of_the_papers_posterior_with_constants_of_the_first_step(
    views, graph, ways
):
    """Posterior P / (P + m / N) with P = exp / Z, and Z = N times the mean of step one."""
    z = {}
    for key, state, after, metrics in steps_of(coding(views, graph=graph), views, 2):
        total = 0.0
        for i, j in ways:
            scores = exponentials(key, state, i, j, views)
            z.setdefault((i, j), SIZE * scores.mean())
            for row in scores / z[i, j]:
                total -= np.log(row[0] / (row[0] + M / SIZE)) / 5
                for p in row[1:]:
                    total -= np.log((M / SIZE) / (p + M / SIZE)) / 5
            np.testing.assert_allclose(after.log_z[i, j], np.log(z[i, j]), rtol=1e-4)
        np.testing.assert_allclose(metrics["loss"], total, rtol=1e-4)


def test_the_softmax_is_the_cross_entropy_of_one_and_m_rows():
    for key, state, _, metrics in steps_of(coding(kind="softmax"), 2, 2):
        scores = [exponentials(key, state, i, 1 - i, 2) for i in range(2)]
        wanted = sum(-np.log(x[:, 0] / x.sum(1)).mean() for x in scores)
        np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-4)


@pytest.mark.parametrize(("views", "graph"), [(2, "core"), (2, "full"), (3, "full")])
def test_without_banks_candidates_are_the_samples_of_the_batch(views, graph):
    [(_, state, after, metrics)] = steps_of(
        coding(views, kind="batch", graph=graph), views, 1
    )
    u, total = features(state, views), 0.0
    for i in range(views):
        for j in range(views):
            if i != j:
                scores = np.exp(u[i] @ u[j].T / 0.4)
                total -= np.log(np.diag(scores) / scores.sum(1)).mean()
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
    assert after.banks == ()
    match = (u[0] @ u[1].T).argmax(1) == np.arange(5)
    np.testing.assert_allclose(metrics["view_accuracy"], match.mean())


def test_banks_hold_means_of_the_features_before_the_update():
    for _, state, after, _ in steps_of(coding(momentum=0.3), 2, 2):
        moved = np.abs(after.learner.params[0] - state.learner.params[0]).max()
        assert moved > 1e-3
        for bank, new, u in zip(state.banks, after.banks, features(state, 2), strict=True):
            wanted = np.array(bank)
            wanted[ROWS] = unit(0.3 * wanted[ROWS] + 0.7 * u)
            np.testing.assert_allclose(new, wanted, atol=1e-5)


def test_with_two_views_the_core_is_the_full_graph():
    assert pairs(2, "core") == pairs(2, "full")
    assert [len(pairs(n, "full")) for n in (2, 3, 4, 5)] == [1, 3, 6, 10]
    assert [len(pairs(n, "core")) for n in (2, 3, 4, 5)] == [1, 2, 3, 4]


@pytest.mark.parametrize(("graph", "same"), [("full", True), ("core", False)])
def test_the_full_graph_has_no_first_view(graph, same):
    how = dict(size=SIZE, kind="batch", graph=graph, temperature=0.4)
    order, values = [2, 0, 1], []
    params = coding(3, **how).init(KEY, data(3)).learner.params
    for places in (range(3), order):
        x = tuple(data(3)["views"][i] for i in places)
        method = multiview_coding(
            linear_net([WIDTHS[i] for i in places]),
            optax.sgd(0.1),
            lambda key, batch: batch["views"],
            views=[str(i) for i in places],
            prepare=lambda batch: batch["views"],
            **how,
        )
        batch = {"views": x, "index": ROWS}
        state = jax.jit(method.init)(KEY, batch)
        learner = state.learner._replace(params=[params[i] for i in places])
        state = state._replace(learner=learner)
        values.append(jax.jit(method.step)(KEY, state, batch)[1]["loss"])
    assert (abs(values[0] - values[1]) < 1e-5) == same


def experiment(name):
    """A function of experiments/multiview_coding.py."""
    path = Path(__file__).parents[3] / "experiments" / "multiview_coding.py"
    return config.functions(path)["laptop"].__globals__[name]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("nce", 2 * (np.log(1 + M) + M * np.log((1 + M) / M))),
        ("softmax", 2 * np.log(1 + M)),
        ("batch", 2 * np.log(5)),
    ],
)
def test_features_of_zero_cost_what_chance_costs(kind, wanted):
    method = coding(kind=kind)
    state = jax.jit(method.init)(KEY, data(2))
    params = [0 * w for w in state.learner.params]
    state = state._replace(learner=state.learner._replace(params=params))
    _, metrics = jax.jit(method.step)(KEY, state, data(2))
    np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-5)
    told = experiment("chance")(kind, NAMES, "core", M, 5)
    np.testing.assert_allclose(told, wanted, rtol=1e-12)


def test_depth_is_a_channel_beside_the_colors():
    image = jax.random.uniform(KEY, (2, 4, 4, 3))
    depth = jnp.arange(32, dtype=jnp.uint8).reshape(2, 4, 4) * 8
    whole = experiment("with_depth")({"image": image, "depth": depth})
    np.testing.assert_array_equal(whole[..., :3], image)
    np.testing.assert_allclose(255 * whole[..., 3], depth, rtol=1e-6)
    with pytest.raises(ValueError, match="need a source with a column depth"):
        experiment("with_depth")({"image": image})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (dict(graph="star"), "graph must be core or full.* got 'star' and 2"),
        (dict(kind="npair"), "kind must be one of nce, softmax, batch, got 'npair'"),
        (dict(views=1), "two views or more, got 'core' and 1"),
    ],
)
def test_an_unknown_graph_or_loss_is_refused(how, message):
    with pytest.raises(ValueError, match=message):
        coding(**how)


def test_gradients_of_parts_of_a_batch_are_refused_where_its_samples_are_compared():
    tx = optax.MultiSteps(optax.sgd(0.1), 2)
    with pytest.raises(ValueError, match="multiview_coding: the loss compares the samples"):
        coding(tx=tx, kind="batch").init(KEY, data(2))
    coding(tx=tx, kind="nce").init(KEY, data(2))  # each row with rows of the bank


@cache
def embedded():
    method, batch = tiny(optax.sgd(0.0))
    state = jax.jit(method.init)(KEY, batch)
    return method, state, batch, jax.jit(method.embed)


def test_every_view_has_its_own_encoder_and_h_is_their_concatenation():
    _, state, batch, embed = embedded()
    out = embed(state, batch)
    np.testing.assert_array_equal(out["h"][:, :8], out["h/left"])
    np.testing.assert_array_equal(out["h"][:, 8:], out["h/right"])
    np.testing.assert_allclose(
        np.linalg.norm(out["z"].reshape(8, 2, 4), axis=-1), 1, rtol=1e-5
    )
    changed = embed(state, batch | {"image": batch["image"].at[:, :, 4:].add(1.0)})
    np.testing.assert_array_equal(changed["h/left"], out["h/left"])
    assert np.abs(changed["h/right"] - out["h/right"]).max() > 1e-3
    one, two = (state.learner.params[f"encoder{i}"]["conv0"]["kernel"] for i in range(2))
    assert np.abs(one - two).max() > 1e-2
    encoders = jitted(Concatenated((ConvNet((4, 8)),) * 2))
    own = {k: x for k, x in state.learner.params.items() if k.startswith("encoder")}
    stats = {"batch_stats": dict(state.learner.stats["batch_stats"])}
    h, _ = encoders.apply(own, stats, halves(batch))
    np.testing.assert_allclose(h, out["h"], rtol=1e-5)


def test_layers_are_those_of_both_encoders_side_by_side():
    _, state, batch, embed = embedded()
    first, second = embed(state, batch)["layers"]
    assert first.shape == (8, 4, 2, 8) and second.shape == (8, 2, 1, 16)
    out, _ = network().apply(state.learner.params, state.learner.stats, halves(batch))
    np.testing.assert_allclose(first[..., 4:], out["layers"][2], atol=1e-6)
    np.testing.assert_allclose(second[..., :8], out["layers"][1], atol=1e-6)


def test_a_view_is_drawn_with_the_nearest_of_the_other():
    """Features of both views are the same pixels: the nearest is the view's own partner."""

    def apply(params, stats, views, train=False, keys={}, capture=(), method=None):
        z = tuple(x.mean(-1).reshape(len(x), -1) - 0.5 for x in views)
        return {"h": z[0], "parts": z, "z": z}, stats

    net = nets.Net(lambda key, views: ({"w": jnp.ones(())}, {}), apply)
    gray = jax.random.uniform(KEY, (6, 4, 4, 1))
    split = lambda batch: (batch["image"], batch["image"].repeat(2, -1))
    method = multiview_coding(
        net, optax.sgd(0.1), lambda key, batch: split(batch), views=("one", "two"),
        size=6, prepare=split,
    )  # fmt: skip
    batch = {"image": gray, "index": jnp.arange(6)}
    drawn = method.render(KEY, method.init(KEY, batch), batch, None)
    cells = np.asarray(drawn["one, and the nearest two"].images)
    assert cells.shape == (6, 6, 4, 4, 3)
    np.testing.assert_allclose(cells[:, 0], np.broadcast_to(gray, (6, 4, 4, 3)))
    np.testing.assert_allclose(
        cells[:, 1, ..., [0, 2]], gray.repeat(2, -1).transpose(3, 0, 1, 2)
    )
    np.testing.assert_array_equal(cells[:, 2], cells[:, 1])
    assert (cells[:, 3] != cells[:, 1]).any((1, 2, 3)).all()
