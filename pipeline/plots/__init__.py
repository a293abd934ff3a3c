"""Tables and photos -> matplotlib Figures for people to compare in the MLflow UI and the report.

Owns colours, type, sizes and what is marked: tables are drawn in `charts`, photos in `galleries`, and both
share `style`. Does not compute metrics (`evaluation` does), read files, or log.
"""

from pipeline.plots.charts import draw_class_counts, draw_confusion, draw_history, draw_reliability, draw_trials
from pipeline.plots.galleries import draw_errors, draw_heat_maps, draw_samples

__all__ = [
    "draw_class_counts",
    "draw_confusion",
    "draw_errors",
    "draw_heat_maps",
    "draw_history",
    "draw_reliability",
    "draw_samples",
    "draw_trials",
]
