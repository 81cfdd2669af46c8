"""DCGAN: the two players are convolutional networks, and the discriminator's maps are kept.

Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks", ICLR 2016. https://arxiv.org/abs/1511.06434

    L_D = -E_x log D(x) - E_z log(1 - D(G(z))),    L_G = -E_z log D(G(z)),

images in [-1, 1], the range of tanh, and z uniform in [-1, 1]^d. The paper is in the
networks, `jssl.models.dcgan`: strides in place of pooling, batch norm but at D's input
and G's output, no hidden dense layers. h is every map of D, max-pooled to 4 x 4.
"""

import jax
import optax

from jssl.method import Method, field
from jssl.methods.generative.gan import State, gan
from jssl.nets import Net


def dcgan(
    generator: Net,
    discriminator: Net,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    *,
    noise: int = 100,
) -> Method[State]:
    """A non-saturating `gan` in the ranges of the paper. A training batch is [k, n, ...].

    Args:
      generator: z [n, noise] -> images in [-1, 1].
      discriminator: images in [-1, 1] -> {"logits": [n], "h": [n, d]}.
      generator_tx: moves the generator. The paper: Adam, 2e-4, momentum 0.5.
      discriminator_tx: moves the discriminator; the same.
      noise: numbers in a z.
    """

    def prior(key, n):
        return jax.random.uniform(key, (n, noise), minval=-1, maxval=1)

    return gan(
        generator,
        discriminator,
        generator_tx,
        discriminator_tx,
        prior,
        prepare=field("image", lambda x: 2 * x - 1),
        show=lambda x: (x + 1) / 2,
    )
