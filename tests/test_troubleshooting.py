"""docs/troubleshooting.md has every error and warning that the project raises, and no other."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'troubleshooting.md'
#: Stands for a value, or for what was left out of a long message.
GAP = '…'
#: What says something to the user, besides ``raise``: names of methods and functions.
CALLS = ('error', 'exit', 'warn', 'warning')


def template(node: ast.AST) -> str:
    """A text with a gap for every value."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub('%[sdr]', GAP, node.value)
    if isinstance(node, ast.JoinedStr):
        return ''.join(map(template, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return GAP


def messages(source: str) -> list[tuple[int, str]]:
    """Line and text of everything that a file says to the user."""
    found = []
    for node in ast.walk(ast.parse(source)):
        call = node.exc if isinstance(node, ast.Raise) else node
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, 'attr', getattr(call.func, 'id', ''))
        if isinstance(node, ast.Raise) or name in CALLS:
            texts = [' '.join(template(argument).split()) for argument in call.args]
            found += [(call.lineno, text) for text in texts if len(words(text)) > 5]
    return found


def words(text: str) -> str:
    """The letters that are always the same."""
    return re.sub('[^A-Za-z]', '', text)


def all_messages() -> list[tuple[str, str]]:
    """Where each message of the project is raised, and its text."""
    return [
        (f'{file.relative_to(ROOT)}:{line}', text)
        for folder in ('mmdet_vild', 'tools')
        for file in sorted((ROOT / folder).rglob('*.py'))
        for line, text in messages(file.read_text())
    ]


def entries(page: str) -> list[str]:
    """The messages of the page: the first column of its tables."""
    return re.findall(r'^\| `(.+?)` \|', page, re.M)


def matches(entry: str, message: str) -> bool:
    """Whether an entry is a message from its beginning to its end, but for the gaps."""
    pattern = '.*'.join(re.escape(part.strip()) for part in entry.split(GAP))
    return bool(re.fullmatch(pattern, message))


def test_every_message_is_explained() -> None:
    explained = entries(PAGE.read_text())
    unexplained, used = [], set()
    for where, message in all_messages():
        found = [entry for entry in explained if matches(entry, message)]
        used.update(found)
        if not found:
            unexplained.append(f'{where}: {message}')
    assert not unexplained, (
        f'add a row "| `message` | what to do |" to {PAGE.relative_to(ROOT)} for each of these, '
        f'with {GAP} for values and for what is left out:\n' + '\n'.join(unexplained)
    )
    left = [entry for entry in explained if entry not in used]
    assert not left, f'nothing says this any more; take it out of {PAGE.name}: {left}'


def test_an_entry_says_enough_to_be_found() -> None:
    """Of a message, a good part; or an entry would explain messages that it was not written for."""
    explained = entries(PAGE.read_text())
    said = [text for _, text in all_messages()]
    for entry in explained:
        lengths = [len(words(text)) for text in said if matches(entry, text)]
        assert len(words(entry)) >= min(15, *lengths, 15), entry
    assert len(explained) == len(set(explained))
