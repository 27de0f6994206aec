"""The benchmark for a GPU keeps what it has, whatever happens; test_docs.py runs it on a CPU."""

import json

import gpu
import inference
import pytest
import train_step


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
def test_command_lines_are_those_of_the_benchmarks(device, tiny):
    seen = set()
    for _, _, (script, *options) in gpu.parts(gpu.argparse.Namespace(device=device, tiny=tiny)):
        assert (gpu.HERE / script).is_file() and options[options.index('--device') + 1] == device
        parse = {'train_step.py': train_step.parse_args, 'inference.py': inference.parse_args}
        if script in parse:
            parse[script](options)
        seen.add(script)
    assert seen == {'gpu.py', 'teacher.py', 'extraction.py', 'postprocess.py', *parse}


def test_needs_a_gpu_or_to_be_told_otherwise(monkeypatch, capsys):
    monkeypatch.setattr(gpu.torch.cuda, 'is_available', lambda: False)
    for wrong in ([], ['--device', 'cpu', '--minutes', '0']):
        with pytest.raises(SystemExit):
            gpu.main(wrong)
    assert 'no CUDA device' in capsys.readouterr().err
