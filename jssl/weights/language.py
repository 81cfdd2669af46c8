"""Language models in the folders of transformers: config, weights and tokenizer.

GPT-2, the first GPT (openai-gpt) and BERT. A folder has config.json, model.safetensors and,
if there is one, tokenizer.json. Scores are computed from the embeddings, which transformers
calls tied weights; a decoder of its own is not read.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jssl.cache import written
from jssl.models.transformer import BERT, GPT, Transformer
from jssl.weights.files import read, write
from jssl.weights.names import LEAVES, Place, exported, imported

FILES = ("config.json", "model.safetensors", "tokenizer.json")
_GPT = {
    "block": "h.{}.",
    "norm1": "ln_1",
    "query": "attn.c_attn",
    "key": "attn.c_attn",
    "value": "attn.c_attn",
    "out": "attn.c_proj",
    "norm2": "ln_2",
    "fc1": "mlp.c_fc",
    "fc2": "mlp.c_proj",
}
NAMES: Mapping[str, Mapping[str, str]] = {
    "gpt2": {"": "transformer.", "words": "wte", "positions": "wpe", "norm": "ln_f"} | _GPT,
    "openai-gpt": {
        "": "transformer.",
        "words": "tokens_embed",
        "positions": "positions_embed",
    }
    | _GPT,
    "bert": {
        "": "bert.",
        "words": "embeddings.word_embeddings",
        "positions": "embeddings.position_embeddings",
        "segments": "embeddings.token_type_embeddings",
        "norm0": "embeddings.LayerNorm",
        "block": "encoder.layer.{}.",
        "norm1": "attention.output.LayerNorm",
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "out": "attention.output.dense",
        "norm2": "output.LayerNorm",
        "fc1": "intermediate.dense",
        "fc2": "output.dense",
    },
}
HEADS = {  # of BERT
    "pooler": "bert.pooler.dense",
    "transform": "cls.predictions.transform.dense",
    "norm": "cls.predictions.transform.LayerNorm",
    "bias": "cls.predictions",
    "next": "cls.seq_relationship",
}
DROPPED = (
    r"lm_head\.weight|cls\.predictions\.decoder\.(weight|bias)|.*\.position_ids|"
    r".*\.attn\.(masked_)?bias"
)
ARCHITECTURES = {
    "gpt2": "GPT2LMHeadModel",
    "openai-gpt": "OpenAIGPTLMHeadModel",
    "bert": "BertForPreTraining",
}


class Language(NamedTuple):
    """A language model with its weights.

    Attributes:
      module: a `GPT` or `BERT`.
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


def network(embed: Callable, state: Any, rows: Any) -> GPT | BERT | None:
    """The language model that a method's `embed` calls, found by tracing it; or None.

    Args:
      embed: the `embed` of a `Method`.
      state: of the method; only shapes matter.
      rows: arrays or ShapeDtypeStructs of a batch.
    """
    return _called((GPT, BERT), embed, state, rows)


def text_encoder(embed: Callable, state: Any, rows: Any) -> Transformer | None:
    """The text encoder that a method's `embed` calls, found by tracing it; or None.

    The args are those of `network`.
    """
    return _called(Transformer, embed, state, rows)


def _called(kind, embed, state, rows):
    """The first module of a kind that is called, without its parent; or None."""
    found: list[Any] = []

    def free(module):
        own = {"encoder": free(module.encoder)} if hasattr(module, "encoder") else {}
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
    kind, module = _module(config, root / FILES[0])
    try:
        arrays = read(root / FILES[1])
    except FileNotFoundError as error:
        raise ValueError(f"{root} has no {FILES[1]}: {error}") from error
    arrays = {_current(name, kind): array for name, array in arrays.items()}
    zeros = jnp.zeros((1, 2), jnp.int32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), zeros)
    shapes = {path: x.shape for path, x in flatten_dict(dict(shapes)).items()}
    where = str(root / FILES[1])
    leaves = imported(shapes, place(kind), arrays, DROPPED, where)
    tokenizer = root / FILES[2]
    text = tokenizer.read_text() if tokenizer.is_file() else ""
    return Language(module, unflatten_dict(leaves)["params"], text)


def save_language(
    folder: str | Path, module: GPT | BERT, params: Any, tokenizer: str = ""
) -> Path:
    """Writes a folder that transformers reads with `from_pretrained`.

    Args:
      folder: created if it does not exist.
      module: the network.
      params: its weights.
      tokenizer: content of a tokenizer.json of the package tokenizers; "": none.

    Raises:
      ValueError: a network that transformers has not.
      OSError: the folder cannot be written.
    """
    root = Path(folder).expanduser()
    kind = kind_of(module)
    arrays = to_transformers(module, params)
    root.mkdir(parents=True, exist_ok=True)
    write(root / FILES[1], arrays, {"format": "pt"})
    texts = {FILES[0]: json.dumps(config_of(module, kind), indent=1)}
    if tokenizer:
        texts[FILES[2]] = tokenizer
    for name, text in texts.items():
        with written(root / name) as part:
            part.write_text(text)
    return root


def to_transformers(module: GPT | BERT, params: Any) -> dict[str, np.ndarray]:
    """The weights under the names and in the axes of transformers.

    Raises:
      ValueError: a network that transformers has not.
    """
    leaves = flatten_dict({"params": dict(params)})
    return exported(leaves, place(kind_of(module)))


