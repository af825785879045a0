"""`rowvec map`: the picture of the vectors that `rowvec serve` shows at /ui/map."""

from __future__ import annotations

import time
from pathlib import Path

from rowvec.api.project import Project
from rowvec.cli import output, progress
from rowvec.maps.draw import draw, map_file
from rowvec.maps.projection import require_umap


def make(config: Path | None, name: str | None, *, sample: int, as_json: bool) -> None:
    """
    Raises:
        MissingExtraError: the `map` extra is not installed. StoreError: there are no vectors.
        ConfigError: the file cannot be written.
    """
    require_umap()
    began = time.monotonic()
    with Project(config) as project:
        pipeline = project.pipeline(name).assembled
        path = map_file(project.config.state, pipeline.name)
        with progress.phases("The map that was there before is untouched.") as tell:
            made = draw(pipeline.searched, pipeline.spec, sample=sample, progress=tell)
        made.save(path)
    seconds = time.monotonic() - began
    if as_json:
        output.print_json(
            {
                "pipeline": pipeline.name, "rows": len(made.keys), "of": made.rows, "seconds": round(seconds, 3),
                "file": str(path),
            }
        )  # fmt: skip
        return
    of = f" of {made.rows:,}, chosen by chance," if made.rows > len(made.keys) else ""
    output.line(
        f"{pipeline.name}: {output.count(len(made.keys), 'row')}{of} on the map, in {output.seconds(seconds)}: {path}"
    )
    output.line("See it with `rowvec serve`, at /ui/map.")
