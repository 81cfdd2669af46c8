"""Layouts of the language models of transformers: names of weights, and configs.

GPT-2, the first GPT (openai-gpt), BERT, BART and PEGASUS. Scores are computed from the
embeddings, which transformers calls tied weights; a decoder of its own is not read.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from jssl.models.encoder_decoder import BART, PEGASUS, EncoderDecoder, encoder_decoder
from jssl.models.transformer import BERT, GPT, Transformer
from jssl.ops.positions import sincos_1d
from jssl.weights.names import LEAVES, Place

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
_BART = {
    "": "model.",
    "words": "shared",
    "positions": "embed_positions",
    "norm0": "layernorm_embedding",
    "norm": "layer_norm",
    "block": "layers.{}.",
    "norm1": "self_attn_layer_norm",
    "norm_cross": "encoder_attn_layer_norm",
    "norm2": "final_layer_norm",
    "attention": "self_attn.",
    "cross": "encoder_attn.",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "out": "out_proj",
    "fc1": "fc1",
    "fc2": "fc2",
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
    "bart": _BART,
    "pegasus": _BART,
}
HEADS = {  # of BERT
    "pooler": "bert.pooler.dense",
    "transform": "cls.predictions.transform.dense",
    "norm": "cls.predictions.transform.LayerNorm",
    "bias": "cls.predictions",
    "next": "cls.seq_relationship",
}
BIAS = "final_logits_bias"  # of BART and PEGASUS, a constant 0
DROPPED = (
    r"lm_head\.weight|cls\.predictions\.decoder\.(weight|bias)|.*\.position_ids|"
    rf".*\.attn\.(masked_)?bias|{BIAS}|model\.(en|de)coder\.embed_tokens\.weight"
)
SINES = r"|model\.(en|de)coder\.embed_positions\.weight"
ARCHITECTURES = {
    "gpt2": "GPT2LMHeadModel",
    "openai-gpt": "OpenAIGPTLMHeadModel",
    "bert": "BertForPreTraining",
    "bart": "BartForConditionalGeneration",
    "pegasus": "PegasusForConditionalGeneration",
}
GELU = "gelu"
TANH = ("gelu_new", "gelu_pytorch_tanh")
Model = GPT | BERT | EncoderDecoder


def dropped(kind: str) -> str:
    """A regex of arrays that are not read: copies of others, and constants."""
    return DROPPED + (SINES if kind == "pegasus" else "")


def place(kind: str) -> Callable[[tuple[str, ...]], Place]:
    """A function from each leaf of a network to its place in a state dict.

    >>> place("gpt2")(("params", "encoder", "block3", "attention", "key", "bias"))
    Place(name='transformer.h.3.attn.c_attn.bias', third=1, patch=0, plain=True)
    >>> place("bart")(("params", "decoder", "block3", "cross", "key", "bias")).name
    'model.decoder.layers.3.encoder_attn.k_proj.bias'
    """
    names, conv = NAMES[kind], kind in ("gpt2", "openai-gpt")

    def find(path):
        *modules, leaf = path[1:]
        begin = names[""]
        if names is _BART and modules[-1:] != ["words"]:
            begin += f"{modules[0]}."
        if leaf == "positions":
            return Place(f"{begin}{names['positions']}.weight", plain=True)
        if modules[:1] not in (["encoder"], ["decoder"]):
            head = HEADS[modules[0] if modules else leaf]
            return Place(f"{head}.{LEAVES[leaf]}")
        block = next((m[5:] for m in modules if m.startswith("block")), None)
        begin += "" if block is None else names["block"].format(block)
        part = modules[-1]
        joint = part in ("query", "key", "value") and names["query"] == names["key"]
        third = ("query", "key", "value").index(part) if joint else None
        inside = names.get(modules[-2], "") if len(modules) > 1 and block else ""
        name = f"{begin}{inside}{names[part]}.{LEAVES[leaf]}"
        return Place(name, third, plain=conv or leaf == "embedding")

    return find


def constants(module: Model, kind: str) -> dict[str, np.ndarray]:
    """Arrays of a state dict that are no weights of ours: zeros, sines and cosines."""
    if not isinstance(module, EncoderDecoder):
        return {}
    found = {BIAS: np.zeros((1, module.encoder.vocabulary), np.float32)}
    if kind == "pegasus":
        for half in ("encoder", "decoder"):
            own = getattr(module, half)
            sines = sincos_1d(own.width, np.arange(own.length)).astype(np.float32)
            found[f"model.{half}.embed_positions.weight"] = sines
    return found


def check_constants(arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Checks that a state dict has no bias of the scores.

    Raises:
      ValueError: it has one, which our networks have not.
    """
    if BIAS in arrays and np.any(np.asarray(arrays[BIAS])):
        raise ValueError(f"{where}: {BIAS} must be 0, no such bias is known here")


