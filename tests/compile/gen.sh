#!/usr/bin/env bash
# The block of generated code in ensign.h is what proto/ gives.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
check 'tools/gen --check: the generated block is up to date' tools/gen --check
results
