# tools/ensignd.sh - for scripts: start ensignd, wait for what a program says, end what was started. Source
# it with $BUILD set.
#
#   server_start DATA [OPTION...]   starts $BUILD/ensignd with these options, waits until it is ready,
#                                   reads its ENSIGN_ variables; DATA is a folder, or --memory
#   server_stop [SIGNAL]            ends it [TERM] and waits for its end
#   await FILE WORDS PID [SECONDS]  until FILE says WORDS; fails when process PID is gone or time is up [30]
#   await_end PID [SECONDS]         until process PID is gone; fails when time is up [30]
#
# $server_pid is the running server, $server_log what it says. The script's EXIT trap should call server_stop.
server_pid='' server_log=''

await() {
    local file=$1 words=$2 pid=$3 left=$((${4:-30} * 20))
    while ! grep -qF -- "$words" "$file" 2>/dev/null; do
        kill -0 "$pid" 2>/dev/null || { grep -qF -- "$words" "$file" 2>/dev/null; return; }
        [ $((left -= 1)) -gt 0 ] || return 1
        sleep 0.05
    done
}

await_end() {
    local left=$((${2:-30} * 20))
    while kill -0 "$1" 2>/dev/null; do
        [ $((left -= 1)) -gt 0 ] || return 1
        sleep 0.05
    done
}

server_start() {
    local data=$1 dir; shift
    dir=$(mktemp -d "$BUILD/run.XXXXXX") || return 1
    server_log=$dir/log
    if [ "$data" != --memory ]; then data="--data=$data"; fi
    # shellcheck disable=SC2086 # one word, or the two of --data D
    "$BUILD/ensignd" ${data/=/ } --env-file "$dir/env" "$@" >"$server_log" 2>&1 </dev/null &
    server_pid=$!
    await "$dir/env" ENSIGN_CLIENT_SECRET $server_pid || {
        echo "ensignd did not get ready:" >&2
        cat "$server_log" >&2
        return 1
    }
    unset "${!ENSIGN_@}" # of another server, or of the user
    set -a
    # shellcheck disable=SC1091
    . "$dir/env"
    set +a
}

server_stop() {
    [ -n "$server_pid" ] || return 0
    kill -"${1:-TERM}" "$server_pid" 2>/dev/null
    wait "$server_pid" 2>/dev/null
    server_pid=''
    rm -rf "${server_log%/log}"
}
