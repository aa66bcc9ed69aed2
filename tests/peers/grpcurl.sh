#!/usr/bin/env bash
# tests/peers/grpcurl.sh - grpcurl against build/ensignd: by reflection alone it lists, describes and calls
# the services, over plaintext and over TLS. tests/peers/run installs grpcurl, and counts the results.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
BUILD=build
. tools/ensignd.sh
trap 'server_stop KILL; rm -rf "$dir"' EXIT

ask() { # [OPTION...] -- WORD...: grpcurl, with the server between the two
    local options=()
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    timeout 60 build/peers/go/bin/grpcurl "${how[@]}" "${options[@]}" "$ENSIGN_ENDPOINT" "$@" \
        >"$dir/said" 2>&1
}
has() { # LINE...: it has said each of them
    local line
    for line; do grep -qxF -- "$line" "$dir/said" || { cat "$dir/said"; return 1; }; done
}
says() { # STATUS LINE... -- [OPTION...] -- WORD...
    local wanted=$1 lines=() status
    shift
    while [ "$1" != -- ]; do lines+=("$1"); shift; done
    shift
    ask "$@"
    status=$?
    [ $status -eq "$wanted" ] || { echo "exit status $status"; cat "$dir/said"; return 1; }
    has "${lines[@]}"
}

against() { # LABEL SERVER_OPTION...
    local label=$1
    shift
    check "$label: ensignd starts" server_start --memory --port 0 --auth-port 0 "$@"
    check "$label: list" says 0 ensign.v1beta1.Ensign grpc.health.v1.Health \
        grpc.reflection.v1.ServerReflection grpc.reflection.v1alpha.ServerReflection -- -- list
    check "$label: list a service" says 0 ensign.v1beta1.Ensign.Publish ensign.v1beta1.Ensign.Status \
        -- -- list ensign.v1beta1.Ensign
    check "$label: describe all" says 0 'ensign.v1beta1.Ensign is a service:' \
        'grpc.health.v1.Health is a service:' -- -- describe
    check "$label: describe a method" says 0 \
        'rpc EnSQL ( .ensign.v1beta1.Query ) returns ( stream .ensign.v1beta1.EventWrapper );' \
        -- -- describe ensign.v1beta1.Ensign.EnSQL
    check "$label: describe a message, with types of other files" says 0 \
        '  .google.protobuf.Duration uptime = 3;' '    MAINTENANCE = 5;' \
        -- -- describe ensign.v1beta1.ServiceState
    check "$label: what is not there" says 1 \
        'Failed to resolve symbol "a.B": Symbol not found: a.B' -- -- describe a.B
    check "$label: call Status" says 0 '  "status": "HEALTHY",' '  "version": "0.12.9-ensignd",' \
        -- -- ensign.v1beta1.Ensign/Status
    check "$label: call Check" says 0 '  "status": "SERVING"' -- -d '{"service": "default"}' \
        -- grpc.health.v1.Health/Check
    check "$label: a call without a token is refused" says 80 '  Code: Unauthenticated' \
        -- -- ensign.v1beta1.Ensign/ListTopics
    check "$label: ensignd ends well" server_stop
}

how=(-plaintext)
against plaintext
how=(-cacert "$dir/cert.pem")
against TLS --tls --cert-file "$dir/cert.pem"
how=(-plaintext)
check 'strict: ensignd starts' server_start --memory --port 0 --auth-port 0 --strict
check 'strict: there is no reflection' says 1 \
    'Failed to list services: server does not support the reflection API' -- -- list
check 'strict: ensignd ends well' server_stop
results
