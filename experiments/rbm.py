"""RBM: a probability for every image, from two layers of units.

    python -m jssl.main --config=experiments/rbm.py
    python -m jssl.main --config=experiments/rbm.py:chains=100,lr=0.01

Hinton 2002, https://doi.org/10.1162/089976602760128018; the recipe of his "Practical Guide
to Training Restricted Boltzmann Machines", 2010. Ours: docs/results.md.
"""

import jax.numpy as jnp
import optax

from jssl import Stage, baselines, data, nets, optim
from jssl.methods.energy.rbm import rbm
from jssl.models.dense import Dense
from jssl.models.heads import Classifier


def laptop(
    source: str = "mnist",
    limit: int = 0,
    epochs: float = 30.0,
    batch: int = 50,
    lr: float = 0.1,
    hidden: int = 500,
    k: int = 1,
    chains: int = 0,
    decay: float = 2e-4,
    supervised_epochs: float = 10.0,
    dispatch: int = 10,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """Binary units on small images: under a minute on two cores.

    Args:
      source: mnist, fashion_mnist, digits ...
      limit: only so many training images, of each class its share; 0: all.
      epochs: passes over the training split.
      batch: images a step.
      lr: learning rate; momentum is 0.5 for a twelfth of the steps, then 0.9.
      hidden: units.
      k: Gibbs sweeps a step.
      chains: that live on between steps (PCD); 0 begins each at the data (CD).
      decay: of the weights.
      supervised_epochs: of the supervised reference, computed once and cached.
      dispatch: steps compiled into one.
      save_every: steps between checkpoints.
      seed: of weights, draws and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, hidden, dispatch = "digits", 16, 8, 1
        epochs = supervised_epochs = 0.03
    train = data.load(source, batch, seed=seed, limit=limit)
    steps = train.steps(epochs)
    tx = optax.chain(
        optax.add_decayed_weights(decay, optim.matrices),
        optax.scale_by_learning_rate(lr),
        optim.momentum(optax.piecewise_constant_schedule(0.5, {steps // 12: 1.8})),
    )
    often = jnp.asarray(train.column("image").mean(0) / 255).ravel()
    method = rbm(hidden, tx, k, chains, frequency=often)
    return [
        baselines.compared(
            method,
            train,
            steps,
            nets.linen(Classifier(Dense((hidden,)), train.classes)),
            data.load(source, batch, seed=seed, limit=limit, labeled=True),
            supervised_epochs,
            dispatch=dispatch,
            save_every=save_every,
            seed=seed,
            mesh=mesh,
        )
    ]
