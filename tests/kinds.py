"""Toy data of every kind, as an experiment: SimCLR on each, supervised learning on three.

    python -m jssl.main --config=tests/kinds.py:kind=sound
    python -m jssl.main --config=tests/kinds.py:targets,kind=spans

A row holds its class and a louder nuisance; its two views share the class alone. Hence
networks with random weights judge rows by the nuisance, and SimCLR learns the class.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.signal import lfilter

from jssl import Stage, baselines, data, nets
from jssl.config import one_of
from jssl.data import Edges, Index, Labels, Numbers, Sound, Source, Spans, Tokens, Video
from jssl.evaluate.protocols import protocols
from jssl.knobs import Images, Run, with_labels
from jssl.method import Augment, Batch, Prepare, field
from jssl.methods.contrastive.simclr import simclr
from jssl.methods.transfer.supervised import (
    mean_squared_error,
    span_cross_entropy,
    supervised,
    tag_cross_entropy,
)
from jssl.models.heads import MLP, Classifier, Siamese
from jssl.models.intermediates import tap

CLASSES = 4
WIDTH = 32  # of every h


class Kind(NamedTuple):
    """A toy source and what SimCLR needs to learn from it.

    Attributes:
      data: (rows, batch, seed) -> the training source.
      encoder: x -> h [n, WIDTH].
      augment: (key, batch) -> two views.
      prepare: batch -> x.
    """

    data: Callable[[int, int, int], Source]
    encoder: nn.Module
    augment: Augment
    prepare: Prepare


def laptop(
    run: Run = Run(),
    kind: str = "text",
    steps: int = 200,
    batch: int = 64,
    rows: int = 1024,
) -> list[Stage]:
    """SimCLR with its usual baselines.

    Args:
      kind: Kind of the data: image, text, sound, ...
      steps: Updates of SimCLR and of its supervised reference.
      batch: Rows per step.
      rows: Rows of the training split.
    """
    toy = one_of("kind", kind, KINDS)
    # A source that is met once needs as many rows as are drawn.
    train = toy.data(steps * batch if kind == "walk" else rows, batch, run.seed)
    net = nets.linen(Siamese(toy.encoder, MLP((WIDTH, 16))))
    tx = optax.adam(3e-3)
    method = simclr(net, tx, toy.augment, temperature=0.2, prepare=toy.prepare)
    epochs = steps / train.steps(1)
    return [
        baselines.pretrain_stage(
            run,
            Images(epochs=epochs, supervised_epochs=epochs),
            train,
            method,
            nets.linen(Classifier(toy.encoder, train.classes)),
            prepare=toy.prepare,
            tx=lambda steps: tx,
        )
    ]


def targets(
    run: Run = Run(),
    kind: str = "tags",
    steps: int = 200,
    batch: int = 64,
    rows: int = 1024,
) -> list[Stage]:
    """Supervised learning of tags, spans or poses.

    Args:
      kind: Target: tags, spans or pose.
      steps: Updates.
      batch: Rows per step.
      rows: Rows of the training split.
    """
    task = one_of("kind", kind, TARGETS)
    train = with_labels(task.data(rows, batch, run.seed))
    method = supervised(
        nets.linen(task.net),
        optax.adam(3e-3),
        prepare=task.prepare,
        target=field(kind),
        error=task.error,
    )
    judged = {name: each.judge for name, each in protocols(train).items()}
    rows = baselines.rows(run, method, train, judged)
    return [run.stage("train", method, train, steps, evals=judged, baselines=rows)]


def source(
    name: str,
    draw: Callable[[np.random.Generator, np.ndarray], Mapping[str, np.ndarray]],
    rows: int,
    batch: int,
    seed: int,
    fields: Mapping[str, Any] = {},
    labeled: bool = True,
) -> Source:
    """Splits of rows that `draw` makes of a generator and of their classes."""
    splits = {}
    for i, (split, size) in enumerate(sizes(rows).items()):
        rng, label = np.random.default_rng(i), np.arange(size) % CLASSES
        splits[split] = dict(draw(rng, label)) | ({"label": label} if labeled else {})
    return data.dataset(name, splits, batch, fields=fields, seed=seed)


def sizes(rows: int) -> dict[str, int]:
    """Rows of each split, by those of the training split."""
    return {"train": rows, "val": max(96, rows // 8), "test": max(96, rows // 4)}


def twice(x: Any) -> Any:
    """Every leaf [n, ...] as two equal views [n, 2, ...]."""
    return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf], 1), x)


# Images: two gratings side by side of one orientation, each in a light of its own.

SIDE = 10


def gratings(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    """Bytes [n, SIDE, 2 SIDE, 1]."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    turn = (np.pi * label / CLASSES).reshape(-1, 1, 1, 1)
    shape = len(label), 2, 1, 1
    phase, light = rng.uniform(0, 2 * np.pi, shape), rng.uniform(0.2, 0.8, shape)
    across, down = rng.uniform(-0.06, 0.06, (2, *shape))
    image = 0.1 * np.sin(1.6 * (np.cos(turn) * x + np.sin(turn) * y) + phase)
    image = image + light + across * x + down * y
    image += rng.normal(0, 0.05, image.shape)
    return np.uint8(255 * np.concatenate([image[:, 0], image[:, 1]], 2).clip(0, 1))[
        ..., None
    ]


