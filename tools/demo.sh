#!/usr/bin/env bash
# tools/demo.sh - two events through a local server: what `make demo` shows once everything is built
#
#   tools/demo.sh             run it, with what is built under $BUILD [build]; the store is in $BUILD/demo
#   tools/demo.sh --help      print this text (-h, too)
set -u
case ${1:-} in
'') ;;
-h | --help)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
*)
    echo "tools/demo.sh: unknown argument $1; see --help" >&2
    exit 2
    ;;
esac
cd "$(dirname "$0")/.." || exit 1
BUILD=${BUILD:-build}
. tools/ensignd.sh

demo=$BUILD/demo
subscriber=''
finish() {
    [ -n "$subscriber" ] && kill "$subscriber" 2>/dev/null
    server_stop
}
trap finish EXIT
trap 'exit 130' INT TERM
fail() {
    [ -n "$server_pid" ] && tail -n 20 "$server_log" >&2
    printf '\nThe demo failed: %s\n' "$1" >&2
    exit 1
}
title() { printf '\n-- %s\n' "$1"; }

rm -rf "$demo"
mkdir -p "$demo" || fail "no folder $demo"

title 'a server, on free ports, with an empty data folder'
server_start "$demo/data" --port 0 --auth-port 0 || fail 'no server'
echo "events at $ENSIGN_ENDPOINT, tokens from $ENSIGN_AUTH_URL, key $ENSIGN_CLIENT_ID"

title 'the topic weather'
"$BUILD/examples/publish" weather </dev/null || fail 'the topic was not made'
echo 'it is there'

title 'a subscriber waits for two events'
"$BUILD/examples/subscribe" -n 2 weather >"$demo/received" 2>"$demo/subscriber" &
subscriber=$!
await "$demo/subscriber" open $subscriber || { cat "$demo/subscriber" >&2; fail 'no subscription'; }
cat "$demo/subscriber"

title 'the publisher sends two, and prints the acks with their commit times'
printf '%s\n' '{"temp": 72, "units": "fahrenheit"}' '{"temp": 76, "units": "fahrenheit"}' >"$demo/events"
"$BUILD/examples/publish" weather WeatherUpdate 1.0.0 <"$demo/events" >"$demo/acks"
status=$?
cat "$demo/acks"
[ $status -eq 0 ] || fail 'not every event was acked'
[ "$(grep -c '^ack' "$demo/acks")" -eq 2 ] || fail 'there should be two acks'

title 'what the subscriber received'
await_end "$subscriber" || kill "$subscriber"
wait "$subscriber"
status=$?
subscriber=''
cat "$demo/received"
[ $status -eq 0 ] || { cat "$demo/subscriber" >&2; fail 'the subscriber did not get both events'; }
for temp in 72 76; do
    grep -qE "temp[^0-9]*$temp" "$demo/received" || fail "the event of $temp degrees is missing"
done

title 'the end'
server_stop
echo "Two events went through auth, gRPC and the store in $demo/data. Go on from there, by hand:"
echo "    $BUILD/ensignd --data $demo/data --port 0 --auth-port 0 --env-file $demo/env &"
echo "    set -a; . $demo/env; set +a; $BUILD/ensign query 'SELECT * FROM weather'; $BUILD/ensign --help"
