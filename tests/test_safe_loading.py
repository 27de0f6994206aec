"""A trained detector from files; strangers' are in test_strangers.py."""

import pytest
import torch
from small_detector import SmallDetector

from mmdet_vild import load_detector

pytestmark = pytest.mark.onedl


def test_a_checkpoint_of_another_network_is_refused(tmp_path) -> None:
    """Not left random: of what is missing, too many, or of another size."""
    small = SmallDetector(tmp_path, 'vild-ensemble')
    config, path = str(tmp_path / 'config.py'), str(tmp_path / 'checkpoint.pth')
    small.config.dump(config)
    state = small.model.state_dict()
    torch.save(dict(state_dict=state), path)
    loaded = load_detector(config, path, 'cpu').state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[k], state[k]) for k in state)
    weight = 'roi_head.bbox_head.fc_cls.projection.weight'
    less = {key: value for key, value in state.items() if key != weight}
    for other, key in (
        (less, weight),
        ({**state, 'neck.more': torch.ones(1)}, 'neck.more'),
        ({**state, weight: torch.ones(2, 3)}, weight),
    ):
        torch.save(dict(state_dict=other), path)
        message = f'(?s)of another network than this ViLD; name the config .*{key}'
        with pytest.raises(ValueError, match=message):
            load_detector(config, path, 'cpu')
