"""docs/finite_size_scaling.md by doing it: its code prints what it shows."""

from tests.documentation import Page

PAGE = Page("finite_size_scaling")


def test_the_code_of_the_page_prints_what_the_page_says():
    code, shown = PAGE.blocks("python"), PAGE.blocks("text")
    assert (len(code), len(shown)) == (3, 3)
    run = PAGE.run(timeout_seconds=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "".join(shown)
