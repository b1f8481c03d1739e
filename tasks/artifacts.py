"""What Prefect's UI shows of a finished run: a summary and a table of playlists."""

from __future__ import annotations

import html
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.manifest import Manifest
from tasks.plots import draw_quality
from tasks.report import COLUMNS, as_data_uri, comparison, joined_file, read_metrics
from tasks.storage import Storage

MAX_ROWS = 1000
TABLE_COLUMNS = ["playlist_id", "status", "reason", "n_tracks", "ndcg_at_500", "r_precision", "auc", "f1"]


def create_artifacts(manifest: Manifest, store: Storage) -> None:
    """One markdown summary and, if models were evaluated, one table of at most 1,000 playlists, the best first."""
    create_markdown_artifact(_summary(manifest, store), key="summary", description="What this run did")
    if rows := _playlists(manifest, store):
        create_table_artifact(rows, key="playlists", description="Playlists and how well their models do")


def _summary(manifest: Manifest, store: Storage) -> str:
    lines = [f"# {html.escape(manifest.status)}", html.escape(manifest.message)]
    if sample := manifest.sample:
        lines.append(
            f"{sample.found:,} playlists with {sample.memberships:,} memberships of {sample.tracks:,} tracks, "
            f"in {manifest.seconds:.1f} s."
        )
    if rows := comparison(manifest):
        lines.append("\n".join([_row(["mean of", *COLUMNS]), _row(["---"] * (len(COLUMNS) + 1))]))
        lines[-1] += "\n" + "\n".join(_row([name, *cells]) for name, cells in rows)
    metrics = read_metrics(manifest, store)
    if metrics is not None:
        # Prefect strips <svg>, and shows an image only as a data: URI.
        lines.append(f"![quality by playlist]({as_data_uri(draw_quality(metrics, 'png'), 'png')})")
    return "\n\n".join(line for line in lines if line)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _playlists(manifest: Manifest, store: Storage) -> list[dict[str, Any]]:
    models, metrics = joined_file(manifest, "all_models"), read_metrics(manifest, store)
    if models is None or metrics is None:
        return []
    status = store.read_table(models, columns=["playlist_id", "status", "reason"]).to_pandas()
    of_model = metrics[metrics["recommender"] == "model"].nlargest(MAX_ROWS, "ndcg_at_500", keep="all").head(MAX_ROWS)
    table = of_model.merge(status, on="playlist_id", how="left")[TABLE_COLUMNS].round(4)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]
