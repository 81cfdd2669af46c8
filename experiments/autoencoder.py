"""Autoencoder: reconstruction of the input through a narrow or sparse code.

    python -m jssl.main --config=experiments/autoencoder.py
    python -m jssl.main --config=experiments/autoencoder.py:hidden=256,sparsity=kl

Rumelhart, Hinton and Williams 1986, https://doi.org/10.21236/ADA164453, who report no
number that ours could be held against; Olshausen and Field 1996 and Ng 2011 for sparsity.
Ours: docs/results.md.
"""

import flax.linen as nn
import optax

from jssl import Stage, baselines, nets, optim
from jssl.config import Count, Fraction, Positive, tiny
from jssl.knobs import IMAGES, Images, Run
from jssl.methods.generative.autoencoder import autoencoder
from jssl.models.dense import Autoencoder, Dense
from jssl.models.heads import Classifier


@tiny(IMAGES, hidden=16)
def laptop(
    run: Run = Run(dispatch=10, save_every=1000),
    images: Images = Images(epochs=200.0, batch=128, supervised_epochs=20.0),
    lr: Positive = 1e-3,
    hidden: Count = 64,
    error: str = "squared",
    sparsity: str = "",
    weight: float = 0.0,
    rho: Fraction = 0.05,
    momentum: Fraction = 0.0,
    tied: bool = False,
) -> list[Stage]:
    """One hidden layer of sigmoids on small images: under a minute on two cores.

    Args:
      batch: Images per step; 100 or more for sparsity=kl without momentum.
      lr: Learning rate of Adam, constant.
      hidden: Units of the code.
      error: Reconstruction error: squared or cross_entropy.
      sparsity: Sparsity penalty: empty, kl, or l1; l1 has rectified codes, and decoder
        rows of length 1 unless they are tied.
      weight: Weight of the sparsity penalty; 0: 3 for kl, 0.1 for l1.
      rho: Target activation of a unit, for sparsity=kl.
      momentum: Momentum of the average activation, for sparsity=kl; 0: each batch's own.
      tied: Use the encoder's matrix, transposed, in the decoder.
    """
    train = images.load(run)
    tx, code, output = optax.adam(lr), nn.sigmoid, "sigmoid"
    if sparsity == "l1":  # units with a ceiling could not reach through rows of length 1
        code, output = nn.relu, "linear" if error == "squared" else "sigmoid"
        if not tied:  # tied rows are bound: what they gain the encoder gains
            tx = optax.chain(tx, optim.unit_rows("decoder/dense0/kernel"))
    method = autoencoder(
        nets.linen(Autoencoder(train.image_shape, (hidden,), code=code, tied=tied)),
        tx,
        error=error,
        sparsity=sparsity,
        weight=weight or {"kl": 3.0, "l1": 0.1}.get(sparsity, 0.0),
        rho=rho,
        momentum=momentum,
        output=output,
    )
    classifier = nets.linen(Classifier(Dense((hidden,)), train.classes))
    return [baselines.pretrain_stage(run, images, train, method, classifier)]
