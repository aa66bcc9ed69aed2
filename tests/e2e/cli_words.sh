#!/usr/bin/env bash
# cli_words.sh - ensign without a server: help, the manual page and the completions against the one table of
# commands and options; what is said of wrong use; exit statuses without a connection
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh

ensign=$PWD/${BUILD:-build}/ensign
tool=$PWD/tools/ensign
unset "${!ENSIGN_@}" NO_COLOR

"$ensign" help --words >"$dir/words" # lines: command; command TAB option TAB value
mapfile -t commands < <(grep -v "$(printf '\t')" "$dir/words")
options_of() { awk -F '\t' -v c="$1" '$1 == c && NF > 1 {print $2}' "$dir/words"; } # COMMAND
same() { [ "$1" = "$2" ] || { printf '%s\n%s\n' "$1" "$2"; return 1; }; }

# run ARGUMENT...: $status, and what it prints in $dir/out and $dir/err
run() {
    "$ensign" "$@" >"$dir/out" 2>"$dir/err" </dev/null
    status=$?
}
# ends STATUS WORDS ARGUMENT...: with this exit status; the words are on standard error, nothing is elsewhere
ends() {
    local wanted=$1 words=$2
    shift 2
    run "$@"
    cat "$dir/out" "$dir/err"
    [ $status -eq "$wanted" ] && [ ! -s "$dir/out" ] && grep -qF -- "$words" "$dir/err"
}
refuses() { ends 2 "$@"; } # WORDS ARGUMENT...

# ---- help

helps() { # ARGUMENT...: exit status 0, on standard output alone
    run "$@"
    cat "$dir/err"
    [ $status -eq 0 ] && [ -s "$dir/out" ] && [ ! -s "$dir/err" ]
}
help_is_whole() { # COMMAND: it has a line for each option
    local option
    # shellcheck disable=SC2086 # the command may be two words
    helps $1 --help || return 1
    grep -qF "ensign $1" "$dir/out" || { echo 'no usage'; return 1; }
    for option in $(options_of "$1"); do
        grep -qE -- "(^|[ ,])$option([ ,]|\$)" "$dir/out" || { echo "$option is not there"; return 1; }
    done
    [ "$(awk '{ if (length($0) > 100) print }' "$dir/out" | wc -l)" -eq 0 ] || { echo 'too wide'; return 1; }
}
same_help() { # COMMAND
    # shellcheck disable=SC2086
    same "$("$ensign" help $1)" "$("$ensign" $1 --help)"
}
top_help_is_whole() {
    local command
    helps --help || return 1
    for command in "${commands[@]}"; do
        case $command in *' '*) continue ;; esac
        grep -qE "^  $command " "$dir/out" || { echo "$command"; return 1; }
    done
}
check 'the table has its commands' test "${#commands[@]}" -ge 17
check 'help' top_help_is_whole
for command in "${commands[@]}"; do
    check "help: $command" help_is_whole "$command"
    check "help: $command, by the command help" same_help "$command"
done
check 'help tells the exit statuses' grep -qF '4 wrong key or no permission' "$dir/out"
version=$(sed -n 's/^#define ENSIGN_VERSION *"\(.*\)"/\1/p' ensign.h)
check 'version' same "$("$ensign" --version)" "ensign $version"
check 'help of no command' refuses 'ensign has no command nope; ensign --help lists the commands' help nope

# ---- wrong use

check 'no command'             refuses 'give a command; ensign --help lists the commands'
check 'no such command'        refuses 'ensign has no command foo; ensign --help lists the commands' foo
check 'no such sub-command'    refuses 'topics has no command foo' topics foo
check 'a sub-command missing'  refuses 'a command must follow; ensign topics --help lists the commands' topics
check 'no such option'         refuses 'there is no option --foo here; see ensign publish --help' \
    publish t --foo
