# tests/examples.sh - for test scripts: the examples beside an ensignd, and events in order. Source it with
# $BUILD set, after tests/tap.sh; it brings tools/ensignd.sh, and ends what runs when the script does.
#
#   start NAME PROGRAM...           in the background: NAME.out, NAME.err in $dir; $pid is the last one's
#   says NAME WORDS PID [TIMES]     until its standard error has said the words so often
#   ends NAME PID                   it comes to its end by itself, with status 0
#   stops PID                       SIGTERM ends it well
#   events FROM TO                  one a line
#   put TOPIC FROM TO               published, each with its ack
#   received NAME                   the events that it printed, one a line
#   got NAME FROM TO                it printed just these events, in order
#   gets NAME EVENT PID             until it has printed that event
. tools/ensignd.sh
publish=$BUILD/examples/publish subscribe=$BUILD/examples/subscribe

finish() {
    local pid
    main_shell || return
    for pid in $(children); do kill "$pid" && kill -CONT "$pid"; done 2>/dev/null # one may be stopped
    server_stop KILL
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

start() {
    local name=$1
    shift
    true >"$dir/$name.out" 2>"$dir/$name.err" # there when `says` looks, however late the program starts
    "$@" >"$dir/$name.out" 2>"$dir/$name.err" </dev/null &
    pid=$!
}

ends() {
    await_end "$2" 60 || { echo "$1 does not end"; return 1; }
    wait "$2"
    local status=$?
    [ $status -eq 0 ] || { echo "$1: exit status $status"; tail -n 5 "$dir/$1.err"; return 1; }
}

says() {
    local left=1200
    while [ "$(grep -cF -- "$2" "$dir/$1.err")" -lt "${4:-1}" ]; do
        kill -0 "$3" 2>/dev/null && [ $((left -= 1)) -gt 0 ] || { tail -n 5 "$dir/$1.err"; return 1; }
        sleep 0.05
    done
}

stops() {
    kill -TERM "$1" && await_end "$1" && wait "$1"
}

events() {
    seq -f 'event %05.0f' "$1" "$2"
}

put() {
    events "$2" "$3" | "$publish" "$1" >"$dir/acks" 2>"$dir/put.err" || { cat "$dir/put.err"; return 1; }
    local time='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z'
    [ "$(grep -cxE "ack $time" "$dir/acks")" -eq $(($3 - $2 + 1)) ] || { tail -n 3 "$dir/acks"; return 1; }
    [ "$(wc -l <"$dir/acks")" -eq $(($3 - $2 + 1)) ]
}

received() {
    sed -n "s/^\tdata: b'\(.*\)'$/\1/p" "$dir/$1.out"
}

got() { diff <(events "$2" "$3") <(received "$1"); }

gets() { await "$dir/$1.out" "data: b'event $2'" "$3"; }

