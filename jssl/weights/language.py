"""Language models in the folders of transformers: config, weights and tokenizer.

GPT-2, the first GPT (openai-gpt), BERT, BART and PEGASUS. A folder has config.json,
model.safetensors and, if there is one, tokenizer.json.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jssl.cache import written
from jssl.models.encoder_decoder import EncoderDecoder
from jssl.models.transformer import Transformer
from jssl.weights.files import read, write
from jssl.weights.names import exported, imported
from jssl.weights.transformers import (
    Model,
    check_constants,
    config_of,
    constants,
    current,
    dropped,
    kind_of,
    module_of,
    place,
)

FILES = ("config.json", "model.safetensors", "tokenizer.json")


class Language(NamedTuple):
    """A language model with its weights.

    Attributes:
      module: a `GPT`, `BERT` or `EncoderDecoder`.
      params: weights.
      tokenizer: content of tokenizer.json; "" if there is none.
    """

    module: nn.Module
    params: Any
    tokenizer: str = ""


def is_language(folder: str | Path) -> bool:
    """True for a folder with the config.json of a network of transformers."""
    path = Path(folder).expanduser() / FILES[0]
    try:
        return path.is_file() and "model_type" in json.loads(path.read_text())
    except (OSError, ValueError):
        return False


def network(embed: Callable, state: Any, rows: Any) -> Model | None:
    """The language model that a method's `embed` calls, found by tracing it; or None.

    Args:
      embed: the `embed` of a `Method`.
      state: of the method; only shapes matter.
      rows: arrays or ShapeDtypeStructs of a batch.
    """
    return _called(Model, embed, state, rows)


def text_encoder(embed: Callable, state: Any, rows: Any) -> Transformer | None:
    """The text encoder that a method's `embed` calls, found by tracing it; or None.

    The args are those of `network`.
    """
    return _called(Transformer, embed, state, rows)


def _called(kind, embed, state, rows):
    """The first module of a kind that is called, without its parent; or None."""
    found: list[Any] = []

    def free(module):
        parts = {x: getattr(module, x, None) for x in ("encoder", "decoder")}
        own = {x: free(part) for x, part in parts.items() if part is not None}
        return module.clone(parent=None, name=None, **own)

    def watch(call, args, kwargs, context):
        if isinstance(context.module, kind):
            found.append(free(context.module))
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        jax.eval_shape(embed, state, rows)
    return found[0] if found else None


def load_language(folder: str | Path) -> Language:
    """Reads a folder of transformers.

    Raises:
      ValueError: a file is missing or damaged, another kind of network, or weights that do
        not fit it; the message names the file.
      OSError: a file cannot be read.
    """
    root = Path(folder).expanduser()
    config = _config(root / FILES[0])
    kind, module = module_of(config, root / FILES[0])
    try:
        arrays = read(root / FILES[1])
    except FileNotFoundError as error:
        raise ValueError(f"{root} has no {FILES[1]}: {error}") from error
    arrays = {current(name, kind): array for name, array in arrays.items()}
    check_constants(arrays, str(root / FILES[1]))
    texts = [jnp.zeros((1, 2), jnp.int32)] * (1 + isinstance(module, EncoderDecoder))
    shapes = jax.eval_shape(module.init, jax.random.key(0), *texts)
    shapes = {path: x.shape for path, x in flatten_dict(dict(shapes)).items()}
    where = str(root / FILES[1])
    leaves = imported(shapes, place(kind), arrays, dropped(kind), where)
    tokenizer = root / FILES[2]
    text = tokenizer.read_text() if tokenizer.is_file() else ""
    return Language(module, unflatten_dict(leaves)["params"], text)


def save_language(
    folder: str | Path,
    module: Model,
    params: Any,
    tokenizer: str = "",
    tokens: Mapping[str, int] = {},
) -> Path:
    """Writes a folder that transformers reads with `from_pretrained`.

    Args:
      folder: created if it does not exist.
      module: the network.
      params: its weights.
      tokenizer: content of a tokenizer.json of the package tokenizers; "": none.
      tokens: numbers of the special tokens "bos" and "eos" of BART or PEGASUS; if missing,
        those of transformers.

    Raises:
      ValueError: a network that transformers has not.
      OSError: the folder cannot be written.
    """
    root = Path(folder).expanduser()
    kind = kind_of(module)
    arrays = to_transformers(module, params)
    root.mkdir(parents=True, exist_ok=True)
    write(root / FILES[1], arrays, {"format": "pt"})
    texts = {FILES[0]: json.dumps(config_of(module, kind, tokens), indent=1)}
    if tokenizer:
        texts[FILES[2]] = tokenizer
    for name, text in texts.items():
        with written(root / name) as part:
            part.write_text(text)
    return root


def to_transformers(module: Model, params: Any) -> dict[str, np.ndarray]:
    """The weights under the names and in the axes of transformers.

    Raises:
      ValueError: a network that transformers has not.
    """
    leaves, kind = flatten_dict({"params": dict(params)}), kind_of(module)
    return exported(leaves, place(kind)) | constants(module, kind)


def _config(path):
    if not path.is_file():
        raise ValueError(f"no {path}: give a folder with {', '.join(FILES[:2])}")
    try:
        found = json.loads(path.read_text())
        found["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged, or no config of a network") from error
    return found
