"""The loop, with methods small enough to follow by hand."""

import copy
import json
import os
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import learner, loop, optim
from jssl.config import Stage
from jssl.data import dataset, load, pair
from jssl.data.records import Records
from jssl.engine import Engine
from jssl.evals import Eval, examine
from jssl.features import Features
from jssl.log import Log, read_lines
from jssl.method import Method
from jssl.pictures import Grid


def source(n=32, batch=8):
    rng = np.random.default_rng(0)
    rows = lambda n: {
        "image": rng.integers(0, 256, (n, 2, 2, 1), np.uint8),
        "label": np.arange(n) % 2,
    }
    splits = {"train": rows(n), "val": rows(10), "test": rows(11)}
    return dataset("toy", splits, batch, classes=2)


def recast(source, kind):
    """The same source, with methods of another class."""
    source = copy.copy(source)
    object.__setattr__(source, "__class__", kind)
    return source


def counting(bad=None, order=None):
    """Adds up noise and what it has seen; `bad` is the step whose metric is not finite."""

    def init(key, batch):
        first = jnp.zeros(())
        return {
            "sum": first,
            "same": first,
            "count": jnp.zeros((), jnp.int32),
            "none": None,
        }

    def step(key, state, batch):
        seen = jnp.sum(batch["image"]) + jax.random.normal(key)
        new = state | {"sum": state["sum"] + seen, "count": state["count"] + 1}
        value = jnp.where(new["count"] == (bad or -1), jnp.nan, seen)
        return new, {"seen": value, "first": batch["index"][0].astype(jnp.float32)}

    def embed(state, batch):
        return {"h": batch["image"].reshape(len(batch["image"]), -1) + state["sum"]}

    def refresh(key, state, collect):
        total = collect(pixels)
        return state | {"same": state["same"] + total.sum()}, order

    def render(key, state, batch, collect):
        return {"first": Grid(batch["image"][None, :2]), "words": "some text"}

    return Method(init, step, embed, refresh, render)


def descending(rate):
    """Moves a scalar towards the mean pixel."""
    tx = optim.scale_by_rate(rate)

    def loss(params, stats, x):
        return (params - x.mean()) ** 2, (stats, {"loss": (params - x.mean()) ** 2})

    return Method(
        lambda key, batch: learner.fresh(tx, jnp.zeros(())),
        lambda key, state, batch: learner.minimize(tx, loss, state, batch["image"]),
        lambda state, batch: {"h": batch["image"].reshape(len(batch["image"]), -1)},
    )


def pixels(batch):
    return batch["image"].sum((1, 2, 3))


def size(features, final):
    split = "test" if final else "val"
    h = features(split)
    assert len(h) == len(features.labels(split))
    return {"mean": float(h.mean()), "rows": len(h)}


def stage(**changes):
    given = dict(
        name="one",
        method=counting(),
        data=source(),
        steps=10,
        evals={"size": Eval("mean of h", size, online=True)},
    )
    return Stage(**(given | changes))


def trained(folder):
    """The lines of metrics.jsonl of training steps."""
    return [row for row in read_lines(folder) if "seen" in row]


def run(tmp_path, stage, done=None):
    log = Log(tmp_path)
    return loop.run(stage, tmp_path, done or {}, log)


def interrupted(tmp_path, stage, at):
    """Runs until the data break at step `at`."""

    class Broken(type(stage.data)):
        def indices(self, start=0, order=None):
            for i, batch in enumerate(super().indices(start, order), start):
                if i == at:
                    raise KeyboardInterrupt
                yield batch

    broken = recast(stage.data, Broken)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Stage(**(vars(stage) | {"data": broken})))


@pytest.mark.parametrize("dispatch", [1, 2, 3])
def test_a_resumed_run_equals_the_undisturbed_one(tmp_path, dispatch):
    settings = dict(save_every=4, dispatch=dispatch, refresh_every=3)
    whole = run(tmp_path / "whole", stage(**settings))
    interrupted(tmp_path / "cut", stage(**settings), at=7)
    again = run(tmp_path / "cut", stage(**settings))
    jax.tree.map(np.testing.assert_array_equal, whole.state, again.state)
    assert whole.metrics == again.metrics
    assert read_lines(tmp_path / "whole") == read_lines(tmp_path / "cut")


