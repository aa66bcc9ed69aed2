#!/usr/bin/env bash
# typed.sh - the first program of tools/docs/typed-calls.md, by the very commands that the page gives, and its
# first stream, against ensignd
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tests/examples.sh
. tests/page.sh
unset MAKEFLAGS MFLAGS MAKELEVEL VARIANT # make install is a make of its own

command_of() { sed -n "s/^    \($1.*\)/\1/p" "$page" | head -n 1; } # BEGINNING
installs() { HOME=$dir bash -c "$(command_of 'make .*PREFIX=')"; }
does() { # BEGINNING: that command of the page, in the folder
    local line
    line=$(command_of "$1")
    echo "$line"
    [ -n "$line" ] && (cd "$dir" && HOME=$dir CPATH=/usr/include/nanopb bash -c "$(command_of 'export ')
$line")
}
serving() { [ "$("$dir/check")" = SERVING ]; }
watcher_is_built() { # the head of the program, the stream, and a main that calls it
    {
        sed '/^int main/,$d' "$dir/check.c"
        block_of watch
        cat <<'C'
int main(void)
{
    ensign_desc_t desc = { 0 };
    ensign_error_t why;
    ensign_t *c;
    int rc;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (ensign_desc_env(&desc, &why) != ENSIGN_OK) return fail(&why);
    if (ensign_create(&desc, &c, &why) != ENSIGN_OK) return fail(&why);
    rc = watch(c);
    ensign_destroy(c);
    return rc;
}
C
    } >"$dir/watch.c"
    (cd "$dir" && cc -std=c99 -idirafter /usr/include/nanopb -I.local/include -o watch watch.c health.pb.c \
        -lnghttp2 -lmbedtls -lmbedx509 -lmbedcrypto -lprotobuf-nanopb)
}
shows_a_state() {
    local left
    for ((left = 1200; left > 0; left--)); do
        grep -qx 'state 1' "$dir/watch.out" && return
        kill -0 "$watcher" 2>/dev/null || break
        sleep 0.05
    done
    cat "$dir/watch.out" "$dir/watch.err"
    return 1
}
ends_with_its_error() {
    await_end "$watcher" || return
    wait "$watcher"
    [ $? -eq 1 ] && grep -q '^check: .*\(gone\|UNAVAILABLE\)' "$dir/watch.err" && return
    cat "$dir/watch.err"
    return 1
}
fails_in_words() {
    "$dir/check" 2>"$dir/words" && return 1
    cat "$dir/words"
    grep -q '^check: .*cannot connect to' "$dir/words"
}

check 'the header and the plugin are installed' installs
block proto 1 >"$dir/health.proto"
block options 1 >"$dir/health.options"
block c 1 >"$dir/check.c"
check 'protoc writes the messages and the calls' does 'protoc '
check 'the program is built' does 'cc '
server_start --memory --port 0 --auth-port 0 || exit 1
check 'a typed call to ensignd' serving
check 'the stream is built' watcher_is_built
start watch "$dir/watch"
watcher=$pid
check 'a typed stream of ensignd has a state' shows_a_state
server_stop
check 'it ends with its error when the server does' ends_with_its_error
check 'without a server: an error with a text' fails_in_words
results
