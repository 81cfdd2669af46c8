"""DCGAN: a GAN of convolutional networks; features are the discriminator's maps.

Radford, Metz and Chintala, "Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks", ICLR 2016. https://arxiv.org/abs/1511.06434

    L_D = -E_x log D(x) - E_z log(1 - D(G(z))),    L_G = -E_z log D(G(z)),

with images in [-1, 1], the range of tanh, and z uniform in [-1, 1]^d. The architecture is
in `jssl.models.dcgan`: strides in place of pooling, batch norm except at D's input and G's
output, no hidden dense layers. h consists of all maps of D, max-pooled to 4 x 4.
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
    """A non-saturating `gan` with the ranges of the paper. Training batches: [k, n, ...].

    Args:
      generator: z [n, noise] -> images in [-1, 1].
      discriminator: images in [-1, 1] -> {"logits": [n], "h": [n, d]}.
      generator_tx: optimizer of the generator. The paper: Adam, 2e-4, momentum 0.5.
      discriminator_tx: optimizer of the discriminator; the same in the paper.
      noise: dimension of z.
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
