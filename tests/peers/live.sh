#!/usr/bin/env bash
# tests/peers/live.sh - a session with the server that the ENSIGN_ variables name (make test-live)
#
# Whatever speaks the protocol will do: the real Ensign with its Quarterdeck, or build/ensignd. COUNT [1000]
# events go through build/examples/publish and build/examples/subscribe; then tests/peers/service asks for all
# that the service can do; a key with a wrong secret is refused; and where ENSIGN_READER_CLIENT_ID and _SECRET name a key that may not publish, so is that. The session makes
# topics live-...: one is left there, the others are destroyed. The last line is 'N passed, N failed[, N skipped]'.
set -u
cd "$(dirname "$0")/../.." || exit 1

COUNT=${COUNT:-1000}
passed=0 failed=0 skipped=0 subscriber=''
topic=live-$(date +%s)-$$

if [ -z "${ENSIGN_ENDPOINT:-}" ] || [ -z "${ENSIGN_CLIENT_ID:-}" ] || [ -z "${ENSIGN_CLIENT_SECRET:-}" ]; then
    cat >&2 <<'END'
test-live: which server? ENSIGN_ENDPOINT, ENSIGN_CLIENT_ID and ENSIGN_CLIENT_SECRET must be set, and where
they are not the defaults ENSIGN_AUTH_URL and ENSIGN_INSECURE or ENSIGN_CA_FILE. With the development server:
    build/ensignd --memory --env-file build/live.env &
    set -a; . build/live.env; set +a
    make test-live
END
    exit 1
fi

number() { printf '%d' $((passed + failed + skipped)); }
ok()     { passed=$((passed + 1)); echo "ok $(number) - $1"; }
not_ok() { failed=$((failed + 1)); echo "not ok $(number) - $1"; }
skip()   { skipped=$((skipped + 1)); echo "ok $(number) - $1 # SKIP $2"; }
said()   { sed 's/^/# /' "$@"; }

# check NAME FILE COMMAND...: the command's status tells, FILE has what it said.
check() {
    local name=$1 file=$2
    shift 2
    if "$@"; then ok "$name"; else not_ok "$name"; tail -n 10 "$file" | said; return 1; fi
}

finish() {
    echo
    printf '%d passed, %d failed' "$passed" "$failed"
    [ "$skipped" -gt 0 ] && printf ', %d skipped' "$skipped"
    echo
    [ "$failed" -eq 0 ]
    exit
}

dir=$(mktemp -d) || exit 1
clean() {
    [ -n "$subscriber" ] && kill "$subscriber" 2>/dev/null
    rm -rf "$dir"
}
trap clean EXIT
trap 'exit 130' INT TERM

# ---------------------------------------------------------------- the programs

env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory build/examples/publish build/examples/subscribe \
    build/tests/peers/live build/tests/peers/service >"$dir/make" 2>&1 || { cat "$dir/make" >&2; exit 1; }
publish=build/examples/publish subscribe=build/examples/subscribe live=build/tests/peers/live
service=build/tests/peers/service

# Publishes standard input, what it says in $dir/$1, its errors too.
publish() { timeout 120 $publish "$topic" >"$dir/$1" 2>&1; }

# Waits for pattern $2 in file $dir/$1, as long as the subscriber lives, $3 seconds at most.
appears() {
    for _ in $(seq $(($3 * 10))); do
        grep -qs "$2" "$dir/$1" && return
        kill -0 "$subscriber" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

# ---------------------------------------------------------------- the server, a topic, a subscriber

timeout 60 $live status >"$dir/status" 2>&1
check "the server says its status" "$dir/status" test $? -eq 0 || finish
echo "# $ENSIGN_ENDPOINT: $(cat "$dir/status")"

publish topic </dev/null
check "a topic is made: $topic" "$dir/topic" test $? -eq 0 || finish

# One event more than COUNT: see greet.
timeout 300 $subscribe -n $((COUNT + 1)) "$topic" >"$dir/events" 2>"$dir/subscribe" &
subscriber=$!
check "the subscription opens" "$dir/subscribe" appears subscribe open 30 || finish

# A server may say that it is ready before it is: what was published in between is lost. So one event is
# published first, again where it does not arrive; only what arrives counts.
greet() {
    for _ in 1 2 3; do
        echo hello | publish greeting && appears events "data: b'hello'" 5 && return
    done
    return 1
}
check "a first event arrives" "$dir/greeting" greet || finish

# ---------------------------------------------------------------- the events

seq -f '{"n": %.0f}' "$COUNT" | publish acks
check "$COUNT events are published" "$dir/acks" test $? -eq 0
acks=$(grep -cE '^ack 20[0-9-]+T[0-9:.]+Z$' "$dir/acks")
check "each is acked, with its commit time" "$dir/acks" test "$acks" -eq "$COUNT"

wait "$subscriber"
check "the subscriber has them all and ends" "$dir/subscribe" test $? -eq 0
subscriber=''
sed -n "s/^\tdata: b'{\"n\": \([0-9]*\)}'$/\1/p" "$dir/events" >"$dir/got"
seq "$COUNT" >"$dir/sent"
sort -n "$dir/got" | uniq -d >"$dir/twice"
sort -nu "$dir/got" | comm -3 --nocheck-order - "$dir/sent" >"$dir/missing"
check "none is missing" "$dir/missing" test ! -s "$dir/missing"
check "none came twice" "$dir/twice" test ! -s "$dir/twice"
cmp "$dir/sent" "$dir/got" >"$dir/order" 2>&1
check "they came in order" "$dir/order" test $? -eq 0

# ---------------------------------------------------------------- all that the service can do

timeout 300 $service "$topic" >"$dir/service" 2>&1
status=$?
while read -r line; do
    case $line in
    "ok "*) ok "${line#* - }" ;;
    "not ok "*) not_ok "${line#* - }" ;;
    "#"*) echo "$line" ;;
    esac
done <"$dir/service"
check "the session comes to its end" "$dir/service" test $status -eq 0

# ---------------------------------------------------------------- refusals

timeout 60 $live wrong-secret >"$dir/wrong" 2>&1
check "a wrong secret: E_CREDENTIALS, for good" "$dir/wrong" test $? -eq 0 && said "$dir/wrong"
echo x | ENSIGN_CLIENT_SECRET=wrong timeout 60 $publish "$topic" >"$dir/wrong" 2>&1
check "examples/publish with it says so and fails" "$dir/wrong" test $? -eq 1 && said "$dir/wrong"

if [ -n "${ENSIGN_READER_CLIENT_ID:-}" ]; then
    timeout 60 $live not-allowed >"$dir/reader" 2>&1
    check "a key that may not publish: PERMISSION_DENIED, for good" "$dir/reader" test $? -eq 0 &&
        said "$dir/reader"
else
    skip "a key that may not publish" "ENSIGN_READER_CLIENT_ID is not set"
fi
finish
