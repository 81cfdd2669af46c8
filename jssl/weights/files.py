"""Reading and writing files of weights as flat dicts of numpy arrays.

safetensors and npz files hold only arrays. A .pth file is a pickle, i.e. a program that
can run arbitrary code when loaded: it is read by torch, which loads arrays and rejects
everything else. https://huggingface.co/docs/safetensors
"""

import argparse
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jssl.cache import written

NESTS = ("state_dict", "model", "teacher", "student")  # the first one present is used
PICKLES = (".pth", ".pt", ".bin", ".tar", ".ckpt")


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Reads {name: array} from a .safetensors, .npz or torch (.pth, .pt, .bin, ...) file.

    Nested dicts of a checkpoint ("state_dict", "model", "teacher") are unwrapped; other
    entries (epoch, optimizer, arguments) are dropped. 16-bit floats become float32, which
    is exact.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for an unknown file type, a damaged file, numbers of 8 bits or fewer, a
        pickle that holds more than arrays, or a torch file when torch is not installed.
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
    """The metadata of a safetensors file; {} for other files."""
    if Path(path).suffix != ".safetensors":
        return {}
    with _opened(path) as file:
        return file.metadata() or {}


def write(path: str | Path, arrays: Mapping[str, np.ndarray], info: Mapping[str, str]):
    """Writes a safetensors file atomically, with `info` as metadata.

    Raises:
      OSError: if the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        with written(path) as part:
            part.touch()
            mode = part.stat().st_mode  # safetensors makes files for their owner alone
            save_file(arrays, part, dict(info))
            part.chmod(mode)
    except (SafetensorError, OSError) as error:
        raise OSError(f"cannot write {path}: {error}") from error


def unwrapped(nest: Mapping, where: str = "the file") -> dict:
    """Unwraps the nested dicts of a checkpoint down to the flat dict of tensors.

    Raises:
      ValueError: if there are no tensors.
    """
    for name in NESTS:
        if isinstance(nest.get(name), Mapping):
            return unwrapped(nest[name], f"{where}, {name}")
    arrays = {name: value for name, value in nest.items() if hasattr(value, "shape")}
    if not arrays:
        names = ", ".join(map(str, nest))[:200]
        raise ValueError(f"{where} holds no weights, only {names}")
    return arrays


def _safetensors(path):
    with _opened(path) as file:
        return {name: _tensor(path, file, name) for name in file.keys()}  # noqa: SIM118


def _tensor(path, file, name):
    """A tensor of an open safetensors file; numpy has fewer types than the format."""
    kind = file.get_slice(name).get_dtype()
    if not re.fullmatch(r"F16|BF16|F32|F64|[IU](8|16|32|64)|BOOL", kind):
        raise ValueError(
            f"{path}: {name} is of type {kind}, which cannot be read: save the weights in "
            f"float32, float16 or bfloat16"
        )
    try:
        return file.get_tensor(name)
    except Exception as error:  # Rust's and numpy's, of many kinds
        raise ValueError(f"{path}: {name} cannot be read: {_line(error)}") from error


def _opened(path):
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, "np")
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a valid safetensors file: {_line(error)}"
        ) from error


def _line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


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
            f"{path} is a pickle, which only torch can read safely: pip install torch"
        ) from None
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # a script's options
            nest = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged, or holds more than arrays, which may be code and is not "
            f"run: save only its state dict"
        ) from error
    except Exception as error:  # zipfile and torch raise many kinds
        raise ValueError(f"{path} cannot be read by torch: {_line(error)}") from error
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
