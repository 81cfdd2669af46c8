import random
import re
from pathlib import Path

import pytest

from jssl import config
from jssl.main import folder_name

ROOT = Path(__file__).parent.parent
TEXT = '''
from dataclasses import dataclass

from jssl import Stage
from jssl.config import tiny

@dataclass(frozen=True, kw_only=True)
class Whole:
    """A group.

    Attributes:
      batch: Rows per step.
      rate: Of what
        it learns.
    """
    batch: int = 64
    rate: float = 0.5

@dataclass(frozen=True, kw_only=True)
class Part(Whole):
    """A group that adds to another.

    Attributes:
      rate: Its own words.
      shapes: Of blocks.
    """
    rate: float = 0.25
    shapes: tuple = ((1, (2, 3)),)

RUNS = {"": 5, "epochs=2": 1, "paper": 3}
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

@tiny({"batch": 8, "depth": 1}, depth=2)
def grouped(part: Part = Part(batch=32), depth: int = 9) -> list[Stage]:
    """Has a group.

    Args:
      batch: Rows, here.
      depth: Of it.
    """
    return [part, depth]

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


def test_quotes_around_a_whole_value_are_no_part_of_it(file):
    value = lambda text: config.load(f"{file}:name={text}").knobs["name"]
    assert value("'folder:d/a,b'") == value('"folder:d/a,b"') == "folder:d/a,b"
    assert value("'d'/'e'x") == "'d'/'e'x" and value("it''s") == "it''s"


def test_the_other_spelling_takes_commas_and_brackets_as_they_stand(file):
    for name in ("folder:d/a,b", "folder:d/a(b", "a=b,c=d"):
        assert config.load(str(file), [f"name={name}"]).knobs["name"] == name


def test_a_string_knob_is_taken_verbatim(file):
    knobs = config.load(f"{file}:paper,variant=L/16,mesh=data=8;fsdp=4").knobs
    assert knobs == {"variant": "L/16", "mesh": "data=8;fsdp=4"}


def test_overrides_in_the_other_spelling_win(file):
    assert config.load(f"{file}:epochs=5", ["epochs=7"]).knobs["epochs"] == 7


def test_the_fields_of_a_group_are_knobs_and_reach_the_config_as_the_group(file):
    experiment = config.load(f"{file}:grouped,rate=1,shapes=((5,(6,)),)")
    assert experiment.knobs == {
        "batch": 32,
        "rate": 1.0,
        "shapes": ((5, (6,)),),
        "depth": 9,
        "tiny": False,
    }
    part, depth = experiment.stages()
    assert type(part).__name__ == "Part"
    assert (part.batch, part.rate, part.shapes, depth) == (32, 1.0, ((5, (6,)),), 9)


def test_a_given_knob_wins_over_tiny_whatever_their_order(file):
    assert config.load(f"{file}:grouped,tiny=True").knobs["batch"] == 8
    assert config.load(f"{file}:grouped,tiny=True").knobs["depth"] == 2
    assert config.load(f"{file}:grouped,tiny=True,batch=32").knobs["batch"] == 32
    assert config.load(f"{file}:grouped,batch=48,tiny=True").knobs["batch"] == 48
    knobs = config.load(f"{ROOT}/experiments/simclr.py:tiny=True,batch=32,source=mnist")
    assert knobs.knobs["batch"] == 32
    assert knobs.knobs["source"] == "mnist"
    assert knobs.knobs["projector"] == (8, 4)


@pytest.mark.parametrize(
    ("decorator", "message"),
    [
        ("@tiny(dept=2)", "tiny: grouped has no knob 'dept'; did you mean depth"),
        ("@tiny({'bach': 2})", "tiny: grouped has no knob 'bach'; did you mean batch"),
        ("@tiny(depth=2.5)", "tiny: depth of grouped must be of type int, got 2.5"),
    ],
)
def test_tiny_is_checked_when_the_file_loads(file, decorator, message):
    file.write_text(TEXT.replace('@tiny({"batch": 8, "depth": 1}, depth=2)', decorator))
    with pytest.raises(ValueError, match=message):
        config.load(str(file))


def test_two_knobs_of_one_name_are_refused(file):
    file.write_text(TEXT.replace("depth: int = 9)", "depth: int = 9, rate: int = 1)"))
    with pytest.raises(ValueError, match="grouped has two knobs named 'rate'"):
        config.load(f"{file}:grouped")


def test_a_config_without_tiny_has_no_such_knob(file):
    with pytest.raises(ValueError, match="no knob 'tiny'"):
        config.load(f"{file}:tiny=True")


def test_a_folder_is_named_by_what_was_changed(file):
    name = lambda words: folder_name(config.load(f"{file}:grouped{words}"))
    assert name("") == "thing-grouped"
    assert name(",depth=9,rate=0.5") == "thing-grouped,rate=0.5"
    assert name(",tiny=True,batch=32") == "thing-grouped,batch=32,tiny=True"


def test_evidence_is_what_a_file_declares(file):
    assert config.evidence(file) == {"": 5, "epochs=2": 1, "paper": 3}
    file.write_text(TEXT.replace('"epochs=2"', '"epoch=2"'))
    with pytest.raises(ValueError, match="no knob 'epoch'"):
        config.evidence(file)
    file.write_text(TEXT.replace("RUNS", "OTHERS"))
    assert config.evidence(file) == {"": 1}


def test_a_choice_outside_the_table_is_named_with_the_choices():
    assert config.one_of("version", 2, {1: "a", 2: "b"}) == "b"
    with pytest.raises(ValueError, match="version must be one of 1, 2, got 3"):
        config.one_of("version", 3, {1: "a", 2: "b"})


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
        ("{}:laptop,epochs", "not of the form KNOB=VALUE$"),
        (
            "{}:name=folder:d/a,b",
            "^'b' is not of the form KNOB=VALUE; a value with a comma is given as "
            "--config.name=VALUE$",
        ),
        ("{}x", "no config file"),
        ("{}:grouped,bach=5", "no knob 'bach'; did you mean batch"),
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


def test_the_listing_has_type_default_and_description(file):
    rows = config.listing(config.load(str(file)))
    assert rows[0] == ("epochs", "int at least 0", "3", "how many passes over the data.")
    assert rows[1] == ("lr", "float at least 0", "0.001", "how fast.")


def test_a_description_is_the_configs_or_else_the_nearest_groups(file):
    assert config.listing(config.load(f"{file}:grouped"))[:4] == [
        ("batch", "int at least 0", "32", "Rows, here."),
        ("rate", "float at least 0", "0.25", "Its own words."),
        ("shapes", "tuple at least 0", "((1, (2, 3)),)", "Of blocks."),
        ("depth", "int at least 0", "9", "Of it."),
    ]


PIECES = {  # of config strings
    "files": ["mae", "simclr", "moco.py", f"{ROOT}/experiments/mae.py", "nope", "", "/"]
    + ["..", "experiments", "a\0b", "x" * 300, "~", "é", "\ud800", f"{ROOT}/README.md"],
    "functions": ["laptop", "paper", "tiny", "ring", "", "é"],
    "knobs": ["epochs", "batch", "lr", "widths", "source", "mesh", "tiny", "decoder", "é"]
    + ["__class__", "a.b", "corruption", ""],
    "values": ["1", "-1", "0", "1e999", "nan", "True", "None", "'a", "'a'", '"', "(1,2)"]
    + ["(1,", "1,2)", "[1]", "{}", "{1:2}", "{[]:1}", "((1,),2)", "(1,'a')", "(nan,)", "1j"]
    + ["9" * 5000, "(" * 1000, "(" * 1000 + ")" * 1000, "-" * 5000 + "1", "...", "\0", "\n"]
    + ["__import__('os')", "😀", "\ud800", "x=y", "1_000", "01", "'\\x'", "1+2j", "~1"],
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of ast, on odd literals
def test_any_string_is_a_config_or_a_value_error():
    draw = random.Random(0)
    pick = lambda kind: draw.choice(PIECES[kind])
    found = {True: 0, False: 0}
    for _ in range(4000):
        words = [pick("functions")] * (draw.random() < 0.3)
        words += [
            f"{pick('knobs')}{draw.choice(['=', '=', '', '=='])}{pick('values')}"
            for _ in range(draw.randrange(4))
        ]
        text = pick("files") + draw.choice([":", ":", "", "::"]) + ",".join(words)
        if draw.random() < 0.1:
            letters = "abc:,=()[]{}'\"\\ \0\n1é😀"
            text = "".join(draw.choices(letters, k=draw.randrange(60)))
        try:
            found[isinstance(config.load(text), config.Experiment)] += 1
        except ValueError:
            found[False] += 1
    assert min(found.values()) > 200


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("import sys\nsys.exit(3)", "line 2: SystemExit: 3"),
        ("x = 1\n\nx.y", "line 3: AttributeError: 'int' object has no attribute 'y'"),
        ("def f(:", "line 1: invalid syntax"),
        ("import json\njson.loads('{')", "Expecting property name"),
    ],
)
def test_an_error_in_a_config_file_is_a_value_error_with_its_line(lines, told, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(lines)
    with pytest.raises(ValueError, match=re.escape(told)):
        config.load(str(path))
