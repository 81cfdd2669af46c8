import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jssl.losses import consistency as losses
from jssl.ops.divergences import soft_cross_entropy
from jssl.ops.ramps import tsa_threshold

KEY = jax.random.key(0)
N, C = 6, 4

few = hypothesis.settings(max_examples=15, deadline=None, derandomize=True)
extreme_logits = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 2), st.just(3)),
    elements=st.sampled_from([-1e4, -1.0, 0.0, 1.0, 1e4]),
)


@pytest.fixture
def pair():
    return 2 * np.random.default_rng(0).normal(size=(2, N, C))


def on_both(a, b):
    """Every loss of two arrays of logits, as a function of both."""
    labels, p = jnp.zeros(len(a), jnp.int32), jax.nn.softmax(a[::-1])
    return {
        "entropy": losses.entropy(a),
        "entropy, nobody asked": losses.entropy(a, jnp.zeros(len(a))),
        "softmax_squared_error": losses.softmax_squared_error(a, b, symmetric=True),
        "softmax_kl": losses.softmax_kl(a, b),
        "pseudo_label": losses.pseudo_label(a)[0],
        "fixmatch": losses.fixmatch(a, b, 0.0)[0],
        "fixmatch, none sure": losses.fixmatch(a, b, 2.0)[0],
        "uda": losses.uda(a, b, 0.0)[0],
        "annealed_cross_entropy": losses.annealed_cross_entropy(a, labels, 0.5),
        "class_fairness": losses.class_fairness(a, jnp.ones(len(a)), p[0], p[-1]),
        "class_fairness, none sure": losses.class_fairness(a, labels, p[0], p[-1]),
        "ict": losses.ict(KEY, lambda x: x, a, b, 0.5, per_sample=False),
        "mixmatch": losses.mixmatch(a, p, b, p, 75.0)[0],
    }


def nats(p, labels):
    return -np.log(p[np.arange(len(p)), labels])


def in_float64(function, *arrays, **options):
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, function(*map(jnp.asarray, arrays), **options))


def test_every_loss_is_that_of_numpy(pair):
    a, b = pair
    p, q = scipy.special.softmax(pair, -1)
    labels = np.array([0, 1, 2, 3, 0, 1])
    error = ((p - q) ** 2).mean()
    kl = scipy.stats.entropy(q, p, axis=-1).mean()
    np.testing.assert_allclose(
        in_float64(losses.entropy, a), scipy.stats.entropy(p, axis=1).mean()
    )
    np.testing.assert_allclose(in_float64(losses.softmax_squared_error, a, b), error)
    np.testing.assert_allclose(in_float64(losses.softmax_kl, a, b), kl)

    loss, parts = in_float64(losses.pseudo_label, a, threshold=0.7)
    sure = p.max(1) > 0.7
    assert 0 < sure.sum() < N
    np.testing.assert_array_equal(parts["mask"], sure)
    np.testing.assert_allclose(loss, (sure * nats(p, p.argmax(1))).sum() / N)

    loss, parts = in_float64(losses.fixmatch, a, b, threshold=0.7)
    np.testing.assert_array_equal(parts["labels"], a.argmax(1))
    np.testing.assert_allclose(loss, (sure * nats(q, a.argmax(1))).sum() / N)

    loss, _ = in_float64(losses.uda, a, b, threshold=0.7, temperature=0.4)
    sharp = scipy.special.softmax(a / 0.4, -1)
    wanted = (sure * scipy.stats.entropy(sharp, q, axis=-1)).sum() / N
    np.testing.assert_allclose(loss, wanted)

    loss = in_float64(losses.annealed_cross_entropy, a, labels, threshold=0.3)
    unknown = p[np.arange(N), labels] < 0.3
    assert 0 < unknown.sum() < N
    np.testing.assert_allclose(loss, nats(p, labels)[unknown].mean())

    loss, parts = in_float64(losses.mixmatch, a, q, b, p, weight=5.0)
    labeled = -(q * np.log(p)).sum(1).mean()
    np.testing.assert_allclose(parts["labeled"], labeled)
    np.testing.assert_allclose(parts["unlabeled"], error)
    np.testing.assert_allclose(loss, labeled + 5 * error)


def test_entropy_is_least_at_certainty_and_greatest_at_ignorance():
    assert losses.entropy(100 * jnp.eye(3)) == 0
    value, grad = jax.value_and_grad(losses.entropy)(jnp.zeros((2, C)))
    np.testing.assert_allclose(value, np.log(C), rtol=1e-6)
    np.testing.assert_allclose(grad, 0, atol=1e-7)  # a maximum, up to rounding


