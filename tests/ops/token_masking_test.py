import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.token_masking import (
    document_rotation,
    mlm_mask,
    sentence_permutation,
    text_infilling,
    token_deletion,
    token_masking,
)

KEY = jax.random.key(0)
PAD, MASK = 0, 4


def masked(key, ids, special, **options):
    arguments = jnp.asarray(ids), jnp.asarray(special)
    return map(np.asarray, mlm_mask(key, *arguments, 1000, MASK, **options))


def test_bert_chooses_fifteen_percent_and_hides_most_of_them():
    rng = np.random.default_rng(0)
    ids = rng.integers(10, 1000, (500, 200)).astype(np.int32)
    special = np.zeros(ids.shape, bool)
    special[:, [0, 100]] = True
    for rule in ("static", "dynamic"):
        after, labels, weights = masked(KEY, ids, special, rule=rule)
        chosen = weights.astype(bool)
        n, eligible = chosen.sum(), (~special).sum()
        if rule == "static":
            assert (chosen.sum(1) == 30).all()  # 15 % of 200
        else:
            assert abs(n - 0.15 * eligible) < 4 * np.sqrt(0.15 * 0.85 * eligible)
        assert not chosen[special].any()
        np.testing.assert_array_equal(after[~chosen], ids[~chosen])
        np.testing.assert_array_equal(labels, np.where(chosen, ids, 0))
        shares = {"mask": after == MASK, "same": after == ids}
        # a random word is the mask or the word itself once in a thousand
        wanted = {"mask": 0.8 + 0.1 / 1000, "same": 0.1 + 0.1 / 1000}
        for fate, share in wanted.items():
            error = np.sqrt(share * (1 - share) / n)
            assert abs(shares[fate][chosen].mean() - share) < 4 * error


def test_the_number_chosen_is_that_of_the_code_for_every_length():
    size = 128
    lengths = np.arange(1, size + 1)
    ids = np.where(np.arange(size) < lengths[:, None], 7, PAD).astype(np.int32)
    _, _, weights = masked(KEY, ids, ids == PAD, max_predictions=15)
    wanted = [min(15, max(1, round(0.15 * n))) for n in lengths.tolist()]
    assert weights.sum(1).tolist() == wanted
    assert not weights[ids == PAD].any()


def test_a_sentence_of_special_tokens_is_left_alone():
    ids = np.full((1, 5), 7, np.int32)
    after, _, weights = masked(KEY, ids, np.ones((1, 5), bool))
    np.testing.assert_array_equal(after, ids)
    assert not weights.any()


def test_positions_are_chosen_evenly():
    ids = np.full((2000, 10), 7, np.int32)
    _, _, weights = masked(KEY, ids, np.zeros(ids.shape, bool), rate=0.3)
    error = np.sqrt(0.3 * 0.7 / 2000)
    np.testing.assert_allclose(weights.mean(0), 0.3, atol=4 * error)


def infilled(ids, n, keys=200, **options):
    keys = jax.random.split(KEY, keys)
    fill = jax.jit(jax.vmap(lambda key: text_infilling(key, ids, n, MASK, **options)))
    return map(np.asarray, fill(keys))


@pytest.mark.parametrize(("n", "ratio"), [(20, 0.3), (24, 0.3), (24, 0.05), (1, 1.0)])
def test_infilling_takes_out_exactly_its_share_in_order(n, ratio):
    ids = jnp.where(jnp.arange(24) < n, jnp.arange(10, 34), PAD)
    documents, lengths = infilled(ids, n, ratio=ratio)
    budget = math.ceil(ratio * n)
    for document, length in zip(documents, lengths, strict=True):
        text, padding = document[:length], document[length:]
        assert (padding == PAD).all()
        kept = text[text >= 10]
        assert len(kept) == n - budget
        assert (np.diff(kept) > 0).all()
        assert ((text == MASK) | (text >= 10)).all()
        # where tokens are missing there is at least one mask
        fences = np.concatenate([[9], text, [10 + n]])
        gaps = np.diff(fences[fences >= 9]) - 1
        between = np.diff(np.flatnonzero(fences >= 9)) - 1
        assert (between[gaps > 0] >= 1).all()
    assert len({document.tobytes() for document in documents}) > 1 or n == 1


def test_the_share_is_rounded_up_and_not_beyond():
    lengths = jnp.arange(1, 121)
    fill = jax.vmap(lambda n: text_infilling(KEY, jnp.arange(10, 130), n, MASK)[0])
    kept = (np.asarray(jax.jit(fill)(lengths)) >= 10).sum(1)
    wanted = [n - math.ceil(Fraction(3, 10) * n) for n in range(1, 121)]
    assert kept.tolist() == wanted


