r"""Semi-supervised losses: entropy and consistency terms for unlabeled samples.

Predictions should be confident (entropy, pseudo-labels) and consistent between two
versions of a sample: under noise (squared error, KL), interpolated with another sample
(ICT, MixMatch), or weakly and strongly augmented (UDA, FixMatch). Each is added to the
supervised loss:

.. math:: L = L_{labelled} + w(t) \, L_{unlabelled}

with the weights of `jssl.ops.ramps`. Arguments are logits; the softmax is taken inside.
Virtual adversarial training is in `jssl.losses.vat`.

Grandvalet and Bengio, "Semi-supervised learning by entropy minimization", NeurIPS 2004;
for the others see each function.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, ScalarLike, Shaped

from jssl.ops import divergences
from jssl.ops.gather import psum
from jssl.ops.means import masked_mean
from jssl.ops.mixing import mixup
from jssl.ops.precision import widen
from jssl.ops.shapes import expect
from jssl.ops.targets import pseudo_labels


def entropy(
    logits: Float[Array, "n c"],
    mask: Shaped[Array, " n"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Mean entropy of the predictions.

    .. math:: \frac{1}{n} \sum_i H(p_i) = -\frac{1}{n} \sum_i \sum_c p_{ic} \log p_{ic}

    Gradients flow through both factors: with the first p held fixed they would vanish.
    With a mask (float or bool) the mean is over the samples where it is 1; 0 where
    there are none. The sums run over all devices of `axis_name`.

    Grandvalet and Bengio 2004, "Semi-supervised learning by entropy minimization".

    Raises:
      ValueError: when the logits are not float[n, c] or the mask not [n].

    >>> print(f"{entropy(jnp.zeros((1, 4))):.4f}")    # log 4
    1.3863
    """
    expect("entropy", logits=(logits, "n c"), mask=(mask, "n", "any"))
    if mask is None:
        mask = jnp.ones_like(logits[:, 0])
    return masked_mean(divergences.entropy(logits), mask, axis_name)


def softmax_squared_error(
    student: Float[Array, "n c"],
    teacher: Float[Array, "n c"],
    symmetric: bool = False,
) -> Float[Array, ""]:
    r"""Mean squared difference of two softmax predictions, over samples and classes.

    .. math:: \frac{1}{n c} \sum_i
              \lVert \mathrm{softmax}(s_i) - \mathrm{softmax}(t_i) \rVert^2

    The teacher passes no gradient (Mean Teacher), unless `symmetric` (the Pi-model).

    Tarvainen and Valpola 2017, "Mean teachers are better role models",
    https://arxiv.org/abs/1703.01780; Laine and Aila 2017, "Temporal Ensembling",
    https://arxiv.org/abs/1610.02242

    Raises:
      ValueError: when the two are not float[n, c] of the same shape.

    >>> student, teacher = jnp.array([[100.0, 0.0]]), jnp.array([[0.0, 100.0]])
    >>> print(softmax_squared_error(student, teacher))    # opposite and certain: 2 / 2
    1.0
    """
    expect("softmax_squared_error", student=(student, "n c"), teacher=(teacher, "n c"))
    if not symmetric:
        teacher = lax.stop_gradient(teacher)
    return divergences.softmax_squared_error(student, teacher).mean()


def softmax_kl(
    student: Float[Array, "n c"], teacher: Float[Array, "n c"]
) -> Float[Array, ""]:
    r"""Mean Kullback-Leibler divergence of the student's predictions from the teacher's.

    .. math:: \frac{1}{n} \sum_i KL(\mathrm{softmax}(t_i) \Vert \mathrm{softmax}(s_i))

    The teacher passes no gradient.

    Tarvainen and Valpola 2017, "Mean teachers are better role models".
    https://arxiv.org/abs/1703.01780

    Raises:
      ValueError: when the two are not float[n, c] of the same shape.

    >>> student, teacher = jnp.log(jnp.array([[[0.25, 0.75]], [[0.5, 0.5]]]))
    >>> print(f"{softmax_kl(student, teacher):.4f}")    # log(4 / 3) / 2
    0.1438
    """
    expect("softmax_kl", student=(student, "n c"), teacher=(teacher, "n c"))
    return divergences.kl_divergence(lax.stop_gradient(teacher), student).mean()


