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
        table: `effects.difference_table`, what pays first.
        sentences: one per factor.
        caveat: what an interval says, and what not, and what the seeds can tell.
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
    rows = report.table
    settings = [f"{row.factor} = {row.value}" for row in rows.itertuples()]
    frame = pd.DataFrame({"setting": settings, f"change, {unit}": scale * rows["difference"].to_numpy()})
    frame["95 % interval"] = [
        f"{scale * row.low:+.{digits}f} to {scale * row.high:+.{digits}f}" if pd.notna(row.low) else None
        for row in rows.itertuples()
    ]
    frame["verdict"] = rows["verdict"].to_numpy()
    frame["minutes a training"] = rows["minutes"].to_numpy()
    formats = {f"change, {unit}": f"{{:+.{digits}f}}", "minutes a training": "{:.1f}"}
    table = Table(frame, formats, caption="The settings, largest gain per minute of training first")
    alt = "Forest plot: each setting's difference from the base, with its interval and the differences of single seeds"
    sections = [
        Section("What each setting changes", report.caveat, tables=[table]),
        Section("Seed by seed", pictures=[Picture(report.figure, alt)]),
    ]
    return render(Page(report.title, [_verdict(rows), report.base, *report.sentences], report.facts, sections))


def _verdict(table: pd.DataFrame) -> str:
    """Return the first sentence: how many settings help and hurt, and which one to keep."""
    counts = table["verdict"].value_counts()
    found = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("helps", "hurts") if verdict in counts)
    if not found:
        return "No setting differs from the base beyond chance: keep the base, or try more seeds."
    first = table.iloc[0]
    keep = f"keep {first['factor']}={first['value']}" if first["verdict"] == "helps" else "keep the base"
    return f"Of {len(table)} settings {found}: {keep}."
