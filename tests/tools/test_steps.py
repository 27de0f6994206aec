"""The demo's steps: echoed, run once, continued where they stopped."""

import json
import math
import shlex
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from steps import STOCK_TOOLS, Steps


def appending(file: Path, text: str = 'x', then: str = '') -> list[str]:
    """A command that appends to a file, so that its length tells how often it ran."""
    code = f'import os\nos.makedirs({str(file.parent)!r}, exist_ok=True)\n'
    code += f'open({str(file)!r}, "a").write({text!r})\n{then}'
    return [sys.executable, '-c', code]


@pytest.fixture
def markers(tmp_path: Path) -> Path:
    return tmp_path / 'markers'


def test_the_tools_are_mmdets_own():
    for name in ('train.py', 'test.py', 'dist_train.sh', 'dist_test.sh'):
        assert (STOCK_TOOLS / name).is_file()


def test_echo_can_be_copied(markers, tmp_path, capfd):
    """Pasting the echoed line into a shell does what the step did."""
    out = tmp_path / 'with space'
    code = 'import os, sys; open(sys.argv[1], "a").write(os.environ["WORLD"])'
    command = [sys.executable, '-c', code, str(out)]
    Steps(markers, {'WORLD': 'a world'}).run('make it', command, [out])
    echoed = [line for line in capfd.readouterr().out.splitlines() if line.startswith('  $ ')]
    assert len(echoed) == 1
    assert shlex.split(echoed[0])[1:] == ['WORLD=a world', *command]
    subprocess.run(['sh', '-c', echoed[0].removeprefix('  $ ')], check=True)
    assert out.read_text() == 'a worlda world'


def test_finished_steps_are_not_run_again(markers, tmp_path, capfd):
    one, two = tmp_path / 'one', tmp_path / 'two'
    for _ in range(2):
        steps = Steps(markers, {})
        steps.run('first', appending(one), [one])
        steps.run('second', appending(two), [two])
    assert (one.read_text(), two.read_text()) == ('x', 'x')
    assert capfd.readouterr().out.count('already done') == 2


def test_a_change_runs_a_step_and_those_after_it_anew(markers, tmp_path):
    """What a changed step wrote before is gone, and so is what was made from it."""
    names = ['first', 'second', 'third']
    files = [tmp_path / name for name in names]
    for text in ('x', 'y'):
        steps = Steps(markers, {})
        for name, file in zip(names, files, strict=True):
            steps.run(name, appending(file, text if name == 'second' else 'x'), [file])
    assert [file.read_text() for file in files] == ['x', 'y', 'x']

    files[2].write_text('old')
    steps = Steps(markers, {})
    steps.run('first', appending(files[0]), [files[0]])
    steps.run('second', appending(files[1], 'z'), [files[1]])
    steps.run('third', appending(files[2]), [files[2]])
    assert [file.read_text() for file in files] == ['x', 'z', 'x']


