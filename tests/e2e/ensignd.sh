#!/usr/bin/env bash
# ensignd.sh - the development server alone: its options, its start and its end, what it keeps
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tools/ensignd.sh

server=$BUILD/ensignd
pid='' detached=''
finish() {
    local process
    main_shell || return
    for process in $(children) $detached; do kill -KILL "$process"; done 2>/dev/null
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

# start NAME OPTION...: NAME.out, NAME.err and NAME.env in $dir; returns when it is ready, false if it is not.
start() {
    local name=$1
    shift
    : >"$dir/$name.out" # now, or what an earlier one of this name left there could be read
    "$server" --port 0 --auth-port 0 --env-file "$dir/$name.env" "$@" >"$dir/$name.out" 2>"$dir/$name.err" &
    pid=$!
    for _ in $(seq 600); do
        [ -s "$dir/$name.out" ] && return 0
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

# stop: SIGTERM; true if the server ends with status 0
stop() {
    kill -TERM "$pid" && wait "$pid"
    local status=$?
    pid=''
    return $status
}

# refuses WORDS OPTION...: exit status 2, and the words on standard error alone
refuses() {
    local words=$1
    shift
    "$server" "$@" >"$dir/out" 2>"$dir/err"
    local status=$?
    cat "$dir/out" "$dir/err"
    [ $status -eq 2 ] && [ ! -s "$dir/out" ] && grep -qF -- "$words" "$dir/err"
}

keys() { # JSON: a file of that text
    printf '%s' "$1" >"$dir/keys.json"
}

has_line() { grep -Eqx -- "$1" "$2" || { cat "$2"; return 1; }; }

env_of() { # NAME VARIABLE, in a shell that only reads the file
    (. "$dir/$1.env" && eval "echo \"\${$2-}\"")
}

reader_of() { echo "$(env_of "$1" ENSIGN_READER_CLIENT_ID) $(env_of "$1" ENSIGN_READER_CLIENT_SECRET)"; }
other_of() { echo "$(env_of "$1" ENSIGN_OTHER_CLIENT_ID) $(env_of "$1" ENSIGN_OTHER_CLIENT_SECRET)"; }

mode_of() { ls -ld "$1" | cut -c1-10; }
same() { [ "$1" = "$2" ] || { printf '%s\n%s\n' "$1" "$2"; return 1; }; }

# ---- options

check 'help goes to standard output' bash -c "$server --help | grep -q -- --env-file"
check 'unknown option'               refuses 'ensignd has no option --nope' --nope
check 'value missing'                refuses '--data needs a value' --data
check 'value not wanted'             refuses '--memory takes no value' --memory=1
check 'port too large'               refuses '--port 65536: not a whole number from 0 to 65535' --memory --port 65536
check 'port not a number'            refuses '--auth-port x' --memory --auth-port=x
check 'both ports the same'          refuses 'choose another' --memory --port 5000 --auth-port 5000
check 'data and memory'              refuses 'leave out one' --memory --data "$dir/x"
check 'store and memory'             refuses 'leave out one' --memory --store "$dir/x"
check 'store and data'               refuses 'are the same' --data "$dir/x" --store "$dir/x"
check 'TLS without a file'           refuses 'add --cert-file' --memory --tls
check 'a certificate without TLS'    refuses 'add --tls' --memory --cert-file "$dir/x"
check 'dump without data'            refuses 'add --data' --dump weather
check 'dump of no folder'            refuses 'name the folder of an ensignd' --data "$dir/none" --dump weather
check 'life that makes no sense'     refuses 'raise --refresh-life' --memory --refresh-life 10
check 'nack code that is none'       refuses 'no Nack.Code; give a name' --memory --nack-every 2 --nack-code NO
check 'nack code of no nacks'        refuses 'add --nack-every' --memory --nack-code 3
check 'cut first of no cuts'         refuses 'add --cut-after-bytes' --memory --cut-first 3
check 'refusal that is none'         refuses 'add --refuse-auth' --memory --refuse-code 503
check 'status that refuses nothing'  refuses 'from 400 to 599' --memory --refuse-auth --refuse-code 200
check 'refuse-auth of no number'     refuses 'leave out the =' --memory --refuse-auth=
check 'refuse-auth takes = alone'    refuses 'ensignd has no option 3' --memory --refuse-auth 3
check 'a token that never lives'     refuses '--token-life 0: not a whole number from 1' --memory --token-life 0
check 'verbose for nobody'           refuses 'add --log-file' --memory --detach --verbose
check 'address that is none'         refuses 'give one such as 127.0.0.1' --memory --listen nowhere.invalid
check 'data below nothing'           refuses 'cannot be made' --data "$dir/none/below"
touch "$dir/file"
check 'data that is a file'          refuses 'is not a folder' --data "$dir/file"

# ---- the file of keys

check 'keys: no file'        refuses 'name a file that can be read' --memory --keys "$dir/none.json"
keys '{"projects": ['
check 'keys: broken JSON'    refuses 'mend the JSON' --memory --keys "$dir/keys.json"
keys '{}'
check 'keys: no projects'    refuses '"projects", a list, is missing' --memory --keys "$dir/keys.json"
keys '{"projects": [{"name": "p", "keys": []}]}'
check 'keys: none'           refuses 'it has no key' --memory --keys "$dir/keys.json"
keys '{"projects": [{"name": "p", "keys": [{"client_id": "a"}]}]}'
check 'keys: no secret'      refuses 'a key needs "client_id" and "client_secret"' --memory --keys "$dir/keys.json"
keys '{"projects": [{"name": "p", "keys": [{"client_id": "a", "client_secret": "b", "permissions": ["fly"]}]}]}'
check 'keys: no such right'  refuses 'a permission that there is not: fly' --memory --keys "$dir/keys.json"
keys '{"projects": [{"name": "p", "id": "7", "keys": []}]}'
check 'keys: id not a ULID'  refuses 'is no ULID' --memory --keys "$dir/keys.json"
keys '{"projects": [{"name": "p", "keys": [{"client_id": "a", "client_secret": "b"}, {"client_id": "a", "client_secret": "c"}]}]}'
check 'keys: one twice'      refuses 'stands there twice' --memory --keys "$dir/keys.json"

# ---- start and end

keys '{"projects": [{"name": "p", "keys": [
    {"client_id": "first", "client_secret": "1"},
    {"client_id": "sink", "client_secret": "2", "permissions": ["publisher"]},
    {"client_id": "watcher", "client_secret": "3", "permissions": ["subscriber", "topics:read"]}]},
    {"name": "q", "keys": [{"client_id": "stranger", "client_secret": "4"}]}]}'
