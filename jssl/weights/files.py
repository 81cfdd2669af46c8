"""Files of weights: a flat dict of numpy arrays by name, whatever wrote it.

safetensors and npz hold arrays and nothing else. A .pth is a pickle, a program that may
do anything when read: it is left to torch, which reads arrays out of it and refuses the
rest. https://huggingface.co/docs/safetensors
"""

import argparse
import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np

NESTS = ("state_dict", "model", "teacher", "student")  # the first that is there counts
PICKLES = (".pth", ".pt", ".bin", ".tar", ".ckpt")


def read(path: str | Path) -> dict[str, np.ndarray]:
    """{name: array} of a .safetensors, .npz, or torch's .pth, .pt, .bin, .tar, .ckpt.

    A checkpoint's nests ("state_dict", "model", "teacher") are opened; what stands beside
    the weights (epoch, optimiser, arguments) is left. Numbers of 16 bits become float32,
    which changes none.

    Raises:
      FileNotFoundError: no such file.
      ValueError: another kind of file, a damaged one, a pickle with more in it than
        arrays, or one that needs torch where there is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights {path}")
    if path.suffix == ".safetensors":
        found = _safetensors(path)
    elif path.suffix == ".npz":
        found = _npz(path)
    elif path.suffix in PICKLES:
        found = _torch(path)
    else:
        known = ", ".join((".safetensors", ".npz", *PICKLES))
        raise ValueError(f"{path}: weights are read from {known}, not {path.suffix!r}")
    return {name: _plain(array) for name, array in found.items()}


def metadata(path: str | Path) -> dict[str, str]:
    """What a safetensors file says of itself; nothing for other files."""
    if Path(path).suffix != ".safetensors":
        return {}
    with _opened(path) as file:
        return file.metadata() or {}


def write(path: str | Path, arrays: Mapping[str, np.ndarray], told: Mapping[str, str]):
    """Writes a safetensors file with metadata, whole or not at all.

    Raises:
      OSError: when it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        save_file(arrays, partial, dict(told))
        os.replace(partial, path)
    except (SafetensorError, OSError) as error:
        raise OSError(f"cannot write {path}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def unwrapped(nest: Mapping, where: str = "the file") -> dict:
    """The flat dict of tensors inside a checkpoint's nests."""
    for name in NESTS:
        if isinstance(nest.get(name), Mapping):
            return unwrapped(nest[name], f"{where}, {name}")
    arrays = {name: value for name, value in nest.items() if hasattr(value, "shape")}
    if not arrays:
        raise ValueError(f"{where} holds no weights but {', '.join(map(str, nest))[:200]}")
    return arrays


def _safetensors(path):
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _opened(path):
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, "np")
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error


def _npz(path):
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is not an npz file of plain arrays: {error}") from error


def _torch(path):
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path} is a pickle, which torch alone reads safely: pip install torch"
        ) from None
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # a script's options
            nest = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged, or holds more than arrays, which may be a program and is "
            f"not run: save its state dict alone"
        ) from error
    except Exception as error:  # zipfile and torch raise many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ValueError(f"{path} cannot be read by torch: {reason}") from error
    if not isinstance(nest, Mapping):
        raise ValueError(f"{path} holds a {type(nest).__name__}, not named weights")
    tensors = unwrapped(nest, str(path))
    half = (torch.float16, torch.bfloat16)
    return {
        name: (x.float() if x.dtype in half else x).detach().numpy()
        for name, x in tensors.items()
    }


def _plain(array):
    half = array.dtype.name in ("float16", "bfloat16")
    return array.astype(np.float32) if half else array
