import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.gap_sentences import STRATEGIES, gap_sentences, select_gap_sentences

KEY = jax.random.key(0)
PAD, MASK = 0, 4
SIZE = 64  # of the array of a document


@pytest.fixture
def document():
    rng = np.random.default_rng(0)
    return [rng.integers(10, 25, rng.integers(2, 7)).tolist() for _ in range(9)]


def joined(sentences, indices=None):
    indices = range(len(sentences)) if indices is None else indices
    return [token for i in sorted(indices) for token in sentences[i]]


def padded(sentences):
    """A document as arrays, with numbers of sentences from 3 on."""
    ids = joined(sentences)
    numbers = [3 + i for i, x in enumerate(sentences) for _ in x]
    room = SIZE - len(ids)
    return (
        jnp.array([*ids, *[PAD] * room]),
        len(ids),
        jnp.array([*numbers, *[3 + len(sentences)] * room]),
    )


select_compiled = jax.jit(
    select_gap_sentences, static_argnames=("strategy", "unique", "noise")
)


def selected(key, sentences, ratio=0.3, strategy="principal-ind", **more):
    chosen = select_compiled(
        key, *padded(sentences), ratio=ratio, strategy=strategy, **more
    )
    return np.flatnonzero(chosen).tolist()


def overlap(a, b, unique):
    """ROUGE-1 F1, by crossing out words one at a time."""
    if unique:
        a, b = list(set(a)), list(set(b))
    left, shared = list(b), 0
    for word in a:
        if word in left:
            left.remove(word)
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(a), shared / len(b)
    return 2 * precision * recall / (precision + recall)


def principal(sentences, wanted, sequential, unique):
    """The choice of the paper, sentence by sentence; of equal scores the first."""
    taken = set()
    for _ in range(wanted):
        scores = {}
        for i in set(range(len(sentences))) - taken:
            own = {i} | (taken if sequential else set())
            rest = set(range(len(sentences))) - own
            score = overlap(joined(sentences, own), joined(sentences, rest), unique)
            scores[i] = round(score, 7)
        taken.add(min(scores, key=lambda i: (-scores[i], i)))
    return sorted(taken)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_number_of_sentences_is_that_of_the_code(strategy):
    for s in range(1, 21):
        sentences = [[10 + i, 11 + i, 7] for i in range(s)]
        chosen = selected(KEY, sentences, 0.3, strategy)
        assert len(chosen) == min(max(int(s * 0.3), 1), s)
        assert max(chosen) < s
    assert selected(KEY, sentences, 1.0, strategy) == list(range(20))


@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize("strategy", ["principal-ind", "principal-seq"])
def test_principal_sentences_score_best_against_the_rest(strategy, unique):
    rng = np.random.default_rng(1)
    for _ in range(20):
        sentences = [
            rng.integers(10, 22, rng.integers(1, 7)).tolist()
            for _ in range(rng.integers(2, 10))
        ]
        for ratio in (0.34, 0.5):
            wanted = min(max(int(len(sentences) * ratio), 1), len(sentences))
            sequential = strategy == "principal-seq"
            found = selected(KEY, sentences, ratio, strategy, unique=unique)
            assert found == principal(sentences, wanted, sequential, unique)


def test_words_are_counted_once_or_as_often_as_they_occur():
    """F1 of the sentences 6/11, 4/11 and 8/11; of their sets 2/5, 4/6 and 4/6."""
    sentences = [[10, 10, 10], [10, 11, 20], [10, 10, 10, 11, 12]]
    assert selected(KEY, sentences, 0.4) == [2]
    assert selected(KEY, sentences, 0.4, unique=True) == [1]


def test_one_sentence_is_chosen_alike_in_sequence_and_alone(document):
    alone, in_sequence = (
        selected(KEY, document, 0.12, strategy)
        for strategy in ("principal-ind", "principal-seq")
    )
    assert alone == in_sequence
    assert selected(KEY, document, 0.5, "lead") == [0, 1, 2, 3]


def test_randomness_follows_the_key(document):
    def draw(seed, **options):
        return tuple(selected(jax.random.key(seed), document, **options))

    assert draw(1, strategy="random") == draw(1, strategy="random")
    assert len({draw(seed, strategy="random") for seed in range(10)}) > 1
    assert len({draw(seed, noise=0.2) for seed in range(10)}) > 1
    assert len({draw(seed) for seed in range(3)}) == 1
    shares = np.zeros(9)
    for seed in range(300):
        shares[list(draw(seed, strategy="random"))] += 1 / 300
    np.testing.assert_allclose(shares, 2 / 9, atol=4 * np.sqrt(2 / 9 * 7 / 9 / 300))


def test_input_and_target_are_the_document_between_them(document):
    arrays = padded(document)
    chosen = select_gap_sentences(KEY, *arrays)
    source, target = map(np.asarray, gap_sentences(KEY, *arrays, chosen, MASK))
    found = np.flatnonzero(chosen).tolist()
    wanted = [[MASK] if i in found else x for i, x in enumerate(document)]
    assert source[source != PAD].tolist() == joined(wanted)
    assert target[target != PAD].tolist() == joined(document, found)
    for row in (source, target):  # padding is behind
        assert (np.diff((row != PAD).astype(int)) <= 0).all()


def test_some_chosen_sentences_stay_in_sight():
    ids, sentence = jnp.arange(10, 2010), jnp.arange(2000)
    every = jnp.ones(2000, bool)
    source, target = gap_sentences(KEY, ids, 2000, sentence, every, MASK, keep=0.1)
    np.testing.assert_array_equal(target, ids)
    kept = (source != MASK).sum()
    assert abs(kept - 200) < 4 * np.sqrt(2000 * 0.1 * 0.9)


def test_an_empty_document_has_no_gaps():
    empty = jnp.zeros(5, int)
    for strategy in STRATEGIES:
        chosen = select_gap_sentences(KEY, empty, 0, empty, strategy=strategy)
        assert not chosen.any()
        for row in gap_sentences(KEY, empty, 0, empty, chosen, MASK):
            assert not row.any()


def test_an_unknown_strategy_is_refused(document):
    with pytest.raises(ValueError, match=r"one of random, lead, .* got 'best'"):
        select_gap_sentences(KEY, *padded(document), strategy="best")
