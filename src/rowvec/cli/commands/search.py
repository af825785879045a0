"""Finding rows, and what decides how well that goes: the index, the generations, audits and evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rowvec.cli import complete
from rowvec.cli.app import command
from rowvec.cli.options import (
    After,
    All,
    AllowDelete,
    Columns,
    ConfigPath,
    Distinct,
    FacetColumns,
    FacetLimit,
    Hits,
    Json,
    MaxCost,
    Offset,
    Order,
    Partial,
    Passages,
    PipelineOption,
    Prefix,
    Rerank,
    Typos,
    Where,
)
from rowvec.errors import ConfigError
from rowvec.evaluation.recall import GOOD_RECALL


@command()
def search(
    query: Annotated[
        str | None, typer.Argument(help="What to look for, in plain words. Without it, the rows are listed.")
    ] = None,
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    mode: Annotated[
        str,
        typer.Option(
            "--mode", "-m", autocompletion=complete.words(complete.MODES), help="semantic, keyword or hybrid."
        ),
    ] = "semantic",
    where: Where = None,
    limit: Hits = 10,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each score is made of.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Compare every row, without an index.")] = False,
    passages: Passages = 1,
    rerank: Rerank = None,
    ranking: Annotated[
        list[str] | None,
        typer.Option(
            "--ranking", metavar="KEY=VALUE", help="Another value for a key of [search], such as semantic_weight=0.8."
        ),
    ] = None,
    generation: Annotated[
        str,
        typer.Option(
            "--generation",
            autocompletion=complete.words(complete.GENERATIONS),
            help="Search the vectors of live, previous or building.",
        ),
    ] = "live",
    typos: Typos = None,
    prefix: Prefix = None,
    partial: Partial = None,
    facet: FacetColumns = None,
    facet_limit: FacetLimit = 10,
    distinct: Distinct = None,
    offset: Offset = 0,
    after: After = None,
    order: Order = None,
    columns: Columns = None,
    as_json: Json = False,
) -> None:
    """Find rows by meaning, by words, or by both. Without a query, list the rows that pass a filter."""
    from rowvec.cli.search import search as run

    run(
        config, pipeline, query, mode=mode, where=where, limit=limit, explain=explain, exact=exact,
        passages=passages, rerank=rerank, ranking=ranking or (), generation=generation, facets=facet or (),
        facet_limit=facet_limit, distinct=distinct, offset=offset, after=after, order=order, typos=typos,
        prefix=prefix, partial=partial, columns=columns, as_json=as_json,
    )  # fmt: skip


@command()
def similar(
    key: Annotated[str, typer.Argument(help="The key of a row.")],
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    where: Where = None,
    limit: Hits = 10,
    passages: Passages = 1,
    partial: Partial = None,
    columns: Columns = None,
    as_json: Json = False,
) -> None:
    """Find the rows nearest to a row."""
    from rowvec.cli.search import similar as run

    run(
        config, pipeline, key, where=where, limit=limit, passages=passages, partial=partial, columns=columns,
        as_json=as_json,
    )  # fmt: skip


@command()
def index(
    action: Annotated[
        str, typer.Argument(autocompletion=complete.words(complete.INDEX_ACTIONS), help="build, drop, status or tune.")
    ] = "status",
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            autocompletion=complete.words(complete.INDEX_KINDS),
            help="hnsw, hnsw-bit or ivfflat; by default what store.index says.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option("--precision", autocompletion=complete.words(complete.PRECISIONS), help="halfvec, vector or bit."),
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option("--dimensions", min=1, help="The index holds the first N numbers of each vector.")
    ] = None,
    m: Annotated[
        int | None, typer.Option("--m", min=2, max=100, help="Number of links of each row in an HNSW graph; 16.")
    ] = None,
    ef_construction: Annotated[
        int | None, typer.Option("--ef-construction", min=4, max=1000, help="Effort of an HNSW build; 64.")
    ] = None,
    lists: Annotated[int | None, typer.Option("--lists", min=1, help="Number of clusters of an IVFFlat index.")] = None,
    target: Annotated[float, typer.Option("--target", min=0, max=1, help="Recall that tuning aims at.")] = GOOD_RECALL,
    queries: Annotated[
        int | None,
        typer.Option("--queries", min=1, help="Tune by that many rows. By default by logged queries, or 200 rows."),
    ] = None,
    queries_from: Annotated[
        Path | None,
        typer.Option("--queries-from", metavar="FILE", help="Tune by the queries of this file instead of by rows."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build, drop, show or tune the vector index; searches and writes go on meanwhile."""
    from rowvec.cli.index import index as run

    run(
        action, config, pipeline, kind=kind, precision=precision, dimensions=dimensions, m=m,
        ef_construction=ef_construction, lists=lists, target=target, queries=queries, queries_from=queries_from,
        as_json=as_json,
    )  # fmt: skip


