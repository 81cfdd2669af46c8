"""Language models in the folders of transformers: scores, names and round trips."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import weights
from jssl.models.encoder_decoder import BART, PEGASUS, EncoderDecoder, encoder_decoder
from jssl.models.transformer import BERT, GPT, TextMean, Transformer

FILES = Path(__file__).parents[1] / "golden"
GOLDEN = {
    k: x for name in ("language", "encoder_decoder")
    for k, x in np.load(FILES / f"{name}.npz").items()
}  # fmt: skip
KINDS = ("gpt2", "openai-gpt", "bert", "bart", "pegasus")
HALVES = dict(
    d_model=12,
    encoder_layers=2,
    decoder_layers=3,
    encoder_attention_heads=3,
    decoder_attention_heads=3,
    encoder_ffn_dim=48,
    decoder_ffn_dim=48,
    max_position_embeddings=16,
)
CONFIGS = {
    "gpt2": dict(n_embd=12, n_layer=2, n_head=3, n_positions=16),
    "openai-gpt": dict(n_embd=12, n_layer=2, n_head=3, n_positions=16, afn="gelu"),
    "bert": dict(
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=48,
        max_position_embeddings=16,
        type_vocab_size=2,
        pad_token_id=0,
    ),
    "bart": HALVES | dict(pad_token_id=1, activation_function="gelu"),
    "pegasus": HALVES
    | dict(pad_token_id=0, activation_function="relu", scale_embedding=True),
}
CONSTANTS = {  # of transformers, which are no weights here
    "bart": {"final_logits_bias"},
    "pegasus": {
        "final_logits_bias",
        "model.encoder.embed_positions.weight",
        "model.decoder.embed_positions.weight",
    },
}


def arrays(kind):
    begin = f"{kind}/"
    found = {k.removeprefix(begin): x for k, x in GOLDEN.items() if k.startswith(begin)}
    return {k: x.astype(np.float32) for k, x in found.items()}


def folder(path, kind, held=None, **changes):
    config = {"model_type": kind, "vocab_size": 37} | CONFIGS[kind] | changes
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    weights.write(path / "model.safetensors", arrays(kind) if held is None else held, {})
    return path


def inputs(kind):
    """Texts, and where their scores are compared."""
    if kind in CONSTANTS:
        source, target = (GOLDEN[f"{kind}-in/{x}"] for x in ("source", "target"))
        start, pad = (2, 1) if kind == "bart" else (0, 0)
        before = np.concatenate([np.full_like(target[:, :1], start), target[:, :-1]], 1)
        return (source, before), target != pad
    tokens = GOLDEN["bert-in/tokens" if kind == "bert" else "tokens"]
    more = (GOLDEN["bert-in/segments"],) if kind == "bert" else ()
    return (tokens, *more), tokens > 0


def scores(found, kind):
    texts, there = inputs(kind)
    texts = map(jnp.asarray, texts)
    logits = found.module.apply({"params": found.params}, *texts)["logits"]
    return np.asarray(logits)[there], GOLDEN[f"{kind}-out/logits"][there]


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_transformers_has_the_same_scores(kind, tmp_path):
    found = weights.load_language(folder(tmp_path, kind))
    np.testing.assert_allclose(*scores(found, kind), atol=1e-4)
    assert found.tokenizer == ""
    (tmp_path / "tokenizer.json").write_text("{}")
    assert weights.load_language(tmp_path).tokenizer == "{}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_folder_has_the_names_of_transformers_bit_for_bit(kind, tmp_path):
    found = weights.load_language(folder(tmp_path / "a", kind))
    again = weights.save_language(tmp_path / "b", found.module, found.params, "{}")
    held = weights.read(again / "model.safetensors")
    wanted = {
        k: x for k, x in arrays(kind).items() if not k.startswith("cls.predictions.decoder")
    }
    assert set(held) == set(wanted) | CONSTANTS.get(kind, set())
    for name, array in wanted.items():
        np.testing.assert_array_equal(held[name], array)
    config = json.loads((again / "config.json").read_text())
    assert config["model_type"] == kind
    assert {k: config[k] for k in CONFIGS[kind]} == CONFIGS[kind]
    third = weights.load_language(again)
    assert third.module == found.module
    assert third.tokenizer == "{}"


def test_names_without_a_prefix_tied_decoders_and_old_norms_are_read(tmp_path):
    held = {k.removeprefix("transformer."): x for k, x in arrays("gpt2").items()}
    held["lm_head.weight"] = held["wte.weight"]
    held["h.0.attn.bias"] = np.ones((1, 1, 16, 16), np.float32)
    found = weights.load_language(folder(tmp_path, "gpt2", held))
    np.testing.assert_allclose(*scores(found, "gpt2"), atol=1e-4)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    held = arrays("bert")
    for name in list(held):
        for new, was in old.items():
            if name.endswith(new):
                held[name.replace(new, was)] = held.pop(name)
    found = weights.load_language(folder(tmp_path, "bert", held))
    np.testing.assert_allclose(*scores(found, "bert"), atol=1e-4)


def test_what_does_not_fit_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no .*config.json: give a folder with"):
        weights.load_language(tmp_path)
    with pytest.raises(ValueError, match="'t5' is not known; gpt2, openai-gpt, "):
        weights.load_language(folder(tmp_path, "gpt2", model_type="t5"))
    with pytest.raises(ValueError, match="activation 'swish' is not known"):
        weights.load_language(folder(tmp_path, "gpt2", activation_function="swish"))
    with pytest.raises(ValueError, match="intermediate_size must be four times .* got 7"):
        weights.load_language(folder(tmp_path, "bert", intermediate_size=7))
    with pytest.raises(ValueError, match="does not fit: missing .*h.2.attn"):
        weights.load_language(folder(tmp_path, "gpt2", n_layer=3))
    held = arrays("gpt2") | {"transformer.h.0.more": np.zeros(2, np.float32)}
    with pytest.raises(ValueError, match="unexpected transformer.h.0.more"):
        weights.load_language(folder(tmp_path, "gpt2", held))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="has no model.safetensors"):
        weights.load_language(tmp_path)
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ValueError, match="config.json is damaged"):
        weights.load_language(tmp_path)


def test_networks_that_transformers_has_not_are_refused():
    own = Transformer(9, 4, 4, 1, 1, causal=True, pre_norm=True, first_norm=True, pad=None)
    for module in (GPT(own), BERT(own), TextMean(own)):
        with pytest.raises(ValueError, match="transformers has no such network"):
            weights.to_transformers(module, {})


def test_variants_of_bart_and_pegasus_and_biases_of_scores_are_refused(tmp_path):
    sizes = (9, 4, 4, 1, 1)
    for how in (
        BART | dict(sinusoidal=True),
        BART | dict(offset=0),
        BART | dict(pad=None),
        PEGASUS | dict(pre_norm=False),
        PEGASUS | dict(first_norm=True),
    ):
        with pytest.raises(ValueError, match="transformers has no such network"):
            weights.to_transformers(encoder_decoder(*sizes, **how), {})
    own = encoder_decoder(*sizes, **BART)
    other = own.decoder.clone(activation="relu")
    with pytest.raises(ValueError, match="transformers has no such network"):
        weights.to_transformers(EncoderDecoder(own.encoder, other), {})
    held = arrays("bart") | {"final_logits_bias": np.ones((1, 37), np.float32)}
    with pytest.raises(ValueError, match="final_logits_bias must be 0"):
        weights.load_language(folder(tmp_path, "bart", held))
    with pytest.raises(ValueError, match="heads must be those of the encoder, 3, got 2"):
        weights.load_language(folder(tmp_path, "bart", decoder_attention_heads=2))


def test_special_tokens_are_written_to_the_config(tmp_path):
    for kind, start in (("bart", 6), ("pegasus", 0)):
        found = weights.load_language(folder(tmp_path / kind, kind))
        module, tokens = found.module, dict(bos=5, eos=6)
        weights.save_language(tmp_path / "out", module, found.params, tokens=tokens)
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert config["bos_token_id"] == 5 and config["eos_token_id"] == 6
        assert config["decoder_start_token_id"] == start


def test_the_network_of_a_method_is_found_in_its_embed():
    module = GPT(Transformer(9, 4, 4, 1, 1, causal=True, pre_norm=True, pad=None))
    tokens = jnp.ones((2, 4), int)
    params = module.init(jax.random.key(0), tokens)

    def embed(state, batch):
        return {"h": module.apply(state, batch["tokens"])["h"]}

    assert weights.network(embed, params, {"tokens": tokens}) == module
    pair = encoder_decoder(9, 4, 4, 1, 1, **PEGASUS)
    params = pair.init(jax.random.key(0), tokens, tokens)

    def encode(state, batch):
        return pair.apply(state, batch["tokens"], method="encode")

    assert weights.network(encode, params, {"tokens": tokens}) == pair
    assert weights.network(lambda state, batch: {}, params, {}) is None
