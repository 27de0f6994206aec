"""The code in the README and the docs, and a clone of the project in which it is run."""

import json
import os
import re
import shutil
import socket
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from warm_python import WarmPython

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
#: Of fenced blocks. Indented ones are the shell's.
LANGUAGES = ('bash', 'python', 'json', 'bibtex')
#: Separates, in what a page prints, the output of its blocks.
MARK = '\x1e'
#: In place of programs that are not at hand, or take minutes and are tested elsewhere.
STAND_INS = {
    # The targets exist, and their recipes can be expanded.
    'make': 'exec {make} --dry-run --directory={root} "$@"',
    # What Slurm does with the options of MMDetection's scripts: the processes of two nodes, which
    # are both this machine.
    'srun': r"""
    echo "srun $*" >&2
    partition=; tasks=; a_node=; kill=
    while [ $# -gt 0 ]; do
        case "$1" in
            -p) partition=$2; shift ;;
            --ntasks=*) tasks=${{1#*=}} ;;
            --ntasks-per-node=*) a_node=${{1#*=}} ;;
            --job-name=?* | --gres=gpu:[1-9]* | --cpus-per-task=[1-9]*) ;;
            --time=?* | --mem=?*) ;;
            --kill-on-bad-exit=1) kill=1 ;;
            -*) echo "srun: unrecognized option '$1'" >&2; exit 1 ;;
            *) break ;;
        esac
        shift
    done
    [ "$partition" = gpu ] && [ "$kill" ] && [ $((a_node * 2)) = "$tasks" ] || exit 1
    export SLURM_NTASKS=$tasks SLURM_NODELIST='node[1-2]'
    for ((task = 0; task < tasks; task++)); do
        SLURM_PROCID=$task SLURM_LOCALID=$((task % a_node)) "$@" &
    done
    for ((task = 0; task < tasks; task++)); do wait -n || exit 1; done""",
    'scontrol': r"""
    [ "$*" = 'show hostname node[1-2]' ] || exit 1
    printf '127.0.0.1\n127.0.0.1\n'""",
}


class Block(NamedTuple):
    """A piece of code of a page.

    Attributes:
        page: Path in the project.
        line: Number of its first line.
        language: One of ``LANGUAGES``.
        file: The file that it is the content of, according to the line before it; or ''.
        code: Itself, not indented.
    """

    page: str
    line: int
    language: str
    file: str
    code: str

    def __str__(self) -> str:
        return f'{self.page}:{self.line}'


def blocks(page: str) -> list[Block]:
    """The fenced and the indented pieces of code of a page, in order."""
    text = (ROOT / page).read_text()
    found = []
    pattern = r'^(?P<indent> *)```(\w*)\n(.*?)^(?P=indent)```$|(?<=\n\n)((?: {4,}[^\n]*\n|\n)+)'
    for match in re.finditer(pattern, text, re.M | re.S):
        _, language, fenced, indented = match.groups()
        code = textwrap.dedent(fenced if indented is None else indented).strip('\n')
        before = text[: match.start()].rstrip().rsplit('\n', 1)[-1]
        file = re.search(r'`([\w./-]+\.\w+)`:$', before)
        line = text[: match.start(3 if indented is None else 4)].count('\n') + 1
        if code:
            found.append(
                Block(
                    page,
                    line,
                    'bash' if indented is not None else language,
                    file[1] if file and indented is None else '',
                    code,
                )
            )
    return found


class Clone:
    """A folder like a clone of the project, and an environment like that of ``make demo``.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: dict[str, Run]: The pages that were run.
        self.runs: dict[str, Run] = {}
        for name in ('configs', 'tools'):
            shutil.copytree(ROOT / name, folder / name)
        programs = folder / '.venv' / 'bin'
        programs.mkdir(parents=True)
        (programs / 'activate').write_text(f'PATH="{programs}:$PATH"\n')
        weights = folder / 'weights'
        weights.mkdir()
        for name, code in STAND_INS.items():
            code = code.format(root=ROOT, make=shutil.which('make'))
            (programs / name).write_text(f'#!/bin/bash\n{code}\n')
            (programs / name).chmod(0o755)
        environment = {
            'PATH': f'{programs}:{os.environ["PATH"]}',
            'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}',
            'CUDA_VISIBLE_DEVICES': '',
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            self.python = WarmPython(programs / 'python', HERE / 'small_world.py', weights)
        self.environment = {**os.environ, **environment}
        self.environment['PYTHON_EXEC'] = str(programs / 'python')

    def run(
        self,
        page: str,
        adapted: Sequence[tuple[str, str]] = (),
        inserted: Mapping[str, str] | None = None,
    ) -> 'Run':
        """Run the code of a page, block by block, in one shell and one interpreter.

        Args:
            page: Path in the project.
            adapted: What is replaced before: regular expressions, and their replacements. Each
                must occur.
            inserted: Python to run where a text begins.

        Raises:
            AssertionError: A block failed, or something to adapt is not on the page.
        """
        pieces, unused = [], {text for text, _ in adapted} | set(inserted or {})
        for block in blocks(page):
            parts = [block]
            for text, code in (inserted or {}).items():
                if text in block.code:
                    before, after = parts.pop().code.split(text)
                    extra = block._replace(language='python', file='', code=code)
                    parts += [block._replace(code=before), extra, block._replace(code=text + after)]
                    unused.discard(text)
            for part in parts:
                if not (code := part.code):
                    continue
                for pattern, replacement in adapted:
                    code, count = re.subn(pattern, replacement, code, flags=re.M)
                    if count:
                        unused.discard(pattern)
                pieces.append(part._replace(code=code)._asdict())
        assert not unused, f'{page} has nothing to adapt where {unused} is expected'
        (self.folder / 'pieces.json').write_text(json.dumps(pieces))
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = str(probe.getsockname()[1])
        done = subprocess.run(
            ['python', HERE / 'run_page.py', 'pieces.json'],
            cwd=self.folder,
            env={**self.environment, 'PORT': port, 'MASTER_PORT': port},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
        )
        printed = done.stdout.split(MARK)[1:]
        run = Run(
            [(Block(**piece), output) for piece, output in zip(pieces, printed, strict=False)]
        )
        assert done.returncode == 0, (
            f'{run.printed[-1][0] if printed else page} failed\n{done.stdout[-8000:]}'
        )
        assert len(printed) == len(pieces)
        self.runs[page] = run
        return run

    def stop(self) -> None:
        """End the process behind ``python``."""
        self.python.stop()


class Run:
    """What the blocks of a page printed.

    Args:
        printed: Every block, as it was run, and its output.
    """

    def __init__(self, printed: list[tuple[Block, str]]) -> None:
        self.printed = printed

    def of(self, text: str) -> str:
        """The output of the one block that contains a text."""
        found = [(block, output) for block, output in self.printed if text in block.code]
        assert len(found) == 1, f'{text!r} is in {len(found)} blocks: {[str(b) for b, _ in found]}'
        return found[0][1]

    def calls(self, text: str) -> list[dict]:
        """What each call of a ``DetInferencer`` detected in the block that contains a text."""
        lines = self.of(text).splitlines()
        return [json.loads(line[6:]) for line in lines if line.startswith('CALLS ')]