def test_a_step_down_the_entropy_makes_the_likeliest_class_likelier(pair):
    logits = jnp.asarray(pair[0], jnp.float32)
    after = logits - 0.1 * jax.grad(losses.entropy)(logits)
    before, after = (np.asarray(jax.nn.softmax(x)).max(1) for x in (logits, after))
    assert (after > before).all()


def test_entropy_with_a_mask_is_that_of_the_marked_samples(pair):
    logits, mask = jnp.asarray(pair[0]), jnp.array([1, 0, 0, 1, 0, 0])
    masked = losses.entropy(logits, mask)
    np.testing.assert_allclose(masked, losses.entropy(logits[::3]), rtol=1e-6)


def test_pseudo_labels_teach_like_given_labels(pair):
    logits = jnp.asarray(pair[0], jnp.float32)
    loss = jax.grad(lambda z: losses.pseudo_label(z, 0.0)[0])
    one_hot = jax.nn.one_hot(logits.argmax(1), C)
    given = jax.grad(lambda z: soft_cross_entropy(z, one_hot).mean())
    np.testing.assert_allclose(loss(logits), given(logits), atol=1e-7)


def test_fixmatch_on_one_view_is_pseudo_labelling(pair):
    a, b = jnp.asarray(pair, jnp.float32)
    assert losses.fixmatch(a, a, 0.6)[0] == losses.pseudo_label(a, 0.6)[0]
    other = losses.pseudo_label(b, 0.6, targets_from=a)[0]
    assert losses.fixmatch(a, b, 0.6)[0] == other


def test_fewer_samples_pass_a_higher_threshold(pair):
    a, b = jnp.asarray(pair, jnp.float32)
    taus = (0.0, 0.3, 0.5, 0.7, 0.9, 1.01)
    kept = [float(losses.fixmatch(a, b, tau)[1]["mask"].mean()) for tau in taus]
    assert kept[0] == 1
    assert kept[-1] == 0
    assert kept == sorted(kept, reverse=True)
    assert losses.fixmatch(a, b, 1.01)[0] == 0


def test_fixmatch_takes_a_threshold_for_each_sample(pair):
    a, b = jnp.asarray(pair, jnp.float32)
    taus = jnp.array([0.0, 2.0] * 3)
    _, parts = losses.fixmatch(a, b, taus)
    assert parts["mask"].tolist() == [1, 0] * 3


def test_uda_without_threshold_and_sharpening_is_plain_kl(pair):
    a, b = jnp.asarray(pair, jnp.float32)
    plain = losses.softmax_kl(b, a)
    uda = losses.uda(a, b, threshold=0.0, temperature=1.0)[0]
    np.testing.assert_allclose(uda, plain, rtol=1e-6)


def test_uda_teaches_like_a_cross_entropy_with_constant_targets(pair):
    a, b = jnp.asarray(pair, jnp.float32)
    grad = jax.grad(lambda b: losses.uda(a, b, 0.0, 0.5)[0])
    target = jax.nn.softmax(a / 0.5)
    constant = jax.grad(lambda b: soft_cross_entropy(b, target).mean())
    np.testing.assert_allclose(grad(b), constant(b), atol=1e-6)


def test_teachers_and_targets_get_no_gradient(pair):
    a, b = jnp.asarray(pair, jnp.float32)
    p = jax.nn.softmax(a)
    taught = {
        "error": lambda t: losses.softmax_squared_error(b, t),
        "kl": lambda t: losses.softmax_kl(b, t),
        "pseudo_label": lambda t: losses.pseudo_label(b, 0.0, targets_from=t)[0],
        "fixmatch": lambda t: losses.fixmatch(t, b, 0.0)[0],
        "uda": lambda t: losses.uda(t, b, 0.0)[0],
        "ict": lambda t: losses.ict(KEY, lambda x: x, b, t),
        "mixmatch": lambda t: losses.mixmatch(b, t * p, b, t * p, 1.0)[0],
    }
    for name, loss in taught.items():
        assert not np.asarray(jax.grad(loss)(a)).any(), name


def test_the_symmetric_error_moves_both_branches_alike(pair):
    a, b = jnp.asarray(pair, jnp.float32)

    def both(a, b):
        return losses.softmax_squared_error(a, b, symmetric=True)

    np.testing.assert_allclose(both(a, b), both(b, a))
    left, right = jax.grad(both, (0, 1))(a, b), jax.grad(both, (0, 1))(b, a)
    np.testing.assert_allclose(left[0], right[1], atol=1e-9)
    assert np.asarray(left[1]).any()
    assert not np.asarray(jax.grad(both)(a, a)).any()