def place(kind: str):
    """A function from each leaf of a `GPT` or `BERT` to its place in a state dict.

    >>> place("gpt2")(("params", "encoder", "block3", "attention", "key", "bias"))
    Place(name='transformer.h.3.attn.c_attn.bias', third=1, patch=0, plain=True)
    """
    names, conv = NAMES[kind], kind != "bert"

    def find(path):
        *modules, leaf = path[1:]
        if leaf == "positions":
            return Place(f"{names['']}{names['positions']}.weight", plain=True)
        if modules[:1] != ["encoder"]:
            head = HEADS[modules[0] if modules else leaf]
            return Place(f"{head}.{LEAVES[leaf]}")
        block = next((m[5:] for m in modules if m.startswith("block")), None)
        begin = "" if block is None else names["block"].format(block)
        part = modules[-1]
        joint = part in ("query", "key", "value") and names["query"] == names["key"]
        third = ("query", "key", "value").index(part) if joint else None
        name = f"{names['']}{begin}{names[part]}.{LEAVES[leaf]}"
        return Place(name, third, plain=conv or leaf == "embedding")

    return find


def kind_of(module: nn.Module) -> str:
    """The type of a network, as transformers names it.

    Raises:
      ValueError: a network that transformers has not.
    """
    own = getattr(module, "encoder", None)
    if isinstance(module, BERT) and isinstance(own, Transformer):
        if not own.causal and not own.pre_norm and own._normed and own.kinds:
            return "bert"
    elif isinstance(module, GPT) and isinstance(own, Transformer) and own.causal:
        if own.pre_norm and not own._normed:
            return "gpt2"
        if not (own.pre_norm or own._normed or own.exact):
            return "openai-gpt"
    raise ValueError(
        f"transformers has no such network: {type(module).__name__} of "
        f"{type(own).__name__}; GPT-2, the first GPT and BERT are known"
    )


def config_of(module: GPT | BERT, kind: str) -> dict[str, Any]:
    """The content of config.json."""
    own = module.encoder
    shared = {
        "model_type": kind,
        "architectures": [ARCHITECTURES[kind]],
        "vocab_size": own.vocabulary,
        "tie_word_embeddings": True,
    }
    if kind == "bert":
        return shared | {
            "hidden_size": own.width,
            "num_hidden_layers": own.depth,
            "num_attention_heads": own.heads,
            "intermediate_size": 4 * own.width,
            "max_position_embeddings": own.length,
            "type_vocab_size": own.kinds,
            "layer_norm_eps": own.eps,
            "hidden_act": "gelu" if own.exact else "gelu_new",
            "hidden_dropout_prob": own.dropout,
            "attention_probs_dropout_prob": own.dropout,
            "pad_token_id": own.pad,
        }
    tanh = "gelu_new" if kind == "gpt2" else "gelu"
    act = "activation_function" if kind == "gpt2" else "afn"
    return shared | {
        "n_embd": own.width,
        "n_layer": own.depth,
        "n_head": own.heads,
        "n_positions": own.length,
        "layer_norm_epsilon": own.eps,
        act: "gelu" if own.exact else tanh,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), own.dropout),
    }


def _config(path):
    if not path.is_file():
        raise ValueError(f"no {path}: give a folder with {', '.join(FILES[:2])}")
    try:
        found = json.loads(path.read_text())
        found["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged, or no config of a network") from error
    return found


def _module(config, where):
    """The type and the network of a config."""
    kind = config["model_type"]
    if kind not in NAMES:
        raise ValueError(f"{where}: {kind!r} is not known; {', '.join(NAMES)} are")
    try:
        if kind == "bert":
            width = config["hidden_size"]
            if config["intermediate_size"] != 4 * width:
                raise ValueError(
                    f"{where}: intermediate_size must be four times the width, "
                    f"{4 * width}, got {config['intermediate_size']}"
                )
            own = Transformer(
                config["vocab_size"],
                config["max_position_embeddings"],
                width,
                config["num_hidden_layers"],
                config["num_attention_heads"],
                kinds=config["type_vocab_size"],
                pad=config.get("pad_token_id", 0),
                exact=_exact(config.get("hidden_act", "gelu"), ("gelu",), where),
                eps=config.get("layer_norm_eps", 1e-12),
                dropout=config.get("hidden_dropout_prob", 0.1),
            )
            return kind, BERT(own)
        act, tanh = (
            ("activation_function", "gelu_new") if kind == "gpt2" else ("afn", "gelu")
        )
        own = Transformer(
            config["vocab_size"],
            config["n_positions"],
            config["n_embd"],
            config["n_layer"],
            config["n_head"],
            causal=True,
            pre_norm=kind == "gpt2",
            first_norm=False,
            pad=None,
            exact=_exact(config.get(act, tanh), ("gelu",) if kind == "gpt2" else (), where),
            eps=config.get("layer_norm_epsilon", 1e-5),
            dropout=config.get("resid_pdrop", 0.1),
            scaled=kind == "gpt2",
        )
        return kind, GPT(own, None)
    except KeyError as error:
        raise ValueError(f"{where} has no {error}") from error


def _exact(name, exact, where):
    """True for GELU itself, False for its approximation by tanh."""
    tanh = ("gelu_new", "gelu_pytorch_tanh") + (() if exact else ("gelu",))
    if name not in (*exact, *tanh):
        raise ValueError(f"{where}: the activation {name!r} is not known")
    return name in exact


def _current(name, kind):
    """The name of an array as files of today have it, with the prefix of the network."""
    name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
    begin = NAMES[kind][""]
    heads = ("cls.", "lm_head.")
    return name if name.startswith((begin, *heads)) else begin + name
