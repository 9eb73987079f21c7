"""The times of a forward as dots with their spread, on a log axis, all drawn alike."""

from __future__ import annotations

import statistics

from peers.table import Measured, ratios, spread
from peers.variants import PLAIN


def draw(measured: dict[str, Measured], path: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, NullLocator

    rows = [one for one in measured.values() if not one.problem and one.name != PLAIN]
    rows.sort(key=lambda one: statistics.median(ratios(one, measured[PLAIN])), reverse=True)
    spreads = [spread(ratios(one, measured[PLAIN])) for one in rows]
    figure, ax = plt.subplots(figsize=(8, 0.42 * len(rows) + 1.2), layout="constrained")
    for place, (median, low, high) in enumerate(spreads):
        ax.plot([low, high], [place, place], color="tab:blue", linewidth=4, alpha=0.35, solid_capstyle="butt")
        ax.plot(median, place, "o", color="tab:blue")
        ax.annotate(
            f"{median:.2f}×" if median < 10 else f"{median:.0f}×",
            (high, place),
            xytext=(7, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    ax.axvline(1, color="0.6", linewidth=1, zorder=0)
    ax.set(yticks=range(len(rows)), yticklabels=[one.name for one in rows], xscale="log")
    ax.margins(x=0.1)
    ticks = [tick for tick in (1, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500) if tick <= 1.1 * max(spreads)[2]]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    ax.set_xlabel("time of a forward with all maps, against the plain model\n(median, 10th to 90th percentile)")
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
