import numpy as np
import pytest

from jssl import evals


def test_perplexity_is_that_of_the_counted_tokens_of_the_judged_split():
    nats = {"val": np.log([[2.0, 9.0]]), "test": np.log([[3.0, 5.0], [3.0, 7.0]])}
    counted = {"val": np.ones((1, 2)), "test": np.array([[1.0, 0.0], [1.0, 0.0]])}

    def features(split, name):
        held = counted[split]
        return held if name == "counted" else nats[split] * held

    judge = evals.perplexity()
    assert judge.run(features, True)["perplexity"] == pytest.approx(3.0)
    assert judge.run(features, False)["perplexity"] == pytest.approx(np.sqrt(18))
    counted["test"] = np.zeros((2, 2))
    with pytest.raises(ValueError, match="no token of test is predicted"):
        judge.run(features, True)
