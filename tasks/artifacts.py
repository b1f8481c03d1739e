"""What Prefect's UI shows of a finished run: the report's short form, and a table of playlists."""

from __future__ import annotations

import html
import re
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.findings import Findings, read_findings, verdict
from tasks.manifest import Manifest, joined_file
from tasks.plots import draw_distribution, draw_reliability, picture
from tasks.report import COLUMNS, as_data_uri, comparison, decimal
from tasks.storage import Storage

MAX_ROWS = 1000
TABLE_COLUMNS = ["playlist_id", "status", "reason", "n_tracks", "ndcg_at_500", "r_precision", "auc", "f1"]
MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-!|~$:@])")  # what starts anything in Markdown


def create_artifacts(manifest: Manifest, store: Storage) -> None:
    """One markdown summary and, if models were evaluated, one table of at most 1,000 playlists, the best first."""
    findings = read_findings(manifest, store)
    create_markdown_artifact(summarize_run(manifest, findings), key="summary", description="What this run did")
    if rows := _playlists(manifest, findings, store):
        create_table_artifact(rows, key="playlists", description="Playlists and how well their models do")


def summarize_run(manifest: Manifest, findings: Findings) -> str:
    """The report's short form in Markdown, with two pictures."""
    lines = [f"# {manifest.status}", escape_markdown(manifest.message)]
    lines.append(verdict(findings) if manifest.metrics else "")
    lines.append(escape_markdown(manifest.decision.sentence) if manifest.decision else "")
    if sample := manifest.sample:
        lines.append(
            f"{sample.found:,} playlists with {sample.memberships:,} memberships of {sample.tracks:,} tracks, "
            f"in {manifest.seconds:.1f} s."
        )
    if rows := comparison(manifest):
        heading = [_row(["mean of", *COLUMNS]), _row(["---"] * (len(COLUMNS) + 1))]
        lines.append("\n".join(heading + [_row([name, *cells]) for name, cells in rows]))
    if about := manifest.explanation:
        base = None if about.base_rate is None else about.base_rate * (1 - about.base_rate)
        lines.append(
            f"Brier score {decimal(about.brier, 5)}; always predicting the share held out: {decimal(base, 5)}."
        )
    return "\n\n".join([line for line in lines if line] + _pictures(findings))


def escape_markdown(text: str) -> str:
    """Any text as words on one line: neither HTML nor Markdown is left in it."""
    return MARKDOWN.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _pictures(findings: Findings) -> list[str]:
    """Prefect strips <svg>, and shows an image only as a data: URI."""
    drawn = {}
    if findings.metrics is not None:
        drawn["distribution of NDCG@500"] = picture(
            draw_distribution(findings.metrics, "ndcg_at_500", "NDCG@500"), "png"
        )
    if findings.reliability is not None and len(findings.reliability):
        drawn["reliability"] = picture(draw_reliability(findings.reliability), "png", left=62)
    return [f"![{name}]({as_data_uri(image, 'png')})" for name, image in drawn.items()]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _playlists(manifest: Manifest, findings: Findings, store: Storage) -> list[dict[str, Any]]:
    models, metrics = joined_file(manifest.files, "all_models"), findings.metrics
    if models is None or metrics is None:
        return []
    status = store.read_table(models, columns=["playlist_id", "status", "reason"]).to_pandas()
    of_model = metrics[metrics["recommender"] == "model"].nlargest(MAX_ROWS, "ndcg_at_500", keep="all").head(MAX_ROWS)
    table = of_model.merge(status, on="playlist_id", how="left")[TABLE_COLUMNS].round(4)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]
