"""How closely losses on 2, 4 and 8 devices agree with one: value and gradient, float64.

    python benchmarks/agreement.py [--devices 2 4 8] [--only nt_xent clip]

Takes its cases and regimes from tests/losses/sharded_test.py and prints a markdown
table: for each loss the largest difference in each regime, over the device counts and
over the value and the entries of the gradient.
"""

import argparse
import importlib.util
import os
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
from jax.sharding import AxisType

CASES = Path(__file__).parents[1] / "tests" / "losses" / "sharded_test.py"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--only", nargs="+", default=[], help="names of losses")
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("sharded_test", CASES)
    cases = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cases)
    print(f"| loss | {' | '.join(cases.REGIMES)} |\n|---|{'---|' * len(cases.REGIMES)}")
    worst = 0.0
    for name in options.only or cases.LOSSES:
        row = [largest(cases, name, regime, options.devices) for regime in cases.REGIMES]
        print(f"| {name} | {' | '.join(f'{x:.1e}' for x in row)} |", flush=True)
        worst = max(worst, *row)
    print(f"\nlargest: {worst:.1e}, devices {options.devices}, jax {jax.__version__}")


def largest(cases, name, regime, counts):
    """max |x on several devices - x on one|, over counts, value and gradient."""
    case, differences = cases.LOSSES[name], []
    wanted = cases.alone(name)
    for count in counts:
        devices = jax.devices()[:count]
        mesh = jax.make_mesh((count,), (cases.AXIS,), (AxisType.Auto,), devices=devices)
        found = cases.REGIMES[regime](mesh, case)(*cases.inputs(case))
        differences += [np.abs(a - b).max() for a, b in zip(found, wanted, strict=True)]
    return max(map(float, differences))


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
