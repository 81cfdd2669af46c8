"""Methods' own pictures: of as many rows as there are, and of what the network is fed."""

import jax
import numpy as np
import pytest
from tiers import METHODS, module

from jssl.method import nothing
from jssl.pictures import Clip, draw

pytestmark = pytest.mark.usefixtures("freed")


@pytest.mark.parametrize("name", METHODS)
def test_pictures_of_one_to_eight_rows_can_be_drawn(name, tmp_path):
    tiny = module(name)
    method, batch = tiny.tiny(None)
    if method.render is nothing:
        pytest.skip("no pictures of its own")
    state = jax.jit(method.init)(jax.random.key(0), batch)
    rows = getattr(tiny, "rows", lambda batch: batch)(batch)

    def collect(function, *args, split="train"):
        return jax.device_get(function(*args, rows))

    for n in (1, 2, 3, 7, 8):
        few = jax.tree.map(lambda x, n=n: x[:n], rows)
        drawn = method.render(jax.random.key(1), state, few, collect)
        assert drawn or n == 1
        for title, picture in drawn.items():
            if isinstance(picture, str):
                assert picture.strip()
            else:
                images = picture.frames if isinstance(picture, Clip) else picture.images
                assert np.isfinite(images).all()
                assert len(picture.columns) in (0, np.shape(images)[1])
            draw(picture, title, tmp_path / f"{n}")
