"""Stacked denoising autoencoder: a deep encoder, learned layer by layer from below.

Vincent, Larochelle, Lajoie, Bengio and Manzagol, "Stacked Denoising Autoencoders: Learning
Useful Representations in a Deep Network with a Local Denoising Criterion", JMLR 11, 2010.
https://www.jmlr.org/papers/v11/vincent10a.html

    h^0 = x,    h^l = f_l(h^{l-1}),    f_l the encoder of a denoising autoencoder of h^{l-1}

Each layer corrupts what it alone is given: codes come up from below as they are. All f_l,
one on the other, are then the first weights of a classifier.
"""

from collections.abc import Sequence
from typing import Any

from jssl.learner import Learner
from jssl.method import Above, Method, above


def stacked_denoising(layers: Sequence[Method]) -> list[Method]:
    """Each layer above all before it: a stage each, from the lowest to the deepest.

        start=lambda state, done: state._replace(below=done["layer1"])

    Args:
      layers: denoising autoencoders (or others whose states are Learners), of images
        the first, of the codes [n, m] of the one before all others.
    """
    stack = []
    for layer in layers:
        stack.append(above(stack[-1], layer) if stack else layer)
    return stack


def stacked_encoder(state: Any) -> Learner:
    """All encoders of a stack's state as the "encoder" of one network.

    Their layers "dense0", "dense1" ... are counted through from the lowest, so that they
    fit `Dense` of all widths together; decoders stay behind.

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
