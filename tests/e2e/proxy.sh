#!/usr/bin/env bash
# proxy.sh - ensignd behind an HTTP proxy, tinyproxy: with a password and without, TLS inside; by option and
# by environment; what is said of a wrong password, of a proxy that is not there, and of one that comes back
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
. tests/tap.sh
. tests/examples.sh
. tests/servers.sh
here tinyproxy || { results; exit 0; }

ensign=$BUILD/ensign
proxy='' # its pid
password=s3.cret coded=s3%2Ecret # tinyproxy takes letters, digits and three other characters

# ---- the proxy

basic='' # the line of the configuration that asks for a password
write_proxy() {
    cat >"$dir/proxy.conf" <<CONF
Port $port
Listen 127.0.0.1
Timeout 600
LogLevel Connect
MaxClients 100
Allow 127.0.0.1
$basic
CONF
}
proxy_start() { # LINE: '' or BasicAuth
    basic=$1
    serve proxy write_proxy tinyproxy -d -c "$dir/proxy.conf" || return
    proxy=$pid
}
proxy_again() { # on the same port
    tinyproxy -d -c "$dir/proxy.conf" >>"$dir/proxy.log" 2>&1 </dev/null &
    proxy=$!
    for _ in $(seq 200); do accepts "$port" && return; sleep 0.05; done
    return 1
}
proxy_stop() { kill "$proxy" 2>/dev/null && await_end "$proxy"; }
passed() { # TIMES PORT: it was asked so often, at least, for a way to that port of ours
    local seen
    seen=$(grep -c "CONNECT localhost:$2 HTTP/1.1" "$dir/proxy.log")
    [ "$seen" -ge "$1" ] || { echo "$seen times"; cat "$dir/proxy.log"; return 1; }
}
untouched() { ! grep 'CONNECT .* HTTP' "$dir/proxy.log"; }

# ---- programs that use it

use() { export HTTPS_PROXY=$1 NO_PROXY=nothing.invalid; } # else localhost is reached without it
with() { # STATUS WORDS ARGUMENT...: `ensign` ends with this status, and has said the words
    local status
    timeout 60 "$ensign" "${@:3}" >"$dir/out" 2>"$dir/err" </dev/null
    status=$?
    [ $status -eq "$1" ] && grep -qF -- "$2" "$dir/out" "$dir/err" && return
    echo "exit status $status"
    head -n 20 "$dir/out" "$dir/err"
    return 1
}
session() { # LABEL: 100 events there and back, by ensign and by the examples
    local sub
    check "$1: status"                      with 0 healthy status
    start sub "$ensign" subscribe weather --ensure-topic --raw --count 100
    sub=$pid
    check "$1: ensign subscribes"           says sub 'open, weather' "$sub"
    start example "$subscribe" -n 100 weather
    check "$1: so does the example"         says example 'subscribe: open' "$pid"
    check "$1: the example publishes"       put weather 1 100
    check "$1: ensign has them all"         ends sub "$sub"
    check "$1: in order"                    diff "$dir/sub.out" <(events 1 100)
    check "$1: the example has them all"    ends example "$pid"
    check "$1: in order, too"               got example 1 100
    check "$1: ensign publishes"            with 0 '3 of 3 events stored' publish weather a b c
    check "$1: the calls went through it"   passed 4 "$rpc"
    check "$1: so did the logins"           passed 4 "$auth"
}

export ENSIGN_ENDPOINT ENSIGN_AUTH_URL
check 'a server with TLS' server_start --memory --port 0 --auth-port 0 --tls --cert-file "$dir/cert.pem"
rpc=${ENSIGN_ENDPOINT##*:} auth=${ENSIGN_AUTH_URL##*:}

# ---- without a password

check 'open: the proxy starts'              proxy_start ''
use "http://127.0.0.1:$port"
session open
if [ -x "$BUILD/examples/openssl" ]; then # its own TLS begins where the proxy has answered
    true >"$dir/proxy.log"
    check 'open: OpenSSL in the tunnel'     timeout 60 "$BUILD/examples/openssl" publish weather 100
    check 'open: it went through it'        passed 1 "$rpc"
    check 'open: its login, too'            passed 1 "$auth"
fi
start back "$subscribe" -n 5 weather
back=$pid
check 'open: a subscriber'                  says back 'subscribe: open' "$back"
check 'open: the proxy ends'                proxy_stop
check 'open: the subscriber waits'          says back 'disconnected, goes on trying: ' "$back"
finds 'open: no proxy, no connection: it says where none is' "127.0.0.1:$port" with 0 - status
check 'open: and what to change'            with 3 'HTTPS_PROXY' status
check 'open: the proxy is back'             proxy_again
check 'open: the subscriber, too'           says back 'subscribe: open' "$back" 2
check 'open: events come again'             put weather 1 5
check 'open: all of them'                   ends back "$back"
true >"$dir/proxy.log"
NO_PROXY=localhost check 'open: NO_PROXY names what is reached without it' with 0 healthy status
check 'open: it was not asked'              untouched
unset NO_PROXY
check 'open: localhost is reached without it where NO_PROXY is not set' with 0 healthy status
check 'open: again it was not asked'        untouched
unset HTTPS_PROXY
NO_PROXY=nothing.invalid check 'open: --proxy' with 0 healthy status --proxy "http://127.0.0.1:$port"
check 'open: it was asked'                  passed 1 "$rpc"
proxy_stop

# ---- with one

check 'password: the proxy starts'          proxy_start "BasicAuth me $password"
use "http://me:$coded@127.0.0.1:$port"
session password
use "http://me:wrong@127.0.0.1:$port"
check 'password: a wrong one is refused'    with 3 'with HTTP 401' status # others answer 407 to that, too
check 'password: it says who refuses'       with 3 "127.0.0.1:$port" status
use "http://127.0.0.1:$port"
check 'password: none is refused'           with 3 'to http://user:password@host:port' status
use "http://me:$coded@127.0.0.1:$port"
check 'password: it is told by nobody'      with 0 healthy status -v -v
hidden() { ! grep -F -e s3 -e "$(printf 'me:%s' "$password" | base64)" "$dir/out" "$dir/err"; }
check 'password: not even with -vv'         hidden
proxy_stop

# ---- in the clear

server_stop
check 'plaintext: a server without TLS'     server_start --memory --port 0 --auth-port 0
check 'plaintext: the proxy starts'         proxy_start ''
use "http://127.0.0.1:$port"
check 'plaintext: a key is not sent through it' with 2 proxy topics ls
check 'plaintext: it was not asked'         untouched
check 'plaintext: a call without a key is'  with 0 serving health --no-auth
check 'plaintext: it was asked'             grep -q "CONNECT 127.0.0.1:.* HTTP" "$dir/proxy.log"
server_stop
proxy_stop
results
