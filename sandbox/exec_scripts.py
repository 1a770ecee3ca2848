"""What the fallback runs inside an image without Python: small programs for any `sh`, and the rules of quoting."""

from __future__ import annotations

from typing import Final

KEEPER: Final = (
    "trap '' HUP INT QUIT TERM USR1 USR2 PIPE ALRM; exec 3<&0 </dev/null; while :; do command eval "
    "'(while read -r _; do :; done <&3; exit 42) & wait $!; [ $? = 42 ] && exit 0'; jobs; done >/dev/null 2>&1"
)
"""PID 1: reaps, and ends when the worker's end of its input closes. Who kills its child only gets another.

Where a bomb has left no room for one, the fork's error ends the `eval` and not the shell, and `jobs` reaps without it.
"""

BOOT: Final = '__dd_script=$(cat; echo x); eval "${__dd_script%x}"'
"""Takes its program from standard input: the command line has bounds, and no place for every byte."""

_BEGIN = r"""
exec %(fd)d>&2 2>&1
for __dd_file in /sys/fs/cgroup/pids.current /sys/fs/cgroup/pids/pids.current; do
    read -r __dd_now <"$__dd_file" && [ "$__dd_now" -gt "$__dd_most" ] && exit 1
done 2>/dev/null
unset __dd_file __dd_now __dd_most
echo 500 >/proc/self/oom_score_adj
if [ "$__dd_stdin" ]; then exec <"$__dd_stdin"; rm -f "$__dd_stdin"; else exec </dev/null; fi
eval "$__dd_state" 2>/dev/null
__dd_old=$OLDPWD
cd "$__dd_cwd" 2>/dev/null || { cd /workspace; echo "dreamdock: $__dd_cwd is gone, this is /workspace"; }
OLDPWD=$__dd_old
unset __dd_saved __dd_status __dd_state __dd_script __dd_stdin __dd_old __dd_cwd
"""
BASH: Final = (
    _BEGIN % {"fd": 203}
    + r"""
__dd_save='[[ ${__dd_saved-} ]] || { builtin trap - DEBUG ERR RETURN; builtin set +eux; __dd_saved=1
builtin unset __dd_command; builtin printf "\0%s\0" "$PWD"; builtin declare -p; builtin umask -p
builtin declare -f; builtin declare -Fx; builtin printf "\0"; }'
trap '{ builtin eval "$__dd_save"; } 2>/dev/null >&203' EXIT
printf 'R\0' >&203
builtin eval "$__dd_command"
{ __dd_status=$?; } 2>/dev/null; { builtin eval "$__dd_save"; } 2>/dev/null >&203; builtin exit $__dd_status
"""
)
"""Runs a command like the runner's shell does. What it keeps goes to the engine's stream of error output."""

SH: Final = (
    _BEGIN % {"fd": 9}
    + r"""
__dd_save='[ "${__dd_saved-}" ] || { set +eux; __dd_saved=1; printf "\0%s\0" "$PWD"; export -p
printf "umask %s\n\0" "$(umask)"; }'
trap '{ eval "$__dd_save"; } 2>/dev/null >&9' EXIT
printf 'R\0' >&9
eval "$__dd_command"
{ __dd_status=$?; } 2>/dev/null; { eval "$__dd_save"; } 2>/dev/null >&9; exit $__dd_status
"""
)
"""The same for an image without bash: directory, exported variables and umask are kept, functions aren't."""

_EACH = r"""
for __p in /proc/[0-9]*; do
    __n=${__p#/proc/}
    case $__n in 1|$$) continue;; esac
    { read -r __s <"$__p/stat"; } 2>/dev/null || continue
"""
KILL: Final = (
    r"""
read -r __now __ </proc/uptime; __began=${__now%.*}
while read -r __now __ </proc/uptime && __i=$((${__now%.*} - __began)) && [ $__i -lt 15 ]; do
kill -9 -1
__left=0 __dead=0
"""
    + _EACH
    + r"""
    set -- ${__s##*) }
    case $1 in Z|X) __dead=1; continue;; esac
    [ "$4" = 1 ] || __left=1
done
[ $__left = 0 ] && { [ $__dead = 0 ] || [ $__i -gt 3 ]; } && exit 0
sleep 0.02
done 2>/dev/null
exit 1
"""
)
"""Ends every process but PID 1, its own child and itself, and gives PID 1 time to reap: the dead count as processes.

By the clock, not by rounds: where a bomb leaves no room for `sleep`, a round takes no time.
"""

LIST: Final = (
    'echo "$$"'
    + _EACH
    + r"""
    __c=$(tr '\000\n' '  ' 2>/dev/null <"$__p/cmdline" | head -c 400)
    printf '%s\n%s\n' "$__s" "$__c"
done
"""
)
"""Prints its own number, then two lines for each process: the kernel's, and the command line."""

EMPTY: Final = r"""
for __d in /tmp /run /dev/shm; do find "$__d" -mindepth 1 -maxdepth 1 -exec rm -rf {} + || exit 1; done
"""
SEE: Final = r"""for __f in %s; do [ -r "$__f" ] && { printf '\000%%s\000' "$__f"; cat "$__f"; }; done 2>/dev/null"""
PLACE: Final = "stat -c '%d %i' /workspace"

MISSING, DIRECTORY, OTHER, DENIED = 41, 42, 43, 44
"""Exit codes of READ and WRITE."""

_DECODE = r"""
__path=$(printf '%b' "$1"; echo x); __path=${__path%x}
case $__path in /*) ;; *) __path=/workspace/$__path;; esac
"""
READ: Final = (
    _DECODE
    + r"""
[ -e "$__path" ] || { [ -L "$__path" ] && exit 45; exit 41; }
[ -d "$__path" ] && exit 42
[ -f "$__path" ] || exit 43
[ -r "$__path" ] || exit 44
if [ "$2" = 0 ]; then exec head -c "$3" "$__path"; else tail -c "+$(($2 + 1))" "$__path" | head -c "$3"; fi
"""
)
WRITE: Final = (
    _DECODE
    + r"""
[ -L "$__path" ] && __path=$(readlink -f "$__path"; echo x) && __path=${__path%?x}
[ -d "$__path" ] && exit 42
[ -e "$__path" ] && [ ! -f "$__path" ] && exit 43
__dir=${__path%/*}; mkdir -p "${__dir:-/}" || exit 44
__part=${__dir:-}/.dreamdock-$$-part
cat >"$__part" || { rm -f "$__part"; exit 46; }
chmod "$(stat -c %a "$__path" 2>/dev/null || echo 644)" "$__part" && mv -f "$__part" "$__path" && exit 0
rm -f "$__part"; exit 44
"""
)


def quoted(data: bytes) -> bytes:
    """Return text as one word of a shell, byte for byte."""
    return b"'" + data.replace(b"'", b"'\\''") + b"'"


def escaped(data: bytes) -> str:
    """Return bytes as what `printf %b` prints them from."""
    return "".join(f"\\0{byte:03o}" for byte in data)
