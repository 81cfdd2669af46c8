"""DeepCluster: alternates k-means on the features and classification of the clusters.

Caron, Bojanowski, Joulin and Douze, "Deep Clustering for Unsupervised Learning of Visual
Features", ECCV 2018. https://arxiv.org/abs/1807.05520

    y = k-means of unit(PCA-whitened f(x)),    L = mean_i -log p(y_i | f(view(x_i)))

Each round has a new linear head, since cluster numbers are arbitrary, and an order of
samples in which all clusters are equally frequent.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.metrics import normalized_mutual_info_score

from jssl.learner import Learner, fresh, minimize, noise_keys
from jssl.losses.clustering import deepcluster as cross_entropy
from jssl.method import Augment, Method, Prepare, field, first_row
from jssl.nets import Net
from jssl.ops.kmeans import kmeans
from jssl.ops.order import balanced_order
from jssl.ops.vectors import unit
from jssl.ops.whitening import pca_whiten
from jssl.pictures import Grid, in_range, thumbnails

HEAD = (jax.tree_util.DictKey("head"),)


class State(NamedTuple):
    learner: Learner
    clusters: jax.Array  # [size], of each sample of the training split
    nmi: jax.Array  # with the clusters of the previous round; 1: unchanged


def deepcluster(
    net: Net,
    tx: optax.GradientTransformation,
    *,
    size: int,
    clusters: int,
    components: int = 256,
    augment: Augment | None = None,
    prepare: Prepare = field("image"),
    iterations: int = 20,
    chunk: int | None = None,
) -> Method[State]:
    """Classification of clusters of its own features.

    The stage needs `refresh_every`, the steps between clusterings.

    Args:
      net: x -> {"logits": [n, clusters], "h": [n, d]}, with a linear head named "head".
      tx: optimizer of all weights.
      size: samples of the training split, which "index" numbers.
      clusters: k, about ten times the expected number of classes.
      components: number of principal components of the features.
      augment: (key, batch) -> one view of each row, normalized as `prepare` does; None:
        `prepare`.
      prepare: batch -> x, the network's input outside training; edges in the paper.
      iterations: of k-means.
      chunk: samples per block of features in whitening and of distances in k-means, to save
        memory: [size, components] is then the largest array of the device; None: all.
    """

    look = augment or (lambda key, batch: prepare(batch))

    def init(key, batch):
        learner = fresh(tx, *net.init(key, first_row(prepare(batch))))
        return State(learner, jnp.zeros(size, jnp.int32), jnp.zeros(()))

    def loss(params, stats, images, targets, keys):
        out, stats = net.apply(params, stats, images, train=True, keys=keys)
        value = cross_entropy(out["logits"], targets)
        right = (out["logits"].argmax(-1) == targets).mean()
        return value, (stats, {"loss": value, "cluster_accuracy": right})

    def step(key, state, batch):
        targets = state.clusters[batch["index"]]
        images = look(key, batch)
        keys = noise_keys(key)
        learner, metrics = minimize(tx, loss, state.learner, images, targets, keys)
        return state._replace(learner=learner), metrics | {"nmi": state.nmi}

    def embed(state, batch):
        learner = state.learner
        out, _ = net.apply(learner.weights, learner.stats, prepare(batch))
        return out | {"prototypes": out["logits"]}

    def features(state, batch):
        return embed(state, batch)["h"]

    def refresh(key, state, collect):
        cluster_key, head_key, order_key = jax.random.split(key, 3)
        z = unit(pca_whiten(collect(features, state), components, block=chunk).z)
        found = kmeans(cluster_key, z, clusters, iterations, chunk=chunk).assignments
        learner = with_new_head(head_key, state.learner)
        order = balanced_order(order_key, found)
        kept = normalized_mutual_info_score(state.clusters, found)
        return State(learner, found, jnp.asarray(kept, state.nmi.dtype)), order

    def with_new_head(key, learner):
        """Reinitializes the head and its optimizer state, as in the paper."""
        params, head = dict(learner.params), learner.params["head"]
        kernel = 0.01 * jax.random.normal(key, head["kernel"].shape, head["kernel"].dtype)
        params["head"] = {"kernel": kernel, "bias": jnp.zeros_like(head["bias"])}
        weights = {path for path, _ in jax.tree_util.tree_leaves_with_path(params)}

        def restarted(path, old, new):
            ends = (path[i:] for i in range(len(path)) if path[i:] in weights)
            return new if next(ends, ())[:1] == HEAD else old

        opt = jax.tree_util.tree_map_with_path(restarted, learner.opt, tx.init(params))
        return learner._replace(params=params, opt=opt)

    def reduced(batch):
        """Inputs reduced so that a whole split fits in memory."""
        return thumbnails(prepare(batch))

    def render(key, state, batch, collect):
        images = jax.eval_shape(prepare, batch)
        if not isinstance(images, jax.ShapeDtypeStruct) or len(images.shape) != 4:
            return {}
        images, found = collect(reduced), np.asarray(state.clusters)
        known = np.unique(found)
        shown = known[np.linspace(0, len(known) - 1, min(8, len(known))).astype(int)]
        rows = [np.resize(np.flatnonzero(found == cluster)[:8], 8) for cluster in shown]
        title = "cluster members, a row a cluster"
        return {title: Grid(in_range(images[np.stack(rows)]))}

    return Method(init, step, embed, refresh, render)
