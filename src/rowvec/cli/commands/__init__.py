"""What `rowvec` can do, in the order of its help. Each command imports what it needs when it runs."""

from rowvec.cli import embedded
from rowvec.cli.app import app

from rowvec.cli.commands import sync, search, serve  # isort: skip

__all__ = ["app", "search", "serve", "sync"]
app.add_typer(embedded.app, name="embedded")
