"""The report of an ablation: what helps, what hurts, and what cannot be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from pipeline.config import Objective
from pipeline.report.page import Page, Picture, Section, Table, render


@dataclass(frozen=True)
class AblationReport:
    """The content of the page.

    Attributes:
        title: of the page.
        base: a sentence on the base.
        table: `effects.difference_table`.
        sentences: one per factor.
        caveat: what an interval says, and what not.
        figure: the forest plot.
        objective: what was measured.
        facts: what identifies data and run.
    """

    title: str
    base: str
    table: pd.DataFrame
    sentences: Sequence[str]
    caveat: str
    figure: Figure
    objective: Objective
    facts: Mapping[str, str] = field(default_factory=dict)


def ablation_report(report: AblationReport) -> str:
    """Return the page of an ablation."""
    scale, unit, digits = (1, "nats", 3) if report.objective.is_loss else (100, "points", 1)
    best_first = {"ascending": report.objective.is_loss, "na_position": "last", "kind": "stable"}
    ordered = report.table.sort_values("difference", **best_first)
    settings = [f"{row.factor} = {row.value}" for row in ordered.itertuples()]
    frame = pd.DataFrame({"setting": settings, f"change, {unit}": scale * ordered["difference"].to_numpy()})
    frame["95 % interval"] = [
        f"{scale * row.low:+.{digits}f} to {scale * row.high:+.{digits}f}" if pd.notna(row.low) else None
        for row in ordered.itertuples()
    ]
    frame["verdict"] = ordered["verdict"].to_numpy()
    table = Table(frame, {f"change, {unit}": f"{{:+.{digits}f}}"}, caption="The settings, the best first")
    alt = "Forest plot: each setting's difference to the base, with its interval and the differences of single seeds"
    sections = [
        Section("What each setting changes", report.caveat, tables=[table]),
        Section("Seed by seed", pictures=[Picture(report.figure, alt)]),
    ]
    return render(Page(report.title, [_verdict(ordered), report.base, *report.sentences], report.facts, sections))


def _verdict(table: pd.DataFrame) -> str:
    """Return the first sentence: how many settings help and hurt, and which one to keep."""
    counts = table["verdict"].value_counts()
    found = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("helps", "hurts") if verdict in counts)
    if not found:
        return "No setting differs from the base beyond chance: keep the base, or try more seeds."
    first = table.iloc[0]
    keep = f"keep {first['factor']}={first['value']}" if first["verdict"] == "helps" else "keep the base"
    return f"Of {len(table)} settings {found}: {keep}."
