# tests/servers.sh - for test scripts: other people's servers before ensignd, as Debian has them. Source it
# with $BUILD set, after tests/tap.sh and tests/examples.sh. `tools/deps peers` brings the servers.
#
#   here PROGRAM...             whether all can be run. If not, that is the script's one result: a SKIP, or
#                               under CI a failure
#   serve NAME WRITE COMMAND... runs it with a port of its own: WRITE is called with the port in $port, and
#                               writes the configuration. Returns once it listens; its output is in
#                               $dir/NAME.log, its pid is $pid
#   certificates                files for localhost and its clients, in $dir: tests/peers/certificates.c
PATH=$PATH:$PWD/build/peers/debian/usr/sbin:$PWD/build/peers/debian/usr/bin
libraries=$PWD/build/peers/debian/usr/lib/$(uname -m)-linux-gnu # what these need and the machine lacks
[ ! -d "$libraries" ] || export LD_LIBRARY_PATH="$libraries"

here() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null && continue
        if [ -n "${CI:-}" ]; then
            echo "no $program: tools/deps peers brings it" >"$dir/tap"
            tap 'not ok' "$program is here (CI is set)"
        else
            tap ok "$program is here # SKIP no $program; tools/deps peers brings it"
        fi
        return 1
    done
}

accepts() { (exec 4<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; } # PORT

# The kernel knows a port that is free now; if somebody takes it before the server does, there is another.
serve() {
    local name=$1 write=$2 left
    shift 2
    for _ in 1 2 3 4 5; do
        port=$(python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])') || return 1
        "$write" || return 1
        true >"$dir/$name.log" # appended to: a test may empty it
        "$@" >>"$dir/$name.log" 2>&1 </dev/null &
        pid=$!
        for ((left = 200; left > 0; left--)); do
            gone "$pid" && break
            accepts "$port" && return
            sleep 0.05
        done
        kill "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    cat "$dir/$name.log"
    return 1
}

certificates() { "$BUILD/tests/peers/certificates" "$dir"; }
