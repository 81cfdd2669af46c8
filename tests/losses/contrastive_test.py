import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import gammaln, ive

from jssl.losses import contrastive
from jssl.losses.contrastive import (
    dcl,
    dclw,
    graph_contrastive,
    info_nce,
    nt_xent,
    supervised_contrastive,
)
from jssl.losses.crossmodal import clip

N, D, T = 6, 4, 0.3


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def cos(u, v):
    return u @ v / (np.linalg.norm(u) * np.linalg.norm(v))


def log_sum(logits):
    return np.log(sum(np.exp(x) for x in logits))


def info_nce_loop(a, b, c):
    return np.mean(
        [
            log_sum(cos(a[i], b[j]) / T for j in range(N)) - cos(a[i], b[i]) / T
            for i in range(N)
        ]
    )


def moco_loop(a, b, c):
    losses = []
    for i in range(N):
        positive = cos(a[i], b[i]) / T
        negatives = [cos(a[i], c[j]) / T for j in range(len(c))]
        losses.append(log_sum([positive, *negatives]) - positive)
    return np.mean(losses)


def algorithm_1(a, b, c):
    """SimCLR's, with its rows 2k - 1 and 2k."""
    z = np.stack([a, b], 1).reshape(2 * N, D)

    def nats(i, j):
        others = [cos(z[i], z[k]) / T for k in range(2 * N) if k != i]
        return log_sum(others) - cos(z[i], z[j]) / T

    return sum(nats(2 * k, 2 * k + 1) + nats(2 * k + 1, 2 * k) for k in range(N)) / (2 * N)


def memory_loop(a, b, c):
    z = np.concatenate([a, b])
    losses = []
    for i in range(2 * N):
        others = [cos(z[i], z[k]) / T for k in range(2 * N) if k != i]
        others += [cos(z[i], row) / T for row in c]
        losses.append(log_sum(others) - cos(z[i], z[(i + N) % (2 * N)]) / T)
    return np.mean(losses)


def dcl_loop(a, b, c, weights=None):
    weights = np.ones(N) if weights is None else weights
    losses = []
    for x, y in ((a, b), (b, a)):
        for i in range(N):
            others = [cos(x[i], z[k]) / T for z in (x, y) for k in range(N) if k != i]
            losses.append(log_sum(others) - weights[i] * cos(x[i], y[i]) / T)
    return np.mean(losses)


def dclw_loop(a, b, c):
    e = np.exp([cos(a[i], b[i]) / 0.5 for i in range(N)])
    return dcl_loop(a, b, c, 2 - N * e / e.sum())


def graph_loop(a, b, c):
    return np.mean(
        [
            log_sum(cos(a[i], b[j]) / T for j in range(N) if j != i) - cos(a[i], b[i]) / T
            for i in range(N)
        ]
    )


LABELS = [0, 1, 0, 2, 1, 0]  # the 2 is alone


def supervised_loop(a, b, c):
    losses = []
    for i in range(N):
        total = log_sum(cos(a[i], a[k]) / T for k in range(N) if k != i)
        partners = [p for p in range(N) if p != i and LABELS[p] == LABELS[i]]
        nats = [total - cos(a[i], a[p]) / T for p in partners]
        losses.append(np.mean(nats) if partners else 0)
    return np.mean(losses)


