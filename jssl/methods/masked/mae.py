"""MAE: reconstruction of masked patches by an asymmetric encoder and decoder.

He, Chen, Xie, Li, Dollar and Girshick, "Masked Autoencoders Are Scalable Vision
Learners", CVPR 2022. https://arxiv.org/abs/2111.06377

    L = sum_l m_l |pred_l - t_l|^2 / k / sum_l m_l

with m = 1 on masked patches and t the k pixels of a patch, standardized by their mean and
standard deviation. The encoder processes visible patches only, the decoder all positions.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize
from jssl.losses.reconstruction import masked_patch_error
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.masking import random_masking
from jssl.ops.patches import denormalize_patches, normalize_patches, patchify, unpatchify
from jssl.pictures import Grid


def mae(
    net: Net,
    tx: optax.GradientTransformation,
    patch: int,
    augment: Augment | None = None,
    *,
    prepare: Prepare = field("image"),
    mask: float = 0.75,
    norm_pixels: bool = True,
) -> Method[Learner]:
    """Reconstruction of masked patches.

    Args:
      net: (images, keep, restore) -> predicted patches; its method `encode` embeds whole
        images.
      tx: optimizer of all weights.
      patch: side of a patch in pixels, as in the network.
      augment: (key, batch) -> one view of each row, normalized as `prepare` does; None:
        `prepare`. The paper only crops and flips.
      prepare: batch -> x, the network's input outside training (normalization, a crop).
      mask: fraction of patches that are masked.
      norm_pixels: True standardizes the target of each patch.
    """

    look = augment or (lambda key, batch: prepare(batch))

    def draw(key, images):
        n, length, _ = patchify(images, patch).shape
        return random_masking(key, n, length, mask)

    def init(key, batch):
        images = first_row(prepare(batch))
        masking = draw(key, images)
        return fresh(tx, *net.init(key, images, masking.keep, masking.restore))

    def loss(params, stats, images, masking, keys):
        pred, stats = net.apply(
            params, stats, images, masking.keep, masking.restore, train=True, keys=keys
        )
        target = patchify(images, patch)
        target = normalize_patches(target) if norm_pixels else target
        value = masked_patch_error(pred, target, masking.mask)
        return value, (stats, {"loss": value})

    def step(key, state, batch):
        view_key, mask_key, drop_key = jax.random.split(key, 3)
        images = look(view_key, batch)
        masking = draw(mask_key, images)
        return minimize(tx, loss, state, images, masking, {"drop_path": drop_key})

    def embed(state, batch):
        images = prepare(batch)
        return net.apply(state.weights, state.stats, images, method="encode")[0]

    def render(key, state, batch, collect):
        images = prepare(batch)[:8]
        masking = draw(key, images)
        inputs = images, masking.keep, masking.restore
        pred, _ = net.apply(state.weights, state.stats, *inputs)
        patches = patchify(images, patch)
        hidden = masking.mask[..., None]
        if norm_pixels:  # drawn with the true mean and deviation of each patch
            pred = denormalize_patches(pred, patches)
        gray = jnp.full_like(patches, (images.min() + images.max()) / 2)
        columns = (
            patches,
            jnp.where(hidden, gray, patches),
            jnp.where(hidden, pred, patches),
        )
        headings = ("input", "masked input", "reconstruction")
        shown = [unpatchify(x, patch, images.shape[1:3]) for x in columns]
        low, high = images.min(), images.max()
        shown = (jnp.stack(shown, 1) - low) / jnp.maximum(high - low, 1e-12)
        return {"masked patches": Grid(jnp.clip(shown, 0, 1), headings)}

    return Method(init, step, embed, render=render)
