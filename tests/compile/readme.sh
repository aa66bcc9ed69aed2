#!/usr/bin/env bash
# README.md keeps its word: its first lines compile and run, and the make targets that it names are there.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
{ # its first lines, in the program that they leave out
    cat <<'C'
#define ENSIGN_IMPLEMENTATION
#include "ensign.h"
#include <stdio.h>

static int fail(const ensign_error_t *e)
{
    puts(e->text);
    return 1;
}

int main(void)
{
    static ensign_desc_t desc;
    static ensign_publisher_desc_t stream;
    static ensign_event_t event;
    ensign_error_t why;
    ensign_publisher_t pub;
    ensign_t *client;
    const ensign_notice_t *n;

C
    awk '/^```c$/ {on = 1; next} /^```$/ && on {exit} on' README.md
    printf '    ensign_destroy(client);\n    return 0;\n}\n'
} >"$dir/program.c"
runs() { # with no key and no server named: it must end by itself, in words
    env -u ENSIGN_CLIENT_ID -u ENSIGN_CLIENT_SECRET -u ENSIGN_ENDPOINT timeout 10 "$dir/program" >"$dir/words"
    [ $? -eq 1 ] && grep -q endpoint "$dir/words" || { cat "$dir/words"; return 1; }
}
check 'the first lines of README.md compile' \
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
