"""Docstrings of public names begin with an imperative or a noun phrase."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RIDDLES = {"What", "Which", "How", "Whether", "Somebody", "Nobody"}
MODULES = sorted((ROOT / "jssl").rglob("*.py"))
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def first_words(source: str) -> list[tuple[str, str]]:
    """(name, first word of its docstring) of a module and its public names."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED):
            name, text = getattr(node, "name", "the module"), ast.get_docstring(node)
            if text and not name.startswith("_"):
                found.append((name, text.split()[0].strip("\"'`,.:?")))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_summary_line_begins_with_a_question_word(path):
    begins = first_words(path.read_text())
    assert not [(name, word) for name, word in begins if word in RIDDLES]


def test_a_question_word_is_found_in_a_module_a_class_and_a_method():
    source = '''"""What is in it."""
class Toy:
    """How it is made."""
    def play(self):
        """Whether it is fun."""
    def _break(self):
        """Which part breaks."""
'''
    begins = [("the module", "What"), ("Toy", "How"), ("play", "Whether")]
    assert first_words(source) == begins
