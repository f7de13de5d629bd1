# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Package refinevis_mm; imports neither torch nor the package itself."""
import os
import os.path as osp
import shutil
from typing import List

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = osp.dirname(osp.abspath(__file__))
# of the shipped checkpoints the one that the first commands run (9 MB); the
# others matter to those who train, in a source checkout
MIM_FILES = ('tools', 'configs', 'model-index.yml',
             'checkpoints/refinevis_mobilenet-v2_occluded-shapes-temporal.pth')


class BuildWithMim(build_py):
    """Adds what openmim looks for in ``refinevis_mm/.mim``.

    A wheel gets copies, made outside of the source tree. A development
    install gets links, made inside of it.
    """

    def run(self) -> None:
        """Build the package and its ``.mim`` folder."""
        super().run()
        editable = getattr(self, 'editable_mode', False)
        base = ROOT if editable else self.build_lib
        folder = osp.join(base, 'refinevis_mm', '.mim')
        shutil.rmtree(folder, ignore_errors=True)
        for name in MIM_FILES:
            source, target = osp.join(ROOT, name), osp.join(folder, name)
            os.makedirs(osp.dirname(target), exist_ok=True)
            if editable:
                os.symlink(osp.relpath(source, osp.dirname(target)), target)
            elif osp.isdir(source):
                shutil.copytree(
                    source,
                    target,
                    ignore=shutil.ignore_patterns('__pycache__', '*.pyc'))
            else:
                shutil.copy(source, target)


class EditableWithMim(editable_wheel):
    """Tells openmim where the package of a development install lies.

    It looks beside the installed metadata first, then at what stands in
    ``top_level.txt``: a full path is taken as it is.
    """

    def run(self) -> None:
        """Build the wheel with the package's path in its metadata."""
        self._ensure_dist_info()
        path = osp.join(self.dist_info_dir, 'top_level.txt')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(osp.join(ROOT, 'refinevis_mm') + '\n')
        super().run()


def read(*parts: str) -> str:
    """Read a file of the repository."""
    with open(osp.join(ROOT, *parts), encoding='utf-8') as file:
        return file.read()


def requirements(name: str) -> List[str]:
    """Read ``requirements/<name>.txt`` without its comments."""
    lines = (
        line.split('#')[0].strip()
        for line in read('requirements', f'{name}.txt').splitlines())
    return [line for line in lines if line]


def version() -> str:
    """Read the version without importing the package."""
    scope = {}
    exec(read('refinevis_mm', 'version.py'), scope)
    return scope['__version__']


setup(
    name='refinevis_mm',
    version=version(),
    description='RefineVIS: online and offline video instance segmentation '
    'with temporal refinement, for OpenMMLab',
    long_description=read('README.md'),
    long_description_content_type='text/markdown',
    author='The refinevis_mm authors',
    keywords='computer vision, video instance segmentation, tracking',
    license='Apache-2.0',
    license_files=['LICENSE'],
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['refinevis_mm', 'refinevis_mm.*']),
    package_data={'refinevis_mm.visualization': ['report/*']},
    cmdclass=dict(build_py=BuildWithMim, editable_wheel=EditableWithMim),
    python_requires='>=3.10',
    install_requires=requirements('runtime'),
    extras_require=dict(
        lite=['mmcv-lite>=2.0.0rc4,<2.2.0'],
        fast=['torch-ms-deform-attn==0.1.1'],
        mim=requirements('mminstall'),
        tests=requirements('tests'),
        docs=requirements('docs'),
        mmtrack=requirements('mmtrack'),
        zoo=requirements('zoo'),
        fleet=requirements('fleet'),
        ray=requirements('fleet') + requirements('ray'),
        rfdetr=requirements('rfdetr'),
        supervision=requirements('supervision'),
        cvat=requirements('cvat'),
        serving=requirements('serving'),
        export=requirements('export'),
        onnxruntime=requirements('export') + requirements('onnxruntime'),
        openvino=requirements('export') + requirements('openvino')),
    zip_safe=False)