@command()
def audit(
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    repair: Annotated[bool, typer.Option("--repair", help="Fix what was found, and nothing else.")] = False,
    sample: Annotated[
        int, typer.Option("--sample", min=0, metavar="ROWS", help="Number of random rows to embed again and compare.")
    ] = 100,
    allow_delete: AllowDelete = False,
    max_cost: MaxCost = None,
    every: All = False,
    as_json: Json = False,
) -> None:
    """Compare rows, vectors and indexes. Exit code 4 if they differ."""
    from rowvec.cli import audit as auditing
    from rowvec.cli.several import each

    def one(name: str | None) -> int:
        return auditing.audit(
            config, name, repair=repair, sample=sample, allow_delete=allow_delete, max_cost=max_cost, as_json=as_json
        )

    raise typer.Exit(each(config, pipeline, one, every=every, as_json=as_json))


@command()
def generations(
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    drop: Annotated[
        str | None,
        typer.Option(
            "--drop",
            metavar="STATE",
            autocompletion=complete.words(complete.DROPPED),
            help="Drop this generation: previous or building.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the generations of the vectors: the live one, the one being built, the one before."""
    from rowvec.cli import generations as listing

    listing.generations(config, pipeline, drop=drop, as_json=as_json)


@command()
def rollback(pipeline: PipelineOption = None, config: ConfigPath = None, as_json: Json = False) -> None:
    """Swap back to the previous generation (undo a model change)."""
    from rowvec.cli import generations as listing

    listing.rollback(config, pipeline, as_json=as_json)


@command("eval")
def evaluate(
    queries: Annotated[
        Path | None, typer.Argument(help="Queries: CSV, JSONL or TREC. Default: what was judged on the page.")
    ] = None,
    judgements: Annotated[
        Path | None, typer.Argument(help="Judgements: CSV, JSONL or TREC qrels. Default: the first file has them.")
    ] = None,
    pipeline: PipelineOption = None,
    config: ConfigPath = None,
    mode: Annotated[
        list[str] | None,
        typer.Option("--mode", "-m", help="Mode to measure (repeatable). Default: all; hybrid with --fit."),
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option("--measure", help="Measure such as nDCG@10 (repeatable).")
    ] = None,
    condensed: Annotated[bool, typer.Option("--condensed", help="Leave unjudged rows out of the rankings.")] = False,
    rerank: Annotated[
        bool | None,
        typer.Option(
            "--rerank/--no-rerank", help="With the reranker too. Default: as searches do; with --fit, without."
        ),
    ] = None,
    worst: Annotated[int, typer.Option("--worst", min=0, help="Maximum number of worst queries that are listed.")] = 5,
    run_file: Annotated[
        Path | None, typer.Option("--run", help="Write the rankings of one mode to this file, as a TREC run.")
    ] = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Propose weights for the search, and say what they gain on queries left out.")
    ] = False,
    folds: Annotated[
        int | None, typer.Option("--folds", min=2, help="Parts of the queries for --fit. Default: 5.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="With --fit: write the weights to rowvec.toml if the gain shows.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure how good the hits are: nDCG, recall, MRR and precision from human judgements."""
    if not fit and (folds or write):
        raise ConfigError(f"{'--folds' if folds else '--write'} belongs to --fit.", hint="Add --fit, or leave it out.")
    if fit:
        from rowvec.cli.fit import fit as propose

        if run_file:
            raise ConfigError("--fit goes without --run.", hint="Leave one of them out.")
        propose(
            config, pipeline, queries, judgements, modes=mode or [], measures=measure or [], condensed=condensed,
            folds=folds or 5, rerank=bool(rerank), write=write, as_json=as_json,
        )  # fmt: skip
        return
    from rowvec.cli.evaluate import evaluate as run

    run(
        config, pipeline, queries, judgements, modes=mode or ["semantic", "keyword", "hybrid"],
        measures=measure or ["nDCG@10", "recall@10", "MRR@10", "precision@10"], condensed=condensed, rerank=rerank,
        worst=worst, run_file=run_file, as_json=as_json,
    )  # fmt: skip
