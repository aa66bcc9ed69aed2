#!/usr/bin/env bash
# examples.sh - the examples but those of session.sh, against ensignd: what each prints, and its exit status
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tests/examples.sh
examples=$BUILD/examples

# EXAMPLE [ARGUMENT...]: its standard output in $dir/out, the other in $dir/err; what it returns. It reads the
# file $input, where that is set.
run() {
    timeout 60 "$examples/$1" "${@:2}" >"$dir/out" 2>"$dir/err" <"${input:-/dev/null}"
}

# does STATUS OUT ERR EXAMPLE [ARGUMENT...]: it ends with this status; its output and its standard error have
# a line that matches; '': there is nothing at all
does() {
    local want=$1 out=$2 err=$3
    run "${@:4}"
    local status=$?
    if [ $status -eq "$want" ] && line "$dir/out" "$out" && line "$dir/err" "$err"; then return; fi
    echo "exit status $status"
    head -n 20 "$dir/out" "$dir/err"
    return 1
}

line() { # FILE PATTERN
    if [ -z "$2" ]; then [ ! -s "$1" ]; else grep -qxE -- "$2" "$1"; fi
}

rows() { sed -n "s/^\tdata: b'\(.*\)'$/\1/p" "$dir/out"; } # of the last run
are() { diff <(events "$1" "$2") <(rows); }
groups() { [ "$(sed -n 's/^-- //p' "$dir/out" | xargs)" = "$1" ] || { cat "$dir/out"; return 1; }; }

# ---- query.c

EVENTS=150 # more than fetch_all has room for at first

query() {
    check 'query: a topic with events'          put rows 1 $EVENTS
    check 'query: fetch one' \
        does 0 '.*data: .*' 'query: 1 rows' query one 'SELECT * FROM rows'
    check 'query: it is the first'              are 1 1
    check 'query: fetch many'                   \
        does 0 '-- 3 together' 'query: 7 rows' query many 'SELECT * FROM rows OFFSET 2 LIMIT 7'
    check 'query: three, three and one'         groups '3 together 3 together 1 together'
    check 'query: they are those that were asked for' are 3 9
    check 'query: fetch all'                    \
        does 0 "-- $EVENTS together" "query: $EVENTS rows" query all 'SELECT * FROM rows'
    check 'query: each was kept as it came'     are 1 $EVENTS
    check 'query: a topic without events'       put empty 1 0
    check 'query: no row is no error (one)'     does 3 '' 'query: 0 rows' query one 'SELECT * FROM empty'
    check 'query: no row is no error (many)'    does 3 '' 'query: 0 rows' query many 'SELECT * FROM empty'
    check 'query: no row is no error (all)'     does 3 '' 'query: 0 rows' query all 'SELECT * FROM empty'
    check 'query: a syntax error in the words of the server' does 1 '' \
        'query: ended: .*INVALID_ARGUMENT: SELECT requires field projection or \*' \
        query all 'SELECT FROM rows'
    check 'query: an unknown topic is an error' does 1 '' \
        'query: ended: .*INVALID_ARGUMENT: unknown topic in query' query all 'SELECT * FROM nowhere'
}

# ---- publish_one.c, publish_many.c

READINGS=20000 # more than max_in_flight: some find no room at first

readings_are() { diff <(seq -f 'reading %06.0f' 1 "$1") <(rows); }

publishing() {
    check 'publish_one: the event is stored'    does 0 stored '' publish_one once '{"temp": 72}'
    check 'publish_one: it is there' \
        does 0 ".*data: b'\{\"temp\": 72\}'" 'query: 1 rows' query all 'SELECT * FROM once'
    check 'publish_one: as JSON'                line "$dir/out" '.*mimetype: application/json'
    check 'publish_one: not stored, and why'    does 1 '' 'publish_one: publish: TOPIC_UNKNOWN: .*' \
        publish_one 1once x
    check 'publish_one: a name that is too long' \
        does 1 '' 'publish_one: .* name of 513 bytes, 512 .*' publish_one "$(printf '%0513d' 0)" x
    check 'publish_one: two words are needed'   does 2 '' 'usage: publish_one TOPIC TEXT' publish_one once
    check 'publish_many: all are stored'        \
        does 0 "$READINGS stored, 0 refused" '' publish_many many $READINGS
    check 'publish_many: they are there'        does 0 "-- $READINGS together" "query: $READINGS rows" \
        query all 'SELECT * FROM many'
    check 'publish_many: each once, in order'   readings_are $READINGS
    check 'publish_many: none is fine, too'     does 0 '0 stored, 0 refused' '' publish_many many 0
    check 'publish_many: two words are needed'  does 2 '' 'usage: publish_many TOPIC COUNT' publish_many many
    check 'publish_many: a refused key'         wrong_key does 1 '0 stored, 1 refused' \
        'publish_many: .* refuses this key .*' publish_many many 1
}

