"""Networks of other libraries, as files and as what they say: weights.npz."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from jssl import weights

GOLDEN = Path(__file__).parents[1] / "golden" / "weights.npz"
KNOWN = {  # what shapes do not tell
    "timm vit": {"heads": 3, "grid": (5, 3)},
    "timm vit mean": {"heads": 3},
    "torchvision vit": {"heads": 3},
    "transformers vit": {"heads": 3, "grid": (5, 3), "eps": 1e-3},
    "transformers 5 vit": {"heads": 3, "grid": (5, 3), "eps": 1e-3},
    "mae": {"heads": 3},
    "torchvision resnet": {},
    "small stem": {},
    "timm resnet": {},
}


class Case:
    """A network of another library."""

    def __init__(self, name, numbers, folder):
        self.known = KNOWN[name]
        self.file = folder / f"{name}.safetensors"
        if not self.file.exists():
            self.file.write_bytes(numbers[f"{name}/file"].tobytes())
        self.arrays = weights.read(self.file)
        self.images, self.h = numbers[f"{name}/images"], numbers[f"{name}/h"]

    def saved(self, path, arrays):
        """The same file with other arrays."""
        weights.write(path, arrays, {})
        return path


@pytest.fixture(scope="session")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="session")
def case(golden, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return lambda name: Case(name, golden, folder)


@pytest.fixture(scope="session")
def embed():
    """(loaded, images) -> h; a network is compiled once, whatever its weights."""

    @partial(jax.jit, static_argnums=0)
    def run(module, variables, images):
        return module.apply(variables, images)

    def h(loaded, images):
        variables = {"params": loaded.params} | loaded.stats
        return np.asarray(run(loaded.module, variables, images))

    return h
