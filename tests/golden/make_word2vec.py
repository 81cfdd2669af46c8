"""Makes word2vec.npz: updates of gensim's word2vec, of sentences of two words.

python -m venv other && other/bin/pip install gensim
other/bin/python tests/golden/make_word2vec.py

All negatives are the most frequent word, whose count to the power `ns_exponent` exceeds
those of the others a billion times.
"""

from pathlib import Path

import gensim
import numpy as np
from gensim.models import Word2Vec

COUNTS = {"a": 1000, "b": 40, "c": 20, "d": 9, "e": 4}
ALPHA, WIDTH = 1e-3, 8
draw = np.random.default_rng(0)


def half(*shape):
    """Numbers that float16 has."""
    return draw.normal(0, 0.7, shape).astype(np.float16).astype(np.float32)


found = {
    "versions": np.array([f"gensim {gensim.__version__}, numpy {np.__version__}"]),
    "counts": np.array(list(COUNTS.values())),
    "alpha": np.float32(ALPHA),
    "inputs": half(len(COUNTS), WIDTH),
    "outputs": half(len(COUNTS), WIDTH),
    "sentence": np.array([3, 1]),  # d b
}
SETTINGS = {
    "skipgram-negative": dict(sg=1, negative=3, hs=0),
    "cbow-negative": dict(sg=0, negative=3, hs=0),
    "skipgram-hierarchical": dict(sg=1, negative=0, hs=1),
    "cbow-hierarchical": dict(sg=0, negative=0, hs=1),
}
for name, setting in SETTINGS.items():
    model = Word2Vec(
        vector_size=WIDTH,
        window=1,
        min_count=1,
        sample=0,
        alpha=ALPHA,
        min_alpha=ALPHA,
        ns_exponent=5.0,
        workers=1,
        **setting,
    )
    model.build_vocab_from_freq(COUNTS)
    assert model.wv.index_to_key == list(COUNTS)
    table = "syn1" if setting["hs"] else "syn1neg"
    model.wv.vectors[:] = found["inputs"]
    getattr(model, table)[:] = found["outputs"][: len(getattr(model, table))]
    model.train([["d", "b"]], total_examples=1, epochs=1)
    after = getattr(model, table)
    found[f"{name}/inputs"] = (model.wv.vectors - found["inputs"]) / ALPHA
    found[f"{name}/outputs"] = (after - found["outputs"][: len(after)]) / ALPHA
path = Path(__file__).with_name("word2vec.npz")
np.savez_compressed(path, **found)
print(f"{path}: {path.stat().st_size:,} bytes, {len(found)} arrays")
