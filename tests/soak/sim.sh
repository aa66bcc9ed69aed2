#!/usr/bin/env bash
# tests/sim for an hour, from a seed that is another one each day; then the faults of tests/sim/faults, each of
# which it must find. SOAK_HOURS sets another time.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
first=$(($(date +%Y%m%d) * 1000000))
echo "# tests/sim from seed $first, started $(date +%T)"
"$BUILD/tests/sim/sim" --first $first --hours "${SOAK_HOURS:-1}" || exit 1
tests/sim/faults
