"""The page of docs/ that explains every column is the one that the schemas make."""

from orchestrator.data_dictionary import PAGE, page


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m orchestrator.data_dictionary writes it anew"