wrong_key() { ENSIGN_CLIENT_SECRET=wrong "$@"; }

# ---- subscribe_ack.c, subscribe.c

interrupted() { # NAME PID: SIGINT ends it well
    kill -INT "$2" && ends "$1" "$2"
}

printed() { diff <(events "$2" "$3") "$dir/$1.out"; } # NAME FROM TO: these, and nothing else

subscribing() {
    local sub
    start ack "$examples/subscribe_ack" 3 weather wether
    sub=$pid
    check 'subscribe_ack: it is open'           says ack 'subscribe_ack: open: weather' "$sub"
    check 'subscribe_ack: a topic that is not there is named' \
        says ack 'subscribe_ack: there is no topic wether' "$sub"
    check 'subscribe_ack: four events'          put weather 1 4
    check 'subscribe_ack: it ends after three'  ends ack "$sub"
    check 'subscribe_ack: it printed these'     printed ack 1 3
    start int "$examples/subscribe_ack" 100 weather
    sub=$pid
    check 'subscribe_ack: another one'          says int 'subscribe_ack: open: weather' "$sub"
    check 'subscribe_ack: an event'             put weather 5 5
    check 'subscribe_ack: it came'              await "$dir/int.out" 'event 00005' "$sub"
    check 'subscribe_ack: SIGINT ends it well'  interrupted int "$sub"
    check 'subscribe_ack: it printed that one'  printed int 5 5
    check 'subscribe_ack: none of the topics is there' does 1 '' \
        'subscribe_ack: subscribe: the project has none of the topics.*' subscribe_ack 1 nowhere
    check 'subscribe_ack: a number is needed'   does 2 '' 'usage: .*' subscribe_ack weather weather
    start own "$subscribe" weather wether
    sub=$pid
    check 'subscribe: a topic that is not there is named' \
        says own 'subscribe: there is no topic wether' "$sub"
    check 'subscribe: an event'                 put weather 6 6
    check 'subscribe: it came'                  gets own 00006 "$sub"
    check 'subscribe: SIGINT ends it well'      interrupted own "$sub"
    check 'subscribe: it printed that one'      got own 6 6
}

# ---- why nothing comes: a server that turns each call away (refuses.py)

once() { # NAME WORDS: one line has them
    [ "$(grep -cF -- "$2" "$dir/$1.err")" -eq 1 ] || { cat "$dir/$1.err"; return 1; }
}

away() { # NAME EXAMPLE...: it waits, says why once for each reason, and SIGINT ends it well
    local name=$1 sub
    start "$name" "$examples/$2" "${@:3}"
    sub=$pid
    check "$2: it goes on when it is turned away" says "$name" 'answers HTTP status 500' "$sub"
    check "$2: SIGINT ends it well, then"       interrupted "$name" "$sub"
    check "$2: a first reason is told once"     once "$name" 'answers HTTP status 404'
    check "$2: and another one"                 once "$name" 'was reset with INTERNAL_ERROR'
}

refuser() { # ANSWER...: for what follows it is the server
    rm -f "$dir/refuser"
    python3 tests/e2e/refuses.py "$@" >"$dir/refuser" &
    refuser=$!
    await "$dir/refuser" '' "$refuser" || return 1
    unset "${!ENSIGN_@}"
    export ENSIGN_INSECURE=1 ENSIGN_NO_AUTHENTICATION=1
    export ENSIGN_ENDPOINT=127.0.0.1:$(head -n 1 "$dir/refuser")
}