def pseudo_label(
    logits: Float[Array, "n c"],
    threshold: ScalarLike | Float[Array, " n"] = 0.95,
    targets_from: Float[Array, "n c"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""Cross entropy with the predicted class, where its confidence reaches a threshold.

    .. math:: \frac{1}{n} \sum_i \mathbb 1[\max_c q_{ic} \ge \tau]\, H(\hat y_i, p_i),
              \qquad \hat y_i = \arg\max_c q_{ic}

    tau is the threshold, and q = p unless `targets_from` gives other logits, e.g. of a
    pass without dropout. The mean is over all n samples: over the confident ones alone
    it would be large when they are few. Labels and mask carry no gradient.

    Lee 2013, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method
    for Deep Neural Networks", ICML workshop, where the threshold is 0.

    Returns:
      The loss, and {"labels": int[n], "mask": [n]}, 1 where a sample counted.

    Raises:
      ValueError: when the logits are not float[n, c] of the same shape, or the
        threshold no scalar and not [n].

    >>> loss, parts = pseudo_label(jnp.log(jnp.array([[0.8, 0.2], [0.6, 0.4]])), 0.7)
    >>> print(f"{loss:.4f}", parts["mask"])    # -log(0.8) / 2
    0.1116 [1. 0.]
    """
    if targets_from is None:
        targets_from = logits
    return _hard_targets("pseudo_label", threshold, targets_from=targets_from, p=logits)


def fixmatch(
    weak: Float[Array, "n c"],
    strong: Float[Array, "n c"],
    threshold: ScalarLike | Float[Array, " n"] = 0.95,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""Cross entropy of the strong view with the weak view's confident pseudo-label.

    .. math:: \frac{1}{n} \sum_i \mathbb 1[\max_c q_{ic} \ge \tau]\,
              H(\arg\max_c q_{ic},\ p_i), \qquad q = \mathrm{softmax}(weak),
              \quad p = \mathrm{softmax}(strong)

    tau is the threshold: one number, or one per sample (FlexMatch and FreeMatch use that
    of the predicted class). The mean is over all n. `weak` gets no gradient.

    Sohn et al. 2020, "FixMatch", eq. 4. https://arxiv.org/abs/2001.07685

    Returns:
      The loss, and {"labels": int[n], "mask": [n]}, 1 where a sample counted.

    Raises:
      ValueError: when the logits are not float[n, c] of the same shape, or the
        threshold no scalar and not [n].

    >>> weak = jnp.array([[9.0, 0.0], [0.1, 0.0]])
    >>> loss, parts = fixmatch(weak, jnp.zeros((2, 2)))
    >>> print(f"{loss:.4f}", parts["mask"])    # log(2) / 2
    0.3466 [1. 0.]
    """
    return _hard_targets("fixmatch", threshold, weak=weak, strong=strong)


def uda(
    weak: Float[Array, "n c"],
    strong: Float[Array, "n c"],
    threshold: ScalarLike | Float[Array, " n"] = 0.8,
    temperature: ScalarLike = 0.4,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""Divergence of the strong view from the weak view's sharpened, confident prediction.

    .. math:: \frac{1}{n} \sum_i \mathbb 1[\max_c q_{ic} \ge \tau]\,
              KL\big(\mathrm{softmax}(weak_i / T) \Vert \mathrm{softmax}(strong_i)\big),
              \qquad q = \mathrm{softmax}(weak)

    tau, the threshold, applies to the prediction before sharpening. The mean is over
    all n. `weak` gets no gradient.

    Xie et al. 2020, "Unsupervised Data Augmentation for Consistency Training".
    https://arxiv.org/abs/1904.12848

    Returns:
      The loss, and {"labels": int[n], "mask": [n]}, 1 where a sample counted.

    Raises:
      ValueError: when the logits are not float[n, c] of the same shape, or the
        threshold no scalar and not [n].

    >>> weak = jnp.array([[100.0, 0.0], [0.1, 0.0]])
    >>> loss, parts = uda(weak, jnp.zeros((2, 2)))
    >>> print(f"{loss:.4f}", parts["mask"])    # log(2) / 2
    0.3466 [1. 0.]
    """
    expect("uda", weak=(weak, "n c"), strong=(strong, "n c"))
    weak, strong = widen(lax.stop_gradient(weak), strong)
    labels, mask = pseudo_labels(jax.nn.softmax(weak), threshold)
    nats = divergences.kl_divergence(weak / temperature, strong)  # [n]
    return (mask * nats).mean(), {"labels": labels, "mask": mask}


def annealed_cross_entropy(
    logits: Float[Array, "n c"],
    labels: Int[Array, " n"],
    threshold: ScalarLike,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""Training-signal annealing: cross entropy over labeled samples below a confidence.

    .. math:: \frac{\sum_i m_i \, H(y_i, p_i)}{\sum_i m_i}, \qquad
              m_i = \mathbb 1[p_i(y_i) \le \eta]

    eta, the threshold, is `jssl.ops.ramps.tsa_threshold` of the step. The loss is 0 where
    all samples exceed it. The sums run over all devices of `axis_name`. m carries no
    gradient.

    Xie et al. 2020, "Unsupervised Data Augmentation", section 3.
    https://arxiv.org/abs/1904.12848

    Raises:
      ValueError: when the logits are not float[n, c] or the labels not int[n].

    >>> logits = jnp.array([[9.0, 0.0], [0.0, 0.0]])    # known, and not
    >>> print(f"{annealed_cross_entropy(logits, jnp.array([0, 0]), 0.9):.4f}")  # log 2
    0.6931
    """
    expect("annealed_cross_entropy", logits=(logits, "n c"), labels=(labels, "n", "int"))
    (logits,) = widen(logits)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    known = jnp.exp(-lax.stop_gradient(nats)) > threshold  # nan counts as unknown
    return masked_mean(nats, ~known, axis_name)


def class_fairness(
    strong: Float[Array, "n c"],
    mask: Shaped[Array, " n"],
    p: Float[Array, " c"],
    h: Float[Array, " c"],
    axis_name: str | None = None,
) -> Float[Array, ""]:
    r"""FreeMatch's self-adaptive fairness: the predictions spread over the classes.

    .. math:: \sum_c a_c \log b_c, \qquad a = \mathrm{normalize}(p / h),
              \quad b = \mathrm{normalize}(\bar p / \bar h)

    p and h are running averages of the predictions for weak views, and of the histogram of
    their classes; they get no gradient. Of the predictions `strong`, where the mask is 1,
    p-bar is the mean and h-bar the histogram of the predicted classes. Where a histogram is
    0, its quotient is 0, and the logarithm that of 1e-12, as in the authors' code; where
    the mask is 0 everywhere, so is the loss.

    It is negative, and to be minimized as it stands: the cross entropy of a and b grows,
    which is a penalty of confident predictions of one class, and does not pull b to a. The
    sums run over all devices of `axis_name`.

    Wang et al. 2023, "FreeMatch", eqs. 9 to 11. https://arxiv.org/abs/2205.07246

    Raises:
      ValueError: when the logits are not float[n, c], the mask not [n], or p or h not
        float[c].

    >>> logits, half = jnp.log(jnp.array([[0.6, 0.4], [0.2, 0.8]])), jnp.full(2, 0.5)
    >>> print(f"{class_fairness(logits, jnp.ones(2), half, half):.4f}")  # b is (0.4, 0.6)
    -0.7136
    """
    expect(
        "class_fairness",
        strong=(strong, "n c"),
        mask=(mask, "n", "any"),
        p=(p, "c"),
        h=(h, "c"),
    )
    strong, mask, p, h = widen(strong, lax.stop_gradient(mask), *lax.stop_gradient((p, h)))
    q = jax.nn.softmax(strong)
    picked = jax.nn.one_hot(strong.argmax(-1), strong.shape[1], dtype=q.dtype)
    rows = mask[:, None]
    total, count = psum(((rows * q).sum(0), (rows * picked).sum(0)), axis_name)
    a, b = _normalized_quotient(p, h), _normalized_quotient(total, count)
    return jnp.where(count.sum() > 0, (a * jnp.log(b + 1e-12)).sum(), 0)


def ict(
    key: jax.Array,
    predict: Callable[[Array], Array],
    x: Float[Array, "n *d"],
    teacher: Float[Array, "n c"],
    alpha: ScalarLike = 1.0,
    *,
    mix_logits: bool = False,
    per_sample: bool = True,
    keep_dominant: bool = False,
) -> Float[Array, ""]:
    r"""Interpolation consistency: squared error of predictions for mixed samples.

    .. math:: \frac{1}{n c} \sum_i \lVert
              p(\lambda_i x_i + (1 - \lambda_i) x_{\pi(i)})
              - (\lambda_i q_i + (1 - \lambda_i) q_{\pi(i)}) \rVert^2

    `predict` maps inputs to the student's logits; `teacher` are the logits of x from
    the averaged weights, and get no gradient. q = softmax(teacher) is mixed as in the
    paper; the authors' code mixes logits (`mix_logits`) with one lambda per batch. Under
    `pmap` and `shard_map` each device mixes its own rows.

    Verma et al. 2019, "Interpolation Consistency Training for Semi-Supervised
    Learning", IJCAI. https://arxiv.org/abs/1903.03825

    Raises:
      ValueError: when x is not float[n, ...], or the logits are not float[n, c] of the
        same shape.

    >>> x, teacher = jnp.array([[0.0], [1.0]]), jnp.zeros((2, 2))
    >>> sure_of_0 = lambda x: jnp.array([[100.0, 0.0], [100.0, 0.0]])
    >>> print(ict(jax.random.key(0), sure_of_0, x, teacher))    # (1 - 1/2)^2
    0.25
    """
    (target,) = widen(lax.stop_gradient(teacher))
    if not mix_logits:
        target = jax.nn.softmax(target)
    mixed, target, _ = mixup(
        key, x, target, alpha, per_sample=per_sample, keep_dominant=keep_dominant
    )
    if mix_logits:
        target = jax.nn.softmax(target)
    logits = predict(mixed)
    expect("ict", teacher=(teacher, "n c"), logits=(logits, "n c"))
    logits, target = widen(logits, target)
    return jnp.square(jax.nn.softmax(logits) - target).mean()


def mixmatch(
    labeled: Float[Array, "b c"],
    labels: Float[Array, "b c"],
    unlabeled: Float[Array, "n c"],
    guesses: Float[Array, "n c"],
    weight: ScalarLike,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    r"""MixMatch's loss on the mixed batches of `jssl.ops.mixing.mixmatch_batch`.

    .. math:: \frac{1}{b} \sum_i H(y_i, p(x_i)) +
              w \, \frac{1}{n c} \sum_j \lVert g_j - p(u_j) \rVert^2

    `labeled` and `unlabeled` are logits, `labels` and `guesses` distributions, which
    get no gradient. The squared error is at most 2 / c, so wrong guesses do little harm;
    a cross entropy at the usual weights of 75 and more diverges.

    Berthelot et al. 2019, "MixMatch", eqs. 3 to 5. https://arxiv.org/abs/1905.02249

    Returns:
      The loss, and {"labeled": first term, "unlabeled": second, unweighted}.

    Raises:
      ValueError: when shapes do not fit, or an argument is not floating.

    >>> sure, half = jnp.array([[1.0, 0.0]]), jnp.zeros((1, 2))
    >>> loss, parts = mixmatch(half, sure, half, sure, weight=4.0)
    >>> print(f"{loss:.4f}")    # log 2 + 4 * (1/2)^2
    1.6931
    """
    expect(
        "mixmatch",
        labeled=(labeled, "b c"),
        labels=(labels, "b c"),
        unlabeled=(unlabeled, "n c"),
        guesses=(guesses, "n c"),
    )
    labels, guesses = lax.stop_gradient((labels, guesses))
    unlabeled, guesses = widen(unlabeled, guesses)
    parts = {
        "labeled": divergences.soft_cross_entropy(labeled, labels).mean(),
        "unlabeled": jnp.square(jax.nn.softmax(unlabeled) - guesses).mean(),
    }
    return parts["labeled"] + weight * parts["unlabeled"], parts


def _normalized_quotient(x, counts):
    """x / counts, 0 where counts are 0, divided by its sum."""
    some = counts > 0
    quotient = jnp.where(some, x / jnp.where(some, counts, 1), 0)
    return quotient / jnp.where(some.any(), quotient.sum(), 1)


def _hard_targets(function, threshold, **logits):
    """Cross entropy of the second logits with the confident classes of the first."""
    expect(function, **{name: (x, "n c") for name, x in logits.items()})
    teacher, student = widen(*logits.values())
    labels, mask = pseudo_labels(jax.nn.softmax(teacher), threshold)
    nats = optax.softmax_cross_entropy_with_integer_labels(student, labels)  # [n]
    return (mask * nats).mean(), {"labels": labels, "mask": mask}