def draw_images(rng, label):
    return {"image": gratings(rng, label)}


class Pixels(nn.Module):
    """Images [n, h, w, c] -> [n, WIDTH]."""

    @nn.compact
    def __call__(self, image, train=False):
        x = nn.relu(nn.Conv(16, (3, 3), padding="VALID", name="conv0")(image - 0.5))
        tap(self, "layers", x)
        x = nn.relu(nn.Conv(WIDTH, (3, 3), padding="VALID", name="conv1")(x))
        tap(self, "layers", x)
        return x.mean((1, 2))


def sides(key, batch):
    """The left and the right half of each image."""
    image = batch["image"]
    return jnp.stack([image[:, :, :SIDE], image[:, :, SIDE:]], 1)


# Text: documents of four topics, most of whose words belong to none.

WORDS = 200
LENGTH = 32
VOCABULARY = tuple(f"w{i}" for i in range(WORDS))


def draw_texts(rng, label, share=1 / 6):
    """Tokens in one byte each, padded; a share of them is of the topic."""
    shape = len(label), LENGTH
    of_topic = 10 * label[:, None] + rng.integers(0, 10, shape)
    others = rng.integers(10 * CLASSES, WORDS, shape)
    tokens = np.where(rng.random(shape) < share, of_topic, others)
    mask = np.arange(LENGTH) < rng.integers(LENGTH // 2, LENGTH + 1, len(label))[:, None]
    return {"tokens": np.uint8(tokens * mask), "mask": np.float32(mask)}


def tokens_and_mask(batch: Batch) -> Any:
    return batch["tokens"], batch["mask"]


class Words(nn.Module):
    """Tokens and mask [n, l] -> [n, WIDTH]."""

    @nn.compact
    def __call__(self, x, train=False):
        tokens, mask = x
        x = nn.relu(nn.Dense(WIDTH, name="dense0")(nn.Embed(WORDS, WIDTH)(tokens)))
        tap(self, "layers", x)
        return masked_mean(x, mask)


def masked_mean(x, mask):
    return (x * mask[..., None]).sum(1) / jnp.maximum(mask.sum(1), 1)[:, None]


def halves(key, mask):
    """Two views of a mask: every place belongs to one of them."""
    first = jax.random.bernoulli(key, 0.5, mask.shape)
    return jnp.stack([mask * first, mask * ~first], 1)


def word_halves(key, batch):
    tokens, mask = tokens_and_mask(batch)
    return twice(tokens), halves(key, mask)


# Sound: a soft tone, the class, under louder ones that change eight times a clip.

RATE, SAMPLES, PIECES = 2000, 512, 8


def draw_sounds(rng, label):
    """Clips of 16 bits [n, SAMPLES]."""
    n, t = len(label), np.arange(SAMPLES) / RATE
    phase = rng.uniform(0, 2 * np.pi, (2, n, PIECES, 1))
    tone = 100 * (label[:, None] + 1) * t
    loud = rng.uniform(550, 950, (n, PIECES, 1)) * t.reshape(PIECES, -1)
    wave = np.sin(2 * np.pi * loud + phase[0]) * rng.uniform(0.3, 1, (n, PIECES, 1))
    wave = wave.reshape(n, -1) + 0.15 * np.sin(2 * np.pi * tone + phase[1, :, 0])
    wave *= rng.uniform(0.1, 0.7, (n, 1))
    return {"audio": np.int16(wave * 2**15 / 2)}


class Waves(nn.Module):
    """Waveforms [n, s] -> [n, WIDTH]."""

    @nn.compact
    def __call__(self, wave, train=False):
        x = nn.Conv(WIDTH, (32,), (8,), padding="VALID", name="conv0")(wave[..., None])
        x = jnp.square(x)
        tap(self, "layers", x)
        x = jnp.log(x.mean(1) + 1e-4)
        return nn.relu(nn.Dense(WIDTH, name="dense1")(x))


def sound_halves(key, batch):
    """The first and the second half of each clip, louder or softer."""
    wave = batch["audio"].reshape(len(batch["audio"]), 2, -1)
    return wave * jnp.exp(
        jax.random.uniform(key, (*wave.shape[:2], 1), minval=-1, maxval=1)
    )


# Video: two shots of unlike textures that drift in one of four directions.

FRAMES = 4


def draw_videos(rng, label):
    """Clips in bytes [n, 2 FRAMES, 8, 8, 1]."""
    n = len(label)
    return {"video": np.concatenate([_shot(rng, label, n) for _ in range(2)], 1)}


def _shot(rng, label, n):
    texture = rng.normal(size=(n, 8, 8))
    texture += np.roll(texture, 1, 1) + np.roll(texture, 1, 2)
    steps = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])[label]
    frames = [
        np.stack([np.roll(x, t * s, (0, 1)) for x, s in zip(texture, steps, strict=True)])
        for t in range(FRAMES)
    ]
    contrast, light = rng.uniform(0.05, 0.15, (n, 1)), rng.uniform(0.3, 0.7, (n, 1))
    clip = light[..., None, None] + contrast[..., None, None] * np.stack(frames, 1)
    return np.uint8(255 * clip.clip(0, 1))[..., None]


