"""A room imports only from rooms below it, and its tests are where its name says."""

import ast
from pathlib import Path

import pytest

import mmdet_vild

PACKAGE = Path(mmdet_vild.__file__).parent
#: From the ground up. Nothing but the package itself imports ``compat``.
ROOMS = (
    *('compat', 'vocabulary', 'embedding_store', 'teacher', 'datasets', 'models'),
    *('extraction', 'authors_network', 'evaluation', 'visualization', 'hooks'),
)
#: What else a room must not import, though it is below.
CLOSED = {
    'embedding_store': {'vocabulary'},
    'datasets': {'teacher'},
    'models': {'teacher', 'embedding_store'},
}
FILES = sorted(path for path in PACKAGE.glob('*/**/*.py'))


def imported(path: Path) -> set[str]:
    """What of the package a file imports, as dotted names that begin with a room."""
    here, found = path.relative_to(PACKAGE).parts[:-1], set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            module = [*here[: len(here) - node.level + 1], *(node.module or '').split('.')]
            found |= {'.'.join([*module, name.name]).strip('.') for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f'{node.module}.{name.name}' for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name.removeprefix('mmdet_vild.') for name in found}


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_below(path):
    room = path.relative_to(PACKAGE).parts[0]
    rooms = {name.split('.')[0] for name in imported(path)} & set(ROOMS)
    above = set(ROOMS[ROOMS.index(room) + 1 :])
    assert not rooms & (above | CLOSED.get(room, set()) | ({'compat'} - {room}))


def test_only_the_teacher_imports_open_clip():
    rooms = {p.relative_to(PACKAGE).parts[0] for p in FILES if 'open_clip' in imported(p)}
    assert rooms == {'teacher'}


def test_every_room_is_on_a_floor():
    assert {path.relative_to(PACKAGE).parts[0] for path in FILES} == set(ROOMS)


def test_tests_have_the_names_of_what_they_test():
    """But for one of all patches, with MMDetection's own tools."""
    tests = Path(__file__).parent
    files = [path.relative_to(tests) for room in ROOMS for path in tests.glob(f'{room}/**/test_*')]
    assert len(files) > 50
    tested = {path.with_name(path.name.removeprefix('test_')) for path in files}
    found = {path.relative_to(PACKAGE) for path in FILES}
    assert tested - found == {Path('compat/stock_tools.py')}
