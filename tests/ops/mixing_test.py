from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.mixing import interleave, mixmatch_batch, mixup

KEY = jax.random.key(0)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.random((6, 4, 4, 1)), jnp.float32)
    return x, jnp.asarray(rng.dirichlet(np.ones(3), size=6), jnp.float32)


compiled = jax.jit(mixup, static_argnames=("per_sample", "keep_dominant"))


def mixed(x, y, alpha, **options):
    """The parts of mixup as numpy arrays."""
    return tuple(map(np.asarray, compiled(KEY, x, y, alpha, **options)))


def test_each_row_is_the_blend_it_says(batch):
    partner = jnp.array([5, 4, 3, 2, 1, 0])
    x, y, weight = mixed(*batch, 0.75, partner=partner, keep_dominant=False)
    for before, after in zip(batch, (x, y), strict=True):
        before = np.asarray(before)
        for i in range(6):
            blend = weight[i] * before[i] + (1 - weight[i]) * before[5 - i]
            np.testing.assert_allclose(after[i], blend, atol=1e-6)
    assert (weight < 0.5).any()
    np.testing.assert_allclose(y.sum(1), 1, rtol=1e-6)


def test_each_row_stays_nearer_to_its_own_sample(batch):
    x, _, weight = mixed(*batch, 1.0)
    assert (weight >= 0.5).all()
    assert len(set(weight.tolist())) == 6
    before = np.asarray(batch[0])
    low, high = before.min(0), before.max(0)
    assert ((x >= low - 1e-6) & (x <= high + 1e-6)).all()


def test_one_weight_serves_the_batch_on_request(batch):
    weight = mixed(*batch, 1.0, per_sample=False)[2]
    assert weight.shape == (6,)
    assert len(set(weight.tolist())) == 1


def test_without_alpha_or_with_itself_a_sample_is_not_mixed(batch):
    own = jnp.arange(6)
    for alpha, partner in [(0.0, own[::-1]), (1e-8, own[::-1]), (0.75, own)]:
        x, y, _ = mixed(*batch, alpha, partner=partner)
        np.testing.assert_allclose(x, batch[0], atol=1e-6)
        np.testing.assert_allclose(y, batch[1], atol=1e-6)


def test_the_mean_of_the_dominant_weight_is_the_catalogues():
    n = 40_000
    x, y = jnp.zeros((n, 1)), jnp.zeros((n, 1))
    means = {0.1: 0.94158, 0.2: 0.89881, 0.5: 0.81831, 0.75: 0.77821, 1.0: 0.75}
    for alpha, mean in means.items():
        weight = mixed(x, y, alpha)[2]
        error = weight.std() / np.sqrt(n)
        np.testing.assert_allclose(weight.mean(), mean, atol=4 * error)


def test_narrow_images_stay_narrow_and_targets_do_not(batch):
    x, y, weight = mixed(*(v.astype(jnp.bfloat16) for v in batch), 0.75)
    assert x.dtype == jnp.bfloat16
    assert y.dtype == weight.dtype == jnp.float32


def test_mixmatch_mixes_every_sample_with_one_of_the_whole_pool():
    b, n, k, c = 3, 4, 2, 14
    # one-hot rows, so that a mixed row shows its two parents
    x, u = jnp.eye(11)[:b], jnp.eye(11)[b:].reshape(n, k, 11)
    p, q = jnp.eye(c)[:b], jnp.eye(c)[b : b + n]
    (x2, p2), (u2, q2) = jax.jit(mixmatch_batch)(KEY, x, p, u, q)
    assert x2.shape == (b, 11)
    assert u2.shape == (n * k, 11)
    rows, mixed_targets = np.concatenate([x2, u2]), np.concatenate([p2, q2])
    assert (rows.argmax(1) == np.arange(11)).all()  # nearest to its own sample
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-6)
    targets = np.concatenate([p, np.repeat(q, k, axis=0)])
    np.testing.assert_allclose(mixed_targets, rows @ targets, atol=1e-6)
    parents = [set(np.flatnonzero(row)) - {i} for i, row in enumerate(rows)]
    partners = [i if not others else others.pop() for i, others in enumerate(parents)]
    assert sorted(partners) == list(range(11))  # a shuffle


@pytest.mark.parametrize("kind", ["labeled", "unlabeled", "apart"])
def test_ablations_of_mixmatch_mix_no_labeled_row_with_an_unlabeled_one(kind):
    b, n, k, c = 5, 4, 2, 14
    x, u = jnp.eye(13)[:b], jnp.eye(13)[b:].reshape(n, k, 13)
    p, q = jnp.eye(c)[:b], jnp.eye(c)[b : b + n]
    mix = jax.jit(partial(mixmatch_batch, mixed=kind))
    (x2, p2), (u2, q2) = mix(KEY, x, p, u, q)
    u, q = u.reshape(-1, 13), np.repeat(q, k, axis=0)
    for part, own, inputs, targets in (
        ("labeled", slice(b), (x, x2), (p, p2)),
        ("unlabeled", slice(b, 13), (u, u2), (q, q2)),
    ):
        shares = np.asarray(inputs[1])[:, own]
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)  # of rows of its kind
        np.testing.assert_allclose(targets[1], shares @ targets[0], atol=1e-6)
        still = np.array_equal(inputs[0], inputs[1])
        assert still == (kind not in ("apart", part))


@pytest.mark.parametrize(("n", "m"), [(6, 3), (64, 3), (5, 2), (2, 3), (4, 1)])
def test_interleaving_twice_is_doing_nothing(n, m):
    arrays = [np.arange(2 * n).reshape(n, 2) + 1000 * i for i in range(m)]
    once = interleave([jnp.asarray(x) for x in arrays])
    for x, y in zip(interleave(once), arrays, strict=True):
        np.testing.assert_array_equal(x, y)
    pool = sorted(np.concatenate(once)[:, 0].tolist())
    assert pool == sorted(np.concatenate(arrays)[:, 0].tolist())


def test_the_first_interleaved_batch_holds_equal_parts_of_all():
    first = interleave([jnp.full(63, i) for i in range(3)])[0]
    assert np.bincount(first).tolist() == [21, 21, 21]


def test_wrong_shapes_and_dtypes_are_refused(unhooked):
    x, y = jnp.ones((2, 3)), jnp.ones((2, 4))
    cases = [
        (mixup, (KEY, x, y[:1], 1.0), r"y must be float\[n=2, c\]"),
        (mixup, (KEY, x.astype(int), y, 1.0), r"x must be float"),
        (mixmatch_batch, (KEY, x, y, x, y), r"u must be float\[n, k, d1=3\]"),
        (partial(mixmatch_batch, mixed="some"), (KEY, x, y, x[:, None], y), "mixed must"),
        (interleave, ([x, y],), r"arrays_1 must be any\[n=2, d1=3\]"),
    ]
    for function, arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            function(*arguments)
