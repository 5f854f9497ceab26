"""Training curves as SVG: the loss, and R@1 on the validation split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


@dataclass(frozen=True)
class Curve:
    """A curve through points (x, y).

    Attributes:
        title: The name of the curve.
        x_label: The label of the x axis: "epoch" or "step".
        points: The points (x, y), in the order of training.
        percent: Whether y is a fraction in [0, 1] to be shown in percent.
    """

    title: str
    x_label: str
    points: Sequence[tuple[float, float]]
    percent: bool = False


def training_curves(history: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """Extract the curves that `TrainerState.log_history` has points for: loss, then validation R@1."""
    curves = [_curve("Training loss", history, "loss"), _curve("R@1, validation", history, "eval_rank_1", percent=True)]
    return [curve for curve in curves if curve.points]


def _curve(title: str, history: Sequence[Mapping[str, Any]], key: str, percent: bool = False) -> Curve:
    logged = [entry for entry in history if key in entry]
    x_key = "epoch" if all("epoch" in entry for entry in logged) else "step"
    points = [(float(entry[x_key]), float(entry[key])) for entry in logged if x_key in entry]
    return Curve(title, x_key, points, percent)


def draw_curve(curve: Curve, *, dark: bool = False) -> bytes:
    """Draw a curve as SVG on a transparent background, with text as paths; `dark` for dark pages."""
    ink, line = ("#9198a1", "#4493f8") if dark else ("#59636e", "#0969da")
    figure = Figure(figsize=(4.2, 2.4), layout="constrained", facecolor="none")
    canvas = FigureCanvasSVG(figure)
    axes = figure.subplots(subplot_kw={"facecolor": "none"})
    scale = 100 if curve.percent else 1
    xs, ys = [x for x, _ in curve.points], [scale * y for _, y in curve.points]
    axes.plot(xs, ys, color=line, linewidth=1.8, marker="o" if len(xs) <= 30 else "", markersize=3.5)
    axes.set_xlabel(curve.x_label, color=ink)
    axes.set_ylim(bottom=0, top=100 if curve.percent else None)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=max(xs) > 2))
    if curve.percent:
        axes.yaxis.set_major_formatter(lambda value, position: f"{value:.0f} %")
    axes.tick_params(colors=ink, length=0)
    axes.grid(axis="y", color=ink, alpha=0.25, linewidth=0.8)
    axes.spines[:].set_visible(False)
    file = BytesIO()
    canvas.print_svg(file, metadata={"Date": None, "Creator": None})
    return file.getvalue()