def kind_of(module: nn.Module) -> str:
    """The type of a network, as transformers names it.

    Raises:
      ValueError: a network that transformers has not.
    """
    own = getattr(module, "encoder", None)
    if isinstance(own, Transformer):
        usual = not (own.sinusoidal or own.offset or own.multiplied)
        if isinstance(module, EncoderDecoder):
            if found := _bart_or_pegasus(module):
                return found
        elif isinstance(module, BERT) and usual and not own.causal:
            if not own.pre_norm and own._normed and own.kinds:
                return "bert"
        elif isinstance(module, GPT) and usual and own.causal and not own._normed:
            if own.pre_norm:
                return "gpt2"
            if own.activation == "gelu_tanh":
                return "openai-gpt"
    raise ValueError(
        f"transformers has no such network: {type(module).__name__} of "
        f"{type(own).__name__}; GPT-2, the first GPT, BERT, BART and PEGASUS are known"
    )


def _bart_or_pegasus(module):
    """The type of an encoder with a decoder, or None."""
    one, two = module.encoder, module.decoder
    if two != one.clone(depth=two.depth, causal=True, pad=None, cross=True):
        return None
    if one.causal or one.kinds or one.pad is None:
        return None
    known = {"bart": BART["offset"], "pegasus": 0}
    kind = "pegasus" if one.pre_norm else "bart"
    rest = one.sinusoidal == one.pre_norm != one._normed
    return kind if rest and one.offset == known[kind] else None


def config_of(module: Model, kind: str, tokens: Mapping[str, int] = {}) -> dict[str, Any]:
    """The content of config.json.

    Args:
      module: the network.
      kind: its type.
      tokens: numbers of special tokens of an encoder with a decoder, "bos" and "eos"; those
        that are missing are transformers' own.
    """
    own = module.encoder
    shared = {
        "model_type": kind,
        "architectures": [ARCHITECTURES[kind]],
        "vocab_size": own.vocabulary,
        "tie_word_embeddings": True,
    }
    if isinstance(module, EncoderDecoder):
        return shared | _encoder_decoder_config(module, kind, tokens)
    if kind == "bert":
        return shared | {
            "hidden_size": own.width,
            "num_hidden_layers": own.depth,
            "num_attention_heads": own.heads,
            "intermediate_size": 4 * own.width,
            "max_position_embeddings": own.length,
            "type_vocab_size": own.kinds,
            "layer_norm_eps": own.eps,
            "hidden_act": _written(own.activation),
            "hidden_dropout_prob": own.dropout,
            "attention_probs_dropout_prob": own.dropout,
            "pad_token_id": own.pad,
        }
    act = "activation_function" if kind == "gpt2" else "afn"
    # The first GPT's own word for the approximation by tanh is gelu.
    own_act = GELU if kind == "openai-gpt" else _written(own.activation)
    return shared | {
        "n_embd": own.width,
        "n_layer": own.depth,
        "n_head": own.heads,
        "n_positions": own.length,
        "layer_norm_epsilon": own.eps,
        act: own_act,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), own.dropout),
    }


