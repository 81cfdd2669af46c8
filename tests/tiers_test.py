"""The tiers: of which files a method's hash is, and that no method is without one."""

import tiers


def test_every_method_has_a_hash_in_the_record(pytestconfig):
    missing = tiers.METHODS.keys() - tiers.recorded()
    note = f"run `make test-all`: tests/full-tier.json lacks {missing}"
    assert not missing or pytestconfig.getoption("--settle"), note


def test_one_method_of_each_shape_is_never_settled():
    assert tiers.ONE_A_SHAPE <= tiers.METHODS.keys()
    assert not tiers.settled() & tiers.ONE_A_SHAPE


def test_a_method_stands_on_what_its_files_import_in_turn():
    names = {path.relative_to(tiers.ROOT).as_posix() for path in tiers.files("simclr_v2")}
    assert {
        "tests/methods/contrastive/simclr_v2_test.py",
        "jssl/methods/contrastive/simclr_v2.py",
        "jssl/methods/contrastive/simclr.py",  # which it is built on
        "jssl/losses/contrastive.py",
        "jssl/ops/vectors.py",  # by the loss
        "jssl/models/norm.py",  # by the test's network
        "jssl/method.py",
    } <= names
    assert not any(name.startswith(("jssl/evals", "jssl/data")) for name in names)


def test_a_change_of_any_file_changes_the_hash(tmp_path, monkeypatch):
    for path in tiers.files("simclr"):
        copy = tmp_path / path.relative_to(tiers.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    test = tmp_path / tiers.METHODS["simclr"].relative_to(tiers.ROOT)
    before = tiers.digest("simclr")
    monkeypatch.setattr(tiers, "ROOT", tmp_path)
    monkeypatch.setattr(tiers, "METHODS", {"simclr": test})
    assert tiers.digest.__wrapped__("simclr") == before
    with (tmp_path / "jssl/ops/vectors.py").open("a") as file:
        file.write("\n")
    assert tiers.digest.__wrapped__("simclr") != before


def test_settling_keeps_other_hashes_and_drops_methods_that_are_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(tiers, "RECORD", tmp_path / "record.json")
    assert tiers.settled() == set()
    tiers.RECORD.write_text('{"gone": "1", "moco": "2", "simclr": "3"}')
    tiers.settle({"simclr"})
    assert tiers.recorded() == {"moco": "2", "simclr": tiers.digest("simclr")}
    assert tiers.settled() == {"simclr"}
