"""Convolutions in time: against loops, and the published number of weights."""

import jax
import jax.numpy as jnp
import numpy as np
from toys import jitted

from jssl import nets
from jssl.models.convnet import ConvNet
from jssl.models.heads import Classifier
from jssl.models.resnet import ResNet
from jssl.papers import over_time

KEY = jax.random.key(0)


def test_a_convolution_of_clips_is_that_of_a_loop():
    clips = jax.random.normal(KEY, (2, 4, 5, 6, 2))
    net = jitted(ConvNet((3,), maps=True))
    params, stats = net.init(KEY, clips)
    found = np.asarray(net.apply(params, stats, clips)[0])
    kernel = np.asarray(params["conv0"]["kernel"])
    assert kernel.shape == (3, 3, 3, 2, 3) and found.shape == (2, 4, 3, 3, 3)
    # A stride of 2 pads an odd side of 5 by one before and one behind, an even one of 6 by
    # one behind.
    x = np.pad(np.asarray(clips), ((0, 0), (1, 1), (1, 1), (0, 1), (0, 0)))
    wanted = np.zeros(found.shape)
    for n, t, i, j in np.ndindex(found.shape[:4]):
        box = x[n, t : t + 3, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        wanted[n, t, i, j] = np.einsum("tyxc,tyxcd->d", box, kernel)
    wanted = np.maximum(wanted, 0) / np.sqrt(1 + 1e-5)  # running variance of 1
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_shuffled_frames_change_the_output_for_clips():
    clips = jax.random.uniform(KEY, (2, 6, 8, 8, 1))
    net = jitted(ConvNet((4, 8)))
    params, stats = net.init(KEY, clips)
    h = net.apply(params, stats, clips)[0]
    mixed = net.apply(params, stats, clips[:, jnp.array([3, 0, 5, 1, 4, 2])])[0]
    assert h.shape == (2, 8) and np.abs(h - mixed).max() > 1e-4


def test_the_3d_resnet_18_has_the_published_number_of_weights():
    """That of torchvision's r3d_18, 33,371,472, without its classifier of 400 classes, and
    with a stem of 7 x 7 x 7 in place of 3 x 7 x 7."""
    net = nets.linen(ResNet(18))
    params, _ = jax.eval_shape(net.init, KEY, jnp.zeros((1, 16, 112, 112, 3)))
    count = sum(x.size for x in jax.tree.leaves(params))
    assert count == 33_371_472 - (512 * 400 + 400) + 4 * 7 * 7 * 3 * 64


def test_the_output_for_a_video_is_the_mean_over_its_parts():
    videos = jax.random.uniform(KEY, (2, 6, 8, 8, 1))
    for length, parts in ((0, 6), (3, 2)):
        net = jitted(Classifier(ConvNet((4,)), 3))
        whole = over_time(net, length)
        params, stats = whole.init(KEY, videos)
        found = whole.apply(params, stats, videos)[0]
        for i in range(2):
            rows = videos[i] if not length else videos[i].reshape(2, 3, 8, 8, 1)
            assert len(rows) == parts
            alone = net.apply(params, stats, rows)[0]
            for name in ("logits", "h"):
                np.testing.assert_allclose(found[name][i], alone[name].mean(0), atol=1e-5)
