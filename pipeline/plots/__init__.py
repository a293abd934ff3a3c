"""Tables and photos -> matplotlib Figures for the MLflow UI and the report.

Owns colours, fonts, sizes and markers: `charts`, `confidence`, `forest`, `matrices` and `scores` draw tables,
`galleries` draws photos, `search` draws searches, and all share `style`. Does not compute metrics (`evaluation`), read
files, or log.
"""

from pipeline.plots.charts import draw_class_counts, draw_history, draw_trials
from pipeline.plots.confidence import draw_coverage, draw_reliability
from pipeline.plots.forest import draw_ablation
from pipeline.plots.galleries import draw_errors, draw_groups, draw_heat_maps, draw_samples, draw_stages, overlay
from pipeline.plots.matrices import draw_confusion, draw_confusion_difference, most_confused
from pipeline.plots.scores import draw_corruptions, draw_per_class
from pipeline.plots.search import Parameter, draw_importance, draw_parallel_coordinates, draw_slices, draw_timeline

__all__ = [
    "Parameter",
    "draw_ablation",
    "draw_class_counts",
    "draw_confusion",
    "draw_confusion_difference",
    "draw_corruptions",
    "draw_coverage",
    "draw_errors",
    "draw_groups",
    "draw_heat_maps",
    "draw_history",
    "draw_importance",
    "draw_parallel_coordinates",
    "draw_per_class",
    "draw_reliability",
    "draw_samples",
    "draw_slices",
    "draw_stages",
    "draw_timeline",
    "draw_trials",
    "most_confused",
    "overlay",
]
