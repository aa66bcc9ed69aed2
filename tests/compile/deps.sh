#!/usr/bin/env bash
# tools/deps: what it installs, how it waits for another apt, what it says where apt fails. It is given an
# apt-get of ours, and sees no program but these. And what the Makefile's demo needs; what `peers` unpacks.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh

bin=$dir/bin
mkdir "$bin"
for tool in awk bash cat chmod dirname env grep head mkdir mktemp mv rm sed sh sleep stat tail tr; do
    ln -s "$(command -v $tool)" "$bin/$tool"
done
printf '#!/bin/sh\necho 0\n' >"$bin/id" # root

# The lock of step S is held as often as $FAKE/S.held says, for the reason in $FAKE/S.why; S.warns is what the
# step says when it ends well, S.fails makes it fail. Each ask is noted. To install is to make every command
# that is wanted.
cat >"$bin/apt-get" <<'SH'
#!/bin/sh
echo "$LC_ALL $*" >>"$FAKE/asked"
case " $* " in *' update '*) step=update ;; *) step=install ;; esac
left=$(cat "$FAKE/$step.held" 2>/dev/null || echo 0)
if [ "$left" -gt 0 ]; then
    echo $((left - 1)) >"$FAKE/$step.held"
    sed "s/LEFT/$left/" "$FAKE/$step.why" >&2
    exit 100
fi
if [ -e "$FAKE/$step.fails" ]; then
    seq -f 'step %g' 40
    cat "$FAKE/$step.fails" >&2
    exit 100
fi
cat "$FAKE/$step.warns" >&2 2>/dev/null
[ $step = install ] || exit 0
case " $* " in *' -d '*)
    folder=$(echo " $*" | sed 's/.*Cache::archives=\([^ ]*\).*/\1/')
    for package in tinyproxy-bin nginx etcd-server; do echo >"$folder/$package.deb"; done
    exit ;;
esac
for tool in gcc g++ pkg-config python3 protoc nanopb_generator.py; do
    printf '#!/bin/sh\nexit 0\n' >"$FAKE/../bin/$tool" && chmod +x "$FAKE/../bin/$tool"
done
SH
# Unpacking is the same.
cat >"$bin/dpkg-deb" <<'SH'
#!/bin/sh
[ ! -e "$FAKE/unpack.fails" ] || exit 1
for tool in usr/bin/tinyproxy usr/sbin/nginx usr/bin/etcd; do
    mkdir -p "$3/${tool%/*}" && printf '#!/bin/sh\nexit 0\n' >"$3/$tool" && chmod +x "$3/$tool"
done
SH
ln -s "$(command -v seq)" "$bin/seq"
chmod +x "$bin/id" "$bin/apt-get" "$bin/dpkg-deb"

fresh() { # nothing is installed, nobody holds a lock
    rm -rf "$dir/fake" "$bin"/gcc "$bin"/g++ "$bin"/pkg-config "$bin"/python3 "$bin"/protoc "$bin"/nanopb*
    mkdir "$dir/fake"
}
held() { # STEP TIMES WORDS: the next TIMES asks for STEP's lock are refused with these words
    echo "$2" >"$dir/fake/$1.held"
    printf '%s\n' "$3" >"$dir/fake/$1.why"
}
deps() { # WHAT [SETTING...]
    env -i PATH="$bin" FAKE="$dir/fake" DEPS_INTERVAL=0 DEPS_PEERS="$dir/fake/peers" "${@:2}" tools/deps "$1"
}
works() { deps "$@" >"$dir/said" 2>&1 || { cat "$dir/said"; return 1; }; }
said() { grep -qE -- "$1" "$dir/said" || { echo "no '$1' in:"; cat "$dir/said"; return 1; }; }
times() { # COUNT PATTERN FILE
    [ "$(grep -cE -- "$2" "$3")" -eq "$1" ] || { echo "not $1 times '$2':"; cat "$3"; return 1; }
}
lists='E: Could not get lock /var/lib/apt/lists/lock. It is held by process 71 (apt-get)
E: Unable to lock directory /var/lib/apt/lists/'
frontend='E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 72 (unattended-upgr)
N: Be aware that removing the lock file is not a solution and may break your system.
E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?'

# ---- what is installed

