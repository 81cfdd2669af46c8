"""Skip-gram with negative sampling: a word's neighbours told from five drawn as noise.

Text: the topics of Python's own help (`pydoc_data.topics`), over and over. Width 100,
windows of up to 5 words either side, drawn shorter at random, words seen 5 times or more,
noise by count^(3/4), rate 0.025, float32, no subsampling; a unit is a word of the text.
Same: pairs of a word and five negatives each, and what follows a pair for its vectors.
Different: gensim's two workers update the tables without locks pair by pair, its sigmoid
is a table; ours takes the pairs of a thousand words at a time, whose gradients it adds up
before it moves (loss `jssl.losses.negative_sampling`, noise `jssl.ops.word2vec`).
"""

import re

from peers.pair import Pair, Work

WIDTH, WINDOW, NEGATIVES, RATE, SEEN = 100, 5, 5, 0.025, 5
WORDS = 1000  # a step of ours


def text(quick):
    """Sentences, each a list of words; the text again and again, to one and a half
    million words."""
    from pydoc_data.topics import topics

    sentences = "\n".join(topics.values()).lower().split(".")
    lines = [re.findall("[a-z]+", sentence) for sentence in sentences]
    lines = [line for line in lines if len(line) > 1]
    return lines[:40] if quick else lines * (1_500_000 // sum(map(len, lines)) + 1)


def vocabulary(sentences):
    """{word: number}, and the counts, the most frequent first."""
    from collections import Counter

    counts = Counter(word for line in sentences for word in line)
    kept = [(word, n) for word, n in counts.most_common() if n >= SEEN]
    return {word: i for i, (word, _) in enumerate(kept)}, [n for _, n in kept]


def numbered(sentences, known):
    """Every kept word's number, and the sentence that it stands in."""
    import numpy as np

    pairs = [
        (known[word], i)
        for i, line in enumerate(sentences)
        for word in line
        if word in known
    ]
    return np.array(pairs, np.int32).T


def neighbours(word, sentence, begin, count, draw):
    """(centre, neighbour) of the words from `begin` on, within windows drawn at random."""
    import numpy as np

    at = np.arange(begin, min(begin + count, len(word)))
    reach = draw.integers(1, WINDOW + 1, len(at))
    offsets = np.r_[-WINDOW:0, 1 : WINDOW + 1]
    place = at[:, None] + offsets  # [count, 2 WINDOW]
    there = (np.abs(offsets) <= reach[:, None]) & (place >= 0) & (place < len(word))
    place = np.clip(place, 0, len(word) - 1)
    there &= sentence[place] == sentence[at][:, None]
    centre = np.broadcast_to(word[at][:, None], place.shape)
    return centre[there], word[place][there]


def ours(quick):
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jssl.losses import negative_sampling
    from jssl.ops.word2vec import noise_distribution

    sentences = text(quick)
    known, counts = vocabulary(sentences)
    word, sentence = numbered(sentences, known)
    draw, begin = np.random.default_rng(0), 0
    key, wide = jax.random.key(0), 2 * WINDOW * WORDS
    sums = jnp.cumsum(noise_distribution(jnp.asarray(counts)))
    inputs = jax.random.uniform(key, (len(counts), WIDTH), minval=-0.5, maxval=0.5) / WIDTH

    @jax.jit
    def step(tables, key, pairs, size):
        """Pairs [2, wide], of which `size` count: the others have no centre."""
        there = (jnp.arange(wide) < size)[:, None]
        drawn = jax.random.uniform(key, (wide, NEGATIVES))
        negatives = jnp.searchsorted(sums, drawn * sums[-1]).astype(jnp.int32)

        def loss(tables):
            inputs, outputs = tables
            h = jnp.where(there, inputs[pairs[0]], 0)
            return wide * negative_sampling(h, outputs, pairs[1], negatives)

        value, slope = jax.value_and_grad(loss)(tables)
        tables = jax.tree.map(lambda x, g: x - RATE * g, tables, slope)
        return tables, value / wide

    tables, last, count = (inputs, jnp.zeros_like(inputs)), 0.0, 0

    def call():
        nonlocal tables, last, begin, count
        centre, near = neighbours(word, sentence, begin, WORDS, draw)
        pairs = np.zeros((2, wide), np.int32)
        pairs[:, : len(centre)] = centre, near
        before, size = last, np.int32(len(centre))
        tables, last = step(tables, jax.random.fold_in(key, count), pairs, size)
        float(before)  # waits for the step before
        begin, count = (begin + WORDS) % max(len(word) - WORDS, 1), count + 1

    notes = lambda: {"loss": float(last), "vocabulary": len(counts)}
    return Work(call, min(WORDS, len(word)), notes=notes)


def theirs(workers, quick):
    from gensim.models import Word2Vec

    sentences = text(quick)
    net = Word2Vec(
        vector_size=WIDTH,
        window=WINDOW,
        negative=NEGATIVES,
        sg=1,
        alpha=RATE,
        min_alpha=RATE,
        sample=0,
        min_count=SEEN,
        workers=workers,
    )
    net.build_vocab(sentences)
    kept = sum(net.wv.get_vecattr(word, "count") for word in net.wv.key_to_index)

    def call():
        net.train(sentences, total_examples=len(sentences), epochs=1)

    return Work(call, kept, warm=1, notes=lambda: {"vocabulary": len(net.wv)})


PAIRS = {
    "skip-gram": Pair("word", ours, {"gensim, 2 workers": lambda q: theirs(2, q)}, target=1)
}
