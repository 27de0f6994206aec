"""The benchmark for a GPU keeps what it has, whatever happens; test_docs.py runs it on a CPU."""

import json

import does_it_run
import extraction
import gpu
import inference
import pytest
import timing
import train_step
from does_it_run import TESTED, TRAINED


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A benchmark of the given code, by the name ``made.py``."""
    monkeypatch.setattr(gpu, 'HERE', tmp_path / 'a' / 'b')
    gpu.HERE.mkdir(parents=True)
    monkeypatch.setattr(gpu, 'LAUNCH', gpu.LAUNCH.replace('import mmdet_vild, ', 'import '))
    return (gpu.HERE / 'made.py').write_text


@pytest.mark.parametrize(
    ('code', 'ended', 'printed', 'error'),
    [
        ('import sys; print(sys.argv[1:])', 'well', "['--device', 'cpu']", ''),
        ('print("| a |"); raise MemoryError', 'exit status 1', '| a |', 'MemoryError'),
        ('import time; print("| a |"); time.sleep(60)', 'cut off after 5 s', '| a |', ''),
    ],
)
def test_a_part(script, code, ended, printed, error):
    script(code)
    found = gpu.run_part(['made.py', '--device', 'cpu'], 5)
    assert (found['ended'], found['markdown']) == (ended, printed) and error in found['error']


def test_what_was_measured_stays(tmp_path, monkeypatch):
    """Of two parts the second is stopped; in another run no time is left."""
    todo = [('first', 50, ['1']), ('second', 50, ['2']), ('third', 50, ['3'])]
    monkeypatch.setattr(gpu, 'parts', lambda args: todo)
    done = dict(command='it', ended='well', seconds=1, markdown='| figures |', error='')

    def run_part(command, limit):
        if command == ['2']:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(gpu, 'run_part', run_part)
    args = gpu.argparse.Namespace(out=tmp_path, device='cpu', minutes=1.0, tiny=False)
    with pytest.raises(KeyboardInterrupt):
        gpu.measure(args)
    assert list(json.loads((tmp_path / 'results.json').read_text())['parts']) == ['first']
    assert '| figures |' in (tmp_path / 'report.md').read_text()
    args.minutes = 0.01
    parts = gpu.measure(args)['parts'].values()
    assert [part['ended'] for part in parts] == ['not begun: no time was left'] * 3


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
@pytest.mark.parametrize('tiny', [False, True])
def test_command_lines_are_those_of_the_benchmarks(device, tiny, monkeypatch):
    monkeypatch.setattr(extraction, 'get_device', lambda: device)
    seen = set()
    for _, _, (script, *options) in gpu.parts(gpu.argparse.Namespace(device=device, tiny=tiny)):
        assert (gpu.HERE / script).is_file() and options[options.index('--device') + 1] == device
        parse = {
            'train_step.py': train_step.parse_args,
            'inference.py': inference.parse_args,
            'extraction.py': extraction.parse_args,
        }
        if script in parse:
            parse[script](options)
        seen.add(script)
    others = ('does_it_run.py', 'profiles.py', 'teacher.py', 'postprocess.py', 'teacher_scores.py')
    assert seen == {*others, *parse}


def test_rounds_end_in_time(monkeypatch):
    """But for those before the first figures."""
    assert list(timing.rounds(3, 2)) == [-2, -1, 0, 1, 2]
    now = iter(range(100))
    monkeypatch.setattr(timing.time, 'time', lambda: next(now))
    monkeypatch.setenv(timing.END, '0')
    assert list(timing.rounds(3, 2)) == [-2, -1, 0] and list(timing.rounds(3)) == [0]
    now = iter(range(100))  # a round takes 1, and there is a second between two
    monkeypatch.setenv(timing.END, '7')
    assert list(timing.rounds(9)) == [0, 1, 2, 3]
    # One that warms up takes 50, and says nothing of the others.
    now = iter([0, 50, *range(51, 100)])
    monkeypatch.setenv(timing.END, '57')
    assert list(timing.rounds(9, 1)) == [-1, 0, 1, 2, 3]


def test_aims_of_a_training_step():
    seconds = {'Mask R-CNN': [1.0, 2.0, 1.0], 'ViLD': [1.1, 2.2, 9.0], 'ViLD-ensemble': [1.4] * 3}
    assert train_step.aims(list(seconds), seconds) == (
        '\n\nAims: ViLD at most 1.10 (met), ViLD-ensemble at most 1.30 (missed).'
    )
    assert train_step.aims(['ViLD', 'ViLD-ensemble'], seconds) == ''


def test_a_driver_that_is_not_told(monkeypatch):
    """Nothing is lost without nvidia-smi."""
    monkeypatch.setattr(train_step, 'machine', lambda device: 'a GPU')
    monkeypatch.setenv('PATH', '')
    found = gpu.machine('cuda')
    assert found['machine'] == 'a GPU' and 'nvidia-smi' in found['driver']


@pytest.mark.parametrize(
    ('found', 'expected', 'said'),
    [
        ((1.04, 3, 0.5), (1.0, 4, 0.5), 'ok'),
        ((1.06, 3, 0.5), (1.0, 4, 0.5), 'DIFFERS'),
        ((1.0, 3, 0.57), (1.0, 4, 0.5), 'ok'),
        ((1.0, 3, 0.58), (1.0, 4, 0.5), 'DIFFERS'),
        ((1.0, 0, 0.0), (1.0, 4, 0.01), 'DIFFERS'),
        ((1.0, 0, 0.0), (1.0, 0, 0.0), 'ok'),
        ((float('nan'), 3, 0.5), (1.0, 4, 0.5), 'DIFFERS'),
        ((0.0, 3, float('nan')), (0.0, 4, 0.5), 'DIFFERS'),
    ],
)
def test_what_differs_is_said(found, expected, said):
    assert does_it_run.verdict(found, expected, 0.05) == said


def test_a_system_that_fails(monkeypatch, capsys, tmp_path):
    """Takes nothing from the next, but for an error after which the device does nothing more."""
    monkeypatch.setattr(does_it_run, 'mini_batch', lambda args, folder: {})
    systems = (('a/b_c.py', TESTED), ('a/d_c.py', TRAINED), ('a/e_c.py', TESTED))
    monkeypatch.setattr(does_it_run, 'SYSTEMS', systems)
    models = {'a/b_c.py': None, 'a/d_c.py': 'd', 'a/e_c.py': 'e'}

    def mini(config, folder):
        if models[config] is None:
            raise ImportError('no timm')
        return models[config]

    error, failing = RuntimeError('it is | lost'), [('d', 'cuda', 'float16')]

    def step(model, batch, what, device, dtype):
        if (model, device, dtype) in failing:
            raise error
        return [2.0 if what == TRAINED else 0.0, 3, 0.25]

    monkeypatch.setattr(does_it_run, 'mini', mini)
    monkeypatch.setattr(does_it_run, 'step', step)
    args = does_it_run.argparse.Namespace(device='cuda', tiny=False, begin=0)
    assert does_it_run.does_it_run(args, str(tmp_path)) is None
    rows = [line.strip('| ').split(' | ') for line in capsys.readouterr().out.splitlines()]
    said = {(row[0], row[1]): row[-1] for row in rows}
    expected = dict.fromkeys([(f'a/{n}', d) for n in 'bde' for d in does_it_run.CLOSE], 'ok')
    expected |= {('a/b', d): 'FAILED: ImportError: no timm' for d in does_it_run.CLOSE}
    expected['a/d', 'float16'] = 'FAILED: RuntimeError: it is / lost'
    assert said == expected
    assert rows[3][2:-1] == ['2', '2', '3', '3', '0.25', '0.25']
    failing = [('d', 'cpu', 'float32')]
    assert does_it_run.does_it_run(args, str(tmp_path)) is None
    assert capsys.readouterr().out.count('FAILED: RuntimeError: it is / lost') == 3
    error, failing = RuntimeError('CUDA error: an assert'), [('d', 'cuda', 'float16')]
    assert does_it_run.does_it_run(args, str(tmp_path)) == 2
    args.begin = 2
    assert does_it_run.does_it_run(args, str(tmp_path)) is None
    assert capsys.readouterr().out.splitlines()[-3].startswith('| a/e | float32')


def test_needs_a_gpu_or_to_be_told_otherwise(monkeypatch, capsys):
    monkeypatch.setattr(gpu.torch.cuda, 'is_available', lambda: False)
    for wrong in ([], ['--device', 'cpu', '--minutes', '0']):
        with pytest.raises(SystemExit):
            gpu.main(wrong)
    assert 'no CUDA device' in capsys.readouterr().err
