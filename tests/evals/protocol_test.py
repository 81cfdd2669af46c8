"""What every eval owes its user: the rows it reads, and a word on missing ones."""

import numpy as np
import pytest

from jssl.evals import Eval, accuracy, embedding_picture, knn, linear_probe

FITTED = [knn(k=5), linear_probe((0.01, 1.0)), embedding_picture(limit=20)]


def _name(evaluate):
    return evaluate.protocol.split(":")[0] if isinstance(evaluate, Eval) else None


def test_an_eval_is_a_protocol_and_a_function(splits):
    evaluate = Eval("constant", lambda features, final: {"final": float(final)})
    assert evaluate(splits(), True) == {"final": 1.0}


def test_protocols_tell_settings_apart():
    every = [knn(), knn(k=200), knn(temperature=0.1), accuracy(), accuracy("student")]
    every += [linear_probe(), linear_probe((1.0,)), linear_probe((1.0, 0.5))]
    every += [linear_probe((1.0, 0.2, 0.1)), linear_probe((1.0, 0.5, 0.1))]
    every += [embedding_picture(), embedding_picture("tsne"), embedding_picture(seed=1)]
    every += [embedding_picture(limit=10)]
    assert len({evaluate.protocol for evaluate in every}) == len(every)


@pytest.mark.parametrize("evaluate", [*FITTED, accuracy()], ids=_name)
def test_nothing_asks_for_the_test_split_while_training(evaluate, splits):
    features = splits()
    evaluate(features, False)
    assert "test" not in features.asked
    assert "val" in features.asked


@pytest.mark.parametrize("evaluate", FITTED, ids=_name)
@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("how", ["no such key", "none", "empty"])
def test_a_missing_split_is_named(evaluate, split, how, splits):
    features = splits()
    if how == "no such key":
        del features.arrays[split]
    else:
        features.arrays[split] = None if how == "none" else np.zeros((0, 6), np.float32)
    with pytest.raises(ValueError, match=f"the {split} split"):
        evaluate(features, True)


def test_features_that_are_maps_are_refused(splits):
    features = splits()
    features.arrays["val"] = np.zeros((45, 2, 2, 6), np.float32)
    with pytest.raises(ValueError, match=r"val split .* \[45, 2, 2, 6\]"):
        knn()(features, False)


def test_unlabeled_rows_are_refused(splits):
    features = splits()
    features.truth["train"][3] = -1
    with pytest.raises(ValueError, match="train split must be >= 0, got -1"):
        linear_probe()(features, False)


def test_features_that_are_not_finite_are_refused(splits):
    features = splits()
    features.arrays["val"][7, 2] = np.nan
    with pytest.raises(ValueError, match="'h' of the val split is not finite"):
        knn()(features, False)


@pytest.mark.parametrize("evaluate", FITTED, ids=_name)
def test_an_eval_leaves_the_features_as_they_were(evaluate, splits):
    features, same = splits(), splits()
    evaluate(features, True)
    for split, h in same.arrays.items():
        np.testing.assert_array_equal(features.arrays[split], h)


@pytest.mark.parametrize("evaluate", FITTED[:2], ids=_name)
def test_labels_that_mean_nothing_are_learnt_at_chance(evaluate, splits):
    features = splits(sizes=(600, 300, 600))
    rng = np.random.default_rng(1)
    for y in features.truth.values():
        rng.shuffle(y)
    (right,) = evaluate(features, True).values()
    share = np.bincount(features.truth["test"]).max() / 600
    # Three standard deviations of 600 fair draws.
    assert right < share + 3 * np.sqrt(share * (1 - share) / 600)
