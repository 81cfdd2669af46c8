"""Captions of digits: words of what is measured from the pixels."""

import numpy as np
import pytest

from jssl.data import columns, load
from jssl.data.captioned import words
from jssl.data.described import GROUNDS, NAMES, WORDS, measured


@pytest.fixture(scope="module")
def train():
    return load("captions:digits", 8)


def test_a_caption_has_the_class_and_the_measured_attributes(train):
    known = train.field_of("tokens").vocabulary
    image = train.column("image").astype(np.float32) / 255
    kinds = measured(image)
    for row in (0, 1, 2, 500):
        caption, tokens = train.column("caption")[row], train.column("tokens")[row]
        spoken = words(str(caption))
        assert [known[i] for i in tokens if i] == spoken
        assert spoken[2] == NAMES[train.labels()[row]]
        thick, lean, ground = kinds[row]
        assert spoken[1] == WORDS[0][thick]
        assert " ".join(spoken[3:-2]) == WORDS[1][lean]
        assert spoken[-1] == GROUNDS[ground]
        assert (image[row].mean() > 0.5) == (ground == 1)


def test_a_half_is_inverted_and_attributes_are_in_thirds_nearly():
    for name in ("captions:digits", "captions"):
        kinds = measured(load(name, 8).column("image").astype(np.float32) / 255)
        for i, sizes in enumerate((3, 3, 2)):
            share = np.bincount(kinds[:, i], minlength=sizes) / len(kinds)
            np.testing.assert_allclose(share, 1 / sizes, atol=0.05)


def test_inverting_an_image_changes_its_ground_alone(train):
    image = train.column("image")[:50].astype(np.float32) / 255
    here, there = measured(image), measured(1 - image)
    np.testing.assert_array_equal(here[:, :2], there[:, :2])
    np.testing.assert_array_equal(here[:, 2], 1 - there[:, 2])


def test_words_of_all_splits_are_in_the_vocabulary(train):
    for part in ("train", "val", "test"):
        assert train.split(part).column("tokens").max() < 23
        assert (train.split(part).column("tokens") != 1).all()


def test_other_data_and_sizes_are_refused():
    with pytest.raises(ValueError, match="captions are of mnist or digits, got 'photos'"):
        load("captions:photos", 8)
    with pytest.raises(ValueError, match="sides of 28 or 8, got 9"):
        measured(np.zeros((1, 9, 9, 1), np.float32))


def test_some_columns_can_be_left_out(train):
    plain = columns(train, "image", "label")
    assert set(plain.row_shapes()) == {"image", "label", "index"}
    assert set(plain.split("test").row_shapes()) == {"image", "label", "index"}
    assert plain.digest != train.digest
    np.testing.assert_array_equal(plain.labels(), train.labels())
    with pytest.raises(ValueError, match="no table with a column sound"):
        columns(train, "sound")
