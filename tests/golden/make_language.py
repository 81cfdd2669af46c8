"""Makes language.npz: small GPT-2, GPT and BERT of transformers, random weights.

python -m venv other && other/bin/pip install torch transformers
other/bin/python tests/golden/make_language.py
"""

from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import (
    BertConfig,
    BertForPreTraining,
    GPT2Config,
    GPT2LMHeadModel,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
)

draw = np.random.default_rng(0)
found = {
    "versions": np.array(
        [f"torch {torch.__version__}, transformers {transformers.__version__}"]
    )
}


def rounded(net, name):
    """Weights without zeros and ones, rounded to float16, also in `found`."""
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
            weight.copy_(weight.half())
    names = {n for n, _ in net.named_parameters()}
    weights = {k: v for k, v in net.state_dict().items() if k in names}
    found.update({f"{name}/{k}": v.numpy().astype(np.float16) for k, v in weights.items()})
    return net.eval()


torch.manual_seed(0)
V, L = 37, 12
tokens = torch.tensor(draw.integers(7, V, (3, L)))
found["tokens"] = tokens.numpy().astype(np.int32)
common = dict(vocab_size=V, n_positions=16, n_embd=12, n_layer=2, n_head=3)
for name, config, kind in (
    ("gpt2", GPT2Config, GPT2LMHeadModel),
    ("openai-gpt", OpenAIGPTConfig, OpenAIGPTLMHeadModel),
):
    net = rounded(kind(config(**common)), name)
    with torch.no_grad():
        out = net(tokens, labels=tokens, output_hidden_states=True)
    found[f"{name}-out/logits"] = out.logits.numpy()
    found[f"{name}-out/loss"] = out.loss.numpy()
    found[f"{name}-out/hidden"] = out.hidden_states[-1].numpy()

net = rounded(
    BertForPreTraining(
        BertConfig(
            vocab_size=V,
            hidden_size=12,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=48,
            max_position_embeddings=16,
        )
    ),
    "bert",
)
mask = torch.ones(3, L, dtype=torch.long)
mask[1, 7:], mask[2, 10:] = 0, 0
padded = tokens * mask
segments = torch.zeros(3, L, dtype=torch.long)
segments[:, 5:] = 1
segments *= mask
labels = torch.where(torch.tensor(draw.random((3, L))) < 0.3, tokens, -100)
labels = torch.where(mask == 1, labels, -100)
order = torch.tensor([0, 1, 1])
with torch.no_grad():
    out = net(
        padded,
        attention_mask=mask,
        token_type_ids=segments,
        labels=labels,
        next_sentence_label=order,
        output_hidden_states=True,
    )
found |= {
    "bert-in/tokens": padded.numpy().astype(np.int32),
    "bert-in/segments": segments.numpy().astype(np.int32),
    "bert-in/labels": labels.numpy().astype(np.int32),
    "bert-in/order": order.numpy().astype(np.int32),
    "bert-out/logits": out.prediction_logits.numpy(),
    "bert-out/next": out.seq_relationship_logits.numpy(),
    "bert-out/loss": out.loss.numpy(),
    "bert-out/hidden": out.hidden_states[-1].numpy(),
}
path = Path(__file__).with_name("language.npz")
np.savez_compressed(path, **found)
print(f"{path}: {path.stat().st_size:,} bytes, {len(found)} arrays")
for name in sorted(found):
    print(name, found[name].shape)
