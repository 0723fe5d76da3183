"""`memloc store`: what lies in a store, and whether it is whole."""

from __future__ import annotations

import typer

app = typer.Typer(help="Look into a store, and check it.", rich_markup_mode=None)

_URI = typer.Option(None, "--store", metavar="URI", help="Default: MEMLOC_STORE, else ./memloc-store.")


@app.callback(invoke_without_command=True)
def _store(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("ls")
def ls(store: str = _URI) -> None:
    """List the sweeps, tables and sizes of a store."""
    from memloc.analysis.status import sweep_status
    from memloc.api import open_store
    from memloc.commands.query import text_table
    from memloc.commands.words import bytes_in_words
    from memloc.store import layout, records

    opened = open_store(store)._store
    snapshot = opened.snapshot()
    sweeps = [
        [name, str(sum(counts.values())), str(counts["done"]), str(counts["failed"])]
        for name in records.sweep_names(opened.files)
        for counts in [sweep_status(opened, name, snapshot)["counts"]]
    ]
    print(text_table(["sweep", "trials", "done", "failed"], sweeps) if sweeps else "no sweeps yet")
    sizes: dict[str, tuple[int, int]] = {}
    for commit in snapshot.commits.values():
        for file in commit.files:
            rows, size = sizes.get(file.table, (0, 0))
            sizes[file.table] = rows + file.rows, size + file.size
    print(text_table(["table", "rows", "size"], [[t, str(r), bytes_in_words(s)] for t, (r, s) in sorted(sizes.items())]))
    kept = opened.files.listing(layout.CHECKPOINTS)
    aside = opened.files.listing(layout.QUARANTINE)
    print(f"{len(snapshot.commits)} commits, {len(kept)} checkpoint files ({bytes_in_words(sum(kept.values()))})")
    if snapshot.broken or aside:
        print(f"{len(snapshot.broken)} broken commits, {len(aside)} files in quarantine/; check with memloc store verify")


@app.command("verify")
def verify(store: str = _URI) -> None:
    """Hash everything; move what is broken to quarantine/ and exit 3. The next sweep recomputes exactly that."""
    from memloc.api import open_store
    from memloc.store.verify import verify as verify_files

    opened = open_store(store)._store
    findings, checked = verify_files(opened.files)
    for finding in findings:
        print(f"{finding.path}: {finding.problem}; {finding.consequence}")
    if findings:
        print(f"{len(findings)} of {checked} files broken, moved to quarantine/; run the sweep again")
        raise typer.Exit(3)
    print(f"{checked} files checked, all as committed")
