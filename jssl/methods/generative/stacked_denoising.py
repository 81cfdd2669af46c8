"""Stacked denoising autoencoder: greedy layer-wise training of a deep encoder.

Vincent, Larochelle, Lajoie, Bengio and Manzagol, "Stacked Denoising Autoencoders: Learning
Useful Representations in a Deep Network with a Local Denoising Criterion", JMLR 11, 2010.
https://www.jmlr.org/papers/v11/vincent10a.html

    h^0 = x,    h^l = f_l(h^{l-1}),    f_l the encoder of a denoising autoencoder of h^{l-1}

Each layer corrupts only its own input; the codes of lower layers are computed from clean
inputs. The composition of all f_l initializes a classifier.
"""

from collections.abc import Sequence
from typing import Any

from jssl.learner import Learner
from jssl.method import Above, Method, above


def stacked_denoising(layers: Sequence[Method]) -> list[Method]:
    """The methods of the stages, from the lowest layer to the deepest.

        start=beneath("layer1")

    Args:
      layers: denoising autoencoders (or other methods whose states are Learners): the first
        of images, the others of the codes [n, m] of the previous one.
    """
    stack = []
    for layer in layers:
        stack.append(above(stack[-1], layer) if stack else layer)
    return stack


def stacked_encoder(state: Any) -> Learner:
    """Composes the encoders in the state of a stack to the "encoder" of one network.

    Layers are renumbered "dense0", "dense1" ... from the lowest, to match `Dense` of all
    widths; decoders are dropped.

        start=lambda state, done: graft(state, encoder=stacked_encoder(done["layer3"]))
    """
    learners = []
    while isinstance(state, Above):
        learners.insert(0, state.own)
        state = state.below
    parts = []
    for learner in [state, *learners]:
        encoder = learner.weights["encoder"]
        parts += [encoder[f"dense{i}"] for i in range(len(encoder))]
    return Learner({"encoder": {f"dense{i}": p for i, p in enumerate(parts)}}, (), ())
