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


def run(language: str, code: str, names: dict) -> None:
    """A block; of Python, ``_`` is the value of the last expression, as in a notebook."""
    if language == 'bash':
        Path('block').write_text(code + '\n')
        subprocess.run(['bash', '-c', SHELL, 'bash', './block'], check=True)
    elif language == 'python':
        tree = ast.parse(code)
        if isinstance(last := tree.body[-1], ast.Expr):
            tree.body[-1] = ast.Assign([ast.Name('_', ast.Store())], last.value)
        exec(compile(ast.fix_missing_locations(tree), 'the block', 'exec'), names)
    elif language == 'json':
        json.loads(code)
    else:
        assert re.fullmatch(r'@\w+{\w+,\n(  \w+={.+},\n)*  \w+={.+}\n}', code), code


def main() -> None:
    apis.DetInferencer = NotingInferencer
    sys.path[0] = os.getcwd()
    names = {'__name__': '__main__'}
    for piece in json.loads(Path(sys.argv[1]).read_text()):
        print(MARK, end='', flush=True)
        if piece['file']:
            Path(piece['file']).parent.mkdir(parents=True, exist_ok=True)
            Path(piece['file']).write_text(piece['code'] + '\n')
        if not piece['file'] or piece['language'] == 'json':
            run(piece['language'], piece['code'], names)


if __name__ == '__main__':
    main()
