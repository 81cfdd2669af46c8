import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.sentence_pairs import sentence_pairs

KEY = jax.random.key(0)
SPECIAL = dict(cls=2, sep=3, eos=6, pad=0)


def corpus(documents=40, sentences=6):
    """Documents of sentences of 2 to 4 words; word w is 10 + its position in the corpus."""
    random = np.random.default_rng(0)
    ids, sentence, document, starts, number = [], [], [], [], 0
    for doc in range(documents):
        starts.append(len(ids))
        for _ in range(sentences):
            size = random.integers(2, 5)
            ids += [10 + len(ids) + i for i in range(size)]
            sentence += [number] * size
            number += 1
        ids.append(6)
        sentence.append(number)
        number += 1
        document += [doc] * (len(ids) - len(document))
    return tuple(map(jnp.asarray, (ids, sentence, document, starts)))


def drawn(key=KEY, length=20, **more):
    ids, sentence, document, starts = corpus()
    made = sentence_pairs(key, ids, sentence, document, starts, length, **(SPECIAL | more))
    return [jax.device_get(x) for x in (*made, ids, sentence, document, starts)]


def parted(row):
    """The positions in the corpus of the two segments of a row."""
    a, b = np.flatnonzero(row == 3)
    assert row[0] == 2 and (row[b + 1 :] == 0).all()
    return row[1:a] - 10, row[a + 1 : b] - 10


def test_a_next_segment_follows_and_a_random_one_is_of_another_document():
    ids, segments, label, _, sentence, document, starts = drawn()
    assert 0.25 < label.mean() < 0.75
    for row, segment, y, start in zip(ids, segments, label, starts, strict=True):
        a, b = parted(row)
        np.testing.assert_array_equal(a, start + np.arange(len(a)))
        np.testing.assert_array_equal(np.diff(b), 1)
        assert len(np.unique(document[a])) == len(np.unique(document[b])) == 1
        assert (document[a[0]] != document[b[0]]) == y
        if not y:
            assert b[0] == a[-1] + 1 and sentence[b[0]] != sentence[a[-1]]
        np.testing.assert_array_equal(segment, np.isin(np.arange(20), len(a) + 2 + np.arange(len(b) + 1)))  # fmt: skip  # noqa: E501


def test_a_random_segment_begins_with_any_sentence_of_its_document():
    ids, _, label, _, sentence, _, starts = drawn(random=1.0, length=24)
    places = np.array([parted(row)[1][0] for row in ids[label == 1]])
    assert (sentence[places] != sentence[places - 1]).all()  # with the first word of one
    assert 0.05 < np.isin(places, starts).mean() < 0.5  # of six sentences, one is the first


def test_texts_fill_the_row_except_short_ones():
    ids, *_ = drawn(random=0.0, short=0.0)
    assert ((ids != 0).sum(1) >= 18).all()  # documents have 12 to 24 words
    ids, *_ = drawn(random=0.0, short=1.0)
    sizes = (ids != 0).sum(1) - 3
    assert sizes.min() < 8 and sizes.max() > 12


def test_the_break_is_at_any_sentence():
    breaks = set()
    for i in range(20):
        ids, *_ = drawn(jax.random.fold_in(KEY, i), random=0.0, short=0.0)
        breaks.add(len(parted(ids[0])[0]))
    _, sentence, _, starts = corpus()
    begins = np.flatnonzero(np.diff(np.asarray(sentence)[: int(starts[1]) - 1])) + 1
    assert breaks == {int(x) for x in begins if x < 17}


def test_a_single_sentence_is_followed_by_a_random_one():
    ids = jnp.array([10, 11, 6, 20, 21, 6])
    sentence, document = jnp.array([0, 0, 1, 2, 2, 3]), jnp.array([0, 0, 0, 1, 1, 1])
    made = sentence_pairs(
        KEY, ids, sentence, document, jnp.array([0, 3]), 9, **SPECIAL, random=0.0, short=0.0
    )
    assert made.label.tolist() == [1, 1]
    assert made.ids[0].tolist() == [2, 10, 11, 3, 20, 21, 3, 0, 0]


def test_the_order_of_segments_is_changed_half_the_time():
    ids, segments, label, _, _, document, starts = drawn(order=True)
    assert 0.25 < label.mean() < 0.75
    for row, y, start in zip(ids, label, starts, strict=True):
        a, b = parted(row)
        first, second = (b, a) if y else (a, b)
        whole = np.concatenate([first, second])
        np.testing.assert_array_equal(whole, start + np.arange(len(whole)))
        assert len(np.unique(document[whole])) == 1


def test_rows_of_one_document_have_no_other_one():
    ids, sentence, document, _ = corpus(1)
    made = sentence_pairs(
        KEY, ids, sentence, document, jnp.zeros(4, int), 12, **SPECIAL, random=1.0
    )
    assert made.label.tolist() == [0] * 4


def test_a_short_result_is_refused():
    with pytest.raises(ValueError, match="length must be at least 5, got 4"):
        drawn(length=4)