def test_spans_are_three_long_on_average_and_placed_evenly():
    n = 1500
    documents, lengths = infilled(jnp.arange(10, 10 + n), n, keys=50)
    masks = (documents == MASK).sum(1)
    np.testing.assert_array_equal(lengths, n - 450 + masks)
    # 450 / 3 masks, and a deviation of sqrt(150 / 3) for each of 50 documents
    np.testing.assert_allclose(masks.mean(), 150, atol=4 * np.sqrt(50 / 50) + 1)
    lost = 1 - np.bincount(documents[documents >= 10] - 10, minlength=n) / 50
    thirds = lost.reshape(3, -1).mean(1)
    np.testing.assert_allclose(thirds, 0.3, atol=0.03)


def test_masks_without_length_are_inserted():
    # spans of mean length 0.5: six in ten of them are empty
    documents, lengths = infilled(
        jnp.arange(10, 40), 15, ratio=0.4, mean_span=0.5, keys=100
    )
    assert ((documents == MASK).sum(1) > 6).mean() > 0.5
    assert lengths.max() <= 30


def test_no_document_outgrows_its_array():
    documents, lengths = infilled(jnp.arange(10, 20), 10, ratio=0.1, mean_span=0.1)
    assert lengths.max() <= 10
    assert ((documents >= 10).sum(1) == 9).all()
    assert ((documents == MASK).sum(1) == 1).all()


def test_with_nothing_to_take_a_document_is_unchanged():
    ids = jnp.arange(10, 20)
    document, n = text_infilling(KEY, ids, 10, MASK, ratio=0.0)
    np.testing.assert_array_equal(document, ids)
    assert n == 10
    document, n = text_infilling(KEY, jnp.zeros(4, int), 0, MASK)
    assert not document.any()
    assert n == 0


def test_wrong_arguments_are_refused(unhooked):
    ids = jnp.ones((2, 3), int)
    with pytest.raises(ValueError, match="static or dynamic, got 'all'"):
        mlm_mask(KEY, ids, ids > 1, 10, MASK, rule="all")
    with pytest.raises(ValueError, match=r"special must be bool\[n=2, l=3\]"):
        mlm_mask(KEY, ids, ids, 10, MASK)
    with pytest.raises(ValueError, match=r"ids must be int\[l\]"):
        text_infilling(KEY, ids, 3, MASK)


def test_whole_words_are_chosen_up_to_the_number_of_tokens():
    """Words of one to three tokens, between special ones."""
    random = np.random.default_rng(0)
    n, length = 400, 24
    continues = random.random((n, length)) < 0.5
    continues &= ~np.roll(continues & np.roll(continues, 1, 1), 1, 1)  # at most three
    special = np.zeros((n, length), bool)
    special[:, [0, 11, 23]] = True
    continues[:, [1, 12]] = False
    ids = random.integers(10, 90, (n, length))
    found = mlm_mask(
        jax.random.key(0), jnp.asarray(ids), jnp.asarray(special), 90, 4,
        rate=0.25, continues=jnp.asarray(continues & ~special),
    )  # fmt: skip
    chosen = np.asarray(found.weights) > 0
    follows = continues & ~special
    assert (chosen[:, 1:] == chosen[:, :-1])[follows[:, 1:]].all()
    assert not chosen[special].any()
    counts = chosen.sum(1)
    assert counts.min() >= 1 and counts.max() <= 6
    assert counts.mean() > 4.5  # the next word does not fit
    np.testing.assert_array_equal(np.asarray(found.labels)[chosen], ids[chosen])
    shares = chosen.mean(0)[~special[0]]
    assert shares.max() - shares.min() < 0.12  # of every place alike


def test_words_of_one_token_are_chosen_as_tokens_are():
    ids, special = jnp.arange(10, 50)[None], jnp.zeros((1, 40), bool)
    how = dict(vocabulary=50, mask_id=4)
    plain = mlm_mask(jax.random.key(1), ids, special, **how)
    words = mlm_mask(jax.random.key(1), ids, special, continues=special, **how)
    np.testing.assert_array_equal(plain.ids, words.ids)


IDS = jnp.where(jnp.arange(24) < 20, jnp.arange(10, 34), PAD)  # 20 tokens
SENTENCE = jnp.array([3] * 4 + [4] + [7] * 6 + [8] * 2 + [9] * 7 + [9] * 4)
STARTS = [0, 4, 5, 11, 13, 20]


def draws(function, keys=400):
    return jax.jit(jax.vmap(function))(jax.random.split(KEY, keys))


