"""Framed texts: where they begin and end, of pairs, of cut texts, of any filling."""

import jax.numpy as jnp
import numpy as np

from jssl.ops.framing import framed

PAD, CLS, SEP, BOS, EOS = 0, 2, 3, 5, 6
ROWS = jnp.array([[9, 8, EOS, PAD, PAD], [9, SEP, 8, 7, EOS], [9, SEP, 8, 7, 11]])


def test_bert_has_a_separator_behind_each_text():
    x = framed(ROWS, begin=CLS, end=SEP, sep=SEP, eos=EOS)
    assert x.ids.tolist() == [
        [CLS, 9, 8, SEP, PAD, PAD],
        [CLS, 9, SEP, 8, 7, SEP],
        [CLS, 9, SEP, 8, 7, SEP],  # the text is longer than the row
    ]
    assert x.segments.tolist() == [[0] * 6, [0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1]]
    assert x.size.tolist() == [4, 6, 6]
    assert x.inner[0].tolist() == [False, True, True, False, False, False]
    np.testing.assert_array_equal(x.there, x.ids != PAD)


def test_gpt_ends_with_a_token_of_its_own():
    x = framed(ROWS[:2], begin=BOS, end=EOS, sep=SEP, eos=EOS)
    assert x.ids.tolist() == [[BOS, 9, 8, EOS, PAD, PAD], [BOS, 9, SEP, 8, 7, EOS]]
    assert x.segments.tolist() == [[0] * 6, [0, 0, 0, 1, 1, 1]]


def test_pegasus_has_no_token_before_a_text():
    x = framed(ROWS, begin=None, end=EOS, sep=SEP, eos=EOS)
    assert x.ids.tolist() == [
        [9, 8, EOS, PAD, PAD],
        [9, SEP, 8, 7, EOS],
        [9, SEP, 8, 7, EOS],  # the text is longer than the row
    ]
    assert x.size.tolist() == [3, 5, 5] and x.first == 0
    assert x.segments.tolist() == [[0] * 5, [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]]
    assert x.inner[0].tolist() == [True, True, False, False, False]


def test_one_token_may_be_all_special_ones_as_in_gpt2():
    """Filling is then a token of text, 0, which is known by its place."""
    rows = jnp.array([[9, 0, 1, 8, 1, 0, 0]])
    x = framed(rows, begin=1, end=1, sep=1, eos=1)
    assert x.ids.tolist() == [[1, 9, 0, 1, 8, 1, 0, 0]]
    assert x.segments.tolist() == [[0, 0, 0, 0, 1, 1, 0, 0]]
    assert x.size.tolist() == [6]


def test_the_padding_may_be_another_token_than_the_filling():
    x = framed(ROWS[:1], begin=7, end=8, sep=8, eos=EOS, pad=1)
    assert x.ids.tolist() == [[7, 9, 8, 8, 1, 1]]
    assert x.there[0].tolist() == [True] * 4 + [False] * 2
