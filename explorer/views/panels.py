"""A network's filters as small multiples, a page of them at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
import streamlit as st

from explorer import analysis, captions, charts, headlines
from explorer.views import address, figures

PAGE_SIZES = (12, 24, 48, 96)


def show_filters(layer: analysis.HiddenLayer) -> None:
    """The filters of a hidden layer, as small multiples, with their counts by class."""
    table = analysis.filters(layer)
    counts = analysis.class_counts(table)
    if table.is_empty():
        st.info(
            "No hidden unit of this network has a live weight: it gives every configuration the same amplitude."
        )
        return
    by = address.choose(
        "Sorted by", "sort", analysis.SORTS, analysis.SORTS[0], widget=st.radio, horizontal=True
    )
    table = analysis.sorted_filters(table, by)
    headline = headlines.filter_headline(counts, layer.mask.shape[1])
    if layer.lattice is None:
        st.subheader(headline, anchor=False)
        st.info(
            "Where the spins of this Hamiltonian are is not in the tables, so its filters are listed and not drawn."
        )
        figures.show_table("filters", table)
        return
    shown = table[_choose_page(len(table))]
    weights = analysis.filter_weights(layer, shown["unit"].to_list())
    figures.show_figure(
        "filters",
        headline,
        charts.filters_on_lattice(shown, weights, layer.lattice, float(table["largest"].max())),
        captions.filter_caption(layer.is_toric_code, layer.lattice.period is not None),
        table,
        code="""layer = analysis.hidden_layer(study.weights(run_id, level), network)
table = analysis.sorted_filters(analysis.filters(layer), "class")
weights = analysis.filter_weights(layer, table["unit"].to_list())
chart = charts.filters_on_lattice(table, weights, layer.lattice, table["largest"].max())""",
    )
    with st.expander("Filters by class"):
        figures.show_table("filter-classes", counts)


@dataclass(frozen=True)
class Products:
    """A column of means of products as a page shows it.

    Attributes:
        column: of a study's states.
        name: of the mean, in a headline.
        what: the mean, in words.
        at: the letter of its distances.
        titles: of the axes.
        missing: the sentence where a network has none.
        exact: its value in the ground state, where that is known.
    """

    column: str
    name: str
    what: str
    at: str
    titles: tuple[str, str]
    missing: str
    exact: float | None = None


CORRELATIONS = Products(
    analysis.CORRELATION,
    "⟨σᶻσᶻ⟩ is",
    "Correlations of two spins r apart along an axis, averaged over all pairs,",
    "r",
    ("distance r along an axis", "⟨σᶻᵢ σᶻᵢ₊ᵣ⟩"),
    "Spin–spin correlations of this network are not in the tables: they are recorded on chains and square lattices, and "
    "not in studies that are older than the column correlation_z.",
)
WILSON_LOOPS = Products(
    analysis.LOOPS,
    "Wilson loops are",
    "Π σᶻ around squares of k × k plaquettes, averaged over all places (dashed: the ground states),",
    "k",
    ("side k of the square", "⟨Π σᶻ⟩"),
    "Wilson loops of this network are not in the tables: the study is older than the column wilson_loops.",
    1.0,
)


def show_products(networks: pl.DataFrame, network: Mapping, products: Products) -> None:
    """What was recorded of a mean of products for a network, beside the ends of its run.

    Args:
        networks: of the run, from `chosen.choose_run`.
        network: the one that is shown.
    """
    shown = analysis.beside_dense_and_sparsest(networks, network["level"])
    table = analysis.product_means(shown, products.column)
    if network["level"] not in table["level"]:
        st.info(products.missing)
        return
    figures.show_figure(
        products.column.replace("_", "-"),
        headlines.product_headline(table, network["level"], products.name, products.at),
        charts.products(table, products.titles, products.exact),
        captions.product_caption(table, products.what),
        table,
    )


def show_kernels(kernels: pl.DataFrame) -> None:
    """The kernels of one convolution as tiles."""
    layers = kernels["layer"].unique().sort().to_list()
    layer = layers[0]
    if len(layers) > 1:
        layer = address.choose("Layer", "layer", layers, layers[0])
    table = kernels.filter(pl.col("layer") == layer)
    numbered = table.with_columns(number=pl.struct("filter", "channel").rle_id())
    part = _choose_page(int(numbered["number"].max()) + 1)
    shown = numbered.filter(pl.col("number").is_between(part.start, part.stop - 1)).drop("number")
    live = table["weight"].is_not_null().sum()
    figures.show_figure(
        "kernels",
        f"{layer}: {live} of {len(table)} weights are live",
        # A layer that is pruned away has no scale of its own.
        charts.kernel_tiles(shown, float(table["weight"].abs().max() or 1.0)),
        "Tiles: weights of one kernel, at its place among the neighbours that it sums over; a grey dot: pruned. "
        "The scale is symmetric and that of the whole layer.",
        table,
    )


def _name_of_page(page: int, count: int, size: int) -> str:
    """Which of the filters a page has."""
    return f"{page * size + 1}–{min(count, (page + 1) * size)} of {count}"


def _choose_page(count: int) -> slice:
    """Which of so many panels are drawn."""
    left, right = st.columns(2)
    with left:
        size = address.choose("Filters a page", "filters", PAGE_SIZES, PAGE_SIZES[1])
    with right:
        pages = range(math.ceil(count / size))
        names = [_name_of_page(page, count, size) for page in pages]
        page = address.choose("Shown", "page", list(pages), 0, names=names.__getitem__)
    return slice(page * size, (page + 1) * size)
