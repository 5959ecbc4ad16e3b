#!/bin/sh
# <root>/bin/callboard: runs the version that <root>/current leads to. It belongs to no version, so that one that
# cannot even be imported is taken back. See docs/updating.rst; layout.py writes the files that this reads.
#
# A version on trial is named in <root>/trial. Each of its starts is counted, but for those after an orderly stop of
# an agent that had been running; one too many, or not being confirmed in time, takes it back.

launcher=$(readlink -f -- "$0")
root=$(dirname -- "$(dirname -- "$launcher")")
trial=$root/trial

say() { echo "callboard launcher: $1" >&2; }

complete() { [ -n "$1" ] && [ -e "$root/versions/$1/complete" ] && [ -x "$root/versions/$1/bin/callboard" ]; }

name_of_current() {
    link=$(readlink -- "$root/current") && complete "${link##*/}" && echo "${link##*/}"
}

read_trial() {
    origin='' target='' id='' starts=0 orderly=0 limit=3 seconds=600
    [ -f "$trial" ] || return 1
    while IFS='=' read -r key value; do
        case $key in
            from) origin=$value ;;
            to) target=$value ;;
            id) id=$value ;;
            starts | orderly | limit | seconds)
                case $value in '' | *[!0-9]*) ;; *) eval "$key=$value" ;; esac ;;
        esac
    done <"$trial"
    complete "$origin"
}

# Everything below writes a new file and renames it: a power cut leaves the old one or the new one.
put() {
    cat >"$1.new" || return 1
    sync "$1.new" 2>/dev/null
    mv -f -- "$1.new" "$1"
}

count_start() {
    [ "$orderly" = 1 ] || starts=$((starts + 1))
    { printf 'from=%s\nto=%s\nid=%s\n' "$origin" "$target" "$id"
      printf 'starts=%s\norderly=0\nlimit=%s\nseconds=%s\n' "$starts" "$limit" "$seconds"
      sed -n 's/^failing=/&/p' "$trial"; } 2>/dev/null | put "$trial"
}

point_at() {
    rm -f -- "$root/current.new"
    ln -s -- "versions/$1" "$root/current.new" && mv -fT -- "$root/current.new" "$root/current" || return 1
    sync "$root" 2>/dev/null || :
}

roll_back() {
    why=$1
    said=$(head -c 500 "$root/trial-says" 2>/dev/null | tr '\n' ' ')
    { printf 'from=%s\nto=%s\nblamed=%s\n' "$target" "$origin" "${2:-1}"
      printf 'reason=%s%s\n' "$why" "${said:+ ($said)}"; } | put "$root/rolled-back" &&
        point_at "$origin" && rm -f -- "$trial" "$root/trial-says"
}

# Beside an agent on trial: takes its version back when nobody has confirmed it in time, and ends it.
watch() {
    waited=0 mine=$id
    while [ "$waited" -lt "$seconds" ]; do
        sleep 1
        waited=$((waited + 1))
        read_trial && [ "$id" = "$mine" ] && kill -0 "$1" 2>/dev/null || exit 0
    done
    roll_back "it was not well for long enough within $seconds s of its start"
    kill -TERM "$1"
    waited=0
    while [ "$waited" -lt 25 ] && kill -0 "$1" 2>/dev/null; do
        sleep 1
        waited=$((waited + 1))
    done
    kill -KILL "$1" 2>/dev/null
}

chosen=$(name_of_current)
if [ "${1-}" = run ] && read_trial; then
    if [ "$chosen" != "$target" ]; then
        # It was interrupted before the switch, or in the middle of going back.
        if [ -s "$root/rolled-back" ]; then
            point_at "$origin" && rm -f -- "$trial" "$root/trial-says"
        else
            roll_back 'the update was interrupted' 0
        fi
        chosen=$origin
    elif [ "$orderly" != 1 ] && [ "$starts" -ge "$limit" ]; then
        say "$target was started $starts times and did not stay: going back to $origin"
        roll_back "it was started $starts times and ended each time before it was well for long enough"
        chosen=$origin
    elif count_start; then
        ( { exec </dev/null >/dev/null 2>&1; watch "$$"; } & )
    else
        say "the start of $target cannot be counted: going back to $origin"
        roll_back 'its starts could not be counted'
        chosen=$origin
    fi
fi

if ! complete "$chosen"; then
    for found in $(ls -t "$root/versions" 2>/dev/null); do
        complete "$found" && chosen=$found && break
    done
    complete "$chosen" || { say "there is no complete version in $root/versions: install one (docs/updating.rst)"; exit 1; }
    say "$root/current leads nowhere: using $chosen"
    [ "${1-}" != run ] || point_at "$chosen"
fi

CALLBOARD_LAUNCHER=$launcher
export CALLBOARD_LAUNCHER
exec "$root/versions/$chosen/bin/callboard" "$@"