@pytest.mark.parametrize("ratio", [0.0, 0.15, 0.5, 1.0])
def test_masking_hides_its_share_and_deletion_takes_it_out(ratio):
    masked = np.asarray(draws(lambda key: token_masking(key, IDS, 20, MASK, ratio=ratio)))
    count = math.ceil(Fraction(ratio).limit_denominator(100) * 20)
    assert ((masked == MASK).sum(1) == count).all()
    np.testing.assert_array_equal(
        masked[masked != MASK], np.tile(IDS, (400, 1))[masked != MASK]
    )
    shares = (masked == MASK).mean(0)
    error = np.sqrt(max(ratio * (1 - ratio), 1e-9) / 400)
    np.testing.assert_allclose(shares[:20], count / 20, atol=4 * error + 1e-9)
    assert not shares[20:].any()
    short, n = map(np.asarray, draws(lambda key: token_deletion(key, IDS, 20, ratio=ratio)))
    assert (n == 20 - count).all()
    assert ((short != PAD).sum(1) == n).all() and (short[:, 20:] == PAD).all()
    for row, size in zip(short, n, strict=True):
        assert (row[size:] == PAD).all() and (np.diff(row[:size]) > 0).all()
    left = (short[..., None] == np.asarray(IDS[:20])).any(1).mean(0)
    np.testing.assert_allclose(left, 1 - count / 20, atol=4 * error + 1e-9)


def in_sentences(row):
    """Sentences of the document by their first token, in the order of a permuted row."""
    first = {
        int(IDS[i]): IDS[i:j].tolist() for i, j in zip(STARTS, STARTS[1:], strict=False)
    }
    found, i = [], 0
    while i < 20:
        own = first[int(row[i])]
        assert row[i : i + len(own)].tolist() == own
        found.append(STARTS.index(own[0] - 10))
        i += len(own)
    return tuple(found)


def test_sentences_are_permuted_as_wholes_and_evenly():
    rows = np.asarray(draws(lambda key: sentence_permutation(key, IDS, 20, SENTENCE), 2400))
    assert (rows[:, 20:] == PAD).all()
    orders = [in_sentences(row) for row in rows]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == math.factorial(5)
    assert ((counts - 20) ** 2 / 20).sum() < 119 + 4 * math.sqrt(2 * 119)


def test_a_share_of_the_sentences_change_places_among_themselves():
    rows = np.asarray(
        draws(lambda key: sentence_permutation(key, IDS, 20, SENTENCE, ratio=0.4), 600)
    )
    orders = np.array([in_sentences(row) for row in rows])
    moved = (orders != np.arange(5)).sum(1)
    assert set(moved) == {0, 2}  # two are chosen, and stay in half of the cases
    assert abs((moved == 2).mean() - 0.5) < 4 * np.sqrt(0.25 / 600)
    still = sentence_permutation(KEY, IDS, 20, SENTENCE, ratio=0.0)
    np.testing.assert_array_equal(still, IDS)


def test_a_rotation_is_a_cyclic_shift_by_every_number_of_tokens():
    rows = np.asarray(draws(lambda key: document_rotation(key, IDS, 20), 2000))
    assert (rows[:, 20:] == PAD).all()
    offsets = rows[:, 0] - 10
    for row, offset in zip(rows, offsets, strict=True):
        np.testing.assert_array_equal(np.roll(row[:20], offset), IDS[:20])
    counts = np.bincount(offsets, minlength=20)
    assert len(counts) == 20
    assert ((counts - 100) ** 2 / 100).sum() < 19 + 4 * math.sqrt(2 * 19)


def test_an_empty_document_stays_empty():
    empty = jnp.zeros(6, int)
    sentence = jnp.zeros(6, int)
    assert not document_rotation(KEY, empty, 0).any()
    assert not sentence_permutation(KEY, empty, 0, sentence).any()
    assert not token_masking(KEY, empty, 0, MASK).any()
    short, n = token_deletion(KEY, empty, 0)
    assert not short.any() and n == 0


def test_poisson_lengths_of_zero_have_their_probability(monkeypatch):
    """The lengths before they are cut: mean 3, and e^-3 of them 0."""
    from jssl.ops import token_masking as module

    seen = []
    real = jax.random.poisson
    monkeypatch.setattr(
        module.jax.random, "poisson", lambda *a: seen.append(real(*a)) or seen[-1]
    )
    text_infilling(KEY, jnp.ones(4000, int), 4000, MASK)
    (lengths,) = map(np.asarray, seen)
    assert abs(lengths.mean() - 3) < 4 * np.sqrt(3 / 4000)
    p = math.exp(-3)
    assert abs((lengths == 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / 4000)