turned_away() {
    local refuser
    check 'a server that turns calls away'      refuser 404 404 reset reset 500
    away away subscribe weather
    kill "$refuser"
    check 'another one'                         refuser 404 404 reset reset 500
    away away_ack subscribe_ack 1 weather
    check 'grpc_stream: it is turned away'      does 1 '' 'grpc_stream: .* HTTP status 500.*' grpc_stream 1
    check 'grpc_bidi: so is it'                 does 1 '' 'grpc_bidi: .* HTTP status 500.*' grpc_bidi /a.b/c
    check 'health: so is it'                    does 1 '' 'health: server: .* HTTP status 500.*' health
    check 'health: it has no auth service to ask' line "$dir/err" 'health: auth: .* give auth_url, .*'
    kill "$refuser"
}

# ---- topics.c

ULID='[0-9A-HJKMNP-TV-Z]{26}'

removed() { # TOPIC: until the server's job has removed it
    local left=600
    while run topics exists "$1"; do
        [ $((left -= 1)) -gt 0 ] || return 1
        sleep 0.05
    done
    [ "$(cat "$dir/out")" = no ]
}

same_id() { # the topic of the last run is the one noted in $dir/id
    diff <(cut -d' ' -f1 "$dir/out") "$dir/id"
}

topics() {
    check 'topics: no topics, no error'         does 0 '' '' topics list
    check 'topics: create' \
        does 0 "$ULID first READY, duplicates: NONE" '' topics create first
    cut -d' ' -f1 "$dir/out" >"$dir/id"
    check 'topics: create once more is an error' \
        does 1 '' 'topics: create: .* ALREADY_EXISTS: .*' topics create first
    check 'topics: ensure one that is there'    does 0 "$ULID first .*" '' topics ensure first
    check 'topics: it is the same'              same_id
    check 'topics: ensure one that is not'      does 0 "$ULID second .*" '' topics ensure second
    check 'topics: find'                        does 0 "$ULID first .*" '' topics find first
    check 'topics: it is the same one'          same_id
    check 'topics: find one that is not there' \
        does 1 '' 'topics: find: .*no topic "third".*' topics find third
    check 'topics: exists'                      does 0 yes '' topics exists first
    check 'topics: exists not'                  does 3 no '' topics exists third
    check 'topics: list has the first'          does 0 "$ULID first .*" '' topics list
    check 'topics: list has the second'         does 0 "$ULID second .*" '' topics list
    check 'topics: events to count'             put first 1 3
    check 'topics: info of the project' \
        does 0 'project: 3 events, 0 duplicates, [0-9]{3} bytes' '' topics info
    check 'topics: info of a topic'             line "$dir/out" "$(cat "$dir/id"): 3 events, 0 dup.*"
    check 'topics: info of a type'              line "$dir/out" 'Unspecified v0.0.0: 3 events, .*'
    check 'topics: a policy for duplicates'     does 0 'PENDING' '' topics policy first unique-key color
    check 'topics: the topic has it'            does 0 "$ULID first .*: UNIQUE_KEY" '' topics find first
    check 'topics: a policy that is none'       does 1 '' 'topics: sometimes: no such strategy.*' \
        topics policy first sometimes
    check 'topics: archive'                     does 0 READONLY '' topics archive second
    check 'topics: it is archived'              does 0 "$ULID second .*, archived, .*" '' topics list
    check 'topics: destroy'                     does 0 DELETING '' topics destroy second
    check 'topics: a job removes it'            removed second
    check 'topics: destroy what is not there' \
        does 1 '' 'topics: second: .*no topic "second".*' topics destroy second
    check 'topics: the other is still there'    does 0 "$ULID first .*" '' topics list
}

# ---- pump_source.c, pump_sink.c

sunk() { # what the sink should have printed
    diff - "$dir/sink.out" <<'TEXT'
refused, text/plain
{"temp": 77}
{"temp": 76}
{"temp": 75}
{"temp": 74}
{"temp": 73}
{"temp": 72, "units": "fahrenheit"}
TEXT
}

pump() {
    local sink
    start sink "$examples/pump_sink" weather 6
    sink=$pid
    check 'pump: a sink is open, and its topic made' says sink 'pump_sink: open' $sink
    check 'pump: an event that is no JSON'      put weather 1 1
    check 'pump: a source of five events'       does 0 '5 events are stored' '' pump_source weather
    check 'pump: the result of a function'      does 0 '1 events are stored' '' pump_source weather once
    check 'pump: the sink has had enough'       ends sink $sink
    check 'pump: it was handed each, in order'  sunk
}

# ---- forward.c

MANY=2000 # over ten times what the way out has room for

bursts() { # all events are at the forwarder's door before it takes the first
    kill -STOP "$1" && put weather 1 $MANY && kill -CONT "$1"
}

