"""rowvec inside frameworks: retrievers over a pipeline's rows. Each folder is an extra of its name.

They read and never write: rows come from the database that the pipeline syncs.
"""
