r"""Linear probe by SGD with the recipes of papers.

.. math:: \min_{W, b} \frac{1}{n} \sum_i -\ln \text{softmax}(W^\top h_i + b)_{y_i}
    + \frac{\lambda}{2} \lVert W \rVert^2

`linear_probe` solves this problem exactly and has no learning rate: prefer it, and use this
probe to compare with published numbers. The recipes are those of

- MoCo: K. He et al., CVPR 2020, https://arxiv.org/abs/1911.05722, section 4.1
- SimCLR: T. Chen et al., ICML 2020, https://arxiv.org/abs/2002.05709, appendix B.6
- SwAV: M. Caron et al., NeurIPS 2020, https://arxiv.org/abs/2006.09882
- DINO: M. Caron et al., ICCV 2021, https://arxiv.org/abs/2104.14294
- MAE: K. He et al., CVPR 2022, https://arxiv.org/abs/2111.06377, appendix A.1

with details from their code. The papers crop and flip images in every epoch; here features
are computed once, of unaugmented images. The accuracy is that of the last epoch, not the
best epoch on the test split, which some of the code reports.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Float, Integer

from jssl.evals.protocol import (
    ON_DEVICE,
    Eval,
    Features,
    joined,
    labeled,
    of_settings,
)
from jssl.ops.shapes import expect

_KNOWN = {
    "optimizer": ("sgd", "nesterov", "lars", "adam"),
    "normalize": ("no", "standardise", "batch"),
}


class Recipe(NamedTuple):
    """Training settings of the linear layer.

    Attributes:
      lr: peak learning rate, for a batch of 256 if `per_256`.
      grid: learning rates from which the eval selects on val; empty: `lr`.
      per_256: scale the learning rate by batch / 256.
      optimizer: "sgd", "nesterov" or "lars", all with momentum 0.9; or "adam".
      batch: rows per step, at most all; incomplete batches of an epoch are dropped.
      epochs: of training.
      milestones: epochs after which the learning rate is divided by 10; empty: cosine decay
        to 0, per step.
      warmup: epochs of linear warm-up from 0.
      weight_decay: lambda. The bias has none.
      normalize: "no"; "standardise" by the rows fitted on; or "batch": batch norm without
        scale and bias, evaluated with the statistics of all these rows.
      std: standard deviation of the initial weights; the initial bias is 0.
    """

    lr: float
    grid: tuple[float, ...] = ()
    per_256: bool = False
    optimizer: str = "sgd"
    batch: int = 256
    epochs: int = 100
    milestones: tuple[int, ...] = ()
    warmup: int = 0
    weight_decay: float = 0.0
    normalize: str = "no"
    std: float = 0.01


_LARGE = Recipe(0.1, per_256=True, epochs=90)  # shared by SimCLR and MAE

RECIPES = {
    "small": Recipe(0.1, grid=(1e-3, 1e-2, 1e-1, 1.0), normalize="standardise", std=0.0),
    "moco": Recipe(30.0, milestones=(60, 80)),
    # The released code has weight decay 1e-6 on ImageNet, the paper none.
    "simclr": _LARGE._replace(batch=4096, optimizer="nesterov", std=0.0),
    # SwAV and DINO update the learning rate once per epoch, here it is once per step.
    "swav": Recipe(0.3, weight_decay=1e-6),
    # The authors advise to tune the learning rate: set a grid.
    "dino": Recipe(0.001, per_256=True, batch=1024),
    "mae": _LARGE._replace(batch=16384, optimizer="lars", warmup=10, normalize="batch"),
}


class Probe(NamedTuple):
    """A linear classifier: logits = (h - mean) / std @ weights + bias."""

    weights: np.ndarray  # float32 [d, classes]
    bias: np.ndarray  # [classes]
    mean: np.ndarray  # float64 [d]
    std: np.ndarray  # [d]
    losses: np.ndarray  # [epochs], mean objective over the steps of each


def linear_probe_sgd(
    key: jax.Array,
    h: Float[np.ndarray, "n d"],
    y: Integer[np.ndarray, " n"],
    *,
    classes: int,
    recipe: Recipe = RECIPES["small"],
) -> Probe:
    """Trains the layer by a recipe, at the learning rate `recipe.lr`, in float32.

    Features of more than 1 GiB stay on the host: the device has those of some steps at a
    time.

    Args:
      key: of the initial weights and the order of rows.
      h, y: features and class numbers.
      classes: number of classes.
      recipe: e.g. RECIPES["swav"] or RECIPES["small"]._replace(epochs=20, batch=64).

    Raises:
      ValueError: inconsistent shapes or dtypes, a label outside 0 ... classes - 1, an
        invalid recipe, or weights that are not finite after training.

    >>> h, y = np.array([[-1.0], [1.0]]), np.array([0, 1])
    >>> # W = (-w, w) with lambda w = sigmoid(-2 w): at w = ln(3) / 2 both are 1 / 4
    >>> recipe = RECIPES["small"]._replace(weight_decay=0.5 / np.log(3.0))
    >>> probe = linear_probe_sgd(jax.random.key(0), h, y, classes=2, recipe=recipe)
    >>> print(probe.weights.round(3))
    [[-0.549  0.549]]
    """
    _check(recipe)
    sizes = expect("linear_probe_sgd", h=(h, "n d"), y=(y, "n", "int"))
    n, d = sizes["n"], sizes["d"]
    if n == 0 or y.min() < 0 or y.max() >= classes:
        came = f"labels {y.min()} ... {y.max()}" if n else "no rows"
        raise ValueError(
            f"linear_probe_sgd: wanted rows with labels 0 ... {classes - 1}, got {came}"
        )
    mean, std = _moments(h, recipe.normalize)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    weights = recipe.std * rng.normal(size=(d, classes))
    batch = min(recipe.batch, n)
    order = rng.permuted(np.tile(np.arange(n, dtype=np.int32), (recipe.epochs, 1)), axis=1)
    order = order[:, : n // batch * batch].reshape(-1, batch)
    rates, losses = _rates(recipe, n // batch, batch), []
    params = {"weights": np.float32(weights), "bias": np.zeros(classes, np.float32)}
    state = params, _direction(recipe.optimizer).init(params)
    normed = recipe.normalize == "batch"
    how = dict(optimizer=recipe.optimizer, normed=normed)
    for rows, steps in _blocks(order, rates, n, ON_DEVICE // max(d, 1)):
        x = h[rows] if normed else (h[rows] - mean) / std
        x, labels = np.float32(x), np.int32(y[rows])
        state, values = _train(state, x, labels, *steps, recipe.weight_decay, **how)
        losses.append(jax.device_get(values))
    params, losses = jax.device_get(state[0]), np.concatenate(losses)
    if not all(np.isfinite(w).all() for w in params.values()):
        raise ValueError(
            f"linear_probe_sgd: weights are not finite after training at {recipe.lr:g}: "
            "lower the rate, or standardize the features"
        )
    losses = losses.reshape(recipe.epochs, -1).mean(axis=1)
    return Probe(params["weights"], params["bias"], mean, std, losses)


def probe_logits(probe: Probe, h: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
    """(h - mean) / std @ weights + bias, in float64."""
    return (h - probe.mean) / probe.std @ probe.weights.astype(np.float64) + probe.bias


def probe_accuracy(
    probe: Probe,
    h: Float[np.ndarray, "n d"],
    y: Integer[np.ndarray, " n"],
    topk: Sequence[int] = (1,),
) -> dict[int, float]:
    """{k: fraction of rows whose label is among the k highest logits}, in [0, 1].

    Ties go to the lower class.

    Raises:
      ValueError: a k is not in 1 ... classes.

    >>> probe = Probe(np.eye(3), np.zeros(3), np.zeros(3), np.ones(3), np.zeros(0))
    >>> h = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    >>> probe_accuracy(probe, h, np.array([0, 1]), topk=(1, 2))  # first, then second
    {1: 0.5, 2: 1.0}
    """
    logits = probe_logits(probe, h)
    classes = logits.shape[1]
    if not all(1 <= k <= classes for k in topk):
        raise ValueError(f"probe_accuracy: k must be 1 ... {classes}, got {topk}")
    hit = np.argsort(-logits, axis=1, kind="stable") == y[:, None]
    return {k: float(hit[:, :k].any(axis=1).mean()) for k in topk}


@of_settings("sgd_probe()(Arrays(train=..., test=...), True)")
def sgd_probe(recipe: str | Recipe = "small", seed: int = 0) -> Eval:
    """Accuracy in [0, 1] of the layer after the last epoch.

    The learning rate is selected from `recipe.grid` on val (ties go to the lowest), after
    fits on train; at the end the layer is retrained with it on train + val and evaluated on
    test. The accuracy on val reported during training is the best of the grid, hence
    slightly optimistic. The published recipes are for a million images: with fewer rows
    than a batch an epoch is a single step, and the layer is far from its optimum.

    Args:
      recipe: a name in `RECIPES`, or a `Recipe`.
      seed: of the initial weights and the order of rows.

    Raises:
      ValueError: an unknown or invalid recipe.
    """
    if isinstance(recipe, str) and recipe not in RECIPES:
        raise ValueError(f"sgd_probe: {recipe!r} is none of {', '.join(RECIPES)}")
    told = f", {recipe}" if isinstance(recipe, str) else ""
    recipe = RECIPES[recipe] if isinstance(recipe, str) else recipe
    _check(recipe)

    def score(fit, judge, lr):
        (h, y), key, rated = fit, jax.random.key(seed), recipe._replace(lr=lr)
        probe = linear_probe_sgd(key, h, y, classes=int(y.max()) + 1, recipe=rated)
        return probe_accuracy(probe, *judge)[1]

    def run(features: Features, final: bool) -> dict:
        train, val = labeled(features, "train"), labeled(features, "val")
        table = {lr: score(train, val, lr) for lr in recipe.grid or (recipe.lr,)}
        lr = max(table, key=lambda lr: (table[lr], -lr))
        if not final:
            return {"linear_sgd": table[lr]}
        both, test = joined(train, val), labeled(features, "test")
        return {"linear_sgd": score(both, test, lr)}

    # The protocol is part of the keys of cached numbers: its text must not change.
    words = {"optimizer": "optimiser", "normalize": "normalise"}
    settings = ", ".join(f"{words.get(k, k)}={v}" for k, v in recipe._asdict().items())
    return Eval(f"linear probe by SGD{told}: {settings}, seed={seed}", run)


def _blocks(order, rates, n: int, most: int):
    """Parts of the steps with the rows they need: at most `most`, or those of one step.

    Yields:
      Rows, as an index of h, and for each step the places of its batch among them and its
      learning rate.
    """
    if n <= most:
        yield slice(None), (order, rates)
        return
    steps = max(1, most // order.shape[1])
    for begin in range(0, len(order), steps):
        rows = order[begin : begin + steps]
        places = np.arange(rows.size, dtype=np.int32).reshape(rows.shape)
        yield rows.ravel(), (places, rates[begin : begin + steps])


@partial(jax.jit, static_argnames=("optimizer", "normed"))
def _train(state, x, y, order, rates, weight_decay, *, optimizer: str, normed: bool):
    """Steps with rows order [t, batch] and learning rates [t], and the loss of each."""
    tx = _direction(optimizer)

    def objective(params, rows):
        h = x[rows]
        if normed:
            h = (h - h.mean(axis=0)) / jnp.sqrt(h.var(axis=0) + 1e-6)
        # TPUs and recent GPUs would round the factors.
        logits = jnp.matmul(h, params["weights"], precision=lax.Precision.HIGHEST)
        logits += params["bias"]
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y[rows]).mean()
        return loss + weight_decay / 2 * jnp.square(params["weights"]).sum()

    def step(state, now):
        (params, opt), (rows, rate) = state, now
        value, grads = jax.value_and_grad(objective)(params, rows)
        updates, opt = tx.update(grads, opt, params)
        params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        return (params, opt), value

    return lax.scan(step, state, (order, rates))


def _direction(optimizer: str) -> optax.GradientTransformation:
    """The update rule without the learning rate."""
    ratio = optax.scale_by_trust_ratio(trust_coefficient=0.001)
    ratio = optax.masked(ratio, {"weights": True, "bias": False})
    return {
        "sgd": optax.trace(0.9),
        "nesterov": optax.trace(0.9, nesterov=True),
        "lars": optax.chain(ratio, optax.trace(0.9)),
        "adam": optax.scale_by_adam(),
    }[optimizer]


def _rates(recipe: Recipe, steps: int, batch: int) -> np.ndarray:
    """The learning rate of each step, `steps` to an epoch."""
    epoch = np.arange(recipe.epochs * steps) / steps
    if recipe.milestones:
        share = 0.1 ** np.searchsorted(recipe.milestones, epoch, side="right")
    else:
        done = (epoch - recipe.warmup) / (recipe.epochs - recipe.warmup)
        share = (1 + np.cos(np.pi * done)) / 2
    share = np.where(epoch < recipe.warmup, epoch / max(recipe.warmup, 1), share)
    lr = recipe.lr * batch / 256 if recipe.per_256 else recipe.lr
    return (lr * share).astype(np.float32)


def _moments(h, normalize: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation for normalization."""
    if normalize == "no":
        return np.zeros(h.shape[1]), np.ones(h.shape[1])
    mean, var = h.mean(axis=0, dtype=np.float64), h.var(axis=0, dtype=np.float64)
    if normalize == "batch":
        return mean, np.sqrt(var + 1e-6)
    # Variation below the resolution of float32 is rounding; division would amplify it.
    return mean, np.where(np.sqrt(var) <= 1e-7 * np.abs(mean), 1.0, np.sqrt(var))


def _check(recipe: Recipe):
    for name, known in _KNOWN.items():
        if (value := getattr(recipe, name)) not in known:
            raise ValueError(f"a recipe's {name} is in {', '.join(known)}, got {value!r}")
    numbers = (recipe.lr, *recipe.grid, recipe.weight_decay, recipe.std)
    if not all(0 <= x < np.inf for x in numbers):
        raise ValueError(f"a recipe's numbers must be finite and 0 or more: {recipe}")
    if recipe.batch < 1 or not 0 <= recipe.warmup < recipe.epochs:
        raise ValueError(
            f"a recipe needs a batch of 1 or more, and more epochs than warm-up: {recipe}"
        )
