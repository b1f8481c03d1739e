"""The pictures of a run, drawn without a display. Data in, image bytes out."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {"model": "#1f5f8b", "same_artist_album": "#c8741a", "popularity": "#7a7a7a"}


def draw_quality(metrics: pd.DataFrame, image_format: str) -> bytes:
    """NDCG@500 by playlist: its distribution per recommender (ECDF), and the model's against the playlist's size.

    metrics: one row per playlist and recommender. image_format: "svg" or "png".
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, colour in COLOURS.items():
        values = metrics.loc[metrics["recommender"] == name, "ndcg_at_500"].dropna()
        if len(values):
            left.ecdf(values, label=name.replace("_", " "), color=colour)
    _label(left, "NDCG@500", "share of playlists at or below")
    left.legend(frameon=False, loc="lower right")
    model = metrics[metrics["recommender"] == "model"]
    right.scatter(model["n_tracks"], model["ndcg_at_500"], s=9, alpha=0.6, color=COLOURS["model"], linewidths=0)
    right.set_xscale("log")
    _label(right, "tracks in the playlist", "NDCG@500 of the model")
    return _save(figure, image_format)


def draw_popularity(tracks_by_n_playlists: list[tuple[int, int]], image_format: str) -> bytes:
    """The notebook's histogram: how many tracks are in exactly k playlists."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    axes = figure.subplots()
    sizes, counts = np.array(tracks_by_n_playlists).T
    axes.bar(sizes, counts, color=COLOURS["model"])
    axes.set_yscale("log")
    _label(axes, "playlists that hold a track", "tracks")
    return _save(figure, image_format)


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, image_format: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None} if image_format == "svg" else None
    figure.savefig(buffer, format=image_format, dpi=110, metadata=metadata)
    return buffer.getvalue()
