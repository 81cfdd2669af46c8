"""Knobs of small data sets of videos."""

from collections.abc import Callable
from dataclasses import dataclass

from jssl import evals
from jssl.data import Source
from jssl.knobs.images import Images
from jssl.knobs.motion import in_motion
from jssl.knobs.run import Run


@dataclass(frozen=True, kw_only=True)
class Videos(Images):
    """A small data set of videos that fits in memory, with a supervised baseline.

    Attributes:
      source: Data set: moving_digits, bouncing_digits, doom:SCENARIO, clips:FOLDER ...
      supervised_epochs: Training length of the supervised baseline (cached), in epochs; 0
        omits it.
    """

    source: str = "moving_digits"

    def load(self, run: Run, labeled: bool = False, patch: int = 1) -> Source:
        """As of `Data`.

        Raises:
          ValueError: a data set without clips.
        """
        return in_motion(super().load(run, labeled, patch))

    def actions(self, train: Source) -> dict[str, Callable]:
        """The evaluation of action recognition, of the classes of a source."""
        return {"action": evals.video_action(train.class_names)}
