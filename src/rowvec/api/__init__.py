"""rowvec as a Python library; `rowvec` itself has its public names."""
