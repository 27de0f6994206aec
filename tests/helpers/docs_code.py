"""The code in the README and the docs, and a clone of the project in which it is run."""

import json
import os
import re
import shutil
import socket
import subprocess
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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
    echo "srun $*"
    while [[ $1 == -* ]]; do
        case "$1" in
            -p) shift ;;
            --ntasks=*) export SLURM_NTASKS=${{1#*=}} ;;
            --ntasks-per-node=*) a_node=${{1#*=}} ;;
        esac
        shift
    done
    export SLURM_NODELIST='node[1-2]'
    for ((task = 0; task < SLURM_NTASKS; task++)); do
        SLURM_PROCID=$task SLURM_LOCALID=$((task % a_node)) "$@" &
        tasks+=($!)
    done
    for task in "${{tasks[@]}}"; do wait $task || exit 1; done""",
    'scontrol': r"printf '127.0.0.1\n127.0.0.1\n'",
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
    text, found = (ROOT / page).read_text(), []
    pattern = r'^(?P<indent> *)```(\w*)\n(.*?)^(?P=indent)```$|(?<=\n\n)((?: {4,}[^\n]*\n|\n)+)'
    for match in re.finditer(pattern, text, re.M | re.S):
        _, language, fenced, indented = match.groups()
        code = textwrap.dedent(fenced if indented is None else indented).strip('\n')
        before = text[: match.start()].rstrip().rsplit('\n', 1)[-1]
        file = re.search(r'`([\w./-]+\.\w+)`:$', before)
        line = text[: match.start(3 if indented is None else 4)].count('\n') + 1
        if code and indented is not None:
            found.append(Block(page, line, 'bash', '', code))
        elif code:
            found.append(Block(page, line, language, file[1] if file else '', code))
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
        programs, weights = folder / '.venv' / 'bin', folder / 'weights'
        programs.mkdir(parents=True)
        weights.mkdir()
        (programs / 'activate').write_text(f'PATH="{programs}:$PATH"\n')
        for name, code in STAND_INS.items():
            code = code.format(root=ROOT, make=shutil.which('make'))
            (programs / name).write_text(f'#!/bin/bash\n{code}\n')
            (programs / name).chmod(0o755)
        self.environment = {
            **os.environ,
            'PATH': f'{programs}:{os.environ["PATH"]}',
            'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}',
            'PYTHON_EXEC': str(programs / 'python'),
            'CUDA_VISIBLE_DEVICES': '',
        }
        setup = f'import small_world; small_world.prepare({str(weights)!r})'
        self.python = WarmPython(programs / 'python', setup, self.environment)

    def run(self, page: str, adapted: Sequence[tuple[str, str]] = ()) -> 'Run':
        """Run the code of a page, block by block, in one shell and one interpreter.

        Args:
            page: Path in the project.
            adapted: What is replaced before: regular expressions, and their replacements. Each
                must occur.

        Raises:
            AssertionError: A block failed, or something to adapt is not on the page.
        """
        pieces = blocks(page)
        for pattern, replacement in adapted:
            assert any(re.search(pattern, piece.code, re.M) for piece in pieces), pattern
            pieces = [
                piece._replace(code=re.sub(pattern, replacement, piece.code, flags=re.M))
                for piece in pieces
            ]
        (self.folder / 'pieces.json').write_text(json.dumps([piece._asdict() for piece in pieces]))
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
        failed = pieces[len(printed) - 1] if printed else page
        assert done.returncode == 0, f'{failed} failed\n{done.stdout[-8000:]}'
        self.runs[page] = Run(list(zip(pieces, printed, strict=True)))
        return self.runs[page]


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
