"""Similarities and analogies of words, as judged by people, in the package gensim.

WordSim-353: Finkelstein et al. 2002, https://doi.org/10.1145/503104.503110. SimLex-999:
Hill, Reichart and Korhonen 2015, https://arxiv.org/abs/1408.3456. Analogies: Mikolov et al.
2013, https://arxiv.org/abs/1301.3781.
"""

from jssl.data.packages import Package, require

FILES = Package("gensim", "test/test_data", "pip", file="questions-words.txt")
SIMILARITIES = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}


def similarities(name: str) -> list[tuple[str, str, float]]:
    """Pairs of lower-case words with their similarity, of "wordsim353" or "simlex999".

    Raises:
      ValueError: an unknown name, or the package is missing.
    """
    if name not in SIMILARITIES:
        raise ValueError(f"no similarities {name!r}; there are {', '.join(SIMILARITIES)}")
    rows = [line.split("\t") for line in _lines(name, SIMILARITIES[name])]
    return [(a, b, float(score)) for a, b, score in rows]


def questions() -> dict[str, list[tuple[str, str, str, str]]]:
    """The 19,544 analogies "a is to b as c is to d" of lower-case words, by section.

    Raises:
      ValueError: the package is missing.
    """
    found: dict[str, list[tuple[str, str, str, str]]] = {}
    section = ""
    for line in _lines("questions", "questions-words.txt"):
        if line.startswith(":"):
            section = line[1:].strip()
            continue
        a, b, c, d = line.split()
        found.setdefault(section, []).append((a, b, c, d))
    return found


def are_installed() -> bool:
    """True if the package is installed."""
    return FILES.found() is not None


def _lines(name, file):
    (folder,) = require(name, FILES)
    lines = (folder / file).read_text("utf-8").lower().splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]
