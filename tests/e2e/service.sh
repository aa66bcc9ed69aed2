#!/usr/bin/env bash
# service.sh - all that a program can ask of the service (tests/peers/service.c) against ensignd
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tools/ensignd.sh
trap 'server_stop KILL' EXIT
trap 'exit 130' INT TERM

server_start --memory || exit 1
timeout 250 "$BUILD/tests/peers/service" session
