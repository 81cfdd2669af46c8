"""DCGAN: a GAN of convolutional networks; features are the discriminator's maps.

    python -m jssl.main --config=experiments/dcgan.py
    python -m jssl.main --config=experiments/dcgan.py:source=fashion_mnist,epochs=1
    python -m jssl.main --config=experiments/dcgan.py:paper,source=folder:faces

Radford, Metz and Chintala 2016, https://arxiv.org/abs/1511.06434; settings of the faces
from Newmu/dcgan_code. Reference, a linear SVM on the maps of a discriminator trained on
ImageNet: 82.8 % on CIFAR-10 (table 1); 22.48 % error on SVHN with 1,000 labels (table 2).
Ours: `paper` not run; `laptop` is what docs/results.md holds.
"""

from dataclasses import dataclass

import optax

from jssl import Stage, baselines, data, evals, nets
from jssl.config import Count, Counts, Positive, tiny
from jssl.knobs import CONVNET, FASHION, PHOTOS, Images, Photos, Run, with_labels
from jssl.methods.generative.dcgan import dcgan
from jssl.models.convnet import ConvNet
from jssl.models.dcgan import Discriminator, Generator
from jssl.models.heads import Classifier

RUNS = {"": 1, f"{FASHION},epochs=6,supervised_epochs=4": 1}


@dataclass(frozen=True, kw_only=True)
class Players:
    """Generator and discriminator, each under Adam.

    Attributes:
      lr: Learning rate of both players, constant.
      k: Steps of the discriminator before each of the generator, a minibatch each.
      noise: Numbers of which an image is made.
      widths: Channels of the generator's maps; the discriminator has them in reverse.
      kernel: Side of the kernels, 4 or 5.
      decay: Weight decay of both players, added to the gradient of all weights.
    """

    lr: Positive = 2e-4
    k: Count = 1
    noise: int = 64
    widths: Counts = (64, 32)
    kernel: Count = 4
    decay: float = 0.0

    def method(self, shape):
        adam = optax.adam(self.lr, b1=0.5)
        if self.decay:
            adam = optax.chain(optax.add_decayed_weights(self.decay), adam)
        return dcgan(
            nets.linen(Generator(shape, self.widths, self.kernel)),
            nets.linen(Discriminator(self.widths[::-1], self.kernel)),
            adam,
            adam,
            noise=self.noise,
        )


@tiny(CONVNET, noise=4, widths=(8, 4))
def laptop(
    run: Run = Run(),
    images: Images = Images(epochs=15.0),
    players: Players = Players(),
) -> list[Stage]:
    """Two layers each on small images: about two minutes on two cores."""
    plain = images.load(run)
    train = data.minibatches(plain, players.k)
    encoder = ConvNet(players.widths[::-1])
    return [
        baselines.pretrain_stage(
            run,
            images,
            train,
            players.method(plain.image_shape),
            nets.linen(Classifier(encoder, plain.classes)),
            labeled=with_labels(plain) if plain.classes else None,
            render_every=max(1, train.steps(images.epochs) // 4),
        )
    ]


@tiny(PHOTOS, stored=16, noise=4, widths=(8, 4))
def paper(
    run: Run = Run(save_every=1000),
    images: Photos = Photos(source="tfds:celeb_a", epochs=25.0, batch=128, stored=64),
    players: Players = Players(
        noise=100, widths=(1024, 512, 256, 128), kernel=5, decay=1e-5
    ),
    render_every: int = 1000,
) -> list[Stage]:
    """Faces of 64 x 64 pixels, with the networks and rates of the released code.

    No number to compare with: the paper has pictures of faces only, and its 82.8 % on
    CIFAR-10 is of a network trained on ImageNet at 32 x 32 pixels.

    Departures: the faces, which were never released, are those that `source` names;
    samples and h have running averages of the batch statistics, the released code those of
    a batch; in a step the generator moves after the discriminator, not before.

    Args:
      epochs: Passes over the training split, in which every minibatch is for one of the
        players, as in the released code: k of k + 1 for the discriminator.
      render_every: Steps between pictures.
    """
    train = data.minibatches(images.load(run), players.k)
    method, judged = players.method(train.image_shape), evals.knn_if_labeled(train)
    share = players.k / (players.k + 1)
    return [
        run.stage(
            "pretrain",
            method,
            train,
            train.steps(images.epochs * share),
            evals=judged,
            baselines=baselines.rows(run, method, train, judged) if judged else {},
            render_every=render_every,
        )
    ]
