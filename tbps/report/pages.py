"""Self-contained HTML pages: images and styles are embedded, nothing is fetched, no script runs."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from tbps.data.atomic_files import write_atomically
from tbps.data.paths import local_path
from tbps.files_tbps import printable
from tbps.report.curves import Curve, draw_curve, training_curves
from tbps.report.results import QueryResult, RankedHit

_THUMBNAIL = (192, 384)  # pixels, twice the size on the page, for high-resolution screens
_METRICS = {
    "rank_1": ("R@1", "the first image shows the right person"),
    "rank_5": ("R@5", "the right person is among the first 5"),
    "rank_10": ("R@10", "the right person is among the first 10"),
    "mAP": ("mAP", "how high all images of the person rank"),
    "mINP": ("mINP", "how high the last image of the person ranks"),
}


def write_search_page(path: str | Path, results: Sequence[QueryResult], title: str = "Person search") -> None:
    """Write the hits of one or more queries as an HTML page with thumbnails, scores, paths and metadata.

    Args:
        path: The file to write.
        results: The queries with their hits.
        title: The heading of the page.
    """
    _write(path, "search.html", title=title, results=[_result_view(result) for result in results])


def write_demo_report(
    path: str | Path,
    *,
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, Any]],
    results: Sequence[QueryResult],
    facts: Mapping[str, object],
    chance: Mapping[str, float] | None = None,
    ceiling: Mapping[str, float] | None = None,
    title: str = "Person search: a training run",
    about: Sequence[str] = (),
    next_steps: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the report of a training run as an HTML page.

    Args:
        path: The file to write.
        metrics: Metrics in [0, 1] by name (`rank_1`, `rank_5`, `rank_10`, `mAP`, `mINP`).
        history: `TrainerState.log_history`. Loss and `eval_rank_1`, if present, are drawn as curves.
        results: Some queries with their hits.
        facts: A table of facts, such as people, images, seconds and model size.
        chance: The metrics of a random ranking, by name.
        ceiling: The metrics of a perfect reader of the queries, by name; they are below 1, because some queries match
            several people.
        title: The heading of the page.
        about: Paragraphs that describe the model and its training data.
        next_steps: Suggestions, each with its command (or "").
    """
    _write(
        path,
        "report.html",
        title=title,
        about=about,
        metrics=[_metric_view(name, value, chance or {}, ceiling or {}) for name, value in metrics.items()],
        curves=[_curve_view(curve) for curve in training_curves(history)],
        results=[_result_view(result) for result in results],
        facts=facts,
        next_steps=next_steps,
    )


def _write(path: str | Path, template: str, **values: Any) -> None:
    environment = Environment(
        loader=PackageLoader("tbps.report"),
        autoescape=True,  # queries, paths and metadata are untrusted text
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(**values)
    path = local_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page.encode(errors="replace"))  # a file name may contain invalid text


def _visible(value: Any) -> Any:
    """Make text printable; parts of the page itself do not change."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _result_view(result: QueryResult) -> dict[str, Any]:
    hits = [
        _hit_view(rank, hit, mark) for rank, (hit, mark) in enumerate(zip(result.hits, result.marks(), strict=True), 1)
    ]
    return {"query": result.query, "note": result.note, "hits": hits}


def _hit_view(rank: int, hit: RankedHit, mark: bool | None) -> dict[str, Any]:
    image, remark = hit.load_image()
    return {
        "rank": rank,
        "score": f"{hit.score:.3f}",
        "mark": {True: "right", False: "wrong", None: ""}[mark],
        "thumbnail": None if image is None else _thumbnail(image),
        "remark": remark,
        "name": Path(hit.path).name if hit.path else hit.id[:12] or "details",
        "details": {"path": hit.path, **hit.metadata} if hit.path else {"id": hit.id, **hit.metadata},
    }


def _thumbnail(image: Image.Image) -> str:
    image = image.copy()
    image.thumbnail(_THUMBNAIL)
    file = BytesIO()
    image.save(file, format="JPEG", quality=85)  # drops the EXIF data of the original, such as place and time
    return _data_url("image/jpeg", file.getvalue())


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


def _metric_view(name: str, value: float, chance: Mapping[str, float], ceiling: Mapping[str, float]) -> dict[str, Any]:
    label, meaning = _METRICS.get(name, (name, ""))
    return {
        "label": label,
        "meaning": meaning,
        "value": value,
        "chance": chance.get(name),
        "ceiling": ceiling.get(name),
    }


def _curve_view(curve: Curve) -> dict[str, str]:
    light, dark = (_data_url("image/svg+xml", draw_curve(curve, dark=dark)) for dark in (False, True))
    return {"title": curve.title, "light": light, "dark": dark}
