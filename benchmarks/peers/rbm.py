"""A restricted Boltzmann machine, 784 x 256, batches of 100, one sweep a step.

Same: binary rows in memory as float32 where the library keeps them so, a plain gradient
step at rate 0.01, shuffled epochs, sizes of batch and of the set of chains.
Different: scikit-learn's BernoulliRBM is persistent (PCD) always, so it stands beside our
CD too; ours keeps bytes, and reports reconstruction error and free energy at every step,
of which scikit-learn computes neither.
"""

from functools import partial

from peers.pair import Pair, Work, noise, training

VISIBLE, HIDDEN, BATCH, RATE = 784, 256, 100, 0.01


def rows(quick):
    """Bytes [n, 28, 28, 1], 0 or 255."""
    return 255 * (noise(300 if quick else 10_000, 28, 1) > 127)


def ours(chains, quick):
    import optax

    from jssl import Stage, data
    from jssl.methods.energy.rbm import rbm

    images = rows(quick).astype("uint8")
    dispatch = len(images) // BATCH  # an epoch
    source = data.dataset("noise", {"train": {"image": images}}, BATCH)
    method = rbm(HIDDEN, optax.sgd(RATE), k=1, chains=chains)
    stage = Stage(name="rbm", method=method, data=source, steps=10**9, dispatch=dispatch)
    return training(stage, len(images))


def theirs(quick):
    import numpy as np
    from sklearn.neural_network import BernoulliRBM

    v = rows(quick).reshape(-1, VISIBLE).astype(np.float32) / 255
    epochs = 3
    machine = BernoulliRBM(
        HIDDEN, learning_rate=RATE, batch_size=BATCH, n_iter=epochs, random_state=0
    )
    return Work(lambda: machine.fit(v), epochs * len(v), warm=1)


def flops(products):
    return 2.0 * products * VISIBLE * HIDDEN


# A sweep has two products, its end a third; the data have one, each moment one. In CD the
# first half of the sweep is the data's own.
KINDS = {"cd": (0, flops(5)), "pcd": (BATCH, flops(6))}
PAIRS = {
    f"rbm-{kind}": Pair(
        "image",
        partial(ours, chains),
        {"scikit-learn, PCD": theirs},
        target=2.5,
        flops=count,
    )
    for kind, (chains, count) in KINDS.items()
}
