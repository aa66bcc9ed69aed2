#!/usr/bin/env bash
# tests/peers/call.sh - ensign call beside grpcurl, against a grpc-go server with server reflection
# (reflected.go): both give the same JSON. tests/peers/run builds the two, and counts the results.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
. tools/ensignd.sh
ensign=build/ensign grpcurl=build/peers/go/bin/grpcurl server=''
trap '[ -n "$server" ] && kill "$server" 2>/dev/null; rm -rf "$dir"' EXIT

start() {
    build/peers/go/bin/reflected >"$dir/server" 2>&1 &
    server=$!
    await "$dir/server" : "$server" && address=$(head -n 1 "$dir/server")
}
call() { timeout 60 $ensign call --plaintext --no-auth --endpoint "$address" "$@"; }
same() { diff "$1" "$2"; }
values() { # FILE: the JSON values in it, each on a line, in one form
    python3 -c 'import json, sys
text, decoder, at = open(sys.argv[1]).read(), json.JSONDecoder(), 0
while at < len(text.rstrip()):
    value, at = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
    print(json.dumps(value, sort_keys=True))' "$1"
}
# alike METHOD JSON [OPTION...]: the answers of both
alike() {
    call "$1" "$2" "${@:3}" >"$dir/ours" || return 1
    timeout 60 $grpcurl -plaintext -d "$2" "$address" "$1" >"$dir/theirs" || return 1
    values "$dir/ours" >"$dir/ours.json" && values "$dir/theirs" >"$dir/theirs.json" || return 1
    [ -s "$dir/ours.json" ] && same "$dir/ours.json" "$dir/theirs.json"
}
lists_alike() {
    call --list >"$dir/ours" && timeout 60 $grpcurl -plaintext "$address" list >"$dir/theirs" &&
        [ -s "$dir/ours" ] && same "$dir/ours" "$dir/theirs"
}
templates_alike() { # TYPE
    call --template "$1" >"$dir/ours" || return 1
    timeout 60 $grpcurl -plaintext -msg-template "$address" describe "$1" |
        sed '1,/^Message template:/d' >"$dir/theirs"
    values "$dir/ours" >"$dir/ours.json" && values "$dir/theirs" >"$dir/theirs.json" || return 1
    [ -s "$dir/ours.json" ] && same "$dir/ours.json" "$dir/theirs.json"
}
lines() { # INPUT METHOD: the answers to lines of standard input
    printf '%b' "$1" | call "$2" - >"$dir/ours" && printf '%b' "$1" |
        timeout 60 $grpcurl -plaintext -d @ "$address" "$2" >"$dir/theirs" || return 1
    values "$dir/ours" >"$dir/ours.json" && values "$dir/theirs" >"$dir/theirs.json" || return 1
    [ -s "$dir/ours.json" ] && same "$dir/ours.json" "$dir/theirs.json"
}
details() {
    call grpc.testing.TestService/UnaryCall \
        '{"responseStatus": {"code": 3, "message": "no"}, "payload": {"body": "AQ=="}}' 2>"$dir/ours" && return 1
    grep -qxF 'ensign: detail: {"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":'\
'[{"field":"payload.body","description":"too short"}]}' "$dir/ours" &&
        grep -qxF 'ensign: detail: {"@type":"type.googleapis.com/grpc.testing.Payload","body":"AQ=="}' \
            "$dir/ours" && return
    cat "$dir/ours"
    return 1
}
echoes() {
    call grpc.testing.TestService/UnaryCall '{}' -v -H x-echo-bin:00ff >"$dir/ours" 2>&1
    grep -qxF 'ensign: header: x-echo-bin: AP8= in base64' "$dir/ours" || { cat "$dir/ours"; return 1; }
}

service=grpc.testing.TestService
check 'the server starts' start
check 'list' lists_alike
check 'a template' templates_alike grpc.testing.StreamingOutputCallRequest
check 'a unary call' alike $service/UnaryCall '{"payload": {"body": "AAEC/w=="}}'
check 'a unary call, compressed' alike $service/UnaryCall \
    "{\"payload\": {\"body\": \"$(head -c 3000 /dev/zero | base64 -w 0)\"}}" --gzip
check 'the server streams' alike $service/StreamingOutputCall '{"responseParameters": [{"size": 1}, {"size": 300}]}'
check 'the client streams' lines '{"payload": {"body": "AAAA"}}\n{"payload": {"body": "AA=="}}\n' \
    $service/StreamingInputCall
check 'both stream' lines '{"responseParameters": [{"size": 1}]}\n{"responseParameters": [{"size": 2}, {}]}\n' \
    $service/FullDuplexCall
check 'the details of a status' details
check 'binary metadata' echoes
results
