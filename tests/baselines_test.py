"""Baselines: what the fingerprint sees, and that the cache is used."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import baselines
from jssl.config import Stage
from jssl.data import dataset
from jssl.evals import Eval
from jssl.learner import fresh, minimize
from jssl.method import Method


def source(seed=0, shift=0):
    images = np.arange(32 * 4, dtype=np.uint8).reshape(32, 2, 2, 1) + shift
    table = {"image": images.astype(np.uint8), "label": np.arange(32) % 2}
    return dataset("toy", {"train": table, "test": table}, 8, classes=2, seed=seed)


def scaling(tx, factor=2.0):
    def init(key, batch):
        return fresh(tx, jnp.ones(()))

    def loss(params, stats, x):
        value = jnp.square(params * x).mean()
        return value, (stats, {"loss": value})

    def step(key, state, batch):
        return minimize(tx, loss, state, factor * batch["image"])

    def embed(state, batch):
        return {"h": state.params * batch["image"].reshape(len(batch["image"]), -1)}

    return Method(init, step, embed)


def stage(**changes):
    mean = Eval(
        "mean of h on test", lambda features, final: {"mean": features("test").mean()}
    )
    given = dict(name="s", method=scaling(optax.sgd(0.1)), data=source(), steps=3)
    return Stage(**(given | {"evals": {"mean": mean}} | changes))


CHANGES = {
    "steps": dict(steps=4),
    "seed": dict(seed=1),
    "learning rate": dict(method=scaling(optax.sgd(0.2))),
    "optimiser": dict(method=scaling(optax.adam(0.1))),
    "constant": dict(method=scaling(optax.sgd(0.1), factor=3.0)),
    "order of the data": dict(data=source(seed=1)),
    "data": dict(data=source(shift=1)),
    "protocol": dict(evals={"mean": Eval("another", lambda f, final: {})}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_the_number_depends_on_changes_the_fingerprint(change):
    other = replace(stage(), **CHANGES[change])
    assert baselines.fingerprint(other) != baselines.fingerprint(stage())


def test_the_same_stage_built_anew_has_the_same_fingerprint():
    assert baselines.fingerprint(stage()) == baselines.fingerprint(stage())


def test_what_decides_nothing_does_not_count():
    raw = stage(method=baselines.raw_pixels(), steps=0)
    larger = replace(source(seed=1), batch=16)
    same = replace(raw, seed=1, data=larger)
    assert baselines.fingerprint(same) == baselines.fingerprint(raw)


def test_a_score_is_computed_once_and_then_read(tmp_path, monkeypatch):
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "cache"))
    first = baselines.score("toy", stage(), tmp_path / "a", lambda: {"commit": "x"})
    monkeypatch.setattr(baselines.loop, "run", None)
    again = baselines.score("toy", stage(), tmp_path / "b", lambda: {"commit": "y"})
    assert again["metrics"] == first["metrics"]
    assert again["provenance"] == {"commit": "x"}


def test_raw_pixels_are_the_pixels():
    h = baselines.raw_pixels().embed((), {"image": jnp.arange(8.0).reshape(2, 2, 2, 1)})[
        "h"
    ]
    np.testing.assert_array_equal(h, np.arange(8.0).reshape(2, 4))
