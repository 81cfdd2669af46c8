"""The doctor: what it sees, and what it says of it."""

import math

import numpy as np
import pytest

from jssl.evals import Features, doctor

WELL = {"z/std": 0.9, "z/rank": 20.0, "z/width": 64.0, "loss": 3.0}


class Outputs(Features):
    """Features with other outputs than h."""

    names = ()

    def __init__(self, images=None, **arrays):
        self.samples = arrays.pop("samples", None)
        self.arrays, self.real = arrays, images
        self.names = tuple(arrays)

    def __call__(self, split, name="h", rows=None):
        return self.arrays[name][:rows]

    def rows(self, split, rows=None):
        return {"image": self.real[:rows]}

    def generated(self, split, rows=None):
        return {} if self.samples is None else {"image": self.samples[:rows]}


def clouds(n=200, d=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_a_healthy_run_is_healthy():
    verdict = doctor.diagnose([(100, WELL), (300, WELL)], {"loss": math.log(511)})
    assert verdict.kind == "healthy"
    assert "effective rank 20.0 of 64" in verdict.words


def test_complete_collapse_is_dated_to_the_step_it_began_at():
    gone = WELL | {"z/std": 1e-3, "z/rank": 0.0}
    verdict = doctor.diagnose([(100, WELL), (200, gone), (300, gone)])
    assert verdict[:2] == ("complete collapse", 200)
    assert "since step 200" in verdict.words


FLAT = WELL | {"z/rank": 1.1}
NEAR = WELL | {"z/std": 0.05, "z/rank": 1.1}
GONE = WELL | {"z/std": 0.01, "z/rank": 0.0}
MODES = {"samples/coverage": 0.1, "samples/spread": 0.001}
UNUSED = WELL | {"prototypes/used": 1.0, "prototypes/all": 100.0}


@pytest.mark.parametrize("seen", [FLAT, NEAR, MODES, UNUSED])
@pytest.mark.parametrize("step", [1, 6, 64, 199])
def test_a_short_run_is_undecided(seen, step):
    verdict = doctor.diagnose([(step, seen)])
    assert verdict[:2] == ("undecided", 0)
    assert f"{step} steps are too few" in verdict.words
    assert doctor.diagnose([(200, seen)]).kind not in ("healthy", "undecided")


def test_a_plain_collapse_is_found_in_a_short_run():
    assert doctor.diagnose([(20, WELL), (40, GONE)])[:2] == ("complete collapse", 40)
    assert doctor.diagnose([(0, WELL), (40, GONE)]).kind == "complete collapse"


def test_projections_that_lose_the_spread_of_h_are_a_collapse():
    half = WELL | {"z/std": 0.3, "h/std": 0.55}
    verdict = doctor.diagnose([(200, half)])
    assert verdict.kind == "complete collapse"
    assert "30 % of its maximum, that of h 55 %" in verdict.words
    assert doctor.diagnose([(200, WELL | {"z/std": 0.3, "h/std": 0.35})]).kind == "healthy"
    assert doctor.diagnose([(200, WELL | {"z/std": 0.6, "h/std": 0.95})]).kind == "healthy"
    assert doctor.diagnose(
        [(200, {"h/std": 0.3, "h/rank": 9.0, "h/width": 16.0})]
    ).kind == ("healthy")


def test_they_are_so_in_a_short_run_if_little_is_left():
    half, less = (WELL | {"z/std": x, "h/std": 0.5} for x in (0.33, 0.25))
    assert doctor.diagnose([(0, WELL), (60, half)]).kind == "undecided"
    assert doctor.diagnose([(0, WELL), (60, less)])[:2] == ("complete collapse", 60)


def test_what_the_untrained_network_is_like_too_is_no_plain_collapse():
    assert doctor.diagnose([(0, GONE), (40, GONE)]).kind == "undecided"


def test_a_short_run_without_signs_is_healthy():
    assert doctor.diagnose([(6, WELL)]).kind == "healthy"


def test_dimensional_collapse_is_another_thing():
    verdict = doctor.diagnose([(100, WELL), (200, WELL | {"z/rank": 1.1})])
    assert verdict[:2] == ("dimensional collapse", 200)


def test_one_direction_of_one_is_no_collapse():
    line = WELL | {"z/rank": 1.0, "z/width": 1.0}
    assert doctor.diagnose([(100, line)]).kind == "healthy"


def test_a_loss_at_chance_is_a_diagnosis_after_enough_steps():
    idle = WELL | {"loss": math.log(511) - 0.01}
    assert doctor.diagnose([(50, idle)], {"loss": math.log(511)}).kind == "healthy"
    verdict = doctor.diagnose([(50, idle), (400, idle)], {"loss": math.log(511)})
    assert verdict.kind == "no learning"
    once = [(50, idle), (100, WELL), (400, idle)]  # new clusters take a loss back up
    assert doctor.diagnose(once, {"loss": math.log(511)}).kind == "healthy"


def test_the_projections_count_where_there_are_any():
    point = np.ones((50, 8), np.float32)
    seen = doctor.examine(Outputs(h=clouds(), z=point), "val")
    assert doctor.diagnose([(500, seen)]).kind == "complete collapse"
    seen = doctor.examine(Outputs(h=clouds()), "val")
    assert doctor.diagnose([(500, seen)]).kind == "healthy"


def test_a_generator_of_one_image_has_collapsed():
    real = clouds(300).reshape(300, 2, 4, 1)
    made = np.tile(real[:1], (300, 1, 1, 1))
    seen = doctor.examine(Outputs(real, h=clouds(), samples=made), "val")
    assert seen["samples/coverage"] < 0.05
    assert doctor.diagnose([(500, seen)]).kind == "mode collapse"
    honest = clouds(300, seed=1).reshape(300, 2, 4, 1)
    seen = doctor.examine(Outputs(real, h=clouds(), samples=honest), "val")
    assert seen["samples/coverage"] > 0.8
    assert seen["samples/spread"] == pytest.approx(1, abs=0.1)


def test_samples_that_are_no_column_are_not_compared():
    class Pairs(Outputs):
        def generated(self, split, rows=None):
            others = {"edges": np.zeros((len(self.samples), 3), np.float32)}
            return others | super().generated(split, rows)

    real = clouds(300).reshape(300, 2, 4, 1)
    one, both = (
        doctor.examine(kind(real, h=clouds(), samples=real), "val")
        for kind in (Outputs, Pairs)
    )
    assert one == both and one["samples/coverage"] == 1


def test_a_generator_that_loses_what_it_covered_has_collapsed():
    seen = lambda covered: {"samples/spread": 0.7, "samples/coverage": covered}
    history = [(500, seen(0.0)), (1000, seen(0.4)), (1500, seen(0.1))]
    assert doctor.diagnose(history[:2]).kind == "healthy"
    assert doctor.diagnose(history)[:2] == ("mode collapse", 1500)


def test_unused_prototypes_are_told():
    logits = np.zeros((60, 40), np.float32)
    logits[:, 0] = 50
    seen = doctor.examine(Outputs(h=clouds(), prototypes=logits), "val")
    assert doctor.diagnose([(500, seen)]).kind == "unused prototypes"


def test_a_spectrum_begins_at_one_and_falls():
    lines = doctor.spectrum(Outputs(h=clouds(), z=clouds(seed=2)), "val")
    for values in lines.ys.values():
        assert values[0] == 1
        assert (np.diff(values) <= 0).all()


def test_few_rows_of_a_wide_representation_are_told_apart_from_its_width():
    few = Outputs(h=clouds(30, 90))
    seen = doctor.examine(few, "val")
    assert (seen["h/width"], seen["h/rows"]) == (90, 30)
    words = doctor.diagnose([(500, seen)]).words
    assert f"rank {seen['h/rank']:.1f} of 90 (at most 29, of 30 rows)" in words
    assert doctor.diagnose(
        [(500, doctor.examine(Outputs(h=clouds(91, 90)), "val"))]
    ).words.endswith("of 90.")
    ((name, values),) = doctor.spectrum(few, "val").ys.items()
    assert name == "h: 30 rows of width 90" and values.min() > 0.1


def test_two_rows_have_one_direction_which_is_no_collapse():
    seen = doctor.examine(Outputs(h=np.float32([[1, 0, 0], [0, 1, 0]])), "val")
    assert doctor.diagnose([(500, seen)]).kind == "healthy"
