"""Golden arrays of ConvLSTM and ST-LSTM, written as loops over time and layers in torch.

    python tests/golden/make_video_prediction.py

Made with torch 2.14.1, numpy 2.4. Equations: Shi et al. 2015 (with peepholes), eq. 3; Wang
et al. 2017, eq. 3, with 1 added to forget gates. Every gate is a convolution of its own.
Weights and inputs are random and rounded to float16; sums are in float64.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import conv2d

torch.set_default_dtype(torch.float64)
rng = np.random.default_rng(0)
N, T, SIDE, PATCH, WIDTH, LAYERS, KERNEL = 2, 5, 8, 2, 3, 2, 3
PIXELS = PATCH**2
weights: dict[str, np.ndarray] = {}


def draw(name, *shape):
    weights[name] = (0.5 * rng.standard_normal(shape)).astype(np.float16)
    return torch.tensor(weights[name].astype(np.float64))


def conv(x, kernel):
    return conv2d(x, kernel, padding=kernel.shape[-1] // 2)


def cut(frame):
    """[n, 1, y, x] -> [n, patch^2, y / patch, x / patch]."""
    n, _, y, x = frame.shape
    cells = frame.reshape(n, y // PATCH, PATCH, x // PATCH, PATCH)
    return cells.permute(0, 2, 4, 1, 3).reshape(n, PIXELS, y // PATCH, x // PATCH)


def joined(patches):
    n, _, y, x = patches.shape
    cells = patches.reshape(n, PATCH, PATCH, y, x)
    return cells.permute(0, 3, 1, 4, 2).reshape(n, y * PATCH, x * PATCH)


def convlstm(video, given):
    s = torch.sigmoid
    inputs = [PIXELS, WIDTH]
    w = [
        {
            gate: (
                draw(f"lstm/{layer}/{gate}/x", WIDTH, inputs[layer], KERNEL, KERNEL),
                draw(f"lstm/{layer}/{gate}/h", WIDTH, WIDTH, KERNEL, KERNEL),
                draw(f"lstm/{layer}/{gate}/b", WIDTH, 1, 1),
                draw(f"lstm/{layer}/{gate}/c", WIDTH, SIDE // PATCH, SIDE // PATCH),
            )
            for gate in "ifgo"
        }
        for layer in range(LAYERS)
    ]
    head, bias = draw("lstm/head", PIXELS, WIDTH, 1, 1), draw("lstm/bias", PIXELS, 1, 1)
    zero = torch.zeros(N, WIDTH, SIDE // PATCH, SIDE // PATCH)
    h, c = [zero] * LAYERS, [zero] * LAYERS
    found = []
    for t in range(T - 1):
        x = cut(video[:, t]) if given[t] else found[-1]
        for layer in range(LAYERS):
            gate = {
                k: conv(x, wx) + conv(h[layer], wh) + b
                for k, (wx, wh, b, _) in w[layer].items()
            }
            peep = {k: weight[3] for k, weight in w[layer].items()}
            i = s(gate["i"] + peep["i"] * c[layer])
            f = s(gate["f"] + peep["f"] * c[layer] + 1)
            c[layer] = f * c[layer] + i * torch.tanh(gate["g"])
            h[layer] = s(gate["o"] + peep["o"] * c[layer]) * torch.tanh(c[layer])
            x = h[layer]
        found.append(conv(x, head) + bias)
    return torch.stack([joined(x) for x in found], 1)


def predrnn(video, given):
    s = torch.sigmoid
    inputs = [PIXELS, WIDTH]
    w = []
    for layer in range(LAYERS):
        own = {}
        for gate in ("i", "f", "g", "o", "i2", "f2", "g2"):
            own[gate] = (
                draw(f"st/{layer}/{gate}/x", WIDTH, inputs[layer], KERNEL, KERNEL),
                draw(f"st/{layer}/{gate}/state", WIDTH, WIDTH, KERNEL, KERNEL),
                draw(f"st/{layer}/{gate}/b", WIDTH, 1, 1),
            )
        own["co"] = draw(f"st/{layer}/co", WIDTH, WIDTH, KERNEL, KERNEL)
        own["mo"] = draw(f"st/{layer}/mo", WIDTH, WIDTH, KERNEL, KERNEL)
        own["last"] = draw(f"st/{layer}/last", WIDTH, 2 * WIDTH, 1, 1)
        w.append(own)
    head, bias = draw("st/head", PIXELS, WIDTH, 1, 1), draw("st/bias", PIXELS, 1, 1)
    adapter = draw("st/adapter", WIDTH, WIDTH, 1, 1)
    zero = torch.zeros(N, WIDTH, SIDE // PATCH, SIDE // PATCH)
    h, c, m = [zero] * LAYERS, [zero] * LAYERS, zero
    found, cosines = [], []
    for t in range(T - 1):
        x = cut(video[:, t]) if given[t] else found[-1]
        for layer in range(LAYERS):
            own = w[layer]
            of = lambda gate, state, x=x, own=own: (
                conv(x, own[gate][0]) + conv(state, own[gate][1]) + own[gate][2]
            )
            dc = s(of("i", h[layer])) * torch.tanh(of("g", h[layer]))
            c[layer] = s(of("f", h[layer]) + 1) * c[layer] + dc
            dm = s(of("i2", m)) * torch.tanh(of("g2", m))
            m = s(of("f2", m) + 1) * m + dm
            q = of("o", h[layer]) + conv(c[layer], own["co"]) + conv(m, own["mo"])
            both = torch.cat([c[layer], m], 1)
            h[layer] = s(q) * torch.tanh(conv(both, own["last"]))
            x = h[layer]
            flat = [conv(d, adapter).reshape(N, WIDTH, -1) for d in (dc, dm)]
            cosines.append(torch.cosine_similarity(*flat, dim=2).abs())
        found.append(conv(x, head) + bias)
    return torch.stack([joined(x) for x in found], 1), torch.stack(cosines).mean()


video = rng.random((N, T, 1, SIDE, SIDE)).astype(np.float16)
given = np.array([True, True, False, False])
inputs = torch.tensor(video.astype(np.float64))
lstm = convlstm(inputs, given)
st, decoupling = predrnn(inputs, given)
np.savez_compressed(
    Path(__file__).with_name("video_prediction.npz"),
    video=video[:, :, 0],
    given=given,
    convlstm=lstm.numpy().astype(np.float32),
    st_lstm=st.numpy().astype(np.float32),
    decoupling=np.float32(decoupling),
    **weights,
)
