#!/usr/bin/env bash
# tests/compile/mbedtls36.sh FOLDER - the implementation against the mbedTLS 3.6 headers in FOLDER, every
# warning an error. `make check` gives the folder; without one there is nothing to try.
set -u
cd "$(dirname "$0")/../.." || exit 1
include=${1:-}
[ -n "$include" ] || { echo 'ok 1 - mbedTLS 3.6 # SKIP make check brings the headers'; exit 0; }
. tests/tap.sh
WARN='-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror'
printf '#define ENSIGN_IMPLEMENTATION\n#include "ensign.h"\n' >"$dir/whole.c"
# That the headers are what we think, and come before the system's: else this would try 2.28 once more.
cat >"$dir/version.c" <<'C'
#include <mbedtls/version.h>
#if MBEDTLS_VERSION_MAJOR != 3 || MBEDTLS_VERSION_MINOR < 6
#error "these are not the headers of mbedTLS 3.6"
#endif
typedef int nothing;
C

check 'the headers are of mbedTLS 3.6' gcc -isystem "$include" -fsyntax-only "$dir/version.c"
for cc in gcc clang; do
    command -v $cc >/dev/null 2>&1 || continue
    for std in c99 c11 c++11 c++20; do
        case $std in c++*) lang=c++ ;; *) lang=c ;; esac
        check "$cc $std" \
            $cc -std=$std $WARN -isystem "$include" -I. -O1 -x $lang -c -o "$dir/o" "$dir/whole.c"
    done
done
results
