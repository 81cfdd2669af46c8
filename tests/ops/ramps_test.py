import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.ops import ramps

# The catalogue prints five digits.
PRINTED = {"rtol": 5e-5}


def test_the_sigmoid_rampup_of_the_catalogue():
    values = [ramps.sigmoid_rampup(t, 100) for t in (0, 25, 50, 75, 100)]
    wanted = [0.0067379, 0.060055, 0.28650, 0.73162, 1]
    np.testing.assert_allclose(values, wanted, **PRINTED)


@pytest.mark.parametrize("ramp", [ramps.sigmoid_rampup, ramps.linear_rampup])
def test_a_rampup_of_no_length_is_one_and_one_that_is_over_stays_one(ramp):
    assert ramp(0, 0) == 1
    assert ramp(101, 100) == 1
    assert ramp(10**6, 100) == 1


def test_the_weight_of_pseudo_labels_rises_between_two_epochs():
    values = [3 * ramps.linear_rampup(t, 500, start=100) for t in (99, 100, 350, 600)]
    np.testing.assert_allclose(values, [0, 0, 1.5, 3])


def test_the_gaussian_rampdown_is_one_until_its_last_steps():
    values = [ramps.gaussian_rampdown(t, 300, 50) for t in (0, 250, 300, 400)]
    np.testing.assert_allclose(values, [1, 1, 3.7267e-6, 3.7267e-6], **PRINTED)
    assert ramps.gaussian_rampdown(10, 300, 0) == 1


def test_the_cosine_rampdown_goes_from_one_to_zero():
    values = [ramps.cosine_rampdown(t, 40) for t in (0, 10, 20, 40, 50)]
    wanted = [1, (1 + np.sqrt(0.5)) / 2, 0.5, 0, 0]
    np.testing.assert_allclose(values, wanted, atol=1e-6)


def test_fixmatchs_cosine_ends_above_zero():
    np.testing.assert_allclose(ramps.fixmatch_cosine(10, 10), 0.19509, **PRINTED)


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("linear", [0.1, 0.55, 1]),
        ("exp", [0.10606, 0.17388, 1]),
        ("log", [0.1, 0.92612, 0.99394]),
    ],
)
def test_signal_annealing_of_the_catalogue(schedule, wanted):
    values = [ramps.tsa_threshold(t, 10, 10, schedule) for t in (0, 5, 10)]
    np.testing.assert_allclose(values, wanted, **PRINTED)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="linear, exp, log"):
        ramps.tsa_threshold(0, 10, 10, "cosine")


def test_steps_may_be_traced():
    values = jax.jit(jax.vmap(lambda t: ramps.sigmoid_rampup(t, 80)))(jnp.arange(81))
    assert values.dtype == jnp.float32
    assert (jnp.diff(values) > 0).all()
