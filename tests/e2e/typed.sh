#!/usr/bin/env bash
# typed.sh - the first program of tools/docs/typed-calls.md, by the very commands that the page gives, against
# ensignd
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tests/examples.sh
unset MAKEFLAGS MFLAGS MAKELEVEL VARIANT # make install is a make of its own

page=$PWD/tools/docs/typed-calls.md
block() { # LANGUAGE: the first one
    awk -v start="\`\`\`$1" '$0 == start {on = !done; next} /^```$/ {if (on) done = 1; on = 0} on' "$page"
}
command_of() { sed -n "s/^    \($1 .*\)/\1/p" "$page" | head -n 1; } # FIRST_WORD
installs() { make install-header install-plugin PREFIX="$dir/own"; }
does() { # FIRST_WORD: that command of the page, in the folder
    local line
    line=$(command_of "$1")
    echo "$line"
    [ -n "$line" ] && (cd "$dir" && PATH=$dir/own/bin:$PATH PKG_CONFIG_PATH=$dir/own/share/pkgconfig \
        CPATH=/usr/include/nanopb bash -c "$line")
}
serving() { [ "$("$dir/check")" = SERVING ]; }
fails_in_words() {
    "$dir/check" 2>"$dir/words" && return 1
    cat "$dir/words"
    grep -q '^check: .*cannot connect to' "$dir/words"
}

check 'the header and the plugin are installed' installs
block proto >"$dir/health.proto"
block options >"$dir/health.options"
block c >"$dir/check.c"
check 'protoc writes the messages and the calls' does protoc
check 'the program is built' does cc
server_start --memory --port 0 --auth-port 0 || exit 1
check 'a typed call to ensignd' serving
server_stop
check 'without a server: an error with a text' fails_in_words
results
