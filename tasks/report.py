"""The report of a run: one self-contained HTML page, and its short form as a table."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import jinja2
import pandas as pd

from tasks.contributions import N_ROWS
from tasks.findings import SUBSETS, Findings, read_findings, verdict
from tasks.manifest import Manifest
from tasks.ml.examples import ADDED, HELD_OUT, TRAIN
from tasks.plots import (
    contributions_height,
    draw_contributions,
    draw_distribution,
    draw_popularity,
    draw_reliability,
    draw_size,
    picture,
)
from tasks.recommenders import MODEL
from tasks.references import Distribution
from tasks.storage import Storage
from tasks.warehouse.byte_sizes import format_bytes

# What the short table shows of each recommender: heading and metric.
COLUMNS = {
    "NDCG@500": "ndcg_at_500",
    "cold": "cold_ndcg_at_500",
    "warm": "warm_ndcg_at_500",
    "R-precision": "r_precision",
    "AUC": "auc",
    "F1": "f1",
}
# The report's table: the metrics that say something about simple rules too.
COMPARED = {
    "NDCG@500": "ndcg_at_500",
    "cold": "cold_ndcg_at_500",
    "warm": "warm_ndcg_at_500",
    "R-precision": "r_precision",
    "recall@100": "recall_at_100",
    "clicks": "clicks",
    "AUC": "auc",
    "F1": "f1",
}
MAX_REASONS = 30
N_OPEN = 2  # examples that are unfolded from the start


def render_report(manifest: Manifest, store: Storage) -> str:
    """The page as text. Everything from the data is escaped by Jinja2, and the page allows no script at all."""
    loader = jinja2.PackageLoader("tasks")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"decimal": decimal, "count": count, "words": lambda name: name.replace("_", " ")}
    environment.filters["bytes"] = format_bytes
    findings = read_findings(manifest, store)
    return environment.get_template("report.html").render(
        manifest=manifest,
        findings=findings,
        verdict=verdict(findings),
        subsets=SUBSETS,
        order=model_first(findings.distributions),
        compared=COMPARED,
        batches=_evaluated_batches(manifest),
        examples=_examples(findings),
        parameters=list(_flat(manifest.parameters)),
        pictures={name: as_data_uri(image, "svg+xml") for name, image in _pictures(manifest, findings)},
        limits={"reasons": MAX_REASONS, "rows": N_ROWS, "open": N_OPEN},
    )


def comparison(manifest: Manifest) -> list[tuple[str, list[str]]]:
    """The mean of each metric of COLUMNS, per recommender: (name, cells), the model first."""
    return [
        (name.replace("_", " "), [decimal(manifest.metrics[name][metric].mean) for metric in COLUMNS.values()])
        for name in model_first(manifest.metrics)
    ]


def model_first(recommenders: dict[str, dict[str, Distribution]]) -> list[str]:
    """The model, then the simple rules from the best mean NDCG@500 to the worst."""
    return sorted(
        recommenders, key=lambda name: (name != MODEL, -(recommenders[name]["ndcg_at_500"].mean or 0.0), name)
    )


def decimal(value: float | None, digits: int = 3) -> str:
    """A number for a table, or a dash where there is none."""
    return "-" if value is None or pd.isna(value) else f"{value:.{digits}f}"


def count(value: float | None) -> str:
    """A count with its thousands set apart, or a dash."""
    return "-" if value is None or pd.isna(value) else f"{value:,.0f}"


def as_data_uri(image: bytes, subtype: str) -> str:
    """An image as part of the page that shows it."""
    return f"data:image/{subtype};base64,{base64.b64encode(image).decode()}"


def _pictures(manifest: Manifest, findings: Findings) -> Iterator[tuple[str, bytes]]:
    """What can be drawn of what the run found, by the name under which the page shows it."""
    if findings.metrics is not None:
        for subset, prefix in SUBSETS.items():
            draw = draw_distribution(findings.metrics, f"{prefix}ndcg_at_500", f"NDCG@500, {subset}")
            yield f"distribution {subset}", picture(draw, "svg")
        yield "size", picture(draw_size(findings.metrics), "svg")
    if findings.reliability is not None and len(findings.reliability):
        yield "reliability", picture(draw_reliability(findings.reliability), "svg", left=62)
    if findings.contributions is not None and len(findings.contributions):
        height = contributions_height(findings.contributions["feature_group"].nunique())
        for column, label in (("spread", "standard deviation over candidates"), ("lift", "held-out minus candidates")):
            draw = draw_contributions(findings.contributions, column, f"{label} (logit)")
            yield column, picture(draw, "svg", height=height, left=100)
    if manifest.sample is not None:
        yield "popularity", picture(draw_popularity(manifest.sample.tracks_by_n_playlists), "svg", left=62)


def _examples(findings: Findings) -> dict[str, list[dict[str, Any]]]:
    """By group ("best", "worst") the playlists in order: their metrics, and their tracks by role."""
    shown: dict[str, list[dict[str, Any]]] = {"best": [], "worst": []}
    if findings.metrics is None:
        return shown
    model = findings.metrics[findings.metrics["recommender"] == MODEL].set_index("playlist_id")
    columns = model[["ndcg_at_500", "n_tracks", "n_held_out"]]
    for (group, playlist_id), rows in groupby(findings.examples, key=lambda row: (row["group"], row["playlist_id"])):
        tracks: dict[str, list[dict[str, Any]]] = {TRAIN: [], HELD_OUT: [], ADDED: []}
        for row in rows:
            tracks[row["role"]].append(row)
        metrics = columns.loc[playlist_id].to_dict()
        shown[group].append({"playlist_id": playlist_id, "metrics": metrics, "tracks": tracks})
    return shown


def _evaluated_batches(manifest: Manifest) -> tuple[int, int]:
    """How many batches were evaluated, and how many there are."""
    evaluated = manifest.files.get("evaluate_batch", [])
    prepared = manifest.files.get("prepare_batches", [])
    return (
        sum(file.path.startswith("data/metrics/") for file in evaluated),
        sum(file.path.startswith("data/batches/") for file in prepared),
    )


def _flat(parameters: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Option names with values, as on the command line."""
    for group, values in parameters.items():
        for name, value in values.items():
            several = isinstance(value, (list, tuple))
            yield f"{group}.{name}", ", ".join(map(str, value)) if several else str(value)
