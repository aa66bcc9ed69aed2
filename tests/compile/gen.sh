#!/usr/bin/env bash
# The block of generated code in ensign.h is what proto/ gives, and has the constants that somebody names.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
check 'tools/gen --check: the generated block is up to date' tools/gen --check

{ cat ensign.h && echo 'enum { more = ENSI_PB_COMPRESSION_LEVEL_TAG };'; } >"$dir/more.h"
finds 'a constant that is named and not there is told' 'ENSI_PB_COMPRESSION_LEVEL_TAG = 2' \
    tools/gen --check --header "$dir/more.h"

sed '/^\/\/ END GENERATED/i enum { ENSI_PB_COMPRESSION_LEVEL_TAG = 2 };' ensign.h >"$dir/less.h"
finds 'a constant that nobody names any more is told' '-enum { ENSI_PB_COMPRESSION_LEVEL_TAG = 2' \
    tools/gen --check --header "$dir/less.h"
results
