"""docs/masks.md by doing it: its code prints the numbers that it shows."""

from tests.documentation import Page

PAGE = Page("masks")


def test_the_code_of_the_page_prints_what_the_page_says():
    code, shown = PAGE.blocks("python"), PAGE.blocks("text")
    assert (len(code), len(shown)) == (5, 4)
    run = PAGE.run(timeout_seconds=600)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "".join(shown)