check 'starts with keys of two projects' start three --memory --keys "$dir/keys.json"
check 'the file tells a reader of the same project, and another project' same \
    "$(env_of three ENSIGN_CLIENT_ID) $(reader_of three) $(other_of three)" 'first watcher 3 stranger 4'
check 'it ends' stop
keys '{"projects": [{"name": "p", "keys": [{"client_id": "reader", "client_secret": "s3cret"}]}]}'
check 'starts with a file of keys' start file --memory --keys "$dir/keys.json"
check 'the file tells the first key' same "$(env_of file ENSIGN_CLIENT_ID) $(env_of file ENSIGN_CLIENT_SECRET)" \
    'reader s3cret'
check 'it tells none that there is not' same "$(reader_of file)$(other_of file)" '  '
check 'one line says that it is ready' has_line \
    'ensignd: ready, endpoint 127\.0\.0\.1:[1-9][0-9]*, auth http://127\.0\.0\.1:[1-9][0-9]*' "$dir/file.out"
check 'nothing else is printed' same "$(wc -l <"$dir/file.out") $(wc -c <"$dir/file.err")" '1 0'
check 'the environment tells the endpoint' grep -qF "endpoint $(env_of file ENSIGN_ENDPOINT)," "$dir/file.out"
check 'the environment tells the auth URL' grep -qF "auth $(env_of file ENSIGN_AUTH_URL)" "$dir/file.out"
check 'plaintext is named insecure' same "$(env_of file ENSIGN_INSECURE)$(env_of file ENSIGN_CA_FILE)" true
check 'the environment is for its owner alone' same "$(mode_of "$dir/file.env")" -rw-------
check 'a port in use is told' refuses 'choose another port' --memory --auth-port 0 \
    --port "$(env_of file ENSIGN_ENDPOINT | sed 's/.*://')"
