import pytest

from jssl.data import word_tests

FILES = {
    "wordsim353.tsv": "# WordSim\n# Word 1\tWord 2\nlove\tsex\t6.77\nTiger\tcat\t7.35\n",
    "simlex999.txt": "# SimLex\nold\tnew\t1.58\n",
    "questions-words.txt": ": capitals\nAthens Greece Oslo Norway\n: family\n"
    "boy girl he she\n",
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("JSSL_CACHE", str(tmp_path))
    monkeypatch.setattr(word_tests.Package, "_modules", lambda self: [])
    return tmp_path / "packages" / "gensim" / "test" / "test_data"


def test_words_are_lower_case_and_comments_left_out(files):
    files.mkdir(parents=True)
    for name, text in FILES.items():
        (files / name).write_text(text)
    assert word_tests.are_installed()
    wanted = [("love", "sex", 6.77), ("tiger", "cat", 7.35)]
    assert word_tests.similarities("wordsim353") == wanted
    assert word_tests.similarities("simlex999") == [("old", "new", 1.58)]
    assert word_tests.questions() == {
        "capitals": [("athens", "greece", "oslo", "norway")],
        "family": [("boy", "girl", "he", "she")],
    }


def test_a_missing_package_and_an_unknown_name_are_errors(files):
    assert not word_tests.are_installed()
    with pytest.raises(ValueError, match="`pip install --no-deps gensim`"):
        word_tests.questions()
    with pytest.raises(ValueError, match="no similarities 'men'; there are wordsim353"):
        word_tests.similarities("men")
