"""Damaged files of weights: whatever is wrong, one ValueError names the file."""

import json
import struct

import numpy as np
import pytest

from jssl import weights

SIZES = [0, 1, 2, 3, 5, 16, 2**31, 2**40, 2**63 - 1, -1]
KINDS = ["F32", "F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "F4", "C64", "x", 7]
JUNK = [None, 3, [], "", "{", {"heads": "x"}, {"grid": [0, 0]}, {"heads": -1}, {"pool": 9}]


def _parted(file):
    """Header and data of a safetensors file."""
    raw = file.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def _joined(header, data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _bytes_changed(rng, header, data):
    raw = bytearray(_joined(header, data))
    for _ in range(rng.integers(1, 4)):
        raw[rng.integers(min(len(raw), 2000))] = rng.integers(256)
    return bytes(raw)


def _truncated(rng, header, data):
    raw = _joined(header, data)
    return raw[: rng.integers(len(raw))]


def _long_header(rng, header, data):
    raw = _joined(header, data)
    length = int(rng.choice([0, 1, 7, 2**20, 2**31, 2**63]))
    return struct.pack("<Q", length) + raw[8:]


def _other_field(rng, header, data):
    name = str(rng.choice([n for n in header if n != "__metadata__"]))
    entry = dict(header[name])
    match rng.integers(4):
        case 0:
            entry["dtype"] = KINDS[rng.integers(len(KINDS))]
        case 1:
            at = rng.integers(len(entry["shape"]) + 1)
            entry["shape"] = [*entry["shape"]]
            entry["shape"].insert(at, SIZES[rng.integers(len(SIZES))])
        case 2:
            entry["data_offsets"] = [int(x) for x in rng.integers(0, 2**20, 2)]
        case _:
            entry.pop(str(rng.choice([*entry])))
    return _joined(header | {name: entry}, data)


def _other_metadata(rng, header, data):
    key = str(rng.choice(["layout", "preprocessing"]))
    junk = JUNK[rng.integers(len(JUNK))]
    text = junk if isinstance(junk, str) else json.dumps(junk)
    return _joined(header | {"__metadata__": {key: text}}, data)


def _other_arrays(rng, header, data):
    """A valid file whose arrays have other shapes, types or names."""
    from safetensors.numpy import load, save

    arrays = load(_joined(header, data))
    for _ in range(rng.integers(1, 3)):
        name = str(rng.choice([*arrays]))
        x = arrays.pop(name)
        match rng.integers(7):
            case 0:
                arrays[name] = x.reshape(-1)
            case 1:
                arrays[name] = x[..., None]
            case 2:
                arrays[name] = np.float32(0)
            case 3:
                arrays[name] = x.reshape(-1)[:0]
            case 4:
                arrays[name] = np.full_like(x, np.nan if x.dtype.kind == "f" else 0)
            case 5:
                arrays[f"x{name}"] = x
            case _:
                arrays[name] = np.zeros((*x.shape, 0), x.dtype)
    return save({n: np.ascontiguousarray(x) for n, x in arrays.items()})


DAMAGES = [_bytes_changed, _truncated, _long_header, _other_field, _other_metadata]
DAMAGES += [_other_arrays, _other_arrays]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm vit", "torchvision resnet", "transformers vit"])
def test_a_damaged_file_is_a_value_error_that_names_it(name, case, tmp_path):
    its, rng = case(name), np.random.default_rng(0)
    header, data = _parted(its.file)
    path = tmp_path / "damaged.safetensors"
    told = []
    for i in range(70):
        damage = DAMAGES[i % len(DAMAGES)]
        path.write_bytes(damage(rng, header, data))
        try:
            weights.load(path, **its.known)
            weights.preprocessing(path, 3)
        except (ValueError, OSError) as error:
            told.append(str(error))
    assert all("damaged.safetensors" in words for words in told), told
    assert not any("\n" in words for words in told)
    assert len(told) > 45


def test_numbers_of_8_bits_are_refused_by_name(tmp_path):
    path = tmp_path / "x.safetensors"
    header = {"w": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}
    path.write_bytes(_joined(header, b"\0" * 4))
    with pytest.raises(ValueError, match="x.safetensors: w is of type F8_E4M3, .* float32"):
        weights.read(path)


@pytest.mark.parametrize("name", ["reg_token", "register_tokens", "vit.register_tokens"])
def test_register_tokens_are_named_as_the_reason(name, case, tmp_path):
    its = case("timm vit")
    more = {name: np.zeros((1, 4, 192), np.float32)}
    path = its.saved(tmp_path / "x.safetensors", its.arrays | more)
    with pytest.raises(ValueError, match=f"register tokens .{name}.*not supported"):
        weights.load(path, **its.known)
