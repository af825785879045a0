"""rowvec keeps vector embeddings in step with the rows of a database, and searches them."""

__version__ = "0.1.0"
__all__ = ["__version__"]
