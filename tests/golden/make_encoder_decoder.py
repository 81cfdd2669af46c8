"""Makes encoder_decoder.npz: small BART and PEGASUS of transformers, and rouge-score.

The weights are random. Scores, loss, outputs and greedy texts of both networks; ROUGE of
pairs of texts.

python -m venv other && other/bin/pip install torch transformers rouge-score
other/bin/python tests/golden/make_encoder_decoder.py
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import transformers
from rouge_score import rouge_scorer
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
)

draw = np.random.default_rng(0)
found = {
    "versions": np.array(
        [
            f"torch {torch.__version__}, transformers {transformers.__version__}, "
            f"rouge-score {version('rouge-score')}"
        ]
    )
}
V, L, T = 37, 12, 9
SPECIAL = {  # as the checkpoints of facebook/bart-large and google/pegasus-large have it
    "bart": dict(pad_token_id=1, eos_token_id=2, bos_token_id=0, decoder_start_token_id=2),
    "pegasus": dict(pad_token_id=0, eos_token_id=1, decoder_start_token_id=0),
}
KINDS = {
    "bart": (BartConfig, BartForConditionalGeneration),
    "pegasus": (PegasusConfig, PegasusForConditionalGeneration),
}
torch.manual_seed(0)
for name, (config, kind) in KINDS.items():
    own = config(
        vocab_size=V,
        d_model=12,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=3,
        decoder_attention_heads=3,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=16,
        activation_function="relu" if name == "pegasus" else "gelu",
        scale_embedding=name == "pegasus",
        forced_eos_token_id=None,
        **SPECIAL[name],
    )
    net = kind(own)
    with torch.no_grad():  # neither zeros nor ones, and rounded to float16
        for weight in net.parameters():
            if weight.requires_grad:  # the texts must not repeat a token
                long = name == "bart" and len(weight) > 16  # embeddings, hidden layers
                std = 0.1 if weight.ndim == 1 or long else 0.8
                weight.add_(std * torch.randn_like(weight))
                weight.copy_(weight.half())
    net.eval()
    kept = {n for n, w in net.named_parameters() if w.requires_grad}
    found.update(
        {
            f"{name}/{k}": v.numpy().astype(np.float16)
            for k, v in net.state_dict().items()
            if k in kept
        }
    )
    pad = own.pad_token_id
    source = torch.tensor(draw.integers(7, V, (3, L)))
    target = torch.tensor(draw.integers(7, V, (3, T)))
    for rows, lengths in ((source, (L, 7, 10)), (target, (T, 8, 5))):
        for row, n in zip(rows, lengths, strict=True):
            row[n - 1], row[n:] = own.eos_token_id, pad
    mask = (source != pad).long()
    labels = torch.where(target == pad, -100, target)
    with torch.no_grad():
        out = net(source, attention_mask=mask, labels=labels, output_hidden_states=True)
        written = net.generate(
            source, attention_mask=mask, max_length=T, min_length=0, num_beams=1,
            do_sample=False,
        )  # fmt: skip
    found |= {
        f"{name}-in/source": source.numpy().astype(np.int32),
        f"{name}-in/target": target.numpy().astype(np.int32),
        f"{name}-out/logits": out.logits.numpy(),
        f"{name}-out/loss": out.loss.numpy(),
        f"{name}-out/encoder": out.encoder_last_hidden_state.numpy(),
        f"{name}-out/decoder": out.decoder_hidden_states[-1].numpy(),
        f"{name}-out/written": written.numpy().astype(np.int32),
    }
    print(name, written.tolist())

names = ["rouge1", "rouge2", "rougeL"]
judge = rouge_scorer.RougeScorer(names, use_stemmer=False)
written, wanted, scores = [], [], []
for i in range(12):
    a, b = (draw.integers(10, 22, draw.integers(0 if i == 0 else 1, 15)) for _ in range(2))
    a, b = ("".join(f"{'Ww'[x % 2]}{x}{'  ,-!'[x % 5]} " for x in row) for row in (a, b))
    if i == 1:
        b = a
    judged = judge.score(target=b, prediction=a)
    written.append(a)
    wanted.append(b)
    scores.append([[*judged[name]] for name in names])
found |= {
    "rouge-in/written": np.array(written),
    "rouge-in/wanted": np.array(wanted),
    "rouge-out": np.array(scores),  # [12, 3, (precision, recall, F1)]
}
path = Path(__file__).with_name("encoder_decoder.npz")
np.savez_compressed(path, **found)
print(f"{path}: {path.stat().st_size:,} bytes, {len(found)} arrays")
for name in sorted(found):
    print(name, found[name].shape)
