"""The card of an evaluated model: what it is, how good, how sure, how to load it."""

from __future__ import annotations

import pandas as pd

from pipeline.experiment import render_card
from pipeline.promotion.assessment import Assessment
from pipeline.promotion.decision import Decision
from pipeline.promotion.unseen import JudgedPhotos
from pipeline.promotion.verdict import verdict
from pipeline.serving import About

MOST_CLASSES = 20  # in a table: MLflow's database keeps 5,000 characters
SHOWN_METRICS = ("accuracy", "top_5_accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier", "roc_auc", "ece")

_EVALUATION = """\
**{{ verdict }}**

**{{ summary }}** on {{ photos }} test photos {{ claim }}. Always answering
{{ baseline.largest_class }}, the largest class, would be {{ "%.1f" % (100 * baseline.baseline_accuracy) }} % right.
{% for warning in warnings %}
**{{ warning }}**
{% endfor %}
{{ preview("Confusion matrix", "confusion_matrix.png") }}

### Model

{{ model(about) }}
{{ "{:,.0f}".format(cost.parameters) }} parameters, {{ "%.1f" % cost.size_mb }} MB, {{ "%.2f" % cost.gflops }} GFLOPs
and {{ "%.1f" % cost.latency_ms }} ms per photo (median, without decoding, on the machine that evaluated it).

### Test photos

| metric | value | 95 % interval |
|---|---|---|
{% for name, row in metrics -%}
| {{ name }} | {{ "%.3f" % row["value"] }} | {{ "%.3f" % row["low"] }} to {{ "%.3f" % row["high"] }} |
{% endfor %}
{% if all_classes > classes | length -%}
The {{ classes | length }} weakest of {{ all_classes }} classes, by recall:

{% endif -%}
| class | photos | precision | recall | recall's 95 % interval |
|---|---|---|---|---|
{% for name, row in classes -%}
| {{ name }} | {{ row["support"] }} | {{ "%.2f" % row["precision"] }} | {{ "%.2f" % row["recall"] }}
{#- #} | {{ "%.2f" % row["low"] }} to {{ "%.2f" % row["high"] }} |
{% endfor %}
Probabilities are scaled by the temperature {{ "%.2f" % about.temperature }}, fitted on validation photos: the expected
calibration error is {{ "%.3f" % ece }}, {{ "and was" if ece <= ece_before else "more than the" }}
{{ "%.3f" % ece_before }} without it. As far as these photos show, they are
{{ "" if ece <= ece_by_chance else "not " }}calibrated: calibrated probabilities would have at most
{{ "%.3f" % ece_by_chance }} by chance.
If the least certain photos are refused, the other {{ "%.0f" % (100 * coverage) }} % can be answered 95 % right.
{% for finding in findings -%}
{{ finding }}
{% endfor -%}
{% if worst -%}
Weakest under {% for name, accuracy in worst %}{{ name }} ({{ "%.0f" % (100 * accuracy) }} % right on average)
{{- ", " if not loop.last else "." }}{% endfor %}
{% endif %}
### Promotion

This version {{ promotion }}.
{% for note in notes %}
{{ note }}
{%- endfor %}

### Use

{{ loading(uri) }}

All pictures and tables: [the evaluation's run]({{ run_link }}).
"""


def evaluation_card(
    uri: str, about: About, assessment: Assessment, judged: JudgedPhotos, decision: Decision, experiment_id: str,
    run_id: str,
) -> str:  # fmt: skip
    """Return the model card of an evaluated model: what it is, how good, how sure, how to load it."""
    every_class = assessment.tables["per_class.json"]
    weakest = every_class["recall"].sort_values(kind="stable").index[:MOST_CLASSES]
    per_class = every_class.loc[weakest] if len(every_class) > MOST_CLASSES else every_class
    recalls = assessment.intervals.loc[[f"recall {name}" for name in per_class.index], ["low", "high"]]
    classes = per_class.join(recalls.set_axis(per_class.index))
    return render_card(
        _EVALUATION,
        experiment_id,
        run_id,
        about=about,
        verdict=verdict(assessment),
        summary=assessment.summary,
        baseline=assessment.baseline,
        warnings=[*assessment.warnings, *map(sentence, judged.notes)],
        claim=judged.claim,
        photos=int(every_class["support"].sum()),
        cost=assessment.cost,
        metrics=list(assessment.intervals.loc[assessment.intervals.index.intersection(SHOWN_METRICS)].iterrows()),
        all_classes=len(every_class),
        classes=list(classes.astype({"support": object}).iterrows()),
        ece=assessment.metrics["ece"],
        ece_by_chance=assessment.metrics["ece_by_chance"],
        ece_before=assessment.metrics["ece_uncalibrated"],
        coverage=assessment.metrics["coverage_at_95"],
        findings=assessment.findings,
        worst=_worst(assessment.tables.get("corruptions.csv")),
        promotion=decision.description,
        notes=[sentence(note) for note in decision.notes],
        uri=uri,
    )


def _worst(corruptions: pd.DataFrame | None, count: int = 2) -> list[tuple[str, float]]:
    if corruptions is None:
        return []
    means = corruptions[corruptions["strength"] > 0].groupby("corruption")["accuracy"].mean()
    return [(str(name), float(accuracy)) for name, accuracy in means.nsmallest(count).items()]


def sentence(note: str) -> str:
    """Return a note as a sentence."""
    return f"{note[0].upper()}{note[1:]}."
