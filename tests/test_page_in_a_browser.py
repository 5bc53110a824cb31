"""The page in a real browser: it draws, sorts, filters and folds without a request, in both schemes, at two widths."""

import json
import shutil
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from planted import experiment
from test_page import HOSTILE, page_of, sheet_of

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
waiting = pytest.importorskip("selenium.webdriver.support.ui", reason="pip install selenium")
BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no chromium and chromedriver: apt install chromium-driver"
)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--hide-scrollbars", "--window-size=1280,1100",
)  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A page with everything that a browser has to do something for, and with a hostile arm."""
    folder, made = tmp_path_factory.mktemp("page"), experiment(+2.0, -2.0, treatments=8)
    made.records[:] = [replace(r, arm=HOSTILE) if r.arm == "blur" else r for r in made.records]
    path, *_ = sheet_of(folder)
    page = folder / "index.html"
    page.write_text(page_of(made, [path]), encoding="utf-8")
    return page


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def opened(browser, file, width=1280, scheme="light"):
    """The page, drawn, in a window of a width; whatever a page before it wrote to the log is gone."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in media.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(file.as_uri())
    deadline = time.monotonic() + 120
    while not (drawn := browser.execute_script("return document.documentElement.dataset.drawn")):
        assert time.monotonic() < deadline, browser.get_log("browser")
        time.sleep(0.1)
    assert int(drawn) == browser.execute_script("return document.querySelectorAll('.chart svg').length")
    return browser


def rows(browser):
    """The arms that the first leaderboard shows, from top to bottom."""
    shown = "[...document.querySelectorAll('.board')][0].querySelectorAll('tbody th > details > summary')"
    return browser.execute_script(f"return [...{shown}].map(arm => arm.firstChild.textContent.trim())")


def test_it_draws_without_an_error_or_a_request_and_runs_no_name(browser, file):
    opened(browser, file)
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert {url for url in asked if not url.startswith("data:")} == {file.as_uri()}
    assert browser.execute_script("return typeof owned") == "undefined"
    assert HOSTILE.replace(":", " ") in " ".join(rows(browser)), "it is shown as it is read, and does nothing"


def test_the_policy_refuses_scripts_and_requests(browser, file):
    opened(browser, file)
    browser.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.injected = 1';"
        "document.body.append(script);"
        "const image = new Image(); image.src = 'https://example.org/x.png'; document.body.append(image);"
    )
    assert browser.execute_script("return typeof injected") == "undefined"
    refused = " ".join(entry["message"] for entry in browser.get_log("browser"))
    assert "script-src" in refused and "img-src" in refused


def test_a_leaderboard_sorts_filters_and_folds(browser, file):
    opened(browser, file)
    first = rows(browser)
    heads = browser.find_elements("css selector", "table.sortable thead th")
    heads[1].click()
    assert rows(browser) == sorted(rows(browser), key=str.lower) != first
    search = browser.find_element("css selector", ".dt-search input")
    search.send_keys("net3")
    assert len(rows(browser)) == 2 and all("net3" in arm for arm in rows(browser))
    board = browser.find_element("css selector", "details.board")
    for open_now in (False, True):
        board.find_element("css selector", "summary").click()
        assert board.get_property("open") is open_now
    cell = browser.find_element("css selector", "table.sortable tbody details")
    cell.find_element("css selector", "summary").click()
    assert "run again" in cell.text and "pytest bench" in cell.text


def test_the_numbers_of_a_chart_are_a_table_that_a_keyboard_reaches(browser, file):
    opened(browser, file)
    summary = browser.find_element("css selector", "details.numbers summary")
    summary.send_keys("\n")
    script = "return [...document.querySelectorAll('details.numbers[open] tbody tr')].map(r => r.innerText)"
    found = waiting.WebDriverWait(browser, 10).until(lambda b: b.execute_script(script))  # the table is made on opening
    assert len(found) > 5 and any("dip net0 100" in row for row in found)


def test_pictures_become_the_target_or_the_difference(browser, file):
    opened(browser, file)
    at = "return getComputedStyle(document.querySelectorAll('.picture')[2]).backgroundPosition"
    own = browser.execute_script(at)
    for value, changes in (("differences", ", "), ("targets", "0%")):
        browser.execute_script(f"document.querySelector('[value={value}]').click()")
        assert browser.execute_script(at) != own and changes in browser.execute_script(at)


@pytest.mark.skipif(find_spec("axe_core_python") is None, reason="pip install axe-core-python")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (380, "dark")])
def test_everybody_can_read_it(browser, file, width, scheme):
    opened(browser, file, width, scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width, "nothing is cut off"
    browser.execute_script("document.querySelectorAll('details').forEach(details => details.open = true)")
    folder = find_spec("axe_core_python").submodule_search_locations[0]
    browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    browser.execute_script((Path(folder) / "axe.min.js").read_text(encoding="utf-8"))
    browser.set_script_timeout(120)
    found = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert [
        f"{v['id']}: {v['nodes'][0]['html'][:300]} {v['nodes'][0]['failureSummary']}" for v in found["violations"]
    ] == []
    assert len(found["passes"]) > 20
