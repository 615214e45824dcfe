"""Time and memory of the privacy engine and of other ways of training, as a table and as curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Grey for what is not private, orange for Opacus, blue for the engine; hollow and full markers
# tell curves apart that lie on one another.
LOOKS = {
    "non-private batch": ("0.25", "o", "none"),
    "non-private, memory kept": ("0.25", "x", "full"),
    "non-private accumulation": ("0.55", "s", "none"),
    "engine fp32": ("tab:blue", "o", "full"),
    "engine bf16": ("tab:cyan", "D", "full"),
    "engine automatic": ("tab:green", "v", "none"),
    "engine kernel by kernel": ("tab:purple", "s", "none"),
    "opacus hooks": ("tab:orange", "^", "full"),
    "opacus functorch": ("tab:brown", "v", "full"),
    "opacus ghost": ("tab:red", "P", "none"),
}


def of(results: list[dict[str, Any]], way: str, field: str, size: int, device: str) -> float | None:
    """One figure, or None when it was not measured."""
    for row in results:
        if (row["way"], row["size"], row["device"]) == (way, size, device):
            return row.get(field)
    return None


def table(results: list[dict[str, Any]]) -> None:
    """Print all rows, times also relative to the non-private batch of the same size."""
    print(f"{'way':26}{'size':>5} {'device':>6}{'s/step':>9}{'cpu s':>9}{'x':>7}{'MiB':>8}{'x':>7}")
    for row in results:
        head = f"{row['way']:26}{row['size']:>5} {row['device']:>6}"
        if "not_run" in row:
            print(f"{head}  not run: {row['not_run']}")
            continue
        base = [
            of(results, "non-private batch", field, row["size"], row["device"])
            for field in ("seconds", "added_mib")
        ]
        relative = [
            f"{value / one:7.2f}" if one else f"{'-':>7}"
            for value, one in zip((row["seconds"], row["added_mib"]), base, strict=True)
        ]
        print(
            f"{head}{row['seconds']:9.3f}{row['processor_seconds']:9.3f}{relative[0]}"
            f"{row['added_mib']:8.0f}{relative[1]}"
        )
        if row.get("plainly"):
            print(f"{'':26}not replayed as a graph: {row['plainly']}")


def plot(results: list[dict[str, Any]], picture: Path) -> None:
    """Draw time and memory of each way against the edge of the volume: a row of panels a device."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    devices = list(dict.fromkeys(row["device"] for row in results))
    figure, panels = plt.subplots(
        len(devices), 2, figsize=(10, 0.9 + 4.1 * len(devices)), layout="constrained", squeeze=False
    )
    for device, pair in zip(devices, panels, strict=True):
        rows = [row for row in results if row["device"] == device]
        _panel(pair[0], rows, "seconds", f"seconds a step, {device}")
        _panel(pair[1], rows, "added_mib", f"MiB added by training, {device}")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    figure.suptitle("One step over four patients, AutoencoderKL 3-D")
    picture.parent.mkdir(exist_ok=True)
    figure.savefig(picture, dpi=130)


def _panel(panel: Any, rows: list[dict[str, Any]], field: str, label: str) -> None:
    sizes = sorted({row["size"] for row in rows})
    for way, (colour, marker, fill) in LOOKS.items():
        found = [row for row in rows if row["way"] == way and field in row]
        missing = [str(row["size"]) for row in rows if row["way"] == way and field not in row]
        panel.plot(
            [row["size"] for row in found],
            [row[field] for row in found],
            color=colour,
            marker=marker,
            markersize=8,
            fillstyle=fill,
            linewidth=2.5 if way.startswith("engine") else 1.2,
            label=way + (f" (not run at {', '.join(missing)})" if missing else ""),
        )
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xticks(sizes, [str(size) for size in sizes])
    panel.set_xticks([], minor=True)
    panel.yaxis.set_major_formatter("{x:g}")
    panel.set_xlabel("edge of the volume (voxels)")
    panel.set_ylabel(label)
    panel.grid(alpha=0.3, which="both")
