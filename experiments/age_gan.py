"""Age GAN: editing an attribute of an image by the inversion of a conditional GAN.

    python -m jssl.main --config=experiments/age_gan.py
    python -m jssl.main --config=experiments/age_gan.py:distance=pixels
    python -m jssl.main --config=experiments/age_gan.py:attribute=slant
    jssl sample --workdir=runs/age_gan --label=3 --out=bold.png

Antipov, Baccouche and Dugelay 2017, https://arxiv.org/abs/1702.01983: faces of six ages.
Here digits, and the thickness of their strokes in bins. Labels are used: of a reference,
not of a method that learns without them. Reference: 82.9 % of the reconstructed faces are
recognized, fewer if the inversion compares pixels (not checked in the paper). Ours:
docs/results.md.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl import Stage, baselines, data, evals, nets, optim
from jssl.config import Count, Counts, Positive, one_of, tiny
from jssl.data import Source
from jssl.knobs import DATA, Data, Run
from jssl.method import field
from jssl.methods.generative.age_gan import age_gan
from jssl.methods.generative.conditional_gan import conditional_gan
from jssl.methods.transfer.distil import frozen
from jssl.methods.transfer.supervised import supervised
from jssl.models.conditional import Conditional, Conditioned, Inverter, Strided
from jssl.models.convnet import ConvNet
from jssl.models.dcgan import Generator
from jssl.models.heads import Classifier
from jssl.ops import strokes

RUNS = {"": 1, "distance=pixels": 1}


@tiny(
    DATA,
    noise=4,
    widths=(8, 4),
    recognizer=(4, 8),
    recognizer_epochs=0.03,
    encoder_epochs=0.03,
    steps=2,
)
def laptop(
    run: Run = Run(),
    images: Data = Data(epochs=12.0),
    attribute: str = "thickness",
    bins: Count = 4,
    lr: Positive = 2e-4,
    k: Count = 1,
    noise: Count = 32,
    widths: Counts = (64, 32),
    recognizer: Counts = (32, 64, 128),
    recognizer_epochs: Positive = 5.0,
    encoder_epochs: Positive = 6.0,
    distance: str = "identity",
    steps: Count = 20,
    step: Positive = 0.1,
) -> list[Stage]:
    """Digits and small networks, in three stages: about two minutes on one core.

    Stages: "recognizer" of the classes, "gan" conditioned on the attribute, "inversion".

    Args:
      epochs: Passes over the training split, of the GAN.
      attribute: Measured in pixels, in bins of equal size: thickness, or slant.
      bins: Number of values of the attribute.
      lr: Learning rate of both players, constant.
      k: Steps of the discriminator before each of the generator, a minibatch each.
      noise: Numbers of which a sample is made.
      widths: Channels of the generator's maps; discriminator and encoder have them in
        reverse.
      recognizer: Channels of each layer of the recognizer.
      recognizer_epochs: Passes over the training split, of the recognizer.
      encoder_epochs: Passes over the training split, in number of synthetic images, of the
        encoder.
      distance: Distance that the inversion minimizes: identity, or pixels.
      steps: Steps of the inversion of an image.
      step: Learning rate of the inversion.
    """
    measure = one_of("attribute", attribute, {
        "thickness": strokes.thickness, "slant": strokes.slant
    })  # fmt: skip
    measured = partial(gray_measured, measure)
    train, edges = by_attribute(images.load(run, labeled=True), measured, bins)
    classes = int(train.column("digit").max()) + 1
    told = nets.linen(Classifier(ConvNet(recognizer), classes))
    maker = nets.linen(Conditioned(Generator(train.image_shape, widths, 4)))
    critic = Strided(widths[::-1])
    adam = optax.adam(lr, b1=0.5)
    prior = lambda key, n: jax.random.normal(key, (n, noise))
    scale = dict(prepare=field("image", lambda x: 2 * x - 1), show=lambda x: (x + 1) / 2)
    game = conditional_gan(
        maker,
        nets.linen(Conditional(critic, spectral=True)),
        adam,
        adam,
        prior,
        bins,
        loss="hinge",
        **scale,
    )
    count = train.steps(encoder_epochs)
    method = age_gan(
        nets.linen(Inverter(critic, noise)),
        optim.adamw(1e-3, count),
        game,
        maker,
        told,
        prior,
        field("image", lambda x: binned(measured(x), edges)),
        bins,
        distance=distance,
        steps=steps,
        lr=step,
        **scale,
    )
    judged = {
        "knn": evals.knn(target="digit"),
        "linear": evals.linear_probe(target="digit"),
    }
    first = train.steps(recognizer_epochs)
    several = data.minibatches(train, k)
    return [
        run.stage(
            "recognizer",
            supervised(told, optim.adamw(2e-3, first), classes, target=field("digit")),
            train,
            first,
            evals={"knn": evals.knn(target="digit")},
        ),
        run.stage("gan", game, several, several.steps(images.epochs), evals=judged),
        run.stage(
            "inversion",
            method,
            train,
            count,
            evals=judged | {"edits": evals.edits(measured, edges, identity="digit")},
            baselines=baselines.rows(run, method, train, judged),
            start=lambda state, done: state._replace(
                gan=done["gan"], recognizer=frozen(done["recognizer"])
            ),
        ),
    ]


def gray_measured(measure, images):
    """The attribute of images [n, h, w, c], by their mean over channels."""
    return measure(jnp.asarray(images).mean(-1, keepdims=True))


def binned(values: jax.Array, edges: np.ndarray) -> jax.Array:
    """Numbers of the bins of values [n]; bin i ends at edge i."""
    return (values[:, None] > jnp.asarray(edges)).sum(1)


def by_attribute(train: Source, measure, bins: int) -> tuple[Source, np.ndarray]:
    """The data with the bin of an attribute as "label" and their classes as "digit".

    Returns:
      The training split, and the edges between the bins, which it fills equally.
    """

    def values(image):
        parts = np.array_split(image, max(1, len(image) // 1000))
        return np.concatenate([np.asarray(measure(part / 255.0)) for part in parts])

    levels = np.arange(1, bins) / bins
    edges = np.quantile(values(train.column("image")), levels).astype(np.float32)

    def table(split):
        source = train.split(split)
        image = source.column("image")
        label = np.searchsorted(edges, values(image)).astype(np.int32)
        return {"image": image, "label": label, "digit": source.labels()}

    fields = {"label": data.Labels(), "digit": train.field_of("label")}
    found = data.dataset(
        train.data_name,
        {name: partial(table, name) for name in train.split_names()},
        train.batch,
        classes=bins,
        fields=dict(train.fields) | fields,
        license=train.license,
        includes=train.includes,
        seed=train.seed,
        labeled=True,
    )
    return found, edges
