"""Windows of frames: consecutive, of every start alike, within the clip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops.frames import random_windows


def test_windows_are_of_equal_steps_and_every_start_is_as_frequent():
    clips = jnp.tile(jnp.arange(9.0)[:, None], (3000, 1, 2))  # [n, t, 2]
    found = np.asarray(random_windows(jax.random.key(0), clips, 3, every=2))
    assert found.shape == (3000, 3, 2)
    np.testing.assert_array_equal(np.diff(found, axis=1), 2)
    counts = np.bincount(found[:, 0, 0].astype(int), minlength=9)
    assert counts[5:].sum() == 0
    assert np.abs(counts[:5] - 600).max() < 4 * np.sqrt(3000 * 0.2 * 0.8)


def test_clips_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match="span 5, and clips have 4"):
        random_windows(jax.random.key(0), jnp.zeros((2, 4)), 3, every=2)
