#!/usr/bin/env bash
# README.md keeps its word: its first program compiles and runs, and the make targets that it names are there.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
awk '/^```c$/ {on = 1; next} /^```$/ && on {exit} on' README.md >"$dir/program.c"
runs() { # with no key and no server named: it must end by itself, in words
    env -u ENSIGN_CLIENT_ID -u ENSIGN_CLIENT_SECRET -u ENSIGN_ENDPOINT timeout 10 "$dir/program" >"$dir/words"
    [ $? -eq 1 ] && grep -q endpoint "$dir/words" || { cat "$dir/words"; return 1; }
}
check 'the first program of README.md compiles' \
    gcc -std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -I. \
        -o "$dir/program" "$dir/program.c" -lnghttp2 -lmbedtls -lmbedx509 -lmbedcrypto -lprotobuf-nanopb
check 'it names the missing endpoint' runs
every_target() { # what README.md tells to type is a target, and make help knows it
    local target
    for target in $(grep -oE 'make [a-z][a-z0-9-]*' README.md | awk '{print $2}' | sort -u); do
        grep -q "^$target:" Makefile || { echo "there is no target $target"; return 1; }
        [ "$target" = help ] || grep -q "@echo \"make $target " Makefile ||
            { echo "make help lacks $target"; return 1; }
    done
}
check 'every make target of README.md is there' every_target
results
