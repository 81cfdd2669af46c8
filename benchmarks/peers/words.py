"""Skip-gram with negative sampling: a word's neighbours told from five drawn as noise.

Text: the topics of Python's own help (`pydoc_data.topics`), over and over. Width 100,
windows of up to 5 words either side, drawn shorter at random, words seen 5 times or more,
noise by count^(3/4), rate 0.025, float32, no subsampling; a unit is a word of the text.
Same: pairs of a word and five negatives each, plain descent by the sum over the pairs.
Different: gensim draws the negatives anew for each pair; our method word2vec draws twenty
for a row of 32 words, each of which stands for its share of the negatives of all pairs.
gensim's two workers move the tables pair by pair and without locks, its sigmoid is a table;
ours adds up the gradients of two rows before it moves. Windows of ours go over the ends of
sentences, and have more pairs. What either side learned in its time is noted as its loss on
the same pairs, 4.16 at the start, beside the words that it saw.
"""

import re

from peers.pair import Pair, Work

WIDTH, WINDOW, NEGATIVES, RATE, SEEN = 100, 5, 5, 0.025, 5
ROW, ROWS, PART, SHARED = 32, 64, 2, 20  # words of a row, rows of a step and of an update


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


def windows(word, sentence, begin, count, draw):
    """(centre [n], window [n, 2 WINDOW], mask) of the words from `begin` on: the mask is 1
    where a neighbour stands within a reach drawn at random."""
    import numpy as np

    at = np.arange(begin, min(begin + count, len(word)))
    reach = draw.integers(1, WINDOW + 1, len(at))
    offsets = np.r_[-WINDOW:0, 1 : WINDOW + 1]
    place = at[:, None] + offsets
    there = (np.abs(offsets) <= reach[:, None]) & (place >= 0) & (place < len(word))
    place = np.clip(place, 0, len(word) - 1)
    there &= sentence[place] == sentence[at][:, None]
    return word[at], word[place], there


def judged(inputs, outputs, sentences):
    """The mean loss of pairs of the first words, of tables in `vocabulary`'s order."""
    import numpy as np

    known, counts = vocabulary(sentences)
    word, sentence = numbered(sentences, known)
    draw, noise = np.random.default_rng(1), np.array(counts) ** 0.75
    center, window, there = windows(word, sentence, 0, 10_000, draw)
    center, near = np.repeat(center, there.sum(1)), window[there]
    wrong = draw.choice(len(noise), (len(near), NEGATIVES), p=noise / noise.sum())
    h, counted = inputs[center], wrong != near[:, None]
    right = np.einsum("nd,nd->n", h, outputs[near])
    false = np.einsum("nd,nkd->nk", h, outputs[wrong])
    nats = np.logaddexp(0, -right) + (np.logaddexp(0, false) * counted).sum(1)
    return float(nats.mean())


def ours(quick):
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from jssl.knobs import window
    from jssl.methods.language.word2vec import word2vec

    sentences = text(quick)
    known, counts = vocabulary(sentences)
    word, _ = numbered(sentences, known)
    method = word2vec(
        np.array(counts),
        WIDTH,
        optax.constant_schedule(RATE),
        prepare=window(ROW),
        window=WINDOW,
        negatives=NEGATIVES,
        shared=SHARED,
        sample=0.0,
        rows=PART,
    )
    starts = np.arange(0, len(word) - ROW, ROW, dtype=np.int32)
    rows = min(ROWS, len(starts) // PART * PART)
    corpus, count, last = jnp.asarray(word), 0, 0.0
    state = jax.jit(method.init)(jax.random.key(0), None)
    key = jax.random.key(1)

    def move(key, state, start):
        return method.step(key, state, {"corpus": corpus, "start": start})

    step = jax.jit(move, donate_argnums=1)

    def call():
        nonlocal state, last, count
        before, at = last, (count * rows + np.arange(rows)) % len(starts)
        state, metrics = step(jax.random.fold_in(key, count), state, starts[at])
        float(before)  # waits for the step before
        last, count = metrics["loss"], count + 1

    def notes():
        tables = (np.asarray(state.params[x]) for x in ("inputs", "outputs"))
        loss = judged(*tables, sentences)
        return {"loss": loss, "words": count * rows * ROW, "vocabulary": len(counts)}

    return Work(call, rows * ROW, notes=notes)


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
    kept = sum(int(net.wv.get_vecattr(word, "count")) for word in net.wv.key_to_index)
    seen = 0

    def call():
        nonlocal seen
        net.train(sentences, total_examples=len(sentences), epochs=1)
        seen += kept

    def notes():
        order = [net.wv.key_to_index[word] for word in vocabulary(sentences)[0]]
        loss = judged(net.wv.vectors[order], net.syn1neg[order], sentences)
        return {"loss": loss, "words": seen, "vocabulary": len(net.wv)}

    return Work(call, kept, warm=1, calls=1, notes=notes)


PAIRS = {
    "skip-gram": Pair("word", ours, {"gensim, 2 workers": lambda q: theirs(2, q)}, target=1)
}
