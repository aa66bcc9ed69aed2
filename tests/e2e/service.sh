#!/usr/bin/env bash
# service.sh - all that a program can ask of the service (tests/peers/service.c) against ensignd: as it is, with
# the real server's oddities, over TLS
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tools/ensignd.sh
dir=$(mktemp -d) || exit 1
trap '[ "$BASHPID" = $$ ] && { server_stop KILL; rm -rf "$dir"; }' EXIT
trap 'exit 130' INT TERM

status=0
for options in '' --strict "--tls --cert-file $dir/cert"; do
    # shellcheck disable=SC2086 # some words, or none
    server_start --memory --port 0 --auth-port 0 $options || exit 1
    timeout 100 "$BUILD/tests/peers/service" session || status=1
    server_stop
done
exit $status
