"""What is wrong, or worth knowing, about the data of a run, before its first step."""

from edgemtl.data.checks.report import LEVELS, CheckOptions, DataReport, Finding, read_report
from edgemtl.data.checks.run import check_data
from edgemtl.data.checks.table import print_report

__all__ = [
    "LEVELS",
    "CheckOptions",
    "DataReport",
    "Finding",
    "check_data",
    "print_report",
    "read_report",
]
