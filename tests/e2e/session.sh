#!/usr/bin/env bash
# session.sh - examples/publish and examples/subscribe against ensignd, in the clear and over TLS: order,
# acks, exit status; a wrong key, no server; a server that is killed and comes back; tokens that live two
# seconds
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tests/examples.sh

EVENTS=200

fields() { # of a printed event, in the order of PyEnsign's
    local names
    names=$(sed -n '1,7s/^\t\([a-z]*\):.*/\1/p' "$dir/$1.out" | tr '\n' ' ')
    [ "$names" = 'id data mimetype state created committed ' ]
}

acks_are_in_order() { sort -c "$dir/acks"; }

# ---- a session: so many events there and back

session() { # WHERE OPTION...
    local where=$1 sub
    shift
    check "$where: the server starts"        server_start "$dir/$where" --port 0 --auth-port 0 "$@"
    check "$where: no event is no error"     put weather 1 0
    start sub "$subscribe" -n $EVENTS weather
    sub=$pid
    check "$where: the subscriber is open"   says sub 'subscribe: open' "$sub"
    check "$where: each event gets its ack"  put weather 1 $EVENTS
    check "$where: in order of commit"       acks_are_in_order
    check "$where: the subscriber ends after $EVENTS" ends sub "$sub"
    check "$where: each event came, in order" got sub 1 $EVENTS
    check "$where: they are printed with all fields" fields sub
}

wrong_key() {
    local ENSIGN_CLIENT_SECRET=not-the-secret
    export ENSIGN_CLIENT_SECRET
    "$@" weather </dev/null
}

refusals() { # WHERE
    local words='refuses this key (HTTP 403: invalid credentials); check client_id and client_secret'
    finds "$1: publish with a wrong secret says so and fails"   "$words" wrong_key "$publish"
    finds "$1: subscribe with a wrong secret says so and fails" "$words" wrong_key "$subscribe"
    finds "$1: an unknown topic is refused"  'none of the topics' timeout 30 "$subscribe" no-such-topic
}

# ---- the server is killed, and starts again on the same ports and data

restart() { # WHERE OPTION...
    local where=$1 sub rpc=${ENSIGN_ENDPOINT##*:} auth=${ENSIGN_AUTH_URL##*:}
    shift
    start again "$subscribe" weather
    sub=$pid
    check "$where: restart: a subscriber is open"      says again 'subscribe: open' "$sub"
    check "$where: restart: events before"             put weather 1 5
    check "$where: restart: they came"                 gets again 00005 "$sub"
    server_stop KILL
    check "$where: restart: the subscriber notices"    says again 'disconnected, goes on trying: ' "$sub"
    check "$where: restart: the server is there again" \
        server_start "$dir/$where" --port "$rpc" --auth-port "$auth" "$@"
    check "$where: restart: the stream opens again"    says again 'subscribe: open' "$sub" 2
    check "$where: restart: it says that events may be missing" says again 'events may be missing here' "$sub"
    check "$where: restart: events after"              put weather 6 10
    check "$where: restart: they came too"             gets again 00010 "$sub"
    check "$where: restart: SIGTERM ends the subscriber well" stops "$sub"
    check "$where: restart: nothing came twice"        got again 1 10
}

# ---- tokens that live two seconds: renewed while streams run

refreshed() { # TIMES: until the server has renewed so many tokens
    local left=600
    while [ "$(grep -c 'auth: refreshed' "$server_log")" -lt "$1" ]; do
        [ $((left -= 1)) -gt 0 ] || return 1
        sleep 0.05
    done
}

short_lives() {
    local sub pub
    check 'renewal: the server starts'         \
        server_start "$dir/short" --port 0 --auth-port 0 --access-life 2 --verbose
    check 'renewal: the topic is made'         put weather 1 0
    mkfifo "$dir/lines"
    start short "$subscribe" -n 20 weather
    sub=$pid
    check 'renewal: the subscriber is open'    says short 'subscribe: open' "$sub"
    "$publish" weather <"$dir/lines" >"$dir/pub.out" 2>"$dir/pub.err" &
    pub=$!
    exec 9>"$dir/lines"
    events 1 10 >&9
    check 'renewal: events of the first token' gets short 00010 "$sub"
    check 'renewal: both renew, and again'     refreshed 4
    events 11 20 >&9
    exec 9>&-
    check 'renewal: the publisher ends well'   ends pub $pub
    check 'renewal: the subscriber ends well'  ends short "$sub"
    check 'renewal: each event came, in order' got short 1 20
    check 'renewal: nobody logged in twice'    logged_in_once
    check 'renewal: no stream broke'           quiet short pub
    server_stop
}

logged_in_once() { # the put, the subscriber, the publisher
    [ "$(grep -c 'auth: logged in' "$server_log")" -eq 3 ] || { grep auth: "$server_log"; return 1; }
}

quiet() {
    local name
    for name in "$@"; do ! grep -v 'subscribe: open' "$dir/$name.err" || return 1; done
}

# ---- nobody listens: told at once by a subscriber, and by publish when its request's time is up

nowhere=(env -i ENSIGN_ENDPOINT=127.0.0.1:1 ENSIGN_AUTH_URL=http://127.0.0.1:1 ENSIGN_CLIENT_ID=key
    ENSIGN_CLIENT_SECRET=secret ENSIGN_INSECURE=1)

failed_with() { cat "$dir/$1.err"; return "$2"; } # NAME STATUS

start lost "${nowhere[@]}" "$publish" weather # it takes half a minute: it is looked at in the end
lost=$pid
start dark "${nowhere[@]}" "$subscribe" weather
check 'no server: subscribe says so and goes on' \
    says dark 'cannot connect to 127.0.0.1:1: Connection refused' "$pid" 2
check 'no server: SIGTERM ends it'             stops "$pid"

# ---- strict: the time of commit is delivered, and afterwards nobody is told it

stored() { # NAME FIELD OPTION...: how many of the stored events have text in that field
    local name=$1 field=$2
    shift 2
    "$BUILD/ensignd" --data "$dir/$name" --dump weather "$@" | grep -c "\"kind\":\"event\".*\"$field\":\""
}

kept_times() { # NAME TIMES OPTION...
    local name=$1 times=$2
    shift 2
    check "$name: the server starts"           server_start "$dir/$name" --port 0 --auth-port 0 "$@"
    check "$name: each ack has its time"       put weather 1 3
    server_stop
    check "$name: $times of 3 events kept it"  [ "$(stored "$name" committed "$@")" = "$times" ]
    check "$name: all are stored"              [ "$(stored "$name" id)" = 3 ]
}

# ---- over TLS a cut is one as well: behind the handshake, in the middle of acks

cuts() {
    check 'cut: the server starts'             server_start --memory --port 0 --auth-port 0 --verbose \
        --tls --cert-file "$dir/cert.pem" --cut-after-bytes 5000 --cut-first 3
    check 'cut: each event gets its ack'       put weather 1 $EVENTS
    check 'cut: at least one connection broke' grep -q 'cut on purpose' "$server_log"
    check 'cut: the publisher saw it'          grep -q 'disconnected, goes on trying' "$dir/put.err"
    server_stop
}

session plain
refusals plain
restart plain
server_stop
session tls --tls --cert-file "$dir/cert.pem"
refusals tls
restart tls --tls --cert-file "$dir/cert.pem"
server_stop
short_lives
cuts
kept_times friendly 3
kept_times strict 0 --strict
check 'no server: publish gives up'            await_end "$lost" 60
wait "$lost"
finds 'no server: it fails, with a reason' 'is the server there, and the port right?' failed_with lost $?
results