was_full() { # NAME EVENTS: so many went over, and had to wait now and then
    line "$dir/$1.out" "$2 forwarded, $2 acked, no room [1-9][0-9]* times" || { cat "$dir/$1.out"; return 1; }
}

forward() {
    local over sub
    start over "$examples/forward" -n $MANY weather archive
    over=$pid
    check 'forward: it is open'                 says over 'forward: in' $over
    check 'forward: both ways'                  says over 'forward: out' $over
    check 'forward: a burst of events'          bursts $over
    check 'forward: it ends well'               ends over $over
    check 'forward: it had to hold and went on, and acked all' was_full over $MANY
    check 'forward: the other side has all'     \
        does 0 "-- $MANY together" "query: $MANY rows" query all 'SELECT * FROM archive'
    check 'forward: each once, in order'        are 1 $MANY
    start more "$examples/forward" weather archive
    over=$pid
    check 'forward: without a number it goes on' says more 'forward: in' $over
    start far "$subscribe" -n 5 archive
    sub=$pid
    check 'forward: a subscriber again'         says far 'subscribe: open' $sub
    check 'forward: five events'                put weather 1 5
    check 'forward: they came'                  ends far $sub
    check 'forward: just these'                 got far 1 5
    check 'forward: SIGTERM ends it well'       stops $over
    check 'forward: it tells what it did'         line "$dir/more.out" '5 forwarded, 5 acked, no room 0 times'
}

full() { # SIGTERM while the way out is full, at a server that is slow to answer
    local over sub count
    check 'forward: a server that is slow'      server_start --memory --port 0 --auth-port 0 --ack-delay 500
    check 'forward: a place for the events'     put archive 1 0
    start slow "$examples/forward" weather archive
    over=$pid
    check 'forward: it is open at that one'     says slow 'forward: in' $over
    start first "$subscribe" archive
    sub=$pid
    check 'forward: somebody sees them arrive'  says first 'subscribe: open' $sub
    check 'forward: another burst'              bursts $over
    check 'forward: some are there, unanswered' gets first 00001 $sub
    check 'forward: SIGTERM ends it well then'  stops $over
    count=$(cut -d' ' -f1 "$dir/slow.out")
    check 'forward: all that it took are acked' was_full slow "$count"
    check 'forward: the others were not taken'  test "$count" -gt 0 -a "$count" -lt $MANY
    check 'forward: as many are stored'         \
        does 0 "-- $count together" "query: $count rows" query all 'SELECT * FROM archive'
    check 'forward: the first ones'             are 1 "$count"
    kill "$sub"
    server_stop
}

unhappy() { # a server that refuses each fourth event of a stream, and is slow to answer
    local over
    check 'forward: a server with nacks'        server_start --memory --port 0 --auth-port 0 --nack-every 4 \
        --ack-delay 300
    start over "$examples/forward" -n 9 weather archive
    over=$pid
    check 'forward: it is open there'           says over 'forward: in' $over
    check 'forward: nine of twelve events come in' nine
    check 'forward: it ends'                    await_end $over
    check 'forward: it says that two are lost'  failed over $over 'forward: nack: .*INTERNAL.*' 2
    check 'forward: and acked only the others'  line "$dir/over.out" '7 forwarded, 7 acked, no room 0 times'
    check 'forward: those are stored'           \
        does 0 '-- 7 together' 'query: 7 rows' query all 'SELECT * FROM archive'
    check 'publish_many: a few are refused'     does 1 '9 stored, 3 refused' \
        'publish_many: reading 000012: publish: INTERNAL: .*' publish_many many 12
    check 'raii: one is refused'                does 1 'move 3' 'raii: publish: INTERNAL: .*' raii game 5
    server_stop
}

nine() {
    events 1 12 | "$publish" weather >"$dir/acks" 2>"$dir/put.err"
    [ $? -eq 1 ] && [ "$(grep -c ^ack "$dir/acks")" -eq 9 ]
}

failed() { # NAME PID PATTERN TIMES: exit status 1, and so many lines that match
    wait "$2"
    [ $? -eq 1 ] && [ "$(grep -cxE "$3" "$dir/$1.err")" -eq "$4" ] || { cat "$dir/$1.err"; return 1; }
}

# ---- credentials.c

