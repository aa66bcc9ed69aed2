# ensign.bash - completion of ensign(1) for bash; needs nothing but bash itself
#
# The words are those of `ensign help --words`; the tests compare the two.

_ensign_connection='--endpoint -E --profile --shuffle --auth-url --proxy --no-proxy --credentials -C
    --client-id --client-secret --token --no-auth --ca-file --server-name --authority --cert --cert-key --min-tls --plaintext
    --allow-plaintext-token --insecure-skip-verify --name
    --connect-timeout --request-timeout --open-timeout --keepalive --retry'

# The options of a command.
_ensign_options() {
    local connection=$_ensign_connection
    local common="--json -j --color --quiet -q --verbose -v --help -h $connection"
    local print='--raw --null -0 --no-newline --format --python --full --count -n --timeout'
    local dedup='--dedup --keys --fields --offset --overwrite-duplicate'

    case $1 in
    publish) echo "--file -f --lines -l --ndjson --from-json --null -0 --mimetype -m --type -t --meta -M
        --key -k --rate -r --ensure-topic -e --acks -a --progress --no-progress --close-timeout $common" ;;
    subscribe) echo "$print --idle --ensure-topic -e --from --resume --group --ack --no-ack --nack-every
        --filter $common" ;;
    query) echo "$print --param -p --include-duplicates -D $common" ;;
    'topics create') echo "--if-missing $dedup $common" ;;
    'topics policy') echo "$dedup $common" ;;
    'topics rm' | 'groups rm') echo "--yes -y $common" ;;
    'topics ls' | 'topics show' | 'topics exists' | 'topics archive' | 'groups ls' | 'groups show' | info)
        echo "$common" ;;
    'groups reset') echo "--to $common" ;;
    status) echo "--auth $common" ;;
    health) echo "--service -s --watch -w --count -n --timeout $common" ;;
    call) echo "--list --describe --template --proto --import-path -I --protoset --file -f --hex --raw --in --out
        --emit-defaults --allow-unknown-fields --gzip --max-message --max-metadata --header -H --deadline
        --attempts --no-token $common" ;;
    bench) echo "--events -n --size -s --trips --no-subscribe --rate -r --ensure-topic -e $common" ;;
    help) echo '--words --color --help -h' ;;
    topics | groups) echo '--help -h' ;;
    '') echo "--help -h --version -V $connection" ;;
    esac
}

# Does this option take a value?  -n does with all commands that have it, and so does each letter here.
_ensign_takes_value() {
    case $1 in
    --file | -f | --lines | -l | --from-json | --format | --profile | --mimetype | -m | --type | -t | \
        --meta | -M | --key | -k | --rate | -r | --close-timeout | --count | -n | --timeout | --idle | \
        --from | --to | --nack-every | --group | --filter | --param | -p | --dedup | --keys | --fields | --offset | --service | -s | \
        --describe | --template | --proto | --import-path | -I | --protoset | --max-message | \
        --max-metadata | --authority | --in | --out | --header | -H | \
        --deadline | --attempts | --events | --size | --trips | --color | --endpoint | -E | --auth-url | \
        --proxy | --no-proxy | \
        --credentials | -C | --client-id | --client-secret | --token | --ca-file | --server-name | \
        --cert | --cert-key | --min-tls | \
        --name | --connect-timeout | --request-timeout | --open-timeout | --keepalive | --retry) return 0 ;;
    esac
    return 1
}

# What can stand as the value of an option, as words for COMPREPLY; files by compgen -f.
_ensign_value() {
    local cur=$2
    case $1 in
    --import-path | -I)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        ;;
    --file | -f | --lines | -l | --from-json | --credentials | -C | --ca-file | --cert | --cert-key | \
        --proto | --protoset)
        compopt -o filenames 2>/dev/null # blanks are quoted, folders get a slash
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        ;;
    --describe) _ensign_offer "$cur" < <(_ensign_ask call --deadline 2 --list) ;;
    --profile) _ensign_offer "$cur" < <(_ensign_profiles) ;;
    --color) mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$cur") ;;
    --min-tls) mapfile -t COMPREPLY < <(compgen -W '1.2 1.3' -- "$cur") ;;
    --in | --out) mapfile -t COMPREPLY < <(compgen -W 'raw hex' -- "$cur") ;;
    --from) mapfile -t COMPREPLY < <(compgen -W beginning -- "$cur") ;;
    --to) mapfile -t COMPREPLY < <(compgen -W 'beginning live' -- "$cur") ;;
    --group) _ensign_offer "$cur" < <(_ensign_groups) ;;
    --offset) mapfile -t COMPREPLY < <(compgen -W 'earliest latest' -- "$cur") ;;
    --dedup) mapfile -t COMPREPLY < <(compgen -W 'none strict datagram key-grouped unique-key unique-field' \
        -- "$cur") ;;
    --mimetype | -m) mapfile -t COMPREPLY < <(compgen -W 'text/plain text/csv text/html application/json
        application/ld+json application/jsonlines application/xml application/msgpack application/avro
        application/parquet application/protobuf application/octet-stream' -- "$cur") ;;
    esac
}

