import pytest

from jssl import config

TEXT = '''
from jssl import Stage

def laptop(epochs: int = 3, lr: float = 1e-3, name: str = "a", sizes: tuple = (1, 2),
           fast: bool = False) -> list[Stage]:
    """Does things.

    Args:
      epochs: how many passes
        over the data.
      lr: how fast.
    """
    return []

def paper(variant: str = "B/16", mesh: str = "") -> list[Stage]:
    return []

def helper(x):
    return x
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "thing.py"
    path.write_text(TEXT)
    return path


def test_defaults_are_those_of_the_signature(file):
    experiment = config.load(str(file))
    assert experiment.function.__name__ == "laptop"
    assert experiment.knobs["epochs"] == 3


def test_commas_inside_brackets_and_quotes_do_not_separate(file):
    knobs = config.load(f"{file}:epochs=5,sizes=(3, 4),name=x y,lr=1").knobs
    assert knobs == {"epochs": 5, "lr": 1.0, "name": "x y", "sizes": (3, 4), "fast": False}
    assert type(knobs["lr"]) is float


def test_a_string_knob_is_taken_verbatim(file):
    knobs = config.load(f"{file}:paper,variant=L/16,mesh=data=8;fsdp=4").knobs
    assert knobs == {"variant": "L/16", "mesh": "data=8;fsdp=4"}


def test_overrides_in_the_other_spelling_win(file):
    assert config.load(f"{file}:epochs=5", ["epochs=7"]).knobs["epochs"] == 7


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{}:epoch=5", "no knob 'epoch'; did you mean epochs"),
        ("{}:papr", "no function 'papr'; did you mean paper"),
        ("{}:helper", "no function 'helper'"),
        (
            "{}:epochs=2.5",
            "epochs must be of type int, such as 3; got '2.5', of type float",
        ),
        ("{}:epochs=many", "epochs must be of type int"),
        ("{}:fast=1", "fast must be of type bool"),
        ("{}:epochs=True", "of type bool"),
        ("{}:laptop,epochs", "not of the form KNOB=VALUE"),
        ("{}x", "no config file"),
    ],
)
def test_a_mistake_is_named_with_the_nearest_right_word(file, spec, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        config.load(spec.format(file))


def test_a_file_that_does_not_parse_is_named_with_its_line(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("x = 1\ndef broken(:\n")
    with pytest.raises(ValueError, match=r"bad.py, line 2"):
        config.load(str(path))


def test_the_listing_tells_type_default_and_meaning(file):
    rows = config.listing(config.load(str(file)))
    assert rows[0] == ("epochs", "int", "3", "how many passes over the data.")
    assert rows[1] == ("lr", "float", "0.001", "how fast.")
