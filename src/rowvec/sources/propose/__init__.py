"""What a database, or files, offer for a pipeline: keys, columns of text, columns to filter by. Nothing is written."""

from rowvec.sources.propose.files import propose_files
from rowvec.sources.propose.proposal import Files, Proposal
from rowvec.sources.propose.tables import propose

__all__ = ["Files", "Proposal", "propose", "propose_files"]
