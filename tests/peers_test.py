"""Beside other libraries: the arithmetic of the page, and that every pair has two sides."""

import importlib
import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))  # as PYTHONPATH=benchmarks does
driver, page, pair = map(
    importlib.import_module, ("peers.driver", "peers.page", "peers.pair")
)


def entry(ours, target=2.0, at_most=False, **theirs):
    sides = {name: {"seconds": seconds} for name, seconds in theirs.items()}
    told = {"unit": "image", "target": target, "at_most": at_most, "flops": 0.0}
    return told | {"ours": {"seconds": ours}, "theirs": sides}


def test_a_ratio_is_of_medians_against_the_fastest_way_of_theirs():
    found = entry([0.2, 0.1, 9.0], slow=[2.0, 2.0, 2.0], fast=[0.1, 0.5, 0.6])
    assert driver.best(found) == "fast"
    assert driver.verdict(found) == (pytest.approx(2.5), True)  # 0.5 / 0.2


@pytest.mark.parametrize(
    ("target", "at_most", "ratio", "met"),
    [(2.0, False, 4.0, True), (5.0, False, 4.0, False), (None, False, 4.0, None)]
    + [(1.0, True, 0.25, True), (0.2, True, 0.25, False)],
)
def test_a_target_is_a_floor_of_rates_or_a_ceiling_of_times(target, at_most, ratio, met):
    found = entry([0.5], target, at_most, torch=[2.0])
    assert driver.verdict(found) == (ratio, met)


def test_without_both_sides_nothing_is_claimed():
    found = entry([0.5])
    found["theirs"] = {"torch": {"failed": "no compiler"}}
    assert driver.verdict(found) == (None, None)
    assert "failed: no compiler" in page.row("mae", found)[2]
    assert page.row("mae", found)[-1] == "not measured"


def test_sides_take_turns_and_one_that_failed_is_asked_once():
    asked = []

    def ask(name, which, options):
        asked.append(which)
        if which == "broken":
            return {"failed": "why"}
        return {"seconds": len(asked), "notes": {}, "versions": {}, "threads": 2}

    work = pair.Pair("image", None, {"broken": None, "torch": None}, target=1)
    found = driver.compare("name", work, Namespace(rounds=2), ask)
    assert asked == ["ours", "broken", "torch", "ours", "torch"]
    assert found["ours"]["seconds"] == [1, 4]
    assert found["theirs"]["broken"] == {"failed": "why"}


def test_a_way_far_behind_another_is_measured_once_but_ours_always():
    asked, seconds = [], {"ours": 99.0, "slow": 4.0, "fair": 2.0, "fast": 1.0}

    def ask(name, which, options):
        asked.append(which)
        return {"seconds": seconds[which], "notes": {}, "versions": {}, "threads": 2}

    ways = dict.fromkeys(("slow", "fair", "fast"))
    driver.compare("name", pair.Pair("image", None, ways, 1), Namespace(rounds=2), ask)
    assert asked == ["ours", "slow", "fair", "fast", "ours", "fair", "fast"]


def test_a_measurement_is_a_unit_s_share_of_the_timed_calls(monkeypatch):
    clock = iter([0.0, 1.0, 2.0, 3.0])  # begun, then after each timed call
    monkeypatch.setattr(pair.time, "perf_counter", lambda: next(clock))
    done = []
    work = pair.Work(lambda: done.append(1), units=10, warm=4, calls=2)
    assert pair.measure(work, seconds=2.5) == (pytest.approx(0.1), 3)
    assert len(done) == 7


def test_a_missed_target_is_printed_as_such():
    missed, met = entry([1.0], torch=[1.0]), entry([1.0], torch=[2.0])
    pairs = {"a": missed | {"date": "today"}, "b": met | {"date": "yesterday"}}
    text = page.page({"session": {"date": "today"}, "pairs": pairs})
    assert "- measured before that, yesterday: b" in text
    lines = {line.split(" | ")[0]: line for line in text.splitlines()}
    assert lines["| a"].endswith("| 1.00 | at least 2.0 | **no** |")
    assert lines["| b"].endswith("| 2.00 | at least 2.0 | yes |")
    assert "1 s a image (1 to 1)" in lines["| a"]


def test_products_are_held_against_the_better_ceiling():
    product = entry([0.01], None, torch=[0.005]) | {"unit": "GFLOP"}  # 100 and 200 a second
    machine = entry([1e-3], torch=[1.0]) | {"flops": 5e7}  # 50 GFLOP/s
    lines = page.ceilings({"ceiling-product": product, "rbm": machine})
    assert (
        "rbm: the products of ours run at 50.0 GFLOP/s, 25 % of that ceiling." in lines[-1]
    )


def test_every_pair_has_both_sides_and_a_module_that_says_what_differs():
    for name, module in driver.families().items():
        assert "Same" in module.__doc__ or name in ("ceiling", "neighbors", "startup")
        for known in module.PAIRS.values():
            assert callable(known.ours) and known.theirs
            assert all(map(callable, known.theirs.values()))
    measured = [name for name in driver.pairs() if not name.startswith("ceiling-")]
    assert all(driver.pairs()[name].target for name in measured)


def test_naming_the_pairs_loads_neither_side():
    heavy = {"jax", "torch", "lightly", "timm", "sklearn", "gensim", "faiss"}
    code = "import sys; from peers import driver; driver.pairs()"
    code += f"; print(sorted({heavy} & set(sys.modules)))"
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "benchmarks",
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "[]\n"


def test_a_page_says_what_was_kept_and_nothing_else():
    found = sorted((ROOT / "benchmarks").glob("results*.json"))
    if not found:
        pytest.skip("nothing measured yet")
    for kept in found:
        shown = kept.with_name(kept.stem.replace("results", "RESULTS") + ".md")
        assert shown.read_text() == page.page(json.loads(kept.read_text()))
