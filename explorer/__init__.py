"""The Streamlit app that opens a study while it runs: loading, analysis, charts, pages."""
