#!/usr/bin/env bash
# What is built where libprotobuf, zlib and libnats are not there: everything else, and an ensign and an
# ensignd that say what they lack. Their headers are hidden behind others that cannot be compiled.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh

hidden=$dir/hidden
mkdir -p "$hidden/google/protobuf/stubs" "$hidden/nats"
for header in zlib.h google/protobuf/stubs/logging.h nats/nats.h; do
    echo "#error \"$header is not there\"" >"$hidden/$header"
done
builds() { # TARGET...: without the three, into a folder of its own
    MAKEFLAGS='' MAKELEVEL=0 make -j1 --no-print-directory CPPFLAGS="-I$hidden" B="$dir/build" "$@"
}
# Of the commands that were shown: those that are for the three.
needs() { grep -E -- ' -l(protobuf|z|nats)( |$)|schema\.(o|cc|c)|gzip|nats_link' "$dir/made"; }
plans() { # yes|no: whether a build of all programs has a part for the three
    local wanted=$1 seen=no
    shift
    "$@" -n V=1 programs >"$dir/made" 2>&1 || { tail "$dir/made"; return 1; }
    needs >"$dir/needs" && seen=yes
    [ $wanted = $seen ] || { echo "$seen"; head "$dir/needs"; return 1; }
}
says() { # STATUS WORDS ARGUMENT...
    local wanted=$1 words=$2 status
    shift 2
    "$dir/build/ensign" "$@" >"$dir/said" 2>&1 </dev/null
    status=$?
    cat "$dir/said"
    [ $status -eq "$wanted" ] && grep -qF -- "$words" "$dir/said"
}
unset "${!ENSIGN_@}"

if printf '#include <google/protobuf/stubs/logging.h>\n#include <zlib.h>\n' |
    ${CXX:-g++} -E -x c++ - >/dev/null 2>&1; then
    check 'with the two: they are used' plans yes env MAKEFLAGS='' MAKELEVEL=0 make -B
else tap ok 'with the two: they are used # SKIP they are not there'; fi
check 'without them: all programs are built without them' plans no builds -B
has() { grep -qE -- " -o [^ ]*/$1 " "$dir/made" || { echo "$1 is not built"; return 1; }; } # in what was planned
tests() { [ "$(grep -c -- '-lcmocka' "$dir/made")" -gt 50 ] || { echo 'there are hardly any tests'; return 1; }; }
for program in ensign ensignd examples/publish; do check "without them: $program is built" has $program; done
check 'without them: the tests are built' tests
check 'without them: ensign and ensignd are built in fact' builds tool server
check 'it asks for neither' eval '! nm -u "$dir/build/ensign" | grep -E "deflate|inflate|google"'
check 'it says that JSON needs libprotobuf' says 2 \
    'JSON needs libprotobuf, and this ensign was built without it: install it (Debian: libprotobuf-dev)' call a.B/C '{}'
check 'it says so of --list' says 2 'JSON needs libprotobuf' call --list
check 'it says that --gzip needs zlib' says 2 \
    '--gzip needs zlib, and this ensign was built without it: install it (Debian: zlib1g-dev)' call --hex --gzip a.B/C ''
check 'it calls with bytes all the same' says 3 'cannot connect to 127.0.0.1:1' \
    call --hex a.B/C '' --plaintext --endpoint 127.0.0.1:1
check 'its help is the same' says 0 '--emit-defaults' call --help
ensignd_says() { # STATUS WORDS ARGUMENT...
    local wanted=$1 words=$2 status
    shift 2
    "$dir/build/ensignd" "$@" >"$dir/said" 2>&1 </dev/null
    status=$?
    cat "$dir/said"
    [ $status -eq "$wanted" ] && grep -qF -- "$words" "$dir/said"
}
check 'ensignd says that --store nats:// needs libnats' ensignd_says 2 \
    '--store nats://127.0.0.1 needs libnats, and this ensignd was built without it: install it (Debian: libnats-dev)' \
    --store nats://127.0.0.1
check 'it does not ask for it' eval '! nm -u "$dir/build/ensignd" | grep nats'
results
