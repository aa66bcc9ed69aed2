#!/usr/bin/env bash
# Where zlib is not there, the Makefile builds all that does not need it, and the tool without gzip.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
unset MAKEFLAGS MFLAGS MAKELEVEL VARIANT # this is a make of its own

# A machine without zlib: the compiler finds a header of that name that is no use.
mkdir -p "$dir/include"
echo '#error there is no zlib here' >"$dir/include/zlib.h"
made() { make --no-print-directory CPPFLAGS="-I$dir/include" "$@"; }
plan() { made -Bn V=1 programs build/fuzz/fuzz_json 2>"$dir/said" | grep -- ' -o ' >"$dir/plan"; }
plans() { grep -qE -- "$1" "$dir/plan" || { echo "nothing like $1 is built"; return 1; }; }
leaves_out() { ! grep -E -- "$1" "$dir/plan"; }
counts() { # the programs of tests
    [ "$(grep -c -- '-lcmocka' "$dir/plan")" -gt 50 ] || { echo 'there are hardly any tests'; return 1; }
}

check 'it can be planned'                  plan
check 'the tests are built'                counts
check 'the tool is built'                  plans ' -o build/ensign '
check 'the server is built'                plans ' -o build/ensignd '
check 'the examples are built'             plans ' -o build/examples/publish '
check 'no program that needs zlib'         leaves_out '/(fuzz_)?gzip |-lz( |$)|ENSIGN_GZIP'
check 'the tool is built in fact'          made VARIANT=nozlib build/nozlib/ensign
check 'it runs'                            build/nozlib/ensign --version
check 'it asks for no zlib'                eval '! nm -u build/nozlib/ensign | grep -E "(deflate|inflate)"'

# With zlib there: so the words above are no empty ones.
plan() { make --no-print-directory -Bn V=1 programs 2>"$dir/said" | grep -- ' -o ' >"$dir/plan"; }
check 'with zlib it can be planned'        plan
check 'with zlib: the tests of it'         plans ' -o build/tests/seq/gzip .* -lz'
check 'with zlib: the fuzz target'         plans ' -o build/tests/fuzz/fuzz_gzip .* -lz'
check 'with zlib: the tool with gzip'      plans '-DENSIGN_GZIP .* -o build/obj/tools/ensign/lib.o '
check 'with zlib: the tool is linked with it' plans ' -o build/ensign .* -lz'
results
