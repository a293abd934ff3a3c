"""What people read about a model before they use it: Markdown for its version in the registry, and for runs' notes.

After Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv 1810.03993). Texts are Jinja templates, which
MLflow's interface shows as Markdown; links in them are relative to that interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from jinja2 import Template

    from pipeline.promotion.assessment import Assessment
    from pipeline.serving.classifier import About

MOST_CLASSES = 20  # in a table: MLflow's database keeps 5,000 characters
SHOWN_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier", "roc_auc", "ece")

_MODEL = """\
{%- macro model(about) -%}
{% filter replace("\\n", " ") -%}
`{{ about.config.variant }}`{{ " from weights `%s`" % about.config.weights if about.config.weights != "none" }},
{{ about.image_size }} × {{ about.image_size }} pixels
(`{{ ([about.resize] + about.image_ops | list) | join("`, `") }}`),
{{ about.class_names | length }} classes: {{ about.class_names[:most] | join(", ") }}
{{- ", …" if about.class_names | length > most }}.
Trained on photos from `{{ about.config.data }}`, digest `{{ about.data_digest[:12] }}`, with split seed
{{ about.config.split_seed }}.
{%- endfilter %}
{%- endmacro -%}
{%- macro loading(uri) -%}
```python
import mlflow

mlflow.pyfunc.load_model("{{ uri }}").predict(["photo.jpg"])
```
{%- endmacro -%}
"""

_EVALUATION = """\
**{{ summary }}** on {{ photos }} test photos that no training and no choice has seen.

![Confusion matrix]({{ picture("confusion_matrix.png") }})

### Model

{{ model(about) }}
{{ "{:,.0f}".format(cost.parameters) }} parameters, {{ "%.1f" % cost.size_mb }} MB, {{ "%.2f" % cost.gflops }} GFLOPs
and {{ "%.1f" % cost.latency_ms }} ms a photo (median, without decoding, on the machine that evaluated it).

### Test photos

| metric | value | 95 % interval |
|---|---|---|
{% for name, row in metrics -%}
| {{ name }} | {{ "%.3f" % row["value"] }} | {{ "%.3f" % row["low"] }} to {{ "%.3f" % row["high"] }} |
{% endfor %}
| class | photos | precision | recall | recall's 95 % interval |
|---|---|---|---|---|
{% for name, row in classes -%}
| {{ name }} | {{ row["support"] }} | {{ "%.2f" % row["precision"] }} | {{ "%.2f" % row["recall"] }}
{#- #} | {{ "%.2f" % row["low"] }} to {{ "%.2f" % row["high"] }} |
{% endfor %}
Probabilities are calibrated with the temperature {{ "%.2f" % about.temperature }}, fitted on validation photos: the
expected calibration error is {{ "%.3f" % ece }}, and was {{ "%.3f" % ece_before }} without it.
Refusing the least sure photos, {{ "%.0f" % (100 * coverage) }} % of them can be answered with 95 % right.
{% if worst -%}
Weakest under {% for name, accuracy in worst %}{{ name }} ({{ "%.0f" % (100 * accuracy) }} % right on average)
{{- ", " if not loop.last else "." }}{% endfor %}
{% endif %}
### Promotion

This version {{ promotion }}.

### Use

{{ loading(uri) }}

All pictures and tables: [the evaluation's run]({{ run_link }}).
"""

_TRAINING = """\
**{{ "%.1f" % (100 * accuracy) }} % right** on the validation photos, by which its best epoch ({{ epoch }}) was chosen:
expect a little less on others. It has not been evaluated yet.

![Confusion matrix]({{ picture("confusion_matrix.png") }})

### Model

{{ model(about) }}
{% if uri %}
### Use

{{ loading(uri) }}
{% endif %}
[The training's run]({{ run_link }}).
"""

_SEARCH = """\
**Trial {{ trial }} won** with {{ "%.1f" % (100 * accuracy) }} % right on the validation photos
{{- " (mean of %d fresh seeds)" % seeds if seeds }}; {{ states }}.

![Trials]({{ picture("trials.png") }})

The winner is [this run](#/experiments/{{ experiment_id }}/runs/{{ winner_run }}). To compare trials: the list of runs,
select, *Compare*.
"""


def evaluation_card(uri: str, about: About, found: Assessment, promotion: str, experiment_id: str, run_id: str) -> str:
    """Return the model card of an evaluated model: what it is, how good, how sure, how to load it.

    ``promotion`` says whether it became champion, and why.
    """
    per_class = found.tables["per_class.json"].iloc[:MOST_CLASSES]
    recalls = found.intervals.loc[[f"recall {name}" for name in per_class.index], ["low", "high"]]
    classes = per_class.join(recalls.set_axis(per_class.index))
    return _render(
        _EVALUATION,
        experiment_id,
        run_id,
        about=about,
        summary=found.summary,
        photos=int(found.tables["per_class.json"]["support"].sum()),
        cost=found.cost,
        metrics=list(found.intervals.loc[list(SHOWN_METRICS)].iterrows()),
        classes=list(classes.astype({"support": object}).iterrows()),
        ece=found.metrics["ece"],
        ece_before=found.metrics["ece_uncalibrated"],
        coverage=found.metrics["coverage_at_95"],
        worst=_worst(found.tables.get("corruptions.csv")),
        promotion=promotion,
        uri=uri,
    )


def training_card(about: About, accuracy: float, epoch: int, uri: str, experiment_id: str, run_id: str) -> str:
    """Return what is known of a model that was trained and not evaluated yet; ``uri`` is empty if it was not logged."""
    return _render(_TRAINING, experiment_id, run_id, about=about, accuracy=accuracy, epoch=epoch, uri=uri)


def search_card(
    trial: int, accuracy: float, seeds: int, states: Mapping[str, int], winner_run: str, experiment_id: str, run_id: str
) -> str:
    """Return what a search came to; ``states`` has the number of trials that are complete, pruned, and so on."""
    counts = ", ".join(f"{count} trials {state}" for state, count in states.items())
    return _render(
        _SEARCH, experiment_id, run_id, trial=trial, accuracy=accuracy, seeds=seeds, states=counts,
        winner_run=winner_run,
    )  # fmt: skip


def _worst(corruptions: pd.DataFrame | None, count: int = 2) -> list[tuple[str, float]]:
    if corruptions is None:
        return []
    means = corruptions[corruptions["strength"] > 0].groupby("corruption")["accuracy"].mean()
    return [(str(name), float(accuracy)) for name, accuracy in means.nsmallest(count).items()]


def _render(text: str, experiment_id: str, run_id: str, **values: Any) -> str:
    def picture(file: str) -> str:
        return f"get-artifact?path={file}&run_uuid={run_id}"

    link = f"#/experiments/{experiment_id}/runs/{run_id}/artifacts"
    known = {"picture": picture, "run_link": link, "experiment_id": experiment_id, "most": MOST_CLASSES}
    return _template(text).render(**known, **values)


@cache
def _template(text: str) -> Template:
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # Markdown, not HTML
    return environment.from_string(_MODEL + text)
