"""Deep belief network: RBMs stacked greedily, then taught together up and down.

    python -m jssl.main --config=experiments/dbn.py
    python -m jssl.main --config=experiments/dbn.py:k=3,epochs=80

Hinton, Osindero and Teh 2006, https://doi.org/10.1162/neco.2006.18.7.1527. Reference, 784-
500-500-2000 with label units at the top: 1.25 % test error on MNIST. Ours: docs/results.md.
"""

from dataclasses import replace
from functools import partial
from itertools import accumulate

import jax.numpy as jnp
import optax

from jssl import Stage, baselines, data, evals, nets, optim
from jssl.learner import fresh
from jssl.method import above
from jssl.methods.energy.dbn import dbn, machines
from jssl.methods.energy.rbm import rbm
from jssl.models.dense import Dense
from jssl.models.heads import Classifier
from jssl.ops.belief import stacked


def laptop(
    source: str = "mnist",
    limit: int = 0,
    layer_epochs: float = 50.0,
    epochs: float = 40.0,
    batch: int = 50,
    layer_lr: float = 0.1,
    lr: float = 0.01,
    hidden: tuple[int, ...] = (500, 250, 500),
    k: int = 1,
    sweeps: tuple[int, ...] = (3, 6, 10),
    decay: float = 2e-4,
    supervised_epochs: float = 10.0,
    dispatch: int = 10,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """Three layers of binary units on small images: one to two minutes on two cores.

    Args:
      source: mnist, fashion_mnist, digits ...
      limit: only so many training images, of each class its share; 0: all.
      layer_epochs: passes over the training split for each layer's RBM.
      epochs: passes of the whole network's up-down.
      batch: images a step.
      layer_lr: the RBMs' learning rate; momentum is 0.5 for a twelfth of the steps,
        then 0.9.
      lr: learning rate of up-down, without momentum.
      hidden: units of each hidden layer.
      k: Gibbs sweeps a step of each RBM.
      sweeps: those of the top one in up-down, in as many equal parts of its steps.
      decay: of the RBMs' weights.
      supervised_epochs: of the supervised reference, computed once and cached.
      dispatch: steps compiled into one.
      save_every: steps between checkpoints.
      seed: of weights, draws and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, hidden, dispatch = "digits", 16, (16, 8, 16), 1
        layer_epochs = epochs = supervised_epochs = 0.03
    train = data.load(source, batch, seed=seed, limit=limit)
    rest = dict(dispatch=dispatch, save_every=save_every, seed=seed, mesh=mesh)
    often = train.column("image").mean(0) / 255
    steps = train.steps(layer_epochs)
    recipe = optax.chain(
        optax.add_decayed_weights(decay, optim.matrices),
        optax.scale_by_learning_rate(layer_lr),
        optim.momentum(optax.piecewise_constant_schedule(0.5, {steps // 12: 1.8})),
    )
    first = rbm(hidden[0], recipe, k, frequency=jnp.asarray(often.ravel()))
    layers = [first, *(rbm(units, recipe, k) for units in hidden[1:])]
    stages = [
        Stage(
            name=f"layer{i + 1}",
            method=method,
            data=train,
            steps=steps,
            start=partial(on_top, f"layer{i}") if i else None,
            **rest,
        )
        for i, method in enumerate(accumulate(layers, above))
    ]
    whole = train.steps(epochs)
    tx = optax.sgd(lr)

    def tied(state, done):
        return state._replace(learner=fresh(tx, stacked(machines(done[stages[-1].name]))))

    judged = baselines.compared(
        dbn(hidden, tx, whole, sweeps),
        train,
        whole,
        nets.linen(Classifier(Dense(hidden), train.classes)),
        data.load(source, batch, seed=seed, limit=limit, labeled=True),
        supervised_epochs,
        pictures={"beside PCA": evals.reconstruction()},
        start=tied,
        **rest,
    )
    return [*stages, replace(judged, name="up-down")]


def on_top(below, state, done):
    """Hands on the stack as it stands."""
    return state._replace(below=done[below])
