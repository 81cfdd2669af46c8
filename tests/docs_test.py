"""What the documents say is so: their examples run, and the table of losses is whole."""

import inspect
import re
import sys
from pathlib import Path

import pytest

from jssl import config, losses

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, code in enumerate(
        re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    )
]
CALLS = re.findall(
    r"^\| `((\w+)\(.*?\))` \|", (ROOT / "docs/losses.md").read_text(), re.MULTILINE
)


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_runs_as_it_stands(code):
    exec(compile(code, "<example>", "exec"), {"__name__": "example"})


STEPS = re.findall(
    r"^\| `(\w+):(\w+)` .*?\| ([\d,]+) \+ ([\d,]+) \|",
    (ROOT / "docs/gpu-day.md").read_text(),
    re.MULTILINE,
)


@pytest.mark.parametrize(("name", "function", "first", "second"), STEPS)
def test_the_runs_of_a_day_have_the_steps_that_the_page_says(name, function, first, second):
    path = ROOT / "experiments" / f"{name}.py"
    stages = config.load(f"{path}:{function},source=blank:cifar10").stages()
    assert [f"{stage.steps:,}" for stage in stages] == [first, second]


def test_the_page_of_a_day_has_a_row_for_each_self_supervised_run():
    assert len(STEPS) == 5


def test_the_table_of_losses_names_each_of_them_once():
    assert sorted(name for _, name in CALLS) == sorted(losses.__all__)


@pytest.mark.parametrize(("call", "name"), CALLS, ids=[name for _, name in CALLS])
def test_a_loss_is_called_as_the_table_says(call, name):
    def record(*args, **options):
        return list(args), options

    parameters = inspect.signature(getattr(losses, name)).parameters.values()
    required = [p.name for p in parameters if p.default is p.empty]
    optional = {p.name: p.default for p in parameters if p.default is not p.empty}
    names = {argument: argument for argument in required}
    assert eval(call, {name: record, **names}) == (required, optional)


@pytest.mark.parametrize("name", losses.__all__)
def test_a_loss_says_where_it_comes_from_and_shows_a_number(name):
    loss = getattr(losses, name)
    text = inspect.getdoc(loss) or ""
    assert ">>>" in text
    # What goes with another loss may leave the reference to it, or to their module.
    named = set(re.findall(r"`(\w+)`", text)) & set(losses.__all__)
    pages = [inspect.getdoc(getattr(losses, other)) for other in named]
    pages += [text, sys.modules[loss.__module__].__doc__]
    assert any(re.search(r"https?://|\b(19|20)\d\d\b", page) for page in pages)