def test_every_step_is_logged_once_and_evals_see_val_then_test(tmp_path):
    finished = run(tmp_path, stage(eval_every=5))
    rows = read_lines(tmp_path)
    assert [r["step"] for r in rows if "seen" in r] == list(range(1, 11))
    assert [r["step"] for r in rows if "val/rows" in r] == [5]
    assert rows[5]["val/rows"] == 10
    assert finished.metrics["rows"] == 11


def test_uint8_reaches_the_method_as_numbers_between_0_and_1(tmp_path):
    finished = run(tmp_path, stage(refresh_every=100))
    expected = source().table["image"].astype(np.float32).sum() / 255
    np.testing.assert_allclose(finished.state["same"], expected, rtol=1e-5)


def test_the_stream_follows_the_order_of_a_refresh(tmp_path):
    order = np.arange(31, -1, -1)
    method = counting(order=order)
    run(tmp_path, stage(method=method, refresh_every=4, steps=4))
    firsts = [row["first"] for row in trained(tmp_path)]
    assert firsts == [31, 23, 15, 7]


def test_the_order_is_kept_through_a_restart(tmp_path):
    settings = dict(
        method=counting(order=np.arange(31, -1, -1)), refresh_every=8, save_every=2
    )
    run(tmp_path / "whole", stage(**settings))
    interrupted(tmp_path / "cut", stage(**settings), at=3)
    run(tmp_path / "cut", stage(**settings))
    assert read_lines(tmp_path / "whole") == read_lines(tmp_path / "cut")


def test_a_metric_that_is_not_finite_stops_the_run_and_is_never_saved(tmp_path):
    with pytest.raises(loop.NotFinite, match="seen is nan at step 6 of one"):
        run(tmp_path, stage(method=counting(bad=6), save_every=2))
    finished = run(tmp_path, stage(save_every=2))  # goes on from step 4
    assert finished.state["count"] == 10
    assert sorted(r["step"] for r in read_lines(tmp_path) if "seen" in r) == [*range(1, 11)]


def test_a_metric_is_checked_before_the_save_of_its_own_step(tmp_path):
    with pytest.raises(loop.NotFinite, match="step 6"):
        run(tmp_path, stage(method=counting(bad=6), save_every=6))
    assert not any(p.name == "6" for p in (tmp_path / "one").iterdir())


def broken(features, final):
    raise RuntimeError("no such device")


def test_an_eval_that_fails_costs_one_line_and_no_other_number(tmp_path, capsys):
    evals = {
        "broken": Eval("broken", broken, online=True),
        "size": Eval("mean of h", size, online=True),
    }
    finished = run(tmp_path, stage(evals=evals, eval_every=5))
    assert finished.metrics["rows"] == 11
    assert finished.failed == {"broken": "RuntimeError: no such device (2 times)"}
    line = "jssl: one: broken failed and is omitted: RuntimeError: no such device"
    assert capsys.readouterr().err.count(line) == 1  # halfway; the end is in the table
    assert read_lines(tmp_path)[-1]["final/rows"] == 11


def test_a_number_is_written_before_the_next_eval_begins(tmp_path):
    def killed(features, final):
        if final:
            raise KeyboardInterrupt
        return {}

    evals = {"size": Eval("mean of h", size, online=True), "killed": Eval("killed", killed)}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stage(evals=evals))
    assert read_lines(tmp_path)[-1]["final/rows"] == 11
    assert run(tmp_path, stage()).metrics["rows"] == 11
    assert [r["final/rows"] for r in read_lines(tmp_path) if "final/rows" in r] == [11]


@pytest.mark.parametrize("where", ["made", "drawn"])
def test_a_picture_that_fails_costs_one_line_and_no_other_picture(tmp_path, where):
    class Undrawable:
        pass

    def render(key, state, batch, collect):
        if where == "made":
            raise IndexError("list index out of range")
        return {"bad": Undrawable(), "words": "some text"}

    finished = run(tmp_path, stage(method=counting()._replace(render=render)))
    assert list(finished.failed) == ["pictures of the method" if where == "made" else "bad"]
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert "one--nearest-neighbors.png" in drawn
    assert ("one--words.txt" in drawn) == (where == "drawn")


