"""Makes seqeval.npz: entity precision, recall and F1 of seqeval, of random BIO tags.

python -m venv other && other/bin/pip install seqeval
other/bin/python tests/golden/make_seqeval.py
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from seqeval.metrics import f1_score, precision_score, recall_score

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")
draw = np.random.default_rng(0)
cases, scores = [], []
for _ in range(40):
    truth = draw.choice(len(TAGS), (6, 9), p=(0.4, *[0.1] * 6))
    # Some of the tags are wrong; I- tags follow any tag, as predictions may have them.
    wrong = draw.random(truth.shape) < draw.uniform(0, 0.6)
    guess = np.where(wrong, draw.integers(0, len(TAGS), truth.shape), truth)
    length = draw.integers(1, 10, 6)
    known = np.arange(9) < length[:, None]
    cases.append(np.stack([np.where(known, x, -1) for x in (truth, guess)]))
    named = [
        [[TAGS[i] for i in row[:size]] for row, size in zip(x, length, strict=True)]
        for x in (truth, guess)
    ]
    score = [f(*named, zero_division=0) for f in (precision_score, recall_score, f1_score)]
    scores.append(score)
np.savez_compressed(
    Path(__file__).with_name("seqeval.npz"),
    versions=np.array([f"seqeval {version('seqeval')}"]),
    names=np.array(TAGS),
    cases=np.array(cases, np.int8),
    scores=np.array(scores),
)
