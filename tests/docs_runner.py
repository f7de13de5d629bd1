# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A terminal for the documentation.

The text of a page goes to a real bash as it stands, so that variables,
quotes, continued lines and ``$(...)`` mean what they mean to a user. Its
programs are shell functions that hand their words to this process: Python
tools run here, as a process of their own would but without importing PyTorch
again. Apart from them only a few commands on files exist; any other word is
"command not found".
"""
import contextlib
import io
import os
import os.path as osp
import runpy
import shlex
import shutil
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional

import torch
from mmengine.logging import MMLogger
from mmengine.registry import Registry
from mmengine.utils import ManagerMixin

PROGRAMS = ('python', 'mim', 'bash', 'pip', 'git', 'make', 'source',
            'cvat-cli')
FILE_COMMANDS = ('cat', 'cp', 'env', 'head', 'ls', 'mkdir', 'mv', 'rm')
# a call is: how many words, the words, the folder, the environment, END
PRELUDE = r'''
_call() {
    { printf '%s\0' "$#" "$@" "$PWD"; env -0; printf 'END\0'; } >&"$REQUESTS"
    local text code
    IFS= read -r -d '' text <&"$REPLIES"
    IFS= read -r -d '' code <&"$REPLIES"
    printf '%s' "$text"
    return "$code"
}
set -eu -o pipefail
shopt -s inherit_errexit
'''
END_OF_BLOCK = ':end-of-block'
SESSION = '__docs__'  # name of the module that a page's Python blocks are


class Done(NamedTuple):
    """What became of a command: its exit code and what it printed."""

    code: int
    out: str
    err: str = ''


class Call(NamedTuple):
    """A command as bash understood it."""

    words: List[str]
    cwd: str
    env: Dict[str, str]

    def __str__(self) -> str:
        return shlex.join(self.words)


class Terminal:
    """One bash of a user, alive for a page.

    Args:
        root (Path): Where it starts: the user's checkout.
        programs (Callable): Runs a :obj:`Call` and returns :obj:`Done`.
    """

    def __init__(self, root: Path, programs: Callable[[Call], Done]) -> None:
        self.programs = programs
        self.calls: List[str] = []
        bin_dir = root.parent / 'bin'
        bin_dir.mkdir()
        for name in FILE_COMMANDS:
            (bin_dir / name).symlink_to(shutil.which(name))
        requests, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        self._log = open(root.parent / 'terminal.log', 'w+')
        env = dict(
            PATH=str(bin_dir),
            HOME=str(root.parent),
            LANG=os.environ.get('LANG', 'C.UTF-8'),
            REQUESTS=str(self._requests),
            REPLIES=str(self._replies))
        self._bash = subprocess.Popen(
            [shutil.which('bash'), '--noprofile', '--norc'],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=root,
            env=env,
            pass_fds=(self._requests, self._replies))
        os.close(self._requests)
        os.close(self._replies)
        self._from_bash = open(requests, 'rb', buffering=0)
        self._to_bash = open(replies, 'wb', buffering=0)
        functions = ''.join(f'{name}() {{ _call {name} "$@"; }}\n'
                            for name in PROGRAMS)
        self._type(PRELUDE + functions)

    def run(self, text: str) -> None:
        """Type a text and wait for its last command.

        Raises:
            AssertionError: If a command fails or does not exist.
        """
        # an open quote would wait for its end
        checked = subprocess.run([shutil.which('bash'), '-n', '-c', text],
                                 capture_output=True,
                                 text=True)
        assert not checked.returncode and not checked.stderr, checked.stderr
        self._log.truncate(0)
        self._log.seek(0)
        failed: Optional[Done] = None
        self._type(f'{text}\n_call {END_OF_BLOCK}\n')
        while True:
            call = self._next_call()
            if call is None:  # bash has ended
                self._bash.wait()
                self._log.seek(0)
                said = _tail(self._log.read(), 5)
                if failed:
                    said = _tail(failed.out, 5) + _tail(failed.err, 25)
                last = self.calls[-1] if self.calls else 'nothing'
                raise AssertionError(
                    f'a command failed; the last program was: {last}\n{said}')
            if call.words == [END_OF_BLOCK]:
                self._reply(Done(0, ''))
                return
            self.calls.append(str(call))
            done = self.programs(call)
            failed = done if done.code else None
            self._reply(done)

    def close(self) -> None:
        """End bash."""
        # bash may wait for the answer to a call that has raised
        for file in (self._bash.stdin, self._from_bash, self._to_bash):
            file.close()
        self._bash.wait()
        self._log.close()

    def _type(self, text: str) -> None:
        """Write to bash."""
        with contextlib.suppress(BrokenPipeError):
            self._bash.stdin.write(text.encode())
            self._bash.stdin.flush()

    def _reply(self, done: Done) -> None:
        """Answer a call."""
        out = done.out.replace('\0', '').encode()
        self._to_bash.write(out + b'\0' + str(done.code).encode() + b'\0')

    def _next_call(self) -> Optional[Call]:
        """Wait for a call; None when bash has ended."""
        data = b''
        while not data.endswith(b'\0END\0'):
            chunk = self._from_bash.read(1 << 16)
            if not chunk:
                return None
            data += chunk
        number, *fields = data.decode().split('\0')[:-2]
        number = int(number)
        env = dict(field.split('=', 1) for field in fields[number + 1:])
        return Call(fields[:number], fields[number], env)


def _tail(text: str, number: int) -> str:
    """The last lines of a text."""
    return '\n'.join(text.rstrip().splitlines()[-number:]) + '\n'


def run_python(call: Call, root: Path) -> Done:
    """Run ``python ...`` here as if in a process of its own.

    Args:
        call (:obj:`Call`): The command, from the word "python" on.
        root (Path): The user's checkout, whose modules are forgotten after.
    """
    args = list(call.words[1:])
    if not args:
        return Done(2, '', 'python needs arguments')
    if args[0] == '-m':
        folder, run, argv = call.cwd, lambda: runpy.run_module(
            args[1], run_name='__main__', alter_sys=True), args[1:]
    elif args[0] == '-c':
        folder, argv = call.cwd, ['-c', *args[2:]]

        def run():
            exec(compile(args[1], '<string>', 'exec'), dict())
    elif args[0].startswith('-'):
        return Done(2, '', f'unknown option of python: {args[0]}')
    else:
        path, argv = osp.join(call.cwd, args[0]), args
        if not osp.isfile(path):
            return Done(2, '', f"python: can't open file '{path}'")
        folder = osp.dirname(osp.realpath(path))

        def run():
            runpy.run_path(path, run_name='__main__')

    out, err = io.StringIO(), io.StringIO()
    search = [folder]
    if 'PYTHONPATH' in call.env:
        search += [
            osp.join(call.cwd, item)
            for item in call.env['PYTHONPATH'].split(os.pathsep)
        ]
    with as_process(call, argv, search, root), \
            contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
            if not isinstance(code, int):
                code = print(code, file=err) or 1
        except Exception:
            code = print(traceback.format_exc(), file=err) or 1
    return Done(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def as_process(call: Call, argv: List[str], search: List[str],
               root: Path) -> Iterator[None]:
    """What a new process has for itself: folder, environment, modules ...

    Args:
        call (:obj:`Call`): For its folder and environment.
        argv (list[str]): Name of the program and its arguments.
        search (list[str]): Folders of modules, before the installed ones.
        root (Path): Modules below are forgotten at the end, and what they
            have registered.
    """
    cwd, env, old_argv = os.getcwd(), dict(os.environ), sys.argv
    path, threads = list(sys.path), torch.get_num_threads()
    here = osp.dirname(osp.dirname(osp.abspath(__file__)))
    managed = {kind: kind._instance_dict.copy() for kind in _managers()}
    given = {
        key: value
        for key, value in call.env.items()
        if key not in ('PATH', 'HOME', 'LANG', 'PWD')
    }
    try:
        os.chdir(call.cwd)
        os.environ.update(given)
        sys.argv = argv
        # the repository stands for the installed package, no more
        sys.path[:] = search + [
            item for item in path if osp.abspath(item or '.') != here
        ]
        for kind in managed:
            kind._instance_dict.clear()
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.argv, sys.path[:] = old_argv, path
        torch.set_num_threads(threads)
        for kind in _managers():
            for item in kind._instance_dict.values():
                if isinstance(item, MMLogger):
                    for handler in item.handlers:
                        handler.close()
            kind._instance_dict.clear()
            kind._instance_dict.update(managed.get(kind, {}))
        forget_modules(root)


def forget_modules(root: Path) -> None:
    """Drop the modules below a folder and what they have registered."""
    below = f'{root}{os.sep}'
    names = {
        name
        for name, module in list(sys.modules.items())
        if str(getattr(module, '__file__', '')).startswith(below)
    }
    for name in names:
        del sys.modules[name]
    names |= {'__main__', SESSION}
    for registry in _registries():
        for key, value in list(registry.module_dict.items()):
            if getattr(value, '__module__', '') in names:
                del registry.module_dict[key]


def _managers() -> List[type]:
    """All classes with global instances."""
    kinds, found = [ManagerMixin], []
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        found.append(kind)
    return found


def _registries() -> List[Registry]:
    """All registries: mmengine's and their children."""
    import mmengine.registry as roots
    waiting = [
        item for item in vars(roots).values() if isinstance(item, Registry)
    ]
    found = []
    while waiting:
        registry = waiting.pop()
        waiting += registry.children.values()
        found.append(registry)
    return found
