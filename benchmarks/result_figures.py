"""The figures of docs/results.md, drawn from the exports in data/.

    python -m benchmarks.result_figures

writes docs/images/results_*.png.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import polars as pl
from PIL import Image

from explorer import analysis, charts
from orchestrator.store import read_study

IMAGES = Path("docs/images")
CONFIDENCE = 0.95
# Weights per spin that the pages' panels of magnetisations and fidelities show: where they change.
FEW = (0.5, 20.0)
_QUANTITIES = analysis.QUANTITIES | {
    "mean_magnetization_z": analysis.Quantity("mean_magnetization_z", "mean magnetisation", "|⟨σᶻ⟩|", False)
}


def main() -> None:
    sizes = _states("finite_size-paper")
    trajectories = sizes.filter(pl.col("series") == analysis.TRAJECTORY)
    changing = trajectories.filter(pl.col("parameters_per_spin").is_between(*FEW)).with_columns(
        mean_magnetization_z=pl.col("magnetization_z").abs(),
        mean_magnetization_z_error=pl.col("magnetization_z_error"),
    )
    _write(
        "results_sizes",
        [
            ("error", _curves(trajectories, "error_per_spin")),
            ("fidelity with the level before", _curves(changing, "fidelity")),
            ("size of the magnetisation", _curves(changing, "abs_magnetization_z")),
            ("its mean, 0 where symmetric", _curves(changing, "mean_magnetization_z")),
        ],
    )
    ratios = charts.ratios(analysis.ticket_ratios(sizes.filter(side=4), CONFIDENCE))
    _write("results_tickets", [("errors of tickets", ratios)])
    fields = _states("fields-paper")
    _write(
        "results_fields",
        [
            ("error", _curves(fields, "relative_error", "field")),
            ("fidelity loss of a level", _curves(fields, "log_fidelity_per_spin", "field")),
        ],
    )


def _states(name: str) -> pl.DataFrame:
    return analysis.own_masks(analysis.with_quantities(read_study(Path("data") / name).states))


def _curves(states: pl.DataFrame, column: str, by: str = "side") -> alt.LayerChart:
    quantity, further = _QUANTITIES[column], () if by == "side" else (by,)
    points = analysis.curve_points(states, quantity, further, CONFIDENCE)
    return charts.curves(points, analysis.network_points(states, quantity, further), quantity, by)


def _write(name: str, panels: Sequence[tuple[str, alt.TopLevelMixin]]) -> None:
    """One chart at the width of a column, several side by side at that of a page."""
    if len(panels) == 1:
        drawing = charts.printed(panels[0][1], charts.PRINTS["single"], "", "")
    else:
        drawing = charts.printed(charts.side_by_side(panels, columns=2), charts.PRINTS["double"], "", "")
    picture = Image.open(io.BytesIO(charts.png(drawing))).convert("RGB")
    # A palette is a quarter of the size, and nobody sees it.
    picture.quantize(method=Image.Quantize.FASTOCTREE).save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
