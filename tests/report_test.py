"""The report: its verdict, its intervals, its failures, and pages of older results."""

import pytest

from jssl import report
from jssl.log import Log
from jssl.report import comparisons, failures, print_table, write_report

WORDS = {"knn": "weighted kNN", "linear": "linear probe"}


def result(linear=0.9, untrained=0.8, **more):
    stage = {
        "metrics": {"loss": 0.5, "knn": 0.7, "linear": linear, "doctor/h/std": 0.4},
        "steps": 10,
        "batch": 4,
        "seconds": 2.0,
        "samples_per_second": 20,
        "baselines": ["untrained network"],
        "doctor": "Healthy.",
        "split": "val",
        "failed": {},
    }
    return {
        "config": {"title": "mae", "knobs": {"source": "folder:a<b"}},
        "stages": {"pretrain": stage | more},
        "baselines": {"untrained network": {"knn": 0.7, "linear": untrained}},
        "protocols": WORDS,
        "failed": {},
        "data": {
            "name": "folder:a<b",
            "rows": {"train": 800, "val": 1000},
            "classes": 2,
            "class_names": ["cat", "<dog>"],
            "license": "",
        },
        "provenance": {"date": "today", "commit": "abc", "versions": {"jax": "1"}},
    }


@pytest.mark.parametrize(
    ("linear", "phrase"),
    [
        (0.90, "above untrained network (80.0 %) by 10.0 points"),
        (0.81, "not distinguishable from untrained network (80.0 %)"),
        (0.70, "below untrained network (80.0 %) by 10.0 points"),
    ],
)
def test_a_run_is_compared_with_its_untrained_network(linear, phrase):
    first, second = comparisons(result(linear))
    assert "of 1,000 val rows" in first
    assert second.startswith(phrase)


def test_the_page_has_verdict_classes_and_failures(tmp_path, capsys):
    Log(tmp_path)
    found = result(failed={"linear": "RuntimeError: gone <wrong>"})
    found["failed"] = {"supervised reference": "loss is nan"}
    page = write_report(tmp_path, found).read_text()
    assert "above untrained network" in page.lower()
    assert "&lt;dog&gt;" in page and "<dog>" not in page
    assert "gone &lt;wrong&gt;" in page
    assert "train 800, val 1,000" in page
    assert failures(found) == [
        "baseline supervised reference: loss is nan",
        "pretrain, linear: RuntimeError: gone <wrong>",
    ]
    print_table(found)
    assert "failed: baseline supervised reference" in capsys.readouterr().out


def test_a_column_beyond_one_is_not_in_percent():
    stage = {"metrics": {"linear": 0.25, "perplexity": 790.95}}
    result = {
        "protocols": {"linear": "", "perplexity": ""},
        "stages": {"pretrain": stage},
        "baselines": {"untrained network": {"linear": 0.5}},
    }
    rows = report.table(result)[1]
    assert rows == [
        ["pretrain (this run)", "25.0 %", "791"],
        ["untrained network", "50.0 %", ""],
    ]


def test_images_that_were_passed_over_are_counted_and_named(tmp_path, capsys):
    Log(tmp_path)
    found = result()
    found["data"]["skipped"] = {"count": 7, "first": ["a.png", "<b>.png"]}
    line = "passed over: 7 images that cannot be read: a.png, <b>.png and 5 more"
    print_table(found)
    assert line in capsys.readouterr().out.splitlines()
    page = write_report(tmp_path, found).read_text()
    assert "<td>passed over</td><td>7 images that cannot be read: a.png, &lt;b" in page


def test_the_doctors_numbers_of_all_stages_are_one_table(tmp_path):
    Log(tmp_path)
    found = result()
    found["stages"]["tuned"] = found["stages"]["pretrain"] | {
        "metrics": {"linear": 0.9, "doctor/h/std": 0.5, "doctor/z/std": 1.25}
    }
    page = write_report(tmp_path, found).read_text()
    assert page.count("<summary>Doctor&#x27;s numbers") == 1
    assert "<tr><th>number</th><th>pretrain</th><th>tuned</th></tr>" in page
    assert "<tr><td>h/std</td><td>0.4</td><td>0.5</td></tr>" in page
    assert "<tr><td>z/std</td><td></td><td>1.25</td></tr>" in page


def test_intervals_below_ten_percent_are_as_wide_as_others(tmp_path):
    Log(tmp_path)
    page = write_report(tmp_path, result(0.05)).read_text()
    assert "<td>5.0 % [\u20073.8, \u20076.5]</td>" in page
    assert "<td>80.0 % [77.4, 82.4]</td>" in page


def test_the_first_line_has_the_commit_or_the_version(tmp_path):
    Log(tmp_path)
    assert " · commit abc · jax 1" in write_report(tmp_path, result()).read_text()
    found = result()
    found["provenance"]["commit"] = "jssl 0.1.0"
    assert "today · jssl 0.1.0 · jax 1" in write_report(tmp_path, found).read_text()


def test_a_run_without_labels_names_the_evals_left_out(tmp_path, capsys):
    Log(tmp_path)
    found = result(metrics={"loss": 0.5, "doctor/h/std": 0.4}) | {"protocols": {}}
    found |= {"baselines": {}, "data": found["data"] | {"classes": 0, "class_names": []}}
    line = "no labels: evals that need them (linear, knn, top1) and baselines are left out"
    print_table(found)
    assert line in capsys.readouterr().out.splitlines()
    assert f"<p>N{line[1:]}.</p>" in write_report(tmp_path, found).read_text()
    print_table(found | {"protocols": {"bits": "evals that need no labels are there"}})
    assert line in capsys.readouterr().out.splitlines()
    print_table(result())
    assert "left out" not in capsys.readouterr().out


def test_a_result_of_before_has_a_page_without_intervals(tmp_path):
    Log(tmp_path)
    old = result()
    for key in ("data", "failed"):
        del old[key]
    for key in ("batch", "split", "failed"):
        del old["stages"]["pretrain"][key]
    assert comparisons(old) == []
    assert "90.0 %" in write_report(tmp_path, old).read_text()
