"""Make ``mmcv._ext`` importable where mmcv has no compiled operators.

For: mmcv-lite 2.1.0, and mmcv wheels built without operators such as onedl-mmcv's.
``import mmcv.ops`` fails there with "No module named 'mmcv._ext'".

The finder comes last on ``sys.meta_path``: it is asked only after Python found no compiled
``mmcv/_ext.*.so``, so compiled operators always win. It answers for no other name.

MMDetection's tools import ``mmcv.ops`` before they read a config, and so before ``mmdet_vild`` is
imported. Therefore the build (``build_backend/mmdet_vild_build.py``) also puts a copy of this file
at the top level of the wheel, next to a ``.pth`` file that imports it when Python starts. It must
stay free of imports from outside the standard library, and cheap.
"""

import sys


class MMCVExtFinder:
    """Meta path finder that offers ``mmcv_ext.py`` under the name ``mmcv._ext``."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        """Return the spec of the stand-in for ``mmcv._ext``, else None."""
        if fullname != 'mmcv._ext':
            return None
        # Here and not above: this runs only when mmcv has no compiled operators.
        import importlib.util
        import os

        # Finding does not import mmdet_vild: it imports mmdet, which imports this.
        package = importlib.util.find_spec('mmdet_vild')
        if package is None or not package.submodule_search_locations:
            return None
        folder = next(iter(package.submodule_search_locations))
        file = os.path.join(folder, 'compat', 'mmcv_ext.py')
        return importlib.util.spec_from_file_location(fullname, file)


def apply() -> None:
    """Append the finder to ``sys.meta_path``, once a process."""
    if all(getattr(f, '__name__', '') != MMCVExtFinder.__name__ for f in sys.meta_path):
        sys.meta_path.append(MMCVExtFinder)