def test_an_eval_that_keeps_failing_is_printed_once_and_counted(tmp_path, capfd):
    calls = []

    def broken(features, final):
        calls.append(final)
        raise RuntimeError("no luck")

    def healed(features, final):
        return broken(features, final) if not final else {"healed": 1.0}

    judges = {"broken": broken, "healed": healed}
    evals = {name: Eval(name, judge, online=True) for name, judge in judges.items()}
    finished = run(tmp_path, stage(evals=evals, eval_every=3))
    assert calls.count(False) == 6 and calls.count(True) == 1
    assert finished.failed == {"broken": "RuntimeError: no luck (4 times)"}
    lines = [x for x in capfd.readouterr().err.splitlines() if x.startswith("jssl: ")]
    assert lines == [
        "jssl: one: broken failed and is omitted: RuntimeError: no luck",
        "jssl: one: healed failed and is omitted: RuntimeError: no luck",
        "jssl: one: healed failed 3 times, and not at the end",
    ]


def test_a_full_disk_is_one_error_of_this_thread(tmp_path, monkeypatch):
    """Of the writer of TensorBoard's events, too."""
    opened = Path.open

    def full(path, *mode, **knobs):
        place = Path("/dev/full") if "tfevents" in path.name else path
        return opened(place, *mode, **knobs)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left on device"):
        run(tmp_path, stage())


def test_neighbors_are_those_of_rows_spread_over_the_split(tmp_path):
    """Of rows that are sorted by class, the first are of one class."""
    from jssl import exhibits

    n, classes = 60, 6
    label = np.arange(n) // (n // classes)
    images = np.zeros((n, 2, 2, 1), np.uint8) + np.uint8(40 * label)[:, None, None, None]
    table = {"image": images, "label": label}
    data = dataset("sorted", {"train": table, "test": table}, 8, classes=classes)
    engine = Engine(stage(data=data))
    features = Features(engine, engine.begin({}))
    grid = exhibits.neighbors(features, "test")["nearest neighbors"]
    levels = {float(x) for x in np.asarray(grid.images)[:, 0].mean((1, 2, 3))}
    assert len(levels) == classes
    few = features.few("test", 6)
    assert few.labels("test").tolist() == list(range(classes))
    assert features.few("test", n) is features


@pytest.mark.parametrize("last", [4, 10])
def test_a_state_that_is_not_finite_is_never_saved(tmp_path, last):
    """The state of the last update too, although every metric is finite."""

    def step(key, state, batch):
        new, metrics = counting().step(key, state, batch)
        bad = new["count"] >= last
        return new | {"same": jnp.where(bad, jnp.nan, new["same"])}, metrics

    hidden = counting()._replace(step=step)
    with pytest.raises(
        loop.NotFinite, match=f"same is not finite after step {last} of one"
    ):
        run(tmp_path, stage(method=hidden, save_every=2))
    kept = sorted(int(p.name) for p in (tmp_path / "one").iterdir() if p.name.isdigit())
    assert kept[-1] == last - 2


def test_without_a_labeled_test_split_the_final_evals_are_on_val(tmp_path):
    rows = source()
    splits = {name: rows.split(name).table for name in ("train", "val", "test")}
    hidden = dict(splits["test"], label=np.full(11, -1))
    for test in ({}, {"test": hidden}):
        parts = {"train": splits["train"], "val": splits["val"], **test}
        finished = run(
            tmp_path / str(len(test)), stage(data=dataset("a", parts, 8, classes=2))
        )
        assert (finished.split, finished.metrics["rows"]) == ("val", 10)
    assert run(tmp_path / "both", stage()).split == "test"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_a_restart_goes_on(tmp_path, number):
    whole = run(tmp_path / "whole", stage(steps=40))

    def kill_at(i, batch):
        if i == 5:
            os.kill(os.getpid(), number)
        return batch

    class Killing(type(source())):
        def indices(self, start=0, order=None):
            stream = enumerate(super().indices(start, order), start)
            return (kill_at(i, batch) for i, batch in stream)

    killing = recast(source(), Killing)
    with pytest.raises(loop.Stopped, match="after step 6 of 40; saved") as stopped:
        run(tmp_path / "cut", stage(steps=40, data=killing))
    assert stopped.value.status == 128 + number
    again = run(tmp_path / "cut", stage(steps=40))
    jax.tree.map(np.testing.assert_array_equal, whole.state, again.state)