def test_the_squared_error_of_a_wrong_guess_is_at_most_two_over_c():
    sure, wrong = 100 * jnp.eye(C), jnp.eye(C)[::-1]
    unlabeled = losses.mixmatch(sure, jnp.eye(C), sure, wrong, 1.0)[1]["unlabeled"]
    np.testing.assert_allclose(unlabeled, 2 / C, rtol=1e-6)


def test_mixmatch_with_guesses_it_already_holds_costs_nothing(pair):
    a = jnp.asarray(pair[0], jnp.float32)
    p = jax.nn.softmax(a)
    _, parts = losses.mixmatch(a, p, a, p, 75.0)
    np.testing.assert_allclose(parts["unlabeled"], 0, atol=1e-12)


def test_ict_of_an_affine_probability_is_zero():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.dirichlet(np.ones(C), size=N), jnp.float32)

    def affine(x):  # softmax(log p) = p
        return jnp.log(0.5 * x + 0.5 / C)

    loss = losses.ict(KEY, affine, x, affine(x), alpha=1.0)
    np.testing.assert_allclose(loss, 0, atol=1e-12)
    mixed_logits = losses.ict(KEY, affine, x, affine(x), alpha=1.0, mix_logits=True)
    assert mixed_logits > 1e-5


def test_ict_without_mixing_is_mean_teacher(pair):
    a, b = jnp.asarray(pair, jnp.float32)
    loss = losses.ict(KEY, lambda x: x, a, b, alpha=0.0)
    np.testing.assert_allclose(loss, losses.softmax_squared_error(a, b), rtol=1e-6)


def test_annealing_drops_what_is_known_and_then_nothing():
    p = jnp.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    logits, labels = jnp.log(p), jnp.zeros(3, jnp.int32)
    kept = {0: [0.2], 50: [0.6, 0.2], 100: [0.9, 0.6, 0.2]}  # up to .5, .75 and 1
    for step, likelihoods in kept.items():
        threshold = tsa_threshold(step, 100, classes=2)
        loss = losses.annealed_cross_entropy(logits, labels, threshold)
        np.testing.assert_allclose(loss, -np.log(likelihoods).mean(), rtol=1e-6)


@pytest.mark.parametrize("devices", [2, 3])
def test_losses_over_a_mask_are_the_same_on_several_devices(pair, devices):
    logits = jnp.asarray(pair[0], jnp.float32)
    labels, mask = jnp.array([0, 1, 2, 3, 0, 1]), jnp.array([1, 1, 1, 0, 0, 1])

    def cut(x):
        return x.reshape(devices, -1, *x.shape[1:])

    def entropy(z, mask, labels, axis_name=None):
        return losses.entropy(z, mask, axis_name)

    def annealed(z, mask, labels, axis_name=None):
        return losses.annealed_cross_entropy(z, labels, 0.3, axis_name)

    for loss in (entropy, annealed):

        def sharded(z, loss=loss):
            values = jax.vmap(lambda *a: loss(*a, axis_name="i"), axis_name="i")(
                cut(z), cut(mask), cut(labels)
            )
            return values.mean(), values

        (_, values), grad = jax.value_and_grad(sharded, has_aux=True)(logits)
        value, wanted = jax.value_and_grad(loss)(logits, mask, labels)
        np.testing.assert_allclose(values, value, rtol=1e-6)
        np.testing.assert_allclose(grad, wanted, atol=1e-7)


@few
@hypothesis.given(extreme_logits, st.randoms(use_true_random=False))
def test_extreme_logits_give_finite_values_and_gradients(a, random):
    order = list(range(3))
    random.shuffle(order)
    a, b = jnp.asarray(a), jnp.asarray(a[::-1, order])
    values, grads = extremes(a, b)
    for name, value in values.items():
        assert np.isfinite(value), name
        assert all(np.isfinite(g).all() for g in grads[name]), name


@jax.jit
def extremes(a, b):
    return on_both(a, b), jax.jacrev(on_both, argnums=(0, 1))(a, b)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_logits_give_float32_losses(pair, dtype):
    wide = jnp.asarray(pair, jnp.float32).astype(dtype)
    values = jax.jit(on_both)(*wide)
    wanted = jax.jit(on_both)(*wide.astype(jnp.float32))
    for name, value in values.items():
        assert value.dtype == jnp.float32, name
        # MixMatch and ICT mix or take probabilities in the narrow dtype
        np.testing.assert_allclose(value, wanted[name], rtol=2e-2, err_msg=name)


