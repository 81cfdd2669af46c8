"""Instance discrimination: classification of every image as its own class, by a memory.

Wu, Xiong, Yu and Lin, "Unsupervised Feature Learning via Non-Parametric Instance
Discrimination", CVPR 2018. https://arxiv.org/abs/1805.01978

    P(i | u) = exp(v_i u / tau) / Z,    L = mean_i -log P(i | u_i) + lambda |u_i - v_i|^2,

with u the unit embedding of a view. The weights of class i are no parameters, but v_i, the
embedding of image i when it was last seen, in a memory bank of all images:

    v_i <- unit(mu v_i + (1 - mu) u_i)    after each step, with u of before the step.

Z is the sum over all rows of the bank; or, with m noise samples, a constant estimated from
the first batch, and -log P is replaced by noise-contrastive estimation: is row j of the
bank that of the image, or one of m drawn uniformly? The last term keeps u near its last
value, since each image is seen once in an epoch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.predictive import nce, nce_log_z
from jssl.losses.predictive import proximal as distance
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.chunked import row_logsumexp
from jssl.ops.memory import bank_init, bank_read, bank_write
from jssl.ops.vectors import cosine, dots, unit
from jssl.pictures import Grid, in_range, thumbnails


class State(NamedTuple):
    learner: Learner
    bank: jax.Array | tuple  # [size, d], a unit vector of each sample; () if parametric
    log_z: jax.Array  # of the noise-contrastive estimation, from the first batch
    count: jax.Array  # steps taken


def instance_discrimination(
    net: Net,
    tx: optax.GradientTransformation,
    augment: Augment | None = None,
    *,
    size: int,
    noise: int = 4096,
    temperature: float = 0.07,
    momentum: float = 0.5,
    proximal: float = 0.0,
    parametric: bool = False,
    prepare: Prepare = field("image"),
    chunk: int | None = None,
) -> Method[State]:
    """Discrimination of all samples of the training split, by the rows of a memory bank.

    Args:
      net: x -> {"h": [n, k], "z": [n, d]}; if parametric also "p" [n, size], the logits of
        the samples. z is normalized here.
      tx: optimizer of all weights.
      augment: (key, batch) -> one view of each row, normalized as `prepare` does; None:
        `prepare`.
      size: samples of the training split, which "index" numbers.
      noise: m, rows of the bank that are drawn for each sample; 0: the softmax over all
        rows.
      temperature: tau.
      momentum: mu, of the rows of the bank; 0 in the paper, 0.5 in the released code.
      proximal: lambda; 30 in the paper, with momentum 0, and 0 in the released code.
      parametric: the softmax of "p", which has learned weights in place of the bank, for
        comparison; `noise`, `temperature`, `momentum` and `proximal` are then not used.
      prepare: batch -> x, the network's input outside training.
      chunk: rows of the bank per block of the full softmax, to save memory; None: all.
    """
    if size < 1 or noise < 0:
        raise ValueError(
            f"instance_discrimination: size must be at least 1 and noise at least 0 (0: "
            f"the softmax over all rows), got {size} and {noise}"
        )
    look = augment or (lambda key, batch: prepare(batch))

    def init(key, batch):
        net_key, bank_key = jax.random.split(key)
        x = first_row(prepare(batch))
        learner = fresh(tx, *net.init(net_key, x))
        out = jax.eval_shape(net.apply, learner.params, learner.stats, x)[0]
        logits = out["p"].shape[1:] if "p" in out else "none"
        if parametric and logits != (size,):
            raise ValueError(
                f'instance_discrimination: the parametric softmax needs logits "p" of all '
                f"{size} samples, got {logits}"
            )
        bank = () if parametric else bank_init(bank_key, size, out["z"].shape[1])
        return State(learner, bank, jnp.zeros(()), jnp.zeros((), jnp.int32))

    def by_weights(params, stats, x, index, keys):
        out, stats = net.apply(params, stats, x, train=True, keys=keys)
        logits = out["p"]
        value = optax.softmax_cross_entropy_with_integer_labels(logits, index).mean()
        right = (logits.argmax(-1) == index).mean()
        return value, (stats, {"loss": value, "instance_accuracy": right})

    def by_bank(params, stats, x, own, others, bank, log_z, first, keys):
        out, stats = net.apply(params, stats, x, train=True, keys=keys)
        z = out["z"]
        metrics = {"similarity": cosine(z, own).mean(), "z": z}
        if noise:
            estimate = nce_log_z(z, own, others, size, temperature)
            log_z = jnp.where(first, estimate, log_z)
            value = nce(z, own, others, log_z, size, temperature)
            metrics["log_z"] = log_z
        else:
            scaled = unit(z) / temperature
            total = row_logsumexp(scaled, bank, chunk=chunk)
            value = (total - (scaled * own).sum(-1)).mean()
        if proximal:
            value += distance(z, own, proximal)
        return value, (stats, metrics | {"loss": value})

    def step(key, state, batch):
        view_key, noise_key = jax.random.split(key)
        learner, bank, log_z, count = state
        x, index, keys = look(view_key, batch), batch["index"], noise_keys(key)
        if parametric:
            learner, metrics = minimize(tx, by_weights, learner, x, index, keys)
            return State(learner, bank, log_z, count + 1), metrics
        drawn = jax.random.randint(noise_key, (len(index), noise), 0, size)
        own, others = bank_read(bank, index), bank_read(bank, drawn)
        rest = own, others, bank, log_z, count == 0, keys
        learner, metrics = minimize(tx, by_bank, learner, x, *rest)
        bank = bank_write(bank, index, metrics.pop("z"), momentum)
        return State(learner, bank, metrics.get("log_z", log_z), count + 1), metrics

    def embed(state, batch):
        learner = state.learner
        return net.apply(learner.weights, learner.stats, prepare(batch))[0]

    def shown_small(batch):
        return thumbnails(prepare(batch))

    def render(key, state, batch, collect):
        images = jax.eval_shape(prepare, batch)
        if parametric or len(getattr(images, "shape", ())) != 4:
            return {}
        z = unit(embed(state, batch)["z"][:8])
        found = np.asarray(jax.lax.top_k(dots(z, state.bank), min(7, size))[1])
        known, asked = np.asarray(collect(shown_small)), np.asarray(shown_small(batch)[:8])
        shown = np.concatenate([asked[:, None], known[found]], 1)
        heads = ("query", *(f"nearest {i + 1}" for i in range(found.shape[1])))
        return {"retrieval from the memory bank": Grid(in_range(shown), heads)}

    return Method(init, step, embed, render=render)
