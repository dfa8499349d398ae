"""From points to Altair charts: pure functions that look the same on a page, in print and in a talk."""

from explorer.charts.axes import (
    INTERVAL_ROOM,
    tick_labels,
)
from explorer.charts.collapse import collapse
from explorer.charts.curves import (
    HORIZONTAL,
    agreement,
    curves,
    ratios,
)
from explorer.charts.filters import (
    against_chance,
    filter_classes,
    mask_comparison,
    with_ring,
    with_vertical_line,
)
from explorer.charts.lattice import (
    drawing_of,
    filters_on_lattice,
    kernel_tiles,
)
from explorer.charts.look import (
    METHOD_LABELS,
    SERIES_COLOURS,
    SERIES_LABELS,
    SERIES_SHAPES,
    side_colour,
    side_shape,
    value_label,
)
from explorer.charts.mask_transfer import (
    RANDOM_MASK,
    mask_transfer,
)
from explorer.charts.phase_diagram import (
    VERTICAL,
    phase_diagram,
)
from explorer.charts.printing import (
    PRINTS,
    Print,
    pdf,
    png,
    printed,
    side_by_side,
    specification,
    svg,
)
from explorer.charts.products import products
from explorer.charts.progress import (
    KINDS,
    STATUS_COLOURS,
    run_states,
)
from explorer.charts.references import (
    gaps,
)
from explorer.charts.regions import (
    REGION_AXES,
    region_boundaries,
    regions,
)
from explorer.charts.robustness import (
    replicates,
)
from explorer.charts.screen import (
    DARK_PAPER,
    ZOOM_HINT,
    on_screen,
)
from explorer.charts.selection import (
    selectable,
)
from explorer.charts.sheets import (
    SheetFigure,
    SheetPanel,
    sheet,
)
from explorer.charts.streams import (
    in_streams,
)
from explorer.charts.toric_code import (
    parity_energy,
)
from explorer.charts.training import (
    training_by_method,
    training_curve,
)
from explorer.charts.transitions import (
    VERDICT_SHAPES,
    branch_differences,
    energy_drift,
    envelope,
    level_steps,
    transition_places,
)

__all__ = [
    "DARK_PAPER",
    "HORIZONTAL",
    "INTERVAL_ROOM",
    "KINDS",
    "METHOD_LABELS",
    "PRINTS",
    "RANDOM_MASK",
    "REGION_AXES",
    "SERIES_COLOURS",
    "SERIES_LABELS",
    "SERIES_SHAPES",
    "STATUS_COLOURS",
    "VERDICT_SHAPES",
    "VERTICAL",
    "ZOOM_HINT",
    "Print",
    "SheetFigure",
    "SheetPanel",
    "against_chance",
    "agreement",
    "branch_differences",
    "collapse",
    "curves",
    "drawing_of",
    "energy_drift",
    "envelope",
    "filter_classes",
    "filters_on_lattice",
    "gaps",
    "in_streams",
    "kernel_tiles",
    "level_steps",
    "mask_comparison",
    "mask_transfer",
    "on_screen",
    "parity_energy",
    "pdf",
    "phase_diagram",
    "png",
    "printed",
    "products",
    "ratios",
    "region_boundaries",
    "regions",
    "replicates",
    "run_states",
    "selectable",
    "sheet",
    "side_by_side",
    "side_colour",
    "side_shape",
    "specification",
    "svg",
    "tick_labels",
    "training_by_method",
    "training_curve",
    "transition_places",
    "value_label",
    "with_ring",
    "with_vertical_line",
]