def _encoder_decoder_config(module, kind, tokens):
    own, other = module.encoder, module.decoder
    halves = {"encoder": own, "decoder": other}
    found: dict[str, Any] = {
        "is_encoder_decoder": True,
        "d_model": own.width,
        "max_position_embeddings": own.length,
        "activation_function": _written(own.activation),
        "scale_embedding": own.multiplied,
        "dropout": own.dropout,
        "attention_dropout": own.dropout,
        "activation_dropout": 0.0,
        "pad_token_id": own.pad,
    }
    for name, half in halves.items():
        found |= {
            f"{name}_layers": half.depth,
            f"{name}_attention_heads": half.heads,
            f"{name}_ffn_dim": 4 * half.width,
        }
    found |= {f"{name}_token_id": number for name, number in tokens.items()}
    if "eos" in tokens:
        start = tokens["eos"] if kind == "bart" else own.pad
        found |= {"decoder_start_token_id": start, "forced_eos_token_id": tokens["eos"]}
    return found


def module_of(config: Mapping[str, Any], where: Any) -> tuple[str, Model]:
    """The type and the network of a config.

    Raises:
      ValueError: another type of network, or one that is not known here.
    """
    kind = config["model_type"]
    if kind not in NAMES:
        raise ValueError(f"{where}: {kind!r} is not known; {', '.join(NAMES)} are")
    makers = {"bert": _bert, "bart": _encoder_decoder, "pegasus": _encoder_decoder}
    try:
        return kind, makers.get(kind, _gpt)(config, where)
    except KeyError as error:
        raise ValueError(f"{where} has no {error}") from error


def _bert(config, where):
    width = config["hidden_size"]
    _check_ratio(config, "intermediate_size", width, where)
    own = Transformer(
        config["vocab_size"],
        config["max_position_embeddings"],
        width,
        config["num_hidden_layers"],
        config["num_attention_heads"],
        kinds=config["type_vocab_size"],
        pad=config.get("pad_token_id", 0),
        activation=_read(config.get("hidden_act", GELU), where),
        eps=config.get("layer_norm_eps", 1e-12),
        dropout=config.get("hidden_dropout_prob", 0.1),
    )
    return BERT(own)


def _gpt(config, where):
    second = config["model_type"] == "gpt2"
    act = config.get("activation_function" if second else "afn", TANH[0])
    own = Transformer(
        config["vocab_size"],
        config["n_positions"],
        config["n_embd"],
        config["n_layer"],
        config["n_head"],
        causal=True,
        pre_norm=second,
        first_norm=False,
        pad=None,
        activation=_read(TANH[0] if act == GELU and not second else act, where),
        eps=config.get("layer_norm_epsilon", 1e-5),
        dropout=config.get("resid_pdrop", 0.1),
        scaled=second,
    )
    return GPT(own, None)


def _encoder_decoder(config, where):
    kind, width = config["model_type"], config["d_model"]
    heads = config["encoder_attention_heads"]
    for half in ("encoder", "decoder"):
        _check_ratio(config, f"{half}_ffn_dim", width, where)
    if config["decoder_attention_heads"] != heads:
        raise ValueError(
            f"{where}: decoder_attention_heads must be those of the encoder, {heads}, got "
            f"{config['decoder_attention_heads']}"
        )
    how: dict[str, Any] = BART if kind == "bart" else PEGASUS
    how = how | dict(
        activation=_read(config.get("activation_function", GELU), where),
        multiplied=config.get("scale_embedding", False),
        dropout=config.get("dropout", 0.1),
    )
    return encoder_decoder(
        config["vocab_size"],
        config["max_position_embeddings"],
        width,
        config["encoder_layers"],
        heads,
        decoder_depth=config["decoder_layers"],
        pad=config.get("pad_token_id", 1 if kind == "bart" else 0),
        **how,
    )


def _check_ratio(config, name, width, where):
    if config[name] != 4 * width:
        raise ValueError(
            f"{where}: {name} must be four times the width, {4 * width}, got {config[name]}"
        )


def _read(name, where):
    """Our name of an activation of transformers."""
    if name in TANH:
        return "gelu_tanh"
    if name not in (GELU, "relu"):
        raise ValueError(f"{where}: the activation {name!r} is not known")
    return name


def _written(name):
    """The name of an activation in transformers."""
    return TANH[0] if name == "gelu_tanh" else name


def current(name: str, kind: str) -> str:
    """The name of an array as files of today have it, with the prefix of the network."""
    name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))
    begin = NAMES[kind][""]
    heads = ("cls.", "lm_head.", BIAS)
    return name if name.startswith((begin, *heads)) else begin + name
