"""Optical flow of mirrored and reversed clips, and without the motion of the camera.

A flow is [..., h, w, 2], the displacement (x, y) in pixels of each pixel to the next frame.
Sayed, Brattoli and Ommer 2018, https://arxiv.org/abs/1811.03879
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jssl.ops.shapes import expect


def flow_hflip(flow: Float[Array, "*n h w 2"]) -> Float[Array, "*n h w 2"]:
    """The flow of clips that are mirrored from left to right: x changes its sign, too.

    >>> flow_hflip(jnp.array([[[1.0, 5.0], [2.0, 6.0]]])).tolist()
    [[[-2.0, 6.0], [-1.0, 5.0]]]
    """
    expect("flow_hflip", flow=(flow, "... h w 2"))
    return flow[..., ::-1, :] * jnp.array([-1, 1], flow.dtype)


def flow_time_flip(flow: Float[Array, "n t h w 2"]) -> Float[Array, "n t h w 2"]:
    """The flow of clips that are played backward, for motions of few pixels.

    It is given at the pixels of the earlier frames, not of the later ones.

    >>> flow_time_flip(jnp.array([1.0, 2.0]).reshape(1, 2, 1, 1, 1).repeat(2, -1)).ravel()
    Array([-2., -2., -1., -1.], dtype=float32)
    """
    expect("flow_time_flip", flow=(flow, "n t h w 2"))
    return -flow[:, ::-1]


def centered_flow(flow: Float[Array, "*n h w 2"]) -> Float[Array, "*n h w 2"]:
    """The flow without its mean over each frame, a simple estimate of the camera's motion.

    >>> centered_flow(jnp.array([[[1.0, 5.0], [3.0, 5.0]]])).tolist()
    [[[-1.0, 0.0], [1.0, 0.0]]]
    """
    expect("centered_flow", flow=(flow, "... h w 2"))
    return flow - flow.mean((-3, -2), keepdims=True)