check 'option of another'      refuses 'there is no option --rate here' subscribe --rate 3
check 'no such letter'         refuses 'there is no option -Z here' status -jZ
check 'argument missing'       refuses 'an argument is missing: ensign publish TOPIC [DATA...]' publish
check 'argument too many'      refuses '"b" is too much: ensign query SQL' query a b
check 'value missing'          refuses '--count needs a value behind it: N' subscribe t --count
check 'value of a letter'      refuses '-n needs a value behind it: N' subscribe t -n
check 'value not wanted'       refuses '--json takes no value; leave out =1' status --json=1
check 'no number'              refuses '--count x: give a whole number from 1 on' subscribe --count x
check 'number too small'       refuses '--size 3: give a whole number from 16 to 4000000' bench t --size 3
check 'number negative'        refuses '--count -1: give a whole number' subscribe --count=-1
check 'no rate'                refuses '--rate 0: give a number above 0' publish t --rate 0
check 'no time'                refuses '--timeout 5x is not a time; give seconds, or a number with a unit' \
    subscribe --timeout 5x
check 'too short a time'       refuses '--keepalive 0.5: 1000ms is the least' status --keepalive 0.5
check 'less than a millisecond' refuses '--deadline 0.0001s: 1ms is the least' call a/b --deadline 0.0001s
check 'too long a time'        refuses '--timeout 20000h: 31536000000ms is the most' subscribe --timeout 20000h
check 'one dash for two'       refuses 'there is no option -plaintext; a long option has two dashes: --plaintext' \
    call -plaintext a/b
check 'too many attempts'      refuses '--attempts 6: give a whole number from 1 to 5' call --hex /a/b '' --attempts 6
check 'no choice'              refuses '--color blue: give one of auto|always|never' status --color blue
check 'no MIME type'           refuses '--mimetype foo: the service does not know this type; give one' publish t -m foo x
check 'no schema'              refuses '--type A@1: give a name and a semantic version' publish t -t A@1 x
check 'no metadata'            refuses '--meta a: give KEY=VALUE' publish t -M a x
check 'two sources'            refuses 'are different sources; use one of them' publish t x --file y
check 'JSON and another source' refuses 'are different sources; use one of them' publish t x --from-json y
check 'JSON, and a key for all' refuses 'leave out --mimetype, --type, --key and --meta' \
    publish t --from-json "$0" --key k
check 'zero bytes, and no lines' refuses '--null is for the lines of' publish t --null x
check 'metadata twice'         refuses '--meta a=2: an event has one value for each key, and a has one already' \
    publish t -M a=1 -M b=1 -M a=2 x
check 'id to be made'          refuses '--ensure-topic makes a topic by its name' \
    publish 01GZ1ASDEPPFWD485HSQKDAS4K -e x
check 'a file of two missing'  refuses 'cannot be opened: No such file' publish t --file "$0" \
    --file "$dir/none"
check 'a file that is a folder' refuses 'is a folder; name a file' publish t --file "$dir"
check 'file of lines missing'  refuses 'cannot be opened: No such file' publish t --lines "$dir/none"
check 'folder for a file'      refuses 'is a folder; name a file' publish t --lines "$dir"
check 'two ways to print'      refuses '--json and --raw are two ways to print' subscribe --json --raw
check 'a format, and JSON'     refuses '--json and --format are two ways to print' query x --json --format a
check 'a format, and raw data' refuses '--raw and --format are two ways to print' query x --null --format a
check 'all data, and PyEnsign' refuses '--python and --full are two ways to print' query x --python --full
check 'a format of no part'    refuses '--format: there is no %q; ensign query --help lists them' \
    query x --format '%t %q'
check 'a format that ends early' refuses '--format: a % at the end says nothing; %% is the character itself' \
    query x --format '100 %'
check 'an escape that ends early' refuses '--format: a \ at the end says nothing; \\ is the character itself' \
    query x --format 'a\'
check 'a format of no escape'  refuses '--format: there is no \q; give \n, \r, \t, \0, \xHH, or \\' \
    query x --format 'a\q'
