"""Deep autoencoder: a stack of RBMs, unrolled and fine-tuned by backpropagation.

    python -m jssl.main --config=experiments/deep_autoencoder.py
    python -m jssl.main --config=experiments/deep_autoencoder.py:pretrained=False
    python -m jssl.main --config=experiments/deep_autoencoder.py:paper

Hinton and Salakhutdinov 2006, https://doi.org/10.1126/science.1127647. Reference, MNIST,
784-1000-500-250-30: squared error of 3.00 a test image, 13.87 by 30 principal components.
Ours: docs/results.md.
"""

from functools import partial
from itertools import accumulate

import flax.linen as nn
import optax

from jssl import Stage, baselines, evals, nets, optim
from jssl.config import Counts, Positive, tiny
from jssl.knobs import IMAGES, Images, Run, mean_image
from jssl.learner import fresh
from jssl.method import above, field
from jssl.methods.energy.dbn import machines
from jssl.methods.energy.rbm import rbm
from jssl.methods.generative.deep_autoencoder import deep_autoencoder, unrolled
from jssl.models.dense import Autoencoder, Dense, linear
from jssl.models.heads import Classifier

RUNS = {"": 1, "pretrained=False": 1}


@tiny(IMAGES, layer_epochs=0.03, hidden=(16, 8, 4))
def laptop(
    run: Run = Run(dispatch=10, save_every=1000),
    images: Images = Images(epochs=150.0, batch=100),
    layer_epochs: Positive = 50.0,
    layer_lr: Positive = 0.1,
    code_lr: Positive = 0.001,
    lr: Positive = 1e-3,
    hidden: Counts = (256, 128, 64, 16),
    pretrained: bool = True,
    scale: float = 0.1,
    decay: float = 2e-4,
) -> list[Stage]:
    """Small images through a code of sixteen numbers: one to two minutes on two cores.

    Args:
      epochs: Passes over the training split in fine-tuning.
      layer_epochs: Passes over the training split for each layer's RBM.
      layer_lr: Learning rate of the RBMs, constant; momentum is 0.5 for a twelfth of the
        steps, then 0.9.
      code_lr: Learning rate of the top RBM, whose hidden units are Gaussian.
      lr: Learning rate of fine-tuning, by Adam.
      hidden: Units of each of the encoder's layers, the code last; two or more.
      pretrained: Train the RBMs first; without, the same network has the same steps of
        fine-tuning from small random weights.
      scale: Standard deviation of the initial weights, the RBMs' or the network's.
      decay: Weight decay of the RBMs.
    """
    return unrolled_stack(
        run,
        images,
        layer_epochs=layer_epochs,
        layer_lr=layer_lr,
        code_lr=code_lr,
        lr=lr,
        hidden=hidden,
        pretrained=pretrained,
        scale=scale,
        decay=decay,
    )


@tiny(IMAGES, layer_epochs=0.03, hidden=(16, 8, 4))
def paper(
    run: Run = Run(dispatch=10, save_every=20000),
    images: Images = Images(
        source="tfds:mnist", hold_out=False, epochs=200.0, batch=100, supervised_epochs=0.0
    ),
    layer_epochs: Positive = 50.0,
    layer_lr: Positive = 0.1,
    code_lr: Positive = 0.001,
    lr: Positive = 1e-3,
    hidden: Counts = (1000, 500, 250, 30),
) -> list[Stage]:
    """The published autoencoder of MNIST, 784-1000-500-250-30, on all 60,000 digits.

    Number to beat: a squared error of 3.00 a test image, "sse_per_image" of "fine-tune",
    beside 13.87 by 30 principal components.

    Departures: fine-tuning is by Adam with batches of 100, in the paper by conjugate
    gradients with batches of 1,000; the RBMs' visible biases start at the pixels' log-odds,
    there at 0; their momentum rises after a twelfth of the steps, there after a tenth.

    Args:
      epochs: Passes over the training split in fine-tuning.
      layer_epochs: Passes over the training split for each layer's RBM.
      layer_lr: Learning rate of the RBMs, constant; momentum is 0.5 for a twelfth of the
        steps, then 0.9.
      code_lr: Learning rate of the top RBM, whose hidden units are Gaussian.
      lr: Learning rate of fine-tuning, by Adam.
      hidden: Units of each of the encoder's layers, the code last; two or more.
    """
    return unrolled_stack(
        run,
        images,
        layer_epochs=layer_epochs,
        layer_lr=layer_lr,
        code_lr=code_lr,
        lr=lr,
        hidden=hidden,
    )


def unrolled_stack(
    run,
    images,
    *,
    layer_epochs,
    layer_lr,
    code_lr,
    lr,
    hidden,
    pretrained=True,
    scale=0.1,
    decay=2e-4,
):
    """The stages of the RBMs, if any, and of fine-tuning; arguments are knobs above."""
    train = images.load(run)
    steps, tx = train.steps(layer_epochs), optax.adam(lr)
    recipe = partial(optim.rbm_sgd, steps=steps, decay=decay)
    binary, upper = dict(tx=recipe(layer_lr), scale=scale), dict(prepare=field("below"))
    stack = [
        rbm(hidden[0], frequency=mean_image(train), **binary),
        *(rbm(units, **binary, **upper) for units in hidden[1:-1]),
        rbm(hidden[-1], recipe(code_lr), units="gaussian", scale=scale, **upper),
    ]
    layers = run.layers(accumulate(stack, above), train, steps)
    init = nn.initializers.normal(scale)
    net = Autoencoder(train.image_shape, hidden, code=linear, kernel_init=init)

    def unfolded(state, done):
        return fresh(tx, unrolled(machines(done[layers[-1].name])), state.stats)

    tune = baselines.pretrain_stage(
        run,
        images,
        train,
        deep_autoencoder(nets.linen(net), tx),
        nets.linen(Classifier(Dense(hidden, last=linear), train.classes)),
        name="fine-tune",
        pictures={"beside PCA": evals.reconstruction()},
        start=unfolded if pretrained else None,
    )
    return [*(layers if pretrained else ()), tune]