check 'SIGTERM ends it with status 0' stop

# ---- what is kept

check 'starts on a folder that there is not yet' start first --data "$dir/data"
check 'prints the key that it made' grep -qF "client_id=$(env_of first ENSIGN_CLIENT_ID)" "$dir/first.err"
check 'made keys have a reader and another project' grep -Eqx '[A-Za-z]{32} [A-Za-z0-9]{64}' \
    <(reader_of first; other_of first)
check 'and each is its own' same "$(grep -c CLIENT_ID "$dir/first.env")" \
    "$(grep CLIENT_ID "$dir/first.env" | cut -d= -f2 | sort -u | grep -c .)"
check 'the folder is for its owner alone' same "$(mode_of "$dir/data")" drwx------
check 'a second server on the folder is refused' refuses 'in use by another ensignd' --data "$dir/data" --port 0 \
    --auth-port 0
cp "$dir/first.env" "$dir/first.copy"
check 'a second server with the same file of variables is refused' refuses 'in use by another ensignd' \
    --data "$dir/data" --port 0 --auth-port 0 --env-file "$dir/first.env"
check 'and has left the file to the first one' cmp "$dir/first.copy" "$dir/first.env"
check 'a server that fails later is refused' refuses '--pid-file' --memory --port 0 --auth-port 0 \
    --env-file "$dir/first.env" --pid-file "$dir/none/pid"
check 'and has left the file, too' cmp "$dir/first.copy" "$dir/first.env"
check 'no topic: dump says so' refuses 'no topic of that name' --data "$dir/data" --dump weather
check 'ends' stop
check 'no topic: dump says so afterwards, too' refuses 'no topic of that name' --data "$dir/data" --dump weather
check 'starts again' start second --data "$dir/data"
check 'the key is still the same' same \
    "$(env_of first ENSIGN_CLIENT_ID) $(env_of first ENSIGN_CLIENT_SECRET)" \
    "$(env_of second ENSIGN_CLIENT_ID) $(env_of second ENSIGN_CLIENT_SECRET)"
check 'the other two too' same "$(reader_of first) $(other_of first)" "$(reader_of second) $(other_of second)"
check 'store is another name of data' refuses 'in use by another ensignd' --store "$dir/data" --port 0 --auth-port 0
check 'the key is not printed again' same "$(wc -c <"$dir/second.err")" 0
kill -KILL "$pid"
wait "$pid" 2>/dev/null
check 'starts after SIGKILL' start third --data "$dir/data"
check 'ends once more' stop

# ---- a Unix socket

socket=$dir/socket
listens_at() { # PATH
    python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$1"
}
start_there() { start "$1" --memory --keys "$dir/keys.json" --unix "$socket"; } # NAME
long=$dir/$(printf '%0108d' 0)
check 'unix: a path that is too long' refuses "a path of ${#long} bytes; give one of at most 107" --memory \
    --unix "$long" --auth-port 0
check 'unix: no folder for it'        refuses 'in a folder that is there' --memory --unix "$dir/none/socket" \
    --auth-port 0
touch "$dir/precious"
check 'unix: a file in place of a socket is refused' refuses 'Address already in use' --memory \
    --unix "$dir/precious" --auth-port 0
check 'unix: and stays'               test -f "$dir/precious"
check 'unix: it starts'               start_there unix
check 'unix: it says so'              has_line "ensignd: ready, endpoint unix:$socket, auth http://127.*" \
    "$dir/unix.out"
check 'unix: the environment says so' same "$(env_of unix ENSIGN_ENDPOINT)" "unix:$socket"
check 'unix: it listens'              listens_at "$socket"
check 'unix: for its owner alone'     same "$(mode_of "$socket")" srwx------
check 'unix: a second server there is refused' refuses 'choose a name that is not in use' --memory \
    --unix "$socket" --auth-port 0
