"""500 files with something wrong in them: a right result or a clear error, no crash, no hang.

``VILD_FUZZ_CASES=5000`` tries more. ``python tests/strangers/fuzz.py 123 1`` repeats case 123.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

CASES = int(os.environ.get('VILD_FUZZ_CASES', '500'))


def test_files_with_something_wrong() -> None:
    command = [sys.executable, Path(__file__).with_name('fuzz.py'), '0', str(CASES)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{')]
    numbers = [row['number'] for row in rows if 'number' in row]
    outcomes = [row for row in rows if 'outcome' in row]
    assert done.returncode == 0, f'case {numbers[-1:]} ended the process:\n{done.stderr[-3000:]}'
    bad = [
        (number, row)
        for number, row in zip(numbers, outcomes, strict=True)
        if row['outcome'] == 'bad'
    ]
    assert not bad, bad[:5]
    # The files are neither all the same nor all beyond recognition.
    counts = Counter((row['kind'], row['outcome']) for row in outcomes)
    for kind in {row['kind'] for row in outcomes}:
        assert counts[kind, 'refused'] and counts[kind, 'same'], counts
    assert len(outcomes) == CASES
