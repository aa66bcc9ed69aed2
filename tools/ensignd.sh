# tools/ensignd.sh - for scripts: start ensignd, wait for what a program says, end what was started. Source
# it with $BUILD set.
#
#   server_start DATA [OPTION...]   starts $ENSIGND, or $BUILD/ensignd, with these options, returns when it is
#                                   ready, reads its ENSIGN_ variables; DATA is a folder, or --memory
#   server_stop [SIGNAL]            ends it [TERM] and waits for its end; after TERM, false if that was not
#                                   an orderly one
#   gone PID                        whether the process has ended, be it ours or not
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

# Nobody may have asked yet how it ended: then it is a zombie, which takes signals.
gone() {
    local stat
    kill -0 "$1" 2>/dev/null || return 0
    stat=$(cat "/proc/$1/stat" 2>/dev/null)
    case ${stat##*) } in Z*) return 0 ;; *) return 1 ;; esac
}

await_end() {
    local left=$((${2:-30} * 20))
    until gone "$1"; do
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
    server_pid=$("${ENSIGND:-$BUILD/ensignd}" ${data/=/ } --env-file "$dir/env" --pid-file "$dir/pid" \
        --log-file "$server_log" --detach "$@" 2>>"$server_log" </dev/null) || {
        echo "ensignd did not get ready:" >&2
        cat "$server_log" >&2
        rm -rf "$dir"
        return 1
    }
    unset "${!ENSIGN_@}" # of another server, or of the user
    set -a
    # shellcheck disable=SC1091
    . "$dir/env"
    set +a
}

server_stop() {
    local signal=${1:-TERM} dir=${server_log%/log} status=0
    [ -n "$server_pid" ] || return 0
    kill -"$signal" "$server_pid" 2>/dev/null
    await_end "$server_pid" 60 || { kill -KILL "$server_pid"; status=1; }
    [ "$signal" = TERM ] && [ -e "$dir/pid" ] && status=1
    server_pid=''
    rm -rf "$dir"
    return $status
}
