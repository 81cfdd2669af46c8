import numpy as np
import pytest
from PIL import Image

from jssl.data import dataset
from jssl.data.captioned import Captioned, captioned, over_white, split_of


def saved(path, rgba):
    Image.fromarray(np.asarray(rgba, np.uint8)).save(path)
    return path


def test_transparent_parts_are_white_and_never_bleed(tmp_path):
    rgba = np.zeros((8, 8, 4))
    rgba[..., 0] = 255  # red everywhere, but seen in the left half alone
    rgba[:, :4] = (0, 0, 200, 255)
    rgba[0, 7, 3] = rgba[7, 0, 3] = 255  # so that nothing is cut off
    rgba[7, 0, :3] = (0, 0, 200)
    path = saved(tmp_path / "x.png", rgba)
    image = over_white(path, path, 8, 3)
    np.testing.assert_array_equal(image[3, :4], [[0, 0, 200]] * 4)
    np.testing.assert_array_equal(image[3, 4:], [[255] * 3] * 4)
    small = over_white(path, path, 4, 3).astype(int)
    assert (small[3, :, 0] <= small[3, :, 1] + 1).all()  # hidden red would add red alone


def test_pictures_are_cut_to_their_opaque_part_and_padded_to_a_square(tmp_path):
    rgba = np.zeros((20, 20, 4))
    rgba[4:8, 2:18] = (0, 0, 0, 255)  # 4 by 16
    path = saved(tmp_path / "x.png", rgba)
    image = over_white(path, path, 16, 1)
    assert image.shape == (16, 16, 1)
    assert image[6:10].max() == 0
    assert image[:6].min() == image[10:].min() == 255


def test_palettes_and_gray_with_transparency_are_read(tmp_path):
    path = tmp_path / "x.png"
    Image.new("LA", (4, 4), (50, 255)).save(path)
    assert (over_white(path, path, 4, 3) == 50).all()
    Image.new("P", (4, 4), 0).save(path, transparency=0)
    assert (over_white(path, path, 4, 3) == 255).all()


def test_a_file_that_is_no_picture_is_named(tmp_path):
    path = tmp_path / "x.png"
    path.write_text("not a picture")
    with pytest.raises(ValueError, match="x.png cannot be read as an image"):
        over_white(path, path, 4, 3)


def rows(root, captions):
    path = saved(root / "x.png", np.full((4, 4, 4), 255))
    return [Captioned(path, x, "ab"[len(x) % 2], group=x) for x in captions]


def test_the_vocabulary_is_that_of_the_training_split(tmp_path):
    captions = ["A frog.", "A bee.", "A dog, and a frog."]
    assert [split_of(x) for x in captions] == ["train", "train", "train"]
    held = [f"unheard{i} frog" for i in range(60)]
    held = [x for x in held if split_of(x) != "train"]
    assert {split_of(x) for x in held} == {"val", "test"}
    found = captioned(
        "mine", rows(tmp_path, captions + held), "CC0", size=4, channels=3, length=3
    )
    vocabulary = found.fields["tokens"].vocabulary
    assert vocabulary == ("<pad>", "<unk>", "a", "frog", "and", "bee", "dog")
    train = dataset("mine", found.splits, 1, fields=found.fields)
    np.testing.assert_array_equal(train.column("tokens"), [[2, 3, 0], [2, 5, 0], [2, 6, 4]])
    np.testing.assert_array_equal(train.column("mask"), train.column("tokens") > 0)
    val = found.splits["val"]()
    assert (val["tokens"] == [1, 3, 0]).all()
    assert found.license == "CC0"


def test_too_few_pictures_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="too few images, the split train is empty"):
        captioned("mine", [], "", size=4, channels=3, length=3)
    with pytest.raises(ValueError, match="length must be a positive number"):
        captioned("mine", rows(tmp_path, "a"), "", size=4, channels=3, length=0)
