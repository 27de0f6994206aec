"""Draw losses and AP of training runs from the logs that MMEngine writes.

    python tools/analysis/plot_logs.py work_dirs/vild work_dirs/vild-text --out curves.png

Every argument is a run: its work_dir, in which the logs of resumed runs are put together, or one
log file (``<time>/vis_data/<time>.json``, or ``<time>/<time>.json`` of a test). AP is placed at the
iteration after which it was measured; that of a run's latest test, which does not say, is a dashed
line.
"""

import argparse
import json
import math
import re
import sys
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure

DEFAULT_KEYS = r'loss|AP[rcf]?$|mAP_50$|ap50$|mIoU$|accuracy$'
COLUMNS = 4
#: Colours that differ to colour-blind readers too (Okabe and Ito).
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
STYLES = ('-', '--', ':', '-.')


class Run:
    """What one training run logged.

    Args:
        path: A work_dir or a log file.

    Attributes:
        curves: For each key the values by iteration.
        tests: For each key what the latest test found.

    Raises:
        FileNotFoundError: There is no such file, or no log in the folder.
        ValueError: A file is no log.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.curves: dict[str, dict[int, float]] = defaultdict(dict)
        self.tests: dict[str, float] = {}
        iteration = 0
        for file in log_files(path):
            first = True
            for row in read_log(file):
                values = {k: v for k, v in row.items() if isinstance(v, int | float)}
                if 'iter' in values:
                    iteration = values['iter']
                    if first:  # resumed: what was logged after the checkpoint did not last
                        self._forget(iteration)
                        first = False
                for key, value in values.items():
                    if not math.isfinite(value) or ('AP' in key and value < 0):
                        continue  # AP is -1 where there are no objects
                    if 'step' in values:
                        self.curves[key][iteration] = value
                    else:
                        self.tests[key] = value

    def _forget(self, start: int) -> None:
        for curve in self.curves.values():
            for iteration in [i for i in curve if i >= start]:
                del curve[iteration]


def log_files(path: Path) -> list[Path]:
    """The logs of a run, oldest first.

    Raises:
        FileNotFoundError: There are none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f'there is no {path}; name a work_dir or a log file')
    files = [
        file
        for folder in sorted(path.iterdir())
        for pattern in (f'vis_data/{folder.name}.json', f'{folder.name}.json')
        for file in folder.glob(pattern)
    ]
    if not files:
        raise FileNotFoundError(
            f'there is no <time>/vis_data/<time>.json in {path}; name the work_dir of a training '
            "with MMEngine's LoggerHook, as every config here has it, or a log file"
        )
    return files


def read_log(file: Path) -> list[dict]:
    """The rows of a log; a last line that an interrupted run left half written is left out.

    Raises:
        ValueError: The file is no log.
    """
    lines = file.read_text(encoding='utf-8', errors='replace').splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif number < len(lines) or not rows:
            raise ValueError(
                f'line {number} of {file} is no JSON object; expected a log as MMEngine writes it, '
                '<time>/vis_data/<time>.json'
            )
    return rows


def draw(runs: list[Run], keys: str, out: Path) -> list[str]:
    """Draw a panel a key and a line a run.

    Args:
        runs: What to draw.
        keys: A regular expression that the keys of the panels contain.
        out: The picture.

    Returns:
        The keys of the panels.

    Raises:
        ValueError: Nothing was logged under such a key, or ``keys`` is no regular expression.
    """
    try:
        pattern = re.compile(keys)
    except re.error as error:
        raise ValueError(f'--keys {keys!r} is no regular expression: {error}') from error
    logged = list(dict.fromkeys(key for run in runs for key in (*run.curves, *run.tests)))
    chosen = [key for key in logged if pattern.search(key)]
    if not chosen:
        raise ValueError(f'no logged key contains {keys!r}; logged are {logged}')
    rows = math.ceil(len(chosen) / COLUMNS)
    figure = Figure(figsize=(4 * min(COLUMNS, len(chosen)), 2.8 * rows + 0.4 * len(runs) + 0.3))
    figure.set_layout_engine('constrained')
    lines, panel = {}, None
    for number, key in enumerate(chosen, 1):
        panel = figure.add_subplot(rows, min(COLUMNS, len(chosen)), number, sharex=panel)
        panel.set_title(key, fontsize=10)
        panel.grid(alpha=0.3)
        panel.set_xlabel('iteration', fontsize=8)
        for i, run in enumerate(runs):
            look = dict(color=COLORS[i % len(COLORS)], linestyle=STYLES[i % len(STYLES)])
            curve = sorted(run.curves[key].items())
            if curve:
                marker = 'o' if len(curve) < 30 else None
                line = panel.plot(*zip(*curve, strict=True), marker=marker, ms=3, **look)[0]
                lines.setdefault(run.name, line)
            if key in run.tests:
                line = panel.axhline(
                    run.tests[key], color=look['color'], linestyle=(0, (6, 3)), lw=1
                )
                lines.setdefault(run.name, line)
    figure.legend(lines.values(), lines.keys(), loc='outside upper center', fontsize=9)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    return chosen


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('runs', nargs='+', type=Path, help='work_dirs or log files')
    parser.add_argument('--out', type=Path, default=Path('curves.png'))
    parser.add_argument(
        '--keys', default=DEFAULT_KEYS, help='a regular expression of what to draw: %(default)s'
    )
    args = parser.parse_args(argv)
    try:
        panels = draw([Run(path) for path in args.runs], args.keys, args.out)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(f'wrote {args.out}: {", ".join(panels)}')


if __name__ == '__main__':
    main()