def test_a_deleted_output_is_made_again(markers, tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'

    def run() -> None:
        steps = Steps(markers, {})
        steps.run('first', appending(one), [one])
        steps.run('second', appending(two), [two])

    run()
    one.unlink()
    run()
    assert (one.read_text(), two.read_text()) == ('x', 'x')


def test_a_failing_command_stops_with_advice_and_goes_on(markers, tmp_path, capfd):
    """What the failed attempt wrote is kept: a training resumes from its checkpoint."""
    folder = tmp_path / 'folder'
    allowed = tmp_path / 'allowed'
    then = f'raise SystemExit(0 if os.path.exists({str(allowed)!r}) else 7)'
    command = appending(folder / 'checkpoint', then=then)
    with pytest.raises(SystemExit, match='train failed with exit status 7; mend .* run the same'):
        Steps(markers, {}).run('train', command, [folder])
    allowed.touch()
    Steps(markers, {}).run('train', command, [folder])
    assert (folder / 'checkpoint').read_text() == 'xx'
    Steps(markers, {}).run('train', command, [folder])
    assert (folder / 'checkpoint').read_text() == 'xx'
    assert capfd.readouterr().out.count('already done') == 1


def test_seconds_add_up_over_the_parts_of_a_step(markers, tmp_path, monkeypatch):
    """Whatever ended a part; of a step that is run anew they begin at nothing."""
    clock, made = [0.0], tmp_path / 'made'
    monkeypatch.setattr('steps.time.monotonic', lambda: clock[0])

    def run(end: object, command: str = 'train') -> float:
        """One part, of a second more than the last."""

        def child(*args, **kwargs) -> subprocess.CompletedProcess:
            clock[0] += run.seconds
            run.seconds += 1
            made.touch()
            run.marker = (markers / 'train.json').read_text()
            if end is KeyboardInterrupt:
                raise end
            return subprocess.CompletedProcess(args, end)

        monkeypatch.setattr('steps.subprocess.run', child)
        steps = Steps(markers, {})
        with pytest.raises((SystemExit, KeyboardInterrupt)) if end else nullcontext():
            steps.run('train', [command], [made])
        return steps.seconds('train')

    run.seconds = 1
    assert [run(KeyboardInterrupt), run(7), run(0), run(0)] == [1, 3, 6, 6]
    assert run.seconds == 4
    made.unlink()
    assert run(0) == 4  # its output was deleted
    assert run(7, 'train more') == 5 and run(0, 'train less') == 6
    # The tool itself was killed while the command ran: nobody knows when.
    assert run(7, 'train long') == 7
    (markers / 'train.json').write_text(run.marker)
    assert math.isnan(run(0, 'train long'))
    assert run(0, 'train short') == 9


def test_an_interrupted_step_with_another_command_starts_from_nothing(markers, tmp_path):
    file = tmp_path / 'file'
    with pytest.raises(SystemExit):
        Steps(markers, {}).run('train', appending(file, then='raise SystemExit(1)'), [file])
    Steps(markers, {}).run('train', appending(file, 'y'), [file])
    assert file.read_text() == 'y'


def test_another_content_of_an_input_runs_a_step_anew(markers, tmp_path):
    source, made = tmp_path / 'source', tmp_path / 'made'
    runs = tmp_path / 'runs'
    command = [
        sys.executable,
        '-c',
        f'open({str(runs)!r}, "a").write("x"); open({str(made)!r}, "w")',
    ]
    for content, setting, expected in [('a', '1', 1), ('a', '1', 1), ('b', '1', 2), ('b', '2', 3)]:
        source.write_text(content)
        Steps(markers, {}).run('make', command, [made], [source, setting])
        assert len(runs.read_text()) == expected


def test_a_folder_named_later_is_not_deleted(markers, tmp_path):
    """Nor is the one that the step wrote before: a marker alone deletes nothing."""
    mine, precious = tmp_path / 'mine', tmp_path / 'precious'
    precious.mkdir()
    (precious / 'file').touch()
    Steps(markers, {}).run('generate', appending(mine / 'file'), [mine])
    Steps(markers, {}).run('generate', appending(precious / 'mine'), [precious])
    assert (precious / 'file').exists() and mine.exists()


def test_a_marker_deletes_nothing_but_outputs(markers, tmp_path):
    """One may come with somebody else's work_dirs."""
    precious = tmp_path / 'precious'
    precious.mkdir()
    markers.mkdir()
    marker = dict(digest='another', finished=True, outputs=[str(precious)])
    (markers / 'generate.json').write_text(json.dumps(marker))
    Steps(markers, {}).run('generate', appending(tmp_path / 'mine'), [tmp_path / 'mine'])
    assert precious.exists()


def test_what_no_step_has_written_is_not_deleted(markers, tmp_path):
    """Such as the annotations of a real dataset, whose folder was given by mistake."""
    folder = tmp_path / 'annotations'
    folder.mkdir()
    (folder / 'precious').touch()
    Steps(markers, {}).run('generate', appending(folder / 'mine'), [folder])
    assert (folder / 'precious').exists()


def test_a_step_that_writes_nothing_is_no_success(markers, tmp_path):
    absent = tmp_path / 'absent'
    with pytest.raises(SystemExit, match=r"make succeeded, but did not write \['.*absent'\]"):
        Steps(markers, {}).run('make', [sys.executable, '-c', ''], [absent])
    assert not json.loads((markers / 'make.json').read_text())['finished']