check 'unix: it still listens'        listens_at "$socket"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
check 'unix: SIGKILL leaves the file' test -S "$socket"
check 'unix: the next server replaces it' start_there again
check 'unix: and listens'             listens_at "$socket"
check 'unix: it ends'                 stop
check 'unix: the file is gone'        test ! -e "$socket"
inside() { # it is started in that folder, with a name that is not whole
    local server=$PWD/$server
    (cd "$dir" && exec "$server" --memory --unix here --auth-port 0 --env-file here.env --detach \
        --pid-file here.pid)
}
check 'unix: a name in the folder'    inside
detached=$(cat "$dir/here.pid")
check 'unix: clients are told the whole' same "$(env_of here ENSIGN_ENDPOINT)" \
    "unix:$(cd "$dir" && pwd -P)/here"
kill "$detached" && await_end "$detached" && detached=''
check 'unix: that file is gone, too'  test ! -e "$dir/here"

# ---- more connections than it has descriptors for

turned_away() { # HOST:PORT: of 60 connections some are closed at once, and none is left waiting for that
    python3 -c 'import socket, sys
host, port = sys.argv[1].rsplit(":", 1)
all = [socket.create_connection((host, int(port)), 10) for _ in range(60)]
all[-1].settimeout(20)
try: end = all[-1].recv(1) == b""
except ConnectionError: end = True
sys.exit(not end)' "$1"
}
start_with_few() {
    local most
    most=$(ulimit -S -n)
    ulimit -S -n 50
    start few --memory
    local status=$?
    ulimit -S -n "$most"
    return $status
}
check 'starts with few descriptors' start_with_few
check 'a client too many is turned away' turned_away "$(env_of few ENSIGN_ENDPOINT)"
check 'and it still ends' stop

# ---- in the background

# detach NAME OPTION...: NAME.env, NAME.pid and NAME.log in $dir; all that it tells is its pid
detach() {
    local name=$1 said
    shift
    said=$("$server" --detach --port 0 --auth-port 0 --env-file "$dir/$name.env" --pid-file "$dir/$name.pid" \
        --log-file "$dir/$name.log" --memory --keys "$dir/keys.json" "$@" 2>&1 </dev/null) &&
        [[ $said =~ ^[1-9][0-9]*$ ]] || { echo "$said"; return 1; }
    detached=$said
}
accepts() { (exec 4<>"/dev/tcp/${1%:*}/${1##*:}"); } # HOST:PORT
leads_session() { python3 -c 'import os, sys; pid = int(sys.argv[1]); sys.exit(os.getsid(pid) != pid)' "$1"; }
ends_in_background() { # [SIGNAL]
    kill -"${1:-TERM}" "$detached" && await_end "$detached" && detached=''
}
absent() { [ ! -e "$1" ]; }

keys '{"projects": [{"name": "p", "keys": [{"client_id": "reader", "client_secret": "s3cret"}]}]}'
check 'detached: it returns, and has said its pid alone' detach bg
check 'detached: it runs'                    kill -0 "$detached"
check 'detached: the file of its pid'        same "$(cat "$dir/bg.pid")" "$detached"
check 'detached: it has left our session'    leads_session "$detached"
check 'detached: the environment is whole'   same "$(sed 's/=.*//' "$dir/bg.env" | tr '\n' ' ')" \
    "$(sed 's/=.*//' "$dir/file.env" | tr '\n' ' ')"
check 'detached: it listens for calls'       accepts "$(env_of bg ENSIGN_ENDPOINT)"
check 'detached: it listens for logins'      accepts "$(env_of bg ENSIGN_AUTH_URL | sed 's|.*//||')"
check 'detached: the log says where'         has_line \
    "ensignd: ready, endpoint $(env_of bg ENSIGN_ENDPOINT), .*" "$dir/bg.log"
check 'detached: another on its port is refused' refuses 'choose another port' --memory --detach \
    --auth-port 0 --pid-file "$dir/bg.pid" --port "$(env_of bg ENSIGN_ENDPOINT | sed 's/.*://')"
