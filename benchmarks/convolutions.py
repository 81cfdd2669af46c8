"""Milliseconds of a 3 x 3 convolution: python benchmarks/convolutions.py

Forward, input's gradient and kernel's gradient, the last also as nine products over shifted
views and as a sum over eight pieces of the batch; plain, and as `jssl.tuning` has it, each
in a process of its own. Medians of five.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SHAPES = (  # images, side, channels in and out
    (512, 32, 16), (512, 16, 32), (512, 8, 64), (512, 4, 128),
    (128, 32, 64), (128, 16, 128), (128, 8, 256), (128, 4, 512),
)  # fmt: skip
PIECES = 8


def measure():
    import jax
    import jax.numpy as jnp
    from jax import lax

    def forward(x, y, k):
        layout = dict(dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return lax.conv_general_dilated(x, k, (1, 1), ((1, 1), (1, 1)), **layout)

    def of_input(x, y, k):
        return jax.vjp(lambda x: forward(x, y, k), x)[1](y)[0]

    def of_kernel(x, y, k):
        return jax.vjp(lambda k: forward(x, y, k), k)[1](y)[0]

    def shifted(x, y, k):
        _, h, w, c = x.shape
        x, y = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), y.reshape(-1, y.shape[-1])
        at = lambda i, j: x[:, i : i + h, j : j + w].reshape(-1, c).T @ y
        return jnp.stack([at(i, j) for i in range(3) for j in range(3)]).reshape(k.shape)

    def pieces(x, y, k):
        both = zip(jnp.split(x, PIECES), jnp.split(y, PIECES), strict=True)
        return sum(of_kernel(*piece, k) for piece in both)

    ways = forward, of_input, of_kernel, shifted, pieces
    print("images side channels  " + "  ".join(way.__name__ for way in ways))
    for n, side, width in SHAPES:
        x, y = jax.random.normal(jax.random.key(0), (2, n, side, side, width))
        k = jnp.ones((3, 3, width, width))
        row = [f"{n:6} {side:4} {width:8}"]
        for way in ways:
            run, spent = jax.jit(way), []
            for _ in range(6):
                before = time.perf_counter()
                jax.block_until_ready(run(x, y, k))
                spent.append(1e3 * (time.perf_counter() - before))
            row.append(f"{statistics.median(spent[1:]):.0f}".rjust(len(way.__name__)))
        print("  ".join(row), flush=True)


def main():
    if "tuned" in sys.argv:
        from jssl import tuning

        tuning.tune()
    if sys.argv[1:]:
        measure()
        return
    root = Path(__file__).parents[1]
    where = os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
    for how in ("plain", "tuned"):
        print(how, flush=True)
        subprocess.run([sys.executable, __file__, how], env=where, check=True)


if __name__ == "__main__":
    main()
