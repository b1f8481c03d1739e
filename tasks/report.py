"""The report of a run: one self-contained HTML page, and its short form as a table."""

from __future__ import annotations

import base64
from importlib.resources import files

import jinja2
import pandas as pd

from tasks.manifest import Manifest
from tasks.plots import draw_popularity, draw_quality
from tasks.references import FileRef
from tasks.storage import Storage

# What the short table shows of each recommender: heading and metric.
COLUMNS = {
    "NDCG@500": "ndcg_at_500",
    "cold": "cold_ndcg_at_500",
    "warm": "warm_ndcg_at_500",
    "R-precision": "r_precision",
    "AUC": "auc",
    "F1": "f1",
}


def render_report(manifest: Manifest, store: Storage) -> str:
    """The page as text. Everything from the data is escaped by Jinja2."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(files("tasks").joinpath("templates", "report.html").read_text())
    metrics = read_metrics(manifest, store)
    pictures: dict[str, str] = {}
    if metrics is not None:
        pictures["Quality by playlist"] = as_data_uri(draw_quality(metrics, "svg"), "svg+xml")
    if manifest.sample is not None:
        picture = draw_popularity(manifest.sample.tracks_by_n_playlists, "svg")
        pictures["Tracks by number of playlists"] = as_data_uri(picture, "svg+xml")
    return template.render(manifest=manifest, rows=comparison(manifest), columns=list(COLUMNS), pictures=pictures)


def comparison(manifest: Manifest) -> list[tuple[str, list[str]]]:
    """The mean of each metric of COLUMNS, per recommender: (name, cells), the model first."""
    order = sorted(manifest.metrics, key=lambda name: (name != "model", name))
    return [(name.replace("_", " "), [_cell(manifest, name, metric) for metric in COLUMNS.values()]) for name in order]


def read_metrics(manifest: Manifest, store: Storage) -> pd.DataFrame | None:
    """All metrics of the run, one row per playlist and recommender, or None if it did not come so far."""
    file = joined_file(manifest, "all_metrics")
    return None if file is None else store.read_table(file).to_pandas()


def joined_file(manifest: Manifest, stage: str) -> FileRef | None:
    """The file of all models (`all_models`) or all metrics (`all_metrics`) of a run."""
    found = [file for file in manifest.files.get("summarize", []) if file.path.startswith(f"data/{stage}/")]
    return found[0] if found else None


def as_data_uri(image: bytes, subtype: str) -> str:
    """An image as part of the page that shows it."""
    return f"data:image/{subtype};base64,{base64.b64encode(image).decode()}"


def _cell(manifest: Manifest, name: str, metric: str) -> str:
    mean = manifest.metrics[name][metric].mean
    return "-" if mean is None else f"{mean:.3f}"
