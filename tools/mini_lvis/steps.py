"""Commands that are echoed, run once, and go on where they stopped."""

import hashlib
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import mmdet

#: MMDetection's own tools, as its wheel carries them.
STOCK_TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'


class Steps:
    """Runs the steps of a demo in order; one that is finished is not run again.

    A step is finished when its marker says that this very command succeeded with the very same
    inputs, after the very same steps before it, none of which had to be run again. A step that was
    interrupted goes on; one that has to be run anew because something before it changed starts
    from nothing.

    Args:
        markers: Folder of the markers.
        env: Environment variables that the commands need, echoed with them.
    """

    def __init__(self, markers: Path, env: dict[str, str]) -> None:
        self.markers = markers
        self.env = env
        self.start = time.monotonic()
        self._history = ''
        self._changed = False

    def run(
        self,
        name: str,
        command: Sequence[str | Path],
        outputs: Sequence[Path],
        inputs: Sequence[Path | str] = (),
    ) -> None:
        """Run one command unless it is finished.

        Args:
            name: What it does, in a few words; also the name of its marker.
            command: The command line.
            outputs: Files and folders it writes. They must exist for the step to be finished,
                and what this step wrote there before is deleted when it is run anew.
            inputs: What else decides the result: files, whose content counts, and texts.

        Raises:
            SystemExit: The command failed; its exit status is passed on.
        """
        command = [str(part) for part in command]
        read = [part.read_text() if isinstance(part, Path) else part for part in inputs]
        digest = hashlib.sha256(json.dumps([self._history, command, read]).encode()).hexdigest()
        self._history = digest
        marker = self._marker(name)
        known = json.loads(marker.read_text()) if marker.exists() else {}
        print(f'\n[{self._elapsed()}] {name}', flush=True)
        same = known.get('digest') == digest
        finished = same and known.get('finished', False)
        if finished and not self._changed and all(path.exists() for path in outputs):
            print('  already done', flush=True)
            return
        spent = known.get('seconds', math.nan) if same and not finished else 0.0
        if known and (finished or not same):
            for path in outputs:
                # Neither what no step has written is deleted, nor what only a marker names.
                if str(path.absolute()) in known['outputs']:
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        self._changed = True
        mark = {'digest': digest, 'outputs': [str(path.absolute()) for path in outputs]}
        self._mark(marker, mark, finished=False)
        shown = [f'{key}={shlex.quote(value)}' for key, value in self.env.items()]
        print('  $ ' + ' '.join([*shown, shlex.join(command)]), flush=True)
        start = time.monotonic()
        try:
            env = {**os.environ, **self.env}
            status = subprocess.run(command, env=env, check=False).returncode
        finally:
            mark['seconds'] = spent + time.monotonic() - start
            self._mark(marker, mark, finished=False)
        if status:
            sys.exit(
                f'{name} failed with exit status {status}; mend what it says and run the same '
                'command again: finished steps are kept'
            )
        missing = [str(path) for path in outputs if not path.exists()]
        if missing:
            sys.exit(f'{name} succeeded, but did not write {missing}')
        self._mark(marker, mark, finished=True)

    def print_total(self) -> None:
        """Say how long all of it took."""
        print(f'\n[{self._elapsed()}] done', flush=True)

    def seconds(self, name: str) -> float:
        """How long a step took, interrupted parts too; NaN if this process was killed in one."""
        return json.loads(self._marker(name).read_text())['seconds']

    def _marker(self, name: str) -> Path:
        return self.markers / f'{name.replace(" ", "-").replace("/", "-")}.json'

    def _mark(self, marker: Path, mark: dict, finished: bool) -> None:
        marker.parent.mkdir(parents=True, exist_ok=True)
        partial = marker.with_suffix('.partial')
        partial.write_text(json.dumps({**mark, 'finished': finished}))
        partial.replace(marker)

    def _elapsed(self) -> str:
        seconds = int(time.monotonic() - self.start)
        return f'{seconds // 60:2d}:{seconds % 60:02d}'
