"""I-JEPA: prediction of the target encoder's tokens of several blocks from one context.

Assran, Duval, Misra, Bojanowski, Vincent, Rabbat, LeCun and Ballas, "Self-Supervised
Learning from Images with a Joint-Embedding Predictive Architecture", CVPR 2023.
https://arxiv.org/abs/2301.08243

    L = mean over blocks b, patches j in b and features of l(p_bj - LN(f'(x)_j)),
    p_b = g(f(x_C), places of b),    target <- m target + (1 - m) online,

with the smooth L1 distance l, the encoder f, which sees the patches of the context C only,
the predictor g, and f' of the target encoder, which sees the whole image and has no
gradient; m rises linearly to 1. The context has no patch of a block.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, on_update, without_predictor
from jssl.losses.siamese import i_jepa as regression
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.block_masking import Pair, multi_block
from jssl.ops.ema import ema, linear_momentum
from jssl.ops.masking import take_tokens
from jssl.ops.patches import patchify, unpatchify
from jssl.ops.vectors import layer_norm
from jssl.pictures import Grid, in_range


class Target(NamedTuple):
    """The averaged encoder, with its statistics."""

    params: Any
    stats: Any


class State(NamedTuple):
    online: Learner
    target: Target
    count: jax.Array  # updates of the online network


def i_jepa(
    net: Net,
    tx: optax.GradientTransformation,
    patch: int,
    context: int,
    augment: Augment | None = None,
    *,
    steps: int,
    momentum: float = 0.996,
    blocks: int = 4,
    scale: Pair = (0.15, 0.2),
    aspect: Pair = (0.75, 1.5),
    context_scale: Pair = (0.85, 1.0),
    beta: float | None = 1.0,
    prepare: Prepare = field("image"),
) -> Method[State]:
    """Prediction of latent blocks.

    Args:
      net: (images, context, targets, real) -> predicted tokens [n, k, t, d], with the
        numbers of patches of `multi_block`; its method `encode`, of whole images, gives "h"
        and "tokens" [n, l, d], its predictor is named "predictor".
      tx: optimizer of the online network.
      patch: side of a patch in pixels, as in the network.
      context: patches that the context encoder sees.
      augment: (key, batch) -> one view of each row, normalized as `prepare` does; None:
        `prepare`. The paper only crops.
      steps: updates after which the momentum is 1.
      momentum: m at first.
      blocks, scale, aspect, context_scale: as in `multi_block`.
      beta: of the smooth L1 distance; None is the squared error of the paper's text.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
    """

    look = augment or (lambda key, batch: prepare(batch))

    def draw(key, images):
        n, h, w, _ = images.shape
        return multi_block(
            key,
            n,
            (h // patch, w // patch),
            context,
            blocks=blocks,
            scale=scale,
            aspect=aspect,
            context_scale=context_scale,
        )

    def init(key, batch):
        images = first_row(prepare(batch))
        online = fresh(tx, *net.init(key, images, *draw(key, images)))
        target = Target(*without_predictor(online))
        return State(online, target, jnp.zeros((), jnp.int32))

    def encode(target, images):
        return net.apply(*target, images, method="encode")[0]

    def loss(params, stats, images, masks, targets, keys):
        p, stats = net.apply(params, stats, images, *masks, train=True, keys=keys)
        value = regression(p, targets, beta, masks.real)
        return value, (stats, {"loss": value})

    def step(key, state, batch):
        view_key, mask_key = jax.random.split(key)
        images = look(view_key, batch)
        masks = draw(mask_key, images)
        tokens = encode(state.target, images)["tokens"]  # [n, l, d]
        asked = masks.targets.reshape(len(tokens), -1)
        targets = take_tokens(tokens, asked).reshape(*masks.targets.shape, -1)
        noise = noise_keys(key)
        online, metrics = minimize(tx, loss, state.online, images, masks, targets, noise)
        metrics["target_std"] = layer_norm(tokens).std((0, 1)).mean()  # 0: collapse
        m = linear_momentum(state.count, steps, momentum)
        moved = ema(state.target.params, without_predictor(online)[0], m), state.count + 1
        still = state.target.params, state.count
        params, count = on_update(state.online, online, moved, still)
        return State(online, Target(params, state.target.stats), count), metrics

    def embed(state, batch):
        return encode(state.target, prepare(batch))

    def render(key, state, batch, collect):
        images = prepare(batch)[:8]
        masks = draw(key, images)
        patches = patchify(in_range(images), patch)
        parts = [masks.context, *masks.targets.swapaxes(0, 1)]
        within = jnp.stack([jax.vmap(_marked(patches.shape[1]))(x) for x in parts], 1)
        shown = jnp.where(within[..., None], patches[:, None], 0.5)
        shown = jnp.concatenate([patches[:, None], shown], 1)
        flat = shown.reshape(-1, *patches.shape[1:])
        pictures = unpatchify(flat, patch, images.shape[1:3])
        headings = ("input", "context", *(f"target {i + 1}" for i in range(blocks)))
        pictures = pictures.reshape(len(images), len(headings), *images.shape[1:])
        return {"context and targets": Grid(pictures, headings)}

    return Method(init, step, embed, render=render)


def _marked(length):
    """A function from numbers of patches to a mask [l]."""
    return lambda numbers: jnp.zeros(length, bool).at[numbers].set(True)
