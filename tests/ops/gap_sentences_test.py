import jax
import numpy as np
import pytest

from jssl.ops.gap_sentences import gap_sentences, rouge_n, select_gap_sentences

KEY = jax.random.key(0)
MASK, EOS = 4, 6


@pytest.fixture
def document():
    rng = np.random.default_rng(0)
    return [rng.integers(10, 25, rng.integers(2, 7)).tolist() for _ in range(9)]


def overlap(a, b, n, unique):
    """ROUGE-n F1, by crossing out n-grams one at a time."""
    a = [tuple(a[i : i + n]) for i in range(len(a) - n + 1)]
    b = [tuple(b[i : i + n]) for i in range(len(b) - n + 1)]
    if unique:
        a, b = list(set(a)), list(set(b))
    left, shared = list(b), 0
    for gram in a:
        if gram in left:
            left.remove(gram)
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(a), shared / len(b)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize("n", [1, 2])
def test_rouge_counts_n_grams_that_both_have(document, n, unique):
    for a in document:
        for b in document:
            f1 = rouge_n(a, b, n, unique)[2]
            np.testing.assert_allclose(f1, overlap(a, b, n, unique), rtol=1e-12)


def test_rouge_of_nothing_is_zero():
    assert rouge_n([], [1, 2]) == (0, 0, 0)
    assert rouge_n([1], [1], n=2) == (0, 0, 0)
    assert rouge_n([1, 2], [1, 2]) == (1, 1, 1)


@pytest.mark.parametrize("strategy", ["random", "lead", "principal-ind", "principal-seq"])
def test_the_number_of_sentences_is_that_of_the_code(strategy):
    for s in range(1, 21):
        sentences = [[i, i + 1, 7] for i in range(s)]
        chosen = select_gap_sentences(KEY, sentences, 0.3, strategy)
        assert len(chosen) == len(set(chosen)) == min(max(int(s * 0.3), 1), s)
        assert chosen == sorted(chosen)
    assert select_gap_sentences(KEY, sentences, 1.0, strategy) == list(range(20))


@pytest.mark.parametrize("unique", [False, True])
def test_principal_sentences_score_best_against_the_rest(document, unique):
    scores = [
        overlap(s, sum(document[:i] + document[i + 1 :], []), 1, unique)
        for i, s in enumerate(document)
    ]
    ranking = np.argsort(-np.round(scores, 9), kind="stable")
    best = sorted(ranking[:3].tolist())
    chosen = select_gap_sentences(KEY, document, 0.34, unique=unique)
    assert chosen == best


def test_sequential_choice_scores_the_selection_as_a_whole(document):
    first, second = None, None
    for i in range(9):
        rest = sum((s for j, s in enumerate(document) if j != i), [])
        score = overlap(document[i], rest, 1, False)
        first = max(first or (0.0, -1), (score, i), key=lambda pair: pair[0])
    for i in set(range(9)) - {first[1]}:
        taken = sorted([i, first[1]])
        rest = sum((s for j, s in enumerate(document) if j not in taken), [])
        score = overlap(sum((document[j] for j in taken), []), rest, 1, False)
        second = max(second or (0.0, -1), (score, i), key=lambda pair: pair[0])
    chosen = select_gap_sentences(KEY, document, 0.23, "principal-seq")
    assert chosen == sorted([first[1], second[1]])


def test_one_sentence_is_chosen_alike_in_sequence_and_alone(document):
    alone, in_sequence = (
        select_gap_sentences(KEY, document, 0.12, strategy)
        for strategy in ("principal-ind", "principal-seq")
    )
    assert alone == in_sequence


def test_randomness_follows_the_key(document):
    def draw(seed, **options):
        return tuple(select_gap_sentences(jax.random.key(seed), document, **options))

    assert draw(1, strategy="random") == draw(1, strategy="random")
    assert len({draw(seed, strategy="random") for seed in range(10)}) > 1
    assert len({draw(seed, noise=0.2) for seed in range(10)}) > 1
    assert len({draw(seed) for seed in range(3)}) == 1


def test_input_and_target_are_the_document_between_them(document):
    chosen = select_gap_sentences(KEY, document)
    shown, target = gap_sentences(KEY, document, chosen, MASK, EOS)
    assert shown.count(MASK) == len(chosen)
    assert target[-1] == EOS
    assert target[:-1] == sum((document[i] for i in chosen), [])
    tokens = [token for token in shown if token != MASK] + target[:-1]
    assert sorted(tokens) == sorted(sum(document, []))


def test_some_chosen_sentences_stay_in_sight():
    document = [[10 + i] for i in range(2000)]
    shown, target = gap_sentences(KEY, document, range(2000), MASK, EOS, keep=0.1)
    assert len(target) == 2001
    kept = len(shown) - shown.count(MASK)
    assert abs(kept - 200) < 4 * np.sqrt(2000 * 0.1 * 0.9)


def test_an_unknown_strategy_is_refused(document):
    with pytest.raises(ValueError, match=r"one of random, lead, .* got 'best'"):
        select_gap_sentences(KEY, document, strategy="best")
