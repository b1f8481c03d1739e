"""The pictures of a run, drawn without a display. Data in, image bytes out.

Every picture is small enough to be read on a phone, and laid out by fixed margins, which is many times faster than
letting matplotlib search for them.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

COLOURS = {"model": "#1f5f8b", "same_artist_album": "#c8741a", "item_knn": "#4c8a4a", "popularity": "#8a8a8a"}
INK, FAINT = "#1f5f8b", "#9db8cc"
WIDTH, HEIGHT, INCH = 4.8, 3.3, 72  # figures in inches, margins in points
N_STEPS = 400  # of a distribution function: no eye sees more
N_SIZE_CLASSES = 8
Z = 1.96  # 95 % of a normal distribution

Draw = Callable[[Axes], None]


def picture(draw: Draw, image_format: str, *, height: float = HEIGHT, left: float = 46) -> bytes:
    """The bytes of one picture in "svg" or "png", with a left margin in points for what stands there."""
    figure = Figure(figsize=(WIDTH, height), dpi=110)
    box = (left / INCH / WIDTH, 40 / INCH / height)
    axes = figure.add_axes((*box, 1 - box[0] - 12 / INCH / WIDTH, 1 - box[1] - 10 / INCH / height))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5)
    draw(axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=image_format, metadata={"Date": None} if image_format == "svg" else None)
    return buffer.getvalue()


def draw_distribution(metrics: pd.DataFrame, metric: str, label: str) -> Draw:
    """The distribution function (ECDF) over playlists of one metric, a line per recommender.

    metrics: one row per playlist and recommender. Playlists for which the metric is not defined are left out.
    """

    def draw(axes: Axes) -> None:
        for name, colour in COLOURS.items():
            values = np.sort(metrics.loc[metrics["recommender"] == name, metric].dropna().to_numpy())
            if len(values):
                style = "--" if name == "popularity" else "-"  # seen where it lies on another line
                shown = np.unique(np.linspace(0, len(values) - 1, min(N_STEPS, len(values))).round().astype(int))
                steps = np.concatenate([[0.0], (shown + 1) / len(values), [1.0]])
                width = 2.2 if name == "model" else 1.4
                edges = np.concatenate([[0.0], values[shown], [1.0]])
                axes.step(edges, steps, where="post", label=_words(name), color=colour, lw=width, ls=style)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        if axes.lines:
            axes.legend(frameon=False, loc="lower right", fontsize=8.5)
        else:
            axes.text(0.5, 0.5, "no playlist has a held-out track here", ha="center", fontsize=9)
        _label(axes, label, "share of playlists at or below")

    return draw


def draw_size(metrics: pd.DataFrame) -> Draw:
    """The model's NDCG@500 of each playlist by its size, with the median of size classes of about equal count."""
    model = metrics[(metrics["recommender"] == "model") & metrics["ndcg_at_500"].notna()]
    size, quality = model["n_tracks"].to_numpy(), model["ndcg_at_500"].to_numpy()

    def draw(axes: Axes) -> None:
        axes.scatter(size, quality, s=9, alpha=0.55, color=FAINT, linewidths=0, rasterized=len(size) > 2 * N_STEPS)
        edges = np.unique(np.quantile(size, np.linspace(0, 1, N_SIZE_CLASSES + 1))) if len(size) else size
        class_of = np.clip(np.searchsorted(edges, size, side="right"), 1, max(1, len(edges) - 1))
        classes = [class_of == k for k in np.unique(class_of)]
        medians = [(np.median(size[chosen]), np.median(quality[chosen])) for chosen in classes]
        axes.plot(*np.array(medians).reshape(-1, 2).T, color=INK, marker="o", ms=4, lw=1.8)
        axes.set(xscale="log", ylim=(-0.02, 1.02))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.xaxis.set_minor_locator(NullLocator())
        _label(axes, "tracks in the playlist", "NDCG@500 of the model")

    return draw


def draw_reliability(bins: pd.DataFrame) -> Draw:
    """Observed against predicted share of members, pooled, both on a logarithmic axis, with 95 % Wilson intervals.

    bins: columns n_candidates, n_held_out, mean_predicted. A bin without a held-out track has no point, only the
    upper end of its interval.
    """
    predicted = bins["mean_predicted"].to_numpy()
    n, hits = bins["n_candidates"].to_numpy(np.float64), bins["n_held_out"].to_numpy(np.float64)
    lower, upper = _wilson(hits, n)

    def draw(axes: Axes) -> None:
        low = 10.0 ** np.floor(np.log10(max(predicted.min(initial=1), 1e-6)))
        axes.plot([low, 1], [low, 1], color="#999", lw=1, ls="--", label="what is predicted")
        axes.vlines(predicted, np.maximum(lower, low / 10), upper, color=FAINT, lw=2.5)
        is_seen = hits > 0
        axes.plot(
            predicted[is_seen], (hits / n)[is_seen], color=INK, marker="o", ms=4, lw=1.4, label="what is observed"
        )
        axes.set(xscale="log", yscale="log", xlim=(low, 1.5), ylim=(low / 10, 1.5))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(numticks=5))
            axis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
            axis.set_minor_locator(NullLocator())
        axes.legend(frameon=False, loc="upper left", fontsize=8.5)
        _label(axes, "predicted probability", "share that is held out")

    return draw


def draw_contributions(contributions: pd.DataFrame, column: str, label: str) -> Draw:
    """Per group of features the distribution over playlists: 10 to 90 % thin, 25 to 75 % thick, the median a dot.

    contributions: one row per playlist and group; column: "spread" or "lift". The largest median is on top.
    """
    levels = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
    values = contributions.dropna(subset=[column]).groupby("feature_group")[column]
    names, quantiles = zip(*((name, np.quantile(part, levels)) for name, part in values), strict=True)
    order = np.argsort([median for _, _, median, _, _ in quantiles], kind="stable")
    low, lower, median, upper, high = np.array(quantiles)[order].T

    def draw(axes: Axes) -> None:
        y = np.arange(len(names))
        axes.axvline(0, color="#bbb", lw=0.8)
        axes.hlines(y, low, high, color=FAINT, lw=1.6)
        axes.hlines(y, lower, upper, color=INK, lw=4.5)
        axes.plot(median, y, "o", color="white", markeredgecolor=INK, ms=5)
        axes.set_yticks(y, [_words(str(names[i])) for i in order])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _label(axes, label, "")

    return draw


def draw_popularity(tracks_by_n_playlists: list[tuple[int, int]]) -> Draw:
    """The notebook's histogram: how many tracks are in exactly k playlists."""

    def draw(axes: Axes) -> None:
        sizes, counts = np.array(tracks_by_n_playlists).reshape(-1, 2).T
        axes.vlines(sizes, 0.5, counts, color=INK, lw=max(1.0, min(14.0, 220 / max(1, sizes.max(initial=1)))))
        axes.set(yscale="log", ylim=(0.5, 2 * counts.max(initial=1)), xlim=(0, sizes.max(initial=1) + 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.yaxis.set_minor_locator(NullLocator())
        _label(axes, "playlists that hold a track", "tracks")

    return draw


def contributions_height(n_groups: int) -> float:
    """The height in inches that n groups of features need."""
    return 0.85 + 0.19 * n_groups


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _wilson(hits: NDArray[np.float64], n: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The interval of Wilson (1927) for hits of n independent trials."""
    share, weight = hits / n, Z**2 / n
    centre, half = share + weight / 2, Z * np.sqrt(share * (1 - share) / n + weight / (4 * n))
    return (centre - half) / (1 + weight), (centre + half) / (1 + weight)
