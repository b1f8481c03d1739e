"""Audio features to model columns. Pure numerics: no Prefect, no Google, no I/O.

All constants come from the fit rows: the tracks with at least one train membership.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

Floats = NDArray[np.floating]

CATEGORIES = ("key", "mode")  # numbers without an order: a curve through them means nothing
SMALLEST_SPREAD = 1e-30  # below it squares underflow
LARGEST = 1e6  # of a scaled value: a track unlike all train tracks must not overflow float32
N_QUANTILES = 257
DEGREE = 2
N_KNOTS = 5


@dataclass(frozen=True)
class AudioColumns:
    """What became of the audio features.

    X: (n, d) float32. columns: (d,) names. dropped: reason by feature. constants: all that is needed to transform
    other tracks in the same way, as plain values.
    """

    X: NDArray[np.float32]
    columns: list[str]
    dropped: dict[str, str]
    constants: dict[str, Any]


def audio_columns(features: Floats, is_fit: NDArray[np.bool_], *, names: list[str], kind: str) -> AudioColumns:
    """Impute, drop what is constant, and transform.

    features: (n, f) float64 with NaN for missing. kind: "minmax" and "standard" scale; "spline" maps each feature to
    its quantiles and these to a quadratic B-spline basis, centred, and leaves key and mode out. A missing value takes
    the median of the fit rows. A feature without a value, or with one value only, in the fit rows is dropped.
    """
    kept, dropped = _usable(features[is_fit], names)
    if kind == "spline":
        dropped |= {name: "has no order, so no spline" for name in names if name in CATEGORIES and name in kept}
        kept = {name: median for name, median in kept.items() if name not in CATEGORIES}
    filled = [_fill(features[:, names.index(name)], median) for name, median in kept.items()]
    transform = {"minmax": _minmax, "standard": _standard, "spline": _spline}[kind]
    blocks, constants = [], {}
    for (name, median), values in zip(kept.items(), filled, strict=True):
        block, used = transform(values, is_fit)
        blocks.append(np.clip(block, -LARGEST, LARGEST))
        constants[name] = {"median": median} | used
    X = np.concatenate(blocks, axis=1, dtype=np.float32) if blocks else np.empty((len(features), 0), np.float32)
    columns = [
        name if block.shape[1] == 1 else f"{name}_{i}"
        for name, block in zip(kept, blocks, strict=True)
        for i in range(block.shape[1])
    ]
    return AudioColumns(X, columns, dropped, {"kind": kind, "features": constants})


def _usable(fit: Floats, names: list[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Medians of the features that vary over the fit rows, and why the others do not enter."""
    kept: dict[str, float] = {}
    dropped: dict[str, str] = {}
    for name, values in zip(names, fit.T, strict=True):
        known = values[~np.isnan(values)]
        if not len(known):
            dropped[name] = "no value in any train track"
        elif known.max() - known.min() < SMALLEST_SPREAD:
            dropped[name] = f"the same value ({known[0]:g}) in every train track"
        else:
            kept[name] = float(np.median(known))
    return kept, dropped


def _fill(values: Floats, median: float) -> Floats:
    return np.where(np.isnan(values), median, values)


def _minmax(values: Floats, is_fit: NDArray[np.bool_]) -> tuple[Floats, dict[str, Any]]:
    low, high = float(values[is_fit].min()), float(values[is_fit].max())
    return ((values - low) / (high - low))[:, None], {"min": low, "max": high}


def _standard(values: Floats, is_fit: NDArray[np.bool_]) -> tuple[Floats, dict[str, Any]]:
    mean, std = float(values[is_fit].mean()), float(values[is_fit].std())
    return ((values - mean) / std)[:, None], {"mean": mean, "std": std}


def _spline(values: Floats, is_fit: NDArray[np.bool_]) -> tuple[Floats, dict[str, Any]]:
    """Quantile of a value among the fit rows, then a quadratic B-spline basis without its last function, centred.

    The quantile of a value that many tracks share is the middle of their range: the mean of the interpolations from
    the left and from the right, as in scikit-learn's QuantileTransformer.
    """
    levels = np.linspace(0, 1, N_QUANTILES)
    quantiles = np.quantile(values[is_fit], levels)
    from_left = np.interp(values, quantiles, levels)
    from_right = 1 - np.interp(-values, -quantiles[::-1], levels)
    basis = _basis((from_left + from_right) / 2)[:, :-1]
    means = basis[is_fit].mean(axis=0)
    return basis - means, {"quantiles": quantiles.tolist(), "means": means.tolist()}


def _basis(x: Floats) -> Floats:
    """(n, N_KNOTS + DEGREE - 1) B-splines on [0, 1] over equidistant knots, as scikit-learn's SplineTransformer."""
    step = 1 / (N_KNOTS - 1)
    knots = np.arange(-DEGREE, N_KNOTS + DEGREE) * step
    return BSpline.design_matrix(np.clip(x, 0, 1), knots, DEGREE).toarray()
