#!/usr/bin/env bash
# A million events of 100 bytes to `ensignd --memory` and back, in the clear and over TLS: no allocation in
# steady state. SOAK_EVENTS sets another number.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tools/ensignd.sh
receiver=''
finish() {
    [ -n "$receiver" ] && kill "$receiver" 2>/dev/null
    server_stop
}
trap finish EXIT
trap 'exit 130' INT TERM
events=${SOAK_EVENTS:-1000000}
rc=0

# A publisher and a subscriber apart, at a pace at which the server drops nothing.
apart() {
    local said=$BUILD/soak.said status
    "$BUILD/tests/soak/million" receive apart "$events" 100 2>"$said" &
    receiver=$!
    await "$said" ready $receiver || { cat "$said"; return 1; }
    "$BUILD/tests/soak/million" publish apart "$events" 100 20000 || return 1
    wait $receiver
    status=$?
    receiver=''
    return $status
}

for tls in '' --tls; do
    echo "# $events events of 100 bytes, ${tls:-in the clear}, started $(date +%T)"
    server_start --memory --port 0 --auth-port 0 ${tls:+--tls --cert-file "$BUILD/soak.pem"} || exit 1
    "$BUILD/tests/soak/million" both soak "$events" 100 || rc=1
    "$BUILD/tests/soak/million" publish alone "$events" 100 || rc=1
    apart || rc=1
    server_stop
    echo "# ended $(date +%T)"
done
exit $rc
