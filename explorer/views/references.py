"""Reference energies: how each is known, how well, and how the gap closes."""

import streamlit as st

from explorer import analysis, charts, loading
from explorer.views import figures, setting

st.title("References", anchor=False)
opened = loading.selected()
if opened is None or opened.study is None:
    setting.say_nothing_is_open()
references = opened.study.references
if references.is_empty():
    st.info(
        "Nothing here yet: no reference energy of this study's Hamiltonians is known. A sweep computes those that it "
        "lacks; python -m orchestrator SWEEP --plan names them."
    )
    st.stop()

energies = analysis.reference_energies(references)
worst = energies.sort("relative_uncertainty", nulls_last=False).row(-1, named=True)
st.markdown(
    f"**{energies.height} reference energies**; the least certain is known to "
    f"{worst['relative_uncertainty']:.1g} of its value ({worst['method']}, L = {worst['side']})."
)
gaps = analysis.gaps(references)
if not gaps.is_empty():
    figures.show_figure(
        "gaps",
        analysis.gap_headline(gaps),
        charts.gaps(gaps),
        "Energy of the lowest flip-odd state above that of the lowest flip-even one, in units of J; bars: one standard "
        "error, where it is larger than the mark. In the ferromagnet the gap closes exponentially with the number of "
        "spins, and a sampled network's error must be compared with it.",
        gaps,
    )
st.subheader("Energies", anchor=False)
figures.show_table("references", energies)

compared = analysis.reference_differences(references)
if not compared.is_empty():
    st.subheader("Energies that are known in several ways", anchor=False)
    figures.show_table("reference-differences", compared)