class Clips(nn.Module):
    """Clips [n, t, h, w, c] -> [n, WIDTH]."""

    @nn.compact
    def __call__(self, clip, train=False):
        x = nn.relu(nn.Conv(WIDTH, (2, 3, 3), padding="VALID", name="conv0")(clip))
        tap(self, "layers", x)
        x = x.mean((1, 2, 3))
        return nn.relu(nn.Dense(WIDTH, name="dense1")(x))


def shots(key, batch):
    """The two shots, with other light."""
    clip = batch["video"]
    clip = clip.reshape(len(clip), 2, FRAMES, *clip.shape[2:])
    light = jax.random.uniform(key, (len(clip), 2, 1, 1, 1, 1), minval=-0.2, maxval=0.2)
    return clip + light


# Graphs: rings, stars, double stars and lollipops, of colored nodes, with more edges.

NODES, COLORS = 12, 4


def draw_graphs(rng, label):
    """Padded graphs: edges [n, v, v], nodes [n, v, COLORS] and mask [n, v]."""
    made = [_graph(rng, k) for k in label]
    edges, mask = map(np.stack, zip(*made, strict=True))
    color = rng.normal(0, 0.5, (len(label), 1, COLORS)) + rng.normal(
        0, 0.5, (*mask.shape, COLORS)
    )
    return {"edges": edges, "nodes": np.float32(color * mask[..., None]), "mask": mask}


