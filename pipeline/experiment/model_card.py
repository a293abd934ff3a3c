"""What people read about a model before they use it: Markdown for its version in the registry, and for runs' notes.

After Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv 1810.03993). Texts are Jinja templates, which
MLflow's interface shows as Markdown; links in them are relative to that interface. The card of an evaluated model is
`promotion.model_card`'s, that of a search `search.search_card`'s.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pipeline.tracking.contents import PREVIEW

if TYPE_CHECKING:
    from jinja2 import Template

    from pipeline.serving import About

MOST_CLASSES = 20  # in a table: MLflow's database keeps 5,000 characters

# What begins a mark, a tag, a cell, a link, a mention or an emoji; underscores within a word do not.
MARKUP = re.compile(r"[\\`*\[\]<>|~#@]|&(?=#?\w+;)|:(?=\S)|(?<![^\W_])_|_(?![^\W_])|(?<!\w)w(?=ww\.)")
LINE_BREAK = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")

MODEL_MACROS = """\
{%- macro model(about) -%}
{% filter replace("\\n", " ") -%}
{{ about.config.variant | code }}
{%- if about.config.weights != "none" %} from weights {{ about.config.weights | code }}{% endif %},
{{ about.image_size }} × {{ about.image_size }} pixels
({{ about.resize | code }}{% for op in about.image_ops %}, {{ op | code }}{% endfor %}),
{{ about.class_names | length }} classes: {{ about.class_names[:most] | join(", ") }}
{{- ", …" if about.class_names | length > most }}.
Trained on photos from {{ about.config.data | code }}, digest {{ about.data_digest[:12] | code }}, with split seed
{{ about.config.split_seed }}.
{%- endfilter %}
{%- endmacro -%}
{%- macro loading(uri) -%}
```python
import mlflow

model = mlflow.pyfunc.load_model({{ uri | tojson }})
model.predict(["photo.jpg"])
```
{%- endmacro -%}
"""

_TRAINING = """\
**{{ "%.1f" % (100 * accuracy) }} % right** on the validation photos, which were also used to choose its best epoch
({{ epoch }}){{ ", for " + chosen_for if chosen_for }}:
expect slightly less on new photos. It has not been evaluated yet.

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
    ``run_link`` and ``most``, and the filter ``code``. Any other text that it inserts is escaped.
    """
    link = Markup(f"#/experiments/{experiment_id}/runs/{run_id}/artifacts")

    def preview(title: str, file: str) -> Markup:
        return Markup(f"[![{title}](get-artifact?path={PREVIEW}&run_uuid={run_id})]({link}/{file})")

    known = {"preview": preview, "run_link": link, "experiment_id": experiment_id, "most": MOST_CLASSES}
    return _template(text).render(**known, **values)


@cache
def _template(text: str) -> Template:
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True, finalize=_escaped)
    environment.filters["code"] = _code
    return environment.from_string(MODEL_MACROS + text)


def _escaped(value: object) -> object:
    """Return a text so that Markdown and HTML show it as it is, names of classes for one, and in one line.

    By character references, which every Markdown reads alike; backslashes are not, MLflow's reader ignores some.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    one_line = " ".join(value.split()) if LINE_BREAK.search(value) else value
    return Markup(MARKUP.sub(lambda found: f"&#{ord(found[0])};", one_line))


def _code(text: str) -> Markup:
    """Return a text as a code span, in which nothing else is read as Markdown or HTML."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return Markup(f"{fence}{space}{' '.join(text.splitlines())}{space}{fence}")