LOOPS = {
    "info_nce": (lambda a, b, c: info_nce(a, b, temperature=T), info_nce_loop),
    "moco": (lambda a, b, c: info_nce(a, b, c, T), moco_loop),
    "moco, own negatives": (
        lambda a, b, c: info_nce(a, b, jnp.stack([c] * N), T),
        moco_loop,
    ),
    "nt_xent": (lambda a, b, c: nt_xent(a, b, T), algorithm_1),
    "nt_xent, memory": (lambda a, b, c: nt_xent(a, b, T, negatives=c), memory_loop),
    "dcl": (lambda a, b, c: dcl(a, b, T), dcl_loop),
    "dclw": (lambda a, b, c: dclw(a, b, T), dclw_loop),
    "graph_contrastive": (lambda a, b, c: graph_contrastive(a, b, T), graph_loop),
    "supervised_contrastive": (
        lambda a, b, c: supervised_contrastive(a, jnp.array(LABELS), T),
        supervised_loop,
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loss_is_its_double_loop(name):
    loss, loop = LOOPS[name]
    a, b, c = draw(N, D), draw(N, D, seed=1), draw(5, D, seed=2)
    wanted = loop(*map(np.asarray, (a, b, c)))
    np.testing.assert_allclose(jax.jit(loss)(a, b, c), wanted, rtol=1e-12)


@pytest.mark.parametrize("n", [2, 5])
def test_equal_rows_leave_the_logarithm_of_the_candidates(n):
    z = jnp.ones((n, 3))
    closed = {
        info_nce: np.log(n),
        nt_xent: np.log(2 * n - 1),
        dcl: np.log(2 * n - 2),
        dclw: np.log(2 * n - 2),
        graph_contrastive: np.log(n - 1),
    }
    for loss, value in closed.items():
        np.testing.assert_allclose(loss(z, z), value, atol=1e-12)
    queue = jnp.ones((7, 3))
    np.testing.assert_allclose(info_nce(z, z, queue), np.log(8), atol=1e-12)


@pytest.mark.parametrize("t", [0.1, 0.5])
def test_aligned_orthogonal_pairs_have_a_closed_form(t):
    n, z = 4, jnp.eye(4)
    e = np.exp(-1 / t)
    np.testing.assert_allclose(info_nce(z, z, None, t), np.log1p((n - 1) * e))
    np.testing.assert_allclose(nt_xent(z, z, t), np.log1p((2 * n - 2) * e))
    np.testing.assert_allclose(dcl(z, z, t), np.log(2 * n - 2) - 1 / t)
    np.testing.assert_allclose(dclw(z, z, t), np.log(2 * n - 2) - 1 / t)
    np.testing.assert_allclose(graph_contrastive(z, z, t), np.log(n - 1) - 1 / t)
    assert abs(nt_xent(jnp.eye(2), jnp.eye(2), 0.5) - 0.239545) < 1e-6


def test_nt_xent_is_optax_ntxent():
    a, b = draw(N, D), draw(N, D, seed=1)
    labels = jnp.tile(jnp.arange(N), 2)
    theirs = optax.losses.ntxent(jnp.concatenate([a, b]), labels, temperature=T)
    np.testing.assert_allclose(nt_xent(a, b, T), theirs, rtol=1e-12)


def test_info_nce_is_a_cross_entropy_with_the_diagonal_for_labels():
    a, b = (draw(N, D, seed=s) for s in (0, 1))
    a, b = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    theirs = optax.softmax_cross_entropy_with_integer_labels(a @ b.T / T, jnp.arange(N))
    np.testing.assert_allclose(info_nce(a, b, None, T), theirs.mean(), rtol=1e-12)


def test_as_many_labels_as_samples_make_the_supervised_loss_nt_xent():
    a, b = draw(N, D), draw(N, D, seed=1)
    labels = jnp.tile(jnp.arange(N), 2)
    supervised = supervised_contrastive(jnp.concatenate([a, b]), labels, T)
    np.testing.assert_allclose(supervised, nt_xent(a, b, T), rtol=1e-12)


@pytest.mark.parametrize("loss", [info_nce, nt_xent, dcl, dclw, graph_contrastive])
def test_order_rotation_and_length_do_not_matter(loss):
    a, b = draw(N, D), draw(N, D, seed=1)
    value = loss(a, b)
    order = jnp.array([3, 0, 5, 1, 4, 2])
    turn = jnp.linalg.qr(draw(D, D, seed=2))[0]
    np.testing.assert_allclose(loss(a[order], b[order]), value, rtol=1e-12)
    np.testing.assert_allclose(loss(a @ turn, b @ turn), value, rtol=1e-12)
    np.testing.assert_allclose(loss(3 * a, b / 7), value, rtol=1e-12)


@pytest.mark.parametrize("loss", [nt_xent, dcl, dclw])
def test_the_two_views_play_the_same_part(loss):
    a, b = draw(N, D), draw(N, D, seed=1)
    np.testing.assert_allclose(loss(a, b), loss(b, a), rtol=1e-12)


@pytest.mark.parametrize("loss", [info_nce, nt_xent, dcl, dclw, graph_contrastive])
def test_the_gradient_is_orthogonal_to_the_embedding(loss):
    a, b = draw(N, D), draw(N, D, seed=1)
    slope = jax.grad(loss)(a, b)
    assert jnp.abs(slope).max() > 1e-3
    np.testing.assert_allclose((slope * a).sum(1), 0, atol=1e-12)


def test_leaving_the_partner_out_below_costs_less():
    a, b = draw(N, D), draw(N, D, seed=1)
    assert dcl(a, b) < nt_xent(a, b)
    assert graph_contrastive(a, b) < info_nce(a, b)


def test_dclw_weights_carry_no_gradient():
    a, b = draw(N, D), draw(N, D, seed=1)

    def agreement(a):
        units = [x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
        return (units[0] * units[1]).sum(1)

    weights = 2 - N * jax.nn.softmax(agreement(a) / 0.5)
    np.testing.assert_allclose(weights.mean(), 1, rtol=1e-12)

    def held(a):
        return dcl(a, b, T) - ((weights - 1) * agreement(a)).mean() / T

    slope = jax.grad(lambda a: dclw(a, b, T))(a)
    np.testing.assert_allclose(slope, jax.grad(held)(a), rtol=1e-10)


def test_an_empty_memory_changes_nothing():
    a, b, empty = draw(N, D), draw(N, D, seed=1), jnp.zeros((0, D))
    np.testing.assert_allclose(nt_xent(a, b, negatives=empty), nt_xent(a, b))
    for chunk in (None, 2):  # alone with one's own key
        np.testing.assert_allclose(info_nce(a, b, empty, chunk=chunk), 0, atol=1e-12)


def test_one_sample_costs_nothing_or_only_its_own_disagreement():
    a, b = draw(1, D), draw(1, D, seed=1)
    s = cos(np.asarray(a)[0], np.asarray(b)[0])
    np.testing.assert_allclose(info_nce(a, b), 0, atol=1e-12)
    np.testing.assert_allclose(nt_xent(a, b), 0, atol=1e-12)
    for loss in (dcl, dclw, graph_contrastive):
        np.testing.assert_allclose(loss(a, b, T), -s / T, rtol=1e-12)
    assert supervised_contrastive(a, jnp.array([0])) == 0


def test_a_temperature_can_be_learnt():
    a, b = draw(N, D), draw(N, D, seed=1)
    slope = jax.grad(lambda t: nt_xent(a, b, t))(T)
    step = 1e-6
    difference = (nt_xent(a, b, T + step) - nt_xent(a, b, T - step)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-6)  # central differences


@pytest.mark.parametrize(
    ("n", "d", "t", "measured", "spread"),
    [
        (256, 128, 0.5, 6.258, 0.011),
        (256, 128, 0.1, 6.637, 0.045),
        (512, 64, 0.2, 7.118, 0.021),
        (128, 32, 0.2, 5.883, 0.042),
    ],
)
def test_random_features_start_near_the_logarithm(n, d, t, measured, spread):
    losses = jax.jit(jax.vmap(lambda z: nt_xent(z[0], z[1], t)))(draw(5, 2, n, d))
    np.testing.assert_allclose(losses.mean(), measured, atol=4 * spread)
    # log 0F1(; d/2; x^2/4) by way of the Bessel function; exact for many samples.
    order, x = d / 2 - 1, 1 / t
    bessel = np.log(ive(order, x)) + x
    excess = gammaln(d / 2) + bessel - order * np.log(x / 2)
    assert np.log(2 * n - 1) < losses.mean() < np.log(2 * n - 1) + excess + 3 * spread


CHUNKED = {
    "info_nce": info_nce,
    "info_nce, queue": lambda a, b, **options: info_nce(a, b, a[:5] + 1, **options),
    "nt_xent": nt_xent,
    "nt_xent, memory": lambda a, b, **options: nt_xent(
        a, b, negatives=a[:5] + 1, **options
    ),
    "dcl": dcl,
    "dclw": dclw,
    "graph_contrastive": graph_contrastive,
    "clip": lambda a, b, **options: clip(a, b, 10.0, **options),
}


@pytest.mark.parametrize("chunk", [5, 100])
@pytest.mark.parametrize("name", CHUNKED)
def test_cutting_the_candidates_changes_nothing(name, chunk):
    a, b = (draw(N, D, seed=s).astype(jnp.float32) for s in (0, 1))

    def both(**options):
        loss = jax.value_and_grad(lambda a, b: CHUNKED[name](a, b, **options), (0, 1))
        return jax.jit(loss)(a, b)

    for cut, whole in zip(
        jax.tree.leaves(both(chunk=chunk)), jax.tree.leaves(both()), strict=True
    ):
        assert cut.dtype == jnp.float32
        np.testing.assert_allclose(cut, whole, rtol=1e-5, atol=1e-6)


def test_a_batch_of_batches_is_mapped_over_chunked_or_not():
    a, b = draw(3, N, D), draw(3, N, D, seed=1)
    chunked = jax.grad(lambda a, b: nt_xent(a, b, chunk=5))
    mapped, slope = jax.jit(jax.vmap(chunked))(a, b), jax.jit(jax.grad(nt_xent))
    for i in range(3):
        np.testing.assert_allclose(mapped[i], slope(a[i], b[i]), rtol=1e-10)


def test_negatives_of_each_query_cannot_be_cut():
    z = jnp.ones((2, 3))
    with pytest.raises(ValueError, match="chunk needs negatives shared by all"):
        info_nce(z, z, jnp.ones((2, 4, 3)), chunk=2)


def test_every_public_loss_is_tested():
    public = {
        name
        for name, x in vars(contrastive).items()
        if getattr(x, "__module__", "") == contrastive.__name__ and name[0] != "_"
    }
    assert public <= {name.split(",")[0] for name in LOOPS}
