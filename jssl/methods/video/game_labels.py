"""Game labels: depth, normals and contours of rendered scenes, in features of any domain.

Ren and Lee, "Cross-Domain Self-supervised Multi-task Feature Learning using Synthetic
Imagery", CVPR 2018. https://arxiv.org/abs/1711.09082

    L_D = (-E log D(f(real)) - E log(1 - D(f(rendered)))) / 2
    L   = 5 L_depth + 10 L_normal + L_edge - a E log D(f(rendered))

with f the maps of the encoder. A renderer knows the labels of its pictures, and the
discriminator D of every patch of the maps keeps the features of rendered pictures like
those of real ones, which have no labels. D also sees rendered features of the past.

With `reversal`, gradients of D's own loss are reversed instead, with the factor a (Ganin
and Lempitsky 2015, https://arxiv.org/abs/1409.7495): then both domains move.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.adversarial import minimax_discriminator, non_saturating_generator
from jssl.losses.dense import depth_error, edge_cross_entropy, normal_error
from jssl.method import Batch, Method, Prepare, first_row, fold
from jssl.nets import Net
from jssl.ops.cells import cell_maxima, cell_means
from jssl.ops.history import Pool, pool_init, pool_update
from jssl.ops.reversal import grad_reverse
from jssl.pictures import Grid, in_range

Look = Callable[[jax.Array, Any], Any]


class State(NamedTuple):
    labeler: Learner
    judge: Learner | tuple[()]
    past: Pool | tuple[()]


def game_labels(
    net: Net,
    tx: optax.GradientTransformation,
    *,
    rendered: Prepare,
    labels: Callable[[Batch], Mapping[str, Any]],
    real: Prepare,
    prepare: Prepare | None = None,
    look: Look = lambda key, images: images,
    judge: Net | None = None,
    judge_tx: optax.GradientTransformation | None = None,
    adversarial: float = 0.05,
    reversal: bool = False,
    pool: int = 128,
    log_depth: tuple[float, float] = (0.0, 1.0),
    weights: tuple[float, float, float] = (5.0, 10.0, 1.0),
) -> Method[State]:
    """Labels of rendered scenes, with features that are alike in both domains.

    Batches have two parts, {"rendered": ..., "real": ...}; rows to embed are of the real
    domain.

    Args:
      net: images -> {"depth": [n, g, g, 1], "normal": [n, g, g, 3], "edge": logits
        [n, g, g, 1], "maps": [n, h', w', d], "h": [n, d]}; its function `encode` has "maps"
        and "h" of images, `decode` the other outputs, from maps.
      tx: its optimizer.
      rendered: batch["rendered"] -> images [n, h, w, c].
      labels: batch["rendered"] -> {"depth": [n, h, w], "normal": [n, h, w, 3], "edge": [n,
        h, w]}.
      real: batch["real"] -> images [n, h, w, c].
      prepare: rows to embed -> images, as those that `look` gives; None: `real`.
      look: (key, images) -> images, in training, of both domains.
      judge: D, maps -> {"logits": [n, ...]}; None: no alignment of domains, but for the
        batch statistics common to both.
      judge_tx: its optimizer.
      adversarial: a, weight of the adversarial term.
      reversal: True reverses the gradients of D's loss.
      pool: number of rendered features of the past.
      log_depth: mean and deviation of the logarithm of depth, by which it is standardized.
      weights: of depth, normals and contours.

    Raises:
      ValueError: a judge without an optimizer.
    """
    if judge is not None and judge_tx is None:
        raise ValueError("game_labels: a judge needs its optimizer, judge_tx")
    discriminator, judge_tx = cast(Net, judge), cast(Any, judge_tx)
    center, scale = log_depth
    shown = prepare or real

    def targets(batch, cells):
        found, side = labels(batch), (cells, cells)
        depth = (jnp.log(found["depth"]) - center) / scale
        edge = found["edge"].astype(depth.dtype)
        return (
            cell_means(depth[..., None], side)[..., 0],
            cell_means(found["normal"], side),
            cell_maxima(edge[..., None], side)[..., 0],
        )

    def seen_both(params, stats, images, photographs, key):
        """Labels of rendered images, the maps of either domain, and new batch statistics.

        Those of the encoder are common to both domains: statistics of its own would align
        each channel's moments in training only, since `embed` has one running average for
        all images, and keeps the difference of domains. Without a judge they are common,
        too: only its gradient is missing then. Those of the decoders are of the rendered
        domain, from which they learn.
        """
        x = fold(jnp.stack([images, photographs], 1))
        how = dict(train=True, keys=noise_keys(key))
        out, stats = net.apply(params, stats, x, method="encode", **how)
        made, found = jnp.moveaxis(out["maps"].reshape(-1, 2, *out["maps"].shape[1:]), 1, 0)
        labeled, stats = net.apply(params, stats, made, method="decode", **how)
        return labeled, (made, found), stats

    def judged(params, stats, maps):
        out, stats = discriminator.apply(params, stats, maps, train=True)
        return out["logits"], stats

    def init(key, batch):
        one, two = jax.random.split(key)
        labeler = fresh(tx, *net.init(one, first_row(rendered(batch["rendered"]))))
        if judge is None:
            return State(labeler, (), ())
        x = first_row(real(batch["real"]))
        of = jax.eval_shape(net.apply, labeler.params, labeler.stats, x)[0]["maps"]
        maps = jnp.zeros(of.shape, of.dtype)
        critic = fresh(judge_tx, *discriminator.init(two, maps))
        return State(labeler, critic, pool_init(pool, of.shape[1:]))

    def judge_loss(params, stats, on_real, on_rendered):
        one, stats = judged(params, stats, on_real)
        two, stats = judged(params, stats, on_rendered)
        value = minimax_discriminator(one, two) / 2
        right = ((one > 0).mean() + (two < 0).mean()) / 2
        return value, (stats, {"disc/loss": value, "disc/right": right})

    def loss(params, stats, critic, batch, images, photographs, key):
        out, (made, found), stats = seen_both(params, stats, images, photographs, key)
        depth, normal, edge = targets(batch["rendered"], out["edge"].shape[1])
        terms = {
            "depth": depth_error(out["depth"][..., 0], depth),
            "normal": normal_error(out["normal"], normal),
            "edge": edge_cross_entropy(out["edge"][..., 0], edge),
        }
        value = sum(w * x for w, x in zip(weights, terms.values(), strict=True))
        if judge is not None and reversal:
            both = (grad_reverse(maps, adversarial) for maps in (found, made))
            terms["reversed"], _ = judge_loss(critic.params, critic.stats, *both)
            value += terms["reversed"]
        elif judge is not None:
            logits, _ = judged(critic.params, critic.stats, made)
            terms["adversarial"] = non_saturating_generator(logits)
            value += adversarial * terms["adversarial"]
        return value, (stats, terms | {"loss": value})

    def step(key, state, batch):
        one, two, noise, mix = jax.random.split(key, 4)
        images = look(one, rendered(batch["rendered"]))
        photographs = look(two, real(batch["real"]))
        labeler, critic, past = state
        metrics = {}
        if judge is not None:
            both = images, photographs, noise
            _, (made, found), _ = seen_both(labeler.params, labeler.stats, *both)
            mixed, past = pool_update(mix, past, made)
            real_maps = jax.lax.stop_gradient(found)
            critic, metrics = minimize(
                judge_tx, judge_loss, critic, real_maps, mixed, prefix="disc/"
            )
        inputs = critic, batch, images, photographs, noise
        labeler, own = minimize(tx, loss, labeler, *inputs)
        return State(labeler, critic, past), metrics | own

    def predict(state, images):
        out = dict(net.apply(state.labeler.weights, state.labeler.stats, images)[0])
        normal = out["normal"]
        length = jnp.sqrt(jnp.square(normal).sum(-1, keepdims=True))
        return out | {
            "depth": jnp.exp(center + scale * out["depth"][..., 0]),
            "normal": normal / jnp.maximum(length, 1e-6),
            "edge": jax.nn.sigmoid(out["edge"][..., 0]),
        }

    def embed(state, batch):
        return predict(state, shown(batch))

    def render(key, state, batch, collect):
        images = shown(batch)[:8]
        out = predict(state, images)
        shape = images.shape[:3]

        def drawn(x):
            x = x.reshape(*x.shape[:3], -1)
            x = jax.image.resize(x, (*shape, x.shape[-1]), "nearest")
            return jnp.broadcast_to(x, (*shape, 3))

        inverse = 1 / out["depth"]
        near = inverse / inverse.max((1, 2), keepdims=True)
        columns = (near, (1 - out["normal"]) / 2, out["edge"])
        seen = jnp.stack([drawn(in_range(images)), *map(drawn, columns)], 1)
        headings = ("real image", "nearness", "normals", "contours")
        return {"labels of real images": Grid(jnp.clip(seen, 0, 1), headings)}

    return Method(init, step, embed, render=render)
