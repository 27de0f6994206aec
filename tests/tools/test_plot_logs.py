"""Curves from the logs of one run or of several."""

import json
from pathlib import Path

import cv2
import plot_logs
import pytest


def write(file: Path, *rows: dict, rest: str = '') -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(''.join(f'{json.dumps(row)}\n' for row in rows) + rest)


def train(iteration: int, loss: float) -> dict:
    return dict(loss=loss, loss_cls=loss / 2, iter=iteration, step=iteration)


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """A run that was killed after iteration 400 was logged, and resumed from 200."""
    folder = tmp_path / 'run'
    write(
        folder / '20260101_000000' / 'vis_data' / '20260101_000000.json',
        train(100, 4.0),
        train(200, 3.0),
        # By epoch, or 0 where there are none: which of them is not said.
        {'lvis/bbox_AP': 0.1, 'lvis/bbox_APr': -1.0, 'lvis/bbox_AP75': 0.1, 'step': 1},
        train(300, 2.5),
        train(400, 2.4),
        rest='{"loss": 1.',
    )
    write(
        folder / '20260102_000000' / 'vis_data' / '20260102_000000.json',
        train(250, 2.0),
        train(300, float('nan')),
        {'lvis/bbox_AP': 0.2, 'step': 2},
    )
    write(folder / '20260103_000000' / '20260103_000000.json', {'lvis/bbox_AP': 0.3})
    write(folder / '20260104_000000' / '20260104_000000.json', {'lvis/bbox_AP': 0.4})
    # The same once more, as MMEngine writes it.
    write(folder / '20260101_000000' / 'vis_data' / 'scalars.json', train(900, 1.0))
    return folder


def test_resumed_run(work_dir: Path) -> None:
    run = plot_logs.Run(work_dir)
    assert run.curves['loss'] == {100: 4.0, 200: 3.0, 250: 2.0}
    assert run.curves['lvis/bbox_AP'] == {200: 0.1, 300: 0.2}
    assert not run.curves['lvis/bbox_APr']
    assert run.tests == {'lvis/bbox_AP': 0.4}


def test_draws_what_is_asked_for(
    work_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    titles = []
    original = plot_logs.Figure.savefig
    monkeypatch.setattr(
        plot_logs.Figure,
        'savefig',
        lambda self, *args, **kwargs: (
            titles.append({panel.get_title(): len(panel.lines) for panel in self.axes}),
            original(self, *args, **kwargs),
        ),
    )
    alone = work_dir / '20260102_000000' / 'vis_data' / '20260102_000000.json'
    out = tmp_path / 'new' / 'curves.png'
    plot_logs.main([str(work_dir), str(alone), '--out', str(out)])
    plot_logs.main([str(work_dir), '--out', str(out), '--keys', 'cls$'])
    # A test is a line of its own.
    assert titles == [{'loss': 2, 'loss_cls': 2, 'lvis/bbox_AP': 3}, {'loss_cls': 1}]
    assert cv2.imread(str(out)) is not None
    assert capsys.readouterr().out.splitlines() == [
        f'wrote {out}: {", ".join(drawn)}' for drawn in titles
    ]


def test_errors(work_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='name a work_dir or a log file'):
        plot_logs.Run(tmp_path / 'nothing')
    with pytest.raises(FileNotFoundError, match='there is no <time>/vis_data/<time>.json'):
        plot_logs.Run(tmp_path)
    with pytest.raises(ValueError, match=r"contains 'speed'; logged are \['loss', "):
        plot_logs.draw([plot_logs.Run(work_dir)], 'speed', tmp_path / 'curves.png')
    for content in ('PK\x03\x04\nrest', '[1, 2]\n', '{"loss": 1}\nhalf\n{"loss": 2}\n'):
        (tmp_path / 'log').write_text(content)
        with pytest.raises(ValueError, match='line . of .*log is no JSON object'):
            plot_logs.Run(tmp_path / 'log')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['nothing'], 'error: there is no .*nothing; name a work_dir'),
        (['run', '--keys', '['], r"error: --keys '\[' is no regular expression: unterminated"),
        (['run', '--keys', 'speed'], 'error: no logged key contains'),
    ],
)
def test_errors_are_no_tracebacks(
    work_dir: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work_dir.parent)
    with pytest.raises(SystemExit, match=message):
        plot_logs.main(options)
