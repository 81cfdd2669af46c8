"""Fine-tuning with all or few labels, of all layers or with some frozen or reinitialized.

Adam trains a linear head on h and, at a lower rate, the part of the method's state that h
depends on. Running statistics are those of pretraining; there is no augmentation.

J. Yosinski, J. Clune, Y. Bengio, H. Lipson, "How transferable are features in deep neural
networks?", NIPS 2014, https://arxiv.org/abs/1411.1792: transfer of the first layers only,
the others with their initial weights, frozen or not.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl.evals.few_shot import few_labels
from jssl.evals.protocol import Eval

TRUNK = 0.1  # learning rate of pre-trained weights, as a share of the head's
LAYER = r"(?:conv|block|dense|stage|norm|shortcut)_?(\d+)"


def fine_tune(
    per_class: int = 0,
    steps: int = 300,
    batch: int = 64,
    lr: float = 1e-2,
    upto: int | None = None,
    frozen: bool = False,
    seed: int = 0,
) -> Eval:
    """Top-1 accuracy after fine-tuning.

    Args:
      per_class: labels of each class, the same ones for every method; 0: all.
      steps: of Adam, cosine to 0.
      batch: rows a step.
      lr: of the head and of reinitialized layers; pretrained layers have a tenth of it.
      upto: number of first layers that are transferred, the others start from their initial
        weights; None: all layers are transferred.
      frozen: True keeps transferred layers fixed.
      seed: of the order of rows, and of the choice of labels.

    Raises:
      ValueError: a class has fewer than `per_class` rows.
    """
    taken = "all layers" if upto is None else f"the first {upto} layers"
    still = ", frozen" if frozen else ""
    labels = "all labels" if not per_class else f"{per_class} labels a class"
    name = "fine_tune" if not per_class else f"fine_tune@{per_class}"
    name += "" if upto is None else f"/{'frozen ' if frozen else ''}upto {upto}"

    def run(features: Any, final: bool) -> dict:
        x, y = _rows(features, "train")
        if per_class:
            rows = few_labels(np.random.default_rng(seed), y, per_class)
            x, y = _at(x, rows), y[rows]
        elif final:
            more, more_y = _rows(features, "val")
            x = jax.tree.map(lambda *parts: np.concatenate(parts), x, more)
            y = np.concatenate([y, more_y])
        judged = _rows(features, "test" if final else "val")
        apply, state = features.network("h")
        start = state if upto is None else transferred(state, features.start(), upto)
        groups = _groups(state, upto, frozen)
        learned = _fit(apply, start, groups, x, y, steps, batch, lr, seed)
        return {name: _accuracy(apply, *learned, *judged)}

    return Eval(
        f"fine-tuning of {taken}{still}, {labels}, {steps} steps of {batch}, Adam, head "
        f"{lr:g}, taken layers {TRUNK * lr:g}, cosine, statistics kept, no augmentation, "
        f"last step, seed={seed}",
        run,
    )


def layer_of(path: str) -> int:
    """Layer number of a weight, from 1, by its path; 1 if the path has no number.

    >>> layer_of("['encoder']['conv2']['kernel']"), layer_of("['encoder']['cls']")
    (3, 1)
    """
    found = re.search(LAYER, path)
    return 1 + int(found[1]) if found else 1


def transferred(trained: Any, fresh: Any, upto: int) -> Any:
    """The first `upto` layers of a trained state, the others of a fresh one."""
    return jax.tree_util.tree_map_with_path(
        lambda path, a, b: a if layer_of(jax.tree_util.keystr(path)) <= upto else b,
        trained,
        fresh,
    )


def _groups(state, upto, frozen):
    """Group of each leaf of the state: "taken" (pretrained), "new" or "still" (fixed)."""

    def group(path, leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return "still"
        where = jax.tree_util.keystr(path)
        if "stats" in where:  # running statistics are not trained
            return "still"
        if upto is not None and layer_of(where) > upto:
            return "new"
        return "still" if frozen else "taken"

    return jax.tree_util.tree_map_with_path(group, state)


def _fit(apply, state, groups, x, y, steps, batch, lr, seed):
    """The state and the head after training.

    One call per step, since gradients of convolutions are slow inside loops on CPUs. Leaves
    that are not trained are arguments, not constants, which would make a program of its own
    for each state: compiling takes longer than a hundred steps of a small network.
    """
    classes = int(y.max()) + 1
    # Gradients are taken of moving leaves only; keys and counters have none.
    leaves, tree = jax.tree.flatten(state)
    kinds = jax.tree.leaves(groups)
    moving = {i: x for i, x in enumerate(leaves) if kinds[i] != "still"}
    still = {i: x for i, x in enumerate(leaves) if i not in moving}
    width = jax.eval_shape(apply, state, _at(x, slice(1))).shape[1]
    # Scaling to unit variance makes the head independent of the scale of features.
    h = jax.jit(apply)(state, _at(x, slice(512)))
    scale = np.asarray(1 / max(float(np.std(h)), 1e-6), h.dtype)
    head = {"w": jnp.zeros((width, classes)), "b": jnp.zeros(classes)}
    params: dict[str, Any] = {"moving": moving, "head": head}
    rates = {
        "taken": optax.adam(optax.cosine_decay_schedule(TRUNK * lr, steps)),
        "new": optax.adam(optax.cosine_decay_schedule(lr, steps)),
    }
    labels = {"moving": {i: kinds[i] for i in moving}, "head": dict.fromkeys(head, "new")}
    tx = optax.multi_transform(rates, labels)

    def whole(moving, still):
        return jax.tree.unflatten(tree, [x for _, x in sorted((moving | still).items())])

    def loss(params, still, scale, x, y):
        h = apply(whole(params["moving"], still), x) * scale
        logits = h @ params["head"]["w"] + params["head"]["b"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def step(params, opt, still, scale, x, y):
        slopes = jax.grad(loss)(params, still, scale, x, y)
        updates, opt = tx.update(slopes, opt, params)
        return optax.apply_updates(params, updates), opt

    rng, opt = np.random.default_rng(seed), tx.init(params)
    for rows in _batches(rng, len(y), batch, steps):
        params, opt = step(params, opt, still, scale, _at(x, rows), y[rows])
    head = params["head"] | {"w": params["head"]["w"] * scale}
    return whole(params["moving"], still), head


def _batches(rng, n, batch, steps):
    """Rows of each step, epoch by epoch."""
    batch, kept = min(batch, n), np.array([], int)
    for _ in range(steps):
        if len(kept) < batch:
            kept = np.concatenate([kept, rng.permutation(n)])
        yield kept[:batch]
        kept = kept[batch:]


def _accuracy(apply, state, head, x, y):
    logits = jax.jit(lambda s, head, x: apply(s, x) @ head["w"] + head["b"])
    parts = [
        np.asarray(logits(state, head, _at(x, slice(i, i + 500)))).argmax(1)
        for i in range(0, len(y), 500)
    ]
    return float((np.concatenate(parts) == y).mean())


def _rows(features, split):
    """The decoded columns of a split, and its class numbers."""
    return dict(features.rows(split)), np.asarray(features.labels(split))


def _at(x, rows):
    return jax.tree.map(lambda column: column[rows], x)