check 'a format of no byte'    refuses '--format: there is no \x; give' query x --format '\xZZ'
check 'a format of less'       refuses '--format: there is no \x; give' query x --format 'a\x'
check 'a format of half a byte' refuses '--format: there is no \x; give' query x --format '\x4'
check 'parameter of no type'   refuses 'give NAME=TYPE:VALUE' query x -p a=foo:1
check 'parameter of no value'  refuses 'give NAME=TYPE:VALUE' query x -p a=int:1.5
check 'message of no bytes'    refuses 'give pairs of hexadecimal digits' call --hex /a/b 123
check 'header of no value'     refuses '--header x: give KEY:VALUE' call --hex /a/b '' -H x
check 'binary header'          refuses 'ends in -bin is pairs of hexadecimal digits' call --hex /a/b '' -H x-bin:0
check 'a count of one answer'  refuses 'belong to --watch' health --count 2
check 'policy without one'     refuses 'say which policy' topics policy t
check 'policy without keys'    refuses '--keys go with --dedup key-grouped' topics create t --dedup unique-key
check 'keys without policy'    refuses 'belong to --dedup; add it' topics create t --keys a
check 'rm asks, and cannot'    refuses 'there is no terminal to ask at; add --yes' topics rm t
check 'rm of a group asks, too' refuses 'this destroys g and all its places, and there is no terminal' groups rm g
check 'a reset to nowhere'     refuses 'say where the group goes on: --to beginning, live' groups reset g
check 'a reset to no place'    refuses '--to -3: give beginning, live, an offset from 1 on, or a time' \
    groups reset g --to -3
check 'a reset to the offset 0' refuses '--to 0: give beginning' groups reset g --to=0
check 'a group that is no text' refuses 'is no UTF-8 text' groups show $'\xff' --endpoint 127.0.0.1:1 --no-auth
check 'no place'               refuses '--from yesterday: give beginning, an offset from 1 on, -N' \
    subscribe t --from yesterday
check 'the last none'          refuses '--from -0: give beginning' subscribe t --from -0
check 'a time that is none'    refuses '--from 2026-02-30T00:00:00Z: give beginning' \
    subscribe t --from 2026-02-30T00:00:00Z
check 'a place in all topics'  refuses '--from -2 is looked up in each topic; name the topics' subscribe --from -2
check 'each 0th'               refuses '--nack-every 0: give a whole number from 1 on' subscribe t --nack-every 0
check 'a nack of no code'      refuses '--nack-every 2:later: give' subscribe t --nack-every 2:later
check 'a code of the server'   refuses '--nack-every 2:internal: give' subscribe t --nack-every 2:internal
check 'acks, and none'         refuses '--ack and --no-ack exclude each other' subscribe t --ack --no-ack
check 'nacks, and none'        refuses 'and --no-ack tells it nothing; leave out one of them' \
    subscribe t --group g --nack-every 2 --no-ack
check 'nacks without a group'  refuses '--nack-every does something in a group alone; add --group NAME' \
    subscribe t --nack-every 2
check 'a group without a name' refuses '--group is empty; give the name of the group' subscribe t --group ''
check 'it has no name either'  refuses '--group is empty' subscribe t --group=

# ---- credentials, connection

here='--endpoint 127.0.0.1:1 --plaintext'   # nobody listens there
credentials() { # JSON
    printf '%s' "$1" >"$dir/key.json"
}
check 'no endpoint'            refuses 'give --endpoint HOST:PORT, or set ENSIGN_ENDPOINT' status
check 'endpoint of no port'    refuses 'port' status --endpoint 'localhost:99999'
check 'file of no key'         refuses "$dir/none.json" status $here -C "$dir/none.json"
credentials '{"ClientID": true, "ClientSecret": "s"}'
check 'key that is no string'  refuses 'ClientID' status $here -C "$dir/key.json"
credentials '{"ClientID": "a"}'
check 'key without a secret'   refuses 'ClientSecret' status $here -C "$dir/key.json"
credentials '{"ClientID": "a", "ClientSecret": "s"}'
check 'key in the clear to another machine' refuses 'plaintext' status --endpoint 192.0.2.1:1 --plaintext \
    -C "$dir/key.json" --auth-url http://192.0.2.1:2
check 'it names the option, not the field' refuses 'set --allow-plaintext-token' status \
    --endpoint 192.0.2.1:1 --plaintext -C "$dir/key.json" --auth-url http://192.0.2.1:2
variable() { ENSIGN_INSECURE=maybe refuses ENSIGN_INSECURE status $here; }
check 'variable of no meaning' variable
attempts() { ENSIGN_ATTEMPTS=6 refuses 'ENSIGN_ATTEMPTS is "6"; use a number from 1 to 5' status $here; }
check 'variable out of its range' attempts

# ---- profiles