credentials() {
    local ID=$ENSIGN_CLIENT_ID SECRET=$ENSIGN_CLIENT_SECRET project='project [0-9A-Z]{26}, [0-9]+ topics'
    local good=$dir/good.json bad=$dir/bad.json half=$dir/half.json
    echo "{\"ClientID\": \"$ID\", \"ClientSecret\": \"$SECRET\"}" >"$good"
    echo '{"ClientID": "somebody", "ClientSecret": "something"}' >"$bad"
    echo '{"ClientID": "somebody", "ClientSecret": true}' >"$half"
    check 'credentials: the environment'        does 0 "$project" '' credentials
    check 'credentials: it says so'             line "$dir/out" 'key from the environment'
    check 'credentials: a file goes before the environment' does 1 'key from the file' \
        'credentials: info: ENSIGN_E_CREDENTIALS: .*' credentials "$bad"
    check 'credentials: arguments go before a file' does 0 "$project" '' credentials "$bad" "$ID" "$SECRET"
    check 'credentials: they say so'            line "$dir/out" 'key from the arguments'
    check 'credentials: wrong arguments are not mended by a file' does 1 'key from the arguments' \
        'credentials: info: ENSIGN_E_CREDENTIALS: .*' credentials "$good" "$ID" wrong
    check 'credentials: a value of another kind is named' does 1 '' \
        'credentials: file: ENSIGN_E_FORMAT: .*ClientSecret.*' credentials "$half"
    check 'credentials: a file that is not there' does 1 '' \
        'credentials: file: ENSIGN_E_FILE: .*none.json.*' credentials "$dir/none.json"
    unset ENSIGN_CLIENT_ID ENSIGN_CLIENT_SECRET
    check 'credentials: a file alone is enough' does 0 "$project" '' credentials "$good"
    check 'credentials: it says so, too'        line "$dir/out" 'key from the file'
    check 'credentials: no key at all'          does 1 'key from nowhere' \
        'credentials: info: ENSIGN_E_UNAUTHENTICATED: .*' credentials
}

# ---- health.c

well() { # the services in their order, and all are well
    [ "$(cut -d: -f1 "$dir/out" | xargs)" = 'server health auth' ] && line "$dir/out" 'health: SERVING' &&
        line "$dir/out" 'auth: HEALTHY, version [0-9].*'
}

