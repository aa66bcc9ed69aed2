#!/usr/bin/env bash
# examples.sh - the examples but those of session.sh, against ensignd: what each prints, and its exit status
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tests/examples.sh
examples=$BUILD/examples

run() { # EXAMPLE [ARGUMENT...]: its standard output in $dir/out, the other in $dir/err; what it returns
    "$examples/$1" "${@:2}" >"$dir/out" 2>"$dir/err" </dev/null
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

# ---- topics.c

ULID='[0-9A-HJKMNP-TV-Z]{26}'

gone() { # TOPIC: until the server's job has removed it
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
    check 'topics: a job removes it'            gone second
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

# ---- grpc_unary.c, sans_io.c

others() {
    check 'grpc_unary: the server is healthy'   does 0 SERVING '.*answered as application/grpc.*' grpc_unary
    check 'sans_io: what was sent comes back'   does 0 'hello from nowhere' '' sans_io
}

check 'the server starts' server_start --memory --port 0 --auth-port 0
topics
query
pump
forward
others
credentials
server_stop
full
unhappy
results
