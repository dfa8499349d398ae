"""One module a page: its filters, one call of the analysis, its charts."""