def test_a_later_stage_starts_from_an_earlier_one(tmp_path):
    first = run(tmp_path, stage())
    start = lambda state, done: (
        state | {"sum": done["one"]["sum"], "same": done["one"]["sum"]}
    )
    second = run(tmp_path, stage(name="two", steps=1, start=start), {"one": first.state})
    assert second.state["same"] == first.state["sum"]
    assert not first.state["sum"].is_deleted()


def test_pictures_become_files(tmp_path):
    run(tmp_path, stage(render_every=5))
    names = {p.name for p in (tmp_path / "figures").iterdir()}
    own = {"first.png", "words.txt", "nearest-neighbors.png"}
    last = {f"one--{name}" for name in own | {"spectrum.png"}}
    halfway = {f"one--{name.replace('.', '-after-000005-steps.')}" for name in own}
    assert names == last | halfway


def test_tensorboard_gets_the_metrics(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, stage())
    events = EventAccumulator(str(tmp_path / "tensorboard" / "one"))
    events.Reload()
    logged = [(e.step, e.value) for e in events.Scalars("seen")]
    rows = [(r["step"], np.float32(r["seen"])) for r in trained(tmp_path)]
    assert logged == rows
    assert [(e.step, e.value) for e in events.Scalars("final/rows")] == [(10, 11)]


