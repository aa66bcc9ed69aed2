#!/usr/bin/env bash
# README.md keeps its word: its code compiles, its first lines run, and what it names is there.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
program() { # N: the Nth block of C, in the program that it leaves out
    cat <<'C'
#define ENSIGN_IMPLEMENTATION
#include "ensign.h"
#include <stdio.h>

static int fail(const ensign_error_t *e)
{
    puts(e->text);
    return 1;
}

static void use(const ensign_event_t *e)
{
    (void)e;
}

int main(int argc, char **argv)
{
    static ensign_desc_t desc;
    static ensign_publisher_desc_t stream;
    static ensign_subscription_desc_t topics;
    static ensign_event_t event;
    const char *given_id = argc > 2 ? argv[1] : NULL, *given_secret = argc > 2 ? argv[2] : NULL;
    char buf[4096];
    ensign_error_t why;
    ensign_publisher_t pub;
    ensign_subscription_t subscription;
    ensign_t *client = NULL;
    const ensign_notice_t *n = NULL;

C
    awk -v want="$1" '/^```c$/ {on = ++count == want; next} /^```$/ {on = 0} on' README.md
    cat <<'C'
    (void)desc, (void)stream, (void)topics, (void)event, (void)given_id, (void)given_secret, (void)buf;
    (void)why, (void)pub, (void)subscription, (void)n, (void)client, (void)fail, (void)use;
    return 0;
}
C
}
compiles() { # N
    program "$1" >"$dir/program.c"
    gcc -std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -I. \
        -o "$dir/program" "$dir/program.c" -lnghttp2 -lmbedtls -lmbedx509 -lmbedcrypto -lprotobuf-nanopb
}
runs() { # with no key and no server named: it must end by itself, in words
    env -u ENSIGN_CLIENT_ID -u ENSIGN_CLIENT_SECRET -u ENSIGN_ENDPOINT timeout 10 "$dir/program" >"$dir/words"
    [ $? -eq 1 ] && grep -q endpoint "$dir/words" || { cat "$dir/words"; return 1; }
}
check 'its first lines compile' compiles 1
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

names() { # what README.md says between backticks, one a line
    grep -oE '`[^`]+`' README.md | tr -d '`' | sort -u
}
text_of_today() { # the table of changes has the old names on its left
    awk '/^## Changes/ {changes = 1} !changes {print; next} {split($0, cell, "|"); print cell[3]}'
}
every_name() { # one of the public half, where results stand in a list, or a variable that ensignd writes
    local name
    sed '/^#ifdef ENSIGN_IMPLEMENTATION/,$d' ensign.h >"$dir/public.h"
    for name in $(text_of_today <README.md |
        grep -oE '\b(ensign|ENSIGN)_[A-Za-z0-9_]*[A-Za-z0-9]' | sort -u); do
        grep -qE "\b$name\b|X\(${name#ENSIGN_}," "$dir/public.h" || grep -qw "$name" tools/ensignd/*.c ||
            { echo "the header has no $name"; return 1; }
    done
}
every_test() { # each `folder/file` of tests/, with its case behind a colon
    local name file bad=0
    while read -r name; do
        file=tests/${name%%:*}
        if [ ! -f "$file" ]; then echo "there is no $file"; bad=1
        elif [ "$name" != "${name#*: }" ] && ! grep -qwF "${name#*: }" "$file"; then
            echo "$file has no ${name#*: }"; bad=1
        fi
    done < <(names | grep -E '^(unit|seq|e2e|peers|fault|soak|compile)/')
    return $bad
}
every_example() { # each is named, and each that is named is there
    diff <(names | sed -nE 's,^(examples/)?([a-z_]+\.cc?)$,\2,p' | sort -u) <(cd examples && ls -1 -- *.c *.cc)
}
check 'its lines about a subscriber compile' compiles 2
check 'its lines about credentials compile' compiles 3
check 'its lines about further attempts compile' compiles 6
check 'every name of the library is there' every_name
check 'every test that it names is there' every_test
check 'every example is named, and there' every_example
results
