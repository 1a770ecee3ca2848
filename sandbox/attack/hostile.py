"""A hostile repository, and what a hostile agent does to its workspace: all that git, run carelessly, executes."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Final

from sandbox.git import git

if TYPE_CHECKING:
    from pathlib import Path

NAMES: Final = (
    *("new\nline", "title\x1b]0;owned\x07\x1b[2J", "back\rover", "--upload-pack=x", "-rf", "\u202etxt.exe"),
    *("not utf-8 \udce9", "quotes '\"`$(x)", "c1 \x9b31m", " blank "),
)
"""File names that break what isn't careful with them."""

_HOOKS: Final = (
    *("post-checkout", "pre-commit", "reference-transaction", "post-index-change", "update", "pre-auto-gc"),
    *("fsmonitor-watchman", "pre-applypatch", "post-rewrite", "push-to-checkout", "pre-receive", "sendemail-validate"),
)
_SLOW: Final = "".join(f"{'*a' * 60}*{number}b\n" for number in range(8))
_ATTRIBUTES: Final = "* filter=evil diff=evil merge=evil text eol=crlf ident\n[attr]evil filter=evil\n"


def config(evil: Path) -> str:
    """Return a git configuration in which every program is `evil`."""
    return (
        f"[core]\n fsmonitor = {evil}\n pager = {evil}\n sshCommand = {evil}\n editor = {evil}\n askPass = {evil}\n"
        f" gitProxy = {evil}\n alternateRefsCommand = {evil}\n hooksPath = {evil.parent / 'hooks'}\n"
        f'[filter "evil"]\n clean = {evil}\n smudge = {evil}\n process = {evil}\n required = true\n'
        f'[diff]\n external = {evil}\n[diff "evil"]\n textconv = {evil}\n command = {evil}\n'
        f'[merge "evil"]\n driver = {evil}\n[credential]\n helper = !{evil}\n'
        f"[uploadpack]\n packObjectsHook = {evil}\n[submodule]\n recurse = true\n[protocol]\n allow = always\n"
        f'[remote "o"]\n url = ext::{evil}\n uploadpack = {evil}\n promisor = true\n'
        f"[gpg]\n program = {evil}\n[commit]\n gpgSign = true\n[log]\n showSignature = true\n"
        f"[alias]\n fetch = !{evil}\n status = !{evil}\n"
    )


def modules(evil: Path) -> str:
    """Return a .gitmodules whose addresses are commands and options, and whose paths lead out."""
    return (
        f'[submodule "sub"]\n path = sub\n url = ext::{evil}\n update = !{evil}\n'
        f'[submodule "../../out"]\n path = -out\n url = --upload-pack={evil}\n'
    )


def hostile_source(folder: Path, evil: Path, canary: Path) -> Path:
    """Make a repository whose every part is hostile, and return its path."""
    source = folder / "source"
    git("init", "--quiet", "--template=", "--", source)
    who = {f"GIT_{role}_{key}": "x@localhost" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}

    def harmless(*args: str) -> None:
        git(*args, cwd=source, git_dir=source / ".git", work_tree=source, env=who)

    for name in (*NAMES, "a"):
        (source / os.fsdecode(os.fsencode(name))).write_text("a\n")
    for name, target in {"out": str(canary), "root": "/", "loop": "loop", "up": "../" * 30}.items():
        (source / name).symlink_to(target)
    for name, text in {".gitattributes": _ATTRIBUTES, ".gitignore": _SLOW, ".gitmodules": modules(evil)}.items():
        (source / name).write_text(text)
    harmless("add", "--all", "--force")
    harmless("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    harmless("commit", "--quiet", "--no-verify", "--message=hostile")
    (source / "a").write_text("changed\n")
    with (source / ".git/config").open("a") as file:
        file.write(config(evil))
    (source / ".git/info").mkdir(exist_ok=True)
    (source / ".git/info/attributes").write_text(_ATTRIBUTES)
    for folder_of_hooks in (source / ".git/hooks", evil.parent / "hooks"):
        folder_of_hooks.mkdir(exist_ok=True)
        for name in _HOOKS:
            (folder_of_hooks / name).write_bytes(evil.read_bytes())
            (folder_of_hooks / name).chmod(0o755)
    return source


def hostile_command(evil: Path, canary: Path) -> str:
    """Return what a hostile agent does to its workspace, for the shell inside."""
    made = " ".join(shlex.quote(f"made {name}") for name in NAMES if name.isascii())
    return (
        f"printf %s {shlex.quote(config(evil))} >>.git/config; mkdir -p .git/hooks sub/.git\n"
        f"for hook in {' '.join(_HOOKS)}; do printf '#!/bin/sh\\n{evil}\\n' >.git/hooks/$hook; done\n"
        "chmod +x .git/hooks/*; truncate -s 100G huge; mkfifo pipe\n"
        f"cp .git/config sub/.git/; printf 'gitdir: {evil.parent}\\n' >'.git '; mkdir .GIT\n"
        f"for name in {made}; do echo x >./\"$name\"; done; printf '* filter=evil\\n' >.gitattributes\n"
        f"ln -sf {canary} a; ln -s {canary.parent} linked; ln -s {canary} .gitignored\n"
        "echo x >$(printf 'a%.0s' $(seq 250)); echo '**/*a*a*a*a*a*a*a*a*a*a*b' >>.gitignore\n"
        "rm -f back*; mkfifo back$'\\r'over\n"
    )
