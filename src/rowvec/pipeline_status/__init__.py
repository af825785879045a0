"""How far the vectors of a pipeline are in step with its rows, as far as that can be known without comparing them."""

from rowvec.pipeline_status.reasons import Reason
from rowvec.pipeline_status.status import SHOWN_FAILURES, Status, failures, status, unfit
from rowvec.pipeline_status.verdict import Tone, Verdict
from rowvec.pipeline_status.waiting import Waiting
from rowvec.pipeline_status.work import Work

__all__ = ["SHOWN_FAILURES", "Reason", "Status", "Tone", "Verdict", "Waiting", "Work", "failures", "status", "unfit"]
