#!/usr/bin/env bash
# unix.sh - ensignd at a Unix socket: ensign and the examples there and back; a server that is killed and
# comes back; a socket as one of several endpoints; TLS over it
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tests/examples.sh

ensign=$BUILD/ensign socket=$dir/socket

with() { # STATUS WORDS ARGUMENT...: `ensign` ends with this status, and has said the words
    local status
    timeout 60 "$ensign" "${@:3}" >"$dir/out" 2>"$dir/err" </dev/null
    status=$?
    [ $status -eq "$1" ] && grep -qF -- "$2" "$dir/out" "$dir/err" && return
    echo "exit status $status"
    head -n 20 "$dir/out" "$dir/err"
    return 1
}

session() { # WHERE OPTION...
    local where=$1 sub auth
    shift
    check "$where: the server starts"       server_start "$dir/$where" --unix "$socket" --auth-port 0 "$@"
    auth=${ENSIGN_AUTH_URL##*:}
    check "$where: its endpoint"            test "$ENSIGN_ENDPOINT" = "unix:$socket"
    check "$where: status"                  with 0 healthy status
    start sub "$ensign" subscribe weather --ensure-topic --raw
    sub=$pid
    check "$where: ensign subscribes"       says sub 'open, weather' "$sub"
    check "$where: the example publishes"   put weather 1 10
    check "$where: they came"               await "$dir/sub.out" 'event 00010' "$sub"
    server_stop KILL
    check "$where: killed: the file is left" test -S "$socket"
    check "$where: no server: it says where none is" with 3 "unix:$socket" health --no-auth
    check "$where: the server is back" \
        server_start "$dir/$where" --unix "$socket" --auth-port "$auth" "$@"
    check "$where: the subscriber, too"     says sub 'ensign: open again' "$sub"
    check "$where: events after"            put weather 11 20
    check "$where: they came too"           await "$dir/sub.out" 'event 00020' "$sub"
    check "$where: just these, in order"    diff "$dir/sub.out" <(events 1 20)
    kill -INT "$sub"
    check "$where: the second of two endpoints" with 0 healthy status -E "unix:$dir/none,unix:$socket"
    server_stop
}

session plain
session tls --tls --cert-file "$dir/cert.pem"
results
