"""A run started from the form in Prefect's pages, in a real browser, and what the pages show of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.browser import NAMES
from tests.integration.platform import Platform, wait_for

PAGE_MS = 60_000


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page in the browser that is installed; playwright brings none here."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    assert program, f"the form is tested in a real browser, and none of {', '.join(NAMES)} is installed: install one"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 2600})
        page.set_default_timeout(PAGE_MS)
        expect.set_options(timeout=PAGE_MS)
        yield page
        browser.close()


def descriptions(schema: dict[str, Any]) -> list[str]:
    """The help texts of a schema: of every parameter, a group's own if it has none there, and of every field."""
    groups = schema["definitions"]
    texts = []
    for field in schema["properties"].values():
        group = groups[field["$ref"].split("/")[-1]] if "$ref" in field else {"properties": {}}
        fields = group["properties"].values()
        texts += [(group | field)["description"], *(field["description"] for field in fields)]
    return [" ".join(text.split()) for text in texts]


def field(page: Page, label: str) -> Locator:
    """The first input of the form with this label; the page does not tie the two together for a screen reader."""
    text = page.get_by_text(f"{label} (Optional)", exact=True).first
    return text.locator("xpath=ancestor::div[starts-with(@class, 'p-label ')][1]").locator("input, textarea")


def picture(page: Page, name: str) -> None:
    """A screenshot, if SCREENSHOTS names a folder to look at them."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_the_form_describes_everything_and_starts_a_run_whose_summary_has_plots(platform: Platform, page: Page) -> None:
    pages = platform.environment["PREFECT_API_URL"].removesuffix("/api")
    deployment = platform.client.read_deployment_by_name("train-playlists/manual")
    known = {run.id for run in platform.runs("train-playlists/manual")}

    page.goto(f"{pages}/deployments/deployment/{deployment.id}/run")
    expect(page.get_by_text("Compute everything again")).to_be_visible()
    shown = " ".join(page.inner_text("body").split())
    groups = [name for name, field in deployment.parameter_openapi_schema["properties"].items() if "$ref" in field]
    assert len(groups) >= 5
    assert [name for name in groups if f" {name} (Optional) " not in shown] == []
    assert [text for text in descriptions(deployment.parameter_openapi_schema) if text not in shown] == []
    picture(page, "form")

    field(page, "storage").fill("form")
    field(page, "N Playlists").fill("20")
    picture(page, "form-filled")
    page.get_by_role("button", name="Submit").click()

    (run,) = wait_for(
        lambda: [run for run in platform.runs("train-playlists/manual") if run.id not in known], "a run", 60
    )
    assert run.parameters["sample"]["n_playlists"] == 20
    platform.wait(run.id, "Completed")
    (path,) = [path.with_name("manifest.json") for path in platform.storage("form").glob("runs/*/report.html")]
    assert json.loads(path.read_text())["sample"]["found"] == 20

    page.goto(f"{pages}/runs/flow-run/{run.id}")
    expect(page.get_by_text("train up to 20 playlists, seed 7").first).to_be_visible()
    expect(page.get_by_text("Completed").first).to_be_visible()
    picture(page, "run")
    page.get_by_text("Artifacts").last.click()
    page.get_by_text("summary", exact=True).first.click()
    plots = page.locator("img[src^='data:image/png']")
    expect(plots).to_have_count(2)
    for plot in plots.all():
        plot.scroll_into_view_if_needed()
        assert plot.evaluate("image => image.complete && image.naturalWidth > 200")
    expect(page.get_by_text("Brier score").first).to_be_visible()
    picture(page, "summary")
