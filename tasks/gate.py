"""The gate: whether a run is published, by comparison with the champion."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from prefect import task

from tasks.champion import Champion, Decision, Figures, read_champion
from tasks.errors import InputError
from tasks.files import DamagedFileError
from tasks.manifest import FilesByStage, Manifest, joined_file, read_manifest
from tasks.matrices import use_one_blas_thread
from tasks.ml.lift import LEVEL, LiftDifference, compare_lifts, playlist_lifts
from tasks.ml.statuses import TRAINED
from tasks.recommenders import BASELINE, MODEL
from tasks.references import Summary
from tasks.storage import Storage

# What the served models are made of: if all of this is the champion's, so are they.
MADE_OF = ("extract_tracks", "prepare_batches", "build_features_outer", "train_batch_outer")


Publish = Literal["if_not_worse", "always", "never"]


class Rule(NamedTuple):
    """What the person who started a run asked for."""

    publish: Publish
    tolerance: float
    min_coverage: float
    refit: bool


@task(task_run_name="decide publication", persist_result=False)
def decide_publication(
    *,
    storage: str,
    summary: Summary,
    files: FilesByStage,
    publish: Publish,
    tolerance: float,
    min_coverage: float,
    refit: bool,
) -> Decision:
    """Compare the run with the champion of this moment. Never cached: another run may be published meanwhile.

    files: of the run's stages so far. Raises InputError if champion.json is damaged.
    """
    store, rule = Storage(storage), Rule(publish, tolerance, min_coverage, refit)
    champion = None if publish == "never" else read_champion(store)
    return judge(store, files, summary.models_by_status, champion, rule)


def judge(
    store: Storage, files: FilesByStage, models: dict[str, int], champion: Champion | None, rule: Rule
) -> Decision:
    """The gate: a run is published unless it is clearly worse than the champion, or has models for fewer playlists.

    Clearly worse means that the whole interval of the difference of the two mean lifts lies below -tolerance. The
    burden of proof is on "worse": a retrained run knows the newer playlists, which no metric on its own held-out tracks
    rewards, so it is kept back for evidence only. What cannot be compared is kept back too, and nothing is published
    twice: a run with the models of a former champion is kept back as well, since somebody may have withdrawn them.

    models: how many playlists have a model ("trained"), and how many none for which reason.
    """
    if rule.publish == "never":
        return Decision(verdict="keep", sentence="Not published, as asked for (publication.publish = never).")
    if not models.get(TRAINED):
        return Decision(verdict="keep", sentence="Not published: no playlist has a model.")
    if champion is None:
        return Decision(verdict="publish", sentence="Published as the first run of this storage.")
    run = champion.current.run
    try:
        theirs = read_manifest(store, run, Manifest)
        if _is_same(files, theirs, rule.refit):
            return Decision(
                verdict="unchanged", sentence=f"Unchanged: {run} is published, with the same models.", champion=run
            )
        objection = _former(store, files, champion, rule.refit) or _lack(models, theirs, rule.min_coverage)
        if objection and rule.publish != "always":
            return _kept(objection, run)
        their_lifts, fault = _lifts(store, theirs.files), ""
    except (InputError, DamagedFileError, OSError) as error:
        their_lifts, fault = _lifts(store, {}), str(error).rstrip(".")
    use_one_blas_thread()
    lifts = compare_lifts(_lifts(store, files), their_lifts, rng=np.random.default_rng(0))
    if lifts is None:
        return _without_comparison(run, fault, rule)
    return _with_comparison(run, lifts, rule)


def _is_same(files: FilesByStage, theirs: Manifest, refit: bool) -> bool:
    is_same_fold = theirs.served is not None and theirs.served.fold == ("all" if refit else "outer")
    return is_same_fold and all(files.get(stage) == theirs.files.get(stage) for stage in MADE_OF)


def _former(store: Storage, files: FilesByStage, champion: Champion, refit: bool) -> str:
    """Which former champion has the same models, as a reason to keep a run back; "" if none has."""
    for past in champion.history:
        try:
            is_same = _is_same(files, read_manifest(store, past.run, Manifest), refit)
        except InputError:
            continue  # it is gone, or cannot be read: then nobody can tell
        if is_same:
            return f"its models are those of {past.run}, which was champion before {champion.current.run}"
    return ""


def _lack(models: dict[str, int], theirs: Manifest, min_coverage: float) -> str:
    """What a run lacks in playlists, as a reason to keep it back; "" if it has enough."""
    n, their_n = models.get(TRAINED, 0), theirs.models.get(TRAINED, 0)
    if n >= min_coverage * their_n:
        return ""
    return (
        f"it has models for {n:,} playlists, and {theirs.folder} for {their_n:,}: fewer than the share of "
        f"{min_coverage:.0%} that is asked for (publication.min_coverage)"
    )


def _lifts(store: Storage, files: FilesByStage) -> pd.Series:
    """NDCG@500 of the models above that of the baseline, by playlist; none if the run was not evaluated.

    Raises DamagedFileError if the metrics are not what was written.
    """
    file = joined_file(files, "all_metrics")
    if file is None:
        return pd.Series(dtype=np.float64)
    store.verify(file)
    table = store.read_table(file, columns=["playlist_id", "recommender", "ndcg_at_500"])
    table = table.filter(pc.field("recommender").isin([MODEL, BASELINE]))
    values = table.to_pandas().pivot(index="playlist_id", columns="recommender", values="ndcg_at_500")
    return playlist_lifts(values, ours=MODEL, rule=BASELINE)


def _without_comparison(run: str, fault: str, rule: Rule) -> Decision:
    if rule.publish == "always":
        return Decision(verdict="publish", sentence=f"Published in place of {run}, as asked for.", champion=run)
    reason = fault or f"both need two playlists with held-out tracks, evaluated beside {_words(BASELINE)}"
    return _kept(f"it cannot be compared with {run} ({reason})", run)


def _kept(reason: str, run: str) -> Decision:
    return Decision(
        verdict="keep",
        sentence=f"Not published: {reason}. To publish it all the same, start it again with publication.publish = "
        "always.",
        champion=run,
    )


def _with_comparison(run: str, lifts: LiftDifference, rule: Rule) -> Decision:
    is_worse = lifts.high < -rule.tolerance
    is_published = rule.publish == "always" or not is_worse
    relation = "worse" if is_worse else "not worse"
    asked = ", but published as asked for" if is_published and is_worse else ""
    return Decision(
        verdict="publish" if is_published else "keep",
        sentence=f"{'Published' if is_published else 'Not published'}: {relation} than {run}{asked}. Its models gain "
        f"{lifts.lift:.3f} NDCG@500 over {_words(BASELINE)}, the champion's {lifts.their_lift:.3f}: a difference of "
        f"{lifts.difference:+.3f} ({LEVEL:.0%} interval {lifts.low:+.3f} to {lifts.high:+.3f}).",
        champion=run,
        figures=Figures(
            baseline=BASELINE,
            lift=lifts.lift,
            champion_lift=lifts.their_lift,
            difference=lifts.difference,
            low=lifts.low,
            high=lifts.high,
            level=LEVEL,
            tolerance=rule.tolerance,
            n_playlists=lifts.n,
            champion_n_playlists=lifts.n_theirs,
            n_common=lifts.n_common,
        ),
    )


def _words(name: str) -> str:
    return name.replace("_", " ")
