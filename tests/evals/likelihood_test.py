import numpy as np
import pytest

from jssl.evals import Features, likelihood


class Outputs(Features):
    """Nats of each row, by split."""

    def __init__(self, **nats):
        self.nats = nats

    def __call__(self, split, name="h"):
        return self.nats[split] if name == "negative_elbo" else 2 * self.nats[split]


def test_nats_are_averaged_over_the_judged_split():
    features = Outputs(val=np.array([1.0, 2.0]), test=np.array([5.0, 6.0, 10.0]))
    judge = likelihood("negative_elbo", "negative_iwae", details="IWAE of 5 draws")
    assert judge(features, False) == {"negative_elbo": 1.5, "negative_iwae": 3.0}
    assert judge(features, True) == {"negative_elbo": 7.0, "negative_iwae": 14.0}
    assert judge.outputs == ("negative_elbo", "negative_iwae")
    assert judge.protocol == "nats per sample: IWAE of 5 draws"


@pytest.mark.parametrize("nats", [np.ones((2, 2)), np.ones(0), np.array([1, np.nan])])
def test_numbers_that_are_not_one_a_row_are_refused(nats):
    with pytest.raises(ValueError, match="'negative_elbo' must be finite numbers"):
        likelihood("negative_elbo")(Outputs(val=nats), False)