fresh
check 'demo: it installs' works demo
check 'demo: the compiler and the libraries' said 'DEPS  gcc libc6-dev libnghttp2-dev'
check 'demo: no nanopb generator' times 0 ' nanopb|protobuf-compiler' "$dir/said"
check 'demo: one update, one install' times 2 'C .*(update|install)' "$dir/fake/asked"
check 'demo: nothing is missing any more' works demo
check 'demo: and apt-get is not asked' times 2 . "$dir/fake/asked"
fresh
deps test >"$dir/said" 2>&1 # some of its files are not ours to make
check 'test: the generator and protoc' said 'DEPS .* nanopb protobuf-compiler '
fresh
deps bench >"$dir/said" 2>&1
check 'bench: what test needs, and gRPC C++' said 'DEPS  gcc .* protobuf-compiler .* protobuf-compiler-grpc .* strace'

# The programs of `make demo`, none of which has a .proto; the one example that does.
demo_programs() { sed -n '/^demo:/,/^$/s/.*no-print-directory \(.*\)/\1/p' Makefile | sed 's/\$(B)/build/g'; }
generates() { # TARGET...: does a build of all of it run the generator?
    MAKEFLAGS='' make -Bn "$@" >"$dir/made" 2>&1 && grep -q nanopb_generator "$dir/made"
}
builds_without() { ! generates "$@" && grep -q -- ' -o ' "$dir/made"; }
check 'make demo: build/ensign too' grep -qw tool <(demo_programs)
# shellcheck disable=SC2046 # a list of targets
check 'make demo: no generator' builds_without $(demo_programs)
check 'make examples: the generator' generates examples

# ---- another apt

fresh
held update 2 "$lists"
check 'the lists are locked: it waits' works demo
check 'the lists are locked: it says for whom' \
    said 'WAIT .*apt-get update: process 71 \(apt-get\) holds the lock'
check 'the lists are locked: it says so once' times 1 WAIT "$dir/said"
check 'the lists are locked: three asks, then to install' \
    test "$(sed 's/.*\(update\|install\).*/\1/' "$dir/fake/asked" | xargs)" = 'update update update install'
check 'apt speaks English to it' times 4 '^C ' "$dir/fake/asked"
fresh
held install 2 "$frontend"
check 'dpkg is locked: it waits' works demo
check 'dpkg is locked: it says for whom' said 'apt-get install: process 72 \(unattended-upgr\) holds the lock'
check 'dpkg is locked: the update is not made again' times 1 update "$dir/fake/asked"
fresh
held install 2 'dpkg: error: dpkg frontend lock was locked by another process with pid 73'
check 'dpkg itself finds the lock taken: it waits' works demo
check 'dpkg itself finds the lock taken: it says for whom' said 'process 73 holds the lock'
fresh
held update 13 "$lists"
check 'a long wait' works demo
check 'a long wait: it says so at each sixth ask' times 3 'WAIT .*process 71' "$dir/said"
check 'a long wait: and how long it may be' said '[0-9]+ of at most 600 s'
fresh
held update 3 'E: Could not get lock /var/lib/apt/lists/lock. It is held by process LEFT (apt-get)'
check 'one holder after the other' works demo
check 'one holder after the other: it says each' times 3 'WAIT .*process [123] ' "$dir/said"
fresh
held install 99 "$frontend"
finds 'a limit' 'process 72 (unattended-upgr) still holds the lock after' deps demo DEPS_WAIT=0
check 'a limit: nothing is asked for any more' times 1 install "$dir/fake/asked"
finds 'a limit: what apt-get says is there' 'E: Unable to acquire the dpkg frontend lock' \
    deps demo DEPS_WAIT=0
finds 'a limit: it says what was to be installed' 'could not install: gcc libc6-dev' deps demo DEPS_WAIT=0

# An older apt names nobody: the kernel knows. The holder is a process of ours, until its input ends.
if [ -r /proc/locks ]; then
    coproc python3 -c 'import fcntl, sys