export XDG_CONFIG_HOME=$dir/xdg
profiles=$XDG_CONFIG_HOME/ensign/profiles
check 'no file of profiles'    refuses "$profiles cannot be opened" status --profile a
mkdir -p "$XDG_CONFIG_HOME/ensign"
profile() { printf '%s\n' "$@" >"$profiles"; } # LINE...
profile '# a comment' '[one]' 'endpoint = 127.0.0.1:1' 'plaintext = true' '' '  [two]  ' '[three]' 'nonsense'
check 'a profile names the server' ends 3 'cannot connect to 127.0.0.1:1' status --profile one
check 'no such profile'        refuses "has no profile four; it has one, two, three" status --profile four
check 'a line that is none'    refuses "$profiles: line 8: give NAME = VALUE" status --profile three
check 'an option goes before'  ends 3 'cannot connect to 127.0.0.1:2' status --profile one -E 127.0.0.1:2
hears() { # PROFILE COMMAND VARIABLE=VALUE... WORDS: with these variables; $status
    local variables=("${@:3:$#-3}") words=${!#}
    # shellcheck disable=SC2086 # words
    env "${variables[@]}" "$ensign" $2 --profile "$1" >"$dir/out" 2>"$dir/err" </dev/null
    status=$?
    grep -qF -- "$words" "$dir/err" || { cat "$dir/err"; return 1; }
}
check 'a variable comes behind it' hears one status ENSIGN_ENDPOINT=127.0.0.1:3 'cannot connect to 127.0.0.1:1'
check 'a variable says what it does not' hears two status ENSIGN_ENDPOINT=127.0.0.1:3 ENSIGN_INSECURE=1 \
    'cannot connect to 127.0.0.1:3'
key=(ENSIGN_CLIENT_ID=id ENSIGN_CLIENT_SECRET=s3cret ENSIGN_AUTH_URL=http://127.0.0.1:4)
lacks='profile one names 127.0.0.1:1 and no key, and that of the environment belongs to another server'
add='add to the profile: credentials = FILE, or client-id and client-secret, or no-auth = true'
check 'a key of another server is refused' hears one 'topics ls' "${key[@]}" ENSIGN_ENDPOINT=127.0.0.1:3 "$lacks"
check 'it says what to add'    grep -qF "$add" "$dir/err"
check 'exit status 2'          same 2 $status
check 'a key of the same server is used' hears one 'topics ls' "${key[@]}" ENSIGN_ENDPOINT=127.0.0.1:1 \
    'cannot connect to 127.0.0.1:4'
check 'a key of no server is used' hears one 'topics ls' "${key[@]}" 'cannot connect to 127.0.0.1:4'
check 'where no key is needed, none is refused' hears one status "${key[@]}" ENSIGN_ENDPOINT=127.0.0.1:3 \
    'cannot connect to 127.0.0.1:1'
check 'an option gives another server: its key is used' hears one 'topics ls -E 127.0.0.1:2' "${key[@]}" \
    ENSIGN_ENDPOINT=127.0.0.1:3 'cannot connect to 127.0.0.1:4'
profile '[one]' 'endpoint = 127.0.0.1:1' 'plaintext = true' 'no-auth = true'
check 'no-auth: no key of the environment' hears one 'topics ls' "${key[@]}" ENSIGN_ENDPOINT=127.0.0.1:3 \
    'cannot connect to 127.0.0.1:1'
profile '[one]' 'endpoint = 127.0.0.1:1' 'plaintext = true' 'client-id = my' 'client-secret = own'
chmod 600 "$profiles"
check 'an auth service of another server is refused' hears one 'topics ls' "${key[@]}" \
    ENSIGN_ENDPOINT=127.0.0.1:3 'and no auth service, and that of the environment belongs to another server'
check 'it says what to add, too' grep -qF 'add to the profile: auth-url = URL' "$dir/err"
profile '[a]' 'endpoint = x:1' 'color = never'
check 'a setting that is none' refuses "$profiles: line 3: a profile has no setting color; it has these options" status --profile a
profile '[a]' 'endpoint = x:1' 'endpoint = y:1'
check 'a setting twice'        refuses "$profiles: line 3: the profile has endpoint twice; leave one line out" status --profile a
profile '[a]' 'endpoint ='
check 'a setting of nothing'   refuses "$profiles: line 2: the value of endpoint is missing behind the =" status --profile a
profile '[a]' 'plaintext = yes'
check 'a flag of no meaning'   refuses "$profiles: line 2: plaintext is true or false" status --profile a
profile '[a]' 'endpoint = "x:1"'
check 'a value in quotes'      refuses "$profiles: line 2: leave out the quotes around the value of endpoint" \
    status --profile a
profile '[a]' 'endpoint = x:1 # mine'
check 'a comment behind a value' refuses "$profiles: line 2: put the comment behind endpoint on a line of its own" \
    status --profile a
profile '[a]' 'endpoint = x:1' '[b]' '[a]' 'endpoint = y:1'
check 'a profile twice'        refuses "$profiles: line 4: the profile a begins here again" status --profile a
profile
check 'no profile at all'      refuses 'has no profile a; write its lines under [NAME]' status --profile a
profile '[a]' 'min-tls = 9'
check 'a choice of no meaning' refuses '--min-tls 9: give one of 1.2|1.3' status --profile a
check 'it names the line'      grep -qF "$profiles: line 2: the option --min-tls does not take this value" "$dir/err"
printf '[a]\nendpoint = x:1\n\0[b]\n' >"$profiles"
check 'a file that is no text' refuses "$profiles holds a zero byte" status --profile a
printf '\xEF\xBB\xBF[a]\nendpoint = 127.0.0.1:1\nplaintext = true\n' >"$profiles"
check 'a byte order mark'      ends 3 'cannot connect to 127.0.0.1:1' status --profile a
{ echo '[a]'; yes '# not so long' | head -n 100000; } >"$profiles"
check 'a file that is too long' refuses \
    "$profiles is larger than 1048576 bytes, the most that a file of profiles may have" status --profile a
piped() { # nobody writes: to open it would wait
    local status
    rm "$profiles" && mkfifo "$profiles" || return 1
    timeout 60 "$ensign" status --profile a >"$dir/out" 2>"$dir/err" </dev/null
    status=$?
    timeout 60 bash -c '. "$0"; _ensign_profiles' "$tool/ensign.bash"
    [ $? -ne 124 ] || status=late
    rm "$profiles"
    same 2 $status && grep -qF "$profiles is no regular file" "$dir/err"
}
check 'a pipe for a file'      piped
no_secret() { ! grep -E 's3cret|s3same' "$dir/out" "$dir/err"; } # of the last run
secrets=('client-secret = s3cret' 'token = s3cret' 'proxy = http://user:s3cret@127.0.0.1:1')
for secret in "${secrets[@]}"; do
    profile '[a]' "$secret" '[b]' 'endpoint = 127.0.0.1:1' 'plaintext = true' 'client-id = id' \
        'client-secret = s3cret' 'proxy = http://user:s3cret@127.0.0.1:1' 'no-proxy = none.invalid'
    chmod 640 "$profiles"
    check "others can read: ${secret%%=*}" refuses "$profiles holds a secret, and others can read it" \
        status --profile a
    check 'it is not printed' no_secret
done
profile '[a]' 'endpoint = 127.0.0.1:1' 'plaintext = true' '[b]' "${secrets[0]}"
chmod 644 "$profiles"
check 'others can read what is no secret' ends 3 'cannot connect' status --profile a
profile '[b]' 'endpoint = 127.0.0.1:1' 'plaintext = true' 'client-id = id' 'client-secret = s3cret' \
    'auth-url = http://127.0.0.1:1' 'proxy = http://user:s3same@127.0.0.1:1' 'no-proxy = none.invalid'
chmod 600 "$profiles"
check 'the owner alone can read: it serves' ends 3 'cannot connect to the proxy 127.0.0.1:1' \
    topics ls --profile b --allow-plaintext-token -vvv
check 'with all that is told, no secret is printed' no_secret
profile '[a]' 'endpoint = 127.0.0.1:1' 'plaintext = true' 'credentials = none.json'
check 'a path is beside the file' refuses "$XDG_CONFIG_HOME/ensign/none.json" topics ls --profile a
home() { HOME=$dir refuses "$dir/none.json" topics ls --profile a; }
profile '[a]' 'endpoint = 127.0.0.1:1' 'plaintext = true' 'credentials = ~/none.json'
check 'or below the home folder' home
check 'a key of the command line is no half of one' ends 3 'cannot connect to 127.0.0.1:1' topics ls \
    --profile a --no-auth
elsewhere() (
    unset XDG_CONFIG_HOME
    HOME=$dir/home refuses "$dir/home/.config/ensign/profiles" status --profile a
)
check 'without XDG_CONFIG_HOME' elsewhere
check 'nobody listens'         ends 3 'cannot connect to 127.0.0.1:1' status $here
check 'nor for a publisher'    ends 3 'cannot connect to 127.0.0.1:1' publish t x $here
check 'it says that the event was not sent' grep -q '0 of 1 events stored, 1 not sent, in ' "$dir/err"
check 'nor for a subscriber'   ends 3 'cannot connect to 127.0.0.1:1' subscribe t $here
check 'nor for a call'         ends 3 'cannot connect to 127.0.0.1:1' call --hex /a/b '' $here
check 'retries for the time that is given' ends 3 'cannot connect' status $here --retry 300ms
check 'a name of no host'      ends 3 'no-such-host.invalid' status --plaintext \
    --endpoint no-such-host.invalid:1

# ---- a server that takes connections and says nothing

python3 -c 'import signal, socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen()
print(s.getsockname()[1], flush=True)
signal.alarm(120)
signal.pause()' >"$dir/mute" &
mute=$!
trap 'main_shell && { kill "$mute" 2>/dev/null; rm -rf "$dir"; }' EXIT
until [ -s "$dir/mute" ] || ! kill -0 "$mute" 2>/dev/null; do sleep 0.05; done
mute_late() { # COMMAND...: --timeout ends it with 6, and it says once why it never opened
    ends 6 'the stream did not open: client: the time was up: waiting for a connection to 127.0.0.1:' \
        "$@" --timeout 300ms --no-auth --plaintext --endpoint "127.0.0.1:$(cat "$dir/mute")" &&
        same 1 "$(wc -l <"$dir/err")"
}
check 'a mute server: a subscriber says why it has nothing' mute_late subscribe t
check 'a mute server: with --count, too' mute_late subscribe t --count 1
check 'a mute server: a watch says it as well' mute_late health --watch
check 'a mute server: a call says which option gives it more time' ends 6 '; a longer --deadline gives it more time' \
    call --hex /a.b/c '' --deadline 200ms --no-auth --plaintext --endpoint "127.0.0.1:$(cat "$dir/mute")"
check 'help tells of that exit status' sh -c '"$1" subscribe --help | tr -s " \n" " " |
    grep -qF "exit status 6 if there is a --count and it was not reached, or if the stream was not open by"' \
    sh "$ensign"
kill "$mute"

# ---- colours

has_color() { # yes|no, ENVIRONMENT...
    local wanted=$1 seen=no
    shift
    env "$@" "$ensign" help status ${color:+--color "$color"} | grep -q "$(printf '\033')" && seen=yes
    same "$wanted" "$seen"
}
check 'no colours into a pipe' has_color no TERM=xterm
color=always check 'colours where they are asked for' has_color yes TERM=xterm NO_COLOR=1
color=never check 'no colours where they are not' has_color no TERM=xterm
has_terminal_color() { # yes|no, ENVIRONMENT...: on a terminal of its own
    local wanted=$1 seen=no
    shift
    env "$@" python3 tests/e2e/pty.py '' "$ensign" help status </dev/null >"$dir/out" || return 1
    grep -q "$(printf '\033')" "$dir/out" && seen=yes
    same "$wanted" "$seen"
}
no_terminal=$(python3 tests/e2e/pty.py) || [ $? -eq 3 ] || no_terminal=''
# on_terminal 'what' yes|no ENVIRONMENT...: left out where there is no pseudo-terminal
on_terminal() {
    if [ -z "$no_terminal" ]; then check "$1" has_terminal_color "${@:2}"
    else tap ok "$1 # SKIP $no_terminal"; fi
}
on_terminal 'colours on a terminal' yes TERM=xterm
on_terminal 'no colours there with NO_COLOR' no TERM=xterm NO_COLOR=1
on_terminal 'none on a dumb one' no TERM=dumb

# ---- standard output

full() {
    [ -e /dev/full ] || return 0
    "$ensign" --help >/dev/full 2>"$dir/err"
    same "$?" 1
}
check 'standard output is full' full

# ---- the manual page

manual_has() { # COMMAND or OPTION as mdoc has it
    grep -qE -- "$1" "$tool/ensign.1" || { echo "no $1"; return 1; }
}
manual_is_whole() {
    local command option
    for command in "${commands[@]}"; do
        manual_has "(Cm|Ss) (.* )?$command( |\$)" || return 1
    done
    for option in $(cut -sf 2 "$dir/words" | sort -u); do
        case $option in
        --*) manual_has "Fl Fl ${option#--}( |\$)" || return 1 ;;
        -*) manual_has "Fl ${option#-}( |\$)" || return 1 ;;
        esac
    done
}
clean() { # mandoc, or man, has nothing to say
    if command -v mandoc >/dev/null; then mandoc -Tlint -Wwarning "$1"
    else man --warnings=w -l "$1" 2>&1 >/dev/null | (! grep .); fi
}
check 'the manual has all commands and options' manual_is_whole
if command -v mandoc >/dev/null || command -v man >/dev/null; then
    check 'the manual is clean' clean "$tool/ensign.1"
