"""ReMixMatch: MixMatch with aligned guesses, anchored strong views, and rotations.

Berthelot, Carlini, Cubuk, Kurakin, Sohn, Zhang and Raffel, "ReMixMatch: Semi-Supervised
Learning with Distribution Alignment and Augmentation Anchoring", ICLR 2020.
https://arxiv.org/abs/1911.09785

    q = sharpen(normalize(p(weak(u)) p_data / p_model), T), for all views of u,
    X', U' = labeled rows, and the weak and k strong views of unlabeled ones, each mixed
             with a random one of all,
    L = mean over X' of H(y, p(x)) + w(s) (w_u mean over U' of H(q, p(u))
        + w_1 mean over u of H(q, p(strong_1(u)))) + w_r mean over u of H(r, turned by r).

p_model is the mean prediction for weak views in the last 128 batches, p_data the
frequencies of the classes. No gradient flows through q. Each strong view 1 is turned once,
a quarter of a batch by each angle.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, whole_batches
from jssl.method import Augment, Method, Prepare, field, first_row, part
from jssl.nets import Net
from jssl.ops.divergences import soft_cross_entropy
from jssl.ops.memory import Queue, queue_push
from jssl.ops.mixing import interleave, mixmatch_batch
from jssl.ops.ramps import linear_rampup
from jssl.ops.rotations import rotate_all
from jssl.ops.targets import distribution_alignment, sharpen


class State(NamedTuple):
    learner: Learner
    predicted: Queue  # [memory, classes], the mean prediction of each of the last batches
    count: jax.Array  # updates of the weights


def remixmatch(
    net: Net,
    tx: optax.GradientTransformation,
    weak: Augment,
    strong: Augment,
    *,
    weight: float = 1.5,
    anchor: float = 0.5,
    rotation: float = 0.5,
    ramp: int = 16384,
    k: int = 8,
    temperature: float = 0.5,
    alpha: float = 0.75,
    frequencies: Sequence[float] | None = None,
    memory: int = 128,
    interleaved: bool = False,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Semi-supervised learning with aligned guesses, mixup, anchoring and rotations.

    Args:
      net: images -> {"logits": [n, classes], "turns": [n, 4], "h": [n, d]}.
      tx: optimizer of all weights, as in MixMatch.
      weak: (key, batch) -> one view of each row, square images, normalized as `prepare`
        does.
      strong: the same, of stronger distortions; unlabeled rows are repeated k times.
      weight: w_u.
      anchor: w_1.
      rotation: w_r, which has no ramp.
      ramp: steps of the linear ramp w.
      k: strong views of an unlabeled image.
      temperature: T.
      alpha: parameter of the Beta distribution of mixing coefficients.
      frequencies: p_data; None: even, as those of labels drawn by class.
      memory: batches over which p_model is the mean; even before the first.
      interleaved: batch statistics of the released code, of each of k + 2 batches of
        interleaved mixed rows, the last of which updates the running statistics. False: of
        all mixed rows.
      prepare: batch -> x, the network's input outside training (normalization, a crop).

    Raises:
      ValueError: in `init`, an optimizer that accumulates gradients, or, if `interleaved`,
        not as many labeled as unlabeled rows in a batch.
    """

    def init(key, batch):
        sizes = [len(batch[name]["index"]) for name in ("labeled", "unlabeled")]
        if interleaved and sizes[0] != sizes[1]:
            raise ValueError(
                f"remixmatch: interleaved batches need as many labeled as unlabeled rows, "
                f"got {sizes[0]} and {sizes[1]}: change one of them, or interleaved=False"
            )
        x = first_row(prepare(part(batch, "labeled")))
        learner = whole_batches("remixmatch", fresh(tx, *net.init(key, x)))
        out, _ = jax.eval_shape(net.apply, learner.params, learner.stats, x)
        classes = out["logits"].shape[1]
        dtype = jnp.promote_types(out["logits"].dtype, jnp.float32)
        even = jnp.full((memory, classes), 1 / classes, dtype)
        start = jnp.zeros((), jnp.int32)
        return State(learner, Queue(even, start), start)

    def of_mixed(params, stats, x, u, key):
        """Logits of mixed labeled rows and views, and the new running statistics."""
        batches = [jnp.concatenate([x, u])]
        if interleaved:
            batches = interleave([x, *(u[i :: k + 1] for i in range(k + 1))])
        keys = [noise_keys(jax.random.fold_in(key, i)) for i in range(len(batches))]
        outs = [
            net.apply(params, stats, rows, train=True, keys=noise)
            for rows, noise in zip(batches, keys, strict=True)
        ]
        logits, stats = [out["logits"] for out, _ in outs], outs[-1][1]
        if not interleaved:
            return *jnp.split(logits[0], [len(x)]), stats
        known, *unknown = interleave(logits)
        return known, jnp.stack(unknown, 1).reshape(len(u), -1), stats

    def loss(params, stats, mixed, anchored, turned, w, key):
        (x, p), (u, mixed_q) = mixed
        (a, q), (t, turns) = anchored, turned
        known, unknown, moved = of_mixed(params, stats, x, u, key)
        looks = dict(train=True, keys=noise_keys(key))
        near = net.apply(params, stats, a, **looks)[0]["logits"]
        guessed = net.apply(params, stats, t, **looks)[0]["turns"]
        parts = {
            "labeled": soft_cross_entropy(known, p).mean(),
            "unlabeled": soft_cross_entropy(unknown, mixed_q).mean(),
            "anchored": soft_cross_entropy(near, q).mean(),
            "rotated": optax.softmax_cross_entropy_with_integer_labels(
                guessed, turns
            ).mean(),
        }
        value = parts["labeled"] + rotation * parts["rotated"]
        value += w * (weight * parts["unlabeled"] + anchor * parts["anchored"])
        right = (guessed.argmax(-1) == turns).mean()
        metrics = parts | {"loss": value, "ramp": w, "rotation_accuracy": right}
        return value, (moved, metrics)

    def guess(key, state, u):
        """q [n, classes], and the mean prediction [1, classes] before alignment."""
        learner, keys = state.learner, noise_keys(key)
        out, _ = net.apply(learner.params, learner.stats, u, train=True, keys=keys)
        p = jax.nn.softmax(out["logits"])
        p_model = state.predicted.keys.mean(0)
        p_data = jnp.full_like(p_model, 1 / len(p_model))
        if frequencies is not None:
            p_data = jnp.asarray(frequencies, p_model.dtype)
        q = sharpen(distribution_alignment(p, p_model, p_data), temperature)
        return q, p.mean(0, keepdims=True)

    def step(key, state, batch):
        one, two, mix, noise, other = jax.random.split(key, 5)
        labels, unlabeled = batch["labeled"]["label"], batch["unlabeled"]
        n, many = len(labels), len(unlabeled["index"])
        x, u = jnp.split(weak(one, part(batch, "labeled", "unlabeled")), [n])
        repeated = jax.tree.map(lambda x: jnp.repeat(x, k, axis=0), unlabeled)
        s = strong(two, part(dict(batch) | {"unlabeled": repeated}, "unlabeled"))
        s = s.reshape(many, k, *s.shape[1:])
        q, predicted = guess(noise, state, u)
        p = jax.nn.one_hot(labels, q.shape[1], dtype=q.dtype)
        views = jnp.concatenate([u[:, None], s], 1)  # [many, 1 + k, ...]
        mixed = mixmatch_batch(mix, x, p, views, q, alpha)
        turns = jnp.arange(many) % 4
        turned = rotate_all(s[:, 0])[0][jnp.arange(many), turns]
        w = linear_rampup(state.count, ramp)
        rest = mixed, (s[:, 0], q), (turned, turns), w, other
        learner, metrics = minimize(tx, loss, state.learner, *rest)
        seen = queue_push(state.predicted, predicted)
        metrics["certainty"] = q.max(1).mean()
        return State(learner, seen, state.count + 1), metrics

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    return Method(init, step, embed)
