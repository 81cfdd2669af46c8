"""Baselines: what the fingerprint sees, and that the cache is used."""

from dataclasses import replace

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import baselines, evals, nets
from jssl.config import Stage
from jssl.data import dataset
from jssl.evals import Eval
from jssl.knobs import FewLabels, Images, Run
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


def test_the_names_of_jitted_functions_do_not_count():
    def named(name, factor):
        def scale(x):
            return factor * jnp.where(x > 0, x, 0.5)

        scale.__name__ = name
        scale = jax.jit(scale)

        def embed(state, batch):
            h = scale(batch["image"].reshape(len(batch["image"]), -1))
            return {"h": scale(h + 1)}

        return stage(method=scaling(optax.sgd(0.1))._replace(embed=embed))

    one = baselines.fingerprint(named("labelled", 2.0))
    assert one == baselines.fingerprint(named("labeled", 2.0))
    assert one != baselines.fingerprint(named("labeled", 3.0))


def test_what_decides_nothing_does_not_count():
    raw = stage(method=baselines.plain(source()), steps=0)
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


def test_a_score_that_cannot_be_cached_is_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "cache"))
    wanted = baselines.score("toy", stage(), tmp_path / "a", lambda: {"commit": "x"})
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "baselines").write_text("no folder")
    capsys.readouterr()
    found = baselines.score("toy", stage(), tmp_path / "b", lambda: {"commit": "x"})
    assert found == wanted
    said = capsys.readouterr().err.splitlines()
    told = [line for line in said if line.startswith("jssl: ")]
    assert len(told) == 1 and "cannot cache the baseline toy" in told[0]


def test_raw_pixels_are_the_pixels():
    h = baselines.plain(source()).embed((), {"image": jnp.arange(8.0).reshape(2, 2, 2, 1)})[
        "h"
    ]
    np.testing.assert_array_equal(h, np.arange(8.0).reshape(2, 4))


class Wide(FewLabels):
    """Few labels of a toy source, whose network is linear."""

    def classifier(self, train):
        return nets.linen(Linear())


class Linear(nn.Module):
    """Logits of the pixels, which are h."""

    @nn.compact
    def __call__(self, images, train=False):
        h = images.reshape(len(images), -1)
        return {"logits": nn.Dense(2)(h), "h": h}


def few_labels():
    """Two labels of each class, and a method that has not been asked for anything."""
    return baselines.few_label_stage(
        Run(seed=7, save_every=2, eval_every=1),
        Wide(labels=2, labeled_batch=4, epochs=0.75),
        source(),
        scaling(optax.sgd(0.1)),
        augment=lambda key, batch: batch["image"],
    )


def test_pretraining_is_evaluated_with_its_baselines():
    run, images = Run(seed=7, mesh="data=2"), Images(epochs=2.0, supervised_epochs=1.0)
    method, net = scaling(optax.sgd(0.1)), nets.linen(Linear())
    more = {"z": evals.renamed(evals.linear_probe(name="z"), "z")}
    stage = baselines.pretrain_stage(
        run, images, source(), method, net, render_every=3, further=more
    )
    raw, untrained, supervised = stage.baselines.values()
    assert list(stage.baselines) == [
        "raw pixels",
        "untrained network",
        "supervised reference",
    ]
    assert (stage.name, stage.steps, stage.render_every) == ("pretrain", 8, 3)
    assert (raw.steps, untrained.steps, supervised.steps) == (0, 0, 4)
    assert {"knn", "linear"} == set(raw.evals)
    assert {"knn", "linear", "top1"} == set(supervised.evals)
    assert {"knn", "linear", "z"} == set(untrained.evals)
    assert {"knn", "linear", "z", "embedding"} == set(stage.evals)
    assert supervised.data.labeled and not stage.data.labeled
    assert {(s.seed, s.mesh) for s in stage.baselines.values()} == {(7, "data=2")}


def test_pretraining_without_labels_has_no_evals_and_no_baselines():
    table = {"image": np.zeros((32, 2, 2, 1), np.uint8)}
    plain = dataset("toy", {"train": table}, 8)
    method = scaling(optax.sgd(0.1))
    stage = baselines.pretrain_stage(Run(), Images(), plain, method, None)
    assert dict(stage.evals) == dict(stage.baselines) == {}


def test_few_labels_stand_beside_the_same_and_all_of_them():
    stage = few_labels()
    few, every, raw, untrained = stage.baselines.values()
    assert list(stage.baselines) == [
        "supervised, same labels",
        "supervised, all labels",
        "raw pixels",
        "untrained network",
    ]
    assert (few.steps, every.steps, raw.steps, untrained.steps) == (3, 3, 0, 0)
    assert {"knn", "linear"} == set(raw.evals) == set(untrained.evals)
    assert {"knn", "linear", "top1"} == set(few.evals) == set(every.evals)
    assert {"knn", "linear", "top1"} < set(stage.evals)
    assert all(s.seed == 7 for s in (stage, *stage.baselines.values()))
    assert (stage.save_every, stage.eval_every, stage.steps) == (2, 1, 3)
    assert all(s.save_every == s.eval_every == 0 for s in stage.baselines.values())
    assert few.data.digest == stage.data.digest != every.data.digest
    assert few.data.parts["labeled"].size == stage.data.parts["labeled"].size == 4
    assert every.data.parts["labeled"].size == every.data.split("train").size == 32


def test_a_baseline_of_few_labels_sees_the_methods_labeled_batches_and_nothing_else():
    stage = few_labels()
    few = stage.baselines["supervised, same labels"]
    ours, theirs = next(stage.data.stream(2)), next(few.data.stream(2))
    chex.assert_trees_all_equal(ours, theirs)
    batch = stage.data.decode(ours)
    other = batch | {"unlabeled": {"image": jnp.ones((8, 2, 2, 1)), "index": jnp.arange(8)}}
    state = few.method.init(jax.random.key(0), batch)
    one, two = (few.method.step(jax.random.key(1), state, b)[0] for b in (batch, other))
    chex.assert_trees_all_equal(one, two)
    kernel = one.params["Dense_0"]["kernel"]
    assert np.any(kernel != state.params["Dense_0"]["kernel"])