else tap ok 'the manual is clean # SKIP neither mandoc nor man'; fi

# ---- completion

complete_bash() { # WORD...: what may stand for the last one
    bash -c '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; _ensign
        printf "%s\n" "${COMPREPLY[@]}"' "$tool/ensign.bash" "$@"
}
bash_options() { # COMMAND: just those of the table
    # shellcheck disable=SC2086
    same "$(options_of "$1" | sort)" "$(complete_bash ensign $1 - | sort)"
}
bash_values() { # the words behind each option that has a choice, and whether it takes a value at all
    local command option value
    while IFS=$'\t' read -r command option value; do
        [ -n "$option" ] || continue
        case $value in
        '') # takes none: the next word is an option again
            # shellcheck disable=SC2086
            complete_bash ensign $command "$option" - | grep -qFx -- --help ||
                { echo "$option takes a value"; return 1; } ;;
        *'|'*)
            # shellcheck disable=SC2086
            same "$(tr '|' '\n' <<<"$value")" "$(complete_bash ensign $command "$option" '')" || return 1 ;;
        *)
            # shellcheck disable=SC2086
            ! complete_bash ensign $command "$option" - | grep -qFx -- --help ||
                { echo "$option takes none"; return 1; } ;;
        esac
    done < <(grep -v '^help' "$dir/words")
}
zsh_section() { # COMMAND: the lines of its case, and of the lists that it names
    awk -v c="$1" '
        /^    [a-z_]+=\($/ {name = $1; sub(/=.*/, "", name)}
        /^    \)$/ {name = ""}
        name != "" {list[name] = list[name] "\n" $0}
        /^    case \$line/ {cases = 1}
        cases && /^    [a-z\x27].*\)$/ {on = index($0, "\x27" c "\x27") || $1 == c ")"}
        cases && on {text = text "\n" $0}
        END {
            for (round = 0; round < 2; round++)
                for (n in list) if (index(text, "$" n)) text = text list[n]
            if (index(text, "$common")) text = text list["common"] list["connection"]
            print text
        }' "$tool/_ensign"
}
zsh_options() { # COMMAND
    local option text
    text=$(zsh_section "$1")
    for option in $(options_of "$1"); do
        grep -qE -- "[{,'*]$option[],}'\[]" <<<"$text" || { echo "$option is not there"; return 1; }
    done
}
commands_of() { # one word a line: of the top, of topics, or of groups
    if [ "$1" = top ]; then printf '%s\n' "${commands[@]}" | grep -v ' '
    else printf '%s\n' "${commands[@]}" | sed -n "s/^$1 //p"; fi | sort
}
zsh_list() { # NAME: the words that this list describes
    sed -n "/^    $1=/,/^    )/p" "$tool/_ensign" | grep -oE "[\"'][a-z]+:" | tr -d "\"':" | sort
}
zsh_commands() {
    same "$(commands_of top; commands_of topics; commands_of groups)" \
        "$(zsh_list commands; zsh_list subcommands; zsh_list group_commands)"
}
check 'bash: the commands' same "$(commands_of top)" "$(complete_bash ensign '' | sort)"
check 'bash: those of topics' same "$(commands_of topics)" "$(complete_bash ensign topics '' | sort)"
check 'bash: those of groups' same "$(commands_of groups)" "$(complete_bash ensign groups '' | sort)"
check 'bash: behind an option' same "$(commands_of topics)" \
    "$(complete_bash ensign --endpoint a:1 topics --color = never '' | sort)"