check 'detached: the file is still its own'  same "$(cat "$dir/bg.pid")" "$detached"
check 'detached: SIGTERM ends it'            ends_in_background
check 'detached: the file of its pid is gone' absent "$dir/bg.pid"
check 'detached: a log is appended to'       detach bg --verbose
check 'detached: both runs are in it'        same "$(grep -c ready, "$dir/bg.log")" 2
check 'detached: SIGTERM ends this one too'  ends_in_background
check 'detached: with --verbose the log says so' grep -q stopping "$dir/bg.log"
check 'detached: and starts again'           detach bg
check 'detached: SIGKILL ends it'            ends_in_background KILL
check 'detached: and leaves the file'        test -s "$dir/bg.pid"
check 'detached: the next one replaces it'   eval 'detach bg && same "$(cat "$dir/bg.pid")" "$detached"'
echo 1 >"$dir/bg.pid"
check 'detached: it ends once more'          ends_in_background
check 'detached: a file of another pid stays' same "$(cat "$dir/bg.pid")" 1
check 'detached: no folder for the pid'      refuses '--pid-file' --memory --detach --port 0 --auth-port 0 \
    --pid-file "$dir/none/pid"
check 'detached: no folder for the log'      refuses '--log-file' --memory --detach --port 0 --auth-port 0 \
    --log-file "$dir/none/log"
check 'detached: keys that are missing'      refuses 'name a file that can be read' --memory --detach \
    --keys "$dir/none.json"

# begin_detached: a server that reads its keys from pipe 5 and so is not ready; $pid is who waits for it
begin_detached() {
    rm -f "$dir/pipe"
    mkfifo "$dir/pipe"
    "$server" --detach --memory --port 0 --auth-port 0 --pid-file "$dir/slow.pid" --keys "$dir/pipe" \
        >"$dir/slow.out" 2>"$dir/slow.err" </dev/null &
    pid=$!
    exec 5>"$dir/pipe"
    detached=$(tr -d ' ' <"/proc/$pid/task/$pid/children")
    [ -n "$detached" ]
}
killed_early() {
    begin_detached || return 1
    kill -KILL "$detached"
    exec 5>&-
    wait "$pid"
    same "$? $(cat "$dir/slow.out" "$dir/slow.err")" \
        '1 ensignd: signal 9 ended the server before it was ready'
}
left_alone() {
    begin_detached || return 1
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
    cat "$dir/keys.json" >&5
    exec 5>&-
    await_end "$detached" && [ ! -e "$dir/slow.pid" ]
}
check 'detached: a server killed before it is ready is told' killed_early
check 'detached: without the one who waits it ends' left_alone
pid='' detached=''

check 'a file of the pid needs no --detach'  start fore --memory --pid-file "$dir/fore.pid"
check 'it holds the pid'                     same "$(cat "$dir/fore.pid")" "$pid"
check 'its end'                              stop
check 'takes the file away'                  absent "$dir/fore.pid"
check 'a log file needs no --detach'         refuses '--log-file' --memory --port 0 --auth-port 0 \
    --log-file "$dir/none/log"

# ---- TLS

check 'starts with TLS' start tls --data "$dir/data" --tls --cert-file "$dir/cert.pem"
check 'the certificate is written' has_line '-----BEGIN CERTIFICATE-----' "$dir/cert.pem"
check 'the environment names it' same "$(env_of tls ENSIGN_CA_FILE)$(env_of tls ENSIGN_INSECURE)" \
    "$(cd "$dir" && pwd -P)/cert.pem"
check 'TLS is for localhost' has_line \
    'ensignd: ready, endpoint localhost:[1-9][0-9]*, auth https://localhost:[1-9][0-9]*' "$dir/tls.out"
check 'TLS ends' stop
check 'TLS starts again' start again --data "$dir/data" --tls --cert-file "$dir/cert2.pem"
check 'the certificate is still the same' cmp "$dir/cert.pem" "$dir/cert2.pem"
check 'TLS ends again' stop
check 'a certificate that cannot be written' refuses 'folder that may be written' --memory --port 0 --auth-port 0 \
    --tls --cert-file "$dir/none/cert.pem"

results
