"""The triad that `jssl new` writes: it trains, and its tests pass, as it is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jssl import __main__ as command
from jssl import new

ROOT = Path(__file__).parent.parent


def ran(words, folder, path):
    level = "--xla_backend_optimization_level=0"
    given = {"PYTHONPATH": str(path), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": level}
    env = dict(os.environ) | given | {"JSSL_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_the_triad_outside_of_a_checkout_trains_and_passes_its_tests(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert new.main(["mine"]) == 0
    config = "mine/experiment.py:tiny=True,source=digits,epochs=0.2,baselines=False"
    ran(["jssl", "train", f"--config={config}", "--workdir=run"], tmp_path, ROOT)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["stages"]["pretrain"]["failed"] == {}
    assert (tmp_path / "run" / "report.html").exists()
    ran(["pytest", "-q", "mine/mine_test.py"], tmp_path, ROOT)


@pytest.mark.slow
def test_the_triad_in_a_checkout_passes_the_contract_of_methods(tmp_path, monkeypatch):
    for name in ("jssl", "tests", "experiments"):
        left = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=left)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert new.main(["mine", "--family=generative"]) == 0
    done = ran(
        ["pytest", "-q", "tests/contract_test.py", "tests/experiments_test.py"]
        + [*map(str, Path("tests").glob("methods/*/mine_test.py")), "-k", "mine"],
        tmp_path,
        tmp_path,
    )
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


@pytest.mark.parametrize(
    "words",
    [["Mine"], ["my method"], ["class"], ["1st"], [""], ["a/b"], ["x", "--family=y"]],
)
def test_a_name_that_is_none_costs_a_line_and_writes_nothing(
    words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert new.main(words) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["trian"], ["--wrong"], ["é"], ["train/../x"], [""]])
def test_an_unknown_command_costs_a_line(words, capsys):
    assert command.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"jssl: unknown command {words[0]!r}; see jssl --help"


COMMANDS = sorted(command.COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_of_a_command_is_named(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        status = command.main([name, "--no-such-flag=é"])
    except SystemExit as stop:  # of argparse
        status = stop.code
    said = capsys.readouterr().err
    assert status in (1, 2)
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())
