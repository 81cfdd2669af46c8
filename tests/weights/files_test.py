"""Files of weights, whole and damaged."""

import importlib.util
import pickle
import sys

import ml_dtypes
import numpy as np
import pytest

from jssl import weights
from jssl.weights.files import unwrapped

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array([7])}


def test_arrays_come_back_as_they_went(tmp_path):
    path = tmp_path / "x.safetensors"
    weights.write(path, ARRAYS | {"b": ARRAYS["a.weight"].T}, {"format": "pt"})
    found = weights.read(path)
    np.testing.assert_array_equal(found["a.weight"], ARRAYS["a.weight"])
    np.testing.assert_array_equal(found["b"], ARRAYS["a.weight"].T)
    assert found["n"].dtype == np.int64
    assert weights.metadata(path) == {"format": "pt"}
    np.savez(tmp_path / "x.npz", **ARRAYS)
    np.testing.assert_array_equal(weights.read(tmp_path / "x.npz")["n"], [7])
    assert weights.metadata(tmp_path / "x.npz") == {}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_numbers_of_16_bits_become_the_same_of_32(dtype, tmp_path):
    path = tmp_path / "x.safetensors"
    small = np.linspace(-2, 2, 7).astype(dtype)
    weights.write(path, {"a": small}, {})
    found = weights.read(path)["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.astype(dtype), small)


def test_nothing_half_written_remains(tmp_path):
    path = tmp_path / "x.safetensors"
    weights.write(path, ARRAYS, {})
    before = path.read_bytes()
    (tmp_path / "y.safetensors").mkdir()
    with pytest.raises(OSError, match="cannot write .*y.safetensors"):
        weights.write(tmp_path / "y.safetensors", ARRAYS, {})
    with pytest.raises(OSError, match="cannot write"):
        weights.write(tmp_path / "none" / "x.safetensors", ARRAYS, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.safetensors", "y.safetensors"]
    assert path.read_bytes() == before


def test_nests_are_opened_and_what_stands_beside_is_left():
    one = {"w": np.ones(2)}
    assert unwrapped({"epoch": 3, "state_dict": one}) == one
    assert unwrapped({"model": {"state_dict": one}, "optimizer": {}}) == one
    assert unwrapped({"student": {"w": np.zeros(2)}, "teacher": one}) == one
    assert unwrapped(one | {"epoch": 3}) == one
    with pytest.raises(ValueError, match="holds no weights, only epoch, net"):
        unwrapped({"epoch": 3, "net": one})


def test_a_damaged_or_unknown_file_is_named(tmp_path):
    for name in ("x.safetensors", "x.npz"):
        (tmp_path / name).write_bytes(b"junk")
        with pytest.raises(ValueError, match=name):
            weights.read(tmp_path / name)
    (tmp_path / "x.h5").touch()
    with pytest.raises(ValueError, match="not '.h5'"):
        weights.read(tmp_path / "x.h5")
    with pytest.raises(FileNotFoundError, match="no file of weights"):
        weights.read(tmp_path / "none.safetensors")


def test_without_torch_a_pickle_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    path = tmp_path / "x.pth"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match="pip install torch"):
        weights.read(path)


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="torch is not installed")
def test_with_torch_arrays_are_read_and_programs_refused(tmp_path):
    import argparse

    import torch

    path = tmp_path / "x.pth.tar"
    nest = {"model": {"a": torch.ones(2, dtype=torch.bfloat16)}, "epoch": 3}
    torch.save(nest | {"args": argparse.Namespace(lr=0.1)}, path)
    np.testing.assert_array_equal(weights.read(path)["a"], np.ones(2, np.float32))
    torch.save({"model": print}, path)
    with pytest.raises(ValueError, match="may be code and is not run"):
        weights.read(path)


def test_a_file_has_the_rights_of_any_other(tmp_path):
    other, ours = tmp_path / "other", tmp_path / "ours.safetensors"
    other.touch()
    weights.write(ours, {"a": np.zeros(3)}, {})
    assert ours.stat().st_mode == other.stat().st_mode
