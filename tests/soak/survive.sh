#!/usr/bin/env bash
# ensignd is killed with SIGKILL while 100,000 events are being published, three times, and started again on
# the same data and ports: every event ends in exactly one ACK, and --dump shows each. SOAK_EVENTS sets
# another number.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tools/ensignd.sh
events=${SOAK_EVENTS:-100000}
dir=$(mktemp -d "$BUILD/survive.XXXXXX") || exit 1
publisher=''
finish() {
    [ -n "$publisher" ] && kill "$publisher" 2>/dev/null
    server_stop
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM
fail() { echo "not ok - $1"; cat "$dir/said" 2>/dev/null; exit 1; }

server_start "$dir/data" --port 0 --auth-port 0 || fail 'no server'
port=${ENSIGN_ENDPOINT##*:} auth=${ENSIGN_AUTH_URL##*:}
"$BUILD/tests/soak/survive" soak "$events" $((events / 5)) >"$dir/results" 2>"$dir/said" &
publisher=$!
for percent in 20 45 70; do
    await "$dir/said" "acked $((events * percent / 100))" $publisher 120 || fail "no $percent percent acked"
    server_stop KILL
    echo "# killed when $percent percent were acked"
    server_start "$dir/data" --port "$port" --auth-port "${auth%/}" || fail 'no second start'
done
wait $publisher
status=$?
publisher=''
cat "$dir/results"
[ $status -eq 0 ] || fail 'the publisher has something to say'
server_stop

# Every number from 0 on is in the store; one that was sent again may stand there twice.
"$BUILD/ensignd" --data "$dir/data" --dump soak >"$dir/dump" || fail 'no dump'
grep -oE '[0-9]{10}\.{90}' "$dir/dump" | sort -u | awk -v want="$events" '
    { if ($0 + 0 != NR - 1 && !bad) { bad = 1; print "# number " NR - 1 " is missing" } }
    END {
        ok = !bad && NR == want
        print (ok ? "ok" : "not ok") " - --dump shows " NR " of " want " events"
        exit !ok
    }'
