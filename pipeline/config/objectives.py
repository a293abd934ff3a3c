"""What a training may be judged by: a metric of the validation photos, which of two values is better, how it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ObjectiveName = Literal["val_accuracy", "val_balanced_accuracy", "val_macro_f1", "val_loss"]


@dataclass(frozen=True)
class Objective:
    """A metric to train for.

    Attributes:
        name: of the metric, and the value of the flag.
        words: the metric in words, as in the middle of a sentence.
        meaning: what its value says of a model, as the end of a sentence that begins with the metric.
        is_loss: whether it is a loss in nats, of which less is better, and not a share in 0..1.
    """

    name: ObjectiveName
    words: str
    meaning: str
    is_loss: bool = False

    @property
    def title(self) -> str:
        """The metric in words, as the title of an axis."""
        return self.words[0].upper() + self.words[1:]

    @property
    def pattern(self) -> str:
        """How a table formats a value."""
        return "{:.3f}" if self.is_loss else "{:.1%}"

    def score(self, value: float) -> float:
        """Return the value as a number of which more is better."""
        return -value if self.is_loss else value

    def format(self, value: float) -> str:
        """Return a value as people read it: a share in percent, with a no-break space, or a loss."""
        return f"{value:.3f}" if self.is_loss else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"

    def sentence(self, value: float) -> str:
        """Return a value as a part of a sentence on the validation photos: "82.8 % right", or "a loss of 0.412"."""
        text, metric = self.format(value), self.words.removeprefix("validation ")
        return f"{text} right" if self.name == "val_accuracy" else f"a {metric} of {text}"


OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("val_accuracy", "validation accuracy", "is the share of validation photos that get the right label"),
        Objective(
            "val_balanced_accuracy",
            "validation balanced accuracy",
            "is the share of a class's validation photos that get the right label, averaged over the classes",
        ),
        Objective("val_macro_f1", "validation macro F1", "is the F1 of a class, averaged over the classes"),
        Objective(
            "val_loss", "validation loss", "is the cross-entropy of the probabilities in nats: lower is better", True
        ),
    )
}