check 'bash: values' bash_values
check 'bash: a value behind =' same never "$(complete_bash ensign status --color = n)"
check 'bash: a file' same "$dir/words" "$(complete_bash ensign publish t --lines "$dir/wor")"
profile '[one]' 'endpoint = a:1' '# [none]' '[two]'
check 'bash: the names of profiles' same "$(printf 'one\ntwo')" "$(complete_bash ensign status --profile '')"
profile '[$(touch pwned)]' '[`touch pwned`]' '[a;b c]' '[*]' '[e]'
hostile() { # WORD...: completion of them in an empty folder, which stays empty. Prints the words as a shell reads them
    rm -rf "$dir/empty"
    mkdir "$dir/empty"
    (cd "$dir/empty" && eval "printf '%s\n' $(complete_bash "$@" | tr '\n' ' ')") && rmdir "$dir/empty"
}
check 'bash: the name of a profile is data' same "$(printf '%s\n' '$(touch pwned)' '`touch pwned`' 'a;b c' '*' e)" \
    "$(hostile ensign status --profile '')"
check 'bash: such a name, begun' same '$(touch pwned)' "$(hostile ensign status --profile '$(t')"
check 'bash: such a name, begun and quoted' same '$(touch pwned)' "$(hostile ensign status --profile '\$\(t')"
printf '\xEF\xBB\xBF[first]\n[second]\n' >"$profiles"
check 'bash: a profile behind a byte order mark' same "$(printf 'first\nsecond')" \
    "$(complete_bash ensign status --profile '')"