health() {
    local watch rpc auth
    check 'health: a server'                    server_start --memory --port 0 --auth-port 0
    check 'health: the server is well'          does 0 'server: HEALTHY, version [0-9].*' '' health
    check 'health: and the two others'          well
    check 'health: watched'                     does 0 SERVING '' health watch 1
    rpc=${ENSIGN_ENDPOINT##*:} auth=${ENSIGN_AUTH_URL##*:}
    start watch "$examples/health" watch 2
    watch=$pid
    check 'health: watched, the first state'    await "$dir/watch.out" SERVING "$watch"
    server_stop KILL
    check 'health: the server goes, and the watch says so' says watch 'health: watch: rpc: ' "$watch"
    check 'health: it comes again'              server_start --memory --port "$rpc" --auth-port "$auth"
    check 'health: the watch has gone on, and ends' ends watch "$watch"
    check 'health: it has told both states'     test "$(grep -cx SERVING "$dir/watch.out")" -eq 2
    server_stop
    check 'health: a server in maintenance'     \
        server_start --memory --port 0 --auth-port 0 --maintenance
    check 'health: is not well'                 does 1 'server: MAINTENANCE, version .*' '' health
    server_stop
}

# ---- grpc_stream.c, grpc_bidi.c

both_ways() { # the server answers while standard input is open
    local talk
    mkfifo "$dir/talk.in"
    "$examples/grpc_bidi" /ensign.v1beta1.Ensign/Publish <"$dir/talk.in" >"$dir/talk.out" 2>"$dir/talk.err" &
    talk=$!
    exec 8>"$dir/talk.in"
    echo 1200 >&8
    check 'grpc_bidi: it answers while we can still speak' await "$dir/talk.out" 1a "$talk"
    check 'grpc_bidi: and is not done'          kill -0 "$talk"
    exec 8>&-
    check 'grpc_bidi: the end of the input ends it' ends talk "$talk"
}

streams() {
    local method=/ensign.v1beta1.Ensign/Publish input
    check 'grpc_stream: a state of the server'  does 0 1 '' grpc_stream 1
    check 'grpc_stream: a number is needed'     does 2 '' 'usage: grpc_stream COUNT' grpc_stream none
    check 'grpc_bidi: a topic'                  put weather 1 1
    input=$dir/hex
    printf 1200 >"$input" # without a newline
    check 'grpc_bidi: the stream opens'         does 0 '1a[0-9a-f]+' '' grpc_bidi $method
    check 'grpc_bidi: and closes'               line "$dir/out" 2200
    (echo 1200; for ((i = 0; i < MESSAGES; i++)); do echo 0a00; done) >"$input"
    check 'grpc_bidi: more than fits at once'   does 0 '22.*' '' grpc_bidi $method
    check 'grpc_bidi: each had its answer'      test "$(grep -c ^12 "$dir/out")" -eq $MESSAGES
    check 'grpc_bidi: no such method'           does 1 '' 'grpc_bidi: .*UNIMPLEMENTED.*' grpc_bidi /a.b/c
    printf '%09000d' 0 >"$input"
    check 'grpc_bidi: a line is too long'       does 1 '' 'grpc_bidi: a line is too long' grpc_bidi $method
    check 'grpc_bidi: a method is needed'       does 2 '' 'usage: grpc_bidi METHOD .*' grpc_bidi
    both_ways
}
MESSAGES=20000 # twice what the send buffer takes

# ---- raii.cc

raii() {
    check 'raii: it gets what it sends'         does 0 'move 3' '' raii game 3
    check 'raii: each once, in order'           diff <(seq -f 'move %.0f' 1 3) "$dir/out"
    check 'raii: a refused key'                 wrong_key does 1 '' 'raii: .* refuses this key .*' raii game 1
    check 'raii: two words are needed'          does 2 '' 'usage: raii TOPIC COUNT' raii game
}

# ---- publish.c, whose first questions are cut off

cut_off() {
    local input=$dir/lines
    printf 'one\ntwo\n' >"$input"
    check 'publish: a server that cuts connections' \
        server_start --memory --port 0 --auth-port 0 --cut-first 3 --cut-after-bytes 60
    check 'publish: it asks again for the topic' does 0 'ack .*' 'publish: disconnected, goes on trying: .*' \
        publish weather
    check 'publish: both lines are stored'      test "$(grep -c '^ack ' "$dir/out")" -eq 2
    server_stop
}

# ---- resolver_thread.c

looked_up() { # HOST TIMES: and had an address each time
    [ "$(grep -cE "^resolver_thread: $1 is [0-9a-f.:]+$" "$dir/err")" -ge "$2" ] ||
        { cat "$dir/err"; return 1; }
}

resolver() {
    local check=/grpc.health.v1.Health/Check
    local ENSIGN_ENDPOINT=localhost:${ENSIGN_ENDPOINT##*:}
    local ENSIGN_AUTH_URL=http://localhost:${ENSIGN_AUTH_URL##*:}
    check 'resolver_thread: a call'             \
        does 0 "$check: OK, 2 bytes" '.*localhost is .*' resolver_thread $check
    check 'resolver_thread: a name for each link' looked_up localhost 2
    check 'resolver_thread: an error of the server' does 1 '' 'resolver_thread: .*UNIMPLEMENTED.*' \
        resolver_thread /a.b/c
    check 'resolver_thread: a method is needed' does 2 '' 'usage: resolver_thread METHOD' resolver_thread
    local ENSIGN_ENDPOINT=no..name:1 ENSIGN_NO_AUTHENTICATION=1
    export ENSIGN_NO_AUTHENTICATION
    check 'resolver_thread: a name that there is not' \
        does 1 '' 'resolver_thread: .*no\.\.name has no address.*' resolver_thread $check
}

# ---- grpc_unary.c, sans_io.c

others() {
    check 'grpc_unary: another service'         does 1 UNKNOWN '.*answered as application/grpc.*' \
        grpc_unary nothing
    check 'grpc_unary: the server is healthy'   does 0 SERVING '.*answered as application/grpc.*' grpc_unary
    check 'sans_io: what was sent comes back'   does 0 'hello from nowhere' '' sans_io
    check 'sans_io: over the next connection, too' line "$dir/out" 'and from the next connection'
}

check 'the server starts' server_start --memory --port 0 --auth-port 0
topics
query
pump
forward
publishing
subscribing
streams
raii
resolver
others
credentials
server_stop
full
unhappy
cut_off
health
turned_away
results