def _graph(rng, kind):
    v = rng.integers(10, NODES + 1)
    i, j = np.mgrid[:v, :v]
    linked = {
        0: (i - j) % v == 1,
        1: i == 0,
        2: (i < 2) & (j % 2 == i),
        3: (i < v // 2) & (j < v // 2) | (i - j == 1),
    }[int(kind)]
    linked = (linked | (rng.random((v, v)) > 0.95)) & (i != j)
    order = rng.permutation(v)
    linked = (linked | linked.T)[order][:, order]
    edges = np.zeros((NODES, NODES), np.float32)
    edges[:v, :v] = linked
    return edges, np.float32(np.arange(NODES) < v)


def graph(batch: Batch) -> Any:
    return batch["nodes"], batch["edges"], batch["mask"]


class Graphs(nn.Module):
    """Nodes, edges and mask -> [n, WIDTH], by sums over neighbors.

    Xu et al. 2019, https://arxiv.org/abs/1810.00826
    """

    @nn.compact
    def __call__(self, x, train=False):
        nodes, edges, mask = x
        degree = jax.nn.one_hot(jnp.int32(edges.sum(-1)), NODES)
        x = jnp.concatenate([nodes, degree], -1) * mask[..., None]
        for i in range(2):
            x = nn.relu(nn.Dense(WIDTH, name=f"dense{2 * i}")(x + edges @ x))
            x = nn.relu(nn.Dense(WIDTH, name=f"dense{2 * i + 1}")(x)) * mask[..., None]
            tap(self, "layers", x)
        return masked_mean(x, mask)


def recolored(key, batch):
    """Two views with edges dropped and colors of other graphs."""
    nodes, edges, mask = graph(batch)
    n = len(nodes)
    drop, permute, noise = jax.random.split(key, 3)
    kept = jnp.triu(jax.random.bernoulli(drop, 0.9, (n, 2, NODES, NODES)), 1)
    kept = kept | kept.swapaxes(-1, -2)
    color = 0.5 * jax.random.normal(permute, (n, 2, 1, COLORS))
    color += 0.5 * jax.random.normal(noise, (n, 2, NODES, COLORS))
    mask = twice(mask)
    return color * mask[..., None], twice(edges) * kept, mask


# Nodes of one graph of four communities, which every batch carries whole.


def nodes(rows: int, batch: int, seed: int) -> Source:
    """Rows are nodes; edges [v, v] are the context."""
    rng = np.random.default_rng(0)
    counts = sizes(rows)
    size = sum(counts.values())
    label = rng.integers(0, CLASSES, size)
    chance = np.where(label[:, None] == label, 0.06, 0.015)
    edges = np.triu(rng.random((size, size)) < chance, 1)
    edges = np.float32(edges | edges.T)
    ends = np.cumsum(list(counts.values()))[:-1]
    members = np.split(rng.permutation(size).astype(np.int32), ends)
    return data.dataset(
        "communities",
        {
            split: {"node": row, "label": label[row]}
            for split, row in zip(counts, members, strict=True)
        },
        batch,
        fields={"node": Index("edges"), "edges": Edges()},
        context={"edges": edges},
        seed=seed,
    )


def neighborhood(batch: Batch) -> Any:
    return batch["edges"][batch["node"]]


class Neighborhood(nn.Module):
    """Rows of an adjacency matrix [n, v] -> [n, WIDTH]: the mean of neighbors' vectors."""

    @nn.compact
    def __call__(self, linked, train=False):
        linked = linked / jnp.sqrt(jnp.maximum(linked.sum(-1, keepdims=True), 1))
        x = nn.Dense(WIDTH, kernel_init=nn.initializers.normal(0.05), name="dense0")(linked)
        return nn.relu(x)


def neighbor_halves(key, batch):
    return halves(key, neighborhood(batch))


# Image and text: a grating, and a document of its topic. Either is a view.


def draw_pairs(rng, label):
    return draw_images(rng, label) | draw_texts(rng, label, 0.25)


def image_and_text(batch: Batch) -> Any:
    """The image, tokens and mask, and which of both are there: [n, 2]."""
    return batch["image"], *tokens_and_mask(batch), jnp.ones((len(batch["image"]), 2))


class Towers(nn.Module):
    """An image and a text -> [n, WIDTH], the sum of what is there of both."""

    @nn.compact
    def __call__(self, x, train=False):
        image, tokens, mask, there = x
        seen = Pixels(name="pixels")(image)
        read = Words(name="words")((tokens, mask))
        return there[:, :1] * seen + there[:, 1:] * read


def one_of_both(key, batch):
    """The image alone, and the text alone."""
    *both, there = twice(image_and_text(batch))
    return *both, there * jnp.eye(2)


# A walk in four rhythms, recorded once.

WINDOW = 16  # steps of a row


def walk(rows: int, batch: int, seed: int) -> Source:
    """Rows are windows of one walk, in their order; its places [t, 2] are the context."""
    rng = np.random.default_rng(0)
    counts = sizes(rows)
    count = sum(counts.values())
    label = np.repeat(rng.integers(0, CLASSES, -(-count // 2)), 2)[:count]
    pace = np.array([2, 3, 4, 6])[label].repeat(WINDOW)
    beat = np.cos(2 * np.pi * np.arange(WINDOW * count) / pace)
    heading = np.cumsum(rng.normal(0, 0.3, len(beat)))
    speed = rng.uniform(0.5, 1.5, 2 * count).repeat(WINDOW // 2) * (1 + 0.8 * beat)
    moves = speed[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1)
    places = lfilter([1], [1, -0.9], moves, axis=0)  # drawn to the middle
    ends = np.cumsum(list(counts.values()))[:-1]
    starts = np.split(np.int32(WINDOW * np.arange(count)), ends)
    labels = np.split(label, ends)
    return data.dataset(
        "walk",
        {
            split: {"start": start, "label": manner}
            for split, start, manner in zip(counts, starts, labels, strict=True)
        },
        batch,
        fields={"start": Index("places", WINDOW)},
        context={"places": np.float32(places)},
        passes="once",
        seed=seed,
    )


def window(batch: Batch) -> Any:
    return batch["places"][batch["start"][:, None] + jnp.arange(WINDOW)]


class Path(nn.Module):
    """Places [n, t, 2] -> [n, WIDTH]."""

    @nn.compact
    def __call__(self, places, train=False):
        x = jnp.concatenate([places[:, 1:] / 3, jnp.diff(places, axis=1)], -1)
        x = nn.relu(nn.Conv(WIDTH, (3,), padding="VALID", name="conv0")(x))
        x = nn.relu(nn.Conv(WIDTH, (3,), padding="VALID", name="conv1")(x))
        tap(self, "layers", x)
        return nn.relu(nn.Dense(WIDTH, name="dense2")(x.mean(1)))


def other_frames(key, batch):
    """Each half of the window, turned and moved."""
    x = window(batch)
    x = x.reshape(len(x), 2, WINDOW // 2, 2)
    one, two = jax.random.split(key)
    turn = jax.random.uniform(one, (*x.shape[:2], 1), maxval=2 * jnp.pi)
    c, s = jnp.cos(turn), jnp.sin(turn)
    turned = jnp.stack([c * x[..., 0] - s * x[..., 1], s * x[..., 0] + c * x[..., 1]], -1)
    turned -= turned.mean(2, keepdims=True)
    return turned + 3 * jax.random.normal(two, (*x.shape[:2], 1, 2))


def _rows(name, draw, labeled=True, **fields):
    return lambda *how: source(name, draw, *how, fields, labeled)


KINDS = {
    "image": Kind(_rows("gratings", draw_images), Pixels(), sides, field("image")),
    "text": Kind(
        _rows("topics", draw_texts, tokens=Tokens(VOCABULARY)),
        Words(),
        word_halves,
        tokens_and_mask,
    ),
    "sound": Kind(
        _rows("tones", draw_sounds, audio=Sound(RATE)),
        Waves(),
        sound_halves,
        field("audio"),
    ),
    "video": Kind(
        _rows("drift", draw_videos, video=Video(fps=4)), Clips(), shots, field("video")
    ),
    "graphs": Kind(_rows("shapes", draw_graphs, edges=Edges()), Graphs(), recolored, graph),
    "nodes": Kind(nodes, Neighborhood(), neighbor_halves, neighborhood),
    "pairs": Kind(
        _rows("captions", draw_pairs, tokens=Tokens(VOCABULARY)),
        Towers(),
        one_of_both,
        image_and_text,
    ),
    "walk": Kind(walk, Path(), other_frames, window),
}


class Target(NamedTuple):
    """A toy source with a target, and what supervised learning needs.

    Attributes:
      data: (rows, batch, seed) -> the training source.
      net: x -> what `error` reads, and "h", for tags "tokens".
      error: (out, y) -> (loss, metrics).
      prepare: batch -> x.
    """

    data: Callable[[int, int, int], Source]
    net: nn.Module
    error: Callable
    prepare: Prepare


def draw_tags(rng, label):
    """Tokens whose tag is 0, or for the later half of the words 1 or 2: whether the token
    before is even. The padding has none."""
    shape = len(label), LENGTH
    tokens = rng.integers(0, 20, shape)
    mask = np.arange(LENGTH) < rng.integers(LENGTH // 2, LENGTH + 1, len(label))[:, None]
    before = np.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
    tags = np.where(tokens < 10, 0, 1 + before % 2)
    return {
        "tokens": np.uint8(tokens * mask),
        "mask": np.float32(mask),
        "tags": np.where(mask, tags, -1).astype(np.int32),
    }


def draw_spans(rng, label):
    """Tokens below 15, among which one run of higher ones is the span [first, last]."""
    n = len(label)
    first = rng.integers(0, LENGTH - 8, n)
    span = np.stack([first, first + rng.integers(0, 8, n)], 1)
    places = np.arange(LENGTH)
    within = (span[:, :1] <= places) & (places <= span[:, 1:])
    tokens = np.where(
        within, rng.integers(15, 20, within.shape), rng.integers(0, 15, within.shape)
    )
    return {"tokens": np.uint8(tokens), "spans": span.astype(np.int32)}


def draw_poses(rng, label):
    """A spot in each image, and its place [n, 2] from -1 to 1."""
    pose = rng.uniform(-1, 1, (len(label), 2)).astype(np.float32)
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) * 2 - 1
    far = (x - pose[:, :1, None]) ** 2 + (y - pose[:, 1:, None]) ** 2
    image = 0.8 * np.exp(-8 * far) + rng.uniform(0, 0.2, far.shape)
    return {"image": np.uint8(255 * image.clip(0, 1))[..., None], "pose": pose}


class Reader(nn.Module):
    """Tokens [n, l] -> logits of every place [n, l, outputs], tokens [n, l, d], h."""

    outputs: int

    @nn.compact
    def __call__(self, tokens, train=False):
        x = nn.Embed(20, WIDTH)(tokens)
        x = nn.relu(nn.Conv(WIDTH, (3,), name="conv0")(x))
        x = nn.relu(nn.Dense(WIDTH, name="dense1")(x))
        return {"logits": nn.Dense(self.outputs)(x), "tokens": x, "h": x.mean(1)}


class Locator(nn.Module):
    """Images -> prediction [n, 2], h."""

    @nn.compact
    def __call__(self, image, train=False):
        x = nn.relu(nn.Conv(8, (3, 3), (2, 2), name="conv0")(image)).reshape(len(image), -1)
        h = nn.relu(nn.Dense(WIDTH, name="dense1")(x))
        return {"prediction": nn.Dense(2)(h), "h": h}


FIRST_WORDS = Tokens(VOCABULARY[:20])
TARGETS = {
    "tags": Target(
        _rows("tagged", draw_tags, False, tokens=FIRST_WORDS, tags=Labels()),
        Reader(3),
        tag_cross_entropy,
        field("tokens"),
    ),
    "spans": Target(
        _rows("spans", draw_spans, False, tokens=FIRST_WORDS, spans=Spans()),
        Reader(2),
        span_cross_entropy,
        field("tokens"),
    ),
    "pose": Target(
        _rows("spots", draw_poses, False, pose=Numbers()),
        Locator(),
        mean_squared_error,
        field("image"),
    ),
}
