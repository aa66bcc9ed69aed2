# tests/cli.sh - for test scripts: runs of ensign. Source it with $BUILD set, after tests/tap.sh. It
# brings tools/ensignd.sh, and ends what runs when the script does.
#
#   run ARGUMENT...                 $status, and what it prints in $dir/out and $dir/err
#   does STATUS ARGUMENT...         it ends with this exit status
#   prints TEXT ARGUMENT...         this alone on standard output, exit status 0
#   fails STATUS WORDS ARGUMENT...  the words are on standard error, and nothing on standard output
#   says WORDS                      of the last run, on standard error
#   same A B                        two texts; both are shown if they differ
#
# A script whose runs have more to them makes a `run` of its own behind this.
. tools/ensignd.sh
ensign=$PWD/$BUILD/ensign

finish() {
    local pid
    main_shell || return
    exec 3>&- # where a script feeds a process
    for pid in $(children); do kill -KILL "$pid" && wait "$pid"; done 2>/dev/null
    server_stop KILL
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

same() { [ "$1" = "$2" ] || { printf '%s\n%s\n' "$1" "$2"; return 1; }; }

run() {
    timeout 60 "$ensign" "$@" >"$dir/out" 2>"$dir/err" </dev/null
    status=$?
}

does() {
    local wanted=$1
    shift
    run "$@"
    [ $status -eq "$wanted" ] || { echo "exit status $status"; cat "$dir/out" "$dir/err"; return 1; }
}

prints() {
    local text=$1
    shift
    does 0 "$@" && same "$text" "$(cat "$dir/out")"
}

fails() {
    local wanted=$1 words=$2
    shift 2
    does "$wanted" "$@" || return 1
    [ ! -s "$dir/out" ] && grep -qF -- "$words" "$dir/err" || { cat "$dir/out" "$dir/err"; return 1; }
}

says() {
    grep -qF -- "$1" "$dir/err" || { cat "$dir/err"; return 1; }
}
