"""What a run found, read back from its files for report and artifacts, as far as the run came."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow.compute as pc

from tasks.manifest import Manifest, joined_file
from tasks.ml.statuses import TRAINED
from tasks.ml.summary import Comparison, compare_pairs, describe_metrics
from tasks.recommenders import MODEL
from tasks.references import Distribution, FileRef
from tasks.storage import Storage

SUBSETS = {"overall": "", "cold": "cold_", "warm": "warm_"}
UNCLEAR = "not clearly better or worse than"


@dataclass(frozen=True)
class Findings:
    """metrics: one row per playlist and recommender; of the batches that were evaluated if the run came no further.

    distributions: of these metrics. comparisons: per subset of candidates, NDCG@500 of the models against the best
    simple rule. without_model: (status, reason, playlists), most first. examples (rows in order), reliability,
    contributions: empty or None if the run did not come so far.
    """

    metrics: pd.DataFrame | None
    distributions: dict[str, dict[str, Distribution]]
    comparisons: dict[str, Comparison]
    without_model: list[tuple[str, str, int]]
    examples: list[dict[str, Any]]
    reliability: pd.DataFrame | None
    contributions: pd.DataFrame | None


def read_findings(manifest: Manifest, store: Storage) -> Findings:
    """Read the files that the manifest names."""
    metrics = _read_metrics(manifest, store)
    distributions = manifest.metrics
    if metrics is not None and not distributions:
        distributions = {
            name: {metric: Distribution.model_validate(values) for metric, values in part.items()}
            for name, part in describe_metrics(metrics).items()
        }
    about = manifest.explanation
    return Findings(
        metrics=metrics,
        distributions=distributions,
        comparisons={} if metrics is None else _compare(metrics),
        without_model=_without_model(manifest, store),
        examples=store.read_table(about.examples).to_pylist() if about else [],
        reliability=store.read_table(about.reliability).to_pandas() if about else None,
        contributions=store.read_table(about.contributions).to_pandas() if about else None,
    )


def verdict(findings: Findings) -> str:
    """One sentence: where the models are clearly better or worse (two standard errors) than the best simple rule."""
    where: dict[str, list[str]] = {"better than": [], "worse than": [], UNCLEAR: []}
    for subset, found in findings.comparisons.items():
        is_clear = abs(found.difference) > 2 * found.standard_error  # False if there is no standard error
        sign = "better than" if found.difference > 0 else "worse than"
        where[sign if is_clear else UNCLEAR].append(subset if subset == "overall" else f"among {subset} tracks")
    parts = [f"{words} the best simple rule {_list(places)}" for words, places in where.items() if places]
    return f"The models rank held-out tracks {'; '.join(parts)}." if parts else ""


def _list(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _files(manifest: Manifest, stage: str, folder: str) -> list[FileRef]:
    return [file for file in manifest.files.get(stage, []) if file.path.startswith(f"data/{folder}/")]


def _read_metrics(manifest: Manifest, store: Storage) -> pd.DataFrame | None:
    joined = joined_file(manifest.files, "all_metrics")
    files = [joined] if joined else _files(manifest, "evaluate_batch", "metrics")
    frames = [store.read_table(file).to_pandas() for file in files]
    return pd.concat(frames, ignore_index=True) if frames else None


def _compare(metrics: pd.DataFrame) -> dict[str, Comparison]:
    found = {
        subset: compare_pairs(
            metrics.pivot(index="playlist_id", columns="recommender", values=f"{prefix}ndcg_at_500"), ours=MODEL
        )
        for subset, prefix in SUBSETS.items()
    }
    return {subset: comparison for subset, comparison in found.items() if comparison is not None}


def _without_model(manifest: Manifest, store: Storage) -> list[tuple[str, str, int]]:
    """How many playlists have no model, by status and reason."""
    counts: Counter[tuple[str, str]] = Counter()
    joined = joined_file(manifest.files, "all_models")
    for file in [joined] if joined else _files(manifest, "train_batch_outer", "models"):
        with store.open_parquet(file) as parquet:
            for rows in parquet.iter_batches(columns=["status", "reason"], use_threads=False):
                chosen = rows.filter(pc.not_equal(rows["status"], TRAINED))
                counts.update(zip(chosen["status"].to_pylist(), chosen["reason"].to_pylist(), strict=True))
    return [(status, reason, n) for (status, reason), n in counts.most_common()]