def test_wrong_shapes_and_dtypes_are_refused(unhooked):
    a, n = jnp.ones((2, 3)), jnp.ones((3, 3))
    integers = jnp.ones((2, 3), int)
    cases = [
        (losses.entropy, (jnp.ones(3),), r"logits must be float\[n, c\]"),
        (losses.entropy, (a, jnp.ones(3)), r"mask must be any\[n=2\]"),
        (losses.softmax_squared_error, (a, n), r"teacher must be float\[n=2, c=3\]"),
        (losses.softmax_kl, (a, integers), r"teacher must be float"),
        (losses.pseudo_label, (integers,), r"must be float\[n, c\], got int32"),
        (losses.pseudo_label, (a, jnp.ones(3)), r"threshold must be any\[n=2\]"),
        (losses.fixmatch, (a, n), r"strong must be float\[n=2, c=3\]"),
        (losses.uda, (a, n), r"strong must be float\[n=2, c=3\]"),
        (losses.annealed_cross_entropy, (a, a, 1.0), r"labels must be int\[n=2\]"),
        (losses.ict, (KEY, None, a, n), r"y must be float\[n=2, c\]"),
        (losses.ict, (KEY, lambda x: x[:1], a, a), r"logits must be float\[n=2"),
        (losses.mixmatch, (a, a, n, a, 1.0), r"guesses must be float\[n=3, c=3\]"),
    ]
    for function, arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            function(*arguments)


def fairness(logits, mask, p, h):
    """Eqs. 9 to 11 of FreeMatch, class by class in numpy."""
    q = scipy.special.softmax(np.asarray(logits, np.float64), axis=1)[np.asarray(mask) > 0]
    classes = range(logits.shape[1])
    bars = [np.mean([row.argmax() == c for row in q]) for c in classes]
    a = np.array([p[c] / h[c] if h[c] else 0 for c in classes])
    b = np.array([q[:, c].mean() / bars[c] if bars[c] else 0 for c in classes])
    a, b = a / a.sum(), b / b.sum()
    return sum(a[c] * np.log(b[c] + 1e-12) for c in classes)


def test_class_fairness_is_that_of_numpy_also_with_classes_that_are_never_predicted(pair):
    logits, _ = pair
    logits = np.concatenate([logits, logits[:2] + np.array([0, 0, 9, 0])])
    mask = np.array([1, 1, 0, 1, 1, 0, 1, 1.0])
    p, h = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.5, 0.3, 0.0, 0.2])
    loss = in_float64(losses.class_fairness, logits, mask, p, h)
    np.testing.assert_allclose(loss, fairness(logits, mask, p, h), rtol=1e-10)
    lost = logits - 50 * np.array([1, 0, 0, 0])  # class 0 has no prediction
    loss = in_float64(losses.class_fairness, lost, mask, p, h)
    assert loss < -10  # log 1e-12, by the weight of class 0
    np.testing.assert_allclose(loss, fairness(lost, mask, p, h), rtol=1e-10)


def test_class_fairness_has_the_slope_of_finite_differences_for_confident_rows_only(pair):
    logits, _ = pair
    mask = np.array([1, 0, 1, 1, 0, 1.0])
    p, h = np.array([0.4, 0.3, 0.2, 0.1]), np.full(4, 0.25)
    slope = in_float64(jax.grad(losses.class_fairness), logits, mask, p, h)
    wanted = np.zeros_like(logits)
    for i, j in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[i, j] = 1e-6
        pair = [fairness(logits + s * step, mask, p, h) for s in (1, -1)]
        wanted[i, j] = (pair[0] - pair[1]) / 2e-6
    np.testing.assert_allclose(slope, wanted, atol=1e-7)
    assert np.abs(slope[mask > 0]).max() > 1e-3
    given = jax.grad(losses.class_fairness, (1, 2, 3))(
        *map(jnp.float32, (logits, mask, p, h))
    )
    assert not any(np.any(g) for g in given)


def test_class_fairness_descends_to_classes_that_are_even_not_to_the_averages():
    """The minimum over b of sum a log b is at its border: it grows the cross entropy."""
    p = jnp.array([0.7, 0.3])
    h = jnp.array([0.5, 0.5])
    at = lambda x: losses.class_fairness(
        jnp.array([[x, 0.0], [0.0, 2.0]]), jnp.ones(2), p, h
    )
    sure, unsure = at(4.0), at(0.5)
    assert unsure < sure < 0
    assert losses.class_fairness(jnp.eye(2), jnp.zeros(2), p, h) == 0
