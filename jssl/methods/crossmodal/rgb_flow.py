"""RGB and flow of a clip share what happens: Cross and Learn, or InfoNCE between them.

Sayed, Brattoli and Ommer, "Cross and Learn: Cross-Modal Self-Supervision", GCPR 2018.
https://arxiv.org/abs/1811.03879; of flow and color by InfoNCE: Tian, Krishnan and Isola
2020, https://arxiv.org/abs/1906.05849

    L = mean over clips i != j of
        (1 - w) (s(a_i, a_j) + s(b_i, b_j)) - w (s(a_i, b_i) + s(a_j, b_j))

with the cosine s, a of an appearance network and b of a motion network. Both modalities of
a clip agree, and clips differ within either modality, or all would be equal. With
"info_nce" the flow of a frame is found among those of the batch, and vice versa.

a and b are rectified (in the released code, fc6 after its ReLU), and the diversity needs
it: the sum of s over all pairs is |sum of unit vectors|^2 - n, which two opposite points
minimize as well as any other embedding of mean 0. Vectors without negative entries have
cosines of 0 at least, and clips must be orthogonal.
"""

import jax
import jax.numpy as jnp
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys, whole_batches
from jssl.losses.crossmodal import clip, cross_and_learn
from jssl.method import Augment, Method, Prepare, first_row
from jssl.nets import Net
from jssl.ops.vectors import dots, unit
from jssl.pictures import Grid, in_range

KINDS = ("cross", "info_nce")
SHOWN = 4  # neighbors in the picture


def rgb_flow(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment | None = None,
    *,
    prepare: Prepare,
    kind: str = "cross",
    weight: float = 0.5,
    temperature: float = 0.1,
) -> Method[Learner]:
    """Agreement of the appearance and the motion of clips.

    h of `embed` is that of appearance, "h/flow" that of motion.

    Args:
      net: (rgb, flow) -> {"parts": h of each, [n, d_i], "z": embeddings of each, [n, k]},
        as `jssl.models.multiview.PerView`.
      tx: optimizer of all weights.
      augment: (key, batch) -> (rgb, flow), mirrored alike; None: `prepare`.
      prepare: batch -> (rgb [n, h, w, c], flow [n, h, w, 2 t]), outside training.
      kind: "cross" (the paper) or "info_nce".
      weight: w of "cross".
      temperature: of "info_nce".
    """
    if kind not in KINDS:
        raise ValueError(f"rgb_flow: kind must be one of {', '.join(KINDS)}, got {kind!r}")
    look = augment or (lambda key, batch: prepare(batch))

    def init(key, batch):
        learner = fresh(tx, *net.init(key, first_row(prepare(batch))))
        return whole_batches("rgb_flow", learner)

    def embeddings(out):
        return map(jax.nn.relu, out["z"]) if kind == "cross" else out["z"]

    def loss(params, stats, x, keys):
        out, stats = net.apply(params, stats, x, train=True, keys=keys)
        a, b = embeddings(out)
        if kind == "cross":
            value = cross_and_learn(a, b, weight)
        else:
            value = clip(a, b, 1 / temperature)
        found = dots(unit(a), unit(b)).argmax(1) == jnp.arange(len(a))
        return value, (stats, {"loss": value, "flow_found": found.mean()})

    def step(key, state, batch):
        return minimize(tx, loss, state, look(key, batch), noise_keys(key))

    def outputs(state, batch):
        return net.apply(state.weights, state.stats, prepare(batch))[0]

    def embed(state, batch):
        out = outputs(state, batch)
        (rgb, flow), (a, b) = out["parts"], embeddings(out)
        return {"h": rgb, "h/flow": flow, "z": a, "z/flow": b}

    def render(key, state, batch, collect):
        rgb, flow = prepare(batch)
        if rgb.shape[-1] not in (1, 3):
            return {}
        a, b = map(unit, embeddings(outputs(state, batch)))
        nearest = jnp.argsort(-dots(a[:8], b), axis=1)[:, :SHOWN]
        motion = flow_colors(flow[..., :2])
        frames = jnp.broadcast_to(in_range(rgb), (*rgb.shape[:3], 3))
        cells = jnp.concatenate([frames[:8, None], motion[:8, None], motion[nearest]], 1)
        heads = "frame", "flow", *(f"nearest {i + 1}" for i in range(nearest.shape[1]))
        return {"frames, and the nearest flows": Grid(cells, heads)}

    return Method(init, step, embed, render=render)


def flow_colors(flow: jax.Array) -> jax.Array:
    """Flow [n, h, w, 2] as colors in [0, 1]: x in red, y in green, gray for none.

    The longest component of each flow has full color.
    """
    scale = jnp.maximum(jnp.abs(flow).max((1, 2, 3), keepdims=True), 1e-6)
    blue = jnp.full_like(flow[..., :1], 0.5)
    return jnp.concatenate([0.5 + 0.5 * flow / scale, blue], -1)
