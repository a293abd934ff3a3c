"""What people read about a model before they use it: Markdown for its version in the registry, and for runs' notes.

After Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv 1810.03993). Texts are Jinja templates, which
MLflow's interface shows as Markdown; links in them are relative to that interface. The card of an evaluated model is
`promotion.model_card`'s, that of a search `search.search_card`'s.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pipeline.tracking.contents import PREVIEW

if TYPE_CHECKING:
    from jinja2 import Template

    from pipeline.serving import About

MOST_CLASSES = 20  # in a table: MLflow's database keeps 5,000 characters

MODEL_MACROS = """\
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

model = mlflow.pyfunc.load_model("{{ uri }}")
model.predict(["photo.jpg"])
```
{%- endmacro -%}
"""

_TRAINING = """\
**{{ "%.1f" % (100 * accuracy) }} % right** on the validation photos, by which its best epoch ({{ epoch }}) was chosen
{{- ", for " + chosen_for if chosen_for }}:
expect a little less on others. It has not been evaluated yet.

{{ preview("Confusion matrix", "confusion_matrix.png") }}

### Model

{{ model(about) }}
{% if uri %}
### Use

{{ loading(uri) }}
{% endif %}
[The training's run]({{ run_link }}).
"""


def training_card(
    about: About, accuracy: float, epoch: int, chosen_for: str, uri: str, experiment_id: str, run_id: str
) -> str:
    """Return what is known of a model that was trained and not evaluated yet.

    Args:
        about: what it remembers.
        accuracy: on the validation photos, in 0..1.
        epoch: its best one.
        chosen_for: what else than that it is best in, such as "a macro F1 of 71.2 %".
        uri: of the model; empty if it was not logged.
        experiment_id: of its run.
        run_id: of its run.
    """
    values = {"about": about, "accuracy": accuracy, "epoch": epoch, "chosen_for": chosen_for, "uri": uri}
    return render_card(_TRAINING, experiment_id, run_id, **values)


def render_card(text: str, experiment_id: str, run_id: str, **values: Any) -> str:
    """Return a card from its template.

    It may use `MODEL_MACROS`, ``preview(title, file)``, which shows the run's preview of a picture and leads to that,
    ``run_link`` and ``most``.
    """
    link = f"#/experiments/{experiment_id}/runs/{run_id}/artifacts"

    def preview(title: str, file: str) -> str:
        return f"[![{title}](get-artifact?path={PREVIEW}&run_uuid={run_id})]({link}/{file})"

    known = {"preview": preview, "run_link": link, "experiment_id": experiment_id, "most": MOST_CLASSES}
    return _template(text).render(**known, **values)


@cache
def _template(text: str) -> Template:
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # Markdown, not HTML
    return environment.from_string(MODEL_MACROS + text)
