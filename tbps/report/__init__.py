"""Search results and training runs as pages and images. Needs the extra `report`."""

try:
    from tbps.report.pages import write_demo_report, write_search_page
    from tbps.report.results import QueryResult, RankedImage
    from tbps.report.sheets import write_search_sheet
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing != "matplotlib":
        raise
    raise ImportError(f"Result pages and images need {missing}: pip install 'tbps[report]'.") from error

__all__ = ["QueryResult", "RankedImage", "write_demo_report", "write_search_page", "write_search_sheet"]
