"""Makes data2vec_text.npz: a step of data2vec on text, with BERTs of transformers in torch.

python -m venv other && other/bin/pip install torch transformers
other/bin/python tests/golden/make_data2vec_text.py

Transformers' Data2VecText is an encoder without this loss, which is written here in torch.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from transformers import BertConfig, BertModel

V, L, D, TOP, BETA = 30, 10, 12, 2, 0.5
draw = np.random.default_rng(0)
torch.manual_seed(0)
config = BertConfig(
    vocab_size=V,
    hidden_size=D,
    num_hidden_layers=3,
    num_attention_heads=3,
    intermediate_size=4 * D,
    max_position_embeddings=L,
)


def network():
    """A BERT with random weights, norms included, rounded to float16."""
    net = BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
            weight.copy_(weight.half())
    return net


student, teacher = network(), network()
head = torch.nn.Sequential(
    torch.nn.Linear(D, 2 * D), torch.nn.GELU(), torch.nn.Linear(2 * D, D)
)
tokens = torch.tensor(draw.integers(7, V, (4, L)))
tokens[1, 6:] = 0
there = (tokens > 0).long()
mask = (torch.tensor(draw.random((4, L))) < 0.4) & (tokens > 0)
hidden = torch.where(mask, 4, tokens)
with torch.no_grad():
    layers = teacher(tokens, attention_mask=there, output_hidden_states=True).hidden_states
    each = torch.stack([F.layer_norm(x, (D,)) for x in layers[-TOP:]])
    y = F.layer_norm(each.mean(0), (D,))
p = head(student(hidden, attention_mask=there).last_hidden_state)
error = F.smooth_l1_loss(p, y, reduction="none", beta=BETA).sum(-1) / D**0.5
loss = error[mask].mean()
loss.backward()
found = {
    "versions": np.array(
        [f"torch {torch.__version__}, transformers {transformers.__version__}"]
    ),
    "tokens": tokens.numpy().astype(np.int32),
    "hidden": hidden.numpy().astype(np.int32),
    "mask": mask.numpy(),
    "loss": loss.detach().numpy(),
}
for name, net in {"student": student, "teacher": teacher}.items():
    weights = dict(net.named_parameters())
    found |= {f"{name}/bert.{k}": x.detach().numpy() for k, x in weights.items()}
    if name == "student":
        found |= {f"grad/bert.{k}": x.grad.numpy() for k, x in weights.items()}
for k, x in head.named_parameters():
    found |= {f"head/{k}": x.detach().numpy(), f"head_grad/{k}": x.grad.numpy()}
path = Path(__file__).with_name("data2vec_text.npz")
np.savez_compressed(path, **found)
print(f"{path}: {path.stat().st_size:,} bytes, {len(found)} arrays, loss {loss:.6f}")
