"""Runs the code of a page of the docs, which docs_code.py has written to a file."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from docs_code import MARK
from mmdet import apis

#: Runs a block in the shell that the blocks before it have left: folder and variables.
SHELL = """
if [ -e shell ]; then . ./shell; fi
set -euo pipefail -a
. "$1"
export -p > shell
"""


class NotingInferencer(apis.DetInferencer):
    """Prints what each call detects, in JSON."""

    def forward(self, inputs, **kwargs):
        samples = super().forward(inputs, **kwargs)
        for sample in samples:
            found = sample.pred_instances
            fields = dict(scores=found.scores.tolist(), keys=list(found.keys()))
            fields['labels'] = list(found.get('label_names', found.labels.tolist()))
            print('\nCALLS ' + json.dumps(fields), flush=True)
        return samples


def run_bash(code: str, names: dict) -> None:
    Path('block').write_text(code + '\n')
    subprocess.run(['bash', '-c', SHELL, 'bash', './block'], check=True)


def run_python(code: str, names: dict) -> None:
    """As in a notebook: ``_`` is the value of the last expression."""
    *lines, last = ast.parse(code).body
    if isinstance(last, ast.Expr):
        lines.append(ast.Assign([ast.Name('_', ast.Store())], last.value))
    else:
        lines.append(last)
    module = ast.fix_missing_locations(ast.Module(lines, []))
    exec(compile(module, 'the block', 'exec'), names)


def run_json(code: str, names: dict) -> None:
    json.loads(code)


def run_bibtex(code: str, names: dict) -> None:
    assert re.fullmatch(r'@\w+{\w+,\n(  \w+={.+},\n)*  \w+={.+}\n}', code), code


def write_file(file: str, code: str) -> None:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(code + '\n')


def main() -> None:
    apis.DetInferencer = NotingInferencer
    sys.path[0] = os.getcwd()
    names = {'__name__': '__main__'}
    for piece in json.loads(Path(sys.argv[1]).read_text()):
        print(MARK, end='', flush=True)
        if piece['file']:
            write_file(piece['file'], piece['code'])
        if not piece['file'] or piece['language'] == 'json':
            globals()[f'run_{piece["language"]}'](piece['code'], names)


if __name__ == '__main__':
    main()
