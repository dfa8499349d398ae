"""The pages of the app, one module each: its filters, one call of the analysis, its charts.

The folder is not called `pages`: Streamlit takes scripts of a folder of that name beside the app for its
older kind of pages, and the first visitor of a fresh server who follows a link to one would run it alone.
"""
