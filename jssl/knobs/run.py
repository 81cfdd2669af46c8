"""Knobs of the execution of stages."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from jssl.config import Count, Range, Stage
from jssl.data import Source
from jssl.method import Method, beneath


@dataclass(frozen=True, kw_only=True)
class Run:
    """Execution of the stages of a config.

    Attributes:
      seed: Random seed: weights, views, data order.
      mesh: Device mesh, e.g. data=8 or data=64;fsdp=4; empty: all devices on data.
      dispatch: Steps compiled into one call; larger values are faster for small networks.
      eval_every: Steps between evaluations of 1,024 rows, by the evals that take seconds;
        0: five in a stage, -1: only at the end.
      save_every: Steps between checkpoints; 0: only at the end.
      init: Workdir of a run, or file of weights, whose encoder is the start of every stage
        that does not continue an earlier one.
      baselines: Evaluate the baselines too: raw input, untrained network, supervised
        reference.
    """

    seed: int = 0
    mesh: str = ""
    dispatch: Count = 1
    eval_every: Annotated[int, Range(-1)] = 0
    save_every: int = 200
    init: str = ""
    baselines: bool = True

    def stage(
        self, name: str, method: Method, train: Source, steps: int, **more: Any
    ) -> Stage:
        """A stage with these settings; `more` are further fields."""
        fields = dict(vars(self))
        fields["eval_every"] = max(self.eval_every or -(-steps // 5), 0)
        fields["init"] = "" if more.get("start") else self.init
        fields["baselines"] = {}
        more = {k: x for k, x in more.items() if k != "baselines" or self.baselines}
        return Stage(name=name, method=method, data=train, steps=steps, **(fields | more))

    def baseline(
        self, name: str, method: Method, train: Source, steps: int, **more: Any
    ) -> Stage:
        """A stage without intermediate checkpoints and evaluations."""
        quiet = dict(eval_every=0, save_every=0, init="")
        return self.stage(name, method, train, steps, **(quiet | more))

    def layers(self, stack: Iterable[Method], train: Source, steps: int) -> list[Stage]:
        """Stages "layer1", "layer2" ... of a greedy stack of methods."""
        return [
            self.stage(
                f"layer{i + 1}",
                method,
                train,
                steps,
                start=beneath(f"layer{i}") if i else None,
            )
            for i, method in enumerate(stack)
        ]
