"""The real server and a real browser: pages draw their charts, and a running sweep comes in by itself."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from explorer import analysis, charts
from orchestrator.store import read_study
from tests.explorer import chromium
from tests.explorer.conftest import APP, NETWORKS
from tests.explorer.synthetic_study import write_run_directory
from tests.explorer.test_views import CHARTS

pytestmark = pytest.mark.skipif(chromium.executable() is None, reason="no Chromium is installed")

IS_IDLE = "!document.querySelector('[data-testid=stStatusWidget]')"
COUNT_CHARTS = "document.querySelectorAll('[data-testid=stVegaLiteChart] :is(canvas, svg)').length"
COUNT_EXCEPTIONS = "document.querySelectorAll('[data-testid=stException]').length"
FIRST_METRIC = "document.querySelector('[data-testid=stMetricValue]').innerText"


@pytest.fixture
def server(tmp_path):
    """Starts the app on a directory; returns the address of its first page."""
    processes = []

    def start(directory) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", str(APP)]
        command += ["--server.port", str(port), "--server.headless", "true", "--", str(directory)]
        # From the checkout, so that its .streamlit/config.toml holds.
        processes.append(subprocess.Popen(command, cwd=APP.parents[1], stdout=subprocess.DEVNULL))
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/_stcore/health")
        return address

    yield start
    for process in processes:
        process.terminate()
        process.wait(timeout=20)


def _wait_for(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url).close()
            return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer within 30 s")


@pytest.fixture
def browser(tmp_path):
    with chromium.Chromium(tmp_path / "profile") as browser:
        yield browser


def errors_of_pages(browser) -> list[str]:
    # A link to a page makes Streamlit's client look for its server below that page first: two 404s.
    return [error for error in browser.errors if "/_stcore/" not in error]


def test_a_link_to_any_page_draws_its_charts_without_an_error(server, browser, finished):
    address = server(finished)
    # The default page has no name of its own; it comes last, since a fresh server must know all of them.
    for page in [*(name for name in CHARTS if name != "overview"), ""]:
        browser.open(f"{address}/{page}")
        expected = CHARTS[page or "overview"]
        browser.wait_until(f"{COUNT_CHARTS} == {expected} && {IS_IDLE}")
        assert browser.value(COUNT_EXCEPTIONS) == 0
        assert errors_of_pages(browser) == []


def test_on_a_dark_page_a_figure_is_dark_and_is_saved_for_paper_with_its_table(
    server, browser, finished, tmp_path
):
    browser.prefer_dark()
    browser.open(f"{server(finished)}/")
    drawn = "document.querySelector('[data-testid=stVegaLiteChart] svg')"
    browser.wait_until(f"{drawn} && {IS_IDLE}")
    # Browsers give #1B1B1D as red, green and blue.
    paper = ", ".join(str(int(charts.DARK_PAPER[k : k + 2], 16)) for k in (1, 3, 5))
    browser.wait_until(f"{drawn}.style.backgroundColor == 'rgb({paper})'")
    browser.value("document.querySelector('[data-testid=stExpander] summary').click()")

    def saved(ending: str, button: str):
        found = f"[...document.querySelectorAll('button')].find(each => each.innerText == '{button}')"
        browser.wait_until(f"!!{found}")
        return browser.saved(tmp_path / ending, f"{found}.click()")

    drawing = saved("svg", "SVG")
    assert drawing.name == "runs-by-status.svg"
    text = drawing.read_text(encoding="utf-8")
    assert f'width="{86 / 25.4 * 72:.2f}"' in text and charts.DARK_PAPER not in text
    assert "trajectory</text>" in text and charts.STATUS_COLOURS["done"] in text
    table = pl.read_csv(saved("csv", "CSV"))
    assert_frame_equal(table, analysis.status_counts(read_study(finished).runs), check_dtypes=False)
    assert errors_of_pages(browser) == []


def test_new_networks_come_into_a_figure_by_themselves_and_leave_selections_alone(server, browser, untrained):
    write_run_directory(untrained, NETWORKS, trained=20)
    address = server(untrained)
    browser.open(f"{address}/lottery_tickets?side=3&confidence=0.95")
    browser.wait_until(f"{COUNT_CHARTS} == 1 && {IS_IDLE}")
    write_run_directory(untrained, NETWORKS)
    # Ratios need tickets of two variants.
    browser.wait_until(f"{COUNT_CHARTS} == 2 && {IS_IDLE}")
    assert "side=3" in browser.value("location.search")
    assert "95%" in browser.value("document.body.innerText")
    assert errors_of_pages(browser) == []


def test_a_running_sweep_comes_in_by_itself_and_leaves_selections_alone(server, browser, untrained):
    write_run_directory(untrained, NETWORKS, trained=20)
    address = server(untrained)
    browser.open(f"{address}/?status=done")
    browser.wait_until(f"{COUNT_CHARTS} == 1 && {IS_IDLE}")
    before = browser.value(FIRST_METRIC)
    assert before != "32 of 32"
    write_run_directory(untrained, NETWORKS)
    browser.wait_until(f"{FIRST_METRIC} == '32 of 32'")
    assert "status=done" in browser.value("location.search")
    assert errors_of_pages(browser) == []


def test_a_click_on_a_mark_opens_its_network_and_there_another_level(server, browser, finished):
    marks = "[...document.querySelectorAll('[data-testid=stVegaLiteChart]')[{}].querySelectorAll('path[aria-label*={}]')]"

    def click(chart: int, text: str) -> str:
        """Click the first mark of a chart whose description has the text; returns its run's id."""
        found = marks.format(chart, f'"{text}"')
        description = browser.value(
            f"(() => {{ const mark = {found}[0]; mark.dispatchEvent(new MouseEvent('click', {{bubbles: true}}));"
            " return mark.getAttribute('aria-label') })()"
        )
        return description.split("run: ")[1].split(";")[0]

    browser.open(f"{server(finished)}/lottery_tickets")
    browser.wait_until(f"{COUNT_CHARTS} == 2 && {IS_IDLE}")
    run_id = click(0, "level: 5;")
    browser.wait_until(f"location.pathname == '/networks' && {COUNT_CHARTS} == 6 && {IS_IDLE}")
    assert f"run={run_id}&level=5" in browser.value("location.search")
    assert click(1, "level: 2;") == run_id
    browser.wait_until(
        "location.search.includes('level=2') && document.body.innerText.includes('Level 2: relative')"
    )
    assert f"run={run_id}&level=2" in browser.value("location.search")
    assert errors_of_pages(browser) == []