def test_tensorboard_gets_the_speed(tmp_path):
    """Samples divided by their speeds are the seconds after the first step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def refresh(key, state, collect):
        time.sleep(0.5)
        return state, None

    slow = stage(method=counting()._replace(refresh=refresh), refresh_every=5)
    finished = run(tmp_path, slow)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "one"))
    events.Reload()
    speeds = [(e.step, e.value) for e in events.Scalars("samples/s")]
    assert speeds[-1][0] == 10
    steps = np.diff([1, *(step for step, _ in speeds)])
    seconds = sum(8 * steps / [value for _, value in speeds])
    assert 0.5 <= seconds <= finished.seconds - 0.5  # of the refresh before step 1
    assert not any("samples/s" in row for row in read_lines(tmp_path))


def test_a_checkpoint_of_another_model_is_refused_by_name(tmp_path):
    run(tmp_path, stage())

    def init(key, batch):
        return counting().init(key, batch) | {"same": jnp.zeros(3)}

    other = counting()._replace(init=init)
    with pytest.raises(ValueError, match=r"another model: same is float32\[\] there and"):
        run(tmp_path, stage(method=other))


def test_the_start_of_a_later_stage_is_built_from_the_earlier_ones():
    later = stage(name="two", start=lambda state, done: state | {"sum": done["one"]["sum"]})
    engine = Engine(later)
    trained = jax.tree.map(lambda x: jnp.full(x.shape, 7, x.dtype), engine.shapes)
    done = {"one": {"sum": jnp.float32(3.0)}}
    start = Features(engine, trained, done).start()
    assert float(start["sum"]) == 3 and int(start["count"]) == 0
    with pytest.raises(ValueError, match="two starts from the states of earlier stages"):
        Features(engine, trained).start()


def test_a_batch_must_divide_among_the_devices(tmp_path):
    with pytest.raises(ValueError, match="batch of 4 does not divide among 8 devices"):
        run(tmp_path, stage(data=source(batch=4)))


def test_each_of_two_streams_must_divide_among_the_devices():
    both = pair(labeled=load("digits", 4, labeled=True), unlabeled=load("digits", 8))
    with pytest.raises(ValueError, match="batch of 4 does not divide among 8 devices"):
        Engine(stage(data=both))


def test_streamed_rows_equal_rows_on_the_device(tmp_path):
    resident = run(tmp_path / "a", stage())
    table = source().table

    class Rows(Records):
        digest, labels = "rows", table["label"]

        def __len__(self):
            return 32

        def __getitem__(self, i):
            return {name: column[i] for name, column in table.items()}

    parts = {"train": Rows(), "val": source().split("val").table}
    parts["test"] = source().split("test").table
    streamed = run(tmp_path / "b", stage(data=dataset("toy", parts, 8, classes=2)))
    jax.tree.map(np.testing.assert_array_equal, resident.state, streamed.state)


def test_lines_after_the_restored_step_are_cut(tmp_path):
    interrupted(tmp_path, stage(save_every=4), at=7)
    assert read_lines(tmp_path)[-1]["step"] > 4
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"stage": "one", "st')  # the process died here
    run(tmp_path, stage(save_every=4))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == [*range(1, 11), 10]  # the last: metrics of the final eval


def test_an_embedding_without_a_row_for_each_image_is_refused():
    folded = counting()._replace(embed=lambda state, batch: {"h": jnp.zeros((3, 2))})
    with pytest.raises(ValueError, match="must have . rows, got .*3, 2"):
        Engine(stage(method=folded))


def test_the_doctor_generates_no_more_rows_than_it_examines():
    made = []

    def generate(key, state, batch):
        jax.debug.callback(lambda x: made.append(len(x)), batch["index"])
        return {"image": jax.random.uniform(key, batch["image"].shape)}

    images = np.random.default_rng(0).integers(0, 256, (5000, 2, 2, 1), np.uint8)
    table = {"image": images}
    many = dataset("many", {"train": table, "test": table}, 512)
    engine = Engine(stage(method=counting()._replace(generate=generate), data=many))
    features = Features(engine, engine.begin({}))
    assert examine(features, "test")["samples/spread"] > 0
    jax.effects_barrier()
    assert sum(made) == 2048
    assert len(features.generated("test", rows=64)["image"]) == 64
    jax.effects_barrier()
    assert sum(made) == 2048


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_splits_of_few_rows_are_examined_as_far_as_they_can_be(tmp_path, rows):
    def generate(key, state, batch):
        return {"image": jax.random.uniform(key, batch["image"].shape)}

    images = np.random.default_rng(0).integers(0, 256, (32, 2, 2, 1), np.uint8)
    splits = {"train": {"image": images}, "test": {"image": images[:rows]}}
    method = counting()._replace(generate=generate)
    few = stage(method=method, data=dataset("few", splits, 8), steps=2, evals={})
    finished = run(tmp_path, few)
    assert ("doctor/h/rank" in finished.metrics) == (rows > 1)
    assert ("doctor/samples/coverage" in finished.metrics) == (rows > 1)
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert ("one--spectrum.png" in drawn) == (rows > 1)


def test_a_representation_of_places_has_no_spectrum(tmp_path):
    places = counting()._replace(embed=lambda state, batch: {"h": batch["image"][..., 0]})
    finished = run(tmp_path, stage(method=places, evals={}, steps=2))
    assert not any(name.startswith("doctor/h") for name in finished.metrics)


def test_the_rate_and_the_norm_of_the_gradient_are_logged(tmp_path):
    rates = [0.5, 0.25, 0.125, 0.0625]
    method = descending(lambda step: jnp.asarray(rates)[step])
    run(tmp_path, stage(method=method, steps=4, evals={}))
    rows = [x for x in read_lines(tmp_path) if "loss" in x]
    assert [x["learning_rate"] for x in rows] == rates
    for row in rows:  # the gradient of (w - x)^2 is 2 (w - x)
        np.testing.assert_allclose(row["grad_norm"], 2 * row["loss"] ** 0.5, rtol=1e-6)
    events = "".join(str(x) for x in tensorboard(tmp_path))
    assert "learning_rate" in events and "grad_norm" in events


def tensorboard(folder):
    """The records of TensorBoard's files."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for file in sorted((folder / "tensorboard").rglob("events*")):
        yield from EventFileLoader(str(file)).Load()
