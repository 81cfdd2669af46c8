"""Makes squad.npz: exact match and F1 of transformers' SQuAD metrics, of made-up answers.

python -m venv other && other/bin/pip install 'transformers<5'
other/bin/python tests/golden/make_squad.py
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from transformers.data.metrics.squad_metrics import compute_exact, compute_f1

WORDS = ("the", "a", "An", "cat", "Cat,", "sat", "sat.", "down", "U.S.", "us", "co-op",
         "don't", "THE", "1,000", ",")  # fmt: skip
draw = np.random.default_rng(0)


def phrase():
    return " ".join(draw.choice(WORDS, draw.integers(0, 6)))


rows = []
for _ in range(300):
    references = [phrase() for _ in range(draw.integers(1, 4))]
    guess = phrase() if draw.random() < 0.5 else references[0].upper() + "!"
    exact = max(compute_exact(each, guess) for each in references)
    f1 = max(compute_f1(each, guess) for each in references)
    rows.append((guess, "|".join(references), exact, f1))
guesses, references, exact, f1 = zip(*rows, strict=True)
np.savez_compressed(
    Path(__file__).with_name("squad.npz"),
    versions=np.array([f"transformers {version('transformers')}"]),
    guesses=np.array(guesses),
    references=np.array(references),
    exact=np.array(exact),
    f1=np.array(f1),
)
