"""From trained networks to the points of the figures: Polars in, Polars out, nothing of the app.

Every function takes the joined `states` of a study (one row a trained network, with its run's fields, its
reference energy and the ids by which it clusters) or what another function here made of them, so that a
notebook asks as the pages do:

    from explorer import analysis
    from orchestrator.store import read_study

    states = analysis.with_quantities(read_study(Path("data/finite_size-laptop")).states)
    analysis.curve_points(states, analysis.QUANTITIES["relative_error"], confidence=0.95)
"""

from explorer.analysis.collapse import (
    BY_LIKELIHOOD,
    CONTINUOUS,
    FIRST_ORDER,
    Collapse,
    Estimate,
    NoCollapse,
    ScalingForm,
    collapse,
    collapsed_points,
    scaling_function,
)
from explorer.analysis.collapse_intervals import (
    BY_CLUSTERS,
    BY_NOISE,
    bootstrapped,
)
from explorer.analysis.collapse_quality import (
    houdayer_hartmann,
)
from explorer.analysis.collapse_systematics import (
    SURE_DEVIATION,
    collapse_choices,
    compare_forms,
    systematic_errors,
)
from explorer.analysis.curves import (
    curve_points,
    network_points,
)
from explorer.analysis.decimation import (
    MOST_MARKS,
    thinned,
)
from explorer.analysis.equivalence import (
    ALPHA,
    EQUIVALENCE_VERDICTS,
    ticket_equivalence,
)
from explorer.analysis.filters import (
    BY_DRAWS,
    DIRECT,
    SORTS,
    HiddenLayer,
    class_counts,
    compare_directly,
    compare_invariants,
    degree_distribution,
    filter_weights,
    filters,
    hidden_layer,
    kernels,
    range_distribution,
    sorted_filters,
)
from explorer.analysis.intervals import (
    BY_MEASUREMENT,
    BY_TRAJECTORIES,
    NO_INTERVAL,
)
from explorer.analysis.phase_diagram import (
    DECADES,
    contour_levels,
    contour_lines,
    grid_cells,
    interpolated,
    phase_points,
)
from explorer.analysis.products import (
    CORRELATION,
    LOOPS,
    PLAQUETTE,
    STAR,
    beside_dense_and_sparsest,
    product_means,
)
from explorer.analysis.progress import (
    UNFINISHED,
    remaining_work,
    stale_runs,
    status_counts,
    troubled_runs,
)
from explorer.analysis.pruning_methods import (
    REFERENCE_METHOD,
    method_ratios,
    of_methods,
)
from explorer.analysis.quantities import (
    QUANTITIES,
    ROUNDING,
    SETTINGS,
    TRAJECTORY,
    VARIANTS,
    Quantity,
    below_reference,
    own_masks,
    sides_without_reference,
    what_varied,
    with_quantities,
)
from explorer.analysis.references import (
    gap_headline,
    gaps,
    reference_differences,
    reference_energies,
)
from explorer.analysis.regions import (
    BOUNDARIES,
    REGION_VALUES,
    Regions,
    fit_regions,
)
from explorer.analysis.robustness import (
    TABLE_CONFIDENCE,
    replicate_table,
)
from explorer.analysis.sizes import (
    agreement_windows,
    size_agreement,
)
from explorer.analysis.tickets import (
    TICKET_PAIRS,
    mask_transfer,
    ratio_summary,
    ticket_ratios,
)
from explorer.analysis.toric_code import (
    FULL_WEIGHTS_PER_SPIN,
    built_networks,
    closed_form,
    parity_table,
)
from explorer.analysis.transitions import (
    BY_REPLICATES,
    BY_STEP,
    CRITERIA,
    NO_JUMP,
    ORDER_PARAMETERS,
    REGROWN,
    VERDICTS,
    Criterion,
    branch_differences,
    detect_transitions,
    level_steps,
    lowest_energy_envelope,
    step_points,
)

__all__ = [
    "ALPHA",
    "BOUNDARIES",
    "BY_CLUSTERS",
    "BY_DRAWS",
    "BY_LIKELIHOOD",
    "BY_MEASUREMENT",
    "BY_NOISE",
    "BY_REPLICATES",
    "BY_STEP",
    "BY_TRAJECTORIES",
    "CONTINUOUS",
    "CORRELATION",
    "CRITERIA",
    "DECADES",
    "DIRECT",
    "EQUIVALENCE_VERDICTS",
    "FIRST_ORDER",
    "FULL_WEIGHTS_PER_SPIN",
    "LOOPS",
    "MOST_MARKS",
    "NO_INTERVAL",
    "NO_JUMP",
    "ORDER_PARAMETERS",
    "PLAQUETTE",
    "QUANTITIES",
    "REFERENCE_METHOD",
    "REGION_VALUES",
    "REGROWN",
    "ROUNDING",
    "SETTINGS",
    "SORTS",
    "STAR",
    "SURE_DEVIATION",
    "TABLE_CONFIDENCE",
    "TICKET_PAIRS",
    "TRAJECTORY",
    "UNFINISHED",
    "VARIANTS",
    "VERDICTS",
    "Collapse",
    "Criterion",
    "Estimate",
    "HiddenLayer",
    "NoCollapse",
    "Quantity",
    "Regions",
    "ScalingForm",
    "agreement_windows",
    "below_reference",
    "beside_dense_and_sparsest",
    "bootstrapped",
    "branch_differences",
    "built_networks",
    "class_counts",
    "closed_form",
    "collapse",
    "collapse_choices",
    "collapsed_points",
    "compare_directly",
    "compare_forms",
    "compare_invariants",
    "contour_levels",
    "contour_lines",
    "curve_points",
    "degree_distribution",
    "detect_transitions",
    "filter_weights",
    "filters",
    "fit_regions",
    "gap_headline",
    "gaps",
    "grid_cells",
    "hidden_layer",
    "houdayer_hartmann",
    "interpolated",
    "kernels",
    "level_steps",
    "lowest_energy_envelope",
    "mask_transfer",
    "method_ratios",
    "network_points",
    "of_methods",
    "own_masks",
    "parity_table",
    "phase_points",
    "product_means",
    "range_distribution",
    "ratio_summary",
    "reference_differences",
    "reference_energies",
    "remaining_work",
    "replicate_table",
    "scaling_function",
    "sides_without_reference",
    "size_agreement",
    "sorted_filters",
    "stale_runs",
    "status_counts",
    "step_points",
    "systematic_errors",
    "thinned",
    "ticket_equivalence",
    "ticket_ratios",
    "troubled_runs",
    "what_varied",
    "with_quantities",
]
