"""A weights file of a tuned teacher: its identity, and what is refused."""

import pytest
import torch

from mmdet_vild.teacher import OpenCLIPTeacher, write_tuned_weights
from mmdet_vild.vocabulary import same_space

pytestmark = pytest.mark.onedl


@pytest.fixture(scope='module')
def raw() -> OpenCLIPTeacher:
    torch.manual_seed(0)
    return OpenCLIPTeacher('mini-clip')


def changed(raw: OpenCLIPTeacher, key: str) -> dict:
    state = {name: value.clone() for name, value in raw.model.state_dict().items()}
    state[key][0] += 0.5
    return state


def test_identity(raw, tmp_path):
    """Of the raw teacher, by its weights alone, and of the tuned one; words are the same."""
    path = str(tmp_path / 'tuned.pt')
    state = changed(raw, 'visual.bn1.weight')
    assert write_tuned_weights(path, raw.model.state_dict(), state) == 1
    tuned = OpenCLIPTeacher('mini-clip', path)
    name, digest = tuned.identity.split('+')
    assert name == raw.identity and len(digest) == 16 and not name.endswith(digest)
    assert same_space(tuned.identity, raw.identity)
    assert not same_space(raw.identity, tuned.identity)
    assert torch.equal(tuned.encode_texts(['a cat']), raw.encode_texts(['a cat']))
    assert torch.equal(tuned.model.visual.bn1.weight, state['visual.bn1.weight'])
    # The same weights in a plain file are a teacher of which nothing is known.
    torch.save(state, tmp_path / 'plain.pt')
    plain = OpenCLIPTeacher('mini-clip', str(tmp_path / 'plain.pt'))
    assert plain.identity == f'mini-clip@{digest}'


def test_another_raw_teacher(raw, tmp_path):
    """The same tuned weights of another raw teacher are another teacher."""
    path = str(tmp_path / 'tuned.pt')
    state = changed(raw, 'visual.bn1.weight')
    write_tuned_weights(path, changed(raw, 'visual.bn2.weight'), state)
    tuned = OpenCLIPTeacher('mini-clip', path)
    assert not same_space(tuned.identity, raw.identity)


def test_refused(raw, tmp_path):
    path, state = tmp_path / 'tuned.pt', raw.model.state_dict()
    with pytest.raises(ValueError, match='was not tuned'):
        write_tuned_weights(path, state, state)
    with pytest.raises(ValueError, match=r"outside of the image encoder were changed: \['ln_final"):
        write_tuned_weights(path, state, changed(raw, 'ln_final.weight'))
    assert not path.exists()
    for forged, message in (
        ({'ln_final.weight': state['ln_final.weight']}, 'outside of the image encoder are said by'),
        ({'visual.bn1.weight': torch.zeros(3)}, 'says what visual.bn1.weight was before tuning'),
        ({'visual.bn1.weight': 'text'}, 'says what visual.bn1.weight was before tuning'),
    ):
        torch.save({'state_dict': state, 'raw': forged}, path)
        with pytest.raises(ValueError, match=message):
            OpenCLIPTeacher('mini-clip', str(path))
