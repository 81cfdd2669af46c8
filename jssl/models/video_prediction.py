"""Convolutional recurrent networks that predict the next frame of a clip.

ConvLSTM: Shi et al., "Convolutional LSTM network: a machine learning approach for
precipitation nowcasting", NeurIPS 2015, https://arxiv.org/abs/1506.04214.
PredRNN: Wang et al., NeurIPS 2017; Wang et al., "PredRNN: A recurrent neural network for
spatiotemporal predictive learning", TPAMI 2022, https://arxiv.org/abs/2103.09504.

A constant of 1 is added to forget gates, as in the released code of PredRNN.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.ops.convolution import convolve_in_loop
from jssl.ops.maps import pixel_shuffle, pixel_unshuffle

FORGET = 1.0  # added to forget gates, so that cells remember at first


class Conv(nn.Module):
    """A convolution of stride 1 with a bias, for loops over frames.

    Attributes:
      width: channels of the output.
      kernel: side of the kernel.
      bias: whether there is a bias.
    """

    width: int
    kernel: int = 1
    bias: bool = True

    @nn.compact
    def __call__(self, x):
        shape = self.kernel, self.kernel, x.shape[-1], self.width
        x = convolve_in_loop(x, self.param("kernel", nn.initializers.lecun_normal(), shape))
        if not self.bias:
            return x
        return x + self.param("bias", nn.initializers.zeros, (self.width,))


class ConvLSTMCell(nn.Module):
    """An LSTM cell whose products with weights are convolutions.

    With * a convolution and o a product of entries:

        i = s(W_i * [x, h] + w_i o c),   f = s(W_f * [x, h] + w_f o c + 1),
        g = tanh(W_g * [x, h]),          c' = f o c + i o g,
        q = s(W_q * [x, h] + w_q o c'),  h' = q o tanh(c')

    with biases, which are not written.

    Attributes:
      width: channels of h and c.
      kernel: side of the convolutions, odd.
      peephole: with the weights w, of every place and channel; else w = 0.
    """

    width: int
    kernel: int = 3
    peephole: bool = False

    @nn.compact
    def __call__(self, h, c, x):
        """(h, c [n, y, x, width], x [n, y, x, d]) -> (h', c')."""
        gates = Conv(4 * self.width, self.kernel, name="gates")
        i, f, g, q = jnp.split(gates(jnp.concatenate([x, h], -1)), 4, -1)
        if self.peephole:
            shape = 3, *c.shape[1:]
            wi, wf, wq = self.param("peephole", nn.initializers.zeros, shape)
            i, f = i + wi * c, f + wf * c
        c = nn.sigmoid(f + FORGET) * c + nn.sigmoid(i) * jnp.tanh(g)
        q = q + wq * c if self.peephole else q
        return nn.sigmoid(q) * jnp.tanh(c), c


class STLSTMCell(nn.Module):
    """The spatiotemporal LSTM cell of PredRNN, with a second memory m.

        i, f, g from [x, h]:     c' = f o c + i o g
        i2, f2, g2 from [x, m]:  m' = f2 o m + i2 o g2
        q = s(W_q * [x, h] + W_o * [c', m']),   h' = q o tanh(W * [c', m'])

    with gates as in `ConvLSTMCell`, and W of 1 x 1.

    Attributes:
      width: channels of h, c and m.
      kernel: side of the other convolutions, odd.
    """

    width: int
    kernel: int = 3

    @nn.compact
    def __call__(self, h, c, m, x):
        """(h, c, m [n, y, x, width], x) -> ((h', c', m'), (i o g, i2 o g2))."""
        conv, k = partial(Conv, self.width, bias=False), self.width
        first = Conv(4 * k, self.kernel, name="gates")(jnp.concatenate([x, h], -1))
        second = Conv(3 * k, self.kernel, name="memory_gates")(jnp.concatenate([x, m], -1))
        i, f, g, q = jnp.split(first, 4, -1)
        i2, f2, g2 = jnp.split(second, 3, -1)
        more, more2 = nn.sigmoid(i) * jnp.tanh(g), nn.sigmoid(i2) * jnp.tanh(g2)
        c = nn.sigmoid(f + FORGET) * c + more
        m = nn.sigmoid(f2 + FORGET) * m + more2
        both = jnp.concatenate([c, m], -1)
        q = nn.sigmoid(q + conv(self.kernel, name="output_gate")(both))
        return (q * jnp.tanh(conv(1, name="output")(both)), c, m), (more, more2)


class FramePredictor(nn.Module):
    """A stack of recurrent cells that predicts frame t + 1 of a clip from those up to t.

    Frames are cut into patches, whose pixels are channels; a 1 x 1 convolution of the
    uppermost h gives the patches of the next frame. The memory m of ST-LSTM cells goes up
    the layers within a frame, and from the uppermost layer to the lowest of the next frame.

    (frames [n, t, y, x, c], given bool [n, t - 1]) -> {"frames": predictions of frames 2 to
    t, [n, t - 1, y, x, c]; "states": means of the h of all layers, [n, t - 1, sum of
    widths]; and, with `decouple`, "increments": a pair of [n, (t - 1) layers, y / patch,
    x / patch, d], W (i o g) and W (i2 o g2)}. Where a frame is not given, the prediction of
    it takes its place as input; the first frame is always given.

    Attributes:
      widths: channels of each layer; equal for st_lstm.
      cell: "convlstm" or "st_lstm".
      kernel: side of the convolutions of the cells, odd.
      patch: side of a patch in pixels.
      peephole: peepholes of ConvLSTM cells.
      decouple: return the increments of both memories of ST-LSTM cells, after W of 1 x 1.

    Raises:
      ValueError: an unknown cell; unequal widths for st_lstm; options of the other cell.
    """

    widths: tuple[int, ...] = (32, 32)
    cell: str = "convlstm"
    kernel: int = 3
    patch: int = 4
    peephole: bool = False
    decouple: bool = False

    @nn.compact
    def __call__(self, frames, given, train=False):
        self._check()
        cut = jax.vmap(partial(pixel_unshuffle, factor=self.patch), 1, 1)(frames)
        zeros = [jnp.zeros((*cut[:, 0].shape[:-1], k), frames.dtype) for k in self.widths]
        h = c = zeros
        carry = h, c, zeros[0], jnp.zeros_like(cut[:, 0])
        given = given.at[:, 0].set(True)
        over_frames = nn.scan(
            _Layers,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
        )
        layers = over_frames(
            self.widths, self.cell, self.kernel, self.peephole, self.decouple, name="layers"
        )
        _, (found, states, increments) = layers(carry, (cut[:, :-1], given))
        join = jax.vmap(partial(pixel_shuffle, factor=self.patch), 1, 1)
        out: dict[str, Any] = {"frames": join(found), "states": states}
        if self.decouple:
            flat = lambda x: x.reshape(len(x), -1, *x.shape[3:])
            out["increments"] = tuple(map(flat, increments))
        return out

    def _check(self):
        if self.cell not in ("convlstm", "st_lstm"):
            raise ValueError(f"cell must be convlstm or st_lstm, got {self.cell!r}")
        spatiotemporal = self.cell == "st_lstm"
        if spatiotemporal and len(set(self.widths)) > 1:
            raise ValueError(
                f"st_lstm needs layers of one width, through which its memory goes, got "
                f"widths {self.widths}"
            )
        if self.peephole and spatiotemporal or self.decouple and not spatiotemporal:
            raise ValueError(
                f"peephole is of cell=convlstm and decoupling of cell=st_lstm, got "
                f"{self.cell!r}"
            )


class _Layers(nn.Module):
    """One frame through all layers, with the output for the next."""

    widths: tuple[int, ...]
    cell: str
    kernel: int
    peephole: bool
    decouple: bool

    @nn.compact
    def __call__(self, carry, inputs):
        (h, c, m, predicted), (x, given) = carry, inputs
        h, c, channels, increments = list(h), list(c), x.shape[-1], []
        x = jnp.where(given[:, None, None, None], x, predicted)
        for i, width in enumerate(self.widths):
            if self.cell == "st_lstm":
                cell = STLSTMCell(width, self.kernel, name=f"cell{i}")
                (h[i], c[i], m), more = cell(h[i], c[i], m, x)
                increments.append(more)
            else:
                cell = ConvLSTMCell(width, self.kernel, self.peephole, name=f"cell{i}")
                h[i], c[i] = cell(h[i], c[i], x)
            x = h[i]
        predicted = Conv(channels, name="head")(x)
        states = jnp.concatenate([x.mean((1, 2)) for x in h], -1)
        pair = ()
        if self.decouple:
            adapter = Conv(self.widths[0], bias=False, name="adapter")
            both = zip(*increments, strict=True)
            pair = tuple(jnp.stack([adapter(x) for x in each], 1) for each in both)
        return (h, c, m, predicted), (predicted, states, pair)