# _ensign_offer CUR: puts the lines of standard input that begin with CUR into COMPREPLY. They come from a file
# or a server: compgen -W would run the $(...) in them, and so would the shell that gets them unquoted.
_ensign_offer() {
    local line word
    while IFS= read -r line; do
        [ -n "$line" ] || continue
        printf -v word %q "$line"
        if [[ $line == "$1"* || $word == "$1"* ]]; then COMPREPLY+=("$word"); fi
    done
}

# The names in the file of profiles.
_ensign_profiles() {
    local file=${XDG_CONFIG_HOME:-$HOME/.config}/ensign/profiles
    [ -f "$file" ] || return # a pipe would hang
    sed -n -e $'1s/^\xEF\xBB\xBF//' -e 's/^[[:blank:]]*\[\(.*\)\][[:blank:]]*$/\1/p' "$file" 2>/dev/null
}

# _ensign_ask WORD...: what this command prints, with the options of the connection that stand on the line. The
# server has two seconds; without a good answer nothing is offered.
_ensign_ask() {
    local typed i options=()
    read -ra typed <<<"$COMP_LINE" # bash has parted COMP_WORDS at = and :
    for ((i = 1; i < ${#typed[@]}; i++)); do
        case " ${_ensign_connection//$'\n'/ } " in *" ${typed[i]%%=*} "*) ;; *) continue ;; esac
        options+=("${typed[i]}")
        if _ensign_takes_value "${typed[i]}"; then options+=("${typed[++i]}"); fi
    done
    "${COMP_WORDS[0]}" "$@" -q "${options[@]}" --connect-timeout 1 --request-timeout 2 --retry 0 \
        2>/dev/null </dev/null
}

# The topics of the server; what cannot be the name of a topic is left out.
_ensign_topics() {
    _ensign_ask topics ls | sed -n -e 1d -e 's/.* //' -e '/^[A-Za-z][A-Za-z0-9._-]*$/p'
}

# The groups of the server, if it has groups: what stands behind six columns. A name that is not plain is left out.
_ensign_groups() {
    _ensign_ask groups ls | sed -n -E -e 1d -e 's/^([^ ]+ +){6}//' -e '/^[A-Za-z0-9._-]+$/p'
}

# The services of the server, with a slash; behind the slash, the methods of this one.
_ensign_methods() {
    case $1 in
    */*) _ensign_ask call --deadline 2 --list "${1%%/*}" ;;
    *) _ensign_ask call --deadline 2 --list | sed 's/$/\//' ;;
    esac
}

_ensign() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' words='' args=0 i

    COMPREPLY=()
    if [ "$prev" = ':' ] || [ "$cur" = ':' ]; then return; fi # inside of HOST:PORT, which bash parts there
    [ "$cur" = '=' ] && cur=''
    if [ "$prev" = '=' ]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi # bash parts --color=auto at the =
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        = | :) i=$((i + 1)) ;;
        -*)
            if _ensign_takes_value "${COMP_WORDS[i]}" && [ "${COMP_WORDS[i + 1]}" != '=' ]; then
                i=$((i + 1))
            fi
            ;;
        *)
            if [ -z "$command" ]; then command=${COMP_WORDS[i]}
            elif [ "$command" = topics ] || [ "$command" = groups ]; then command="$command ${COMP_WORDS[i]}"
            else args=$((args + 1)); fi
            ;;
        esac
    done
    if _ensign_takes_value "$prev"; then
        _ensign_value "$prev" "$cur"
        return
    fi
    case $cur in
    -*) words=$(_ensign_options "$command") ;;
    *) case $command in
        '') words='publish subscribe query topics groups info status health call bench help' ;;
        help) words='publish subscribe query topics groups info status health call bench' ;;
        topics) words='ls show create exists archive rm policy' ;;
        groups) words='ls show rm reset' ;;
        'groups show' | 'groups rm') [ $args -eq 0 ] && _ensign_offer "$cur" < <(_ensign_groups) ;;
        'groups reset')
            if [ $args -eq 0 ]; then _ensign_offer "$cur" < <(_ensign_groups)
            else _ensign_offer "$cur" < <(_ensign_topics); fi
            ;;
        subscribe | info) _ensign_offer "$cur" < <(_ensign_topics) ;;
        publish | bench | 'topics show' | 'topics exists' | 'topics archive' | 'topics rm' | 'topics policy')
            [ $args -eq 0 ] && _ensign_offer "$cur" < <(_ensign_topics) ;;
        call)
            [ $args -eq 0 ] && _ensign_offer "$cur" < <(_ensign_methods "$cur")
            [[ $cur == */* ]] || compopt -o nospace 2>/dev/null # the method follows its service
            ;;
        esac ;;
    esac
    [ -z "$words" ] || mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _ensign ensign
