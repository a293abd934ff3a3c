"""The judgement of a finished model on the test photos, and who is champion.

`evaluate` is the only reader of the test split; `assessment` is all that is known of one model, `decision` compares it
with the champion, `parity` makes sure that a fresh process answers as it was judged, `model_card` sums it up. Does not
own what a metric means (`evaluation`), nor the registry (`tracking`).
"""

from pipeline.promotion.evaluate import EvaluationResult, run_evaluation

__all__ = ["EvaluationResult", "run_evaluation"]
