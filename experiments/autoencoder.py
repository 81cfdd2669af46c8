"""Autoencoder: give back the input through a code that cannot simply copy it.

    python -m jssl.main --config=experiments/autoencoder.py
    python -m jssl.main --config=experiments/autoencoder.py:hidden=256,sparsity=kl

Rumelhart, Hinton and Williams 1986, https://doi.org/10.21236/ADA164453, who report no
number that ours could be held against; Olshausen and Field 1996 and Ng 2011 for sparsity.
Ours: docs/results.md.
"""

import flax.linen as nn
import optax

from jssl import Stage, baselines, data, nets, optim
from jssl.methods.generative.autoencoder import autoencoder
from jssl.models.dense import Autoencoder, Dense
from jssl.models.heads import Classifier


def laptop(
    source: str = "mnist",
    epochs: float = 200.0,
    batch: int = 128,
    lr: float = 1e-3,
    hidden: int = 64,
    error: str = "squared",
    sparsity: str = "",
    weight: float = 0.0,
    rho: float = 0.05,
    momentum: float = 0.0,
    tied: bool = False,
    supervised_epochs: float = 20.0,
    dispatch: int = 10,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """One hidden layer of sigmoids on small images: under a minute on two cores.

    Args:
      source: mnist, fashion_mnist, digits ...
      epochs: passes over the training split.
      batch: images a step; 100 or more for sparsity=kl without momentum.
      lr: learning rate, which does not change.
      hidden: units of the code.
      error: squared or cross_entropy.
      sparsity: empty, kl, or l1; l1 has rectified codes, and decoder rows of length 1
        unless they are tied.
      weight: of the sparsity; 0: 3 for kl, 0.1 for l1.
      rho: how active a unit should be, for kl.
      momentum: of the average activation between steps, for kl; 0 forgets.
      tied: whether the decoder's matrix is the encoder's, transposed.
      supervised_epochs: of the supervised reference, computed once and cached.
      dispatch: steps compiled into one.
      save_every: steps between checkpoints.
      seed: of weights and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, hidden, dispatch = "digits", 16, 16, 1
        epochs = supervised_epochs = 0.03
    train = data.load(source, batch, seed=seed)
    steps, shape = train.steps(epochs), train.shapes()["image"].shape[1:]
    tx, code, output = optax.adam(lr), nn.sigmoid, "sigmoid"
    if sparsity == "l1":  # units with a ceiling could not reach through rows of length 1
        code, output = nn.relu, "linear" if error == "squared" else "sigmoid"
        if not tied:  # tied rows are bound: what they gain the encoder gains
            tx = optax.chain(tx, optim.unit_rows("decoder/dense0/kernel"))
    method = autoencoder(
        nets.linen(Autoencoder(shape, (hidden,), code=code, tied=tied)),
        tx,
        error,
        sparsity,
        weight or {"kl": 3.0, "l1": 0.1}.get(sparsity, 0.0),
        rho,
        momentum,
        output,
    )
    return [
        baselines.compared(
            method,
            train,
            steps,
            nets.linen(Classifier(Dense((hidden,)), train.classes)),
            data.load(source, batch, seed=seed, labeled=True),
            supervised_epochs,
            dispatch=dispatch,
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]
