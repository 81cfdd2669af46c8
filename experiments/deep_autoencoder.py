"""Deep autoencoder: RBMs stacked greedily, unfolded, and fine-tuned by back-propagation.

    python -m jssl.main --config=experiments/deep_autoencoder.py
    python -m jssl.main --config=experiments/deep_autoencoder.py:pretrained=False

Hinton and Salakhutdinov 2006, https://doi.org/10.1126/science.1127647. Reference, MNIST,
784-1000-500-250-30: squared error of 3.00 a test image, 13.87 by 30 principal components.
Ours: docs/results.md.
"""

from dataclasses import replace
from functools import partial
from itertools import accumulate

import flax.linen as nn
import jax.numpy as jnp
import optax

from jssl import Stage, baselines, data, evals, nets, optim
from jssl.learner import fresh
from jssl.method import above
from jssl.methods.energy.dbn import machines
from jssl.methods.energy.rbm import rbm
from jssl.methods.generative.deep_autoencoder import deep_autoencoder, unrolled
from jssl.models.dense import Autoencoder, Dense, linear
from jssl.models.heads import Classifier


def laptop(
    source: str = "mnist",
    limit: int = 0,
    layer_epochs: float = 50.0,
    epochs: float = 150.0,
    batch: int = 100,
    layer_lr: float = 0.1,
    code_lr: float = 0.001,
    lr: float = 1e-3,
    hidden: tuple[int, ...] = (256, 128, 64, 16),
    pretrained: bool = True,
    scale: float = 0.1,
    decay: float = 2e-4,
    supervised_epochs: float = 10.0,
    dispatch: int = 10,
    save_every: int = 1000,
    seed: int = 0,
    mesh: str = "",
    tiny: bool = False,
) -> list[Stage]:
    """Small images through a code of sixteen numbers: one to two minutes on two cores.

    Args:
      source: mnist, fashion_mnist, digits ...
      limit: only so many training images, of each class its share; 0: all.
      layer_epochs: passes over the training split for each layer's RBM.
      epochs: passes of fine-tuning.
      batch: images a step.
      layer_lr: the RBMs' learning rate; momentum is 0.5 for a twelfth of the steps,
        then 0.9.
      code_lr: that of the top RBM, whose hidden units are Gaussian.
      lr: learning rate of fine-tuning, by Adam.
      hidden: units of each of the encoder's layers, the code last; two or more.
      pretrained: whether RBMs come first; if not, the same network learns for the same
        steps of fine-tuning from small random weights.
      scale: deviation of the first weights, the RBMs' or the network's.
      decay: of the RBMs' weights.
      supervised_epochs: of the supervised reference, computed once and cached.
      dispatch: steps compiled into one.
      save_every: steps between checkpoints.
      seed: of weights, draws and the order of the data.
      mesh: device axes, such as data=2; empty puts all devices on data.
      tiny: the sizes that tests run.
    """
    if tiny:
        source, batch, hidden, dispatch = "digits", 16, (16, 8, 4), 1
        layer_epochs = epochs = supervised_epochs = 0.03
    train = data.load(source, batch, seed=seed, limit=limit)
    rest = dict(dispatch=dispatch, save_every=save_every, seed=seed, mesh=mesh)
    often = train.column("image").mean(0) / 255
    steps = train.steps(layer_epochs)

    def recipe(rate):
        return optax.chain(
            optax.add_decayed_weights(decay, optim.matrices),
            optax.scale_by_learning_rate(rate),
            optim.momentum(optax.piecewise_constant_schedule(0.5, {steps // 12: 1.8})),
        )

    binary = dict(tx=recipe(layer_lr), scale=scale)
    layers = [
        rbm(hidden[0], frequency=jnp.asarray(often.ravel()), **binary),
        *(rbm(units, **binary) for units in hidden[1:-1]),
        rbm(hidden[-1], recipe(code_lr), units="gaussian", scale=scale),
    ]
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
    tx = optax.adam(lr)
    net = Autoencoder(
        train.shapes()["image"].shape[1:],
        hidden,
        code=linear,
        kernel_init=nn.initializers.normal(scale),
    )

    def unfolded(state, done):
        return fresh(tx, unrolled(machines(done[stages[-1].name])), state.stats)

    tune = baselines.compared(
        deep_autoencoder(nets.linen(net), tx),
        train,
        train.steps(epochs),
        nets.linen(Classifier(Dense(hidden, last=linear), train.classes)),
        data.load(source, batch, seed=seed, limit=limit, labeled=True),
        supervised_epochs,
        pictures={"beside PCA": evals.reconstruction()},
        start=unfolded if pretrained else None,
        **rest,
    )
    return [*(stages if pretrained else ()), replace(tune, name="fine-tune")]


def on_top(below, state, done):
    """Hands on the stack as it stands."""
    return state._replace(below=done[below])