mkdir "$dir/bin"
cat >"$dir/bin/ensign" <<'STUB'
#!/bin/sh
if [ "$1" = groups ]; then
    echo 'ID  DELIVERY  MEMBERS  TOPICS  LAG  PENDING  NAME'
    printf '%s\n' '1  x    0  1  0    0  two words' '2  x  1  1  22  0  $(touch pwned)' '3  x  1  1  22  0  plain.1_'
    exit
fi
echo 'ID STATE CREATED NAME'
printf '%s\n' '1 ready x $(touch${IFS}pwned)' '2 ready x `touch${IFS}pwned`' '3 ready x good.name-1_' '4 ready x 1st'
STUB
chmod +x "$dir/bin/ensign"
check 'bash: what can be no topic is left out' same good.name-1_ "$(hostile "$dir/bin/ensign" subscribe '')"
check 'bash: the name of a service is data' same '1 ready x $(touch${IFS}pwned)/' \
    "$(hostile "$dir/bin/ensign" call '1 ')"
check 'bash: a group with a plain name' same plain.1_ "$(hostile "$dir/bin/ensign" groups show '')"
check 'bash: of --group, too' same plain.1_ "$(hostile "$dir/bin/ensign" subscribe --group p)"
check 'bash: it is data for --describe, too' same '1 ready x $(touch${IFS}pwned)' \
    "$(hostile "$dir/bin/ensign" call --describe '1 ')"