lock = open(sys.argv[1], "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()' "$dir/lock"
    holder=$COPROC_PID
    read -r _ <&"${COPROC[0]}"
    fresh
    held install 1 "E: Could not get lock $dir/lock - open (11: Resource temporarily unavailable)"
    check 'a lock without a name: it waits' works demo
    check 'a lock without a name: it says for whom' said "process $holder \(python"
    eval "exec ${COPROC[1]}>&-"
    wait "$holder"
else
    tap ok 'a lock without a name: it waits # SKIP no /proc/locks'
    tap ok 'a lock without a name: it says for whom # SKIP no /proc/locks'
fi
fresh
held install 1 'E: Could not get lock /nowhere - open (11: Resource temporarily unavailable)'
check 'a lock of nobody that can be seen: it waits' works demo
check 'a lock of nobody that can be seen: it says so' said 'a process that cannot be seen from here holds'

# ---- apt fails

fresh
echo 'E: Failed to fetch http://mirror.invalid/x.deb  404  Not Found' >"$dir/fake/install.fails"
finds 'apt fails: its reason' '404  Not Found' deps demo
finds 'apt fails: behind the last of what it printed' 'step 40' deps demo
check 'apt fails: it is asked but once' times 2 install "$dir/fake/asked"
fresh
echo 'E: The repository is not signed.' >"$dir/fake/update.fails"
finds 'no package lists: the reason' 'is not signed' deps demo
check 'no package lists: nothing is installed' times 0 install "$dir/fake/asked"
fresh
echo 'W: Failed to fetch http://mirror.invalid/InRelease  Could not resolve' >"$dir/fake/update.warns"
echo 'E: Unable to locate package gcc' >"$dir/fake/install.fails"
finds 'a list is missing: it says so when a package is, too' 'W: Failed to fetch' deps demo
finds 'a list is missing: and which package' 'E: Unable to locate package' deps demo
fresh
printf '#!/bin/sh\nexit 0\n' >"$dir/idle"
chmod +x "$dir/idle"
mv "$bin/apt-get" "$dir/apt-get"
cp "$dir/idle" "$bin/apt-get"
finds 'apt installs nothing, and is content' 'yet they are not found by command or header: gcc' deps demo
rm "$bin/apt-get"
finds 'no apt: it says what to install' 'apt-get install gcc libc6-dev' deps demo
mv "$dir/apt-get" "$bin/apt-get"

# ---- not as root: by a sudo that asks nothing

printf '#!/bin/sh\necho 1000\n' >"$bin/id"
fresh
finds 'no root, no sudo: it says what to install' 'as root:' deps demo
check 'no root, no sudo: apt-get is not asked' test ! -e "$dir/fake/asked"
cat >"$bin/sudo" <<'SH'
#!/bin/sh
[ "$1" = -n ] || exit 9
shift
[ "$1" = true ] || echo sudo >>"$FAKE/asked"
"$@"
SH
chmod +x "$bin/sudo"
ln -s "$(command -v true)" "$bin/true"
held install 1 "$frontend"
check 'by sudo' works demo
check 'by sudo: each of the asks' times 3 '^sudo$' "$dir/fake/asked"

# ---- peers: unpacked, not installed

nothing_was_installed() { ! grep ' install ' "$dir/fake/asked" | grep -v -- ' -d '; }
all_are_there() { [ -x "$dir/fake/peers/usr/bin/etcd" ] && [ ! -e "$dir/fake/peers/archives" ]; }
without() { # WORDS [SETTING...]: it ends well, and says them
    works peers "${@:2}" && said "$1"
}

fresh
check 'peers: three servers'                works peers
check 'peers: it says which'                said 'DEPS  tinyproxy-bin nginx etcd-server'
check 'peers: apt only downloads'           nothing_was_installed
check 'peers: they are unpacked'            all_are_there
check 'peers: as root is asked for the lists alone' times 1 '^sudo$' "$dir/fake/asked"
check 'peers: they are there now'           works peers
check 'peers: apt-get is not asked again'   times 2 '^C ' "$dir/fake/asked"
fresh
mkdir "$dir/other"
for tool in tinyproxy nginx etcd; do ln -s "$dir/idle" "$dir/other/$tool"; done
check 'peers: those of the machine will do' works peers PATH="$bin:$dir/other"
check 'peers: then nothing is asked'        test ! -e "$dir/fake/asked"
rm "$bin/sudo"
check 'peers: without sudo'                 works peers
check 'peers: then without new lists'       times 1 . "$dir/fake/asked"
fresh
echo 'E: Failed to fetch http://mirror.invalid/x.deb  404  Not Found' >"$dir/fake/install.fails"
check 'peers: apt fails: their tests are skipped' \
    without 'cannot be had, so the tests that need them are skipped: tinyproxy-bin nginx etcd-server'
check 'peers: apt fails: its reason'        said '404  Not Found'
finds 'peers: apt fails under CI'           'CI is set, so their tests must not be skipped: tiny' \
    deps peers CI=1
fresh
true >"$dir/fake/unpack.fails"
check 'peers: a package that is broken: nothing is kept' without 'are skipped'
check 'peers: a package that is broken: no folder' test ! -e "$dir/fake/peers"
rm "$bin/apt-get"
check 'peers: no apt: their tests are skipped' without 'are skipped'
finds 'peers: no apt under CI'              'must not be skipped' deps peers CI=1
results
