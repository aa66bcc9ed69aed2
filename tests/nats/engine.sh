#!/usr/bin/env bash
# tests/nats/engine.sh - the engine of the log on NATS over a server that is late, refuses, loses answers,
# cuts connections and dies, by a seed: the contract of every engine of the log holds all the same
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
SEEDS=${SEEDS:-1 2}
. tests/tap.sh

tests=$BUILD/tests/unit/ensignd_log
if "$BUILD/ensignd" --store nats://127.0.0.1:1 2>&1 | grep -q libnats-dev; then
    tap ok "the engine # SKIP ensignd is without libnats"
    results
    exit 0
fi
mkfifo "$dir/held" && exec 9<>"$dir/held" # the server ends when its standard input does

fake=''
end_fake() {
    [ -n "$fake" ] && kill "$fake" 2>/dev/null && wait "$fake" 2>/dev/null
    fake=''
}
trap 'main_shell && { end_fake; rm -rf "$dir"; }' EXIT

start_fake() { # OPTION...
    : >"$dir/fake"
    python3 tests/nats/fake.py --max-payload 8388608 "$@" >"$dir/fake" 2>"$dir/faults" <"$dir/held" 9>&- &
    fake=$!
    for _ in $(seq 200); do
        url=nats://$(sed -n 's/^listening on //p' "$dir/fake")
        [ "$url" != nats:// ] && return 0
        kill -0 "$fake" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}
holds() {
    NATS_URL=$url timeout 300 "$tests" >"$dir/out" 2>&1 9>&- && return 0
    grep -A3 -E '^not ok|FAILED|ERROR' "$dir/out"
    tail -n 20 "$dir/faults"
    return 1
}

check 'a server without faults starts' start_fake
check 'the contract holds' holds
end_fake
for seed in $SEEDS; do
    check "seed $seed: a server that fails starts" start_fake --seed "$seed" --late 5 --fail
    check "seed $seed: the contract holds" holds
    end_fake
done
results