check 'bash: topics of a server that is not there: none, and not a word' same '' \
    "$(complete_bash "$ensign" subscribe -E 127.0.0.1:1 --plaintext '' 2>&1)"
check 'zsh: the commands' zsh_commands
for command in "${commands[@]}"; do
    case $command in topics | groups) continue ;; esac
    check "bash: options of $command" bash_options "$command"
    check "zsh: options of $command" zsh_options "$command"
done
complete_zsh() { # FUNCTION: what it offers, asking the stub in $dir/bin
    zsh -fc '_arguments() { :; }; compadd() { print -rl -- $names; }; . "$1"
        typed=("$2" subscribe); connection=(); $3' zsh "$tool/_ensign" "$dir/bin/ensign" "$1"
}
if command -v zsh >/dev/null; then
    check 'zsh: it parses' zsh -n "$tool/_ensign"
    check 'zsh: a profile behind a byte order mark' same "$(printf 'first\nsecond')" "$(complete_zsh _ensign_profiles)"
    check 'zsh: what can be no topic is left out' same good.name-1_ "$(complete_zsh _ensign_topics)"
    check 'zsh: a group with a plain name' same plain.1_ "$(complete_zsh _ensign_groups)"
else tap ok 'zsh: it parses # SKIP no zsh'; fi

results
