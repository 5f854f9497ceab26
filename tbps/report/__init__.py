"""Search results and training runs as pictures and pages to look at."""

from tbps.report.pages import write_demo_report, write_search_page
from tbps.report.results import QueryResult, RankedImage
from tbps.report.sheets import write_search_sheet

__all__ = ["QueryResult", "RankedImage", "write_demo_report", "write_search_page", "write_search_sheet"]
