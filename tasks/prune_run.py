"""What a run of prune-storage leaves behind: its manifest, and a table of what is freed."""

from __future__ import annotations

from typing import Any

from prefect.artifacts import create_markdown_artifact

from tasks.artifacts import escape_markdown
from tasks.lifecycle import finish_run
from tasks.manifest import RunManifest
from tasks.prune import Amount, Pruning
from tasks.runs import Run
from tasks.storage import Storage

COLUMNS = ["files kept", "size", "files freed", "size"]


class PruneManifest(RunManifest):
    """One run that pruned its storage, or, if parameters["delete"] is false, found what it would delete."""

    pruning: Pruning | None = None


def close_pruning(run: Run, store: Storage, about: dict[str, Any]) -> PruneManifest:
    """Leave the manifest, and show what is freed."""
    manifest = PruneManifest(**about, pruning=run.results.get("prune_files"))
    manifest = finish_run(run, store, manifest, _create_artifact)
    if manifest.pruning:
        run.progress.show_table(_heading(manifest), COLUMNS, _rows(manifest.pruning))
    return manifest


def _heading(manifest: PruneManifest) -> str:
    what = "Freed" if manifest.parameters["delete"] else "Dry run, --delete frees it"
    n_runs = len(manifest.pruning.kept_runs) if manifest.pruning else 0
    return f"{what} ({n_runs} runs kept)"


def _rows(pruning: Pruning) -> list[tuple[str, list[str]]]:
    amounts = {kind: (pruning.kept[kind], pruning.freed[kind]) for kind in pruning.kept}
    amounts["in all"] = (_total(pruning.kept), _total(pruning.freed))
    return [(kind, [*_cells(kept), *_cells(freed)]) for kind, (kept, freed) in amounts.items()]


def _total(amounts: dict[str, Amount]) -> Amount:
    return Amount(
        files=sum(amount.files for amount in amounts.values()), bytes=sum(amount.bytes for amount in amounts.values())
    )


def _cells(amount: Amount) -> list[str]:
    return [f"{amount.files:,}", f"{amount.bytes / 1e6:,.1f} MB"]


def _create_artifact(manifest: PruneManifest, store: Storage) -> None:
    lines = [f"# {manifest.status}", escape_markdown(manifest.message)]
    if manifest.pruning:
        rows = [["", *COLUMNS], ["---"] * (len(COLUMNS) + 1)]
        rows += [[kind, *cells] for kind, cells in _rows(manifest.pruning)]
        lines += [escape_markdown(_heading(manifest)), "\n".join(f"| {' | '.join(row)} |" for row in rows)]
    create_markdown_artifact("\n\n".join(filter(None, lines)), key="pruning", description="What is kept and freed")
